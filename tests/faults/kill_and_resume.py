"""Kill work at random moments, go on, and compare every byte with work that nobody disturbed.

    python tests/faults/kill_and_resume.py            # 20 kills, about five minutes
    python tests/faults/kill_and_resume.py --only clips replay --seed 3

Each kind of work runs in a process of its own and is killed with SIGKILL, with all its children,
after a random part of the time that it takes undisturbed. Then it is started again with the same
arguments. A phase is killed several times before it may end. Files are compared byte by byte,
manifests without their times. Prints `20 of 20 with equal bytes`, or what differs.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

# cells of a small phase: clips, activations, a dictionary, tables, a figure and a gate
PHASE_CELLS = [
    """model: str = "nano"  # folder of a model
n: int = 4  # prompts, count
seed: int = 0  # of everything
out_dir: str = "results"  # run folder""",
    """import numpy as np
from musicgen_emotion.lab import start_phase
from musicgen_emotion.models import load_model
from musicgen_emotion.stimuli import study_prompts
run = start_phase("phase9_small", globals())
music = load_model(model, device="cpu")
prompts = study_prompts(n, seed=seed).table""",
    """from musicgen_emotion.activations import generate_clips, replay_store
how = dict(duration_s=0.2, batch_size=2, progress=False)
clips = run.table(generate_clips(music, prompts, run.path / "clips", seed, **how), "clips.csv")""",
    """sites = ["layer_0", "layer_2"]
states = run.path / "states.zarr"
replay_store(music, run.path / "clips", sites, states, pool=None, batch_size=2, progress=False)""",
    """from musicgen_emotion.sae import SAEConfig, TrainConfig, sae_metrics, train_sae
rows = np.random.default_rng(seed).standard_normal((600, 16)).astype(np.float32)
config = TrainConfig(steps=150, batch_size=64, window=25, eval_every=25, checkpoint_every=25)
made = train_sae(rows, SAEConfig(16, 2), config, folder=run.path / "sae", progress=False)""",
    """import pandas as pd
from musicgen_emotion.show import plot_histograms, save_figure
from musicgen_emotion.stats import bootstrap
table = pd.DataFrame([sae_metrics(made.sae, rows)])
run.table(table, "metrics.parquet")
drawn = plot_histograms(clips.assign(value=np.arange(len(clips))), ["value"])
save_figure(drawn, run.path / "values.png", "Numbers.", "Bars.", close=True)
half = bootstrap(rows[:, 0], seed=seed)
run.gate("mean", half.value, half.low, half.high, threshold=-1, n=half.n, why="a test")""",
    "run.close();",
]
# what tells when and where a run was, not what it found
TIMES = {
    "start", "end", "seconds", "resumed", "pid", "host", "progress", "message", "log", "kernel",
    "environment", "device", "duration", "inputs", "times",
}  # fmt: skip
UNCOMPARED = {".lock", ".writer", ".written", "run.log", "kernel.log", "notebook.ipynb"}


# The kinds of work. Each takes a folder that may be new or left by a killed process.


def make_clips(folder, material):
    from musicgen_emotion.activations.clip_plans import generate_clips

    prompts = [f"a {word} piece" for word in ("happy", "sad", "calm", "angry", "lively", "gloomy")]
    generate_clips(
        material.model, prompts, folder / "clips", (0, 1), 0.1, batch_size=2, progress=False
    )


def replay_clips(folder, material):
    from musicgen_emotion.activations.stored import replay_store

    sites = ["layer_0", "layer_1.mlp", "layer_2"]
    replay_store(
        material.model, material.store, sites, folder / "states.zarr", pool=None, batch_size=2,
        progress=False,
    )  # fmt: skip


def compact_store(folder, material):
    from musicgen_emotion.activations.clips import ClipStore

    store = ClipStore(folder / "grown")
    if not store.path.exists():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder / "copying")
        shutil.copytree(material.shards, folder / "copying")
        os.replace(folder / "copying", store.path)
    with store.writing():
        store.compact()


def train_dictionary(folder, material):
    from musicgen_emotion.sae.settings import SAEConfig, TrainConfig
    from musicgen_emotion.sae.training import train_sae

    config = TrainConfig(
        steps=400, batch_size=128, window=50, eval_every=20, checkpoint_every=20, patience=99
    )
    train_sae(
        material.rows, SAEConfig(24, 4, l1=0.01), config, folder=folder / "sae", progress=False
    )


def sweep_dictionaries(folder, material):
    from musicgen_emotion.sae.settings import SAEConfig, TrainConfig
    from musicgen_emotion.sae.sweeps import sweep

    config = TrainConfig(steps=60, batch_size=128, window=20, eval_every=20, checkpoint_every=20)
    grid = dict(l1=[0.003, 0.01, 0.03])
    sweep(material.rows, grid, SAEConfig(24, 2), config, folder=folder / "sweep", progress=False)


@dataclass
class Material:
    "What the work starts from; made before anything is killed."

    root: Path
    rows: np.ndarray = field(init=False)

    def __post_init__(self):
        self.root.mkdir(parents=True)
        draw = np.random.default_rng(0)
        parts = draw.random((2000, 48)) * (draw.random((2000, 48)) < 0.1)
        self.rows = (parts @ draw.standard_normal((48, 24))).astype(np.float32)
        import_all()
        in_child(self.prepare)
        from musicgen_emotion.models.load import load_model

        self.model = load_model(self.tiny, device="cpu")

    @property
    def tiny(self):
        return self.root / "tiny"

    @property
    def store(self):
        return self.root / "made" / "clips"

    @property
    def shards(self):
        return self.root / "shards"

    def prepare(self):
        from musicgen_emotion.models.load import load_model
        from musicgen_emotion.models.tiny import write_random_model

        write_random_model(self.tiny, sample_rate=8000)
        self.model = load_model(self.tiny, device="cpu")
        (self.root / "made").mkdir()
        make_clips(self.root / "made", self)
        self.prepare_shards()

    def prepare_shards(self, n_batches=40, size=4):
        "A store whose clips lie in batches that were not merged."
        from musicgen_emotion.activations.clips import ClipStore

        draw = np.random.default_rng(1)
        store = ClipStore(self.shards)
        with store.writing():
            for batch in range(n_batches):
                ids = [f"{batch * size + number:016x}" for number in range(size)]
                tokens = draw.integers(0, 64, (size, 4, 50)).astype(np.int16)
                waves = 0.1 * draw.standard_normal((size, 400)).astype(np.float32)
                rows = pd.DataFrame(dict(clip_id=ids, prompt="a song", seed=batch, frame_rate=50))
                store.add(rows, list(tokens), list(waves), 8000)


# Processes


def import_all():
    "Import what the work needs, so that kills hit the work and not the start of Python."
    for name in ("activations.stored", "activations.clip_plans", "sae.sweeps", "models.load"):
        importlib.import_module(f"musicgen_emotion.{name}")
    for name in ("zarr", "xarray", "pyarrow.parquet", "soundfile", "tqdm.auto"):
        importlib.import_module(name)


def in_child(work, *arguments):
    "Do work in a process of its own, which must succeed."
    child = start(work, *arguments)
    status = os.waitpid(child, 0)[1]
    if status != 0:
        raise RuntimeError(f"{work.__name__} failed in its process with status {status}")


def start(work, *arguments):
    "Number of a new process group that does the work."
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    os.setsid()
    status = 7
    try:
        import torch

        torch.set_num_threads(1)
        work(*arguments)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def killed(child, seconds):
    "Kill a process group after some seconds; False when it had ended before."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return False
        time.sleep(min(0.001, seconds))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def run_phase(folder, material):
    "The command, as a user types it, in this process's group."
    notebook = folder.parent / "phase9_small.ipynb"
    write_phase(notebook)
    code = "from musicgen_emotion.cli import app; app(prog_name='musicgen-emotion')"
    words = ["run", str(notebook), "-p", f"model={material.tiny}", "--out", str(folder / "results")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the phase failed: {done.stderr[-2000:]}")


def write_phase(path):
    "The notebook of the small phase; the first cell holds its parameters."
    cells = []
    for number, source in enumerate(PHASE_CELLS):
        tags = dict(tags=["parameters"]) if number == 0 else {}
        cell = dict(cell_type="code", id=f"cell{number}", metadata=tags, source=source)
        cells.append(cell | dict(outputs=[], execution_count=None))
    kernel = dict(name="python3", display_name="python3", language="python")
    notebook = dict(nbformat=4, nbformat_minor=5, metadata=dict(kernelspec=kernel), cells=cells)
    path.write_text(json.dumps(notebook))


# Comparison


def contents(folder):
    "Relative path -> bytes of all files, manifests without times and places."
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.name in UNCOMPARED:
            continue
        data = path.read_bytes()
        if path.name in ("manifest.json", "report.json"):
            data = plain_json(data, folder)
        elif path.suffix == ".safetensors":
            data = plain_tensors(data, folder)
        found[name] = data
    return found


def plain_json(data, folder):
    "JSON without times and without the place of the folder."
    kept = without_times(json.loads(data))
    return json.dumps(kept, sort_keys=True).replace(str(folder), "").encode()


def plain_tensors(data, folder):
    "A safetensors file whose note on the training is without times; all tensors stay."
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    note = header.pop("__metadata__", {})
    plain = [plain_json(note[name], folder) for name in sorted(note) if name == "state"]
    listed = json.dumps(header, sort_keys=True).encode()
    return b"".join([listed, *plain, data[8 + length :]])


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def differences(first, second):
    "One line per file that is not the same in two folders."
    left, right = contents(first), contents(second)
    lines = []
    for name in sorted({*left, *right}):
        if name not in right:
            lines.append(f"{name} is only in the undisturbed folder")
        elif name not in left:
            lines.append(f"{name} is only in the resumed folder")
        elif left[name] != right[name]:
            lines.append(f"{name} differs ({len(left[name])} and {len(right[name])} bytes)")
    return lines


WORK = {
    "clips": (make_clips, 4),
    "replay": (replay_clips, 4),
    "compaction": (compact_store, 3),
    "training": (train_dictionary, 3),
    "sweep": (sweep_dictionaries, 3),
    "phase": (run_phase, 3),
}
CHAINED = {"phase"}  # killed several times before it may end, because it is long


def undisturbed(name, root, material):
    "Folder of the whole work, and the seconds that it took."
    folder = root / name / "through"
    folder.mkdir(parents=True)
    begin = time.monotonic()
    in_child(WORK[name][0], folder, material)
    return folder, time.monotonic() - begin


def kill_once(work, folder, material, seconds, draw):
    "Kill the work at a random moment; earlier when it ended before. The moment in seconds."
    most = 0.95
    while True:
        moment = draw.uniform(0.02, most) * seconds
        if killed(start(work, folder, material), moment):
            return moment
        most *= 0.7


def try_work(name, n_kills, root, material, draw):
    "Lines of what went wrong, one list per kill."
    work = WORK[name][0]
    through, seconds = undisturbed(name, root, material)
    wrong = []
    if name in CHAINED:
        folder = root / name / "killed"
        folder.mkdir()
        moments = [kill_once(work, folder, material, seconds, draw) for _ in range(n_kills)]
        in_child(work, folder, material)
        wrong = [differences(through, folder)] * n_kills
        report(name, moments, seconds, wrong[0])
        return wrong
    for number in range(n_kills):
        folder = root / name / f"killed{number}"
        folder.mkdir()
        moment = kill_once(work, folder, material, seconds, draw)
        in_child(work, folder, material)
        wrong.append(differences(through, folder))
        report(name, [moment], seconds, wrong[-1])
        shutil.rmtree(folder)
    return wrong


def report(name, moments, seconds, lines):
    listed = ", ".join(f"{moment:.2f}" for moment in moments)
    outcome = "equal bytes" if not lines else "; ".join(lines[:5])
    say(f"{name}: killed after {listed} of {seconds:.2f} s: {outcome}")


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def kill_and_resume(root, kills=None, seed=0):
    "Lists of differences, one per kill, over kinds of work; `kills` gives kinds and numbers."
    kills = kills or {name: number for name, (_, number) in WORK.items()}
    draw = random.Random(seed)
    material = Material(Path(root) / "material")
    wrong = []
    for name, number in kills.items():
        wrong += try_work(name, number, Path(root), material, draw)
    equal = sum(not lines for lines in wrong)
    say(f"{equal} of {len(wrong)} with equal bytes")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(WORK), help="kinds of work")
    parser.add_argument("--kills", type=int, help="of each kind, instead of 20 over all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    kills = {name: options.kills or WORK[name][1] for name in options.only or WORK}
    with tempfile.TemporaryDirectory(prefix="kills_") as root:
        wrong = kill_and_resume(Path(root), kills, options.seed)
    return 1 if any(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
