"What holds for the whole project: light imports, no pickles, notebooks that the site shows."

import ast
import json
import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

import musicgen_emotion

ROOT = Path(musicgen_emotion.__path__[0]).parent
PACKAGE, NBS = ROOT / "musicgen_emotion", ROOT / "nbs"
if not NBS.is_dir():
    pytest.skip(
        "needs a checkout of the project: there is no nbs/ beside the package",
        allow_module_level=True,
    )
HEAVY = [
    "torch",
    "transformers",
    "librosa",
    "sklearn",
    "umap",
    "matplotlib",
    "seaborn",
    "statsmodels",
    "xarray",
    "zarr",
    "papermill",
]
NO_TORCH = ("lab", "stats", "stimuli", "sound", "show", "cli")
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "_modidx.py")
NOTEBOOKS = [p for p in sorted(NBS.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
# formats of other libraries, which their readers want; ours reads them with weights_only
WRITES_TORCH_FILES = ("formats", "audiocraft_export", "audiocraft_files", "audiocraft_reading")


def relative(path):
    return str(path.relative_to(ROOT))


def cells(path, kind="code"):
    found = json.loads(path.read_text())["cells"]
    return ["".join(c["source"]) for c in found if c["cell_type"] == kind]


def loaded_by(names):
    "Module -> heavy libraries that its import brings in, in one fresh process, in the order given."
    code = (
        "import importlib, json, sys\n"
        "found, seen = {}, set()\n"
        f"for name in {list(names)!r}:\n"
        "    importlib.import_module(name)\n"
        f"    now = {{heavy for heavy in {HEAVY!r} if heavy in sys.modules}}\n"
        "    found[name], seen = sorted(now - seen), now\n"
        "print(json.dumps(found))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return {name: heavy for name, heavy in json.loads(done.stdout).items() if heavy}


def test_light_folders_import_nothing_heavy():
    folders = [f"musicgen_emotion.{name}" for name in NO_TORCH]
    assert loaded_by(["musicgen_emotion", *folders]) == {}


def test_other_folders_import_torch_at_most():
    names = ["models", "activations", "probes", "sae", "steering", "causes", "nano", "studies"]
    heavy = loaded_by([f"musicgen_emotion.{name}" for name in names])
    assert {library for libraries in heavy.values() for library in libraries} <= {"torch"}, heavy


@pytest.mark.parametrize("name", musicgen_emotion.__all__)
def test_names_of_the_package_are_there(name):
    assert getattr(musicgen_emotion, name) is not None


def test_an_unknown_name_of_the_package_is_refused():
    with pytest.raises(AttributeError, match="no_such_name"):
        musicgen_emotion.no_such_name  # noqa: B018


def test_readme_has_two_commands():
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert [block.strip() for block in blocks][:2] == ["make run", "make test"]


@pytest.mark.parametrize("path", sorted((NBS / "phases").glob("phase*.ipynb")), ids=relative)
def test_phase_notebook_has_checked_parameters(path):
    from musicgen_emotion.lab import read_parameters

    parameters = read_parameters(path)
    assert "out_dir" in parameters, "the runner fills out_dir"
    assert not [p.name for p in parameters.values() if not p.meaning]


def code_of(path):
    if path.suffix == ".py":
        return path.read_text()
    return "\n".join(re.sub(r"^\s*[%!].*$", "pass", s, flags=re.M) for s in cells(path))


API_PAGES = sorted((NBS / "api").rglob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", API_PAGES, ids=relative)
def test_imports_of_a_page_are_in_cells_of_their_own(path):
    "Building the site runs every cell that holds an import, without the cells before it."
    for source in cells(path):
        if source.startswith("#| export") or "nbdev_export()" in source:
            continue
        tree = ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.M))
        is_import = [isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree)]
        statements = [isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body]
        assert not any(is_import) or all(statements), source


PYTHON = [*MODULES, *sorted((ROOT / "benchmarks").glob("*.py")), *NOTEBOOKS]


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_no_pickle(path):
    for node in ast.walk(ast.parse(code_of(path))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"pickle", "cPickle", "dill", "cloudpickle", "shelve"}, names
        if isinstance(node, ast.Call):
            check_call(path, node)


def check_call(path, node):
    called = ast.unparse(node.func)
    keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
    if called == "torch.load":
        assert keywords.get("weights_only") == "True", "torch.load without weights_only=True"
    if called == "torch.save":
        assert path.stem.split("_", 1)[-1] in WRITES_TORCH_FILES or path.stem in WRITES_TORCH_FILES
    assert called not in ("joblib.dump", "joblib.load")
    assert keywords.get("allow_pickle") != "True"
    assert not called.endswith((".to_pickle", ".read_pickle"))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_print_no_bare_except_no_private_import(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno} prints"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno} has a bare except"
        if isinstance(node, ast.ImportFrom) and node.level:
            private = [a.name for a in node.names if a.name.startswith("_")]
            assert not [name for name in private if not name.startswith("__")], private


@pytest.mark.parametrize("path", sorted((NBS / "api").rglob("*.ipynb")), ids=relative)
def test_api_notebook_is_small(path):
    assert path.stat().st_size < 150_000, f"{path.stat().st_size} bytes"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=relative)
def test_title_has_a_cell_of_its_own(path):
    "The site keeps the title, the line below it and `- key: value` of that cell, no other text."
    title = next(s for s in cells(path, "markdown") if s.startswith("# "))
    lines = [line for line in title.splitlines()[1:] if line.strip()]
    extra = [line for line in lines if not re.match(r"> \S|- \S+:", line)]
    assert not extra and len(re.findall("^> ", title, re.M)) == 1, extra


@pytest.mark.parametrize("path", NOTEBOOKS, ids=relative)
def test_stored_outputs_name_no_machine(path):
    found = json.loads(path.read_text())["cells"]
    outputs = [json.dumps(c["outputs"]) for c in found if c.get("outputs")]
    places = r"site-packages|ipykernel_|/home/|/root/|/Users/|/work/|/tmp/"
    assert not {m for output in outputs for m in re.findall(places, output)}


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yaml")), ids=relative)
def test_workflow_steps_are_pinned_by_commit(path):
    steps = [s for job in yaml.safe_load(path.read_text())["jobs"].values() for s in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert not [name for name in used if not re.search(r"@[0-9a-f]{40}$", name)]


def test_tags_survive_cleaning():
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini")
    kept = config["DEFAULT"]["allowed_cell_metadata_keys"].split()
    assert "tags" in kept, "nbdev_clean would delete the parameters tag"
