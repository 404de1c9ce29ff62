"""All-cells attribution patching against patching the same cells one by one.

    python benchmarks/patching.py [--quick] [--json] [--threads 1]

Both sides run alternately in one process on the same weights, pairs, cells and threads. Both end
with one number per cell and pair: the share of the logit difference between the prompts that the
cell carries, exact on one side and to first order on the other. The one-by-one side is lean: one
pass of each prompt records states and logits, each cell is one patched pass of the whole batch, and
only the logit difference is computed. `rank_correlation` measures how far the two sides agree over
all cells. Ratios are medians over rounds; the interval is the range of the rounds. `holds` compares
the ratio with the aim.
"""

import numpy as np
import torch
from common import clock, command_line, nano_or_random, show

from musicgen_emotion.activations.hooks import hooked
from musicgen_emotion.activations.positions import window_positions
from musicgen_emotion.causes.attribution import attribution_patching
from musicgen_emotion.causes.pairs import all_cells, pair_prompts, pair_tokens
from musicgen_emotion.causes.passes import contrast, next_token_logits
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.shapes import delay_tokens, frame_logits
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.stimuli.prompts import matched_pairs


@torch.no_grad()
def recorded(model, pairs, sites):
    "The source's states at all sites, and the logits of both clean runs."
    states = {}

    def keep(activation, now):
        states[now.site.name] = activation.detach()

    with hooked(model, dict.fromkeys(sites, keep)):
        source = next_token_logits(model, pairs.tokens, pairs.source)
    return states, source, next_token_logits(model, pairs.tokens, pairs.target)


def patch(replacement, span):
    "An editor that writes the source's states at the positions of a cell."

    def editor(activation, now):
        edited = activation.clone()
        edited[:, span] = replacement[:, span]
        return edited

    return editor


@torch.no_grad()
def one_by_one(model, pairs, cells):
    "Restored logit difference (cell, pair), one patched pass per cell."
    config = model.config
    n_frames = pairs.tokens.shape[-1]
    ids = delay_tokens(pairs.tokens, config)
    states, source, target = recorded(model, pairs, list(dict.fromkeys(cells.site)))
    weights, gap = contrast(source, target)
    begun = model.begin(model.encode_text(pairs.target), null=False, cache=False)
    restored = []
    for site, start, end in zip(cells.site, cells.start, cells.end):
        span = window_positions((start, end), n_frames, config)
        with hooked(model, {site: patch(states[site], span)}):
            delayed = model.step(begun, ids, logits="all")
        logits = frame_logits(delayed, config, n_frames)  # (pair, codebook, frame, entry)
        restored.append((weights * (logits - target)).sum((1, 2, 3)) / gap.sum((1, 2)))
    return torch.stack(restored).numpy()


def all_at_once(model, pairs, cells):
    "Attribution (cell, pair) from two forward passes and one backward pass through the target's."
    table = attribution_patching(model, pairs, cells, batch_size=len(pairs), progress=False)
    return table.attribution.to_numpy().reshape(len(pairs), len(cells)).T


def ratio(name, model, n_pairs, seconds, step_s, rounds, aim, sample=None):
    """How many times longer patching cell by cell takes.

    With `sample`, that many cells are patched and their time is scaled to all.
    """
    from scipy.stats import spearmanr

    prompts = pair_prompts(matched_pairs("happy", "sad", n_pairs), "happy", "sad")
    pairs = pair_tokens(model, prompts, seconds)
    cells = all_cells(model, seconds, step_s=step_s)
    patched = np.arange(len(cells))
    if sample is not None:
        patched = np.sort(np.random.default_rng(0).permutation(len(cells))[:sample])
    # a first run of both sides, not timed
    all_at_once(model, pairs, cells)
    one_by_one(model, pairs, cells[:2])
    times = []
    for _ in range(rounds):
        slow, exact = clock(lambda: one_by_one(model, pairs, cells.iloc[patched]))
        fast, first_order = clock(lambda: all_at_once(model, pairs, cells))
        times.append((slow * len(cells) / len(patched), fast))
    agreement = spearmanr(exact.mean(1), first_order[patched].mean(1)).statistic
    ratios = [slow_s / fast_s for slow_s, fast_s in times]
    slow, fast = np.median(times, axis=0)
    return dict(
        name=name,
        ratio=round(float(np.median(ratios)), 2),
        low=round(min(ratios), 2),
        high=round(max(ratios), 2),
        n=rounds,
        aim=aim,
        holds=None if aim is None else bool(np.median(ratios) >= aim),
        cells=len(cells),
        cells_patched=len(patched),
        pairs=n_pairs,
        seconds=seconds,
        one_by_one_s=round(float(slow), 3),
        all_at_once_s=round(float(fast), 4),
        rank_correlation=round(float(agreement), 3),
    )


def entries(quick, folder):
    "All comparisons, the cheap ones first."
    nano = nano_or_random(folder)
    if quick:
        yield ratio("attribution_vs_patching_nano", nano, 2, 2, 0.05, 3, 50, sample=96)
        return
    yield ratio("attribution_vs_patching_nano", nano, 4, 2, 0.05, 3, 50)
    yield ratio("attribution_vs_patching_nano_coarse", nano, 4, 2, 0.25, 3, None)
    small = load_model(write_random_model(folder / "small", size="small"), device="cpu")
    yield ratio("attribution_vs_patching_small", small, 1, 1, 0.1, 2, 50, sample=24)


def main():
    options = command_line(__doc__, "nano only, short clips, a random sample of cells: under 40 s")
    show(lambda folder: entries(options.quick, folder), options)


if __name__ == "__main__":
    main()
