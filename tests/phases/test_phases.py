"""Phase notebooks: parameters are checked before anything runs, and no run hides how it ended.

The wheel that carries copies of them is built here, too."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from written import read_files, sources, written_files

import musicgen_emotion
from musicgen_emotion.lab.parameters import (
    check_value,
    parse_parameters,
    read_parameters,
    resolve_parameters,
    value_from_text,
)
from musicgen_emotion.lab.phase_files import find_phase, list_phases, supplied_folder
from musicgen_emotion.lab.phases import PhaseError, run_phase, run_status, start_phase
from musicgen_emotion.lab.plans import plan, run_phases, run_plan
from musicgen_emotion.lab.report import run_report
from musicgen_emotion.lab.runs import run_manifest

ROOT = Path(musicgen_emotion.__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def notebook(folder, name, *texts, tag=True):
    "A notebook with these cells; the first one holds the parameters."
    cells = [nbformat.v4.new_code_cell(text) for text in texts]
    if tag:
        cells[0].metadata.tags = ["parameters"]
    kernel = dict(name="python3", display_name="python3", language="python")
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel)),
        folder / f"{name}.ipynb",
    )
    return folder / f"{name}.ipynb"


def opening(name):
    "The cell that opens the run."
    return (
        "from musicgen_emotion.lab.phases import start_phase\n"
        f'run = start_phase("{name}", globals())'
    )


GOOD_PARAMETERS = """n: int = 2  # how many, count
note: str = "a=b"  # text
x: float | None = None  # number
out_dir: str = "r"  # run folder"""


@pytest.fixture
def good(tmp_path):
    return notebook(
        tmp_path,
        "phase8_good",
        GOOD_PARAMETERS,
        opening("phase8_good"),
        'run.gate("n", n, n, n, threshold=1)\n'
        '(run.path / "seen.txt").write_text(repr((n, note, x)))',
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
    assert [parameter.kind for parameter in spec.values()] == [
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
    assert spec["d"].default == "x = y # no comment"
    assert spec["d"].meaning == "text with an equals sign and a hash"
    assert spec["b"].meaning == "rate, 1/s"
    assert spec["c"].meaning == ""


def test_the_last_comment_inside_a_broken_value_is_its_meaning():
    spec = parse_parameters("""
a: list[str] = [
    "happy",  # first
    "sad",  # emotions of the study
]
b: float = (  # length of a clip, seconds
    8.0
)
c: list[int] = [
    1,  # not this one
]  # layers
d: int = 1
""")
    meanings = [parameter.meaning for parameter in spec.values()]
    assert meanings == ["emotions of the study", "length of a clip, seconds", "layers", ""]


@pytest.mark.parametrize(
    "source,message",
    [
        ("a = 1", "must read `name: type = literal"),
        ("import os", "must read `name: type"),
        ("a: int", "must read"),
        ("a.b: int = 1", "must read"),
        ("a: int = 1 + 1", "must be a literal"),
        ("a: int = 1.5", "'a' must be int"),
        ("a: dict = {}", "not supported"),
        ("a: int = True", "'a' must be int"),
        ("a: int = 1\na: int = 2", "is in the parameters cell twice"),
    ],
)
def test_bad_parameters_cell(source, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        parse_parameters(source)


@pytest.mark.parametrize(
    "kind,value",
    [
        ("int", True),
        ("int", 3.0),
        ("int", "3"),
        ("int", np.int64(3)),
        ("float", True),
        ("float", float("inf")),
        ("float", np.float64(3.0)),
        ("bool", 1),
        ("str", np.str_("a")),
        ("str | None", 3),
        ("Literal[1, 'a']", True),
        ("Literal[1]", 1.0),
        ("Literal[True]", 1),
        ("list[int]", [1, True]),
        ("list[int]", [1, 2.0]),
        ("list[float]", [float("nan")]),
        ("list[int]", "12"),
        ("list[int] | None", {1}),
    ],
)
def test_types_are_exact(kind, value):
    with pytest.raises(TypeError, match=re.escape(f"parameter 'p' must be {kind}; got {value!r}")):
        check_value("p", kind, value)


@pytest.mark.parametrize(
    "kind,value,converted",
    [
        ("float", 3, 3.0),
        ("float | int", 3, 3.0),
        ("int | float", 3, 3),
        ("list[int]", (1, 2), [1, 2]),
        ("list[list[float]]", [(1,), [2]], [[1.0], [2.0]]),
        ("Literal['a', True]", True, True),
        ("None", None, None),
    ],
)
def test_what_is_accepted_in_another_form(kind, value, converted):
    result = check_value("p", kind, value)
    assert (repr(result), type(result)) == (repr(converted), type(converted))


@pytest.mark.parametrize(
    "kind,text,value",
    [
        ("str", "12", "12"),
        ("str | int", "12", 12),
        ("float | None", "None", None),
        ("str | None", "null", None),
        ("bool", "True", True),
        ("list[str]", "['a', 'b']", ["a", "b"]),
        ("list[int] | None", "", []),
        ("Literal['a', 3]", "3", 3),
    ],
)
def test_text_is_read_by_the_type(kind, text, value):
    assert value_from_text("p", kind, text) == value


@pytest.mark.parametrize(
    "kind,text", [("int", "1.5"), ("bool", "yes"), ("float", "nan"), ("list[int]", "a")]
)
def test_text_that_does_not_fit(kind, text):
    with pytest.raises(TypeError, match=re.escape(f"'p' must be {kind}; got")):
        value_from_text("p", kind, text)


@pytest.mark.parametrize("kind", ["dict", "list", "list[dict]", "Optional[int]", "int | bytes"])
def test_types_that_are_not_supported(kind):
    for check, value in ((check_value, 1), (value_from_text, "1")):
        with pytest.raises(ValueError, match="is not supported; use int, float"):
            check("p", kind, value)


def test_notebook_without_the_tag_is_refused_and_nothing_runs(tmp_path):
    mark = tmp_path / "ran"
    untagged = notebook(
        tmp_path, "phase8_untagged", "n: int = 1", f'open({str(mark)!r}, "w")', tag=False
    )
    with pytest.raises(ValueError, match="exactly one cell tagged 'parameters'; found 0"):
        run_phase(untagged, out=tmp_path / "out")
    assert not (tmp_path / "out").exists() and not mark.exists()


def test_file_that_is_no_notebook(tmp_path):
    (tmp_path / "x.ipynb").write_text("[]")
    with pytest.raises(ValueError, match="is not a notebook"):
        read_parameters(tmp_path / "x.ipynb")
    (tmp_path / "x.ipynb").write_text('{"cells": ')
    with pytest.raises(ValueError, match="not valid JSON"):
        read_parameters(tmp_path / "x.ipynb")


@pytest.mark.parametrize("source", ["n: int = (1", "n: int = [1,\n"])
def test_cell_that_is_no_python(tmp_path, source):
    with pytest.raises(ValueError, match=r"phase8_broken\.ipynb: "):
        read_parameters(notebook(tmp_path, "phase8_broken", source))


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

    def values(*sources):
        [resolved] = resolve_parameters([good], *sources).values()
        return {name: value for name, value in resolved.items() if name != "out_dir"}

    assert values([files[0]]) == dict(n=3, note="base", x=0.001)
    assert values(files, {"n": "7"}) == dict(n=7, note="mine", x=0.5)
    typed = {"phase8_good.note": "p=q", "x": "none"}
    assert values(files, typed) == dict(n=3, note="p=q", x=None)


@pytest.mark.parametrize(
    "text,message",
    [
        ("n: [1", "is not valid YAML"),
        ("just text", "lines of the form"),
        ("m: 1", "parameter 'm' is not known"),
        ("n: many", "'n' must be int"),
        ("phase77:\n  n: 1", "section 'phase77' is not known"),
        ("out_dir: x", "use --out"),
        ("phase8_good:\n  out_dir: x", "use --out"),
        ("phase8_good:\n  m: 1", "parameter 'm' is not known"),
    ],
)
def test_bad_parameter_file(good, tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        resolve_parameters([good], [tmp_path / "p.yaml"])


@pytest.mark.parametrize("name", ["nano", "small", "large"])
def test_supplied_files_fit_the_phases(name):
    phases = list(list_phases())
    assert phases
    assert len(resolve_parameters(phases, [name])) == len(phases)


def test_nano_file_repeats_the_defaults():
    for path, values in resolve_parameters(list(list_phases()), ["nano"]).items():
        defaults = {name: parameter.default for name, parameter in read_parameters(path).items()}
        del values["out_dir"], defaults["out_dir"]
        assert values == defaults, path.stem


def code_of(path):
    "All code of a notebook."
    return "\n".join(sources(path))


STUDIES = dict(
    phase0_foundation="foundation",
    phase1_sae="dictionaries",
    phase2_steering="steering",
    phase3_causal="causal",
)


def files_of_the_study(phase):
    "Files that the modules and the notebook of a phase write."
    folder = ROOT / "musicgen_emotion/studies"
    modules = [folder / "steps.py", *sorted(folder.glob(f"{STUDIES[phase]}*.py"))]
    codes = [code_of(list_phases()[phase]), *(path.read_text() for path in modules)]
    return set().union(*(written_files(code) for code in codes))


@pytest.mark.parametrize("phase", STUDIES)
def test_findings_read_only_what_their_phase_writes(phase):
    wanted = read_files(code_of(ROOT / "nbs/findings" / f"{phase[:6]}.ipynb"))
    assert len(wanted) > 8
    assert wanted <= files_of_the_study(phase), wanted - files_of_the_study(phase)


@pytest.mark.parametrize("phase", STUDIES)
def test_a_page_that_reads_what_no_study_writes_is_found(phase):
    """A quoted word of the study is no figure, and a table that is only read is not written.

    "emotion", "outcome" and "mean" are quoted in every study and are the name of no figure."""
    page = 'figure("gates")\nfigure("emotion")\nread("summary.csv")\nrun / "nothing.npy"'
    unknown = read_files(page) - files_of_the_study(phase)
    assert unknown == {"emotion.png", "summary.csv", "nothing.npy"}


def test_files_are_told_from_calls_and_not_from_words():
    code = """
names = ["lonely", "lonely.csv"]
Figure("first", draw, "caption", "alt")
Figure(name="second", draw=draw, caption="third", alt="fourth")
run.table(rows, "kept.csv")
(run.path / "text.md").write_text("other.md")
np.save(run.path / "sound.npy", sound)
pd.read_csv(run.path / "read.csv")
"""
    expected = {"first.png", "second.png", "kept.csv", "text.md", "sound.npy"}
    assert written_files(code) == expected


@pytest.mark.filterwarnings("ignore:the rows vary in about")
@pytest.mark.filterwarnings("ignore:the mean is .* times as long")
@pytest.mark.filterwarnings("ignore:.*features. a dictionary can memorize them")
def test_real_embeddings_run_through_the_steps_of_phase_1(data_dir):
    import torch

    from musicgen_emotion.activations.texts import load_embeddings
    from musicgen_emotion.sae.dictionary import SAEConfig
    from musicgen_emotion.sae.features import count_selective, selective_features
    from musicgen_emotion.sae.training import TrainConfig, train_sae

    embeddings = load_embeddings(data_dir / "t5_emotion_prompts")
    vectors = np.asarray(embeddings.vectors, np.float32)  # (prompt, d)
    config = SAEConfig(vectors.shape[1], 0.5, activation="relu", l1=1e-3)
    training = TrainConfig(steps=20, seed=0, batch_size=min(64, len(vectors) // 2))
    units = np.arange(len(vectors))
    with pytest.warns(UserWarning, match="can memorize them"):
        trained = train_sae(vectors, config, training, units, progress=False)
    assert (len(vectors), trained.sae.d_sae) == (100, 384)
    assert np.isfinite(trained.history.mse.iloc[-1])
    assert any("participation" in warning for warning in trained.report.warnings)
    with torch.no_grad():
        features = trained.sae.encode(torch.as_tensor(vectors)).numpy()  # (prompt, feature)
    labels = embeddings.labels
    selective = selective_features(features, labels, units, n_perm=20, seed=0)
    counts = count_selective(selective, features, labels, units, n_boot=20, seed=0)
    assert counts["count"].ge(0).all()


# ---- running


def test_finished_run(good, tmp_path):
    out = tmp_path / "out"
    params = dict(n=5, note='it\'s = "x"')
    result = run_phase(good, params, out, progress=False)
    assert (out / "seen.txt").read_text() == repr((5, 'it\'s = "x"', None))
    assert result.status == "finished" and result.gates[0].passed
    assert not list(out.glob("notebook.[fr]*"))
    manifest = run_manifest(out)
    assert manifest["status"] == "finished" and manifest["end"]
    assert manifest["parameters"]["n"] == 5
    assert manifest["notebook"].endswith("phase8_good.ipynb")
    executed = nbformat.read(out / "notebook.ipynb", 4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    report = run_report(out)
    assert report.startswith("# phase8_good: GO")
    assert re.search(r"^\| n +\| 5 ", report, re.M)
    before = (out / "notebook.ipynb").stat().st_mtime_ns
    assert run_phase(good, params, out).status == "current"
    assert (out / "notebook.ipynb").stat().st_mtime_ns == before
    (out / "left.txt").write_text("x")
    fresh = run_phase(good, dict(n=6), out, fresh=True, progress=False)
    assert fresh.status == "finished"
    assert (out / "seen.txt").read_text() == repr((6, "a=b", None))
    assert (out / "left.txt").exists()  # the run did not write it


def test_other_code_on_kept_work_is_said_and_recorded(good, tmp_path):
    out = tmp_path / "out"
    run_phase(good, out=out, progress=False)
    old_code = run_manifest(out)["code"]
    changed = nbformat.read(good, 4)
    changed.cells[2].source += "\nseen = 1"
    nbformat.write(changed, good)
    with pytest.warns(UserWarning, match=r"was begun by other code.*--fresh"):
        run_phase(good, out=out, progress=False)
    manifest = run_manifest(out)
    assert [earlier["code"] for earlier in manifest["resumed"]] == [old_code]
    assert manifest["code"] != old_code
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_phase(good, out=out, progress=False).status == "current"
        assert run_phase(good, out=out, progress=False, fresh=True).status == "finished"
        assert run_phase(good, out=tmp_path / "new", progress=False).status == "finished"


def test_failing_notebook_is_kept_but_not_published(tmp_path, good):
    bad = notebook(
        tmp_path,
        "phase8_bad",
        'n: int = 1  # count\nout_dir: str = "r"',
        opening("phase8_bad"),
        'if n < 2: raise KeyError("lost")',
        "run.close();",
    )
    out = tmp_path / "out"
    message = r"phase8_bad failed: cell .*KeyError: 'lost'.*notebook\.failed\.ipynb"
    with pytest.raises(PhaseError, match=message):
        run_phase(bad, out=out, progress=False)
    assert not (out / "notebook.ipynb").exists()
    assert "lost" in (out / "notebook.failed.ipynb").read_text()
    manifest = run_manifest(out)
    assert manifest["status"] == "failed" and manifest["end"]
    assert "KeyError" in manifest["message"]
    with pytest.raises(PhaseError):
        run_phases([bad, good], tmp_path / "series", progress=False)
    assert not (tmp_path / "series/phase8_good").exists()


def test_notebook_that_forgets_to_close_its_run_is_not_finished(tmp_path):
    forgetful = notebook(tmp_path, "phase8_open", 'out_dir: str = "r"', opening("phase8_open"))
    with pytest.raises(PhaseError, match="without closing the run"):
        run_phase(forgetful, out=tmp_path / "out", progress=False)
    assert run_manifest(tmp_path / "out")["status"] == "failed"


def test_kernel_that_dies(tmp_path):
    dying = notebook(
        tmp_path,
        "phase8_dies",
        'out_dir: str = "r"',
        opening("phase8_dies"),
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    )
    with pytest.raises(PhaseError, match="the kernel died"):
        run_phase(dying, out=tmp_path / "out", progress=False)
    assert run_manifest(tmp_path / "out")["status"] == "failed"


def test_syntax_error_in_a_cell(tmp_path):
    wrong = notebook(tmp_path, "phase8_syntax", "n: int = 1", "x = = 2")
    with pytest.raises(PhaseError, match="SyntaxError"):
        run_phase(wrong, out=tmp_path / "out", progress=False)


def wait_until(check, seconds=60):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def is_dead(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")  # a zombie has the state Z
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def slow(tmp_path):
    "A phase that writes the number of its kernel's process and waits for a file `go`."
    return notebook(
        tmp_path,
        "phase8_slow",
        'pause: float = 0.0  # seconds\nout_dir: str = "r"',
        opening("phase8_slow"),
        'import os, time\n(run.path / "pid").write_text(str(os.getpid()))\n'
        'while not (run.path / "go").exists(): time.sleep(.05)',
        "run.close();",
    )


def kernel_of(out):
    "Process number of the slow phase's kernel, once it is there."
    path = out / "pid"
    wait_until(lambda: path.exists() and path.read_text())
    return int(path.read_text())


RUN = """
import sys
from musicgen_emotion.lab.phases import run_phase
run_phase(sys.argv[1], out=sys.argv[2], progress=False)
"""
# a shell's background job inherits an ignored SIGINT
LISTEN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def test_killed_run_is_interrupted_leaves_no_process_and_resumes(slow, tmp_path, popen):
    out = tmp_path / "out"
    runner = popen([sys.executable, "-c", RUN, str(slow), str(out)], env=ENV)
    kernel = kernel_of(out)
    assert run_status(out).status.item() == "running"
    with pytest.raises(RuntimeError, match="in use by another process"):
        run_phase(slow, out=out)
    assert run_status(out).status.item() == "running"
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    row = run_status(out).iloc[0]
    assert row.status == "interrupted" and "without closing" in row.message
    wait_until(lambda: is_dead(kernel), 20)
    assert not (out / "notebook.ipynb").exists()
    (out / "go").write_text("")
    assert run_phase(slow, out=out, progress=False).status == "finished"
    assert run_manifest(out)["resumed"][0]["status"] == "interrupted"
    assert not (out / "notebook.running.ipynb").exists()


def test_keyboard_interrupt(slow, tmp_path, popen):
    out = tmp_path / "out"
    runner = popen(
        [sys.executable, "-c", LISTEN + RUN, str(slow), str(out)],
        env=ENV,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    kernel = kernel_of(out)
    os.killpg(runner.pid, signal.SIGINT)
    runner.wait(30)
    assert run_manifest(out)["status"] == "interrupted"
    wait_until(lambda: is_dead(kernel), 20)


def test_opened_by_hand_in_a_notebook(good, tmp_path):
    values = dict(n=4, note="x", x=None, out_dir=str(tmp_path / "hand"), other=object())
    with start_phase(str(good), values) as run:
        pass
    assert run.manifest["parameters"]["n"] == 4
    with pytest.raises(TypeError, match="'n' must be int"):
        start_phase(str(good), dict(n="4", out_dir=str(tmp_path / "hand2")))


# ---- plans and status


def test_plan_runs_all_and_one_failure_does_not_stop_the_rest(tmp_path):
    failing_for_two = notebook(
        tmp_path,
        "phase8_some",
        'n: int = 1  # count\nout_dir: str = "r"',
        opening("phase8_some"),
        'if n == 2: raise ValueError("two")',
        "run.close();",
    )
    runs = plan(failing_for_two, dict(n=[1, 2, 3]))
    table = run_plan(runs, tmp_path / "plan", n_jobs=2, progress=False).set_index("run")
    expected = {"n=1": "finished", "n=2": "failed", "n=3": "finished"}
    assert table.status.to_dict() == expected
    assert "two" in table.message["n=2"]


def test_plan_is_checked_before_it_runs(good):
    names = [run.name for run in plan(good, dict(n=[1, 2], note=["a", "b"]))]
    assert names == ["n=1-note=a", "n=1-note=b", "n=2-note=a", "n=2-note=b"]
    with pytest.raises(TypeError, match="'n' must be int"):
        plan(good, dict(n=[1, "x"]))
    with pytest.raises(ValueError, match="parameter 'm' is not known"):
        plan(good, dict(m=[1]))


def test_status_shows_a_damaged_run_as_a_row(tmp_path):
    manifests = dict(a='{"status', b="[]", c='{"phase": "p", "status": "finished"}')
    for name, text in manifests.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
    statuses = run_status(tmp_path).set_index("run").status.to_dict()
    assert statuses == dict(a="damaged", b="damaged", c="finished")


# ---- several phases at the same time


def test_two_phases_run_at_the_same_time(tmp_path):
    "Each waits for a file of the other one: run after one another they would never end."
    pair = []
    for name, other in (("a", "b"), ("b", "a")):
        waiting = f"""import time
from pathlib import Path
Path({str(tmp_path / name)!r}).touch()
start = time.monotonic()
while not Path({str(tmp_path / other)!r}).exists():
    assert time.monotonic() - start < 60
    time.sleep(.05)"""
        parameters = 'out_dir: str = "r"  # run folder'
        phase = f"phase8_{name}"
        pair.append(notebook(tmp_path, phase, parameters, opening(phase), waiting, "run.close();"))
    results = run_phases(pair, tmp_path / "out", progress=False, n_jobs=2)
    outcomes = [(result.phase, result.status) for result in results]
    assert outcomes == [("phase8_a", "finished"), ("phase8_b", "finished")]


def test_after_a_failure_no_further_phase_is_started(tmp_path):
    phases = []
    bodies = dict(
        slow="import time; time.sleep(6)", wrong='raise ValueError("seven")', never="pass"
    )
    for name, body in bodies.items():
        parameters = 'out_dir: str = "r"  # run folder'
        phase = f"phase8_{name}"
        phases.append(notebook(tmp_path, phase, parameters, opening(phase), body, "run.close();"))
    with pytest.raises(PhaseError, match=r"phase8_wrong failed: .*ValueError: seven"):
        run_phases(phases, tmp_path / "out", progress=False, n_jobs=2)
    assert run_manifest(tmp_path / "out" / "phase8_slow")["status"] == "finished"
    assert not (tmp_path / "out" / "phase8_never").exists()


def test_interrupt_ends_all_that_run(tmp_path, popen):
    "A SIGINT to the command alone, not to its group, as a job scheduler sends it."
    phases = []
    for name in "ab":
        body = f'open({str(tmp_path / name)!r}, "w").close()\nimport time; time.sleep(300)'
        parameters = 'out_dir: str = "r"  # run folder'
        phase = f"phase8_{name}"
        phases.append(str(notebook(tmp_path, phase, parameters, opening(phase), body)))
    code = f"""
from musicgen_emotion.lab.plans import run_phases
run_phases({phases!r}, {str(tmp_path / "out")!r}, n_jobs=2)
"""
    runner = popen(
        [sys.executable, "-c", LISTEN + code],
        env=ENV,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
    assert runner.poll() is None
    runner.send_signal(signal.SIGINT)
    assert runner.wait(30) != 0
    for name in "ab":
        manifest = run_manifest(tmp_path / "out" / f"phase8_{name}")
        assert manifest["status"] == "interrupted"


# ---- the phases of the project, in the checkout and in a wheel


def test_names():
    with pytest.raises(ValueError, match="phase 'fase0' is not known"):
        find_phase("fase0")
    with pytest.raises(ValueError, match="phase '' is not known"):
        find_phase("")
    assert list_phases()
    for name, path in list_phases().items():
        assert find_phase(name) == path


def test_a_checkout_uses_its_own_files():
    assert supplied_folder("phases") == ROOT / "nbs/phases"
    assert supplied_folder("params") == ROOT / "params"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "Folder with the content of a wheel that was built from a copy of the checkout."
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    tracked = ["setup.py", "settings.ini", "MANIFEST.in", "README.md", "LICENSE"]
    for name in ("musicgen_emotion", "params", "nbs/phases"):
        ignore = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(ROOT / name, checkout / name, ignore=ignore)
    for name in tracked:
        shutil.copy(ROOT / name, checkout / name)
    build = "-m pip wheel -q --no-deps --no-build-isolation --disable-pip-version-check -w"
    subprocess.run(
        [sys.executable, *build.split(), str(folder), str(checkout)],
        check=True,
        capture_output=True,
        timeout=600,
    )
    [file] = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "content")
    return folder / "content"


def test_wheel_holds_phases_without_outputs_and_parameter_files(wheel):
    assets = wheel / "musicgen_emotion/assets"
    names = [path.name for path in sorted((assets / "phases").iterdir())]
    assert names == [path.name for path in list_phases().values()]
    for name, path in list_phases().items():
        copy = nbformat.read(assets / "phases" / f"{name}.ipynb", 4)
        assert not any(cell.get("outputs") for cell in copy.cells)
        sources = [cell.source for cell in copy.cells]
        assert sources == [cell.source for cell in nbformat.read(path, 4).cells]
    for path in sorted((ROOT / "params").glob("*.yaml")):
        assert (assets / "params" / path.name).read_text() == path.read_text()


def test_wheel_lists_its_phases_from_an_empty_folder(wheel, tmp_path):
    code = """
import musicgen_emotion
from importlib.metadata import distribution
from musicgen_emotion.lab.parameters import resolve_parameters
from musicgen_emotion.lab.phase_files import list_phases
print(musicgen_emotion.__file__, len(resolve_parameters(list(list_phases()), ["small"])))
[entry] = [e for e in distribution("musicgen-emotion").entry_points if e.name == "musicgen-emotion"]
entry.load()(["run"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == f"{wheel / 'musicgen_emotion/__init__.py'} {len(list_phases())}"
    assert [line for line in lines if not line.startswith(" ")] == list(list_phases())
    assert list(tmp_path.iterdir()) == []


CORE = """
import sys
for name in {extras!r}:
    sys.modules[name] = None  # as if it were not installed
import numpy as np
import musicgen_emotion as me
from musicgen_emotion import activations, cli, models, sae, show, sound
assert me.__file__.startswith({wheel!r}), me.__file__

model = me.load_model(models.write_random_model("tiny", seed=0), device="cpu")
extractor = me.ActivationExtractor(model, layers=[1])
clips = extractor.generate(["a happy song"], seed=0, duration_s=1.0)
states = extractor.get_activations(concatenate=True)["layer_1"]
rows = states.values.reshape(-1, states.sizes["d_model"]).astype("float32")
config = me.SAEConfig(rows.shape[1], 2, activation="topk", k=4)
trained = me.train_sae(rows, config, sae.TrainConfig(steps=20), progress=False)
assert all(weight.isfinite().all() for weight in trained.sae.parameters())


def sentence_of(work):
    try:
        work()
    except ModuleNotFoundError as error:
        print(error)


wave = np.sin(np.arange(24000) / 5).astype("float32") / 2
sentence_of(lambda: sound.describe(wave, 8000))
sentence_of(lambda: clips.play())
sentence_of(lambda: show.saved_figure("figure.png"))
for words in (["--help"], ["models", "list"], ["doctor"], ["run", "phase0"]):
    try:
        cli.app(words)
    except SystemExit as end:
        print(words, end.code)
"""


def test_the_wheel_works_without_extras(wheel, tmp_path):
    "What an extra installs is hidden; what needs it fails with the sentence that names the extra."
    extras = ["librosa", "papermill", "nbclient", "nbformat", "ipykernel", "IPython"]
    extras += ["umap", "statsmodels", "wordfreq", "audiocraft"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CORE.format(extras=extras, wheel=str(wheel))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    install = "it belongs to the extra `{0}`: pip install 'musicgen-emotion[{0}]'"
    assert f"librosa is not installed; {install.format('sound')}" in lines
    assert lines.count(f"IPython is not installed; {install.format('studies')}") == 2
    assert "['--help'] 0" in lines and "['models', 'list'] 0" in lines
    assert "['run', 'phase0'] 2" in lines
    assert f"error: papermill is not installed; {install.format('studies')}" in done.stderr
    assert not (tmp_path / "results").exists()
    [audio] = [line for line in lines if re.match(r"\S+ +audio ", line)]
    assert audio.startswith("ok")
