"""Every command on damaged input: one line in plain words, and the rest is still shown.

The commands and their parameters are read from the Typer app, so that a new command is covered.
Each parameter gets every kind of folder and file that the project writes. Where it takes one, the
files in it are damaged in many ways.
"""

import contextlib
import inspect
import json
import os
import random
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from musicgen_emotion.cli import app
from musicgen_emotion.lab.files import write_table
from musicgen_emotion.lab.runs import open_run

INTERNAL = re.compile(
    r"Traceback \(most recent|\b[A-Z]\w*(Error|Exception|Warning)\b|\bArrow[A-Z]\w+|<class '"
    r"| at 0x[0-9a-f]{4}|'NoneType'|object is not|object has no|has no attribute|Errno \d"
    r"|indices must be|unexpected keyword|positional argument|invalid literal for"
    r"|could not convert string|codec can't|not supported between|unhashable|index out of range"
    r"|PosixPath\(|site-packages|dtype\("
)
SMALL = dict(duration="0.1", model="TINY", device="cpu", jobs="1")  # options that keep a call short


class Slot:
    "A parameter of a command, as its function declares it."

    def __init__(self, name, hint, default):
        self.name = name
        self.kinds = set(_kinds(hint))
        declared = [part for part in getattr(hint, "__metadata__", ()) if hasattr(part, "help")]
        self.is_argument = isinstance(declared[0], typer.models.ArgumentInfo)
        self.required = default is inspect.Parameter.empty
        self.option = next(
            (word for word in declared[0].param_decls or () if word.startswith("--")),
            "--" + name.replace("_", "-"),
        )


def _kinds(hint):
    "Plain types in a hint."
    inner = getattr(hint, "__args__", ())
    if not inner:
        yield hint
    for part in inner:
        yield from _kinds(part)


def leaves(group, words=()):
    "Words of every command, and its parameters."
    for info in group.registered_commands:
        hints = get_type_hints(info.callback, include_extras=True)
        defaults = inspect.signature(info.callback).parameters
        slots = [Slot(name, hints[name], defaults[name].default) for name in defaults]
        yield (*words, info.name or info.callback.__name__.replace("_", "-")), slots
    for info in group.registered_groups:
        yield from leaves(info.typer_instance, (*words, info.name))


COMMANDS = dict(leaves(app))


def text_slots():
    "Command and parameter that may name a file or a folder."
    found = []
    for words, slots in COMMANDS.items():
        for slot in slots:
            if slot.kinds & {str, Path}:
                found.append(pytest.param(words, slot.name, id=f"{'_'.join(words)}-{slot.name}"))
    return found


# ---- good folders and files, each made once


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    from musicgen_emotion.activations import ClipStore, generate_clips
    from musicgen_emotion.models.load import load_model
    from musicgen_emotion.models.tiny import write_random_model

    root = tmp_path_factory.mktemp("good")
    runs = root / "runs"
    for name in ("first", "second"):
        with open_run(runs / name, "phase0", dict(seed=3)) as run:
            run.gate("label match", 0.86, 0.77, 0.92, n=80, threshold=0.7)
            write_table(_small_table(), runs / name / "scores.csv")
            write_table(_small_table(), runs / name / "states.parquet")
    tiny = write_random_model(root / "tiny", sample_rate=8000)
    model = load_model(tiny, device="cpu")
    generate_clips(
        model, ["slow"], ClipStore(root / "store"), seeds=[0], duration_s=0.1, independent=False
    )
    (root / "values.yaml").write_text("all:\n  seed: 3\n")
    _write_notebook(root / "page.ipynb")
    return dict(
        runs=runs,
        run=runs / "first",
        model=tiny,
        store=root / "store",
        yaml=root / "values.yaml",
        notebook=root / "page.ipynb",
    )


def _small_table():
    import pandas as pd

    return pd.DataFrame(dict(layer=[0, 1], accuracy=[0.25, 0.75]))


def _write_notebook(path):
    import nbformat

    parameters = nbformat.v4.new_code_cell("seed: int = 0  # seed")
    parameters.metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters]), path)


# ---- damage


def _replace_by_folder(path):
    path.unlink()
    path.mkdir()


def _in_utf16(path):
    path.write_bytes(path.read_bytes().decode("latin-1").encode("utf-16"))


def _truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


DAMAGE = dict(
    missing=lambda path: path.unlink(),
    empty=lambda path: path.write_bytes(b""),
    truncated=_truncate,
    binary=lambda path: path.write_bytes(bytes(range(256)) * 4),
    utf16=_in_utf16,
    latin1=lambda path: path.write_bytes(b"\xe9\xe8 = \xfc\n"),
    folder=_replace_by_folder,
    number=lambda path: path.write_text("3"),
    null=lambda path: path.write_text("null"),
    list=lambda path: path.write_text('[null, 3, "x", []]'),
    object=lambda path: path.write_text('{"a": {"b": [null]}}'),
    deep=lambda path: path.write_text("[" * 100_000),
    long_number=lambda path: path.write_text("9" * 5000),
)


def files_of(path):
    "Files of a good folder, relative to it; `.` for a file."
    if path.is_file():
        return ["."]
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def copied(path, folder):
    "A copy that may be damaged."
    target = folder / path.name
    if target.is_dir():
        shutil.rmtree(target)
    if path.is_dir():
        return Path(shutil.copytree(path, target))
    return Path(shutil.copy(path, target))


def some_damage(path, most):
    "Pairs of a file and a way to damage it, drawn where there are too many."
    pairs = [(file, damage) for file in files_of(path) for damage in DAMAGE.values()]
    return random.Random(0).sample(pairs, min(most, len(pairs)))


# ---- one call


def runs_a_study(words, name):
    "Whether a call needs a small study to run; `controls` runs all of them without one."
    return words == ("controls",) or (words == ("run",) and name in ("file", "param", "sweep"))


def words_with(words, name, value, good):
    "The words of a call in which one parameter has the value; required ones get something good."
    call = list(words)
    for slot in COMMANDS[words]:
        filler = SMALL.get(slot.name)
        if filler == "TINY":
            filler = str(good["model"])
        if slot.name == name:
            filler = str(value)
        elif filler is None and slot.required:
            filler = str(good["runs"])
        elif slot.name == "phases" and runs_a_study(words, name):
            filler = str(good["notebook"])
        elif filler is None and words == ("bench",) and slot.name == "method":
            filler = "random"  # all methods take minutes
        elif filler is None and slot.name in ("out", "evidence"):
            filler = slot.name  # in the folder of the test, never in the checkout
        if filler is not None:
            call += [filler] if slot.is_argument else [slot.option, filler]
    return call


def outcome(words):
    "Exit code and all that a call prints."
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = CliRunner().invoke(app, words)
    escaped = result.exception
    assert escaped is None or isinstance(escaped, SystemExit), (words, repr(escaped))
    return result.exit_code, result.output, result.stderr


def tried(words, names=()):
    "Exit code, and what is wrong with the answer: a refusal is one line that names one of `names`."
    code, output, errors = outcome(words)
    problems = []
    if found := INTERNAL.search(output):
        problems.append(f"{words}: internal text {found[0]!r} in {output[-800:]}")
    if code not in (0, 1, 2):
        problems.append(f"{words}: exit code {code}")
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    if code == 2 and len(lines) != 1:
        problems.append(f"{words}: not one line: {errors}")
    if code == 2 and names and not any(name in errors for name in names):
        problems.append(f"{words}: none of {names} is named in {errors}")
    return code, problems


def damaged_calls(words, parameter, path, good, folder, most):
    "Problems of calls whose path is damaged in some of all ways."
    problems = []
    for file, damage in some_damage(path, most):
        target = copied(path, folder)
        damage(target / file if file != "." else target)
        call = words_with(words, parameter, target, good)
        problems += tried(call, (path.name, Path(file).name))[1]
    return problems


@pytest.mark.parametrize(("words", "parameter"), text_slots())
def test_damaged_input_is_told_in_plain_words(words, parameter, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absent, problems = tried(words_with(words, parameter, "absent", good))
    for path in good.values():
        whole = copied(path, tmp_path)
        code, found = tried(words_with(words, parameter, whole, good))
        problems += found
        if code != 2 and absent == 2:  # it is a place that is read, and this is what is read there
            problems += damaged_calls(words, parameter, path, good, tmp_path, most=8)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("words", "parameter", "kind"),
    [
        (("status",), "folder", "runs"),
        (("report",), "folder", "run"),
        (("compare",), "run_a", "runs"),
        (("compare",), "run_b", "runs"),
        (("run",), "file", "yaml"),
        (("run",), "phases", "notebook"),
        (("models", "show"), "name", "model"),
        (("generate",), "out", "store"),
    ],
)
def test_each_damage_of_what_a_command_reads(words, parameter, kind, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    most = 60 if words[0] in ("status", "report", "compare", "run") else 20
    problems = damaged_calls(words, parameter, good[kind], good, tmp_path, most)
    assert not problems, "\n".join(problems)


def test_missing_paths_and_odd_texts_are_told_in_plain_words(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = ["missing", "missing/x.yaml", "a\0b", "x" * 5000, "", " ", "~nobody/x", "é" * 50, "-1"]
    problems = []
    for param in text_slots():
        words, parameter = param.values
        for value in odd:
            problems += tried(words_with(words, parameter, value, good))[1]
    assert not problems, "\n".join(problems)


# ---- one bad thing costs itself only


def wrong_parts(content):
    "A JSON object or list with each part left out or of another kind."
    if isinstance(content, list):
        for entry in (None, 3, "x", [], *(wrong for wrong in wrong_parts(content[0]))):
            yield [*content, entry]
        return
    for name in content:
        yield {key: value for key, value in content.items() if key != name}
        for value in (None, 3, "x", [None], {"a": 1}):
            yield content | {name: value}


@pytest.mark.parametrize("file", ["manifest.json", "gates.json"])
def test_a_wrong_part_of_a_run_costs_only_that_run(file, good, tmp_path):
    target = copied(good["runs"], tmp_path)
    content = json.loads((target / "first" / file).read_text())
    for wrong in wrong_parts(content):
        (target / "first" / file).write_text(json.dumps(wrong))
        code, output, _ = outcome(["status", str(target), "--json"])
        assert code == 0 and not INTERNAL.search(output), output
        rows = {row["run"]: row for row in json.loads(output)}
        assert rows["second"]["status"] == "finished" and rows["second"]["gates"] == "1/1 GO"
        if rows["first"]["status"] == "damaged":
            assert file in rows["first"]["message"]
        code, output, _ = outcome(["report", str(target / "first")])
        assert code == 0 and "## scores" in output and not INTERNAL.search(output), output
        code, output, _ = outcome(["compare", str(good["runs"]), str(target)])
        assert code in (0, 1) and "phase0: same" in output, (wrong, output)
        assert not INTERNAL.search(output), output


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["manifest.json", "gates.json", "scores.csv", "run.log"])
def test_a_damaged_file_of_a_run_costs_only_its_part(file, damage, good, tmp_path):
    target = copied(good["runs"], tmp_path)
    DAMAGE[damage](target / "first" / file)
    code, output, _ = outcome(["status", str(target), "--json"])
    rows = {row["run"]: row for row in json.loads(output)}
    assert code == 0 and rows["second"]["status"] == "finished"
    code, output, _ = outcome(["report", str(target / "first")])
    if (file, damage) == ("manifest.json", "missing"):
        assert code == 2 and "holds no run" in output
        return
    assert code == 0 and ("## scores" in output or file == "scores.csv")
    assert "label match" in output or file == "gates.json"


def test_a_report_holds_no_html_of_its_files(good, tmp_path):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>&lt;b"
    target = copied(good["run"], tmp_path)
    for file in ("manifest.json", "gates.json"):
        content = json.loads((target / file).read_text())
        part = content if isinstance(content, dict) else content[0]
        for name, value in part.items():
            if isinstance(value, str) and name not in ("status", "direction", "start", "end"):
                part[name] = f"{value} {hostile}"
        if "parameters" in part:
            part["parameters"] |= {hostile: hostile}
        (target / file).write_text(json.dumps(content))
    (target / "scores.csv").write_text(f'"{hostile}"\n"{hostile}"\n')
    output = outcome(["report", str(target)])[1]
    assert output.count("alert(1)") >= 8
    assert not re.search(r"<[A-Za-z/!?]", output) and "&lt;script" in output


def test_what_no_permission_is_given_to_is_told_in_plain_words(good):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        target = copied(good["runs"], root)
        with no_rights(root, target / "first" / "manifest.json"):
            code, output, _ = outcome(["status", str(target), "--json"])
            rows = {row["run"]: row for row in json.loads(output)}
            assert code == 0 and rows["second"]["status"] == "finished"
            assert rows["first"]["status"] == "damaged" and "permission" in rows["first"]["message"]
            for call in (["report", str(target / "first")], ["compare", str(target), str(target)]):
                assert not tried(call)[1]
                assert "permission" in outcome(call)[1]
        model = copied(good["model"], root)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            with no_rights(root, model / name):
                code, problems = tried(["models", "show", str(model)], (name, model.name))
                assert code == 2 and not problems, problems


@contextlib.contextmanager
def no_rights(root, path):
    "Run a block as somebody who may not read a file."
    before = path.stat().st_mode
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:  # root may read everything
        for inner in (root, *root.rglob("*")):
            if inner != path:
                inner.chmod(0o777)
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(before)


def test_an_interrupted_call_and_an_unknown_error_are_one_line(monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("musicgen_emotion.cli.study_commands.run_status", broken)
    code, problems = tried(["status"])
    assert code == 2 and not problems, problems


def test_warnings_are_one_line_without_code(monkeypatch, tmp_path):
    def warned(*arguments, **options):
        warnings.warn("all songs lack audio", stacklevel=2)
        raise ValueError("no song")

    monkeypatch.setattr("musicgen_emotion.cli.study_commands.run_status", warned)
    errors = outcome(["status", str(tmp_path)])[2]
    assert errors.splitlines() == ["warning: all songs lack audio", "error: no song"]
