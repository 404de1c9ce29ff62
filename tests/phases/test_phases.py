"Phase notebooks: parameters are checked before anything runs, and a run that did not finish says so."

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest

import musicgen_emotion
from musicgen_emotion.lab.parameters import parse_parameters, read_parameters, resolve_parameters
from musicgen_emotion.lab.phase_files import find_phase, list_phases, sync_phases
from musicgen_emotion.lab.phases import PhaseError, run_phase, run_status, start_phase
from musicgen_emotion.lab.plans import plan, run_phases, run_plan
from musicgen_emotion.lab.report import run_report
from musicgen_emotion.lab.runs import run_manifest

ROOT = Path(musicgen_emotion.__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def notebook(folder, name, *cells, tag=True):
    nb = nbformat.v4.new_notebook(
        metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    )
    nb.cells = [nbformat.v4.new_code_cell(c) for c in cells]
    if tag:
        nb.cells[0].metadata.tags = ["parameters"]
    nbformat.write(nb, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


OPEN = 'from musicgen_emotion.lab.phases import start_phase\nrun = start_phase("{}", globals())'


@pytest.fixture
def good(tmp_path):
    return notebook(
        tmp_path,
        "phase8_good",
        'n: int = 2  # how many, count\nnote: str = "a=b"  # text\nx: float | None = None  # number\nout_dir: str = "r"  # run folder',
        OPEN.format("phase8_good"),
        'run.gate("n", n, threshold=1)\n(run.path/"seen.txt").write_text(repr((n, note, x)))',
        "run.close();",
    )


# ---- the parameters cell


def test_all_supported_types():
    spec = parse_parameters("""
a: int = -3  # count
b: float = 1e-3  # rate, 1/s
c: bool = False
d: str = 'x = y # no comment'  # text with an equals sign and a hash
e: float | None = None  # maybe
f: Literal['cond', 'both', 3] = 'cond'
g: list[str] = ['a', 'b']
h: list[int] = []
i: list[float] | None = None
""")
    assert [p.kind for p in spec.values()] == [
        "int",
        "float",
        "bool",
        "str",
        "float | None",
        "Literal['cond', 'both', 3]",
        "list[str]",
        "list[int]",
        "list[float] | None",
    ]
    assert (
        spec["d"].default == "x = y # no comment"
        and spec["d"].meaning == "text with an equals sign and a hash"
        and spec["b"].meaning == "rate, 1/s"
    )


@pytest.mark.parametrize(
    "source,message",
    [
        ("a = 1", "must read `name: type = literal"),
        ("import os", "must read `name: type"),
        ("a: int", "must read"),
        ("a: int = 1 + 1", "must be a literal"),
        ("a: int = 1.5", "'a' must be int"),
        ("a: dict = {}", "not supported"),
        ("a: int = True", "'a' must be int"),
        ("a: int = 1\na: int = 2", "stands twice"),
    ],
)
def test_bad_parameters_cell(source, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        parse_parameters(source)


def test_notebook_without_the_tag_is_refused_and_nothing_runs(tmp_path):
    nb = notebook(
        tmp_path,
        "phase8_untagged",
        "n: int = 1",
        f'open({str(tmp_path / "ran")!r}, "w")',
        tag=False,
    )
    with pytest.raises(ValueError, match="exactly one cell tagged 'parameters'; found 0"):
        run_phase(nb, out=tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "ran").exists()


def test_file_that_is_no_notebook(tmp_path):
    (tmp_path / "x.ipynb").write_text("[]")
    with pytest.raises(ValueError, match="is not a notebook"):
        read_parameters(tmp_path / "x.ipynb")
    (tmp_path / "x.ipynb").write_text('{"cells": ')
    with pytest.raises(ValueError, match="not valid JSON"):
        read_parameters(tmp_path / "x.ipynb")


@pytest.mark.parametrize(
    "params,error,message",
    [
        (
            dict(m=1),
            ValueError,
            "parameter 'm' is not known to phase8_good; accepted: n, note, x, out_dir",
        ),
        (dict(nota="x"), ValueError, "did you mean 'note'?"),
        (dict(n="2"), TypeError, "'n' must be int; got '2' of type str"),
        (dict(n=True), TypeError, "'n' must be int"),
        (dict(x="a"), TypeError, "'x' must be float | None"),
        (dict(x=float("nan")), TypeError, "'x' must be float | None; got nan"),
    ],
)
def test_wrong_parameters_stop_before_anything_runs(good, tmp_path, params, error, message):
    with pytest.raises(error, match=re.escape(message)):
        run_phase(good, params, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- parameter files


def test_precedence_defaults_files_command_line(good, tmp_path):
    (tmp_path / "base.yaml").write_text("n: 3\nnote: base\nx: 1e-3\n")
    (tmp_path / "mine.yaml").write_text("note: mine\nphase8_good:\n  x: 0.5\n")
    files = [tmp_path / "base.yaml", tmp_path / "mine.yaml"]
    value = lambda *a: next(iter(resolve_parameters([good], *a).values()))
    assert value([files[0]])["x"] == 0.001
    v = value(files, {"n": "7"})
    assert (v["n"], v["note"], v["x"]) == (7, "mine", 0.5)
    assert value(files, {"phase8_good.note": "p=q", "x": "none"}) | {"out_dir": ""} == dict(
        n=3, note="p=q", x=None, out_dir=""
    )


@pytest.mark.parametrize(
    "text,message",
    [
        ("n: [1", "is not valid YAML"),
        ("just text", "lines of the form"),
        ("m: 1", "parameter 'm' is not known"),
        ("n: many", "'n' must be int"),
        ("phase77:\n  n: 1", "section 'phase77' is not known"),
        ("out_dir: x", "use --out"),
    ],
)
def test_bad_parameter_file(good, tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        resolve_parameters([good], [tmp_path / "p.yaml"])


def test_supplied_files_fit_the_phases():
    if not list_phases():
        pytest.skip("no phase notebooks in this checkout")
    for name in ("nano", "small", "large"):
        assert len(resolve_parameters(list(list_phases()), [name])) == len(list_phases())


def test_nano_file_repeats_the_defaults():
    if not list_phases():
        pytest.skip("no phase notebooks in this checkout")
    for name, values in resolve_parameters(list(list_phases()), ["nano"]).items():
        defaults = {k: v.default for k, v in read_parameters(name).items()}
        assert {k: v for k, v in values.items() if k != "out_dir" and v != defaults[k]} == {}, (
            name.stem
        )


def _code(path):
    return [
        "".join(c["source"])
        for c in json.loads(path.read_text())["cells"]
        if c["cell_type"] == "code"
    ]


@pytest.mark.parametrize("phase", ["phase1_sae", "phase2_steering"])
def test_findings_read_only_what_their_phase_writes(phase):
    if phase not in list_phases():
        pytest.skip("no phase notebooks in this checkout")
    study, page = list_phases()[phase], ROOT / "nbs/findings" / f"{phase[:6]}.ipynb"
    wanted = set(re.findall(r"read\('([\w.]+)'\)", "\n".join(_code(page)))) | {
        f"{n}.png" for n in re.findall(r"figure\('(\w+)'\)", "\n".join(_code(page)))
    }
    written = set(re.findall(r"'([\w]+\.(?:csv|parquet|png|md|html))'", "\n".join(_code(study))))
    assert len(wanted) > 8 and wanted <= written, wanted - written


def test_real_embeddings_run_through_phase_1(data_dir):
    if "phase1_sae" not in list_phases():
        pytest.skip("no phase notebooks in this checkout")
    from musicgen_emotion.sae.training import TrainConfig

    cells = _code(list_phases()["phase1_sae"])
    ns = dict(
        embeddings=str(data_dir / "t5_emotion_prompts"),
        embedding_labels=None,
        expansion=0.5,
        short=TrainConfig(steps=20, seed=0),
        n_perm=20,
        n_boot=20,
        seed=0,
        run=SimpleNamespace(table=lambda t, name: t),
    )
    exec(next(c for c in cells if "import numpy" in c), ns)
    with pytest.warns(UserWarning, match="can memorize them"):
        exec(next(c for c in cells if "load_embeddings(" in c), ns)
    own = ns["own"]
    assert (
        set(own.rows) == {100}
        and set(own.d_sae) == {384}
        and own["count"].ge(0).all()
        and np.isfinite(own.mse).all()
        and own.warning.str.contains("participation").all()
    )


# ---- running


def test_finished_run(good, tmp_path):
    r = run_phase(good, dict(n=5, note='it\'s = "x"'), tmp_path / "out", progress=False)
    assert (tmp_path / "out/seen.txt").read_text() == repr((5, 'it\'s = "x"', None))
    assert (
        r.status == "finished"
        and r.gates[0].passed
        and not list((tmp_path / "out").glob("notebook.[fr]*"))
    )
    m = run_manifest(tmp_path / "out")
    assert (
        m["status"] == "finished"
        and m["parameters"]["n"] == 5
        and m["end"]
        and m["notebook"].endswith("phase8_good.ipynb")
    )
    nb = nbformat.read(tmp_path / "out/notebook.ipynb", 4)
    assert all(c.execution_count for c in nb.cells if c.cell_type == "code")
    assert "| n | 5 " in run_report(tmp_path / "out") and "# phase8_good: GO" in run_report(
        tmp_path / "out"
    )
    before = (tmp_path / "out/notebook.ipynb").stat().st_mtime_ns
    assert run_phase(good, dict(n=5, note='it\'s = "x"'), tmp_path / "out").status == "current"
    assert (tmp_path / "out/notebook.ipynb").stat().st_mtime_ns == before
    (tmp_path / "out/left.txt").write_text("x")
    assert (
        run_phase(good, dict(n=6), tmp_path / "out", fresh=True, progress=False).status
        == "finished"
        and not (tmp_path / "out/left.txt").exists()
    )


def test_other_code_on_kept_work_is_said_and_recorded(good, tmp_path):
    first = run_phase(good, out=tmp_path / "out", progress=False)
    old = run_manifest(first.out)["code"]
    nb = nbformat.read(good, 4)
    nb.cells[2].source += "\nseen = 1"
    nbformat.write(nb, good)
    with pytest.warns(UserWarning, match=r"was begun by other code.*--fresh"):
        run_phase(good, out=tmp_path / "out", progress=False)
    assert (
        [r["code"] for r in run_manifest(first.out)["resumed"]]
        == [old]
        != [run_manifest(first.out)["code"]]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_phase(good, out=tmp_path / "out", progress=False).status == "current"
        assert (
            run_phase(good, out=tmp_path / "out", progress=False, fresh=True).status == "finished"
        )
        assert run_phase(good, out=tmp_path / "new", progress=False).status == "finished"


def test_failing_notebook_is_kept_but_not_published(tmp_path, good):
    bad = notebook(
        tmp_path,
        "phase8_bad",
        'n: int = 1  # count\nout_dir: str = "r"',
        OPEN.format("phase8_bad"),
        'if n < 2: raise KeyError("lost")',
        "run.close();",
    )
    with pytest.raises(
        PhaseError, match="phase8_bad failed: cell .*KeyError: 'lost'.*notebook.failed.ipynb"
    ):
        run_phase(bad, out=tmp_path / "out", progress=False)
    assert (
        not (tmp_path / "out/notebook.ipynb").exists()
        and "lost" in (tmp_path / "out/notebook.failed.ipynb").read_text()
    )
    m = run_manifest(tmp_path / "out")
    assert m["status"] == "failed" and "KeyError" in m["message"] and m["end"]
    with pytest.raises(PhaseError):
        run_phases([bad, good], tmp_path / "series", progress=False)
    assert not (tmp_path / "series/phase8_good").exists()


def test_notebook_that_forgets_to_close_its_run_is_not_finished(tmp_path):
    nb = notebook(tmp_path, "phase8_open", 'out_dir: str = "r"', OPEN.format("phase8_open"))
    with pytest.raises(PhaseError, match="without closing the run"):
        run_phase(nb, out=tmp_path / "out", progress=False)
    assert run_manifest(tmp_path / "out")["status"] == "failed"


def test_kernel_that_dies(tmp_path):
    nb = notebook(
        tmp_path,
        "phase8_dies",
        'out_dir: str = "r"',
        OPEN.format("phase8_dies"),
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    )
    with pytest.raises(PhaseError, match="the kernel died"):
        run_phase(nb, out=tmp_path / "out", progress=False)
    assert run_manifest(tmp_path / "out")["status"] == "failed"


def test_syntax_error_in_a_cell(tmp_path):
    nb = notebook(tmp_path, "phase8_syntax", "n: int = 1", "x = = 2")
    with pytest.raises(PhaseError, match="SyntaxError"):
        run_phase(nb, out=tmp_path / "out", progress=False)


def _wait(check, seconds=60):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def _dead(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def slow(tmp_path):
    return notebook(
        tmp_path,
        "phase8_slow",
        'pause: float = 0.0  # seconds\nout_dir: str = "r"',
        OPEN.format("phase8_slow"),
        'import os, time\n(run.path/"pid").write_text(str(os.getpid()))\nwhile not (run.path/"go").exists(): time.sleep(.05)',
        "run.close();",
    )


RUN = "import sys; from musicgen_emotion.lab.phases import run_phase; run_phase(sys.argv[1], out=sys.argv[2], progress=False)"


def test_killed_run_is_interrupted_leaves_no_process_and_resumes(slow, tmp_path):
    out = tmp_path / "out"
    p = subprocess.Popen([sys.executable, "-c", RUN, str(slow), str(out)], env=ENV)
    _wait(lambda: (out / "pid").exists() and (out / "pid").read_text())
    kernel = int((out / "pid").read_text())
    assert run_status(out).status.item() == "running"
    with pytest.raises(RuntimeError, match="in use by another process"):
        run_phase(slow, out=out)
    assert run_status(out).status.item() == "running"
    p.send_signal(signal.SIGKILL)
    p.wait()
    row = run_status(out).iloc[0]
    assert row.status == "interrupted" and "without closing" in row.message
    _wait(lambda: _dead(kernel), 20)
    assert not (out / "notebook.ipynb").exists()
    (out / "go").write_text("")
    assert run_phase(slow, out=out, progress=False).status == "finished"
    assert (
        run_manifest(out)["resumed"][0]["status"] == "interrupted"
        and not (out / "notebook.running.ipynb").exists()
    )


def test_keyboard_interrupt(slow, tmp_path):
    out = tmp_path / "out"
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's background job inherits an ignored SIGINT
    p = subprocess.Popen(
        [sys.executable, "-c", heard + RUN, str(slow), str(out)],
        env=ENV,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _wait(lambda: (out / "pid").exists() and (out / "pid").read_text())
    os.killpg(p.pid, signal.SIGINT)
    p.wait(30)
    assert run_manifest(out)["status"] == "interrupted"
    _wait(lambda: _dead(int((out / "pid").read_text())), 20)


def test_opened_by_hand_in_a_notebook(good, tmp_path):
    with start_phase(
        str(good), dict(n=4, note="x", x=None, out_dir=str(tmp_path / "hand"), other=object())
    ) as run:
        pass
    assert run.manifest["parameters"]["n"] == 4
    with pytest.raises(TypeError, match="'n' must be int"):
        start_phase(str(good), dict(n="4", out_dir=str(tmp_path / "hand2")))


# ---- plans and status


def test_plan_runs_all_and_one_failure_does_not_stop_the_rest(tmp_path):
    nb = notebook(
        tmp_path,
        "phase8_some",
        'n: int = 1  # count\nout_dir: str = "r"',
        OPEN.format("phase8_some"),
        'if n == 2: raise ValueError("two")',
        "run.close();",
    )
    df = run_plan(
        plan(nb, dict(n=[1, 2, 3])), tmp_path / "plan", n_jobs=2, progress=False
    ).set_index("run")
    assert (
        df.status.to_dict() == {"n=1": "finished", "n=2": "failed", "n=3": "finished"}
        and "two" in df.message["n=2"]
    )


def test_plan_is_checked_before_it_runs(good):
    assert [r.name for r in plan(good, dict(n=[1, 2], note=["a", "b"]))] == [
        "n=1-note=a",
        "n=1-note=b",
        "n=2-note=a",
        "n=2-note=b",
    ]
    with pytest.raises(TypeError, match="'n' must be int"):
        plan(good, dict(n=[1, "x"]))
    with pytest.raises(ValueError, match="parameter 'm' is not known"):
        plan(good, dict(m=[1]))


def test_status_shows_a_damaged_run_as_a_row(tmp_path):
    for name, text in dict(a='{"status', b="[]", c='{"phase": "p", "status": "finished"}').items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
    assert run_status(tmp_path).set_index("run").status.to_dict() == dict(
        a="damaged", b="damaged", c="finished"
    )


# ---- the phases of the project


def test_names():
    with pytest.raises(ValueError, match="phase 'fase0' is not known"):
        find_phase("fase0")
    with pytest.raises(ValueError, match="phase '' is not known"):
        find_phase("")
    for name, path in list_phases().items():
        assert find_phase(name) == path


def test_packaged_copies_are_current():
    assert sync_phases(write=False) == [], (
        'run: python -c "from musicgen_emotion.lab.phase_files import sync_phases; sync_phases()"'
    )


# ---- several phases at the same time


def test_two_phases_run_at_the_same_time(tmp_path):
    "Each waits for a file of the other one: run after one another they would never end."
    pair = [
        notebook(
            tmp_path,
            f"phase8_{me}",
            'out_dir: str = "r"  # run folder',
            OPEN.format(f"phase8_{me}"),
            f"import time\nfrom pathlib import Path\nPath({str(tmp_path / me)!r}).touch()\nt = time.monotonic()\n"
            f"while not Path({str(tmp_path / other)!r}).exists():\n    assert time.monotonic() - t < 60\n    time.sleep(.05)",
            "run.close();",
        )
        for me, other in (("a", "b"), ("b", "a"))
    ]
    results = run_phases(pair, tmp_path / "out", progress=False, n_jobs=2)
    assert [(r.phase, r.status) for r in results] == [
        ("phase8_a", "finished"),
        ("phase8_b", "finished"),
    ]


def test_after_a_failure_no_further_phase_is_started(tmp_path):
    make = lambda name, body: notebook(
        tmp_path,
        f"phase8_{name}",
        'out_dir: str = "r"  # run folder',
        OPEN.format(f"phase8_{name}"),
        body,
        "run.close();",
    )
    nbs = [
        make("slow", "import time; time.sleep(6)"),
        make("wrong", 'raise ValueError("seven")'),
        make("never", "pass"),
    ]
    with pytest.raises(PhaseError, match="phase8_wrong failed: .*ValueError: seven"):
        run_phases(nbs, tmp_path / "out", progress=False, n_jobs=2)
    assert run_manifest(tmp_path / "out" / "phase8_slow")["status"] == "finished"
    assert not (tmp_path / "out" / "phase8_never").exists()


def test_interrupt_ends_all_that_run(tmp_path):
    "A SIGINT to the command alone, not to its group, as a job scheduler sends it."
    for name in "ab":
        notebook(
            tmp_path,
            f"phase8_{name}",
            'out_dir: str = "r"  # run folder',
            OPEN.format(f"phase8_{name}"),
            f'open({str(tmp_path / name)!r}, "w").close()\nimport time; time.sleep(300)',
        )
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = (
        heard
        + f"from musicgen_emotion.lab.plans import run_phases; run_phases([{str(tmp_path / 'phase8_a.ipynb')!r}, {str(tmp_path / 'phase8_b.ipynb')!r}], {str(tmp_path / 'out')!r}, n_jobs=2)"
    )
    p = subprocess.Popen(
        [sys.executable, "-c", code],
        env=ENV,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    t = time.monotonic()
    while not ((tmp_path / "a").exists() and (tmp_path / "b").exists()):
        assert p.poll() is None and time.monotonic() - t < 60
        time.sleep(0.1)
    p.send_signal(signal.SIGINT)
    assert p.wait(30) != 0
    assert [run_manifest(tmp_path / "out" / f"phase8_{n}")["status"] for n in "ab"] == [
        "interrupted"
    ] * 2
