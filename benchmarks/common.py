"What the benchmark scripts share: timing, entries, the model, the command line."

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.registry import nano_folder
from musicgen_emotion.models.tiny import write_random_model


def clock(work):
    start = time.perf_counter()
    out = work()
    return time.perf_counter() - start, out


def entry(name, ratios, aim, above=True, **more):
    "A ratio over rounds: median, range, and whether it reaches its aim."
    ratio = float(np.median(ratios))
    holds = None if aim is None else bool(ratio >= aim if above else ratio <= aim)
    return (
        dict(
            name=name,
            ratio=round(ratio, 3),
            low=round(float(min(ratios)), 3),
            high=round(float(max(ratios)), 3),
            n=len(ratios),
            aim=aim,
            holds=holds,
        )
        | more
    )


def nano_or_random(folder):
    "The packaged model, or random weights of its shape."
    if (nano_folder() / "config.json").exists():
        return load_model("nano", device="cpu")
    return load_model(
        write_random_model(
            folder / "nano",
            d_model=256,
            n_layers=4,
            d_ff=1024,
            codebook_size=512,
            sample_rate=8000,
            d_text=128,
        ),
        device="cpu",
    )


def line(e):
    "One entry for people."
    if e.get("skipped"):
        return f"{e['name']:58} {e['skipped']}"
    more = {
        k: v
        for k, v in e.items()
        if k
        not in (
            "name",
            "ratio",
            "low",
            "high",
            "n",
            "aim",
            "holds",
            "d_in",
            "d_sae",
            "batch",
            "steps",
        )
    }
    return f"{e['name']:58} {e['ratio']:8.2f}  [{e['low']:.2f}, {e['high']:.2f}] n={e['n']}  aim {e['aim']}  {'holds' if e['holds'] else 'no aim' if e['holds'] is None else 'FAILS'}  {json.dumps(more)}"


def command_line(doc, quick, **numbers):
    "Options of a script; `numbers` are further whole numbers: name=(default, help)."
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for both sides")
    for name, (default, help) in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=help)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def show(entries, options):
    "Print entries as they come; `entries` gets a folder for what it writes."
    with tempfile.TemporaryDirectory() as folder:
        for e in entries(Path(folder)):
            print(json.dumps(e) if options.json else line(e), flush=True)
