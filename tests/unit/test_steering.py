"Directions and steering beyond their lessons: files that were altered, the library's own generate, kills, bad input, batches."

import json
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.hooks import _n_hooks as hooks
from musicgen_emotion.activations.replaying import replay, stepwise, token_nll
from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.steering.arms import Arm, other_layer_arm, prompt_arm, random_arms
from musicgen_emotion.steering.axes import axis_direction, random_direction, shuffled_direction
from musicgen_emotion.steering.branches import branch_arithmetic
from musicgen_emotion.steering.directions import Direction, load_directions, save_directions
from musicgen_emotion.steering.doses import dose_response, plan_doses
from musicgen_emotion.steering.feature_push import steer_features
from musicgen_emotion.steering.heads import head_activations, hooked_sites, site_rms, site_width
from musicgen_emotion.steering.judging import judge_clips, renamed
from musicgen_emotion.steering.methods import (
    agop_direction,
    lda_direction,
    logistic_direction,
    mean_difference,
    mean_differences,
    pca_direction,
    ridge_direction,
    sae_direction,
)
from musicgen_emotion.steering.push import steer
from musicgen_emotion.steering.schedules import ClosedLoop, Schedule
from musicgen_emotion.steering.slopes import dose_slopes, side_effects

PROMPTS = ["a calm flute", "fast drums", "sad strings", "a song"]


def direction(model, site="layer_1", seed=0, rms=1.0):
    return Direction(
        np.random.default_rng(seed).normal(size=site_width(model, site)), site, "by hand", rms
    )


def tokens(model, prompts=PROMPTS, seeds=3, frames=12, **kw):
    return sample_tokens(model, list(prompts), seeds, frames, **kw)


def level(audio, sr):
    return dict(level=20 * np.log10(np.sqrt((audio**2).mean(1)) + 1e-5))


# directions

BAD = [
    np.full(4, np.nan),
    np.zeros(4),
    np.ones((2, 4)),
    np.zeros(0),
    ["a", "b"],
    np.array([1.0, np.inf]),
    None,
    np.full(4, 1e39),
]


@pytest.mark.parametrize(
    "vector", BAD, ids=["nan", "zero", "matrix", "empty", "text", "inf", "none", "overflow"]
)
def test_bad_vectors_are_one_clear_value_error(vector):
    with pytest.raises(ValueError, match="a direction"):
        Direction(vector, "layer_0", "by hand")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_vector_is_a_float32_copy(dtype):
    v = np.array([1, 2, 3], dtype)
    d = Direction(v, "layer_0", "by hand")
    v[:] = 0
    assert d.vector.dtype == np.float32 and d.vector.tolist() == [1, 2, 3]


def test_vector_that_underflows_to_zero_is_refused():
    with pytest.raises(ValueError, match="must not be zero"):
        Direction(np.full(4, 1e-60), "layer_0", "by hand")


def test_bfloat16_tensor_is_accepted_and_grad_is_dropped():
    d = Direction(torch.ones(3, dtype=torch.float32, requires_grad=True), "layer_0", "by hand")
    assert d.norm == pytest.approx(3**0.5)


def test_saved_directions_are_readable_without_the_package(tmp_path):
    from safetensors.numpy import load_file

    made = dict(
        a=Direction(
            [1.0, 2.0], "layer_0", "by hand", 0.5, ["c1"], [7], dict(note="x", n=np.int64(3))
        ),
        b=Direction([3.0], "text", "by hand"),
    )
    save_directions(tmp_path / "d", made)
    assert load_file(tmp_path / "d" / "directions.safetensors")["a"].tolist() == [1, 2]
    facts = json.loads((tmp_path / "d" / "directions.json").read_text())
    assert (
        facts["a"]["sources"] == ["c1"]
        and facts["a"]["metadata"] == dict(note="x", n=3)
        and facts["b"]["rms"] is None
    )
    again = load_directions(tmp_path / "d")
    assert {n: (d.checksum, d.site, d.rms, d.seeds) for n, d in again.items()} == {
        n: (d.checksum, d.site, d.rms, d.seeds) for n, d in made.items()
    }


def test_altered_and_foreign_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_directions(tmp_path / "d", dict(a=Direction([1.0, 2.0], "layer_0", "by hand")))
    save_file(dict(a=np.array([1, 3], np.float32)), tmp_path / "d" / "directions.safetensors")
    with pytest.raises(ValueError, match="not the one that was saved"):
        load_directions(tmp_path / "d")
    with pytest.raises(ValueError, match="no direction"):
        save_directions(tmp_path / "e", {})


def test_saving_again_replaces_the_folder_and_leaves_no_rest(tmp_path):
    for v in (1.0, 2.0):
        Direction([v], "layer_0", "by hand").save(tmp_path / "d")
    assert Direction.load(tmp_path / "d").vector.tolist() == [2.0] and [
        p.name for p in tmp_path.iterdir()
    ] == ["d"]


@pytest.mark.parametrize(
    "find", [ridge_direction, logistic_direction, lda_direction, agop_direction]
)
def test_probe_directions_point_to_the_positive_side_with_more_dimensions_than_rows(find):
    g = np.random.default_rng(0)
    y = np.arange(30) % 2 == 0
    X = g.normal(size=(30, 64)) + 3 * y[:, None] * np.eye(64)[5]
    d, turned = find(X, y, "layer_0"), find(X, ~y, "layer_0")
    assert d.project(X[y]).mean() > d.project(X[~y]).mean() and d.cosine(np.eye(64)[5]) > 0.3
    assert d.cosine(turned) == pytest.approx(-1, abs=1e-3)
    with pytest.raises(ValueError, match="one value only"):
        find(X, np.zeros(30), "layer_0")
    with pytest.raises(ValueError, match="NaN"):
        find(np.where(X > 2.5, np.nan, X), y, "layer_0")
    with pytest.raises(ValueError, match="one a row"):
        find(X, y[:5], "layer_0")


def test_origins_are_seeded_and_signed():
    g = np.random.default_rng(0)
    P, N = g.normal(size=(20, 16)) + 2, g.normal(size=(20, 16))
    base = mean_difference(P, N, "layer_0", rms=2.0)
    for make in (
        lambda s: random_direction(base, s),
        lambda s: random_direction(base, s, P),
        lambda s: shuffled_direction(P, N, "layer_0", s),
    ):
        assert make(1).checksum == make(1).checksum != make(2).checksum
    assert (
        pca_direction(P, N, "layer_0").cosine(base) > 0.9
        and pca_direction(N, P, "layer_0").cosine(base) < -0.9
    )
    assert random_direction(base, 0).rms == 2.0 and random_direction(
        base, 0, P
    ).norm == pytest.approx(base.norm, rel=1e-4)


def test_pairs_are_matched_by_id_not_by_order():
    import xarray as xr

    g = np.random.default_rng(0)
    content, push = g.normal(size=(6, 8)) * 9, np.eye(8)[0]
    X = np.vstack([content + push, content[::-1], g.normal(size=(3, 8))])
    labels, pairs = (
        ["happy"] * 6 + ["sad"] * 6 + ["calm"] * 3,
        [*range(6), *range(5, -1, -1), 0, 1, 2],
    )
    ds = xr.Dataset(dict(layer_0=(("clip", "d"), X)))
    found = mean_differences(ds, labels, "happy", "sad", pairs)["layer_0"]
    assert found.cosine(push) == pytest.approx(1, abs=1e-6) and found.metadata["agreement"] == 1
    assert mean_differences(ds, labels, "happy", "sad")["layer_0"].metadata["agreement"] < 1
    some = mean_differences(ds, labels, "happy", "sad", [*range(6), 0, 1, 2, 9, 9.5, 10, 0, 1, 2])[
        "layer_0"
    ]
    assert some.metadata["n_pairs"] == 3
    with pytest.raises(ValueError, match="has 6 'happy' clips"):
        mean_differences(ds, labels, "happy", "sad", [0] * 15)
    with pytest.raises(ValueError, match="no pair has both"):
        mean_differences(ds, labels, "happy", "sad", range(15))


def test_axis_direction_holds_the_other_axis_constant():
    g = np.random.default_rng(0)
    v = g.normal(size=(300, 1))
    va = np.hstack([v, 0.8 * v + 0.3 * g.normal(size=(300, 1))])
    X = va @ np.eye(2, 10) * 3 + 0.1 * g.normal(size=(300, 10))
    for how in ("encoding", "decoding"):
        assert axis_direction(X, va, "valence", "layer_0", how, penalty=1e-3).cosine(
            np.eye(10)[0]
        ) > (0.99 if how == "encoding" else 0.7)


def test_sae_rows_of_a_numpy_dictionary():
    class Sae:
        W_dec = np.array([[2.0, 0.0], [0.0, 5.0]])

    assert sae_direction(Sae, [0, 1], "layer_0").vector.tolist() == [1, 1]
    with pytest.raises(ValueError, match="weights has 1 entries for 2"):
        sae_direction(Sae, [0, 1], "layer_0", [1])


# steering

SETTINGS = [
    dict(),
    dict(branch="both"),
    dict(branch="null"),
    dict(layers="all"),
    dict(mode="clamp"),
    dict(mode="project_out"),
    dict(schedule=Schedule(0.05, 0.15)),
    dict(schedule=lambda t: np.cos(t)),
]


@pytest.mark.parametrize(
    "kw",
    SETTINGS,
    ids=["plain", "both", "null", "all", "clamp", "project_out", "window", "function"],
)
def test_steered_clips_are_reproducible_in_any_batch_and_nothing_stays(both_tiny, kw):
    bare, before = tokens(both_tiny), hooks(both_tiny)
    with steer(both_tiny, direction(both_tiny), 1.0, **kw):
        made = tokens(both_tiny)
        assert (
            tokens(both_tiny, [PROMPTS[i] for i in (3, 1, 0, 2)], [6, 4, 3, 5], batch_size=3)
            == made[[3, 1, 0, 2]]
        ).all()
        assert (tokens(both_tiny, PROMPTS[2:3], 5) == made[2:3]).all()
    assert (made != bare).any() and hooks(both_tiny) == before and (tokens(both_tiny) == bare).all()


@pytest.mark.parametrize(
    "site",
    [
        "embed",
        "text",
        "text_proj",
        "layer_0.mlp",
        "layer_1.cross_attn",
        "layer_1.self_attn.head_0",
        "layer_0.cross_attn.head_1",
    ],
)
def test_every_kind_of_site_can_be_steered(both_tiny, site):
    if site not in both_tiny.sites and "head" not in site:
        pytest.skip(f"this model has no {site}")
    bare, before = tokens(both_tiny, temperature=0.7), hooks(both_tiny)
    with steer(both_tiny, direction(both_tiny, site, rms=5.0), 3.0):
        assert (tokens(both_tiny, temperature=0.7) != bare).any()
    with steer(both_tiny, direction(both_tiny, site, rms=5.0), 0.0):
        assert (tokens(both_tiny, temperature=0.7) == bare).all()
    assert hooks(both_tiny) == before and (tokens(both_tiny, temperature=0.7) == bare).all()


def test_nothing_stays_after_an_exception_inside_a_pass(both_tiny):
    before, bare = hooks(both_tiny), tokens(both_tiny)

    def burst(x):
        raise ArithmeticError("probe")

    with (
        pytest.raises(ArithmeticError),
        steer(
            both_tiny,
            direction(both_tiny),
            1.0,
            schedule=ClosedLoop(burst, 1.0, "layer_0", window=2),
        ),
    ):
        tokens(both_tiny)
    with pytest.raises(RuntimeError, match="stopped"), steer(both_tiny, direction(both_tiny), 1.0):
        raise RuntimeError("stopped")
    with (
        pytest.raises(ValueError, match="finite factors"),
        steer(both_tiny, direction(both_tiny), 1.0, schedule=lambda t: t * np.nan),
    ):
        tokens(both_tiny)
    assert hooks(both_tiny) == before and (tokens(both_tiny) == bare).all()


def test_nested_blocks_add_up(both_tiny):
    a, b = direction(both_tiny), direction(both_tiny, "layer_0", 1)
    with steer(both_tiny, [(a, 0.5), (b, -1)]):
        both = tokens(both_tiny)
    with steer(both_tiny, a, 0.5), steer(both_tiny, b, -1):
        assert (tokens(both_tiny) == both).all()
    with steer(both_tiny, [a, b], [0.5, -1]):
        assert (tokens(both_tiny) == both).all()


def test_orthogonal_removes_the_first_from_the_second(both_tiny):
    a, b, t = direction(both_tiny), direction(both_tiny, seed=1), tokens(both_tiny)
    plain = replay(both_tiny, t, PROMPTS, "layer_1").layer_1.values
    with steer(both_tiny, [(a, 1.0), (b, 1.0)], orthogonal=True):
        moved = replay(both_tiny, t, PROMPTS, "layer_1").layer_1.values - plain
    assert np.allclose(a.project(moved), len(a) ** 0.5, atol=1e-3)


def test_the_library_generate_is_steered_the_same(tiny):
    d, hf = direction(tiny), tiny.hf
    ask = dict(
        **tiny.tokenize(PROMPTS[:1], warn=False),
        do_sample=False,
        guidance_scale=3.0,
        max_length=tiny.config.positions(12) + 1,
    )
    seen = []
    watch = hf.decoder.model.decoder.register_forward_pre_hook(
        lambda m, a, kw: seen.append(kw["input_ids"]), with_kwargs=True
    )
    try:
        with steer(tiny, d, 2.0):
            hf.generate(**ask)
    finally:
        watch.remove()
    fed = torch.cat(seen[-tiny.config.positions(12) :], 1)[: tiny.config.n_codebooks]
    with steer(tiny, d, 2.0):
        ours = tokens(tiny, PROMPTS[:1], temperature=0)
    theirs = np.stack([fed[k, 1 + k : 12 + k] for k in range(tiny.config.n_codebooks)])
    assert (theirs == ours[0, :, : theirs.shape[1]]).all()
    assert (ours != tokens(tiny, PROMPTS[:1], temperature=0)).any()


@pytest.mark.parametrize("branch", ["cond", "both", "null"])
@pytest.mark.parametrize("mode", ["add", "clamp", "project_out"])
def test_replay_equals_stepwise_under_steering(both_tiny, branch, mode):
    t, d = tokens(both_tiny), direction(both_tiny, "layer_0")
    with steer(both_tiny, d, 0.7, branch=branch, mode=mode, schedule=Schedule(half_life_s=0.1)):
        fast, slow = (
            replay(both_tiny, t, PROMPTS, None, ("cond", "null")),
            stepwise(both_tiny, t, PROMPTS),
        )
    plain = replay(both_tiny, t, PROMPTS, None, ("cond", "null"))
    for s in fast.data_vars:
        assert np.allclose(fast[s], slow[s], atol=1e-3)
    for b in ("cond", "null"):
        assert bool(np.allclose(fast.layer_0.sel(branch=b), plain.layer_0.sel(branch=b))) == (
            branch not in (b, "both")
        )


def test_likelihood_under_steering_touches_its_branch_only(both_tiny):
    t = tokens(both_tiny)
    plain = token_nll(both_tiny, t, PROMPTS)
    with steer(both_tiny, direction(both_tiny), 1.0, branch="null"):
        nll = token_nll(both_tiny, t, PROMPTS)
    assert np.allclose(nll.sel(branch="cond"), plain.sel(branch="cond")) and not np.allclose(
        nll.sel(branch="null"), plain.sel(branch="null")
    )


def test_a_push_that_finds_no_rows_says_so(both_tiny):
    with (
        pytest.warns(UserWarning, match="no pass had null rows"),
        steer(both_tiny, direction(both_tiny), 1.0, branch="null"),
    ):
        made = tokens(both_tiny, guidance=1)
    assert (made == tokens(both_tiny, guidance=1)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with steer(both_tiny, direction(both_tiny), 1.0, branch="null"):
            pass


def test_an_empty_prompt_counts_as_cond(both_tiny):
    with steer(both_tiny, direction(both_tiny), 2.0):
        pushed = tokens(both_tiny, [""])
    assert (pushed != tokens(both_tiny, [""])).any()


def test_bfloat16_and_loud_doses_stay_defined(tiny_folder, backend):
    from musicgen_emotion.models.load import load_model

    model = load_model(tiny_folder, backend=backend, device="cpu", dtype="bfloat16")
    with steer(model, direction(model), 1e6, branch="both"):
        made = tokens(model, PROMPTS[:1], frames=3)
    assert made.min() >= 0 and made.max() < model.config.vocab_size


STEER_ERRORS = [
    (dict(alpha=1e38), ValueError, "give a smaller dose"),
    (dict(alpha=1e300), ValueError, "alpha 1e\\+300 pushes layer_1"),
    (dict(alpha=1e300, mode="clamp"), ValueError, "smaller dose"),
    (dict(alpha=1e300, mode="project_out"), ValueError, "smaller dose"),
    (dict(schedule=lambda t: 0.5), ValueError, "one factor a time"),
    (dict(schedule=lambda t: np.ones(7)), ValueError, r"got \(7,\)"),
    *(
        (dict(alpha=a, schedule=ClosedLoop(len, 0.0, "layer_9")), KeyError, "layer_9")
        for a in (0, 1.0)
    ),
    (dict(alpha=float("inf")), ValueError, "alpha must be a finite number"),
    (dict(alpha=np.nan), ValueError, "alpha must be a finite number"),
    (dict(alpha=[1.0, 2.0]), ValueError, "one alpha each"),
    (dict(layers=99), ValueError, "layer 99 does not exist"),
    (dict(layers=[]), ValueError, "layers is empty"),
    (dict(layers="most"), ValueError, "layers must be one of all"),
    (dict(layers=1.5), TypeError, r"layers must be integers, got 1\.5"),
    (dict(branch="text"), ValueError, "branch must be one of"),
    (dict(mode="multiply"), ValueError, "mode must be one of"),
    (dict(schedule="decay"), ValueError, "schedule must be one of constant"),
    (dict(rms=-1.0), ValueError, "rms must be"),
    (dict(rms=dict(layer_0=1.0)), ValueError, "RMS of layer_1 is unknown"),
    *(
        (dict(schedule=ClosedLoop(len, 0.0, s)), ValueError, f"a closed loop cannot read '{s}'")
        for s in ("text", "text_proj")
    ),
]


@pytest.mark.parametrize(
    "kw, error, why",
    STEER_ERRORS,
    ids=[f"{i}-{'-'.join(e[0])}" for i, e in enumerate(STEER_ERRORS)],
)
def test_bad_settings_are_refused_before_anything_runs(both_tiny, kw, error, why):
    before = hooks(both_tiny)
    with (
        pytest.raises(error, match=why),
        steer(both_tiny, direction(both_tiny), **(dict(alpha=1.0) | kw)),
    ):
        raise AssertionError("the block must not run")
    assert hooks(both_tiny) == before


def test_activations_that_a_push_makes_too_large_are_one_clear_error(both_tiny):
    before, bare = hooks(both_tiny), tokens(both_tiny)
    for schedule in (lambda t: t * 0 + 1e30, lambda t: t * 0 + 1e38):
        with (
            pytest.raises(ValueError, match="activations of layer_1 are not finite, or too large"),
            steer(both_tiny, direction(both_tiny), 1e10, schedule=schedule),
        ):
            tokens(both_tiny)
    W = torch.nn.functional.normalize(
        torch.randn(40, both_tiny.config.d_model, generator=torch.Generator().manual_seed(0)), dim=1
    )

    class Sae:
        W_dec, encode, decode = (
            W,
            staticmethod(lambda x: torch.relu(x @ W.T)),
            staticmethod(lambda f: f @ W),
        )

    for value in (1e39, -1e20):
        with (
            pytest.raises(ValueError, match="feature 1 at .* smaller dose"),
            steer_features(both_tiny, Sae, "layer_1", {1: value}),
        ):
            tokens(both_tiny)
    with (
        pytest.raises(ValueError, match="too large"),
        steer_features(both_tiny, Sae, "layer_1", {f: 1.8e19 for f in range(40)}),
    ):
        tokens(both_tiny)
    with (
        pytest.raises(TypeError, match="whole numbers, got 1.7"),
        steer_features(both_tiny, Sae, "layer_1", {1.7: 1.0}),
    ):
        pass
    assert hooks(both_tiny) == before and (tokens(both_tiny) == bare).all()


def test_loud_arms_are_refused_before_the_first_clip(both_tiny, tmp_path):
    with pytest.raises(ValueError, match="smaller dose"):
        dose_response(
            both_tiny,
            PROMPTS[:1],
            direction(both_tiny),
            [0, 1e38],
            level,
            tmp_path,
            duration_s=0.3,
            progress=False,
        )
    assert not list(tmp_path.rglob("*.flac"))


def test_every_layer_has_its_own_unit_where_it_is_known(both_tiny, tmp_path):
    t, rms = tokens(both_tiny), dict(layer_0=0.5, layer_1=2.0, layer_2=3.0)
    d = direction(both_tiny, rms=rms)
    assert (
        d.rms == 2.0 and (-d).at("layer_0").rms == 0.5 and random_direction(d, 0).rms_by_site == rms
    )
    plain = replay(both_tiny, t, PROMPTS, ["layer_0", "layer_1"])
    for layers in ("all", [0, 1]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with steer(both_tiny, d, 1.0, layers=layers):
                moved = (
                    replay(both_tiny, t, PROMPTS, "layer_0").layer_0.values - plain.layer_0.values
                )
            assert np.allclose(np.linalg.norm(moved, axis=-1), 0.5 * len(d) ** 0.5, rtol=1e-3)
    with (
        pytest.warns(UserWarning, match="RMS of layer_0 is unknown"),
        steer(both_tiny, direction(both_tiny), 1.0, layers=0),
    ):
        pass
    with pytest.warns(UserWarning, match="RMS of layer_0 is unknown"):
        other_layer_arm(direction(both_tiny), 0)
    assert other_layer_arm(d, 0).directions[0][0].rms == 0.5
    block = [
        Arm("block", "target", x, dict(layers="all"))
        for x in (d, direction(both_tiny, rms=rms | dict(layer_0=1.0)))
    ]
    a, b = (plan_doses(both_tiny, PROMPTS[:1], [arm], [1.0]).clip_id[0] for arm in block)
    assert a != b and Arm("x", "target", d).push_id(1.0) == Arm(
        "x", "target", direction(both_tiny, rms=2.0)
    ).push_id(1.0)
    with steer(both_tiny, d.at("layer_0", 4.0), 1.0):
        own = replay(both_tiny, t, PROMPTS, "layer_0").layer_0.values - plain.layer_0.values
    assert np.allclose(np.linalg.norm(own, axis=-1), 4 * len(d) ** 0.5, rtol=1e-3)
    d.save(tmp_path / "d")
    assert Direction.load(tmp_path / "d").rms_by_site == rms


def test_bad_directions_are_refused_before_anything_runs(both_tiny):
    for d, error, why in (
        (
            Direction(np.ones(7), "layer_1", "x", 1.0),
            ValueError,
            "has 7 numbers, the activations there have",
        ),
        (Direction(np.ones(7), "layer_99", "x", 1.0), KeyError, "layer_99"),
        (np.ones(7), TypeError, "must be a Direction"),
        ([], ValueError, "at least one direction"),
        (Direction(np.ones(7), "layer_0.self_attn.head_77", "x", 1.0), ValueError, "head 77"),
    ):
        with pytest.raises(error, match=why), steer(both_tiny, d, 1.0):
            raise AssertionError("the block must not run")


def test_closed_loop_stops_each_clip_by_itself_and_says_when(both_tiny):
    K, rate = both_tiny.config.n_special, both_tiny.config.frame_rate
    scores = iter(range(10**6))
    first = ClosedLoop(lambda x: np.full(len(x), float(next(scores))), 4.0, "layer_1", window=None)
    with steer(both_tiny, direction(both_tiny), 1.0, schedule=first) as run:
        stopped = tokens(both_tiny, PROMPTS[:1] * 2)
    assert list(run.stops.values()) == [pytest.approx((K + 5) / rate)] * 2
    with steer(both_tiny, direction(both_tiny), 1.0):
        always = tokens(both_tiny, PROMPTS[:1] * 2)
    assert (stopped[..., :3] == always[..., :3]).all()
    one = ClosedLoop(lambda x: np.where(np.arange(len(x)) == 0, 1.0, 0.0), 0.5, "layer_0", window=1)
    with steer(both_tiny, direction(both_tiny), 1.0, schedule=one) as run:
        mixed = sample_tokens(
            both_tiny,
            PROMPTS[:1] * 2,
            3,
            12,
            on_batch=lambda rows: run.expect([f"clip {i}" for i in rows]),
        )
    assert (
        np.isfinite(run.stops["clip 0"])
        and np.isnan(run.stops["clip 1"])
        and (mixed[1] == always[1]).all()
        and (mixed[0] != always[0]).any()
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_probe_that_is_not_finite_is_named(both_tiny, bad):
    with (
        pytest.raises(ValueError, match="must return 1 finite scores"),
        steer(
            both_tiny,
            direction(both_tiny),
            1.0,
            schedule=ClosedLoop(lambda x: np.full(len(x), bad), 0.0, "layer_0", window=1),
        ),
    ):
        tokens(both_tiny, PROMPTS[:1])


def test_a_head_gets_back_what_it_gave(both_tiny):
    for wrong in (
        lambda x, now: x.mean(1, keepdim=True)[..., :1],
        lambda x, now: x[0],
        lambda x, now: 1.0,
    ):
        with (
            pytest.raises(
                ValueError,
                match=r"layer_1\.self_attn\.head_2' must return None or a tensor of shape",
            ),
            hooked_sites(both_tiny, {"layer_1.self_attn.head_2": wrong}),
        ):
            tokens(both_tiny, PROMPTS[:1])
    assert hooks(both_tiny) == 0


def test_unlatched_loop_pushes_again(both_tiny):
    t = tokens(both_tiny)
    middle = np.median(replay(both_tiny, t, PROMPTS, "layer_0").layer_0.values[:, :, 3:].mean(-1))
    flip = ClosedLoop(lambda x: x.mean(1), float(middle), "layer_0", window=1, latch=False)
    with steer(both_tiny, direction(both_tiny), 1.0, schedule=flip):
        fast, slow = (
            f(both_tiny, t, PROMPTS, "layer_1").layer_1.sel(branch="cond").values
            for f in (replay, stepwise)
        )
    on = (
        np.abs(
            fast - replay(both_tiny, t, PROMPTS, "layer_1").layer_1.sel(branch="cond").values
        ).max(-1)
        > 1e-4
    )
    assert np.allclose(fast, slow, atol=1e-3) and (
        np.diff(on.astype(int), axis=1) != 0
    ).sum() > len(t)


def test_features_keep_what_the_dictionary_does_not_explain(both_tiny):
    W = torch.nn.functional.normalize(
        torch.randn(40, both_tiny.config.d_model, generator=torch.Generator().manual_seed(0)), dim=1
    )

    class Sae:
        W_dec, encode, decode = (
            W,
            staticmethod(lambda x: torch.relu(x @ W.T)),
            staticmethod(lambda f: f @ W + 3.0),
        )

    t, bare = tokens(both_tiny), tokens(both_tiny)
    plain = replay(both_tiny, t, PROMPTS, "layer_1").layer_1.values
    with steer_features(both_tiny, Sae, "layer_1", {3: 2.0}, "add"):
        moved = replay(both_tiny, t, PROMPTS, "layer_1").layer_1.values - plain
    assert np.allclose(moved, 2 * W[3].numpy(), atol=1e-3)
    with steer_features(both_tiny, Sae, "layer_1", {3: 1.0}, "scale"):
        assert (tokens(both_tiny) == bare).all()
    with steer_features(both_tiny, Sae, "layer_1", {3: 50.0}, "set", schedule=Schedule(0.1)):
        late = tokens(both_tiny)
    assert (late[..., :2] == bare[..., :2]).all() and (late != bare).any()


def test_branch_effects_add_up_exactly(both_tiny):
    t = tokens(both_tiny)
    table = branch_arithmetic(
        both_tiny, t, PROMPTS, direction(both_tiny, "layer_0"), guidance=4.0
    ).set_index("branch")
    assert table.along["cond"] + table.along["null"] == pytest.approx(1, abs=1e-3) and table.along[
        "both"
    ] == pytest.approx(1)
    assert table.predicted.tolist() == [4.0, 1.0, -3.0]


def test_site_rms_of_heads_adds_up_to_the_attention(both_tiny):
    t = tokens(both_tiny)
    names = [f"layer_0.self_attn.head_{h}" for h in range(both_tiny.config.n_heads)]
    rms, seen = site_rms(both_tiny, names, t, PROMPTS), []
    x = head_activations(both_tiny, t, PROMPTS, 0, pool=None)[:, 3:-3]
    assert np.allclose([rms[n] for n in names], np.sqrt((x**2).mean((0, 1, 3))), rtol=1e-3)
    null = head_activations(both_tiny, t, PROMPTS, 0, branch="null")
    assert (
        np.isfinite(null).all() and null.shape == head_activations(both_tiny, t, PROMPTS, 0).shape
    )


# studies


def study(model, folder, **kw):
    arms = [Arm("target", "target", direction(model)), *random_arms(direction(model), 2)]
    return dose_response(
        model,
        PROMPTS[:2],
        **(
            dict(
                directions=arms,
                alphas=[-1, 0, 1],
                judge=level,
                folder=folder,
                duration_s=0.3,
                progress=False,
            )
            | kw
        ),
    )


def test_doses_share_noise_and_the_unsteered_clip(both_tiny, tmp_path):
    table = study(both_tiny, tmp_path)
    assert (
        len(table) == 2 * 3 * 3
        and table.groupby("prompt").seed.nunique().eq(1).all()
        and table[table.alpha == 0].clip_id.nunique() == 2
    )
    store = ClipStore(tmp_path / "clips")
    zero = table[(table.alpha == 0) & (table.arm == "target")]
    bare = sample_tokens(
        both_tiny, zero.prompt.tolist(), zero.seed.tolist(), both_tiny.config.frames(0.3)
    )
    assert (store.codes(zero.clip_id) == bare).all() and store.verify() == len(
        store
    ) == table.clip_id.nunique()
    one = table[(table.alpha == 1) & (table.arm == "random 1")]
    with steer(both_tiny, random_arms(direction(both_tiny), 2)[1].directions[0][0], 1.0):
        assert (
            store.codes(one.clip_id)
            == sample_tokens(
                both_tiny, one.prompt.tolist(), one.seed.tolist(), both_tiny.config.frames(0.3)
            )
        ).all()


def test_blocks_of_layers_share_a_batch_and_are_pushed_as_alone(both_tiny, tmp_path):
    rms = dict(layer_0=0.5, layer_1=2.0, layer_2=3.0)
    arms = [
        Arm(f"{i} {l}", "target", direction(both_tiny, seed=i, rms=rms), dict(layers=l))
        for i in (0, 1)
        for l in ("all", [0, 2])
    ]
    table = study(both_tiny, tmp_path, directions=arms)
    by_name, store = {a.name: a for a in arms}, ClipStore(tmp_path / "clips")
    for name, alpha in (("0 all", 1.0), ("1 all", -1.0), ("1 [0, 2]", 1.0)):
        rows = table[(table.arm == name) & (table.alpha == alpha)]
        with by_name[name].on(both_tiny, alpha):
            alone = sample_tokens(
                both_tiny, rows.prompt.tolist(), rows.seed.tolist(), both_tiny.config.frames(0.3)
            )
        assert (store.codes(rows.clip_id) == alone).all() and (
            alone != store.codes(table[table.alpha == 0].clip_id[:2])
        ).any()


def test_a_grown_study_keeps_its_clips(both_tiny, tmp_path):
    first = study(both_tiny, tmp_path, alphas=[0, 1])
    stamps = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.flac")}
    second = study(both_tiny, tmp_path, alphas=[0, 0.5, 1], seeds=(0, 1))
    assert (
        set(first.clip_id) < set(second.clip_id)
        and {n: p.stat().st_mtime_ns for n in stamps for p in tmp_path.rglob(n)} == stamps
    )


def test_judges_that_raise_or_return_nan_are_reported_per_clip(both_tiny, tmp_path):
    calls = []

    def moody(audio, sr):
        if len(audio) > 1:
            raise MemoryError("one at a time")
        calls.append(1)
        if len(calls) % 3 == 0:
            raise RuntimeError("out of memory")
        return dict(valence=np.nan if len(calls) % 3 == 1 else 0.5, word="calm")

    with pytest.warns(UserWarning, match="no complete judgement"):
        table = study(both_tiny, tmp_path, judge=dict(a=level, b=moody), judge_name="moody")
    why = table.drop_duplicates("clip_id").failure
    assert (
        set(why) == {"", "b: RuntimeError: out of memory", "b: not a finite number: valence"}
        and table.level.notna().all()
    )
    assert (table.valence.isna() == (table.failure != "")).all() and len(table) == 18
    slopes = dose_slopes(table, ["level", "valence"])
    assert set(slopes[slopes.outcome == "level"].n) == {2}


MOOD = [np.nan]


def moody(audio, sr):
    return dict(valence=np.where(audio[:, 0] == audio[0, 0], MOOD[0], 0.5))


def test_clips_that_failed_are_judged_again_and_the_others_are_not(both_tiny, tmp_path):
    MOOD[0] = np.nan
    with pytest.warns(UserWarning, match="no complete judgement"):
        first = study(both_tiny, tmp_path, judge=moody, judge_name="moody")
    MOOD[0] = 0.1
    again = study(both_tiny, tmp_path, judge=moody, judge_name="moody")
    assert (
        (again.failure == "").all()
        and (again.valence[first.failure == ""] == 0.5).all()
        and set(again.valence) == {0.5, 0.1}
    )


def test_outcomes_of_another_judge_are_never_taken_for_its_own(both_tiny, tmp_path):
    def by(x):
        return lambda audio, sr: dict(valence=[x] * len(audio))

    class Ear:
        def __init__(self, x):
            self.x = x

        def __call__(self, audio, sr):
            return dict(valence=[self.x[0]] * len(audio))

    for i, judge in enumerate(
        [
            by(0.0),
            by(1.0),
            Ear(np.array([2.0])),
            Ear(np.array([3.0])),
            lambda a, s: dict(valence=[4.0] * len(a)),
            dict(ear=by(5.0)),
        ]
    ):
        assert set(study(both_tiny, tmp_path, judge=judge, judge_name="same").valence) == {i}
    assert set(study(both_tiny, tmp_path, judge=by(1.0), judge_name="same").valence) == {1}


CLASHES = [
    (lambda a, s: dict(failure=a[:, 0]), "returns the column 'failure', which the table keeps"),
    (lambda a, s: dict(alpha=a[:, 0]), "'alpha', which the table"),
    (lambda a, s: dict(clip_id=a[:, 0]), "'clip_id'"),
    ([level, renamed(level, "x_")], "two judges are named 'level'"),
    (dict(a=level, b=level), "judge 'b' returns the column 'level', which judge 'a' returns too"),
    ([lambda a, s: a[:, 0], lambda a, s: a[:, 1]], "two judges are named 'score'"),
    ([], "there is no judge"),
    ({}, "there is no judge"),
]


@pytest.mark.parametrize("judge, why", CLASHES, ids=[w for _, w in CLASHES])
def test_judges_that_clash_are_refused_before_the_first_clip(both_tiny, tmp_path, judge, why):
    with pytest.raises(ValueError, match=why):
        study(both_tiny, tmp_path, judge=judge)
    assert not list(tmp_path.rglob("*.flac"))


def test_judges_side_by_side_and_judges_that_write_into_the_sound():
    audio, heard = np.ones((2, 100), np.float32), []

    def eater(a, s):
        a.fill(0)
        return [1.0] * len(a)

    def second(a, s):
        heard.append(a.copy())
        return [1.0] * len(a)

    assert (
        not judge_clips([eater, second], audio, 8000).failure.any()
        and (audio == 1).all()
        and all((h == 1).all() for h in heard)
    )
    both = judge_clips(dict(a=level, b=renamed(level, "again_")), audio, 8000)
    assert list(both) == ["level", "again_level", "failure"]


def test_bad_studies_are_refused_before_the_first_clip(both_tiny, tmp_path):
    for kw, error, why in (
        (dict(alphas=[]), ValueError, "alphas is empty"),
        (dict(alphas=[0, np.inf]), ValueError, "alphas must be finite"),
        (dict(directions=[]), ValueError, "no arm"),
        (dict(directions=Direction(np.ones(5), "layer_0", "x", 1.0)), ValueError, "has 5 numbers"),
        (dict(directions=direction(both_tiny).at("layer_9")), KeyError, "layer_9"),
        (dict(judge="ear"), TypeError, "must be a function"),
        (dict(duration_s=0), ValueError, "duration_s"),
    ):
        with pytest.raises(error, match=why):
            study(both_tiny, tmp_path, **kw)
    with pytest.raises(ValueError, match="prompts is empty"):
        dose_response(both_tiny, [], direction(both_tiny), [0, 1], level, tmp_path, progress=False)
    assert not list(tmp_path.rglob("*.flac"))


def test_loops_and_words_in_a_study(both_tiny, tmp_path):
    loop = ClosedLoop(lambda x: np.ones(len(x)), 0.5, "layer_0", window=2, name="always enough")
    arms = [
        Arm("loop", "target", direction(both_tiny), dict(schedule=loop)),
        prompt_arm({-1: "sad", 0: "", 1: lambda p: "happy " + p}),
    ]
    table = study(both_tiny, tmp_path, directions=arms)
    assert (
        table[table.arm == "loop"][lambda t: t.alpha != 0].stop_s.notna().all()
        and table[table.arm == "prompt"].stop_s.isna().all()
    )
    assert set(table[(table.arm == "prompt") & (table.alpha == 1)].text) == {
        "happy " + p for p in PROMPTS[:2]
    }
    stored = ClipStore(tmp_path / "clips").table
    assert "happy a calm flute" in set(stored.prompt) and "a calm flute" in set(stored.from_prompt)


CHILD = """
import sys, torch; torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from test_steering import study
from musicgen_emotion.models.load import load_model
t = study(load_model({model!r}, device='cpu'), {folder!r}, alphas=[-1, 0, 1], duration_s=.6, judge_name='level', batch_size=1)
"""


def test_a_killed_study_goes_on_where_it_was(tiny, tiny_folder, tmp_path):
    code = CHILD.format(
        tests=str(Path(__file__).parent), model=str(tiny_folder), folder=str(tmp_path / "killed")
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    shards, end = tmp_path / "killed" / "clips" / "shards", time.time() + 100
    while (
        len(list(shards.glob("[!.]*.parquet"))) < 3 and time.time() < end and child.poll() is None
    ):
        time.sleep(0.01)
    assert child.poll() is None, child.stderr.read().decode()[-2000:]
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stderr.close()
    kept = {
        p.name: p.stat().st_mtime_ns
        for p in (tmp_path / "killed").rglob("*.flac")
        if p.stem in set(ClipStore(tmp_path / "killed" / "clips").table.clip_id)
    }
    assert 0 < len(kept) < 14
    how = dict(alphas=[-1, 0, 1], duration_s=0.6, judge_name="level")
    resumed, whole = study(tiny, tmp_path / "killed", **how), study(tiny, tmp_path / "whole", **how)
    assert {n: p.stat().st_mtime_ns for n in kept for p in (tmp_path / "killed").rglob(n)} == kept
    assert resumed.equals(whole) and ClipStore(tmp_path / "killed" / "clips").verify() == 14
    assert not [p for p in (tmp_path / "killed").rglob("*") if p.name.startswith(".tmp-")]


def test_slopes_and_side_effects_of_a_known_table():
    import pandas as pd

    g = np.random.default_rng(0)
    arms = [
        ("t", "target", 4.0),
        ("o", "opposite", -4.0),
        *((f"r{i}", "random", 0.3 * g.normal()) for i in range(20)),
    ]
    table = pd.DataFrame(
        [
            dict(
                arm=a,
                kind=k,
                alpha=x,
                prompt=p,
                seed=s,
                clip_id=f"{a}{x}{p}{s}",
                tempo=10 * p + b * x + 0.1 * g.normal(),
                other=1.0,
            )
            for a, k, b in arms
            for x in (-1.0, 0.0, 1.0)
            for p in range(6)
            for s in range(2)
        ]
    )
    s = dose_slopes(table).set_index(["arm", "outcome"])
    assert (
        s.slope["t", "tempo"] == pytest.approx(4, abs=0.1)
        and s.monotonicity["t", "tempo"] == pytest.approx(1)
        and s.monotonicity["o", "tempo"] == pytest.approx(-1)
    )
    assert (
        s.outside_band["t", "tempo"]
        and s.p_random["t", "tempo"] == pytest.approx(1 / 21)
        and not s.outside_band["t", "other"]
        and np.isnan(s.effect["t", "other"])
    )
    matrix = side_effects(table, "other")
    assert list(matrix.columns) == ["tempo"] and matrix.tempo["t"] == pytest.approx(
        4 / table[table.alpha == 0].tempo.std(), rel=0.1
    )
    single = dose_slopes(table[table.prompt == 0], "tempo")
    assert single.low.isna().all() and set(single.n) == {1}


def test_judges_may_return_tables_columns_rows_or_numbers():
    import pandas as pd

    audio = np.zeros((3, 100), np.float32)

    def failure(judge):
        return judge_clips(judge, audio, 8000).failure.tolist()

    for ok in (
        lambda a, s: pd.DataFrame(dict(x=[1.0] * len(a)), index=range(5, 5 + len(a))),
        lambda a, s: dict(x=np.ones(len(a)), key=["C major"] * len(a)),
        lambda a, s: [dict(x=1)] * len(a),
        lambda a, s: np.ones(len(a)),
        lambda a, s: 1.0 if len(a) == 1 else [1.0] * len(a),
    ):
        assert failure(ok) == [""] * 3
    assert failure(lambda a, s: None) == ["score: not a finite number: score"] * 3
    for odd in ([pd.NaT] * 3, [1j] * 3, [None] * 3, [10**400] * 3):
        assert (
            failure(lambda a, s: dict(x=odd[: len(a)])) == ["score: not a finite number: x"] * 3
        ), odd
    assert all(
        f.startswith("score: ")
        for odd in ([pd.NaT] * 3, [1j] * 3)
        for f in failure(lambda a, s: odd[: len(a)])
    )
    assert (
        failure(lambda a, s: pd.DataFrame(index=range(len(a))))
        == ["score: ValueError: the judge returned no score"] * 3
    )
    assert failure(lambda a, s: [np.inf] * len(a)) == ["score: not a finite number: score"] * 3
    assert (
        failure(lambda a, s: pd.DataFrame(dict(x=[None] * len(a))))
        == ["score: not a finite number: x"] * 3
    )
    assert all(
        f.startswith("score: ValueError: the judge returned 2 rows for 1")
        for f in failure(lambda a, s: [1.0, 2.0])
    )

    class Ear:
        name = "ear"

        def __call__(self, a, s):
            return np.arange(len(a)) + 0.0

    assert judge_clips([Ear()], audio, 8000).ear.tolist() == [0, 1, 2]
