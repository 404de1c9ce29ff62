"""Training of sparse autoencoders: ours against SAELens and dictionary_learning.

    python benchmarks/sae.py [--quick] [--json] [--threads 1] [--steps 10] [--rounds 15]

The sides alternate in one process: every round gives each of them the same `steps` batches, in an
order that rotates. A ratio is their time over ours in one round. The median over rounds is printed,
the interval is the smallest and the largest round, and the first round only warms up. Data,
batches, learning-rate schedule, penalty, gradient clipping and number of steps are the same;
starting weights and starting bias are each library's own.

`share_of_products` compares with the machine's own matrix products: the time of the five products
that ReLU with L1 needs, measured in the same rounds, over the time of a step.
`relu_l1_float32_training` are whole trainings from each library's own start, with the ratios of
their first and last 20 steps. `relu_l1_float32_sparse` starts all sides from one dictionary with
the L0 that a training ends with, at its small last learning rate: the directions that the data were
made of, then random ones, and a common bias that leaves 96 features active per row. The same
tensors are copied into each library.

Errors are of rows that nobody trained on. ReLU dictionaries end with different L0, so their error
is also compared with the 64 strongest features of a row kept. Peak memory is what a fresh process
needs for three steps beyond imports and data. A library that is not installed is skipped with the
reason; `make interop-env` builds an environment that has both.
"""

import warnings
from copy import copy
from types import SimpleNamespace

import numpy as np
import torch
from common import clock, command_line, entry, show, skipped
from sae_memory import memory, streamed, streaming_trainer, write_store
from sae_sides import (
    LR,
    PACKAGES,
    SIDES,
    K,
    batches_of,
    late_state,
    make_rows,
    missing,
    products,
    slow_bfloat16,
)

AIMS = dict(
    relu_l1_float32=1.4,
    relu_l1_float32_sparse=1.4,
    topk_float32=3.5,
    relu_l1_bfloat16=3.0,
    topk_bfloat16=None,
)


def seconds_of_steps(side, steps):
    "Seconds that a side takes for these steps."

    def work():
        for i in steps:
            side.step(i)

    return clock(work)[0]


def alternate(sides, rounds, steps):
    "Seconds of `steps` steps, one list a side, one entry a round; the first round is dropped."
    names = list(sides)
    seconds = {name: [] for name in names}
    for round_number in range(rounds + 1):
        first = round_number % len(names)
        numbers = range(round_number * steps, (round_number + 1) * steps)
        for name in names[first:] + names[:first]:
            spent = seconds_of_steps(sides[name], numbers)
            if round_number:
                seconds[name].append(spent)
    return {name: np.array(spent) for name, spent in seconds.items()}


def median_rate(seconds, n_samples):
    "Samples per second at the median of the rounds."
    return round(n_samples / float(np.median(seconds)))


@torch.no_grad()
def quality(side, rows, parts=5):
    """Mean squared error per dimension, L0, and the error with the 64 strongest features kept.

    An array (3, part), one value for each part of the rows.
    """
    measured = []
    for batch in rows.chunk(parts):
        features = side.features(batch)
        strongest = (features * side.norms()).topk(K, dim=1).indices
        kept = torch.zeros_like(features)
        kept.scatter_(1, strongest, features.gather(1, strongest))
        error = (side.decode(features) - batch).pow(2).mean()
        l0 = (features > 0).float().sum(1).mean()
        error_at_k = (side.decode(kept) - batch).pow(2).mean()
        measured.append([error, l0, error_at_k])
    return np.array(measured, float).T


def able_peers(names, kind="relu_l1", dtype="float32"):
    "Names of the libraries that can take part, and the reasons of the others."
    reasons = {name: missing(name, kind, dtype) for name in names}
    able = [name for name, why in reasons.items() if why is None]
    return able, {name: why for name, why in reasons.items() if why is not None}


def compare(kind, dtype, rows, test, options):
    "All sides of one variant."
    case = f"{kind}_{dtype}"
    if options.state is not None:
        case += "_sparse"
    peers = list(PACKAGES)
    if (kind, dtype, options.quick) == ("topk", "float32", False):
        peers.insert(1, "saelens_sparse")
    why = slow_bfloat16() if dtype == "bfloat16" else None
    if why:
        yield skipped(case, why)
        return
    able, reasons = able_peers(peers, kind, dtype)
    for name, why in reasons.items():
        yield skipped(f"{case}_vs_{name}", why)
    names = ["ours", *able]
    sides = {name: SIDES[name](kind, dtype, rows, options) for name in names}
    timed = sides | dict(products=products(dtype, options))
    seconds = alternate(timed, options.rounds, options.steps)
    n_samples = options.steps * options.batch
    rates = {name: median_rate(seconds[name], n_samples) for name in names}
    ends = {name: quality(sides[name], test) for name in names}
    summaries = {name: summary(end.mean(1)) for name, end in ends.items()}
    for name in able:
        yield entry(
            f"{case}_vs_{name}",
            seconds[name] / seconds["ours"],
            None if name == "saelens_sparse" else AIMS[case],
            samples_s=dict(ours=rates["ours"], theirs=rates[name]),
            d_in=options.d_in,
            d_sae=options.d_sae,
            batch=options.batch,
            steps=options.total,
        )
        yield entry(
            f"{case}_mse_at_l0_64_vs_{name}",
            ends[name][2] / ends["ours"][2],
            None if options.quick or options.state else 1.0,
            ours=summaries["ours"],
            theirs=summaries[name],
        )
    flops = 5 * 2 * n_samples * options.d_in * options.d_sae
    gflops = flops / float(np.median(seconds["products"])) / 1e9
    for name in names:
        yield entry(
            f"{case}_{name}_share_of_products",
            seconds["products"] / seconds[name],
            0.8 if (name, case) == ("ours", "relu_l1_float32") else None,
            samples_s=rates[name],
            products_gflops=round(gflops, 1),
            **summaries[name],
        )


def summary(means):
    "Error, L0 and error with 64 features as fields of an entry."
    error, l0, error_at_k = (float(mean) for mean in means)
    return dict(mse=round(error, 5), l0=round(l0, 1), mse_at_64=round(error_at_k, 5))


def trainings(rows, test, options, block=20):
    """Whole trainings with ReLU, each library from its own start; one ratio per training.

    Steps are dense first, and ours are sparse once few features are active.
    """
    settings = copy(options)
    settings.total = options.training
    settings.warmup = max(1, options.training // 20)
    settings.state = None
    able, reasons = able_peers(PACKAGES)
    for name, why in reasons.items():
        yield skipped(f"relu_l1_float32_training_vs_{name}", why)
    names = ["ours", *able]
    seconds = {name: [] for name in names}  # one number per training
    ends = {name: [] for name in names}
    for seed in range(options.trainings):
        settings.seed = seed
        sides = {name: SIDES[name]("relu_l1", "float32", rows, settings) for name in names}
        blocks = {name: [] for name in names}
        for begin in range(0, settings.total, block):
            steps = range(begin, min(begin + block, settings.total))
            for name in names:
                blocks[name].append(seconds_of_steps(sides[name], steps))
        for name in names:
            seconds[name].append(sum(blocks[name]))
            ends[name].append(quality(sides[name], test))
    n_samples = settings.total * options.batch
    rates = {name: median_rate(seconds[name], n_samples) for name in names}
    summaries = {name: summary(np.mean(ends[name], (0, 2))) for name in names}
    for name in able:
        yield entry(
            f"relu_l1_float32_training_vs_{name}",
            np.divide(seconds[name], seconds["ours"]),
            AIMS["relu_l1_float32"],
            samples_s={side: rates[side] for side in ("ours", name)},
            steps=settings.total,
            first_block=round(float(blocks[name][0] / blocks["ours"][0]), 2),
            last_block=round(float(blocks[name][-1] / blocks["ours"][-1]), 2),
            ours=summaries["ours"],
            theirs=summaries[name],
        )
        errors = [theirs[2] / own[2] for theirs, own in zip(ends[name], ends["ours"])]
        yield entry(f"relu_l1_float32_training_mse_at_l0_64_vs_{name}", np.concatenate(errors), 1.0)


# Memory is measured in processes of their own, started before this one has computed anything.


def trainer_side(trainer):
    "A trainer as a side that `alternate` can time."
    return SimpleNamespace(step=lambda i: trainer.step())


def stream_ratio(rows, options, folder):
    "Rate of training from the store over the rate from memory, for TopK with its short step."
    write_store(folder / "stream", rows)
    store = streamed(folder / "stream", options, 8 * options.batch)
    in_memory = batches_of(rows[: store.n].half(), options)
    sides = dict(
        memory=trainer_side(streaming_trainer(in_memory, options)),
        store=trainer_side(streaming_trainer(store, options)),
    )
    seconds = alternate(sides, options.rounds, options.steps)
    n_samples = options.steps * options.batch
    yield entry(
        "topk_float32_streamed_vs_in_memory",
        seconds["memory"] / seconds["store"],
        0.8,
        samples_s={name: median_rate(spent, n_samples) for name, spent in seconds.items()},
        rows=store.n,
        buffer_rows=8 * options.batch,
    )


def entries(options, folder):
    "All comparisons."
    if not options.quick:
        yield from memory(options, folder)
    made = make_rows(options.rows + 1024, options.d_in)
    rows, test = made[:-1024], made[-1024:]
    for kind in ("relu_l1", "topk"):
        yield from compare(kind, "float32", rows, test, options)
    late = copy(options)
    late.state = late_state(rows, options)
    late.lr = LR / 100
    yield from compare("relu_l1", "float32", rows, test, late)
    if options.training:
        yield from trainings(rows, test, options)
    yield from stream_ratio(rows, options, folder)
    for kind in ("relu_l1", "topk"):
        yield from compare(kind, "bfloat16", rows, test, options)


def main():
    options = command_line(
        __doc__,
        "one step a round, two rounds, no memory: about a minute",
        d_in=(768, "width"),
        d_sae=(6144, "dictionary size"),
        batch=(1024, "rows a step"),
        steps=(10, "steps a round"),
        rounds=(15, "rounds"),
        rows=(30000, "rows of data"),
        training=(200, "steps of a whole training; 0: none"),
        trainings=(2, "of them"),
    )
    if options.quick:
        options.steps, options.rounds = 1, 2
        options.rows, options.training = 6 * options.batch, 0
    options.total = options.steps * (options.rounds + 1)
    options.warmup = max(1, options.total // 10)
    options.lr, options.state, options.seed = LR, None, 0
    warnings.filterwarnings("ignore", module="sae_lens|transformer_lens")
    show(lambda folder: entries(options, folder), options)


if __name__ == "__main__":
    main()
