"Files, locks and run folders under the conditions that a notebook cell cannot make: kills, full disks, read-only mounts."

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
from musicgen_emotion.lab.files import (
    atomic_path,
    atomic_write,
    read_json,
    sha256_file,
    write_json,
    write_table,
)
from musicgen_emotion.lab.gates import Gate, verdict
from musicgen_emotion.lab.machine import library_versions
from musicgen_emotion.lab.runs import is_locked, open_run, run_manifest
from musicgen_emotion.lab.seeds import rng, seed_from

ROOT = Path(musicgen_emotion.__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def start(code, *args):
    "A Python process that has printed its first line."
    p = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
    )
    assert p.stdout.readline(), p.stderr.read()
    return p


OWNER = "import sys; from musicgen_emotion.lab.runs import open_run\nr = open_run(sys.argv[1], 'phase0', dict(seed=1)); print('mine', flush=True); sys.stdin.read()"


@pytest.fixture
def mounted(tmp_path):
    "Mount small file systems; skips where that is not allowed."
    mounts = []

    def mount(name, options):
        folder = tmp_path / name
        folder.mkdir()
        r = (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
                capture_output=True,
                text=True,
            )
            if shutil.which("mount")
            else None
        )
        if r is None or r.returncode:
            pytest.skip(
                f"no permission to mount a file system here: {r.stderr.strip() if r else 'no mount command'}"
            )
        mounts.append(folder)
        return folder

    yield mount
    for m in mounts:
        subprocess.run(["umount", str(m)], check=False)


# ---- files


def test_sigkill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.bin"
    atomic_write(path, b"old" * 1000)
    code = """import sys, time
from musicgen_emotion.lab.files import atomic_path
with atomic_path(sys.argv[1]) as p:
    f = open(p, 'wb'); f.write(b'new'*100); f.flush()
    print('half', flush=True); sys.stdin.read()"""
    p = start(code, path)
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert path.read_bytes() == b"old" * 1000
    assert any(f.name.startswith(".tmp-") for f in tmp_path.iterdir())
    with open_run(tmp_path, "phase0"):
        pass
    assert not any(f.name.startswith(".tmp-") for f in tmp_path.iterdir())


def test_readers_see_whole_files_while_a_writer_works(tmp_path):
    path, seen, stop = tmp_path / "m.json", set(), threading.Event()
    write_json(path, [0] * 2000)

    def read():
        while not stop.is_set():
            seen.add(len(read_json(path)))

    t = threading.Thread(target=read)
    t.start()
    for i in range(30):
        write_json(path, [i] * 2000)
    stop.set()
    t.join()
    assert seen == {2000}


def test_full_disk_gives_one_sentence_and_keeps_the_old_file(mounted):
    disk = mounted("full", "size=64k")
    atomic_write(disk / "a.txt", "old")
    with pytest.raises(OSError, match="a.txt: the disk is full: free some space") as e:
        atomic_write(disk / "a.txt", b"x" * 200_000)
    assert e.value.errno == errno.ENOSPC
    assert [(p.name, p.read_text()) for p in disk.iterdir()] == [("a.txt", "old")]


def test_full_disk_while_a_table_is_written(mounted):
    disk = mounted("full", "size=64k")
    df = pd.DataFrame(np.random.default_rng(0).random((20_000, 4)), columns=list("abcd"))
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(OSError, match="the disk is full"):
            write_table(df, disk / name)
    assert list(disk.iterdir()) == []


def test_run_into_a_full_disk(mounted):
    disk = mounted("full", "size=4k")
    (disk / "filler").write_bytes(b"x" * 4096)
    with pytest.raises(OSError, match="the disk is full"):
        open_run(disk / "run", "phase0")


def test_full_disk_wherever_writing_fails(tmp_path, monkeypatch):
    "For machines where nothing can be mounted: fsync is where a full network disk reports."
    atomic_write(tmp_path / "a.txt", "old")

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        atomic_write(tmp_path / "a.txt", "new")
    monkeypatch.undo()
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_read_only_file_system(mounted):
    disk = mounted("ro", "size=64k")
    (disk / "a.txt").write_text("old")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(OSError, match="file system is read-only: choose another folder"):
        atomic_write(disk / "a.txt", "new")
    with pytest.raises(OSError, match="file system is read-only"):
        open_run(disk, "phase0")
    assert (disk / "a.txt").read_text() == "old"


@pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0,
    reason="the superuser may write into a folder without write permission",
)
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(
            PermissionError, match="no permission to write there: choose another folder"
        ):
            atomic_write(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


def test_out_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OSError, match="is a file, not a folder"):
        open_run(tmp_path / "out", "phase0")


def test_an_error_that_is_not_about_writing_stays_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        with atomic_path(tmp_path / "a") as p:
            open(tmp_path / "nothing-here")


def test_folder_replaces_folder_or_stays(tmp_path):
    for text in ("one", "two"):
        with atomic_path(tmp_path / "store") as p:
            p.mkdir()
            (p / text).write_text(text)
    assert [f.name for f in (tmp_path / "store").iterdir()] == ["two"]
    with pytest.raises(KeyError), atomic_path(tmp_path / "store") as p:
        p.mkdir()
        raise KeyError("x")
    assert [f.name for f in tmp_path.iterdir()] == ["store"]


# ---- runs


def test_two_processes_in_one_folder(tmp_path):
    other = start(OWNER, tmp_path)
    try:
        with pytest.raises(RuntimeError, match=f"in use by another process \\(pid {other.pid}"):
            open_run(tmp_path, "phase0", dict(seed=1))
        assert run_manifest(tmp_path)["status"] == "running"
    finally:
        other.kill()
        other.wait()


def test_only_one_of_many_processes_gets_the_folder(tmp_path):
    code = """import sys; from musicgen_emotion.lab.runs import open_run
try: r = open_run(sys.argv[1], 'phase0'); print('mine', flush=True)
except RuntimeError: print('refused', flush=True)
sys.stdin.read()"""
    ps = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENV,
        )
        for _ in range(4)
    ]
    said = [p.stdout.readline().strip() for p in ps]
    for p in ps:
        p.kill()
        p.wait()
    assert sorted(said) == ["mine", "refused", "refused", "refused"]


def test_killed_run_is_interrupted_and_can_be_resumed(tmp_path):
    other = start(OWNER, tmp_path)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert read_json(tmp_path / "manifest.json")["status"] == "running"
    assert run_manifest(tmp_path)["status"] == "interrupted" and not is_locked(tmp_path)
    with open_run(tmp_path, "phase0", dict(seed=1)) as run:
        pass
    assert [r["status"] for r in run.manifest["resumed"]] == ["interrupted"] and run_manifest(
        tmp_path
    )["status"] == "finished"


def test_a_lock_file_of_a_dead_process_does_not_block(tmp_path):
    (tmp_path / ".lock").write_text("pid 999999999 on somewhere")
    with open_run(tmp_path, "phase0"):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_process_that_ends_without_closing_says_interrupted(tmp_path):
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from musicgen_emotion.lab.runs import open_run\nopen_run(sys.argv[1], 'phase0')",
            str(tmp_path),
        ],
        check=True,
        env=ENV,
    )
    assert read_json(tmp_path / "manifest.json")["status"] == "interrupted"


def test_keyboard_interrupt_is_no_failure(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, "phase0"):
        raise KeyboardInterrupt
    assert run_manifest(tmp_path)["status"] == "interrupted"


def test_starting_over_empties_only_the_folder_of_a_run(tmp_path):
    (tmp_path / "mine.txt").write_text("not from a run")
    with open_run(tmp_path, "phase0", resume=False):
        assert (tmp_path / "mine.txt").exists()
    with open_run(tmp_path, "phase1", dict(seed=2), resume=False):
        assert not (tmp_path / "mine.txt").exists()


def test_other_parameters_or_phase_are_refused_and_nothing_changes(tmp_path):
    with open_run(tmp_path, "phase0", dict(seed=1, layers=(1, 2))):
        pass
    before = read_json(tmp_path / "manifest.json")
    with pytest.raises(ValueError, match="seed 1 -> 2"):
        open_run(tmp_path, "phase0", dict(seed=2, layers=[1, 2]))
    with pytest.raises(ValueError, match="a run of 'phase0'"):
        open_run(tmp_path, "phase1")
    assert read_json(tmp_path / "manifest.json") == before and not is_locked(tmp_path)


def test_damaged_manifest_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text('{"phase"')
    with pytest.raises(ValueError, match="manifest.json is not valid JSON"):
        open_run(tmp_path, "phase0")


def test_manifest_says_all_that_a_reader_needs(tmp_path):
    data = tmp_path / "x.csv"
    data.write_text("a\n1\n")
    with open_run(tmp_path / "run", "phase0", dict(seed=3, fold_seed=4)) as run:
        run.add_input(data)
        run.set_model("nano", checksum="abc", device="cpu")
        run.gate("g", np.float32(0.9), 0.8, 0.95, threshold=0.5, why="w")
    m = read_json(tmp_path / "run/manifest.json")
    assert {
        "phase",
        "status",
        "start",
        "end",
        "package_version",
        "git_revision",
        "library_versions",
        "device",
        "models",
        "parameters",
        "seeds",
        "inputs",
    } <= set(m)
    assert (
        m["seeds"] == dict(seed=3, fold_seed=4)
        and m["inputs"] == {str(data): sha256_file(data)}
        and m["models"][0]["checksum"] == "abc"
    )
    assert set(read_json(tmp_path / "run/gates.json")[0]) == {
        "name",
        "value",
        "interval",
        "n",
        "threshold",
        "direction",
        "passed",
        "why",
    }


# ---- seeds and gates


def test_seeds_are_the_same_in_another_process():
    code = "from musicgen_emotion.lab.seeds import seed_from, rng; print(seed_from(3, 'a', [1, 2.5]), rng('x').integers(1000))"
    out = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**ENV, "PYTHONHASHSEED": h},
        ).stdout
        for h in "01"
    }
    assert (
        out == {f"{seed_from(3, 'a', [1, 2.5])} {rng('x').integers(1000)}\n"}
        and 0 <= seed_from("a") < 2**63
    )


def test_seeds_do_not_collide():
    assert len({seed_from(s, p) for s in range(100) for p in range(100)}) == 10_000


@pytest.mark.parametrize(
    "value,direction,passed",
    [
        (0.5, ">", False),
        (0.5, ">=", True),
        (0.4, "<", True),
        (float("nan"), "<", False),
        (None, ">=", False),
        (float("inf"), ">", True),
    ],
)
def test_gate_at_its_edge(value, direction, passed):
    assert Gate("g", value, threshold=0.5, direction=direction).passed is passed


def test_gate_refuses_what_is_no_number():
    with pytest.raises(TypeError, match="value of gate 'g' must be a number; got 'high'"):
        Gate("g", "high")
    with pytest.raises(ValueError, match="threshold"):
        Gate("g", 1, threshold=float("nan"))


def test_nan_gate_is_null_in_valid_json(tmp_path):
    with open_run(tmp_path, "phase0") as run:
        run.gate("g", float("nan"), threshold=1)
    assert (
        json.loads((tmp_path / "gates.json").read_text(), parse_constant=lambda c: pytest.fail(c))[
            0
        ]["value"]
        is None
    )
    assert verdict(run.gates) == "PAUSE"


def test_library_versions_import_nothing():
    code = "import sys; from musicgen_emotion.lab.machine import library_versions; v = library_versions(); print('torch' in sys.modules, v['numpy'])"
    assert subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENV
    ).stdout.split() == ["False", library_versions()["numpy"]]
