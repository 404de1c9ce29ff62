"""What another processor changes: the same study with the same seed under two sets of kernels.

    python benchmarks/processors.py PHASE... [--out results/processors] [-f params/nano.yaml]

torch has kernels for several sets of instructions and picks the widest that a processor knows.
`ATEN_CPU_CAPABILITY=default` makes it take the plain ones, which add in another order, as another
processor would. Each phase runs once under both, and the runs are compared: activations of the same
tokens, tokens of the same prompts, tables, gates. One JSON line per phase; the last lines are kept
in `processors.jsonl`. Nothing is timed.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.lab.comparing import compare_runs
from musicgen_emotion.lab.gates import read_gates

KERNELS = ("widest", "default")  # of torch
ACTIVATIONS = """
import json, sys
import numpy as np
from musicgen_emotion.activations.replaying import replay
from musicgen_emotion.models.load import load_model
model = load_model("nano", device="cpu")
shape = (4, model.config.n_codebooks, 100)
tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, shape)
sites = [site for site in model.sites if site.startswith("layer_") and "." not in site]
states = replay(model, tokens, ["a happy song"] * 4, sites=sites, pool="mean", progress=False)
np.save(sys.argv[1], np.stack([states[site].values for site in sites]))
"""


def environment(kernels):
    "Environment of a process with these kernels."
    others = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    return others | (dict(ATEN_CPU_CAPABILITY="default") if kernels == "default" else {})


def run(phase, kernels, out, files):
    "Folder of the phase's run under these kernels."
    command = [sys.executable, "-c", "from musicgen_emotion.cli import app; app()", "run", phase]
    for file in files:
        command += ["-f", file]
    command += ["--out", str(out / kernels)]
    subprocess.run(command, env=environment(kernels), check=True)
    (folder,) = [path.parent for path in (out / kernels).glob(f"{phase}*/manifest.json")]
    return folder


def same_activations(out):
    "Largest difference of activations on equal tokens, relative to the largest activation."
    arrays = []
    for kernels in KERNELS:
        file = out / f"activations_{kernels}.npy"
        command = [sys.executable, "-c", ACTIVATIONS, str(file)]
        subprocess.run(command, env=environment(kernels), check=True)
        arrays.append(np.load(file))
    return float(np.abs(arrays[0] - arrays[1]).max() / np.abs(arrays[0]).max())


def same_tokens(folders):
    "Clips of both runs with the same id: how many, how many are equal, where the others part."
    stores = []
    for folder in folders:
        (path,) = sorted(folder.rglob("clips.parquet"))[:1]
        stores.append(ClipStore(path.parent))
    shared = sorted(set(stores[0].table.clip_id) & set(stores[1].table.clip_id))
    first = []
    for name in shared:
        a, b = (store.codes([name])[0] for store in stores)
        differs = (a != b).any(0)
        first.append(int(differs.argmax()) if differs.any() else -1)
    parted = [frame for frame in first if frame >= 0]
    return dict(
        clips=len(shared),
        equal=len(shared) - len(parted),
        first_frame_median=float(np.median(parted)) if parted else None,
    )


def compared(phase, out, files):
    "One entry: what differs between the two runs of a phase."
    folders = [run(phase, kernels, out, files) for kernels in KERNELS]
    comparison = compare_runs(*folders)
    gates = comparison.gates
    flipped = gates[gates.passed_a != gates.passed_b]
    columns = comparison.tables
    changed = columns[columns.outcome == "differs"].sort_values("relative", ascending=False)
    return dict(
        name=phase,
        activations=same_activations(out),
        **same_tokens(folders),
        gates=len(read_gates(folders[0])),
        flipped=flipped.gate.tolist(),
        values={row.gate: [float(row.value_a), float(row.value_b)] for row in gates.itertuples()},
        columns=len(columns),
        columns_equal=int((columns.outcome == "same").sum()),
        differs={f"{row.table}: {row.column}": row.relative for row in changed.itertuples()},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("phases", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("results/processors"))
    parser.add_argument("-f", "--file", action="append", default=[])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for phase in asked.phases:
        sys.stdout.write(json.dumps(compared(phase, asked.out, asked.file)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
