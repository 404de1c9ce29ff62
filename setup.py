"Build the package from settings.ini, with copies of the phase notebooks and parameter files."

import json
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

config = ConfigParser(delimiters=["="])
config.read(ROOT / "settings.ini", encoding="utf8")
settings = config["DEFAULT"]


class BuildWithPhases(build_py):
    """Copy nbs/phases and params into the package that is being built.

    An editable install reads them from the checkout, so nothing is copied there.
    """

    def run(self):
        super().run()
        if self.editable_mode:
            return
        assets = Path(self.build_lib) / "musicgen_emotion" / "assets"
        for source, copy in self.copies():
            target = assets / copy
            target.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf8")
            is_notebook = source.suffix == ".ipynb"
            target.write_text(without_outputs(text) if is_notebook else text, encoding="utf8")

    def copies(self):
        "Pairs of a source file and the place of its copy below the package's assets."
        for source in sorted((ROOT / "nbs" / "phases").glob("phase*.ipynb")):
            yield source, Path("phases") / source.name
        for source in sorted((ROOT / "params").glob("*.yaml")):
            yield source, Path("params") / source.name

    def get_outputs(self, include_bytecode=True):
        assets = Path(self.build_lib) / "musicgen_emotion" / "assets"
        copied = [] if self.editable_mode else [str(assets / copy) for _, copy in self.copies()]
        return super().get_outputs(include_bytecode) + copied


def without_outputs(text):
    "A notebook without the outputs of its cells."
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
            cell["execution_count"] = None
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def requirements(key):
    "Requirements of one line of settings.ini."
    return settings.get(key, "").split()


EXTRAS = ("dev", "test", "nano", "sound", "studies")
extras = {name: requirements(f"{name}_requirements") for name in EXTRAS}
extras["all"] = sorted({*extras["sound"], *extras["studies"]})


setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    keywords=settings["keywords"],
    license="Apache-2.0",
    author=settings["author"],
    url=settings["git_url"],
    python_requires=f">={settings['min_python']}",
    packages=find_packages(include=["musicgen_emotion*"]),
    include_package_data=True,
    package_data={"musicgen_emotion": ["py.typed", "assets/**/*", "assets/*"]},
    cmdclass={"build_py": BuildWithPhases},
    install_requires=requirements("requirements"),
    extras_require=extras,
    entry_points={
        "console_scripts": requirements("console_scripts"),
        "nbdev": ["musicgen_emotion=musicgen_emotion._modidx:d"],
    },
    zip_safe=False,
    long_description=(ROOT / "README.md").read_text(encoding="utf8"),
    long_description_content_type="text/markdown",
)
