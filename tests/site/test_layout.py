"What holds for the project as a whole: import order, light imports, generated files that are current, no pickles, no prints."

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import musicgen_emotion

ROOT = Path(musicgen_emotion.__path__[0]).parent
PACKAGE, NBS = ROOT / "musicgen_emotion", ROOT / "nbs"
if not NBS.is_dir():
    pytest.skip(
        "needs a checkout of the project: there is no nbs/ beside the package",
        allow_module_level=True,
    )
HEAVY = (
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
)


def cells(path, kind="code"):
    return [
        "".join(c["source"])
        for c in json.loads(path.read_text())["cells"]
        if c["cell_type"] == kind
    ]


def default_exp(path):
    return next(
        (m[1] for s in cells(path) if (m := re.search(r"^#\s*\|\s*default_exp\s+(\S+)", s, re.M))),
        None,
    )


NOTEBOOKS = {default_exp(p): p for p in sorted((NBS / "api").glob("[0-9]*.ipynb"))}
NOTEBOOKS.pop(None, None)
NUMBER = {m: int(p.name.split("_")[0]) for m, p in NOTEBOOKS.items()}
MODULES = sorted(NUMBER, key=NUMBER.get)


def tree(module):
    return ast.parse((PACKAGE / f"{module}.py").read_text())


def own_imports(node):
    "Modules of the package that a syntax tree imports, at any depth."
    for n in ast.walk(node):
        if isinstance(n, ast.ImportFrom):
            name = ".".join(filter(None, ["musicgen_emotion" if n.level else "", n.module]))
            if name == "musicgen_emotion":
                yield from (a.name for a in n.names)
            elif name.startswith("musicgen_emotion."):
                yield name.split(".")[1]
        elif isinstance(n, ast.Import):
            yield from (
                a.name.split(".")[1] for a in n.names if a.name.startswith("musicgen_emotion.")
            )


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_from_lower_numbers(module):
    wrong = {o for o in own_imports(tree(module)) if o in NUMBER and NUMBER[o] >= NUMBER[module]}
    assert not wrong, f"{module} ({NUMBER[module]}) imports {wrong}"


def test_every_module_has_a_notebook():
    extra = (
        {p.stem for p in PACKAGE.glob("*.py")} - set(NUMBER) - {"__init__", "_modidx", "__main__"}
    )
    assert not extra, f"modules without a notebook: {extra}"


LIGHT = [m for m in MODULES if NUMBER[m] < 20] + [
    m for m in ("similarity", "phases", "cluster", "cli") if m in NUMBER
]


def loaded_by(*modules):
    "Module -> heavy libraries that its import brought in; one process, in the order given."
    code = (
        "import sys, json, importlib\nout, seen = {}, set()\n"
        f"for m in {list(modules)!r}:\n    importlib.import_module(m)\n    now = {{h for h in {HEAVY!r} if h in sys.modules}}\n    out[m], seen = sorted(now - seen), now\nprint(json.dumps(out))"
    )
    r = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert r.returncode == 0, r.stderr
    return {m.removeprefix("musicgen_emotion."): h for m, h in json.loads(r.stdout).items() if h}


def test_package_and_light_modules_import_nothing_heavy():
    assert loaded_by("musicgen_emotion", *(f"musicgen_emotion.{m}" for m in LIGHT)) == {}


def test_higher_modules_import_torch_at_most():
    heavy = loaded_by(*(f"musicgen_emotion.{m}" for m in MODULES if m not in LIGHT))
    assert {h for hs in heavy.values() for h in hs} <= {"torch"}, heavy


@pytest.mark.parametrize("module", MODULES)
def test_exported_module_is_current(module, tmp_path):
    "Every exported cell stands in the module, and nothing else does."
    text = (PACKAGE / f"{module}.py").read_text()
    exported = [
        s
        for s in cells(NOTEBOOKS[module])
        if re.search(r"^#\s*\|\s*export", s, re.M) and "default_exp" not in s
    ]
    body = [re.sub(r"^#\s*\|.*\n?", "", s, flags=re.M).strip() for s in exported]
    norm = lambda s: [
        ast.dump(n)
        for n in ast.parse(s).body
        if not isinstance(n, (ast.Import, ast.ImportFrom))
        or (getattr(n, "level", 0) == 0 and "musicgen_emotion" not in ast.unparse(n))
    ]
    want = [d for s in body for d in norm(s)]
    have = norm(text)
    skip = lambda ds: [d for d in ds if "id='__all__'" not in d]
    have = skip(have)[1:] if ast.get_docstring(ast.parse(text)) else skip(have)
    assert sorted(have) == sorted(want), (
        f"{module}.py differs from {NOTEBOOKS[module].name}; run nbdev_export"
    )


def test_readme_is_current():
    spec = importlib.util.spec_from_file_location("generated", ROOT / ".ci" / "generated.py")
    generated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generated)
    assert (ROOT / "README.md").read_text() == generated.readme(), (
        "README.md is not what nbs/index.ipynb gives; run `make current`"
    )


def test_readme_gives_exactly_two_setup_commands():
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert [b.strip() for b in blocks] == ["make run", "make test"]


@pytest.mark.parametrize(
    "path", sorted((NBS / "phases").glob("phase*.ipynb")), ids=lambda p: p.stem
)
def test_phase_notebook_has_checked_parameters(path):
    from musicgen_emotion.lab.parameters import read_parameters

    spec = read_parameters(path)
    assert "out_dir" in spec, "the runner fills out_dir"
    assert all(p.meaning for p in spec.values()), (
        f"without meaning: {[p.name for p in spec.values() if not p.meaning]}"
    )


def python_sources():
    yield from ((p, p.read_text()) for p in sorted(PACKAGE.glob("*.py")))
    yield from ((p, p.read_text()) for p in sorted((ROOT / "benchmarks").glob("*.py")))
    for p in sorted(NBS.rglob("*.ipynb")):
        yield p, "\n".join(re.sub(r"^[%!].*$", "", s, flags=re.M) for s in cells(p))


def test_no_pickle_anywhere():
    for path, text in python_sources():
        for n in ast.walk(ast.parse(text)):
            names = (
                [a.name for a in n.names] + [getattr(n, "module", None) or ""]
                if isinstance(n, (ast.Import, ast.ImportFrom))
                else []
            )
            assert not {"pickle", "cPickle", "dill", "cloudpickle", "shelve"} & {
                x.split(".")[0] for x in names
            }, f"{path} imports {names}"
            if not isinstance(n, ast.Call):
                continue
            called, keys = ast.unparse(n.func), {k.arg: ast.unparse(k.value) for k in n.keywords}
            assert not (called == "torch.load" and keys.get("weights_only") != "True"), (
                f"{path}: torch.load without weights_only=True"
            )
            if called == "torch.save" and Path(path).name in (
                "sae.py",
                "40_sae.ipynb",
                "audiocraft.py",
                "25_audiocraft.ipynb",
            ):
                continue  # ae.pt and state_dict.bin are the formats of dictionary_learning and audiocraft; they are read with weights_only
            assert (
                called not in ("torch.save", "joblib.dump", "joblib.load")
                and keys.get("allow_pickle") != "True"
                and not called.endswith((".to_pickle", ".read_pickle"))
            ), f"{path}: {called}"


@pytest.mark.parametrize("module", MODULES)
def test_no_print_no_bare_except_no_star_import(module):
    for n in ast.walk(tree(module)):
        assert not (
            isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
        ), f"{module}:{n.lineno} prints"
        assert not (isinstance(n, ast.ExceptHandler) and n.type is None), (
            f"{module}:{n.lineno} has a bare except"
        )
        assert not (isinstance(n, ast.ImportFrom) and n.names[0].name == "*"), (
            f"{module}:{n.lineno} imports a star"
        )


@pytest.mark.parametrize("path", sorted((NBS / "api").glob("*.ipynb")), ids=lambda p: p.stem)
def test_api_notebook_is_small_and_titled(path):
    assert path.stat().st_size < 150_000, f"{path.stat().st_size} bytes"
    assert any(re.search(r"^# .+\n+> \S", s) for s in cells(path, "markdown")), (
        "needs `# title` and `> one line`"
    )


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(NBS.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts],
    ids=lambda p: str(p.relative_to(NBS)),
)
def test_title_has_a_cell_of_its_own(path):
    "The site keeps the title, the line below it and `- key: value` of that cell; other text in it would not be on the page."
    title = next(s for s in cells(path, "markdown") if s.startswith("# "))
    extra = [
        line
        for line in title.splitlines()[1:]
        if line.strip() and not re.match(r"> \S|- \S+:", line)
    ]
    assert not extra and len(re.findall("^> ", title, re.M)) == 1, extra


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/workflows").glob("*.yaml")), ids=lambda p: p.stem
)
def test_workflow_steps_are_pinned(path):
    import yaml

    flow = yaml.safe_load(path.read_text())
    for job in flow["jobs"].values():
        for step in job["steps"]:
            assert "uses" not in step or re.search(r"@v\d+(\.\d+)*$", step["uses"]), (
                f"{path.name}: {step['uses']} is not pinned"
            )


def test_files_that_the_project_promises():
    want = (
        "settings.ini",
        "setup.py",
        "constraints.txt",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Makefile",
        ".ci/run",
        "_quarto.yml",
        "nbs/_quarto.yml",
        "params/nano.yaml",
        "params/small.yaml",
        "params/large.yaml",
        ".github/workflows/test.yaml",
        ".github/workflows/site.yaml",
        ".github/workflows/phases.yaml",
    )
    missing = [w for w in want if not (ROOT / w).exists()]
    assert not missing, f"missing: {missing}"


def test_tags_survive_cleaning():
    from configparser import ConfigParser

    cfg = ConfigParser(delimiters=["="])
    cfg.read(ROOT / "settings.ini")
    assert "tags" in cfg["DEFAULT"]["allowed_cell_metadata_keys"].split(), (
        "nbdev_clean would delete the parameters tag"
    )


@pytest.mark.parametrize("path", sorted(NBS.rglob("*.ipynb")), ids=lambda p: p.stem)
def test_stored_outputs_name_no_machine(path):
    if "_proc" in path.parts:
        pytest.skip("processed pages are made from these")
    outputs = [
        json.dumps(c["outputs"]) for c in json.loads(path.read_text())["cells"] if c.get("outputs")
    ]
    found = [
        m
        for o in outputs
        for m in re.findall(r"site-packages|ipykernel_|/home/|/root/|/Users/|/work/|/tmp/", o)
    ]
    assert not found, f"{path.name}: {sorted(set(found))}"
