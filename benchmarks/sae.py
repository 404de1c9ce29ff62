"""Training of sparse autoencoders: ours against SAELens and dictionary_learning, and against the machine's own matrix products.

    python benchmarks/sae.py [--quick] [--json] [--threads 1] [--steps 10] [--rounds 15]

The sides alternate in one process: every round gives each of them the same `steps` batches, in an order that rotates. A ratio is their time over
ours in one round; the median over rounds is printed, the interval is the smallest and the largest round, and the first round only warms up.
Data, batches, learning-rate schedule, penalty, gradient clipping and number of steps are the same; starting weights and starting bias are each library's own.
`share_of_products` is the time of the five matrix products that ReLU with L1 needs, measured in the same rounds, over the time of a step.
`relu_l1_float32_training` are whole trainings from each library's own start; the ratios of their first and last 20 steps are given as well.
`relu_l1_float32_sparse` starts all sides from one dictionary with the L0 that a training ends with, at its small last learning rate: the directions
that the data were made of, then random ones, a common bias that leaves 96 features a row active; the same tensors are copied into each library.
Errors are of rows that nobody trained on. ReLU dictionaries end with different L0, so their error is also compared with the 64
strongest features of a row kept. Peak memory is what a fresh process needs for three steps beyond imports and data.
A library that is not installed is skipped with the reason; `make interop-env` builds an environment that has both."""

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

K, L1, LR, AIMS = (
    64,
    1e-3,
    1e-3,
    dict(
        relu_l1_float32=1.4,
        relu_l1_float32_sparse=1.4,
        topk_float32=3.5,
        relu_l1_bfloat16=3.0,
        topk_bfloat16=None,
    ),
)
PACKAGES = dict(saelens="sae_lens", dictionary_learning="dictionary_learning")


def unit_rows(rng, n, d_in):
    rows = rng.standard_normal((n, d_in), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_rows(n, d_in, seed=0, features=3072, active=40, ratio=1.57):
    "Sparse sums of unit directions plus a little noise, around a mean that is `ratio` times as long as the spread."
    rng = np.random.default_rng(seed)
    directions = unit_rows(rng, features, d_in)
    mean = rng.standard_normal(d_in)
    common = 1 / np.arange(10, features + 10) ** 0.5
    common /= common.sum()
    rows = np.empty((n, d_in), np.float32)
    for start in range(0, n, 4096):
        m = min(4096, n - start)
        codes = np.zeros((m, features), np.float32)
        np.put_along_axis(
            codes,
            rng.choice(features, (m, active), p=common),
            rng.exponential(size=(m, active)).astype(np.float32),
            axis=1,
        )
        rows[start : start + m] = codes @ directions + 0.02 * rng.standard_normal(
            (m, d_in), dtype=np.float32
        )
    spread = np.sqrt(((rows - rows.mean(0)) ** 2).sum(1).mean())
    return torch.from_numpy(
        rows - rows.mean(0) + (ratio * spread * mean / np.linalg.norm(mean)).astype(np.float32)
    )


def late_state(x, o, l0=96, seed=0, features=3072):
    "Tensors of a dictionary as late in a training: the directions of `make_rows`, further random ones, and the bias that leaves `l0` features a row active."
    known = unit_rows(np.random.default_rng(seed), features, o.d_in)[: o.d_sae]
    W_dec = torch.from_numpy(
        np.concatenate(
            [known, unit_rows(np.random.default_rng(seed + 1), o.d_sae - len(known), o.d_in)]
        )
    )
    b_dec = x.mean(0)
    pre = (x[:256] - b_dec) @ W_dec.T
    bias = -pre.flatten().kthvalue(pre.numel() - l0 * len(pre)).values
    return dict(W_enc=W_dec.T, W_dec=W_dec, b_enc=bias.expand(o.d_sae), b_dec=b_dec)


@torch.no_grad()
def start(state, **parameters):
    "Copy a common state into a library's own parameters."
    for k, v in (state or {}).items():
        parameters[k].copy_(v)


# the sides: `step(i)` trains on batch i, `features(x)` and `decode(f)` for the end, `norms()` of the decoder rows


def ours(kind, dtype, x, o):
    cfg = SAEConfig(
        o.d_in, d_sae=o.d_sae, activation="topk" if kind == "topk" else "relu", k=K, l1=L1
    )
    config = TrainConfig(
        steps=o.total,
        batch_size=o.batch,
        lr=o.lr,
        warmup=o.warmup,
        l1_warmup=o.warmup,
        decay=0.2,
        dtype=dtype,
        centre=o.state is None,
    )
    trainer = SAETrainer(
        SparseAutoencoder(seed=o.seed, **vars(cfg)),
        ArrayBatches(x, np.arange(len(x)), o.batch),
        config,
    )
    sae = trainer.sae
    start(o.state, W_enc=sae.W_enc, W_dec=sae.W_dec, b_enc=sae.b_enc, b_dec=sae.b_dec)
    return SimpleNamespace(
        step=lambda i: trainer.step(),
        features=lambda b: sae.eval().encode(b),
        decode=sae.decode,
        norms=lambda: sae.W_dec.norm(dim=1),
    )


def saelens(kind, dtype, x, o, **more):
    import sae_lens as sl
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer as Theirs

    torch.manual_seed(o.seed)
    if kind == "topk":
        sae = sl.TopKTrainingSAE(sl.TopKTrainingSAEConfig(d_in=o.d_in, d_sae=o.d_sae, k=K, **more))
    else:
        sae = sl.StandardTrainingSAE(
            sl.StandardTrainingSAEConfig(
                d_in=o.d_in, d_sae=o.d_sae, l1_coefficient=L1 * o.d_in, l1_warm_up_steps=o.warmup
            )
        )
    start(o.state, W_enc=sae.W_enc, W_dec=sae.W_dec, b_enc=sae.b_enc, b_dec=sae.b_dec)
    config = SAETrainerConfig(
        total_training_samples=o.total * o.batch,
        train_batch_size_samples=o.batch,
        lr=o.lr,
        lr_end=o.lr,
        lr_warm_up_steps=o.warmup,
        lr_decay_steps=o.total // 5,
        autocast=dtype == "bfloat16",
    )
    batches = ArrayBatches(x, np.arange(len(x)), o.batch)
    trainer = Theirs(config, sae, None)

    def step(i):
        trainer.step(batches[i])
        trainer.n_training_steps += 1

    norms = lambda: torch.ones(o.d_sae) if kind == "topk" else sae.W_dec.norm(dim=1)
    return SimpleNamespace(
        step=step, features=lambda b: sae.encode(b).to_dense(), decode=sae.decode, norms=norms
    )


def saelens_sparse(kind, dtype, x, o):
    return saelens(kind, dtype, x, o, use_sparse_activations=True)


def dictionary_learning(kind, dtype, x, o):
    from dictionary_learning import trainers

    common = dict(
        steps=o.total,
        activation_dim=o.d_in,
        dict_size=o.d_sae,
        layer=0,
        lm_name="",
        lr=o.lr,
        warmup_steps=o.warmup,
        decay_start=max(o.warmup + 1, o.total * 4 // 5),
        seed=o.seed,
        device="cpu",
    )
    if kind == "topk":
        trainer = trainers.TopKTrainer(k=K, **common)
    else:
        trainer = trainers.StandardTrainer(
            l1_penalty=L1 * o.d_in, sparsity_warmup_steps=o.warmup, **common
        )
    if o.state:
        start(
            o.state,
            W_enc=trainer.ae.encoder.weight.T,
            W_dec=trainer.ae.decoder.weight.T,
            b_enc=trainer.ae.encoder.bias,
            b_dec=trainer.ae.bias,
        )
    batches = ArrayBatches(x, np.arange(len(x)), o.batch)
    low = lambda: (
        torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
    )

    def step(i):
        with low():
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


def products(dtype, o):
    "The five products of a step, into buffers that stay."
    low = getattr(torch, dtype)
    z, f, W, V = (
        torch.randn(*s, dtype=torch.float32).to(low)
        for s in ((o.batch, o.d_in), (o.batch, o.d_sae), (o.d_in, o.d_sae), (o.d_sae, o.d_in))
    )
    a, b, c, e = (
        torch.empty(*s, dtype=low)
        for s in ((o.batch, o.d_sae), (o.batch, o.d_in), (o.d_sae, o.d_in), (o.d_in, o.d_sae))
    )

    def step(i):
        torch.mm(z, W, out=a)
        torch.mm(f, V, out=b)
        torch.mm(f.T, z, out=c)
        torch.mm(z, V.T, out=a)
        torch.mm(z.T, f, out=e)

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
    except Exception as e:
        return f"skipped: {side} fails on this machine: {type(e).__name__}: {str(e).splitlines()[0][:120]}"


def slow_bfloat16():
    "Why bfloat16 is not worth timing here, or None."

    def rate(dtype):
        a, b = torch.randn(64, 256).to(dtype), torch.randn(256, 256).to(dtype)
        a @ b
        return min(clock(lambda: a @ b)[0] for _ in range(3))

    share = rate(torch.float32) / rate(torch.bfloat16)
    return (
        f"skipped: bfloat16 products run at {share:.3f} of the float32 rate on this machine"
        if share < 0.5
        else None
    )


def alternate(sides, rounds, steps):
    "Seconds of `steps` steps, one list a side, one entry a round; the first round is dropped."
    seconds, names = {n: [] for n in sides}, list(sides)
    for r in range(rounds + 1):
        for n in names[r % len(names) :] + names[: r % len(names)]:
            spent, _ = clock(lambda: [sides[n].step(i) for i in range(r * steps, (r + 1) * steps)])
            if r:
                seconds[n].append(spent)
    return {n: np.array(s) for n, s in seconds.items()}


@torch.no_grad()
def quality(side, x, parts=5):
    "Mean squared error a dimension and L0, as it is and with the 64 strongest features kept; one value a part of the rows."
    rows = []
    for b in x.chunk(parts):
        f = side.features(b)
        weight = f * side.norms()
        kept = torch.zeros_like(f).scatter_(
            1, (at := weight.topk(K, dim=1).indices), f.gather(1, at)
        )
        rows.append(
            [
                (side.decode(f) - b).pow(2).mean(),
                (f > 0).float().sum(1).mean(),
                (side.decode(kept) - b).pow(2).mean(),
            ]
        )
    return np.array(rows, float).T


def skipped(name, why):
    return dict(name=name, ratio=None, low=None, high=None, n=0, aim=None, holds=None, skipped=why)


def compare(kind, dtype, x, test, o):
    "All sides of one variant."
    case, peers = (
        f"{kind}_{dtype}" + "_sparse" * (o.state is not None),
        [
            n
            for n in SIDES
            if n != "ours"
            and (n != "saelens_sparse" or (kind, dtype, o.quick) == ("topk", "float32", False))
        ],
    )
    why = slow_bfloat16() if dtype == "bfloat16" else None
    if why:
        yield skipped(case, why)
        return
    out = {n: why for n in peers if (why := missing(n, kind, dtype))}
    for n, why in out.items():
        yield skipped(f"{case}_vs_{n}", why)
    names = ["ours", *(n for n in peers if n not in out)]
    sides = {n: SIDES[n](kind, dtype, x, o) for n in names} | dict(products=products(dtype, o))
    seconds = alternate(sides, o.rounds, o.steps)
    rate = {
        n: round(o.steps * o.batch / float(np.median(s)))
        for n, s in seconds.items()
        if n != "products"
    }
    ends = {n: quality(sides[n], test) for n in names}
    at = dict(d_in=o.d_in, d_sae=o.d_sae, batch=o.batch, steps=o.total)
    said = lambda n: dict(
        mse=round(float(ends[n][0].mean()), 5),
        l0=round(float(ends[n][1].mean()), 1),
        mse_at_64=round(float(ends[n][2].mean()), 5),
    )
    for n in names[1:]:
        yield entry(
            f"{case}_vs_{n}",
            seconds[n] / seconds["ours"],
            None if n == "saelens_sparse" else AIMS[case],
            samples_s=dict(ours=rate["ours"], theirs=rate[n]),
            **at,
        )
        yield entry(
            f"{case}_mse_at_l0_64_vs_{n}",
            ends[n][2] / ends["ours"][2],
            None if o.quick or o.state else 1.0,
            ours=said("ours"),
            theirs=said(n),
        )
    flops = 5 * 2 * o.batch * o.d_in * o.d_sae * o.steps
    for n in names:
        aim = 0.8 if (n, case) == ("ours", "relu_l1_float32") else None
        yield entry(
            f"{case}_{n}_share_of_products",
            seconds["products"] / seconds[n],
            aim,
            samples_s=rate[n],
            products_gflops=round(flops / float(np.median(seconds["products"])) / 1e9, 1),
            **said(n),
        )


def trainings(x, test, o):
    "Whole trainings with ReLU, each library from its own start: dense steps first, and ours sparse ones once few features are active. One ratio a training."
    t = copy(o)
    t.total, t.warmup, t.state, block = o.training, max(1, o.training // 20), None, 20
    out = {n: why for n in PACKAGES if (why := missing(n))}
    for n, why in out.items():
        yield skipped(f"relu_l1_float32_training_vs_{n}", why)
    names, seconds, ends = ["ours", *(n for n in PACKAGES if n not in out)], {}, {}
    for t.seed in range(o.trainings):
        sides = {n: SIDES[n]("relu_l1", "float32", x, t) for n in names}
        blocks = {n: [] for n in names}
        for b in range(0, t.total, block):
            for n in names:
                blocks[n].append(
                    clock(lambda: [sides[n].step(i) for i in range(b, min(b + block, t.total))])[0]
                )
        for n in names:
            seconds.setdefault(n, []).append(sum(blocks[n]))
            ends.setdefault(n, []).append(quality(sides[n], test))
    for n in names[1:]:
        first, last = (round(float(blocks[n][i] / blocks["ours"][i]), 2) for i in (0, -1))
        said = lambda n: dict(
            zip(("mse", "l0", "mse_at_64"), np.mean(ends[n], (0, 2)).round(5).tolist())
        )
        yield entry(
            f"relu_l1_float32_training_vs_{n}",
            np.divide(seconds[n], seconds["ours"]),
            AIMS["relu_l1_float32"],
            samples_s={
                m: round(t.total * o.batch / float(np.median(seconds[m]))) for m in ("ours", n)
            },
            steps=t.total,
            first_block=first,
            last_block=last,
            ours=said("ours"),
            theirs=said(n),
        )
        yield entry(
            f"relu_l1_float32_training_mse_at_l0_64_vs_{n}",
            np.concatenate([a[2] / b[2] for a, b in zip(ends[n], ends["ours"])]),
            1.0,
        )


# memory: in processes of their own, started before this one has computed anything


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM"))


def _child(work, args, send):
    torch.set_num_threads(1)
    try:
        send.send(work(*args))
    except Exception as e:
        send.send(f"skipped: {type(e).__name__}: {e}")


def in_child(work, *args):
    "What `work` returns in a forked process."
    receive, send = multiprocessing.Pipe(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = multiprocessing.get_context("fork").Process(target=_child, args=(work, args, send))
        child.start()
    send.close()
    try:
        out = receive.recv()
    except EOFError:
        out = "skipped: the process ended without an answer"
    child.join()
    return out


def peak_of_steps(side, kind, o):
    x = make_rows(4 * o.batch, o.d_in, features=256)
    if why := missing(side, kind):
        return why
    before = resident()
    model = SIDES[side](kind, "float32", x, o)
    for i in range(3):
        model.step(i)
    return peak() - before


def write_store(folder, x, steps=250, trim=3):
    "An activation store as `replay_store` writes it."
    import xarray as xr

    clips = len(x) // steps
    values = (
        torch.nn.functional.pad(x[: clips * steps].reshape(clips, steps, -1), (0, 0, trim, trim))
        .numpy()[:, None]
        .astype(np.float16)
    )
    data = xr.Dataset(
        dict(activations=(("clip", "branch", "timestep", "d_model"), values)),
        coords=dict(branch=["cond"], prompt=("clip", [f"prompt {i % 40}" for i in range(clips)])),
    )
    data.to_zarr(
        Path(folder) / "layer_0",
        mode="w",
        zarr_format=2,
        encoding=dict(activations=dict(chunks=(8, *values.shape[1:]), compressors=None)),
    )
    return clips


def streamed(folder, o, buffer_rows):
    return StoreBatches(folder, "layer_0", batch_size=o.batch, buffer_rows=buffer_rows)


def streaming_trainer(batches, o):
    config = TrainConfig(steps=o.total, batch_size=o.batch, lr=LR, warmup=o.warmup, decay=0.2)
    return SAETrainer(
        SparseAutoencoder(o.d_in, d_sae=o.d_sae, activation="topk", k=K), batches, config
    )


def peak_of_stream(folder, rows, o):
    write_store(folder, make_rows(rows, o.d_in, features=256))
    return in_child(_peak_of_stream, folder, o)


def _peak_of_stream(folder, o):
    missing("ours", "topk")
    before = resident()
    trainer = streaming_trainer(streamed(folder, o, 4 * o.batch), o)
    for _ in range(min(12, trainer.batches.per_epoch)):
        trainer.step()
    return peak() - before


def memory(o, folder):
    "Peak memory of each side, and of streaming from a store of one size and of four times that size."
    if not Path("/proc/self/statm").exists():
        yield skipped("peak_memory", "skipped: needs /proc (Linux)")
        return
    for kind in ("relu_l1", "topk"):
        mb = {n: in_child(peak_of_steps, n, kind, o) for n in ("ours", *PACKAGES)}
        for n in PACKAGES:
            why = next((mb[m] for m in ("ours", n) if isinstance(mb[m], str)), None)
            if why:
                yield skipped(f"{kind}_float32_peak_memory_vs_{n}", why)
            else:
                yield entry(
                    f"{kind}_float32_peak_memory_vs_{n}",
                    [mb[n] / mb["ours"]],
                    None,
                    peak_mb=dict(ours=round(mb["ours"]), theirs=round(mb[n])),
                )
    small, large = (
        in_child(peak_of_stream, folder / f"store_{m}", m * max(24 * o.batch, 24000), o)
        for m in (1, 4)
    )
    if isinstance(small, str) or isinstance(large, str):
        yield skipped("streamed_memory_of_4x_store", small if isinstance(small, str) else large)
    else:
        yield entry(
            "streamed_memory_of_4x_store",
            [large / small],
            1.1,
            False,
            peak_mb=dict(small=round(small), large=round(large)),
        )


def stream_ratio(x, o, folder):
    "Rate of training from the store over the rate from memory, for TopK, whose step is the shortest."
    write_store(folder / "stream", x)
    store = streamed(folder / "stream", o, 8 * o.batch)
    sides = dict(
        memory=streaming_trainer(ArrayBatches(x[: store.n].half(), np.arange(store.n), o.batch), o),
        store=streaming_trainer(store, o),
    )
    seconds = alternate(
        {n: SimpleNamespace(step=lambda i, t=t: t.step()) for n, t in sides.items()},
        o.rounds,
        o.steps,
    )
    rate = {n: round(o.steps * o.batch / float(np.median(s))) for n, s in seconds.items()}
    yield entry(
        "topk_float32_streamed_vs_in_memory",
        seconds["memory"] / seconds["store"],
        0.8,
        samples_s=rate,
        rows=store.n,
        buffer_rows=8 * o.batch,
    )


def entries(o, folder):
    if not o.quick:
        yield from memory(o, folder)
    x = make_rows(o.rows + 1024, o.d_in)
    x, test = x[:-1024], x[-1024:]
    for kind in ("relu_l1", "topk"):
        yield from compare(kind, "float32", x, test, o)
    late = copy(o)
    late.state, late.lr = late_state(x, o), LR / 100
    yield from compare("relu_l1", "float32", x, test, late)
    if o.training:
        yield from trainings(x, test, o)
    yield from stream_ratio(x, o, folder)
    for kind in ("relu_l1", "topk"):
        yield from compare(kind, "bfloat16", x, test, o)


def main():
    o = command_line(
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
    if o.quick:
        o.steps, o.rounds, o.rows, o.training = 1, 2, 6 * o.batch, 0
    o.total, o.lr, o.state, o.seed = o.steps * (o.rounds + 1), LR, None, 0
    o.warmup = max(1, o.total // 10)
    warnings.filterwarnings("ignore", module="sae_lens|transformer_lens")
    show(lambda folder: entries(o, folder), o)


if __name__ == "__main__":
    main()
