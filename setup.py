"Build the package from settings.ini; all metadata lives there."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

cfg = ConfigParser(delimiters=["="])
cfg.read(Path(__file__).parent / "settings.ini", encoding="utf8")
s = cfg["DEFAULT"]
# the site preview needs Python 3.11; so does zarr 3, and zarr 2.18 reads and writes the same format
split = lambda key: [m for r in s.get(key, "").split() for m in marked(r)]


def marked(r):
    new = f"{r}; python_version >= '3.11'"
    return (
        [new]
        if r.startswith("smalldocs")
        else [new, "zarr>=2.18,<3; python_version < '3.11'"]
        if r.startswith("zarr")
        else [r]
    )


setup(
    name=s["lib_name"],
    version=s["version"],
    description=s["description"],
    keywords=s["keywords"],
    license="Apache-2.0",
    author=s["author"],
    url=s["git_url"],
    python_requires=f">={s['min_python']}",
    packages=find_packages(include=["musicgen_emotion*"]),
    include_package_data=True,
    package_data={"musicgen_emotion": ["assets/**/*", "assets/*"]},
    install_requires=split("requirements"),
    extras_require={"dev": split("dev_requirements"), "nano": split("nano_requirements")},
    entry_points={"console_scripts": split("console_scripts")},
    zip_safe=False,
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf8"),
    long_description_content_type="text/markdown",
)
