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

import contextlib
import importlib.util
import multiprocessing
import os
import warnings
from copy import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from common import clock, command_line, entry, show

from musicgen_emotion.sae.data import ArrayBatches, StoreBatches
from musicgen_emotion.sae.dictionary import SAEConfig, SparseAutoencoder
from musicgen_emotion.sae.training import SAETrainer, TrainConfig

K = 64
L1 = 1e-3
LR = 1e-3
AIMS = dict(
    relu_l1_float32=1.4,
    relu_l1_float32_sparse=1.4,
    topk_float32=3.5,
    relu_l1_bfloat16=3.0,
    topk_bfloat16=None,
)
PACKAGES = dict(saelens="sae_lens", dictionary_learning="dictionary_learning")


def unit_rows(rng, n, d_in):
    rows = rng.standard_normal((n, d_in), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_rows(n, d_in, seed=0, features=3072, active=40, ratio=1.57):
    """Sparse sums of unit directions plus a little noise, (n, d_in).

    Their mean is `ratio` times as long as their spread around it.
    """
    rng = np.random.default_rng(seed)
    directions = unit_rows(rng, features, d_in)
    mean = rng.standard_normal(d_in)
    common = 1 / np.arange(10, features + 10) ** 0.5
    common /= common.sum()
    rows = np.empty((n, d_in), np.float32)
    for start in range(0, n, 4096):
        n_part = min(4096, n - start)
        codes = np.zeros((n_part, features), np.float32)
        chosen = rng.choice(features, (n_part, active), p=common)
        strengths = rng.exponential(size=(n_part, active)).astype(np.float32)
        np.put_along_axis(codes, chosen, strengths, axis=1)
        noise = rng.standard_normal((n_part, d_in), dtype=np.float32)
        rows[start : start + n_part] = codes @ directions + 0.02 * noise
    spread = np.sqrt(((rows - rows.mean(0)) ** 2).sum(1).mean())
    offset = (ratio * spread * mean / np.linalg.norm(mean)).astype(np.float32)
    return torch.from_numpy(rows - rows.mean(0) + offset)


def late_state(rows, options, l0=96, seed=0, features=3072):
    """Tensors of a dictionary as late in a training.

    The directions of `make_rows`, further random ones, and the bias that leaves `l0` features
    active per row.
    """
    d_in, d_sae = options.d_in, options.d_sae
    known = unit_rows(np.random.default_rng(seed), features, d_in)[:d_sae]
    further = unit_rows(np.random.default_rng(seed + 1), d_sae - len(known), d_in)
    W_dec = torch.from_numpy(np.concatenate([known, further]))
    b_dec = rows.mean(0)
    pre = (rows[:256] - b_dec) @ W_dec.T
    bias = -pre.flatten().kthvalue(pre.numel() - l0 * len(pre)).values
    return dict(W_enc=W_dec.T, W_dec=W_dec, b_enc=bias.expand(d_sae), b_dec=b_dec)


@torch.no_grad()
def start(state, **parameters):
    "Copy a common state into a library's own parameters."
    for name, values in (state or {}).items():
        parameters[name].copy_(values)


# The sides. `step(i)` trains on batch i; `features(rows)` and `decode(features)` measure the end;
# `norms()` are the lengths of the decoder's rows.


def ours(kind, dtype, rows, options):
    config = SAEConfig(
        options.d_in,
        d_sae=options.d_sae,
        activation="topk" if kind == "topk" else "relu",
        k=K,
        l1=L1,
    )
    training = TrainConfig(
        steps=options.total,
        batch_size=options.batch,
        lr=options.lr,
        warmup=options.warmup,
        l1_warmup=options.warmup,
        decay=0.2,
        dtype=dtype,
        centre=options.state is None,
    )
    sae = SparseAutoencoder(seed=options.seed, **vars(config))
    trainer = SAETrainer(sae, batches_of(rows, options), training)
    sae = trainer.sae
    start(options.state, W_enc=sae.W_enc, W_dec=sae.W_dec, b_enc=sae.b_enc, b_dec=sae.b_dec)
    return SimpleNamespace(
        step=lambda i: trainer.step(),
        features=lambda batch: sae.eval().encode(batch),
        decode=sae.decode,
        norms=lambda: sae.W_dec.norm(dim=1),
    )


def batches_of(rows, options):
    return ArrayBatches(rows, np.arange(len(rows)), options.batch)


def saelens(kind, dtype, rows, options, **more):
    import sae_lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer as TheirTrainer

    torch.manual_seed(options.seed)
    size = dict(d_in=options.d_in, d_sae=options.d_sae)
    if kind == "topk":
        sae = sae_lens.TopKTrainingSAE(sae_lens.TopKTrainingSAEConfig(**size, k=K, **more))
    else:
        penalty = dict(l1_coefficient=L1 * options.d_in, l1_warm_up_steps=options.warmup)
        sae = sae_lens.StandardTrainingSAE(sae_lens.StandardTrainingSAEConfig(**size, **penalty))
    start(options.state, W_enc=sae.W_enc, W_dec=sae.W_dec, b_enc=sae.b_enc, b_dec=sae.b_dec)
    config = SAETrainerConfig(
        total_training_samples=options.total * options.batch,
        train_batch_size_samples=options.batch,
        lr=options.lr,
        lr_end=options.lr,
        lr_warm_up_steps=options.warmup,
        lr_decay_steps=options.total // 5,
        autocast=dtype == "bfloat16",
    )
    batches = batches_of(rows, options)
    trainer = TheirTrainer(config, sae, None)

    def step(i):
        trainer.step(batches[i])
        trainer.n_training_steps += 1

    def norms():
        return torch.ones(options.d_sae) if kind == "topk" else sae.W_dec.norm(dim=1)

    return SimpleNamespace(
        step=step,
        features=lambda batch: sae.encode(batch).to_dense(),
        decode=sae.decode,
        norms=norms,
    )


def saelens_sparse(kind, dtype, rows, options):
    return saelens(kind, dtype, rows, options, use_sparse_activations=True)


def dictionary_learning(kind, dtype, rows, options):
    from dictionary_learning import trainers

    common = dict(
        steps=options.total,
        activation_dim=options.d_in,
        dict_size=options.d_sae,
        layer=0,
        lm_name="",
        lr=options.lr,
        warmup_steps=options.warmup,
        decay_start=max(options.warmup + 1, options.total * 4 // 5),
        seed=options.seed,
        device="cpu",
    )
    if kind == "topk":
        trainer = trainers.TopKTrainer(k=K, **common)
    else:
        penalty = dict(l1_penalty=L1 * options.d_in, sparsity_warmup_steps=options.warmup)
        trainer = trainers.StandardTrainer(**penalty, **common)
    if options.state:
        start(
            options.state,
            W_enc=trainer.ae.encoder.weight.T,
            W_dec=trainer.ae.decoder.weight.T,
            b_enc=trainer.ae.encoder.bias,
            b_dec=trainer.ae.bias,
        )
    batches = batches_of(rows, options)

    def precision():
        if dtype == "bfloat16":
            return torch.autocast("cpu", torch.bfloat16)
        return contextlib.nullcontext()

    def step(i):
        with precision():
            trainer.update(i, batches[i])

    return SimpleNamespace(
        step=step,
        features=trainer.ae.encode,
        decode=trainer.ae.decode,
        norms=lambda: trainer.ae.decoder.weight.norm(dim=0),
    )


SIDES = dict(
    ours=ours,
    saelens=saelens,
    saelens_sparse=saelens_sparse,
    dictionary_learning=dictionary_learning,
)


def products(dtype, options):
    "The five products of a step, into buffers that stay."
    low = getattr(torch, dtype)
    batch, d_in, d_sae = options.batch, options.d_in, options.d_sae

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float32).to(low)

    rows, features = random(batch, d_in), random(batch, d_sae)
    W_enc, W_dec = random(d_in, d_sae), random(d_sae, d_in)
    features_out = torch.empty(batch, d_sae, dtype=low)
    rows_out = torch.empty(batch, d_in, dtype=low)
    decoder_gradient = torch.empty(d_sae, d_in, dtype=low)
    encoder_gradient = torch.empty(d_in, d_sae, dtype=low)

    def step(i):
        torch.mm(rows, W_enc, out=features_out)
        torch.mm(features, W_dec, out=rows_out)
        torch.mm(features.T, rows, out=decoder_gradient)
        torch.mm(rows, W_dec.T, out=features_out)
        torch.mm(rows.T, features, out=encoder_gradient)

    return SimpleNamespace(step=step)


def missing(side, kind="relu_l1", dtype="float32"):
    "Why a side cannot take part, or None; a small step is tried first."
    package = PACKAGES.get(side.removesuffix("_sparse"))
    if package and importlib.util.find_spec(package) is None:
        return (
            f"skipped: {package} is not installed in this environment (make interop-env builds one)"
        )
    small = SimpleNamespace(
        d_in=16, d_sae=128, batch=32, total=40, warmup=2, lr=LR, state=None, seed=0
    )
    try:
        SIDES[side](kind, dtype, make_rows(64, 16, features=64, active=4), small).step(0)
    except Exception as error:
        first_line = str(error).splitlines()[0][:120]
        return f"skipped: {side} fails on this machine: {type(error).__name__}: {first_line}"


def slow_bfloat16():
    "Why bfloat16 is not worth timing here, or None."

    def best_seconds(dtype):
        left = torch.randn(64, 256).to(dtype)
        right = torch.randn(256, 256).to(dtype)
        torch.mm(left, right)  # warms up
        return min(clock(lambda: left @ right)[0] for _ in range(3))

    share = best_seconds(torch.float32) / best_seconds(torch.bfloat16)
    if share >= 0.5:
        return None
    return f"skipped: bfloat16 products run at {share:.3f} of the float32 rate on this machine"


def seconds_of_steps(side, steps):
    "Seconds that a side takes for these steps."

    def work():
        for i in steps:
            side.step(i)

    return clock(work)[0]


def alternate(sides, rounds, steps):
    "Seconds of `steps` steps, one list per side, one entry per round; the first round is dropped."
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


def skipped(name, why):
    return dict(name=name, ratio=None, low=None, high=None, n=0, aim=None, holds=None, skipped=why)


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


def resident():
    "Memory of this process now, MiB."
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak():
    "Most memory that this process ever had, MiB."
    for row in Path("/proc/self/status").read_text().splitlines():
        if row.startswith("VmHWM"):
            return int(row.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no line VmHWM")


def _child(work, args, send):
    torch.set_num_threads(1)
    try:
        send.send(work(*args))
    except Exception as error:
        send.send(f"skipped: {type(error).__name__}: {error}")


def in_child(work, *args):
    "What `work` returns in a forked process."
    receive, send = multiprocessing.Pipe(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = multiprocessing.get_context("fork").Process(target=_child, args=(work, args, send))
        child.start()
    send.close()
    try:
        result = receive.recv()
    except EOFError:
        result = "skipped: the process ended without an answer"
    child.join()
    return result


def peak_of_steps(side, kind, options):
    "Memory that three steps of a side need, MiB, or why it cannot take part."
    rows = make_rows(4 * options.batch, options.d_in, features=256)
    why = missing(side, kind)
    if why:
        return why
    before = resident()
    model = SIDES[side](kind, "float32", rows, options)
    for i in range(3):
        model.step(i)
    return peak() - before


def write_store(folder, rows, steps=250, trim=3):
    "An activation store as `replay_store` writes it."
    import xarray as xr

    clips = len(rows) // steps
    by_clip = rows[: clips * steps].reshape(clips, steps, -1)
    padded = torch.nn.functional.pad(by_clip, (0, 0, trim, trim))
    values = padded.numpy()[:, None].astype(np.float16)  # (clip, branch, timestep, width)
    prompts = [f"prompt {clip % 40}" for clip in range(clips)]
    data = xr.Dataset(
        dict(activations=(("clip", "branch", "timestep", "d_model"), values)),
        coords=dict(branch=["cond"], prompt=("clip", prompts)),
    )
    data.to_zarr(
        Path(folder) / "layer_0",
        mode="w",
        zarr_format=2,
        encoding=dict(activations=dict(chunks=(8, *values.shape[1:]), compressors=None)),
    )
    return clips


def streamed(folder, options, buffer_rows):
    return StoreBatches(folder, "layer_0", batch_size=options.batch, buffer_rows=buffer_rows)


def streaming_trainer(batches, options):
    config = TrainConfig(
        steps=options.total, batch_size=options.batch, lr=LR, warmup=options.warmup, decay=0.2
    )
    sae = SparseAutoencoder(options.d_in, d_sae=options.d_sae, activation="topk", k=K)
    return SAETrainer(sae, batches, config)


def peak_of_stream(folder, n_rows, options):
    write_store(folder, make_rows(n_rows, options.d_in, features=256))
    return in_child(_peak_of_stream, folder, options)


def _peak_of_stream(folder, options):
    missing("ours", "topk")
    before = resident()
    trainer = streaming_trainer(streamed(folder, options, 4 * options.batch), options)
    for _ in range(min(12, trainer.batches.per_epoch)):
        trainer.step()
    return peak() - before


def first_reason(*peaks):
    "The first of these that is a reason instead of a number, or None."
    return next((peak_mb for peak_mb in peaks if isinstance(peak_mb, str)), None)


def memory(options, folder):
    "Peak memory of each side, and of streaming from stores of one size and of four times that."
    if not Path("/proc/self/statm").exists():
        yield skipped("peak_memory", "skipped: needs /proc (Linux)")
        return
    for kind in ("relu_l1", "topk"):
        own = in_child(peak_of_steps, "ours", kind, options)
        peers = {name: in_child(peak_of_steps, name, kind, options) for name in PACKAGES}
        for name, theirs in peers.items():
            case = f"{kind}_float32_peak_memory_vs_{name}"
            why = first_reason(own, theirs)
            if why:
                yield skipped(case, why)
            else:
                peak_mb = dict(ours=round(own), theirs=round(theirs))
                yield entry(case, [theirs / own], None, peak_mb=peak_mb)
    n_rows = max(24 * options.batch, 24000)
    small = in_child(peak_of_stream, folder / "store_1", n_rows, options)
    large = in_child(peak_of_stream, folder / "store_4", 4 * n_rows, options)
    why = first_reason(small, large)
    if why:
        yield skipped("streamed_memory_of_4x_store", why)
    else:
        peak_mb = dict(small=round(small), large=round(large))
        yield entry("streamed_memory_of_4x_store", [large / small], 1.1, False, peak_mb=peak_mb)


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
