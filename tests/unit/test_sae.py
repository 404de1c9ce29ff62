"Sparse autoencoders: bad input, kill and resume, streams, processes, precision, two devices."

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import types
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from musicgen_emotion.sae.data import (
    ArrayBatches,
    Split,
    StoreBatches,
    data_report,
    group_split,
    token_rows,
)
from musicgen_emotion.sae.dictionary import SparseAutoencoder, at_dictionary
from musicgen_emotion.sae.folding import from_tensors, plain_tensors
from musicgen_emotion.sae.formats import (
    load_dictionary,
    to_dictionary_learning,
    to_saelens,
    to_sparsify,
)
from musicgen_emotion.sae.gradients import AutogradGradient, ReluGradient, sae_losses
from musicgen_emotion.sae.metrics import (
    decoder_cosines,
    feature_density,
    resample_dead,
    sae_metrics,
)
from musicgen_emotion.sae.settings import ACTIVATIONS, SAEConfig, TrainConfig
from musicgen_emotion.sae.splice import loss_recovered
from musicgen_emotion.sae.sweeps import best_setting, plot_pareto, sweep, train_seeds
from musicgen_emotion.sae.trainer import SAETrainer
from musicgen_emotion.sae.training import train_sae

torch.set_num_threads(1)
pytestmark = [  # small made-up data have these on purpose
    pytest.mark.filterwarnings("ignore:.*features. a dictionary can memorize them"),
    pytest.mark.filterwarnings("ignore:the mean is .* times as long"),
    pytest.mark.filterwarnings("ignore:the rows vary in about"),
]


def data(n=4000, d=24, shift=0.0, seed=0):
    r = np.random.default_rng(seed)
    D = r.standard_normal((2 * d, d))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    f = np.where(r.random((n, 2 * d)) < 0.06, r.uniform(0.5, 1.5, (n, 2 * d)), 0)
    return (f @ D + shift).astype(np.float32)


quick = dict(steps=60, batch_size=256, lr=3e-3, window=20, eval_every=20, warmup=10, l1_warmup=10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "extra", [{}, dict(tied=True), dict(matryoshka=(12, 48)), dict(normalize=True)]
)
def test_every_variant_trains_and_returns_from_disk(tmp_path, activation, extra):
    x = data()
    r = train_sae(
        x,
        SAEConfig(24, 4, activation=activation, k=4, **extra),
        TrainConfig(**quick),
        progress=False,
    )
    first, last = r.history.mse.iloc[0], r.history.mse.iloc[-1]
    assert np.isfinite(last) and last < first * 1.05
    back = SparseAutoencoder.from_pretrained(r.sae.save_pretrained(tmp_path / "d"))
    t = torch.tensor(x[:50])
    assert torch.equal(back.encode(t), r.sae.encode(t)) and torch.equal(back(t), r.sae(t))
    assert torch.allclose(back.encode(t)[:5], back.encode(t[:5]), atol=1e-5)


@pytest.mark.parametrize(
    "bad, words",
    [
        (lambda: SAEConfig(activation="swish"), "swish"),
        (lambda: SAEConfig(d_in=0), "d_in"),
        (lambda: SAEConfig(d_in=4, expansion=2, activation="topk", k=9), "k 9"),
        (lambda: SAEConfig(l1=-1), "l1"),
        (lambda: SAEConfig(d_in=4, matryoshka=(3, 2)), "matryoshka"),
        (lambda: SAEConfig(d_in=4, matryoshka=(99,)), "matryoshka"),
        (lambda: TrainConfig(dead="revive"), "revive"),
        (lambda: TrainConfig(dtype="int8"), "int8"),
        (lambda: TrainConfig(steps=0), "steps"),
        (lambda: group_split(["a", "b"]), "2 groups"),
        (lambda: group_split(list("abc"), (0.5, 0.5, 0.5)), "sum to 1"),
        (lambda: train_sae(np.full((9, 4), np.nan), SAEConfig(4), progress=False), "9 of 9 rows"),
        (lambda: train_sae(np.zeros((5, 3)), SAEConfig(4), progress=False), "width 3"),
        (lambda: train_sae(np.zeros(5), SAEConfig(4), progress=False), "shape"),
        (lambda: train_sae(np.zeros((0, 4)), SAEConfig(4), progress=False), "at least one row"),
        (lambda: sweep(data(50), dict(width=[1]), SAEConfig(24)), "'width'"),
        (lambda: sweep(data(50), {}, SAEConfig(24)), "names no field"),
        (lambda: sweep(data(50), dict(k=[]), SAEConfig(24)), "no setting"),
        (
            lambda: best_setting(
                sweep(data(50), dict(k=[2]), SAEConfig(24), TrainConfig(steps=1), progress=False)[
                    :0
                ]
            ),
            "no setting to choose",
        ),
        (lambda: SAEConfig(k=2.5), "k must be a whole number >= 1; got 2.5"),
        (lambda: SAEConfig(d_in=16.5), "d_in must be a whole"),
        (lambda: SAEConfig(d_in=16, expansion=0.01), "gives no feature"),
        (lambda: SAEConfig(d_sae=2.5), "d_sae must be a whole"),
        (lambda: SAEConfig(d_in=4, matryoshka=(1.5,)), "matryoshka must be a whole"),
        (lambda: TrainConfig(decay=-1), "decay"),
        (lambda: TrainConfig(decay=5), "decay must be a number from 0 to 1"),
        (lambda: TrainConfig(warmup=-5), "warmup"),
        (lambda: TrainConfig(l1_warmup=-3), "l1_warmup"),
        (lambda: TrainConfig(aux_k=-3), "aux_k"),
        (lambda: TrainConfig(weight_decay=-1), "weight_decay"),
        (lambda: TrainConfig(steps=2.5), "steps must be a whole"),
        (lambda: TrainConfig(window=0.5), "window must be a whole"),
        (
            lambda: train_sae(data(90), SAEConfig(24), groups=np.arange(50), progress=False),
            "each of the 90 rows; got shape (50,)",
        ),
        (
            lambda: train_sae(data(90), SAEConfig(24), groups=np.arange(99), progress=False),
            "each of the 90 rows; got shape (99,)",
        ),
        (
            lambda: train_sae(data(90), SAEConfig(24), groups=[None, *"a" * 89], progress=False),
            "groups holds 1 missing entries",
        ),
        (lambda: group_split([1.0, np.nan, 2.0, 3.0]), "groups holds 1 missing entries"),
        (
            lambda: sweep(data(90), dict(k=[2]), SAEConfig(24), groups=np.arange(50)),
            "each of the 90 rows",
        ),
        (lambda: data_report(data(90), np.arange(50)), "each of the 90 rows"),
        (
            lambda: train_sae(
                data(90),
                SAEConfig(24),
                split=Split(np.arange(80), np.arange(80, 90), np.array([90])),
                progress=False,
            ),
            "split must be numbers from 0 to 89",
        ),
        (
            lambda: train_sae(
                data(90),
                SAEConfig(24),
                split=Split(np.arange(80), np.arange(79, 85), np.arange(85, 90)),
                progress=False,
            ),
            "more than once",
        ),
        (lambda: train_sae(data(90) * 1e30, SAEConfig(24), progress=False), "do not fit float32"),
        (
            lambda: train_sae(np.array([["a", "b"]]), SAEConfig(2), progress=False),
            "x must hold numbers",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:3 of 3 dimensions are constant")
def test_bad_input_is_one_clear_error(bad, words):
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        bad()


def test_constant_data_and_fewer_rows_than_a_batch_are_flagged():
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter("always")
        r = train_sae(
            np.ones((40, 6), np.float32), SAEConfig(6, 2), TrainConfig(**quick), progress=False
        )
    assert any("constant" in str(x.message) for x in w) and any(
        "40" in str(x.message) or "rows" in str(x.message) for x in w
    )
    assert r.report.constant == 6 and np.isnan(r.history.explained_variance.iloc[-1])


@pytest.mark.parametrize("value", [3.3, 0.1, 50.123, 1.0, 0.0])
def test_rows_that_are_all_alike_explain_nothing(value):
    with pytest.warns(UserWarning, match="16 of 16 dimensions are constant"):
        r = train_sae(
            np.full((200, 16), value, np.float32),
            SAEConfig(16, 2, normalize=True),
            TrainConfig(**quick),
            progress=False,
        )
    assert (
        r.history.explained_variance.isna().all() and r.sae.scale == 1 and r.report.constant == 16
    )
    assert data_report(50 + 1e-3 * data(200)).constant == 0


@pytest.mark.parametrize("dead", ["resample", "none"])
def test_one_row_to_train_on_is_flagged(dead):
    with pytest.warns(UserWarning, match="24 of 24 dimensions are constant"):
        r = train_sae(
            data(3),
            SAEConfig(24, 2),
            TrainConfig(**(quick | dict(window=10, eval_every=10, dead=dead))),
            progress=False,
        )
    assert len(r.split.train) == 1 and np.isfinite(r.history.mse).all()


def test_a_training_that_diverges_says_so():
    with pytest.raises(FloatingPointError, match="the loss is not finite after step 10"):
        train_sae(
            data(300),
            SAEConfig(24, 2),
            TrainConfig(**(quick | dict(window=10, eval_every=30, lr=1e30))),
            progress=False,
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_data_of_other_types_train(dtype):
    x = (
        100 * torch.ones(400, 768)
        + torch.tensor(np.random.default_rng(0).standard_normal((400, 768)))
    ).to(dtype)
    r = train_sae(
        x, SAEConfig(768, d_sae=64), TrainConfig(**(quick | dict(steps=4))), progress=False
    )
    assert np.isfinite(r.history.mse).all()
    if dtype == torch.float16:
        assert data_report(x.numpy()).rows == 400


def test_all_dead_dictionary_has_metrics():
    s = SparseAutoencoder(6, 2)
    with torch.no_grad():
        s.b_enc.fill_(-1e6)
    m = sae_metrics(s, np.random.default_rng(0).standard_normal((30, 6)))
    assert m["dead_fraction"] == 1 and m["l0"] == 0 and np.isfinite(m["mse"])


@pytest.mark.parametrize("how", ["resample", "aux"])
def test_dead_features_come_back(how):
    x = data(shift=4.0)
    runs = {}
    for dead in ("none", how):
        torch.manual_seed(0)
        s = SparseAutoencoder(24, 4, activation="topk", k=2)
        with torch.no_grad():
            s.b_enc[:48] = -3.0
        runs[dead] = train_sae(
            x,
            s,
            TrainConfig(**(quick | dict(steps=400, window=40, eval_every=50, dead=dead))),
            progress=False,
        )
    alive = {k: 1 - sae_metrics(r.sae, x)["dead_fraction"] for k, r in runs.items()}
    assert alive[how] > alive["none"] + 0.1, alive


def test_dead_jumprelu_features_get_a_threshold_that_can_be_reached():
    x, alive = data(), {}
    for dead in ("none", "resample"):
        s = SparseAutoencoder(24, 4, activation="jumprelu", l1=1e-4)
        with torch.no_grad():
            s.threshold[:32] = 50.0
        r = train_sae(
            x,
            s,
            TrainConfig(**(quick | dict(steps=400, window=40, eval_every=50, dead=dead))),
            progress=False,
        )
        alive[dead] = int((feature_density(r.sae, x)[:32] > 0).sum())
    assert alive["none"] == 0 and alive["resample"] > 20, alive


@pytest.mark.parametrize("activation", ["relu", "jumprelu", "gated"])
def test_new_features_leave_the_moments_of_the_bias_alone(activation):
    s = SparseAutoencoder(16, 1, activation=activation)
    opt = torch.optim.AdamW(s.parameters())
    z = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    AutogradGradient(s)(z)
    opt.step()
    dead, before = (
        torch.arange(16) < 6,
        {n: opt.state[p]["exp_avg_sq"].clone() for n, p in s.named_parameters() if p in opt.state},
    )
    resample_dead(s, opt, dead, z, z)
    now = {n: opt.state[p]["exp_avg_sq"] for n, p in s.named_parameters() if p in opt.state}
    assert torch.equal(now["b_dec"], before["b_dec"]) and before["b_dec"].all()
    for n in now.keys() - {"b_dec"}:
        a, b = (v.T if n == "W_enc" else v for v in (now[n], before[n]))
        assert not a[dead].any() and torch.equal(a[~dead], b[~dead]), n


def test_centring_saves_features_far_from_the_origin():
    x = data(shift=8.0)
    with_, without = (
        sae_metrics(
            train_sae(
                x,
                SAEConfig(24, 4, activation="topk", k=3),
                TrainConfig(**(quick | dict(steps=200, dead="none", centre=c))),
                progress=False,
            ).sae,
            x,
        )
        for c in (True, False)
    )
    assert with_["explained_variance"] > without["explained_variance"] + 0.05, (with_, without)


def test_intensity_survives_centring():
    s = SparseAutoencoder(24, 4).start_at(torch.tensor(data()))
    x = torch.tensor(data(20, seed=3))
    assert torch.allclose(s.prepare(x[:1] * 3) - s.prepare(x[:1]), x[:1] * 2, atol=1e-5)


CHILD = """
import sys, torch, numpy as np
torch.set_num_threads(1)
from musicgen_emotion.sae.settings import SAEConfig, TrainConfig
from musicgen_emotion.sae.training import train_sae
x = np.load(sys.argv[1])
config = TrainConfig(
    steps=1500, batch_size=256, window=100, eval_every=50, checkpoint_every=100, patience=99
)
sae = SAEConfig(24, 4, activation="relu", l1=0.01)
train_sae(x, sae, config, folder=sys.argv[2], progress=False)
"""


def test_killed_training_ends_with_the_same_weights(tmp_path, popen):
    np.save(tmp_path / "x.npy", data())

    def run(folder):
        paths = [str(tmp_path / "x.npy"), str(tmp_path / folder)]
        return popen(
            [sys.executable, "-W", "ignore", "-c", CHILD, *paths],
            stdout=subprocess.DEVNULL,
            env=dict(os.environ, OMP_NUM_THREADS="1"),
        )

    p = run("killed")
    for _ in range(600):
        if (tmp_path / "killed" / "state.safetensors").exists():
            break
        time.sleep(0.05)
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert not (tmp_path / "killed" / "dictionary.safetensors").exists(), "it ended before the kill"
    assert run("killed").wait() == 0 and run("through").wait() == 0
    a, b = (load_file(tmp_path / f / "dictionary.safetensors") for f in ("killed", "through"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    h = [(tmp_path / f / "history.csv").read_text() for f in ("killed", "through")]
    assert h[0] == h[1]


def test_a_folder_refuses_other_data(tmp_path):
    x = data(600)
    groups = np.arange(600) // 3

    def fit(x, **more):
        config = TrainConfig(**(quick | dict(steps=8, batch_size=64)))
        result = train_sae(x, SAEConfig(24, 2), config, folder=tmp_path, progress=False, **more)
        return result.sae.W_dec

    first = fit(x)
    swapped = x.copy()
    swapped[[7, 8]] = x[[8, 7]]
    one = x.copy()
    one[300] = x[301]
    other = group_split(np.arange(600), seed=5)
    for words, again in (
        ("values", lambda: fit(x * 7 + 3)),
        ("values", lambda: fit(swapped)),
        ("values", lambda: fit(one)),
        ("shape", lambda: fit(x[:590])),
        ("groups, split", lambda: fit(x, groups=groups)),
        ("split", lambda: fit(x, split=other)),
    ):
        with pytest.raises(ValueError, match=f"other data: {words}.* differ"):
            again()
    noise = 1 + 1e-6 * np.random.default_rng(0).standard_normal(x.shape)
    for same in (x, torch.tensor(x), x.astype(np.float64), (x * noise).astype(np.float32)):
        assert torch.equal(fit(same), first)


def test_a_checkpoint_without_a_fingerprint_is_taken_and_a_damaged_one_refused(tmp_path):
    x = data(600)
    path = tmp_path / "state.safetensors"

    def fit():
        config = TrainConfig(**(quick | dict(steps=8, batch_size=64)))
        result = train_sae(x, SAEConfig(24, 2), config, folder=tmp_path, progress=False)
        return result.sae.W_dec

    first = fit()
    from safetensors import safe_open

    with safe_open(str(path), "pt") as f:
        meta = json.loads(f.metadata()["state"])
    assert meta.pop("data")["shape"] == [600, 24]
    save_file(load_file(path), path, dict(state=json.dumps(meta)))
    assert torch.equal(fit(), first)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged"):
        fit()


@pytest.mark.parametrize("below", [0, 2], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "case", ["usual", "few active", "silent features", "silent rows", "one active", "none active"]
)
def test_relu_gradients_are_those_of_autograd(below, case):
    s = SparseAutoencoder(24, 4, seed=1, l1=0.01).double()
    z = torch.tensor(np.random.default_rng(0).standard_normal((50, 24)))
    with torch.no_grad():
        s.b_dec.add_(0.1)
        top = s.pre_activations(z)[:, 7].topk(2).values.mean()
        if case == "few active":
            s.b_enc.sub_(1.5)
        if case == "silent features":
            s.b_enc[[0, 40, 95]] = -99.0
        if case == "silent rows":
            z[[0, 20, 49]] = s.b_dec.detach()
            s.b_enc.sub_(0.01)
        if "one" in case:
            s.b_enc.fill_(-99.0)
        if case == "one active":
            s.b_enc[7] = -top
    out = sae_losses(s, z, 0.5)
    out["total"].backward()
    want, active = {k: p.grad.clone() for k, p in s.named_parameters()}, out["features"] > 0
    assert {
        "silent rows": not active[[0, 20, 49]].any(),
        "silent features": not active[:, [0, 40, 95]].any(),
        "one active": active.sum() == 1,
        "none active": not active.any(),
    }.get(case, active.any())
    s.zero_grad()
    got = ReluGradient(s, torch.float64, below)(z, 0.5)
    assert ("fired" in got) == (below > 0) and torch.allclose(
        got["total"], out["total"], rtol=1e-12
    )
    if below:
        assert torch.equal(got["fired"], active.sum(0))
    assert max(float((p.grad - want[k]).abs().max()) for k, p in s.named_parameters()) < 1e-12


def falling(below=None, **more):
    "A training that goes from half of the features active to a few of a hundred."
    x = data(2000, 64)
    t = SAETrainer(
        SparseAutoencoder(64, d_sae=1024, l1=0.05),
        ArrayBatches(x, np.arange(2000), 256),
        TrainConfig(**(dict(steps=120, lr=3e-3, warmup=5, l1_warmup=5, window=30) | more)),
    )
    if below is not None:
        t.gradient.sparse_below = below
    return t


def ways(t, n):
    "Step, noting the loss and whether the sparse way was taken."
    made = []
    choose = t.gradient.few_active

    def note(features):
        made.append(choose(features))
        return made[-1]

    t.gradient.few_active = note
    losses = [float(t.step()["total"]) for _ in range(n)]
    t.gradient.few_active = choose
    return losses, made


def test_sparse_and_dense_steps_draw_the_same_loss_curve():
    runs = {}
    for below in (None, 0):
        t = falling(below)
        a = ways(t, 60)
        with torch.no_grad():
            t.sae.b_enc.add_(1.0)
        b = ways(t, 60)
        runs[below] = a[0] + b[0], a[1] + b[1]
    taken = runs[None][1]
    assert not taken[0] and taken[59] and not taken[60] and taken[-1] and not any(runs[0][1])
    assert np.allclose(*(r[0] for r in runs.values()), rtol=2e-3)


def test_resumed_training_takes_the_same_ways(tmp_path):
    through = falling()
    losses, taken = ways(through, 60)
    first = taken.index(True)
    assert 3 < first < 55, taken
    for stop in (first - 2, first + 1):
        a = falling()
        ways(a, stop)
        a.save(tmp_path / f"{stop}.safetensors", {})
        b = falling()
        b.load(tmp_path / f"{stop}.safetensors")
        rest = ways(b, 60 - stop)
        assert rest[1] == taken[stop:] and rest[0] == losses[stop:]
        assert all(
            torch.equal(v, through.sae.state_dict()[k]) for k, v in b.sae.state_dict().items()
        )


def write_store(path, n=40, t=30, d=24):
    import xarray as xr

    x = data(n * t).reshape(n, 1, t, d)
    xr.Dataset(
        dict(activations=(("clip", "branch", "timestep", "d_model"), x)),
        coords=dict(branch=["cond"], prompt=("clip", [f"p{i // 2}" for i in range(n)])),
    ).to_zarr(path / "layer_1", zarr_format=2)
    return x


def test_stream_keeps_prompts_apart_and_matches_memory(tmp_path):
    x = write_store(tmp_path)
    stream = StoreBatches(tmp_path, "layer_1", batch_size=64, buffer_rows=200, trim=3)
    assert stream.n == 40 * 24
    r = train_sae(
        stream,
        SAEConfig(24, 4, activation="topk", k=3),
        TrainConfig(**(quick | dict(batch_size=64, steps=150))),
        progress=False,
    )
    prompts = np.array([f"p{i // 2}" for i in range(40)])
    assert not set(prompts[r.split.train]) & set(prompts[r.split.val]) and not set(
        prompts[r.split.train]
    ) & set(prompts[r.split.test])
    assert r.history.explained_variance.iloc[-1] > 0.3
    epoch = torch.cat([stream[i] for i in range(stream.per_epoch)]).numpy()
    flat = x[:, 0, 3:-3].reshape(-1, 24)
    assert {r.tobytes() for r in epoch} <= {r.tobytes() for r in np.ascontiguousarray(flat)}


def test_store_with_nan_or_without_clips_is_refused(tmp_path):
    write_store(tmp_path)
    with pytest.raises(ValueError, match="no rows"):
        StoreBatches(tmp_path, "layer_1", clips=np.array([], int))
    with pytest.raises(KeyError, match="layer_1"):
        StoreBatches(tmp_path, "layer_2")
    with pytest.raises(ValueError, match="null"):
        StoreBatches(tmp_path, "layer_1", branch="null")
    import zarr

    a = zarr.open(str(tmp_path / "layer_1"), mode="r+")["activations"]
    a[3, 0, 5, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        StoreBatches(tmp_path, "layer_1").read(np.arange(6))


def test_a_store_knows_its_clips_and_its_data(tmp_path):
    write_store(tmp_path / "a")

    def open_(**more):
        return StoreBatches(tmp_path / "a", "layer_1", **(dict(batch_size=64) | more))

    for words, kw in (
        ("trim", dict(trim=-1)),
        ("buffer_rows", dict(buffer_rows=-5)),
        ("clips must be numbers from 0 to 39; got 3 to 40", dict(clips=[3, 40])),
        ("got -1 to 2", dict(clips=[-1, 2])),
        ("more than once", dict(clips=[3, 3])),
        ("whole numbers", dict(clips=np.ones(40, bool))),
    ):
        with pytest.raises(ValueError, match=words):
            open_(**kw)

    def fit(store, **more):
        config = TrainConfig(**(quick | dict(steps=8, batch_size=64)))
        result = train_sae(
            store, SAEConfig(24, 2), config, folder=tmp_path / "d", progress=False, **more
        )
        return result.sae.W_dec

    with pytest.raises(ValueError, match=r"each of the 40 clips; got shape \(7,\)"):
        fit(open_(), groups=np.arange(7))
    assert torch.equal(fit(open_()), fit(open_()))
    with pytest.raises(ValueError, match="other data: shape, groups, split, values"):
        fit(open_(clips=np.arange(30)))
    with pytest.raises(ValueError, match="other data: shape, values"):
        fit(open_(trim=4))


def test_sweeps_and_seeds_take_a_store(tmp_path):
    write_store(tmp_path / "a")
    store, kw = (
        StoreBatches(tmp_path / "a", "layer_1", batch_size=64, buffer_rows=200),
        dict(train=TrainConfig(**(quick | dict(steps=20, batch_size=64))), progress=False),
    )
    again = pickle.loads(pickle.dumps(store))
    assert torch.equal(again[3], store[3])
    grid, cfg = dict(k=[2, 4]), SAEConfig(24, 2, activation="topk", k=2)
    one, two = (
        sweep(store, grid, cfg, folder=tmp_path / "s", **kw),
        sweep(store, grid, cfg, jobs=2, **kw),
    )
    assert np.allclose(one[["l0", "mse"]], two[["l0", "mse"]], rtol=1e-4)
    alone = train_sae(store, cfg, kw["train"], progress=False)
    assert one.mse[0] == alone.history.mse.iloc[alone.history.loss.argmin()]
    a, b = train_seeds(store, cfg, seeds=(0, 1), **kw)
    assert torch.equal(a.W_dec, alone.sae.W_dec) and not torch.equal(b.W_dec, a.W_dec)


def test_a_sweep_names_nesting_and_refuses_other_data(tmp_path):
    x, kw = (
        data(600),
        dict(
            base=SAEConfig(24, 2, k=3),
            train=TrainConfig(**(quick | dict(steps=8, batch_size=64))),
            progress=False,
        ),
    )
    grid = [dict(activation=["topk", "relu"]), dict(activation=["topk"], matryoshka=[(6, 24)])]
    table = sweep(x, grid, folder=tmp_path, **kw)
    assert table.variant.tolist() == ["topk", "relu", "matryoshka topk"]
    assert sorted(t.get_text() for t in plot_pareto(table).get_legend().get_texts()) == [
        "matryoshka topk",
        "relu",
        "topk",
    ]
    with pytest.raises(ValueError, match="other data: values"):
        sweep(9 * x, grid, folder=tmp_path, **kw)
    assert sweep(x, grid, folder=tmp_path, **kw).mse.tolist() == table.mse.tolist()


def test_a_sweep_shows_its_settings_and_not_metrics_of_the_same_name():
    x, grid = data(400), dict(activation=["relu"], l1=[1e-3, 3e-2], lr=[1e-3, 5e-3], seed=[3])
    table = sweep(
        x,
        grid,
        SAEConfig(24, 2),
        TrainConfig(**(quick | dict(steps=8, batch_size=64))),
        progress=False,
    )
    assert table[list(grid)].values.tolist() == [
        ["relu", l1, lr, 3] for l1 in grid["l1"] for lr in grid["lr"]
    ]
    assert best_setting(table)["l1"] in grid["l1"]
    assert not set(sae_metrics(SparseAutoencoder(24, 2), x)) & (
        {f.name for f in fields(SAEConfig)} | {f.name for f in fields(TrainConfig)}
    )


def test_sweep_in_processes_equals_sweep_in_one_and_resumes(tmp_path):
    x, grid = data(1500), dict(activation=["topk", "relu"], k=[2, 4])
    kw = dict(base=SAEConfig(24, 2), train=TrainConfig(**quick), progress=False)
    one, two = sweep(x, grid, **kw), sweep(x, grid, jobs=2, folder=tmp_path, **kw)
    cols = ["k", "l0", "mse", "explained_variance"]
    assert np.allclose(one[cols].to_numpy(float), two[cols].to_numpy(float), rtol=1e-4)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("state.safetensors")}
    sweep(x, grid, folder=tmp_path, **kw)
    assert len(before) == 4 and before == {
        p: p.stat().st_mtime_ns for p in tmp_path.rglob("state.safetensors")
    }


def test_bfloat16_products_train_with_float32_weights():
    x = data(600)
    for a in ("relu", "topk", "gated"):
        t = SAETrainer(
            SparseAutoencoder(24, 2, activation=a, k=3),
            ArrayBatches(x, np.arange(600), 64),
            TrainConfig(steps=8, dtype="bfloat16", window=4),
        )
        losses = [float(t.step()["mse"]) for _ in range(8)]
        assert (
            np.isfinite(losses).all()
            and t.sae.W_dec.dtype == torch.float32
            and t.opt.state[t.sae.W_dec]["exp_avg"].dtype == torch.float32
        )


def test_dictionaries_with_wrong_tensors_are_refused_by_name(tmp_path):
    s = SparseAutoencoder(8, 2, activation="jumprelu").eval()
    for write, name, key in (
        (s.save_pretrained, "dictionary.safetensors", "threshold"),
        (lambda f: to_saelens(s, f), "sae_weights.safetensors", "threshold"),
    ):
        folder = tmp_path / name
        write(folder)
        t = load_file(folder / name)
        save_file({k: v for k, v in t.items() if k != key}, folder / name)
        with pytest.raises(ValueError, match="threshold"):
            load_dictionary(folder)
        save_file(t | {"b_dec": torch.zeros(7)}, folder / name)
        with pytest.raises(ValueError, match="b_dec"):
            load_dictionary(folder)
        save_file(t | {"b_enc": torch.full_like(t["b_enc"], float("nan"))}, folder / name)
        with pytest.raises(ValueError, match="NaN"):
            load_dictionary(folder)
        (folder / name).write_bytes(b"not a tensor file")
        with pytest.raises(ValueError, match="damaged"):
            load_dictionary(folder)


FOREIGN = dict(
    own=("relu", SparseAutoencoder.save_pretrained, "dictionary.safetensors", "cfg.json"),
    saelens=("gated", to_saelens, "sae_weights.safetensors", "cfg.json"),
    dictionary_learning=("jumprelu", to_dictionary_learning, "ae.pt", "config.json"),
    dl_topk=("topk", to_dictionary_learning, "ae.pt", "config.json"),
    sparsify=("topk", to_sparsify, "sae.safetensors", "cfg.json"),
)


@pytest.mark.parametrize("form", FOREIGN)
@pytest.mark.parametrize("without_sizes", [False, True])
def test_every_tensor_of_every_library_is_checked_by_name(tmp_path, form, without_sizes):
    activation, write, name, cfg = FOREIGN[form]
    folder = write(SparseAutoencoder(8, 2, activation=activation, k=3).eval(), tmp_path)
    read, keep = (
        (lambda: torch.load(folder / name), torch.save)
        if name == "ae.pt"
        else (lambda: load_file(folder / name), save_file)
    )
    if without_sizes and form != "own":
        c = json.loads((folder / cfg).read_text())
        for at in (c, c.get("trainer", {})):
            for k in ("d_in", "d_sae", "num_latents", "activation_dim", "dict_size"):
                at.pop(k, None)
        (folder / cfg).write_text(json.dumps(c))
    whole = {k: v.clone() for k, v in read().items()}
    for k, v in whole.items():
        if form == "dl_topk" and k in ("k", "threshold"):
            continue
        ours = {
            "encoder.weight": "W_enc",
            "decoder.weight": "W_dec",
            "encoder.bias": "b_enc",
            "b_gate": "b_enc",
        }.get(k, k)
        keep({n: t for n, t in whole.items() if n != k}, folder / name)
        with pytest.raises(ValueError, match=f"tensor '{ours}'.* is missing"):
            load_dictionary(folder)
        for bad in (torch.zeros(5), torch.zeros(3, 4), torch.zeros(())):
            if bad.ndim == 0 and ours in ("threshold", "scale"):
                continue
            keep(whole | {k: bad}, folder / name)
            with pytest.raises(ValueError, match=f"tensor '{ours}'.* has shape"):
                load_dictionary(folder)
        keep(whole | {k: torch.full_like(v, float("nan"))}, folder / name)
        with pytest.raises(ValueError, match=f"tensor '{ours}'.* holds NaN"):
            load_dictionary(folder)
    keep(
        {k: v for k, v in whole.items() if k != "b_dec"} | dict(more=torch.zeros(2)), folder / name
    )
    with pytest.raises(ValueError, match="tensor 'b_dec' is missing"):
        load_dictionary(folder)
    keep(whole, folder / name)
    assert load_dictionary(folder).d_sae == 16
    for change, words in (
        (lambda: (folder / name).write_bytes(b"not a tensor file"), "is damaged"),
        (lambda: (folder / cfg).write_text("[1]"), "expected an object"),
        (lambda: (folder / cfg).write_text("{"), "not valid JSON"),
    ):
        change()
        with pytest.raises(ValueError, match=words):
            load_dictionary(folder)
    (folder / cfg).unlink()
    with pytest.raises(FileNotFoundError, match=f"{cfg}"):
        load_dictionary(folder)


def test_settings_that_contradict_the_tensors_are_refused_by_name(tmp_path):
    topk = SparseAutoencoder(8, 2, activation="topk", k=3).eval()

    def _changed(write, cfg, words, more=(), drop=()):
        folder = write(topk, tmp_path / cfg / write.__name__)
        c = json.loads((folder / cfg).read_text())
        at = c.get("trainer", c)
        at.update(more)
        [at.pop(k) for k in drop]
        (folder / cfg).write_text(json.dumps(c))
        with pytest.raises(ValueError, match=words):
            load_dictionary(folder)

    for words, kw in (
        ("'k', the number", dict(drop=["k"])),
        ("reshape_activations 'hook_z'", dict(more=dict(reshape_activations="hook_z"))),
        (r"'W_enc' has shape \(8, 16\), expected \(9, 16\)", dict(more=dict(d_in=9))),
        (r"expected \(8, 17\)", dict(more=dict(d_sae=17))),
    ):
        _changed(to_saelens, "cfg.json", words, **kw)
    for words, kw in (
        ("'k', the number", dict(drop=["k"])),
        (r"expected \(9, 16\)", dict(more=dict(d_in=9))),
        (r"expected \(8, 32\)", dict(more=dict(num_latents=32))),
    ):
        _changed(to_sparsify, "cfg.json", words, **kw)
    for words, kw in (
        (r"expected \(9, 16\)", dict(more=dict(activation_dim=9))),
        ("dict_class 'Odd'", dict(more=dict(dict_class="Odd"))),
    ):
        _changed(to_dictionary_learning, "config.json", words, **kw)
    folder = to_dictionary_learning(topk, tmp_path / "d")
    (folder / "config.json").write_text('{"buffer": {}}')
    with pytest.raises(ValueError, match="'trainer' is missing; found buffer"):
        load_dictionary(folder)
    torch.save([1], folder / "ae.pt")
    with pytest.raises(ValueError, match="expected a dict of tensors"):
        load_dictionary(folder)
    t = load_file(topk.save_pretrained(tmp_path / "own") / "dictionary.safetensors")
    save_file(t | dict(scale=torch.zeros(())), tmp_path / "own" / "dictionary.safetensors")
    with pytest.raises(ValueError, match=r"'scale' is 0.0, expected a number > 0"):
        load_dictionary(tmp_path / "own")
    with pytest.raises(FileNotFoundError, match=r"the folder holds cfg.json"):
        load_dictionary(tmp_path / "own", "saelens")


def test_mapped_tensors_are_checked_by_name(tmp_path):
    whole, names = (
        plain_tensors(SparseAutoencoder(8, 2, activation="topk", k=3)),
        dict(W_enc="enc", b_enc="eb", W_dec="dec", b_dec="db"),
    )

    def _load(keys=names, k=3, **change):
        save_file(
            {n: change.get(n, whole[o]).contiguous() for o, n in names.items()},
            tmp_path / "model.safetensors",
        )
        return load_dictionary(tmp_path, keys=keys, k=k)

    assert _load().d_sae == 16 and torch.equal(
        _load(enc=whole["W_enc"].T, dec=whole["W_dec"].T).W_enc, whole["W_enc"]
    )
    for words, kw in (
        ("'b_enc' is missing", dict(keys={k: v for k, v in names.items() if k != "b_enc"})),
        (r"'b_enc' \(eb in the file\) has shape \(\)", dict(eb=torch.zeros(()))),
        (r"'W_enc' \(enc in the file\) has shape \(16,\)", dict(enc=torch.zeros(16))),
        (r"'W_dec' .*has shape \(2, 3\)", dict(dec=torch.zeros(2, 3))),
        ("'k', the number", dict(k=None)),
        ("'W_end'", dict(keys=names | dict(W_end="enc"))),
    ):
        with pytest.raises(ValueError, match=words):
            _load(**kw)
    with pytest.raises(ValueError, match="swish"):
        from_tensors(whole, "swish")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_small_spread_far_from_zero_survives_the_fold(activation):
    x = torch.tensor(50 + 1e-3 * data(500))
    s = SparseAutoencoder(24, 4, activation=activation, k=4, normalize=True).start_at(x).eval()
    t, want = plain_tensors(s), s.pre_activations(s.prepare(x)).detach()
    gap = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"] - want).abs().max() / want.abs().max()
    assert gap < 1e-5, gap
    if activation == "gated":
        assert torch.allclose(from_tensors(t, activation).encode(x), s.encode(x), atol=1e-4)


def test_push_to_hub_uploads_what_save_pretrained_writes(monkeypatch, tmp_path):
    import huggingface_hub

    seen = {}

    class Api:
        def create_repo(self, repo, **kw):
            seen["made"] = repo, kw

        def upload_folder(self, repo_id, folder_path, **kw):
            seen["sent"], seen["back"] = (
                (repo_id, sorted(os.listdir(folder_path)), kw),
                SparseAutoencoder.from_pretrained(folder_path),
            )
            return "https://hub/commit/1"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    s = SparseAutoencoder(8, 2)
    assert s.push_to_hub("me/mine", private=True, commit_message="first") == "https://hub/commit/1"
    assert seen["made"] == ("me/mine", dict(private=True, exist_ok=True)) and seen["sent"] == (
        "me/mine",
        ["cfg.json", "dictionary.safetensors", "format.json"],
        dict(commit_message="first"),
    )
    assert torch.equal(seen["back"].W_dec, s.W_dec)


def test_validations_go_to_tensorboard_where_it_is_installed(monkeypatch, tmp_path):
    import importlib.util

    rows, found = [], importlib.util.find_spec

    class Writer:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            rows.append((name, float(value), step))

        def close(self):
            rows.append(("closed", self.folder, None))

    monkeypatch.setitem(
        sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer)
    )
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: name == "tensorboard" or found(name, *a)
    )

    def fit(folder):
        return train_sae(
            data(600), SAEConfig(24, 2), TrainConfig(**quick), folder=folder, progress=False
        )

    h = fit(tmp_path / "d").history
    assert [(v, n) for k, v, n in rows if k == "explained_variance"] == list(
        zip(h.explained_variance, h.step)
    )
    assert {k for k, *_ in rows} == {*h.columns, "closed"} - {"step"} and rows[-1] == (
        "closed",
        str(tmp_path / "d" / "tensorboard"),
        None,
    )
    rows.clear()
    fit(None)
    assert not rows


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_foreign_pickle_cannot_run_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "boom"),)

    to_dictionary_learning(SparseAutoencoder(8, 2).eval(), tmp_path / "d")
    (tmp_path / "d" / "ae.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"ae\.pt is damaged or holds more than tensors"):
        load_dictionary(tmp_path / "d")
    assert not (tmp_path / "boom").exists()


def test_real_prompt_embeddings_warn_about_their_size(tmp_path):
    from musicgen_emotion.activations.texts import load_embeddings

    root = (
        Path(os.environ.get("MGE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
        / "t5_emotion_prompts"
    )
    if not root.exists():
        pytest.skip("the folder t5_emotion_prompts is not here; set MGE_DATA")
    e = load_embeddings(root)
    with pytest.warns(UserWarning, match=f"{round(0.7 * len(e))}|rows"):
        r = train_sae(
            np.asarray(e.vectors, np.float32),
            SAEConfig(e.vectors.shape[1], 8),
            TrainConfig(**(quick | dict(steps=6, batch_size=32, eval_every=3))),
            progress=False,
        )
    assert r.report.rows < r.report.d_sae and np.isfinite(r.history.mse).all()


def test_loss_recovered_orders_dictionaries(both_nano):
    from musicgen_emotion.activations.generation import generate

    texts = ["a sad piano piece", "happy guitar music", "a calm flute tune", "an angry organ track"]
    made = generate(both_nano, texts, [1, 2, 3, 4], 1.0, progress=False)
    x, _, _ = token_rows(
        both_nano,
        [
            f"{w} {i} music"
            for w in ("sad", "happy", "calm", "angry", "energetic")
            for i in ("piano", "organ", "flute", "guitar")
        ]
        * 6,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        good = train_sae(
            x,
            SAEConfig(both_nano.config.d_text, 2, activation="topk", k=24),
            TrainConfig(**(quick | dict(steps=150))),
            progress=False,
        ).sae
    poor = (
        SparseAutoencoder(both_nano.config.d_text, 2, activation="topk", k=1)
        .start_at(torch.tensor(x))
        .eval()
    )
    kl = [
        loss_recovered(both_nano, d, "text", made.tokens, texts, n_boot=20)
        .query("codebook == 'all' and merged")
        .kl.item()
        for d in (good, poor)
    ]
    assert kl[0] < kl[1]
    merged = (
        loss_recovered(both_nano, poor, "text", made.tokens, texts, n_boot=20)
        .query("codebook == 'all'")
        .set_index("merged")
        .kl
    )
    assert merged[True] > merged[False]


class Away(torch.Tensor):
    "A tensor that names `meta` as its device and is computed on the CPU."

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here):
        t = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device="meta",
            requires_grad=here.requires_grad,
        )
        t.here = here
        return t

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _far(func, args, kwargs or {})


def _near(a):
    return a.here if isinstance(a, Away) else a


def _far(func, args, kwargs):
    """Compute, and keep what is made where it was asked for.

    As a GPU does, refuse to mix tensors (or a generator) of two devices."""
    flat, name = tree_flatten((args, kwargs))[0], func.overloadpacket.__name__
    if name == "to":
        kwargs = {
            k: next((a for a in flat if isinstance(a, kind)), getattr(args[0], k))
            for k, kind in (("device", torch.device), ("dtype", torch.dtype))
        }
        if all(getattr(args[0], k) == v for k, v in kwargs.items()):
            return args[0]
        func, args, flat, name = torch.ops.aten._to_copy.default, args[:1], args[:1], "_to_copy"
    away = [a for a in flat if isinstance(a, Away)]
    near = [a for a in flat if isinstance(a, torch.Tensor) and not isinstance(a, Away) and a.ndim]
    moves = name in ("_to_copy", "copy_")
    if away and not moves and (near or any(isinstance(a, torch.Generator) for a in flat)):
        raise RuntimeError(
            f"{name}: expected all tensors to be on the same device, found meta and cpu"
        )
    asked = kwargs.get("device")
    to_away = bool(away) if asked is None else torch.device(asked).type == "meta"
    if asked is not None:
        kwargs = kwargs | dict(device="cpu")
    if name == "copy_":
        to_away = isinstance(args[0], Away)
    made = func(*tree_map(_near, args), **tree_map(_near, kwargs))
    known = {id(a.here): a for a in away}

    def _wrap(t):
        if not isinstance(t, torch.Tensor) or not to_away:
            return t
        return known.get(id(t)) if id(t) in known else Away(t)

    return tree_map(_wrap, made)


class SecondDevice(TorchDispatchMode):
    "While it is on, `meta` is a device that works and that does not mix with the CPU."

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _far(func, args, kwargs or {})


def test_the_second_device_refuses_what_a_gpu_refuses():
    with SecondDevice():
        here, away = torch.ones(3), torch.ones(3, device="meta")
        assert (
            float((away * 2).sum()) == 6
            and away.device.type == "meta"
            and (away + 1).cpu().tolist() == [2, 2, 2]
        )
        for bad in (
            lambda: here + away,
            lambda: away.add_(here),
            lambda: torch.multinomial(away, 1, generator=torch.Generator()),
            lambda: away.numpy(),
            lambda: torch.where(away > 0, here, away),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                bad()


@pytest.mark.parametrize(
    "settings",
    [
        dict(activation="relu"),
        dict(activation="topk", k=4),
        dict(activation="batch_topk", k=4),
        dict(activation="jumprelu"),
        dict(activation="gated"),
        dict(activation="topk", k=4, tied=True),
        dict(activation="relu", normalize=True, matryoshka=(12, 48)),
    ],
    ids=str,
)
@pytest.mark.parametrize("dead", ["resample", "aux"])
def test_training_on_a_second_device(tmp_path, monkeypatch, settings, dead):
    x, config = (
        data(600),
        TrainConfig(
            **(
                quick
                | dict(
                    steps=24, window=8, eval_every=8, batch_size=64, checkpoint_every=8, dead=dead
                )
            )
        ),
    )

    def start():
        s = SparseAutoencoder(24, 4, **settings)
        with torch.no_grad():
            s.b_enc[:30] = -50.0
        return s

    cpu = start()
    with monkeypatch.context() as patched:
        patched.setattr("musicgen_emotion.sae.trainer.gradient_of", AutogradGradient)
        want = train_sae(x, cpu, config, progress=False)
    with SecondDevice():
        got = train_sae(x, start(), config, folder=tmp_path, progress=False, device="meta")
        assert {p.device.type for p in got.sae.state_dict().values()} == {"meta"}
        m, density, twins = (
            sae_metrics(got.sae, x),
            feature_density(got.sae, x),
            decoder_cosines(got.sae),
        )
        assert isinstance(density, np.ndarray) and isinstance(twins, np.ndarray)
        states = torch.tensor(x[:5])
        assert at_dictionary(got.sae, got.sae, states).device.type == "cpu"
    assert want.history.resampled.tolist() == got.history.resampled.tolist() and (
        dead == "aux" or want.history.resampled.sum() > 0
    )
    assert np.allclose(want.history.mse, got.history.mse, rtol=0.02) and np.isclose(
        m["mse"], sae_metrics(want.sae, x)["mse"], rtol=0.02
    )
    back = SparseAutoencoder.from_pretrained(tmp_path)
    assert back.W_dec.device.type == "cpu" and torch.equal(back.W_dec, got.sae.W_dec.here.detach())


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_a_checkpoint_goes_on_on_another_device(tmp_path):
    x = data(600)

    def make(device=None):
        batches = ArrayBatches(x, np.arange(600), 64)
        config = TrainConfig(**(quick | dict(steps=30, window=20)))
        return SAETrainer(SparseAutoencoder(24, 4), batches, config, device)

    def run(trainer):
        steps = [trainer.step() for _ in range(15)]
        return [(float(out["mse"]), out["resampled"]) for out in steps]

    def _begun(device=None):
        t = make(device)
        with torch.no_grad():
            t.sae.b_enc[:20] = -50.0
        return t, run(t)

    through, _ = _begun()
    losses = run(through)
    assert losses[4][1] == 20
    for first, then in (("meta", None), (None, "meta")):
        with SecondDevice():
            a, _ = _begun(first)
            a.save(tmp_path / "t.safetensors", {})
            b = make(then)
            b.load(tmp_path / "t.safetensors")
            assert np.allclose(run(b)[:5], losses[:5], rtol=1e-4) and b.done == 30


def test_a_dictionary_and_a_model_on_two_devices(nano):
    from musicgen_emotion.activations.generation import generate
    from musicgen_emotion.sae.edited_clips import feature_edit
    from musicgen_emotion.sae.effects import ablate_features, ablation_effect
    from musicgen_emotion.steering.feature_push import steer_features

    texts, d = ["a sad piano piece", "happy guitar music", "calm flute music"], nano.config.d_model
    sae = SparseAutoencoder(d, d_sae=64, activation="topk", k=4).eval()

    def make(**more):
        return generate(nano, texts, [1, 2, 3], 0.3, progress=False, **more).tokens

    def steered(mode):
        return steer_features(nano, sae, "layer_1", {3: 4.0, 5: 2.0}, mode)

    tokens = make()
    rows = np.random.default_rng(0).standard_normal((40, d))
    labels = np.repeat(["happy", "sad"], 20)

    def _all():
        out = [
            loss_recovered(nano, sae, "layer_1", tokens, texts, n_boot=5)
            .drop(columns=["merged", "codebook"])
            .to_numpy(float),
            ablate_features(sae, rows, [3]),
            make(hooks={"layer_1": feature_edit(sae, [3, 5], "clamp", 4.0, "cond")}),
            ablation_effect(sae, rows, labels, [3], n_random=3, n_boot=5)[
                ["value", "random"]
            ].to_numpy(),
        ]
        for mode in ("set", "scale", "add", "ablate"):
            with steered(mode):
                out.append(make())
        return out

    want = _all()
    with SecondDevice():
        sae.to("meta")
        assert sae.W_dec.device.type == "meta" and nano.hf.device.type == "cpu"
        got = _all()
    assert (
        all(np.allclose(a, b, atol=1e-4, equal_nan=True) for a, b in zip(want, got))
        and (want[2] != tokens).any()
    )


def test_no_dependency_on_the_other_libraries():
    text = (Path(__file__).parents[2] / "settings.ini").read_text()
    assert not any(n in text for n in ("sae-lens", "sae_lens", "dictionary-learning", "sparsify"))
