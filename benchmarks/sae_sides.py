"""The libraries that `sae.py` times: data, one model a library, and whether it is installed."""

import contextlib
import importlib.util
from types import SimpleNamespace

import numpy as np
import torch
from common import clock

from musicgen_emotion.sae.data import ArrayBatches
from musicgen_emotion.sae.dictionary import SAEConfig, SparseAutoencoder
from musicgen_emotion.sae.training import SAETrainer, TrainConfig

K = 64
L1 = 1e-3
LR = 1e-3
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
