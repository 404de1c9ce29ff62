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
from musicgen_emotion.models.audiocraft_import import COMMANDS

ROOT = Path(musicgen_emotion.__file__).parents[1]
ENV = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
MAIN = [
    sys.executable,
    "-c",
    'from musicgen_emotion.cli import app; app(prog_name="musicgen-emotion")',
]


def call(*args, cwd=None, code=0, **env):
    r = subprocess.run(
        [*MAIN, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ENV, "COLUMNS": "80", **env},
        timeout=600,
    )
    assert r.returncode == code, (r.returncode, r.stdout[-3000:], r.stderr[-3000:])
    return r


def refused(*args, **kw):
    "The one line on standard error of a wrong call."
    r = call(*args, code=2, **kw)
    lines = [l for l in r.stderr.splitlines() if l.strip()]
    assert (
        len(lines) == 1
        and lines[0].startswith("error: ")
        and "Traceback" not in r.stderr
        and not r.stdout
    ), (r.stdout, r.stderr)
    return lines[0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from musicgen_emotion.models.tiny import write_random_model

    return write_random_model(tmp_path_factory.mktemp("models") / "tiny", sample_rate=8000)


@pytest.fixture(scope="module")
def nano(tiny):
    "The packaged model; its stand-in with random weights where it was not made yet."
    return "nano" if is_here("nano") else str(tiny)


def test_help_names_every_command_and_loads_nothing_heavy():
    code = "import sys\nfrom musicgen_emotion.cli import app\ntry: app(['--help'])\nexcept SystemExit as e: sys.exit(str(sorted({'torch', 'transformers', 'pandas', 'librosa', 'papermill', 'matplotlib'} & set(sys.modules))) if not e.code else 'failed')"
    r = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV)
    assert r.stderr.strip() == "[]"
    assert all(
        c in r.stdout for c in ("doctor", "models", "run", "status", "report", "trace", "generate")
    )


def test_doctor():
    r = subprocess.run([*MAIN, "doctor"], capture_output=True, text=True, env=ENV)
    checks = json.loads(
        subprocess.run([*MAIN, "doctor", "--json"], capture_output=True, text=True, env=ENV).stdout
    )
    names = {c["name"] for c in checks}
    assert {
        "python",
        "libraries",
        "device",
        "audio",
        "disk",
        "model cache",
        "model nano",
        "phases",
        "audiocraft",
    } <= names
    assert r.returncode == (1 if any(c["required"] and not c["ok"] for c in checks) else 0)
    for c in checks:
        assert c["ok"] or (c["fix"] and c["fix"] in r.stdout)


def test_doctor_fails_where_something_required_is_missing():
    code = "import importlib.util as u, sys\nfind = u.find_spec\nu.find_spec = lambda n, *a: None if n in ('zarr', 'audiocraft') else find(n, *a)\nfrom musicgen_emotion.cli import app\napp(['doctor'])"
    r = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV)
    assert (
        r.returncode == 1
        and "MISSING   library zarr" in r.stdout
        and "-m pip install zarr" in r.stdout
    )
    line, fix = re.search(r"^(optional +audiocraft.*)\n(.*)$", r.stdout, re.M).groups()
    assert line.endswith("not installed") and all(
        f"{sys.executable} -m {c}" in fix for c in COMMANDS
    )


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
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n in hidden else find(n, *a) or "there"
    )
    check = check_audiocraft()
    assert (check.ok, check.required, check.found) == (
        False,
        False,
        found,
    ) and check.fix == " && ".join(f"{sys.executable} -m {c}" for c in COMMANDS)


def test_models(tiny):
    rows = json.loads(call("models", "list", "--json").stdout)
    assert [r["name"] for r in rows][:2] == [
        "nano",
        "facebook/musicgen-small",
    ] and "facebook/musicgen-large" in call("models", "list").stdout
    shown = json.loads(call("models", "show", tiny, "--json").stdout)
    assert (
        shown["config"]["n_layers"] == 3
        and "layer_2.cross_attn" in shown["sites"]
        and len(shown["checksum"]) >= 32
    )
    assert "checksum" in call("models", "show", tiny).stdout


def test_models_errors(tmp_path):
    assert "did you mean 'facebook/musicgen-small'" in refused(
        "models", "download", "facebook/musicgen-smal"
    )
    assert "comes with the package" in refused("models", "download", "nano")
    assert "could not be downloaded" in refused(
        "models", "download", "facebook/musicgen-small", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path)
    )
    assert "musicgen-emotion models download facebook/musicgen-small" in refused(
        "models", "show", "facebook/musicgen-small", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path)
    )
    assert "has no config.json" in refused("models", "show", tmp_path)


def test_half_a_download_is_not_here(tmp_path):
    "A snapshot whose index names a shard that did not arrive."
    snap = tmp_path / "hub/models--facebook--musicgen-large"
    (snap / "refs").mkdir(parents=True)
    (snap / "refs/main").write_text("a" * 40)
    (snap / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (snap / "snapshots" / ("a" * 40) / "config.json").write_text("{}")
    (snap / "snapshots" / ("a" * 40) / "model.safetensors.index.json").write_text(
        '{"weight_map": {"w": "model-00001-of-00002.safetensors"}}'
    )
    rows = json.loads(call("models", "list", "--json", HF_HOME=str(tmp_path)).stdout)
    assert {r["name"]: r["here"] for r in rows}["facebook/musicgen-large"] == "no"


def test_generate_two_seconds(nano, tmp_path):
    import pandas as pd
    import soundfile

    args = [
        "generate",
        "a happy song with piano",
        "--model",
        nano,
        "--duration",
        "2",
        "--seed",
        "7",
        "--n",
        "2",
        "--out",
        tmp_path / "clips",
    ]
    paths = [Path(p) for p in call(*args).stdout.splitlines()]
    assert len(paths) == 2 and all(p.suffix == ".flac" and p.exists() for p in paths)
    wave, rate = soundfile.read(paths[0])
    assert abs(len(wave) / rate - 2) < 0.1
    table = pd.read_parquet(tmp_path / "clips/clips.parquet")
    assert sorted(table.seed) == [7, 8] and set(table.prompt) == {"a happy song with piano"}
    before = {p: p.read_bytes() for p in paths}
    assert [Path(p) for p in call(*args).stdout.splitlines()] == paths and {
        p: p.read_bytes() for p in paths
    } == before


@pytest.mark.parametrize(
    "args,message",
    [
        (["generate", "x", "--model", "nanno"], "nanno"),
        (["generate", "  "], "prompt must say"),
        (["generate", "x", "--duration", "0"], "--duration must be a finite number > 0; got 0.0"),
        (["generate", "x", "--duration", "nan"], "--duration must be"),
        (["generate", "x", "--n", "0"], "--n must be"),
        (["generate", "x", "--seed", "a"], "Invalid value for '--seed'"),
        (["generate"], "Missing argument"),
        (["generate", "x", "--lenght", "2"], "No such option: --lenght"),
        (["genrate", "x"], "No such command 'genrate'"),
        (["run", "phase77"], "phase 'phase77' is not known"),
        (["status", "/no/such/folder"], "folder '/no/such/folder' does not exist"),
        (["report", "/no/such/folder"], "holds no run"),
    ],
)
def test_wrong_calls(args, message, tmp_path):
    assert message in refused(*args, cwd=tmp_path)


def test_debug_shows_the_traceback(tmp_path):
    r = subprocess.run(
        [*MAIN, "status", "nowhere", "--debug"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=ENV,
    )
    assert r.returncode and "Traceback" in r.stderr and "does not exist" in r.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("audiocraft") is None,
    reason="audiocraft is not installed (`make env` installs it)",
)
def test_the_other_backend(tiny, tmp_path):
    "models show, trace and generate through audiocraft, from the same folder; in this process, which has the library loaded."
    from typer.testing import CliRunner

    def said(*args, code=0):
        r = CliRunner().invoke(app, [*map(str, args)])
        assert r.exit_code == code, (r.output, r.exception)
        return r.output

    shown = {
        b: json.loads(said("models", "show", tiny, "--json", "--backend", b))
        for b in ("transformers", "audiocraft")
    }
    assert (
        shown["audiocraft"]["backend"] == "audiocraft"
        and shown["audiocraft"]["checksum"] != shown["transformers"]["checksum"]
    )
    assert all(shown["audiocraft"][k] == shown["transformers"][k] for k in ("config", "sites"))
    assert "cond" in said("trace", tiny, "a sad slow piano ballad", "--backend", "audiocraft")
    path = said(
        "generate",
        "sad",
        "--model",
        tiny,
        "--duration",
        "0.2",
        "--backend",
        "audiocraft",
        "--out",
        tmp_path / "clips",
    ).splitlines()[-1]
    assert Path(path).stat().st_size > 100
    for args in (
        ["models", "show", "facebook/musicgen-melody"],
        ["models", "download", "facebook/musicgen-melody"],
        ["trace", "facebook/musicgen-melody", "sad"],
    ):
        assert "use backend='transformers'" in said(*args, "--backend", "audiocraft", code=2)


def test_out_that_is_a_file(nano, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "is a file" in refused(
        "generate", "x", "--model", nano, "--duration", "0.4", "--out", tmp_path / "file"
    )


def test_trace(nano):
    text = call("trace", nano, "a sad slow piano ballad").stdout
    assert "branch" in text and "cond" in text


def _phase(folder, *cells):
    nb = nbformat.v4.new_notebook(
        metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    )
    nb.cells = [nbformat.v4.new_code_cell(c) for c in cells]
    nb.cells[0].metadata.tags = ["parameters"]
    nbformat.write(nb, folder / "phase8_cli.ipynb")
    return folder / "phase8_cli.ipynb"


def test_run_status_report_and_repeat(tmp_path):
    nb = _phase(
        tmp_path,
        'seed: int = 0  # seed\nnote: str = ""  # text\nout_dir: str = "r"',
        'from musicgen_emotion.lab.phases import start_phase\nrun = start_phase("phase8_cli", globals())',
        'run.gate("seed", seed, threshold=1, why="above one");\n1/(seed - 9)',
        "run.close();",
    )
    (tmp_path / "p.yaml").write_text("seed: 3\nnote: from file\n")
    r = call("run", nb, "-p", "note=a=b", "-f", tmp_path / "p.yaml", "--out", tmp_path / "res")
    assert "gates 1/1 GO" in r.stdout and "Executing" in r.stderr
    m = json.loads((tmp_path / "res/phase8_cli/manifest.json").read_text())
    assert m["parameters"]["seed"] == 3 and m["parameters"]["note"] == "a=b"
    assert (
        "nothing to do"
        in call(
            "run", nb, "-p", "note=a=b", "-f", tmp_path / "p.yaml", "--out", tmp_path / "res"
        ).stdout
    )
    assert (
        json.loads(call("status", tmp_path / "res", "--json").stdout)[0]["status"] == "finished"
        and "finished" in call("status", tmp_path / "res").stdout
    )
    assert "# phase8_cli: GO" in call("report", tmp_path / "res/phase8_cli").stdout
    assert "parameter 'sead' is not known" in refused(
        "run", nb, "-p", "sead=1", "--out", tmp_path / "res2"
    )
    assert "'seed' must be int; got '1.5'" in refused(
        "run", nb, "-p", "seed=1.5", "--out", tmp_path / "res2"
    )
    assert "-p must read name=value" in refused("run", nb, "-p", "seed", "--out", tmp_path / "res2")
    assert "other parameters" in refused("run", nb, "-p", "seed=4", "--out", tmp_path / "res")
    assert not (tmp_path / "res2").exists()
    failed = call("run", nb, "-p", "seed=9", "--out", tmp_path / "res3", code=1)
    assert "ZeroDivisionError" in failed.stderr and "Traceback" not in failed.stderr
    swept = call("run", nb, "--sweep", "seed=1,9", "--jobs", "2", "--out", tmp_path / "res4").stdout
    assert "seed=1" in swept and "failed" in swept


def test_run_without_a_phase_lists_them():
    assert "phase" in call("run").stdout
