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

PROMPTS = (
    "happy upbeat pop song with bright synths",
    "sad slow piano ballad",
    "calm ambient pads",
    "angry heavy metal",
)
# fields of an entry that `line` shows in its fixed columns or leaves out
COLUMNS = ("name", "ratio", "low", "high", "n", "aim", "holds", "d_in", "d_sae", "batch", "steps")


def clock(work):
    "Seconds that `work()` took, and its result."
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def entry(name, ratios, aim, above=True, **more):
    "A ratio over rounds: median, range, and whether it reaches its aim."
    ratio = float(np.median(ratios))
    holds = None
    if aim is not None:
        holds = bool(ratio >= aim if above else ratio <= aim)
    numbers = dict(
        name=name,
        ratio=round(ratio, 3),
        low=round(float(min(ratios)), 3),
        high=round(float(max(ratios)), 3),
        n=len(ratios),
        aim=aim,
        holds=holds,
    )
    return numbers | more


def skipped(name, why):
    "The entry of a comparison that could not be made."
    return dict(name=name, ratio=None, low=None, high=None, n=0, aim=None, holds=None, skipped=why)


def cycled_prompts(n_clips):
    "As many prompts as clips, the same few again and again."
    return [PROMPTS[clip % len(PROMPTS)] for clip in range(n_clips)]


def nano_or_random(folder):
    "The packaged model, or random weights of its shape."
    if (nano_folder() / "config.json").exists():
        return load_model("nano", device="cpu")
    written = write_random_model(
        folder / "nano",
        d_model=256,
        n_layers=4,
        d_ff=1024,
        codebook_size=512,
        sample_rate=8000,
        d_text=128,
    )
    return load_model(written, device="cpu")


def line(found):
    "One entry for people."
    name = f"{found['name']:58}"
    if found.get("skipped"):
        return f"{name} {found['skipped']}"
    outcome = {True: "holds", False: "FAILS", None: "no aim"}[found["holds"]]
    interval = f"[{found['low']:.2f}, {found['high']:.2f}] n={found['n']}"
    more = {key: value for key, value in found.items() if key not in COLUMNS}
    return (
        f"{name} {found['ratio']:8.2f}  {interval}  aim {found['aim']}  {outcome}  "
        f"{json.dumps(more)}"
    )


def command_line(doc, quick, **numbers):
    "Options of a script; `numbers` are further whole numbers: name=(default, help)."
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for both sides")
    for name, (default, meaning) in numbers.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=int, default=default, help=meaning)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def show(entries, options):
    "Print entries as they come; `entries` gets a folder for what it writes."
    with tempfile.TemporaryDirectory() as folder:
        for found in entries(Path(folder)):
            print(json.dumps(found) if options.json else line(found), flush=True)
