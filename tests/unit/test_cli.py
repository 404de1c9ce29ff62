"The command from end to end, each call in a process of its own, as a user types it."

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import musicgen_emotion
from musicgen_emotion.cli import app, check_audiocraft, is_here
from musicgen_emotion.models.audiocraft_import import INSTALL_COMMANDS

ROOT = Path(musicgen_emotion.__file__).parents[1]
ENV = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
MAIN = 'from musicgen_emotion.cli import app; app(prog_name="musicgen-emotion")'


def python(code, *words, cwd=None, **env):
    "A finished Python process."
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ENV, "COLUMNS": "80", **env},
        timeout=600,
    )


def call(*words, cwd=None, code=0, **env):
    "The command, which must end with an exit code."
    done = python(MAIN, *words, cwd=cwd, **env)
    assert done.returncode == code, (done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done


def refused(*words, **options):
    "The one line on standard error of a wrong call."
    done = call(*words, code=2, **options)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    return lines[0]


def records(*words, **options):
    "What the command prints with --json."
    return json.loads(call(*words, "--json", **options).stdout)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from musicgen_emotion.models.tiny import write_random_model

    return write_random_model(tmp_path_factory.mktemp("models") / "tiny", sample_rate=8000)


@pytest.fixture(scope="module")
def nano(tiny):
    "The packaged model; its stand-in with random weights where it was not made yet."
    return "nano" if is_here("nano") else str(tiny)


# ---- help and doctor


def test_help_names_every_command_and_loads_nothing_heavy():
    code = """
import sys
from musicgen_emotion.cli import app
heavy = {"torch", "transformers", "pandas", "librosa", "papermill", "matplotlib", "pydantic"}
try:
    app(["--help"])
except SystemExit as end:
    sys.exit("failed" if end.code else str(sorted(heavy & set(sys.modules))))
"""
    done = python(code)
    assert done.stderr.strip() == "[]"
    commands = "doctor models run status report compare trace generate"
    assert all(command in done.stdout for command in commands.split())


def all_commands(command, words=()):
    "Every command below a group, with the words that call it."
    for name, child in getattr(command, "commands", {}).items():
        yield from all_commands(child, (*words, name))
    if words:
        yield words, command


def test_every_command_and_every_option_is_explained():
    from typer.main import get_command

    commands = dict(all_commands(get_command(app)))
    assert len(commands) == 15
    for words, command in commands.items():
        assert command.help and command.help.splitlines()[0].endswith("."), words
        for parameter in command.params:
            assert parameter.help, (words, parameter.name)


def test_doctor():
    done = python(MAIN, "doctor")
    checks = json.loads(python(MAIN, "doctor", "--json").stdout)
    names = {check["name"] for check in checks}
    one_word = "python libraries device audio disk phases audiocraft"
    assert {*one_word.split(), "model cache", "model nano"} <= names
    has_fault = any(check["required"] and not check["ok"] for check in checks)
    assert done.returncode == (1 if has_fault else 0)
    for check in checks:
        assert check["ok"] or (check["fix"] and check["fix"] in done.stdout)


def test_doctor_fails_where_something_required_is_missing():
    code = """
import importlib.util
find = importlib.util.find_spec
hidden = ("zarr", "audiocraft")
importlib.util.find_spec = lambda name, *rest: None if name in hidden else find(name, *rest)
from musicgen_emotion.cli import app
app(["doctor"])
"""
    done = python(code)
    assert done.returncode == 1
    assert "MISSING   library zarr" in done.stdout
    assert "-m pip install zarr" in done.stdout
    line, fix = re.search(r"^(optional +audiocraft.*)\n(.*)$", done.stdout, re.M).groups()
    assert line.endswith("not installed")
    assert all(f"{sys.executable} -m {command}" in fix for command in INSTALL_COMMANDS)


@pytest.mark.parametrize(
    "hidden,found",
    [
        (["audiocraft"], "not installed"),
        (["flashy", "num2words"], "lacks flashy, num2words"),
        (["audiocraft", "einops"], "not installed"),
    ],
)
def test_doctor_on_audiocraft(hidden, found, monkeypatch):
    find = importlib.util.find_spec

    def find_spec(name, *rest):
        return None if name in hidden else find(name, *rest) or "there"

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    check = check_audiocraft()
    assert (check.ok, check.required, check.found) == (False, False, found)
    assert check.fix == " && ".join(
        f"{sys.executable} -m {command}" for command in INSTALL_COMMANDS
    )


# ---- models


def test_models(tiny):
    names = [model["name"] for model in records("models", "list")]
    assert names[:2] == ["nano", "facebook/musicgen-small"]
    assert "facebook/musicgen-large" in call("models", "list").stdout
    shown = records("models", "show", tiny)
    assert shown["config"]["n_layers"] == 3
    assert "layer_2.cross_attn" in shown["sites"]
    assert len(shown["checksum"]) >= 32
    assert "checksum" in call("models", "show", tiny).stdout


def test_models_errors(tmp_path):
    small = "facebook/musicgen-small"
    offline = dict(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    misspelled = refused("models", "download", "facebook/musicgen-smal")
    assert f"did you mean {small!r}" in misspelled
    assert "comes with the package" in refused("models", "download", "nano")
    assert "could not be downloaded" in refused("models", "download", small, **offline)
    not_here = refused("models", "show", small, **offline)
    assert f"musicgen-emotion models download {small}" in not_here
    assert "has no config.json" in refused("models", "show", tmp_path)


def test_half_a_download_is_not_here(tmp_path):
    "A snapshot whose index names a shard that did not arrive."
    model = tmp_path / "hub/models--facebook--musicgen-large"
    snapshot = model / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs/main").write_text("a" * 40)
    (snapshot / "config.json").write_text("{}")
    index = {"weight_map": {"w": "model-00001-of-00002.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    rows = records("models", "list", HF_HOME=str(tmp_path))
    here = {row["name"]: row["here"] for row in rows}
    assert here["facebook/musicgen-large"] == "no"


# ---- generate and trace


def test_generate_two_seconds(nano, tmp_path):
    import pandas as pd
    import soundfile

    prompt = "a happy song with piano"
    options = ["--model", nano, "--duration", "2", "--seed", "7", "--n", "2"]
    words = ["generate", prompt, *options, "--out", tmp_path / "clips"]
    paths = [Path(line) for line in call(*words).stdout.splitlines()]
    assert len(paths) == 2
    assert all(path.suffix == ".flac" and path.exists() for path in paths)
    wave, rate = soundfile.read(paths[0])
    assert abs(len(wave) / rate - 2) < 0.1
    table = pd.read_parquet(tmp_path / "clips/clips.parquet")
    assert sorted(table.seed) == [7, 8]
    assert set(table.prompt) == {prompt}
    before = [path.read_bytes() for path in paths]
    assert [Path(line) for line in call(*words).stdout.splitlines()] == paths
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize(
    "words,message",
    [
        (["generate", "x", "--model", "nanno"], "nanno"),
        (["generate", "  "], "prompt must say"),
        (["generate", "x", "--duration", "0"], "--duration must be a finite number > 0; got 0.0"),
        (["generate", "x", "--duration", "nan"], "--duration must be"),
        (["generate", "x", "--n", "0"], "--n must be a whole number >= 1; got 0"),
        (["generate", "x", "--top-k", "-1"], "--top-k must be a whole number >= 0; got -1"),
        (["generate", "x", "--seed", "a"], "Invalid value for '--seed'"),
        (["generate"], "Missing argument"),
        (["generate", "x", "--lenght", "2"], "No such option: --lenght"),
        (["genrate", "x"], "No such command 'genrate'"),
        (["run", "phase77"], "phase 'phase77' is not known"),
        (["status", "/no/such/folder"], "folder '/no/such/folder' does not exist"),
        (["report", "/no/such/folder"], "holds no run"),
        (["compare", "/no/such/folder", "/no/such/folder"], "holds no run"),
        (["compare", "/no/such/folder"], "Missing argument"),
    ],
)
def test_wrong_calls(words, message, tmp_path):
    assert message in refused(*words, cwd=tmp_path)


def test_debug_shows_the_traceback(tmp_path):
    done = python(MAIN, "status", "nowhere", "--debug", cwd=tmp_path)
    assert done.returncode
    assert "Traceback" in done.stderr and "does not exist" in done.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("audiocraft") is None,
    reason="audiocraft is not installed (`make env` installs it)",
)
def test_the_other_backend(tiny, tmp_path):
    "show, trace and generate through audiocraft; in this process, which has the library loaded."
    from typer.testing import CliRunner

    def output(*words, code=0):
        answer = CliRunner().invoke(app, [*map(str, words)])
        assert answer.exit_code == code, (answer.output, answer.exception)
        return answer.output

    backends = ("transformers", "audiocraft")
    shown = {}
    for name in backends:
        shown[name] = json.loads(output("models", "show", tiny, "--json", "--backend", name))
    ours, other = (shown[name] for name in backends)
    assert other["backend"] == "audiocraft"
    assert other["checksum"] != ours["checksum"]
    assert (other["config"], other["sites"]) == (ours["config"], ours["sites"])
    audiocraft = ["--backend", "audiocraft"]
    assert "cond" in output("trace", tiny, "a sad slow piano ballad", *audiocraft)
    options = ["--model", tiny, "--duration", "0.2", "--out", tmp_path / "clips"]
    path = output("generate", "sad", *options, *audiocraft).splitlines()[-1]
    assert Path(path).stat().st_size > 100
    for words in (
        ["models", "show", "facebook/musicgen-melody"],
        ["models", "download", "facebook/musicgen-melody"],
        ["trace", "facebook/musicgen-melody", "sad"],
    ):
        assert "use backend='transformers'" in output(*words, *audiocraft, code=2)


def test_out_that_is_a_file(nano, tmp_path):
    (tmp_path / "file").write_text("x")
    options = ["--model", nano, "--duration", "0.4", "--out", tmp_path / "file"]
    assert "is a file" in refused("generate", "x", *options)


def test_trace(nano):
    text = call("trace", nano, "a sad slow piano ballad").stdout
    assert "branch" in text and "cond" in text


# ---- studies


@pytest.fixture
def phase(tmp_path):
    "A phase that fails for seed 9."
    texts = [
        'seed: int = 0  # seed\nnote: str = ""  # text\nout_dir: str = "r"',
        "from musicgen_emotion.lab.phases import start_phase\n"
        'run = start_phase("phase8_cli", globals())',
        'run.gate("seed", seed, seed, seed, threshold=1, why="above one");\n1 / (seed - 9)',
        "run.close();",
    ]
    cells = [nbformat.v4.new_code_cell(text) for text in texts]
    cells[0].metadata.tags = ["parameters"]
    kernel = dict(name="python3", display_name="python3", language="python")
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel))
    nbformat.write(notebook, tmp_path / "phase8_cli.ipynb")
    return tmp_path / "phase8_cli.ipynb"


def test_run_status_report_and_repeat(phase, tmp_path):
    (tmp_path / "p.yaml").write_text("seed: 3\nnote: from file\n")
    words = ["run", phase, "-p", "note=a=b", "-f", tmp_path / "p.yaml", "--out", tmp_path / "res"]
    done = call(*words)
    assert "gates 1/1 GO" in done.stdout
    assert "Executing" in done.stderr
    manifest = json.loads((tmp_path / "res/phase8_cli/manifest.json").read_text())
    assert manifest["parameters"]["seed"] == 3
    assert manifest["parameters"]["note"] == "a=b"
    assert "nothing to do" in call(*words).stdout
    assert records("status", tmp_path / "res")[0]["status"] == "finished"
    assert "finished" in call("status", tmp_path / "res").stdout
    assert "# phase8_cli: GO" in call("report", tmp_path / "res/phase8_cli").stdout
    other = refused("run", phase, "-p", "seed=4", "--out", tmp_path / "res")
    assert "other parameters" in other


def test_wrong_parameters_make_no_folder(phase, tmp_path):
    out = ["--out", tmp_path / "res"]
    assert "parameter 'sead' is not known" in refused("run", phase, "-p", "sead=1", *out)
    assert "'seed' must be int; got '1.5'" in refused("run", phase, "-p", "seed=1.5", *out)
    assert "-p must read name=value" in refused("run", phase, "-p", "seed", *out)
    assert not (tmp_path / "res").exists()


def test_failed_phase_and_sweep(phase, tmp_path):
    failed = call("run", phase, "-p", "seed=9", "--out", tmp_path / "failed", code=1)
    assert "division by zero" in failed.stderr and "ZeroDivision" not in failed.stderr
    assert "Traceback" not in failed.stderr
    options = ["--sweep", "seed=1,9", "--jobs", "2", "--out", tmp_path / "swept"]
    swept = call("run", phase, *options).stdout
    assert "seed=1" in swept and "failed" in swept


def test_run_without_a_phase_lists_them():
    assert "phase" in call("run").stdout


# ---- compare


@pytest.fixture
def runs(tmp_path):
    "Folders `a`, `b` and `c` with a run each; the one in `c` has another gate."
    import pandas as pd

    from musicgen_emotion.lab.runs import open_run

    for name, value in (("a", 0.9), ("b", 0.9), ("c", 0.7)):
        with open_run(tmp_path / name / "phase0", "phase0") as run:
            run.table(pd.DataFrame(dict(score=[value, 1.0])), "scores")
            run.gate("score", value, value, value, threshold=0.8)
    return tmp_path


def test_compare_two_runs(runs):
    same = call("compare", runs / "a/phase0", runs / "b/phase0", code=0)
    assert same.stdout.startswith("phase0: same (1 tables, 1 gates")
    different = call("compare", runs / "a/phase0", runs / "c/phase0", code=1)
    assert "gate 'score': flipped (passed -> failed" in different.stdout
    assert "scores.csv, column score: differs" in different.stdout
    assert "largest difference 0.2" in different.stdout


def test_compare_with_tolerance_still_sees_the_flip(runs):
    words = ["compare", runs / "a/phase0", runs / "c/phase0", "--atol", "1"]
    assert "column" not in call(*words, code=1).stdout.splitlines()[-1]


def test_compare_two_folders_of_runs(runs):
    call("compare", runs / "a", runs / "b", code=0)
    assert "flipped" in call("compare", runs / "a", runs / "c", code=1).stdout
    assert "holds no run" in refused("compare", runs / "a/phase0", runs / "b")
    assert "rtol must be" in refused("compare", runs / "a", runs / "b", "--rtol", "-1")
