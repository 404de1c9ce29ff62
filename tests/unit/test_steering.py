"Directions and steering beyond their lessons: altered files, kills, bad input, batches."

import json
import signal
import subprocess
import sys
import time
import warnings
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.replaying import replay, stepwise, token_nll
from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.stats.estimates import Estimate
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
from musicgen_emotion.studies import STEERING_CRITERIA, steering_features
from musicgen_emotion.studies.steering_criteria import without_claim

PROBES = [ridge_direction, logistic_direction, lda_direction, agop_direction]
PROMPTS = ["a calm flute", "fast drums", "sad strings", "a song"]


def direction(model, site="layer_1", seed=0, rms=1.0):
    vector = np.random.default_rng(seed).normal(size=site_width(model, site))
    return Direction(vector, site, "by hand", rms)


def tokens(model, prompts=PROMPTS, seeds=3, frames=12, **sampling):
    return sample_tokens(model, list(prompts), seeds, frames, **sampling)


def planned_tokens(model, rows, seconds=0.3):
    "What a plan's rows give without a study."
    frames = model.config.frames(seconds)
    return sample_tokens(model, rows.prompt.tolist(), rows.seed.tolist(), frames)


def replayed(model, clips, site, **settings):
    return replay(model, clips, PROMPTS, site, **settings)[site].values


def hooks(model):
    "Hooks on a model; those of a codec's weight normalization do not count."
    count = 0
    for module in model.hf.modules():
        for hook in [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]:
            count += type(hook).__name__ != "WeightNorm"
    return count


def level(audio, sr):
    return dict(level=20 * np.log10(np.sqrt((audio**2).mean(1)) + 1e-5))


def random_dictionary(model, offset=0.0):
    "Forty random features; the offset is a bias of the decoder."
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, model.config.d_model, generator=generator)
    rows = torch.nn.functional.normalize(rows, dim=1)
    return SimpleNamespace(
        W_dec=rows,
        encode=lambda activation: torch.relu(activation @ rows.T),
        decode=lambda features: features @ rows + offset,
    )


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
    message = "vector must be an array" if vector is None else "a direction"
    with pytest.raises((ValueError, TypeError), match=message):
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


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_bfloat16_tensor_is_accepted_and_grad_is_dropped():
    d = Direction(torch.ones(3, dtype=torch.float32, requires_grad=True), "layer_0", "by hand")
    assert d.norm == pytest.approx(3**0.5)


def test_saved_directions_are_readable_without_the_package(tmp_path):
    from safetensors.numpy import load_file

    note = dict(note="x", n=np.int64(3))
    made = dict(
        a=Direction([1.0, 2.0], "layer_0", "by hand", 0.5, ["c1"], [7], note),
        b=Direction([3.0], "text", "by hand"),
    )
    save_directions(tmp_path / "d", made)
    assert load_file(tmp_path / "d" / "directions.safetensors")["a"].tolist() == [1, 2]
    facts = json.loads((tmp_path / "d" / "directions.json").read_text())
    assert facts["a"]["sources"] == ["c1"]
    assert facts["a"]["metadata"] == dict(note="x", n=3)
    assert facts["b"]["rms"] is None
    again = load_directions(tmp_path / "d")
    assert list(again) == list(made)
    for name, one in made.items():
        assert again[name].checksum == one.checksum
        assert (again[name].site, again[name].rms) == (one.site, one.rms)
        assert again[name].seeds == one.seeds


def test_altered_and_foreign_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_directions(tmp_path / "d", dict(a=Direction([1.0, 2.0], "layer_0", "by hand")))
    save_file(dict(a=np.array([1, 3], np.float32)), tmp_path / "d" / "directions.safetensors")
    with pytest.raises(ValueError, match="not the one that was saved"):
        load_directions(tmp_path / "d")
    with pytest.raises(ValueError, match="no direction"):
        save_directions(tmp_path / "e", {})


def test_saving_again_replaces_the_folder_and_leaves_no_rest(tmp_path):
    for value in (1.0, 2.0):
        Direction([value], "layer_0", "by hand").save(tmp_path / "d")
    assert Direction.load(tmp_path / "d").vector.tolist() == [2.0]
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("find", PROBES)
def test_probe_directions_point_to_the_positive_side_with_more_dimensions_than_rows(find):
    g = np.random.default_rng(0)
    y = np.arange(30) % 2 == 0
    X = g.normal(size=(30, 64)) + 3 * y[:, None] * np.eye(64)[5]
    d = find(X, y, "layer_0")
    turned = find(X, ~y, "layer_0")
    assert d.project(X[y]).mean() > d.project(X[~y]).mean()
    assert d.cosine(np.eye(64)[5]) > 0.3
    assert d.cosine(turned) == pytest.approx(-1, abs=1e-3)
    with pytest.raises(ValueError, match="one value only"):
        find(X, np.zeros(30), "layer_0")
    with pytest.raises(ValueError, match="NaN"):
        find(np.where(X > 2.5, np.nan, X), y, "layer_0")
    with pytest.raises(ValueError, match="one per row"):
        find(X, y[:5], "layer_0")


def test_origins_are_seeded_and_signed():
    g = np.random.default_rng(0)
    positive, negative = g.normal(size=(20, 16)) + 2, g.normal(size=(20, 16))
    base = mean_difference(positive, negative, "layer_0", rms=2.0)
    for make in (
        lambda seed: random_direction(base, seed),
        lambda seed: random_direction(base, seed, positive),
        lambda seed: shuffled_direction(positive, negative, "layer_0", seed),
    ):
        assert make(1).checksum == make(1).checksum != make(2).checksum
    assert pca_direction(positive, negative, "layer_0").cosine(base) > 0.9
    assert pca_direction(negative, positive, "layer_0").cosine(base) < -0.9
    assert random_direction(base, 0).rms == 2.0
    covariant = random_direction(base, 0, positive)
    assert covariant.norm == pytest.approx(base.norm, rel=1e-4)


def test_pairs_are_matched_by_id_not_by_order():
    import xarray as xr

    g = np.random.default_rng(0)
    content, push = g.normal(size=(6, 8)) * 9, np.eye(8)[0]
    X = np.vstack([content + push, content[::-1], g.normal(size=(3, 8))])
    labels = ["happy"] * 6 + ["sad"] * 6 + ["calm"] * 3
    pairs = [*range(6), *range(5, -1, -1), 0, 1, 2]
    ds = xr.Dataset(dict(layer_0=(("clip", "d"), X)))
    found = mean_differences(ds, labels, "happy", "sad", pairs)["layer_0"]
    assert found.cosine(push) == pytest.approx(1, abs=1e-6)
    assert found.metadata["agreement"] == 1
    by_order = mean_differences(ds, labels, "happy", "sad")["layer_0"]
    assert by_order.metadata["agreement"] < 1
    half_whole = [*range(6), 0, 1, 2, 9, 9.5, 10, 0, 1, 2]
    some = mean_differences(ds, labels, "happy", "sad", half_whole)["layer_0"]
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
    for how, least in (("encoding", 0.99), ("decoding", 0.7)):
        found = axis_direction(X, va, "valence", "layer_0", how, penalty=1e-3)
        assert found.cosine(np.eye(10)[0]) > least


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
@pytest.mark.filterwarnings("ignore:the RMS of layer_. is unknown")
def test_steered_clips_are_reproducible_in_any_batch_and_nothing_stays(both_tiny, kw):
    bare, before = tokens(both_tiny), hooks(both_tiny)
    order = [3, 1, 0, 2]
    with steer(both_tiny, direction(both_tiny), 1.0, **kw):
        made = tokens(both_tiny)
        reordered = tokens(both_tiny, [PROMPTS[i] for i in order], [6, 4, 3, 5], batch_size=3)
        alone = tokens(both_tiny, PROMPTS[2:3], 5)
    assert (reordered == made[order]).all() and (alone == made[2:3]).all()
    assert (made != bare).any()
    assert hooks(both_tiny) == before and (tokens(both_tiny) == bare).all()


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

    d = direction(both_tiny)
    loop = ClosedLoop(burst, 1.0, "layer_0", window=2)
    with pytest.raises(ArithmeticError), steer(both_tiny, d, 1.0, schedule=loop):
        tokens(both_tiny)
    with pytest.raises(RuntimeError, match="stopped"), steer(both_tiny, d, 1.0):
        raise RuntimeError("stopped")
    with (
        pytest.raises(ValueError, match="finite factors"),
        steer(both_tiny, d, 1.0, schedule=lambda t: t * np.nan),
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
    plain = replayed(both_tiny, t, "layer_1")
    with steer(both_tiny, [(a, 1.0), (b, 1.0)], orthogonal=True):
        moved = replayed(both_tiny, t, "layer_1") - plain
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
    n_codebooks = tiny.config.n_codebooks
    fed = torch.cat(seen[-tiny.config.positions(12) :], 1)[:n_codebooks]
    with steer(tiny, d, 2.0):
        ours = tokens(tiny, PROMPTS[:1], temperature=0)
    theirs = np.stack([fed[k, 1 + k : 12 + k] for k in range(n_codebooks)])
    assert (theirs == ours[0, :, : theirs.shape[1]]).all()
    assert (ours != tokens(tiny, PROMPTS[:1], temperature=0)).any()


@pytest.mark.parametrize("branch", ["cond", "both", "null"])
@pytest.mark.parametrize("mode", ["add", "clamp", "project_out"])
def test_replay_equals_stepwise_under_steering(both_tiny, branch, mode):
    t, d = tokens(both_tiny), direction(both_tiny, "layer_0")
    fading = Schedule(half_life_s=0.1)
    with steer(both_tiny, d, 0.7, branch=branch, mode=mode, schedule=fading):
        fast = replay(both_tiny, t, PROMPTS, None, ("cond", "null"))
        slow = stepwise(both_tiny, t, PROMPTS)
    plain = replay(both_tiny, t, PROMPTS, None, ("cond", "null"))
    for site in fast.data_vars:
        assert np.allclose(fast[site], slow[site], atol=1e-3)
    for b in ("cond", "null"):
        is_same = np.allclose(fast.layer_0.sel(branch=b), plain.layer_0.sel(branch=b))
        assert is_same == (branch not in (b, "both"))


def test_likelihood_under_steering_touches_its_branch_only(both_tiny):
    t = tokens(both_tiny)
    plain = token_nll(both_tiny, t, PROMPTS)
    with steer(both_tiny, direction(both_tiny), 1.0, branch="null"):
        nll = token_nll(both_tiny, t, PROMPTS)
    assert np.allclose(nll.sel(branch="cond"), plain.sel(branch="cond"))
    assert not np.allclose(nll.sel(branch="null"), plain.sel(branch="null"))


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
    (dict(alpha=1e300), ValueError, r"alpha 1e\+300 pushes layer_1"),
    (dict(alpha=1e300, mode="clamp"), ValueError, "smaller dose"),
    (dict(alpha=1e300, mode="project_out"), ValueError, "smaller dose"),
    (dict(schedule=lambda t: 0.5), ValueError, "one factor per time"),
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
    (dict(layers=1.5), ValueError, "layers must be a whole number"),
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
    sae = random_dictionary(both_tiny)
    for value in (1e39, -1e20):
        with (
            pytest.raises(ValueError, match=r"feature 1 at .* smaller dose"),
            steer_features(both_tiny, sae, "layer_1", {1: value}),
        ):
            tokens(both_tiny)
    with (
        pytest.raises(ValueError, match="too large"),
        steer_features(both_tiny, sae, "layer_1", dict.fromkeys(range(40), 1.8e19)),
    ):
        tokens(both_tiny)
    with (
        pytest.raises(TypeError, match=r"whole numbers, got 1\.7"),
        steer_features(both_tiny, sae, "layer_1", {1.7: 1.0}),
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
    assert d.rms == 2.0 and (-d).at("layer_0").rms == 0.5
    assert random_direction(d, 0).rms_by_site == rms
    plain = replayed(both_tiny, t, "layer_0")

    def push_lengths(*steering, **settings):
        with steer(both_tiny, *steering, **settings):
            moved = replayed(both_tiny, t, "layer_0") - plain
        return np.linalg.norm(moved, axis=-1)

    for layers in ("all", [0, 1]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            lengths = push_lengths(d, 1.0, layers=layers)
        assert np.allclose(lengths, 0.5 * len(d) ** 0.5, rtol=1e-3)
    moved = d.at("layer_0", 4.0)
    assert np.allclose(push_lengths(moved, 1.0), 4 * len(d) ** 0.5, rtol=1e-3)
    d.save(tmp_path / "d")
    assert Direction.load(tmp_path / "d").rms_by_site == rms


def test_a_layer_without_a_known_unit_is_a_warning(both_tiny):
    d = direction(both_tiny, rms=dict(layer_0=0.5, layer_1=2.0))
    with (
        pytest.warns(UserWarning, match="RMS of layer_0 is unknown"),
        steer(both_tiny, direction(both_tiny), 1.0, layers=0),
    ):
        pass
    with pytest.warns(UserWarning, match="RMS of layer_0 is unknown"):
        other_layer_arm(direction(both_tiny), 0)
    assert other_layer_arm(d, 0).directions[0][0].rms == 0.5


def test_the_units_of_a_block_are_part_of_a_clip_name(both_tiny):
    rms = dict(layer_0=0.5, layer_1=2.0, layer_2=3.0)
    d = direction(both_tiny, rms=rms)
    names = []
    for one in (d, direction(both_tiny, rms=rms | dict(layer_0=1.0))):
        block = Arm("block", "target", one, dict(layers="all"))
        names.append(plan_doses(both_tiny, PROMPTS[:1], [block], [1.0]).clip_id[0])
    assert names[0] != names[1]
    same = Arm("x", "target", direction(both_tiny, rms=2.0))
    assert Arm("x", "target", d).push_id(1.0) == same.push_id(1.0)


def test_the_kind_of_an_arm_may_be_left_out():
    d = Direction([1.0, 2.0], "layer_0", "by hand", 1.0)
    assert Arm("my own", d) == Arm("my own", "target", d)
    assert Arm("both", [(d, 0.5), -d], steering=dict(branch="both")).kind == "target"
    assert Arm("mine", "my kind", d).kind == "my kind"
    with pytest.raises(TypeError, match="kind must be text"):
        Arm("wrong order", d, "target")
    with pytest.raises(ValueError, match="needs directions or a rewrite"):
        Arm("nothing", "target")


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

        def name_clips(rows):
            run.expect([f"clip {i}" for i in rows])

        mixed = sample_tokens(both_tiny, PROMPTS[:1] * 2, 3, 12, on_batch=name_clips)
    assert np.isfinite(run.stops["clip 0"]) and np.isnan(run.stops["clip 1"])
    assert (mixed[1] == always[1]).all() and (mixed[0] != always[0]).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_probe_that_is_not_finite_is_named(both_tiny, bad):
    loop = ClosedLoop(lambda x: np.full(len(x), bad), 0.0, "layer_0", window=1)
    with (
        pytest.raises(ValueError, match="must return 1 finite scores"),
        steer(both_tiny, direction(both_tiny), 1.0, schedule=loop),
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
    middle = np.median(replayed(both_tiny, t, "layer_0")[:, :, 3:].mean(-1))
    plain = replayed(both_tiny, t, "layer_1")[:, 0]
    flip = ClosedLoop(lambda x: x.mean(1), float(middle), "layer_0", window=1, latch=False)
    with steer(both_tiny, direction(both_tiny), 1.0, schedule=flip):
        fast = replay(both_tiny, t, PROMPTS, "layer_1").layer_1.sel(branch="cond").values
        slow = stepwise(both_tiny, t, PROMPTS, "layer_1").layer_1.sel(branch="cond").values
    is_pushed = np.abs(fast - plain).max(-1) > 1e-4
    assert np.allclose(fast, slow, atol=1e-3)
    assert (np.diff(is_pushed.astype(int), axis=1) != 0).sum() > len(t)


def test_features_keep_what_the_dictionary_does_not_explain(both_tiny):
    sae = random_dictionary(both_tiny, offset=3.0)
    t, bare = tokens(both_tiny), tokens(both_tiny)
    plain = replayed(both_tiny, t, "layer_1")
    with steer_features(both_tiny, sae, "layer_1", {3: 2.0}, "add"):
        moved = replayed(both_tiny, t, "layer_1") - plain
    assert np.allclose(moved, 2 * sae.W_dec[3].numpy(), atol=1e-3)
    with steer_features(both_tiny, sae, "layer_1", {3: 1.0}, "scale"):
        assert (tokens(both_tiny) == bare).all()
    with steer_features(both_tiny, sae, "layer_1", {3: 50.0}, "set", schedule=Schedule(0.1)):
        late = tokens(both_tiny)
    assert (late[..., :2] == bare[..., :2]).all() and (late != bare).any()


def test_branch_effects_add_up_exactly(both_tiny):
    t = tokens(both_tiny)
    d = direction(both_tiny, "layer_0")
    table = branch_arithmetic(both_tiny, t, PROMPTS, d, guidance=4.0).set_index("branch")
    assert table.along["cond"] + table.along["null"] == pytest.approx(1, abs=1e-3)
    assert table.along["both"] == pytest.approx(1)
    assert table.predicted.tolist() == [4.0, 1.0, -3.0]


def test_site_rms_of_heads_adds_up_to_the_attention(both_tiny):
    t = tokens(both_tiny)
    names = [f"layer_0.self_attn.head_{h}" for h in range(both_tiny.config.n_heads)]
    rms = site_rms(both_tiny, names, t, PROMPTS)
    x = head_activations(both_tiny, t, PROMPTS, 0, pool=None)[:, 3:-3]
    assert np.allclose([rms[n] for n in names], np.sqrt((x**2).mean((0, 1, 3))), rtol=1e-3)
    cond = head_activations(both_tiny, t, PROMPTS, 0)
    null = head_activations(both_tiny, t, PROMPTS, 0, branch="null")
    assert np.isfinite(null).all() and null.shape == cond.shape


# studies


def study(model, folder, **changes):
    "A small study: two prompts, a target and two random arms at three doses."
    d = direction(model)
    settings = dict(
        directions=[Arm("target", "target", d), *random_arms(d, 2)],
        alphas=[-1, 0, 1],
        judge=level,
        folder=folder,
        duration_s=0.3,
        progress=False,
    )
    return dose_response(model, PROMPTS[:2], **(settings | changes))


def test_doses_share_noise_and_the_unsteered_clip(both_tiny, tmp_path):
    table = study(both_tiny, tmp_path)
    assert len(table) == 2 * 3 * 3
    assert table.groupby("prompt").seed.nunique().eq(1).all()
    assert table[table.alpha == 0].clip_id.nunique() == 2
    store = ClipStore(tmp_path / "clips")
    assert store.verify() == len(store) == table.clip_id.nunique()
    zero = table[(table.alpha == 0) & (table.arm == "target")]
    assert (store.codes(zero.clip_id) == planned_tokens(both_tiny, zero)).all()
    one = table[(table.alpha == 1) & (table.arm == "random 1")]
    ((random, _),) = random_arms(direction(both_tiny), 2)[1].directions
    with steer(both_tiny, random, 1.0):
        assert (store.codes(one.clip_id) == planned_tokens(both_tiny, one)).all()


def test_blocks_of_layers_share_a_batch_and_are_pushed_as_alone(both_tiny, tmp_path):
    rms = dict(layer_0=0.5, layer_1=2.0, layer_2=3.0)
    arms = {}
    for seed in (0, 1):
        for layers in ("all", [0, 2]):
            name, d = f"{seed} {layers}", direction(both_tiny, seed=seed, rms=rms)
            arms[name] = Arm(name, "target", d, dict(layers=layers))
    table = study(both_tiny, tmp_path, directions=list(arms.values()))
    store = ClipStore(tmp_path / "clips")
    unsteered = store.codes(table[table.alpha == 0].clip_id[:2])
    for name, alpha in (("0 all", 1.0), ("1 all", -1.0), ("1 [0, 2]", 1.0)):
        rows = table[(table.arm == name) & (table.alpha == alpha)]
        with arms[name].on(both_tiny, alpha):
            alone = planned_tokens(both_tiny, rows)
        assert (store.codes(rows.clip_id) == alone).all() and (alone != unsteered).any()


def test_a_grown_study_keeps_its_clips(both_tiny, tmp_path):
    first = study(both_tiny, tmp_path, alphas=[0, 1])
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")}
    second = study(both_tiny, tmp_path, alphas=[0, 0.5, 1], seeds=(0, 1))
    assert set(first.clip_id) < set(second.clip_id)
    assert {path: path.stat().st_mtime_ns for path in written} == written


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
    why = set(table.drop_duplicates("clip_id").failure)
    assert why == {"", "b: RuntimeError: out of memory", "b: not a finite number: valence"}
    assert table.level.notna().all() and len(table) == 18
    assert (table.valence.isna() == (table.failure != "")).all()
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
    assert (again.failure == "").all() and set(again.valence) == {0.5, 0.1}
    assert (again.valence[first.failure == ""] == 0.5).all()


def test_outcomes_of_another_judge_are_never_taken_for_its_own(both_tiny, tmp_path):
    def by(x):
        return lambda audio, sr: dict(valence=[x] * len(audio))

    class Ear:
        def __init__(self, x):
            self.x = x

        def __call__(self, audio, sr):
            return dict(valence=[self.x[0]] * len(audio))

    judges = [
        by(0.0),
        by(1.0),
        Ear(np.array([2.0])),
        Ear(np.array([3.0])),
        lambda a, s: dict(valence=[4.0] * len(a)),
        dict(ear=by(5.0)),
    ]
    for i, judge in enumerate(judges):
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

    assert not judge_clips([eater, second], audio, 8000).failure.any()
    assert (audio == 1).all() and all((one == 1).all() for one in heard)
    both = judge_clips(dict(a=level, b=renamed(level, "again_")), audio, 8000)
    assert list(both) == ["level", "again_level", "failure"]


def test_bad_studies_are_refused_before_the_first_clip(both_tiny, tmp_path):
    for kw, error, why in (
        (dict(alphas=[]), ValueError, "alphas is empty"),
        (dict(alphas=[0, np.inf]), ValueError, r"alphas\[1\] must be a finite"),
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
    is_prompt = table.arm == "prompt"
    assert table[~is_prompt & (table.alpha != 0)].stop_s.notna().all()
    assert table[is_prompt].stop_s.isna().all()
    written = set(table[is_prompt & (table.alpha == 1)].text)
    assert written == {"happy " + prompt for prompt in PROMPTS[:2]}
    stored = ClipStore(tmp_path / "clips").table
    assert "happy a calm flute" in set(stored.prompt) and "a calm flute" in set(stored.from_prompt)


CHILD = """
import sys, torch; torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from test_steering import study
from musicgen_emotion.models.load import load_model
model = load_model({model!r}, device='cpu')
study(model, {folder!r}, duration_s=.6, judge_name='level', batch_size=1)
"""


def test_a_killed_study_goes_on_where_it_was(tiny, tiny_folder, tmp_path, popen):
    killed = tmp_path / "killed"
    code = CHILD.format(
        tests=str(Path(__file__).parent), model=str(tiny_folder), folder=str(killed)
    )
    child = popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    shards, end = killed / "clips" / "shards", time.time() + 300
    while len(list(shards.glob("[!.]*.parquet"))) < 3 and time.time() < end:
        if child.poll() is not None:
            break
        time.sleep(0.01)
    assert child.poll() is None, child.stderr.read().decode()[-2000:]
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stderr.close()
    finished = set(ClipStore(killed / "clips").table.clip_id)
    kept = {
        path: path.stat().st_mtime_ns for path in killed.rglob("*.flac") if path.stem in finished
    }
    assert 0 < len(kept) < 14
    settings = dict(duration_s=0.6, judge_name="level")
    resumed = study(tiny, killed, **settings)
    whole = study(tiny, tmp_path / "whole", **settings)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert resumed.equals(whole) and ClipStore(killed / "clips").verify() == 14
    assert not [path for path in killed.rglob("*") if path.name.startswith(".tmp-")]


def test_slopes_and_side_effects_of_a_known_table():
    import pandas as pd

    g = np.random.default_rng(0)
    arms = [("t", "target", 4.0), ("o", "opposite", -4.0)]
    arms += [(f"r{i}", "random", 0.3 * g.normal()) for i in range(20)]
    rows = []
    for arm, kind, slope in arms:
        for alpha, prompt, seed in product((-1.0, 0.0, 1.0), range(6), range(2)):
            clip = dict(arm=arm, kind=kind, alpha=alpha, prompt=prompt, seed=seed)
            tempo = 10 * prompt + slope * alpha + 0.1 * g.normal()
            clip_id = f"{arm}{alpha}{prompt}{seed}"
            rows.append(clip | dict(clip_id=clip_id, tempo_bpm=tempo, other=1.0))
    table = pd.DataFrame(rows)
    slopes = dose_slopes(table).set_index(["arm", "outcome"])
    assert slopes.slope["t", "tempo_bpm"] == pytest.approx(4, abs=0.1)
    assert slopes.monotonicity["t", "tempo_bpm"] == pytest.approx(1)
    assert slopes.monotonicity["o", "tempo_bpm"] == pytest.approx(-1)
    assert "outside_band" not in slopes  # the band is for figures, the rank decides
    assert slopes.p_random["t", "tempo_bpm"] == pytest.approx(1 / 21)
    assert slopes.p_random["t", "other"] == 1
    assert np.isnan(slopes.effect["t", "other"])
    matrix = side_effects(table, "other")
    spread = table[table.alpha == 0].tempo_bpm.std()
    assert list(matrix.columns) == ["tempo_bpm"]
    assert matrix.tempo_bpm["t"] == pytest.approx(4 / spread, rel=0.1)
    single = dose_slopes(table[table.prompt == 0], "tempo_bpm")
    assert single.low.isna().all() and set(single.n) == {1}


AUDIO = np.zeros((3, 100), np.float32)


def failures(judge):
    return judge_clips(judge, AUDIO, 8000).failure.tolist()


def returning(value):
    "A judge that returns the first entries of a list."
    return lambda audio, sr: value[: len(audio)]


def test_judges_may_return_tables_columns_rows_or_numbers():
    import pandas as pd

    for accepted in (
        lambda a, s: pd.DataFrame(dict(x=[1.0] * len(a)), index=range(5, 5 + len(a))),
        lambda a, s: dict(x=np.ones(len(a)), key=["C major"] * len(a)),
        lambda a, s: [dict(x=1)] * len(a),
        lambda a, s: np.ones(len(a)),
        lambda a, s: 1.0 if len(a) == 1 else [1.0] * len(a),
    ):
        assert failures(accepted) == [""] * 3

    class Ear:
        name = "ear"

        def __call__(self, a, s):
            return np.arange(len(a)) + 0.0

    assert judge_clips([Ear()], AUDIO, 8000).ear.tolist() == [0, 1, 2]


def test_what_is_no_number_is_reported_at_the_clip():
    import pandas as pd

    no_score, no_x = (["score: not a finite number: " + name] * 3 for name in ("score", "x"))
    assert failures(lambda a, s: None) == no_score
    assert failures(lambda a, s: [np.inf] * len(a)) == no_score
    assert failures(lambda a, s: pd.DataFrame(dict(x=[None] * len(a)))) == no_x
    for odd in ([pd.NaT] * 3, [1j] * 3, [None] * 3, [10**400] * 3):
        column = [dict(x=value) for value in odd]
        assert failures(returning(column)) == no_x, odd
    for odd in ([pd.NaT] * 3, [1j] * 3):
        assert all(why.startswith("score: ") for why in failures(returning(odd)))


def test_a_judge_that_returns_no_score_or_too_many_rows_is_reported():
    import pandas as pd

    nothing = failures(lambda a, s: pd.DataFrame(index=range(len(a))))
    assert nothing == ["score: ValueError: the judge returned no score"] * 3
    too_many = failures(lambda a, s: [1.0, 2.0])
    assert too_many == ["score: ValueError: the judge returned 2 rows for 1 clips"] * 3


@pytest.mark.parametrize("n_features, n_prompts, n", [(4, 12, 4), (14, 12, 12)])
def test_chosen_features_are_units_of_their_gate_as_prompts_are(n_features, n_prompts, n):
    "Four features over twelve prompts passed as twelve units."
    chosen, others = list(range(n_features)), [90, 91, 92]
    prompts = [f"prompt {number}" for number in range(n_prompts)]
    rows = []
    for feature in [*chosen, *others]:
        for number, prompt in enumerate(prompts):
            rise = 5.0 + 0.1 * number if feature in chosen else 0.0
            for alpha in (0.0, 1.0):
                arm = f"feature {feature}"
                rows.append(dict(arm=arm, prompt=prompt, alpha=alpha, m_sad=alpha * rise))
    context = SimpleNamespace(
        outcome_of={"sad": "m_sad"},
        settings=SimpleNamespace(seed=0, feature_prompts=n_prompts),
        prompts=SimpleNamespace(test=pd.DataFrame(dict(prompt=prompts))),
    )
    choice = steering_features.FeatureChoice({"sad": chosen}, others, [], np.ones(1), np.ones(1))
    beyond = Estimate(5.0, 4.0, 6.0, n_prompts)
    found = steering_features._features_criterion(context, choice, pd.DataFrame(rows), beyond)
    assert found.n == n
    claim = without_claim(
        next(item for item in STEERING_CRITERIA if item.name == found.gate), found.n, found.draws
    )
    assert bool(claim) == (n < 12)
