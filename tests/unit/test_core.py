"""Files, locks, run folders and their comparison.

With conditions that a page cannot make: kills, full disks, read-only mounts."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import musicgen_emotion
from musicgen_emotion.lab.checks import check_between, check_in, check_number, check_same_length
from musicgen_emotion.lab.comparing import compare_folders, compare_runs
from musicgen_emotion.lab.files import (
    atomic_path,
    atomic_write,
    read_json,
    sha256_file,
    write_json,
    write_table,
)
from musicgen_emotion.lab.gates import Gate, verdict
from musicgen_emotion.lab.locks import folder_lock, is_locked
from musicgen_emotion.lab.machine import library_versions
from musicgen_emotion.lab.report import markdown_table
from musicgen_emotion.lab.runs import open_run, run_manifest
from musicgen_emotion.lab.seeds import rng, seed_from

ROOT = Path(musicgen_emotion.__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def start(popen):
    "Start a Python process and wait until it has printed its first line."

    def run(code, *words):
        process = popen(
            [sys.executable, "-c", code, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENV,
        )
        assert process.stdout.readline(), process.stderr.read()
        return process

    return run


def python(code, *words, **env):
    "Standard output of a Python process that must succeed."
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
        env={**ENV, **env},
    )
    return done.stdout


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


OWNER = """
import sys
from musicgen_emotion.lab.runs import open_run
run = open_run(sys.argv[1], "phase0", dict(seed=1))
print("mine", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def mounted(tmp_path):
    "Mount small file systems; skips where that is not allowed."
    mounts = []

    def mount(name, options):
        folder = tmp_path / name
        folder.mkdir()
        if shutil.which("mount") is None:
            pytest.skip("there is no mount command")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no permission to mount a file system here: {done.stderr.strip()}")
        mounts.append(folder)
        return folder

    yield mount
    for folder in mounts:
        subprocess.run(["umount", str(folder)], check=False)


# ---- checks of arguments


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1", None])
def test_only_finite_numbers_are_numbers(value):
    with pytest.raises((ValueError, TypeError), match="alpha must be a"):
        check_number("alpha", value)


def test_range_includes_its_ends():
    assert check_between("level", 0, 0, 1) == 0
    assert check_between("level", np.float32(1), 0, 1) == 1
    for value in (-1e-9, 1.1, float("nan")):
        with pytest.raises(ValueError, match="level must be a number from 0 to 1; got"):
            check_between("level", value, 0, 1)


def test_a_choice_has_the_type_of_what_is_accepted():
    with pytest.raises(ValueError, match="must be one of 1, 2; got True"):
        check_in("n", True, (1, 2))
    with pytest.raises(ValueError, match=r"must be one of 1, 2; got 1\.0"):
        check_in("n", 1.0, (1, 2))


def test_lengths_are_all_named():
    assert check_same_length(a=[1, 2], b="xy", c=np.zeros((2, 5))) == 2
    with pytest.raises(ValueError, match="a and b must have the same length; got a 2, b 0"):
        check_same_length(a=[1, 2], b=[])


# ---- files


def test_sigkill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path, start):
    open_run(tmp_path, "phase0").close()
    path = tmp_path / "table.bin"
    atomic_write(path, b"old" * 1000)
    code = """
import sys
from musicgen_emotion.lab.files import atomic_path
with atomic_path(sys.argv[1]) as path:
    file = open(path, "wb")
    file.write(b"new" * 100)
    file.flush()
    print("half", flush=True)
    sys.stdin.read()
"""
    process = start(code, path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.read_bytes() == b"old" * 1000
    assert any(name.startswith(".tmp-") for name in names_in(tmp_path))
    with open_run(tmp_path, "phase0"):
        pass
    assert not any(name.startswith(".tmp-") for name in names_in(tmp_path))


def test_readers_see_whole_files_while_a_writer_works(tmp_path):
    path = tmp_path / "numbers.json"
    lengths = set()
    stop = threading.Event()
    write_json(path, [0] * 2000)

    def read():
        while not stop.is_set():
            lengths.add(len(read_json(path)))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(30):
        write_json(path, [i] * 2000)
    stop.set()
    reader.join()
    assert lengths == {2000}


def test_full_disk_gives_one_sentence_and_keeps_the_old_file(mounted):
    disk = mounted("full", "size=64k")
    atomic_write(disk / "a.txt", "old")
    with pytest.raises(OSError, match=r"a\.txt: the disk is full: free some space") as caught:
        atomic_write(disk / "a.txt", b"x" * 200_000)
    assert caught.value.errno == errno.ENOSPC
    assert names_in(disk) == ["a.txt"]
    assert (disk / "a.txt").read_text() == "old"


def test_full_disk_while_a_table_is_written(mounted):
    disk = mounted("full", "size=64k")
    numbers = np.random.default_rng(0).random((20_000, 4))
    table = pd.DataFrame(numbers, columns=list("abcd"))
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(OSError, match="the disk is full"):
            write_table(table, disk / name)
    assert names_in(disk) == []


def test_run_into_a_full_disk(mounted):
    disk = mounted("full", "size=4k")
    (disk / "filler").write_bytes(b"x" * 4096)
    with pytest.raises(OSError, match="the disk is full"):
        open_run(disk / "run", "phase0")


def test_full_disk_wherever_writing_fails(tmp_path, monkeypatch):
    "For machines where nothing can be mounted: fsync is where a full network disk reports."
    atomic_write(tmp_path / "a.txt", "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        atomic_write(tmp_path / "a.txt", "new")
    monkeypatch.undo()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_read_only_file_system(mounted):
    disk = mounted("ro", "size=64k")
    (disk / "a.txt").write_text("old")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(OSError, match="file system is read-only: choose another folder"):
        atomic_write(disk / "a.txt", "new")
    with pytest.raises(OSError, match="file system is read-only"):
        open_run(disk / "run", "phase0")
    assert (disk / "a.txt").read_text() == "old"


@pytest.mark.skipif(
    os.geteuid() == 0, reason="the superuser may write into a folder without write permission"
)
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    advice = "no permission to write there: choose another folder"
    try:
        with pytest.raises(PermissionError, match=advice):
            atomic_write(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


def test_out_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OSError, match="is a file, not a folder"):
        open_run(tmp_path / "out", "phase0")


def test_an_error_that_is_not_about_writing_stays_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"), atomic_path(tmp_path / "a"):
        (tmp_path / "nothing-here").read_text()


def test_folder_replaces_folder_or_stays(tmp_path):
    for text in ("one", "two"):
        with atomic_path(tmp_path / "store", own=lambda path: True) as path:
            path.mkdir()
            (path / text).write_text(text)
    assert names_in(tmp_path / "store") == ["two"]
    with pytest.raises(KeyError), atomic_path(tmp_path / "store", lambda path: True) as path:
        path.mkdir()
        raise KeyError("x")
    assert names_in(tmp_path) == ["store"]
    with pytest.raises(ValueError, match=r"store is a folder with two, which is not replaced"):
        atomic_write(tmp_path / "store", "a file")
    assert names_in(tmp_path / "store") == ["two"]


# ---- locks


def test_a_lock_leaves_only_an_empty_file(tmp_path):
    with folder_lock(tmp_path) as lock:
        assert lock.read_text().startswith(f"pid {os.getpid()} on ")
    assert names_in(tmp_path) == [".lock"]
    assert (tmp_path / ".lock").read_text() == ""


def test_a_lock_is_let_go_when_the_block_fails(tmp_path):
    with pytest.raises(KeyError), folder_lock(tmp_path):
        raise KeyError("x")
    with folder_lock(tmp_path, wait_s=0):
        pass


def test_one_process_cannot_enter_a_folder_twice(tmp_path):
    with folder_lock(tmp_path):
        refused = pytest.raises(RuntimeError, match=rf"in use by .*pid {os.getpid()} on")
        with refused, folder_lock(tmp_path):
            pass
        assert (tmp_path / ".lock").read_text().startswith("pid")  # the loser changed nothing
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_lock_that_is_let_go_in_time_is_taken(tmp_path, start):
    code = """
import sys, time
from musicgen_emotion.lab.locks import folder_lock
with folder_lock(sys.argv[1]):
    print("mine", flush=True)
    time.sleep(0.5)
"""
    other = start(code, tmp_path)
    with folder_lock(tmp_path, wait_s=30):
        assert (tmp_path / ".lock").read_text().startswith(f"pid {os.getpid()} ")
    assert other.wait(30) == 0


def test_a_file_system_without_locks_is_no_reason_to_stop(tmp_path, monkeypatch, caplog):
    import fcntl

    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with folder_lock(tmp_path):
        pass
    assert "start one process per folder" in caplog.text


# ---- runs


def test_two_processes_in_one_folder(tmp_path, start):
    other = start(OWNER, tmp_path)
    try:
        with pytest.raises(RuntimeError, match=f"in use by another process \\(pid {other.pid}"):
            open_run(tmp_path, "phase0", dict(seed=1))
        assert run_manifest(tmp_path)["status"] == "running"
    finally:
        other.kill()
        other.wait()


def test_only_one_of_many_processes_gets_the_folder(tmp_path, popen):
    code = """
import sys
from musicgen_emotion.lab.runs import open_run
try:
    run = open_run(sys.argv[1], "phase0")
    print("mine", flush=True)
except RuntimeError:
    print("refused", flush=True)
sys.stdin.read()
"""
    processes = []
    for _ in range(4):
        process = popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENV,
        )
        processes.append(process)
    answers = [process.stdout.readline().strip() for process in processes]
    for process in processes:
        process.kill()
        process.wait()
    assert sorted(answers) == ["mine", "refused", "refused", "refused"]


def test_killed_run_is_interrupted_and_can_be_resumed(tmp_path, start):
    other = start(OWNER, tmp_path)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert read_json(tmp_path / "manifest.json")["status"] == "running"
    assert run_manifest(tmp_path)["status"] == "interrupted"
    assert not is_locked(tmp_path)
    with open_run(tmp_path, "phase0", dict(seed=1)) as run:
        pass
    assert [earlier["status"] for earlier in run.manifest["resumed"]] == ["interrupted"]
    assert run_manifest(tmp_path)["status"] == "finished"


def test_a_lock_file_of_a_dead_process_does_not_block(tmp_path):
    (tmp_path / ".lock").write_text("pid 999999999 on somewhere")
    with open_run(tmp_path, "phase0"):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_process_that_ends_without_closing_says_interrupted(tmp_path):
    code = "import sys; from musicgen_emotion.lab.runs import open_run; open_run(sys.argv[1], 'p')"
    python(code, tmp_path)
    assert read_json(tmp_path / "manifest.json")["status"] == "interrupted"


def test_keyboard_interrupt_is_no_failure(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, "phase0"):
        raise KeyboardInterrupt
    assert run_manifest(tmp_path)["status"] == "interrupted"


def test_starting_over_deletes_what_the_run_wrote_and_nothing_else(tmp_path):
    with open_run(tmp_path, "phase0") as run:
        (run.path / "figures").mkdir()
        (run.path / "figures" / "curve.txt").write_text("by the run")
    (tmp_path / "mine.txt").write_text("not from a run")
    (tmp_path / "figures" / "mine.txt").write_text("not from a run")
    with open_run(tmp_path, "phase1", dict(seed=2), resume=False):
        assert (tmp_path / "mine.txt").exists()
        assert names_in(tmp_path / "figures") == ["mine.txt"]


def test_a_run_starts_only_where_nothing_else_is(tmp_path):
    (tmp_path / "mine.txt").write_text("not from a run")
    for resume in (True, False):
        with pytest.raises(ValueError, match=r"not of a run \(mine\.txt\)"):
            open_run(tmp_path, "phase0", resume=resume)
    assert names_in(tmp_path) == ["mine.txt"]


def test_other_parameters_or_phase_are_refused_and_nothing_changes(tmp_path):
    with open_run(tmp_path, "phase0", dict(seed=1, layers=(1, 2))):
        pass
    before = read_json(tmp_path / "manifest.json")
    with pytest.raises(ValueError, match="seed 1 -> 2"):
        open_run(tmp_path, "phase0", dict(seed=2, layers=[1, 2]))
    with pytest.raises(ValueError, match="a run of 'phase0'"):
        open_run(tmp_path, "phase1")
    assert read_json(tmp_path / "manifest.json") == before
    assert not is_locked(tmp_path)


def test_damaged_manifest_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text('{"phase"')
    with pytest.raises(ValueError, match=r"manifest\.json is not valid JSON"):
        open_run(tmp_path, "phase0")


def test_manifest_says_all_that_a_reader_needs(tmp_path):
    data = tmp_path / "x.csv"
    data.write_text("a\n1\n")
    with open_run(tmp_path / "run", "phase0", dict(seed=3, fold_seed=4)) as run:
        run.add_input(data)
        run.set_model("nano", checksum="abc", device="cpu")
        run.gate("g", np.float32(0.9), 0.8, 0.95, threshold=0.5, why="w")
    manifest = read_json(tmp_path / "run/manifest.json")
    needed = "phase status start end package_version git_revision library_versions device"
    assert {*needed.split(), "models", "parameters", "seeds", "inputs"} <= set(manifest)
    assert manifest["seeds"] == dict(seed=3, fold_seed=4)
    assert manifest["inputs"] == {str(data): sha256_file(data)}
    assert manifest["models"][0]["checksum"] == "abc"
    keys = {"name", "value", "interval", "n", "threshold", "direction", "passed", "why"}
    assert set(read_json(tmp_path / "run/gates.json")[0]) == keys


# ---- seeds and gates


def test_seeds_are_the_same_in_another_process():
    code = """
from musicgen_emotion.lab.seeds import rng, seed_from
print(seed_from(3, "a", [1, 2.5]), rng("x").integers(1000))
"""
    here = f"{seed_from(3, 'a', [1, 2.5])} {rng('x').integers(1000)}\n"
    assert {python(code, PYTHONHASHSEED=seed) for seed in "01"} == {here}


def test_seeds_have_kept_their_values():
    "Every stored result depends on them."
    assert seed_from(0, "clip", 12) == 1897923382571031315
    assert rng(0, "bootstrap").integers(100, size=4).tolist() == [74, 98, 32, 37]


def test_seeds_do_not_collide():
    seeds = set()
    for study in range(100):
        seeds |= {seed_from(study, prompt) for prompt in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    "value,direction,passed",
    [
        (0.5, ">", False),
        (0.5, ">=", True),
        (0.4, "<", True),
        (float("nan"), "<", False),
        (None, ">=", False),
    ],
)
def test_gate_at_its_edge(value, direction, passed):
    assert Gate("g", value, threshold=0.5, direction=direction).passed is passed


def test_gate_refuses_what_is_no_number():
    with pytest.raises(TypeError, match="value of gate 'g' must be a number; got 'high'"):
        Gate("g", "high")
    with pytest.raises(ValueError, match="threshold"):
        Gate("g", 1, threshold=float("nan"))
    with pytest.raises(ValueError, match="value of gate 'g' must be finite"):
        Gate("g", float("inf"))


def test_nan_gate_is_null_in_valid_json(tmp_path):
    with open_run(tmp_path, "phase0") as run:
        run.gate("g", float("nan"), threshold=1)

    def refuse(constant):  # called for NaN and Infinity
        pytest.fail(constant)

    gates = json.loads((tmp_path / "gates.json").read_text(), parse_constant=refuse)
    assert gates[0]["value"] is None
    assert verdict(run.gates) == "PAUSE"


def test_library_versions_import_nothing():
    code = """
import sys
from musicgen_emotion.lab.machine import library_versions
print(library_versions()["numpy"], "torch" in sys.modules)
"""
    assert python(code).split() == [library_versions()["numpy"], "False"]


# ---- tables as Markdown


def test_markdown_table_escapes_and_rounds():
    table = pd.DataFrame(
        {
            "a|b": ["x|y", "line\nbreak", "0012"],
            "number": [1 / 3, float("nan"), 123456.0],
            "count": pd.array([1, None, 3], dtype="Int64"),
        }
    )
    lines = [line.replace(" ", "") for line in markdown_table(table, rows=2).splitlines()]
    assert lines[0] == "|a\\|b|number|count|"
    assert lines[2:4] == ["|x\\|y|0.3333|1|", "|linebreak|||"]
    assert markdown_table(table, rows=2).endswith("\n\n(1 more rows)\n")
    assert "| 0012" in markdown_table(table)
    assert len(markdown_table(table[:0]).splitlines()) == 2


# ---- comparing runs


def make_run(folder, phase="phase0", params=None, table=None, gate=0.86):
    "A finished run with two tables and two gates."
    scores = pd.DataFrame(
        dict(
            layer=[0, 1, 2],
            accuracy=[0.25, float("nan"), 0.75],
            word=["happy", None, "sad"],
            wall_s=np.random.default_rng().random(3),
            audio_path=[str(folder)] * 3,
        )
    )
    with open_run(folder, phase, params or dict(seed=3)) as run:
        run.table(scores if table is None else table(scores), "scores")
        run.table(scores[["layer", "accuracy"]], "more/layers.parquet")
        run.gate("label match", gate, gate, gate, threshold=0.8)
        run.gate("not measured", float("nan"), threshold=0.8)
    return folder


def outcomes(comparison, outcome):
    rows = comparison.tables[comparison.tables.outcome == outcome]
    return list(zip(rows["table"], rows["column"]))


def test_equal_runs_are_the_same(tmp_path):
    comparison = compare_runs(make_run(tmp_path / "a"), make_run(tmp_path / "b"))
    assert comparison.same
    assert comparison.text.startswith("phase0: same (2 tables, 2 gates, 2 columns skipped)")
    assert outcomes(comparison, "skipped") == [
        ("scores.csv", "wall_s"),
        ("scores.csv", "audio_path"),
    ]
    assert set(comparison.gates.outcome) == {"same"}
    assert "same" in comparison._repr_markdown_()


def test_a_changed_number_is_measured(tmp_path):
    def change(scores):
        return scores.assign(accuracy=[0.25, float("nan"), 0.50])

    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", table=change)
    comparison = compare_runs(a, b)
    assert not comparison.same
    assert outcomes(comparison, "differs") == [("scores.csv", "accuracy")]
    row = comparison.tables[comparison.tables.outcome == "differs"].iloc[0]
    assert (row["rows"], row.absolute) == (1, 0.25)
    assert row.relative == pytest.approx(1 / 3)
    assert "scores.csv, column accuracy" in comparison.text
    assert "scores.csv" in comparison._repr_markdown_()
    assert compare_runs(a, b, rtol=0.34).same
    assert compare_runs(a, b, atol=0.25).same
    assert not compare_runs(a, b, atol=0.24).same


def test_rounding_is_no_difference(tmp_path):
    def nudge(scores):
        return scores.assign(accuracy=scores.accuracy * (1 + 1e-8))

    comparison = compare_runs(make_run(tmp_path / "a"), make_run(tmp_path / "b", table=nudge))
    assert comparison.same
    accuracy = comparison.tables.query("column == 'accuracy' and table == 'scores.csv'")
    assert 0 < accuracy.relative.item() < 1e-7


@pytest.mark.parametrize(
    "values,outcome,note",
    [
        ([0.25, 0.5, 0.75], "differs", "1 missing in one run"),
        ([0.25, float("inf"), 0.75], "differs", "1 missing in one run"),
        (["0.25", "x", "0.75"], "differs", "numbers in one run, text in the other"),
    ],
)
def test_missing_numbers_and_text_for_numbers(tmp_path, values, outcome, note):
    def change(scores):
        return scores.assign(accuracy=values)

    comparison = compare_runs(make_run(tmp_path / "a"), make_run(tmp_path / "b", table=change))
    assert outcomes(comparison, outcome) == [("scores.csv", "accuracy")]
    assert note in comparison.text


def test_text_is_compared_exactly(tmp_path):
    def change(scores):
        return scores.assign(word=["happy", None, "Sad"])

    comparison = compare_runs(make_run(tmp_path / "a"), make_run(tmp_path / "b", table=change))
    assert outcomes(comparison, "differs") == [("scores.csv", "word")]
    assert "row 2: 'sad' -> 'Sad'" in comparison.text


def test_shapes_and_columns(tmp_path):
    def shorten(scores):
        return scores[:2].rename(columns={"word": "emotion"})

    comparison = compare_runs(make_run(tmp_path / "a"), make_run(tmp_path / "b", table=shorten))
    assert outcomes(comparison, "shape") == [("scores.csv", "")]
    assert outcomes(comparison, "missing") == [("scores.csv", "word")]
    assert outcomes(comparison, "extra") == [("scores.csv", "emotion")]
    assert "3 rows -> 2 rows" in comparison.text


def test_a_missing_and_an_extra_table(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    (b / "scores.csv").rename(b / "other.csv")
    comparison = compare_runs(a, b)
    assert outcomes(comparison, "missing") == [("scores.csv", "")]
    assert outcomes(comparison, "extra") == [("other.csv", "")]


def test_gates_that_flip_change_appear_and_vanish(tmp_path):
    a = make_run(tmp_path / "a")
    flipped = compare_runs(a, make_run(tmp_path / "b", gate=0.79))
    assert flipped.gates.set_index("gate").outcome["label match"] == "flipped"
    assert not flipped.same
    assert "gate 'label match': flipped (passed -> failed, 0.86 -> 0.79)" in flipped.text
    changed = compare_runs(a, make_run(tmp_path / "c", gate=0.87))
    assert changed.gates.set_index("gate").outcome["label match"] == "changed"
    assert not changed.same
    fewer = make_run(tmp_path / "d")
    write_json(fewer / "gates.json", read_json(fewer / "gates.json")[:1])
    assert compare_runs(a, fewer).gates.outcome.tolist() == ["same", "vanished"]
    assert compare_runs(fewer, a).gates.outcome.tolist() == ["same", "appeared"]


def test_other_parameters_are_listed(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", params=dict(seed=4))
    comparison = compare_runs(a, b)
    assert comparison.same
    assert comparison.parameters == ("seed 3 -> 4",)
    assert "seed 3 -> 4" in comparison.text


def test_what_is_no_finished_run_is_refused(tmp_path):
    a = make_run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no run: it has no manifest\.json"):
        compare_runs(a, tmp_path / "empty")
    with pytest.raises(ValueError, match="there is no such folder"):
        compare_runs(tmp_path / "absent", a)
    with pytest.raises(KeyError), open_run(tmp_path / "failed", "phase0"):
        raise KeyError("x")
    with pytest.raises(ValueError, match="is failed; only finished runs can be compared"):
        compare_runs(a, tmp_path / "failed")
    with pytest.raises(ValueError, match="only runs of one phase can be compared"):
        compare_runs(a, make_run(tmp_path / "other", phase="phase1"))


def test_folders_of_runs(tmp_path):
    for name in ("a/phase0", "a/phase1", "b/phase0"):
        make_run(tmp_path / name)
    comparison = compare_folders(tmp_path / "a", tmp_path / "b")
    assert list(comparison.runs) == ["phase0"]
    assert comparison.runs["phase0"].same
    assert not comparison.same
    assert "phase1: only in the first folder" in comparison.text
    assert "phase1" in comparison._repr_markdown_()
    assert compare_folders(tmp_path / "a", tmp_path / "a").same
    with pytest.raises(ValueError, match="holds no run"):
        compare_folders(tmp_path / "a", tmp_path / "nowhere")
