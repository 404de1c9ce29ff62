"""Patching, attribution, erasure, reliability, mediation, attention: what the lessons leave out."""

import contextlib
import inspect
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_1samp

from musicgen_emotion.activations.hooks import hooked
from musicgen_emotion.activations.positions import time_windows, window_positions
from musicgen_emotion.activations.replaying import replay, token_nll
from musicgen_emotion.causes.ablation import ablated, ablation_effects
from musicgen_emotion.causes.attribution import attribution_agreement, attribution_patching
from musicgen_emotion.causes.erasure import Eraser, inlp, leace, project_out
from musicgen_emotion.causes.free_generation import (
    describe_patched,
    patched_generation,
    sound_restored,
)
from musicgen_emotion.causes.mediation import mediate
from musicgen_emotion.causes.oracle import fit_oracle
from musicgen_emotion.causes.pairs import Pairs, all_cells, pair_prompts, pair_tokens
from musicgen_emotion.causes.passes import contrast, kl, next_token_logits, restored_difference
from musicgen_emotion.causes.patching import PATCH_ARMS, activation_patching, patching_summary
from musicgen_emotion.causes.reliability import (
    causal_reliability,
    completeness,
    harmonic_reliability,
    selectivity,
    total_variation,
    without_unread,
)
from musicgen_emotion.causes.verdicts import verdict_table
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.sampling import merge_guidance, sample_tokens
from musicgen_emotion.models.shapes import delay_tokens, frame_logits
from musicgen_emotion.models.text import piece_counter
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.probes.attention import (
    attention_pass,
    attention_span,
    emotion_word_test,
    role_attention,
    shared_partners,
    span_test,
    word_attention,
)
from musicgen_emotion.stimuli.prompts import matched_pairs

torch.set_num_threads(1)
SOURCE = [
    "a happy piano piece",
    "cheerful music with a rather long description of a flute and of strings",
    "this organ track sounds merry",
]
TARGET = ["a sad and slow piano piece", "gloomy flute music", "this organ track sounds mournful"]


@pytest.fixture(scope="module")
def both_pairs(both_tiny):
    return pair_tokens(both_tiny, Pairs(SOURCE, TARGET), 0.4)


@pytest.fixture(scope="module")
def pairs(tiny):
    return pair_tokens(tiny, Pairs(SOURCE, TARGET), 0.4)


def whole(table, **wanted):
    "Rows of all codebooks together, with the wanted values in some columns."
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table[table.codebook == "all"]


def clean_logits(model, pairs):
    "Logits of both prompts over the pairs' tokens."
    source = next_token_logits(model, pairs.tokens, pairs.source)
    target = next_token_logits(model, pairs.tokens, pairs.target)
    return source, target


@contextlib.contextmanager
def recorded(model, sites):
    "Site -> last activation of the runs in the block."
    seen = {}

    def keep(activation, now):
        seen[now.site.name] = activation.clone()

    with hooked(model, {site: keep for site in sites}):
        yield seen


@contextlib.contextmanager
def replaced(model, states):
    "Runs in the block get these states: site -> activation."

    def put(activation, now):
        return states[now.site.name].expand(activation.shape)

    with hooked(model, {site: put for site in states}):
        yield


def n_hooks(model):
    "Hooks on a model, without those that a codec needs for its weight normalization."
    count = 0
    for module in model.hf.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            count += sum(type(hook).__name__ != "WeightNorm" for hook in hooks.values())
    return count


# one pass


@pytest.mark.parametrize("branch", ["cond", "null"])
def test_logits_agree_with_the_likelihood_of_extraction(both_tiny, both_pairs, branch):
    prompts = both_pairs.target if branch == "cond" else None
    logits = next_token_logits(both_tiny, both_pairs.tokens, prompts)
    tokens = torch.as_tensor(both_pairs.tokens.astype(np.int64))
    cross_entropy = torch.nn.functional.cross_entropy(
        logits.permute(0, 3, 1, 2), tokens, reduction="none"
    )
    ours = cross_entropy.mean(-1).numpy()
    theirs = token_nll(both_tiny, both_pairs.tokens, prompts, branch).sel(branch=branch).values
    assert np.allclose(ours, theirs, atol=1e-3)


def test_contrast_is_blind_to_constants_and_never_negative():
    generator = torch.Generator().manual_seed(0)
    source, target, patched = (3 * torch.randn(4, 5, 40, generator=generator) for _ in range(3))
    weights, gap = contrast(source, target)
    assert (gap >= 0).all()
    assert torch.allclose(weights.sum(-1), torch.zeros(4, 5), atol=1e-5)

    moved, _ = restored_difference(patched, source, target)
    moved_with_constant, _ = restored_difference(patched + 7, source, target)
    assert torch.allclose(moved_with_constant, moved, atol=1e-3)
    assert (kl(source, target) >= 0).all()
    assert torch.allclose(kl(source, source + 2), torch.zeros(4, 5), atol=1e-5)


@pytest.mark.parametrize("duration, step", [(1.0, 0.3), (0.4, 0.4), (2.02, 0.25)])
def test_windows_tile_the_positions(both_tiny, duration, step):
    config = both_tiny.config
    n_frames = config.frames(duration)
    covered = []
    for window in time_windows(duration, step):
        span = window_positions(window, n_frames, config)
        covered += range(span.start, span.stop)
    assert covered == list(range(config.positions(n_frames)))


# activation patching


def test_what_must_be_zero_and_one(both_tiny, both_pairs):
    sites = ["text", "text_proj", "layer_0", "layer_1.mlp", "layer_2", "embed"]
    table = activation_patching(both_tiny, both_pairs, sites, PATCH_ARMS, progress=False)
    for readout in ("cond", "guided"):
        for site in ("text", "text_proj", "layer_2"):
            restored = whole(table, readout=readout, site=site, arm="patch").restored
            assert np.allclose(restored, 1, atol=1e-3)
        noop = whole(table, readout=readout, arm="noop")
        assert np.allclose(noop.restored, 0, atol=1e-3)
        assert np.allclose(noop.kl_target, 0, atol=1e-4)
        before_any_text = whole(table, readout=readout, site="embed", arm="patch")
        assert np.allclose(before_any_text.restored, 0, atol=1e-3)
    assert n_hooks(both_tiny) == 0


def test_all_blocks_of_a_layer_together_are_its_residual_stream(both_tiny, both_pairs):
    "Patching every attention, cross-attention and MLP patches the last residual stream."
    kinds = ("self_attn", "cross_attn", "mlp")
    sites = [f"layer_{layer}.{kind}" for layer in range(3) for kind in kinds]
    with torch.no_grad(), recorded(both_tiny, sites) as states:
        source = next_token_logits(both_tiny, both_pairs.tokens, both_pairs.source)
    with replaced(both_tiny, states):
        patched = next_token_logits(both_tiny, both_pairs.tokens, both_pairs.target)
    assert torch.allclose(source, patched, atol=1e-3)


def test_numbers_do_not_depend_on_the_batch(both_tiny, both_pairs):
    cells = all_cells(both_tiny, 0.4, ("text", "cross_attn"), layers=[1], step_s=0.2)

    def patch(batch_size):
        return activation_patching(
            both_tiny,
            both_pairs,
            cells,
            PATCH_ARMS,
            batch_size=batch_size,
            seed=3,
            progress=False,
        )

    one, many = patch(1), patch(3)
    keys = ["pair", "site", "start", "arm", "readout", "codebook"]
    both = one.merge(many, on=keys, validate="one_to_one")
    n_pairs, n_arms, n_readouts, n_codebooks = 3, 4, 2, 4
    expected = n_pairs * len(cells) * n_arms * n_readouts * (n_codebooks + 1)
    assert len(both) == len(one) == expected
    for metric in ("moved", "gap", "kl_source", "kl_target"):
        assert np.allclose(both[f"{metric}_x"], both[f"{metric}_y"], atol=2e-3)


def test_windowed_text_is_what_stepwise_switching_gives(both_tiny, both_pairs):
    "Positions of the window read the source's text, the rest the target's."
    config = both_tiny.config
    one = both_pairs[[0]]
    ids = delay_tokens(one.tokens, config)
    source_state = both_tiny.begin(both_tiny.encode_text(one.source), null=False)
    target_state = both_tiny.begin(both_tiny.encode_text(one.target), null=False)
    cache = target_state.cache
    logits = []
    for position in range(ids.shape[-1]):
        text_state = source_state if position >= 10 else target_state
        state = both_tiny.switch_text(text_state, cache)
        logits.append(both_tiny.step(state, ids[..., position : position + 1]))
        cache = state.cache
    by_hand = frame_logits(torch.stack(logits, 2), config, 20)

    source, target = clean_logits(both_tiny, one)
    moved, gap = restored_difference(by_hand, source, target)
    cells = all_cells(both_tiny, 0.4, ("text",), step_s=0.2)
    late = cells[cells.start == 0.2]
    ours = whole(activation_patching(both_tiny, one, late, "patch", None, progress=False))
    assert np.isclose(ours.restored.item(), float(moved.sum() / gap.sum()), atol=1e-3)
    assert torch.allclose(by_hand[:, 0, :10], target[:, 0, :10], atol=1e-3)


def test_window_readout_counts_the_window_only(both_tiny, both_pairs):
    cells = all_cells(both_tiny, 0.4, ("resid",), layers=[2], step_s=0.2)

    def patch(at):
        table = activation_patching(
            both_tiny, both_pairs, cells, "patch", None, at=at, progress=False
        )
        return whole(table)

    window, clip = patch("window"), patch("clip")
    assert (window.gap < clip.gap).all()
    late = window[window.start == 0.2].restored.mean()
    assert late > clip[clip.start == 0.2].restored.mean()


def test_an_error_leaves_nothing_behind(both_tiny, both_pairs):
    bad = Pairs(both_pairs.source, both_pairs.target, both_pairs.tokens + 5000)
    with pytest.raises(ValueError, match="tokens must lie"):
        activation_patching(both_tiny, bad, ["layer_0"], progress=False)
    with pytest.raises(RuntimeError), ablated(both_tiny, "layer_0", "zero"):
        raise RuntimeError
    with pytest.raises(ZeroDivisionError):
        attention_pass(both_tiny, both_pairs.tokens, both_pairs.source, lambda w, m: 1 / 0)
    assert n_hooks(both_tiny) == 0
    if both_tiny.backend == "transformers":
        assert both_tiny.hf.decoder.config._attn_implementation == "sdpa"
    for site in both_tiny.sites:
        assert not any(weight.requires_grad for weight in both_tiny.module(site).parameters())


def random_floor(model, pairs, n_random, seed=0):
    return whole(
        activation_patching(
            model,
            pairs,
            ["text", "layer_1"],
            ("patch", "random"),
            None,
            seed=seed,
            n_random=n_random,
            progress=False,
        )
    )


def test_random_floor_is_the_mean_over_its_draws(both_tiny, both_pairs):
    "Every further draw is a new one, and all draws of a pair are averaged; other arms run once."
    one = random_floor(both_tiny, both_pairs, 1)
    two = random_floor(both_tiny, both_pairs, 2)
    is_patch, is_random = one.arm == "patch", one.arm == "random"
    assert np.allclose(one[is_patch].moved, two[is_patch].moved)
    second_draw = 2 * two.moved - one.moved
    assert (np.abs(second_draw - one.moved)[is_random] > 1e-4).all()
    for n_random in (0, 1.5):
        with pytest.raises(ValueError, match="n_random must be a whole number"):
            random_floor(both_tiny, both_pairs, n_random)


def test_more_draws_make_the_random_floor_steadier(both_tiny, both_pairs):
    def spread(n_random):
        "Standard deviation of the floor over seeds, by site."
        floors = []
        for seed in range(6):
            table = random_floor(both_tiny, both_pairs, n_random, seed).query("arm == 'random'")
            floors.append(table.groupby("site", sort=False).restored.mean())
        return np.std(floors, axis=0)

    one, eight = spread(1), spread(8)
    assert (eight < 0.8 * one).all(), (one, eight)


def test_batch_sizes_are_whole_numbers(tiny, pairs):
    calls = (
        lambda n: activation_patching(tiny, pairs, ["text"], batch_size=n),
        lambda n: attribution_patching(tiny, pairs, batch_size=n),
        lambda n: ablation_effects(tiny, pairs, ["text"], batch_size=n),
        lambda n: patched_generation(tiny, pairs, ["text"], 0.2, batch_size=n),
        lambda n: attention_pass(tiny, pairs.tokens, pairs.source, list, batch_size=n),
    )
    message = "batch_size must be a whole number >= 1; got"
    for call in calls:
        for batch_size in (0.5, 0, -1):
            with pytest.raises(ValueError, match=message):
                call(batch_size)
        with pytest.raises(TypeError, match=message):
            call(True)


def test_summary_bootstraps_pairs_and_divides_sums():
    table = pd.DataFrame(dict(pair=[0, 1, 2], site="x", moved=[1.0, 0, 30], gap=[1.0, 1, 100]))
    row = patching_summary(table, by=["site"]).iloc[0]
    assert np.isclose(row.value, 31 / 102)
    assert row.low <= row.value <= row.high
    assert row.n == 3
    with pytest.raises(ValueError, match="NaN"):
        patching_summary(table.assign(moved=np.nan), by=["site"])


# attribution


def test_attribution_is_the_derivative_of_patching(both_tiny, both_pairs):
    "Push a cell a little way towards the source and compare with the linear prediction."
    step = 1e-2
    cells = all_cells(both_tiny, 0.4, ("cross_attn", "resid"), layers=[0, 2], step_s=0.2)
    table = attribution_patching(both_tiny, both_pairs, cells, progress=False)
    weights, gap = contrast(*clean_logits(both_tiny, both_pairs))

    def pushed_logits(site, span, source_states, size):
        def push(states, now):
            states = states.clone()
            states[:, span] += size * (source_states[:, span] - states[:, span])
            return states

        with hooked(both_tiny, {site: push}):
            return next_token_logits(both_tiny, both_pairs.tokens, both_pairs.target)

    for cell in cells.itertuples():
        span = window_positions((cell.start, cell.end), 20, both_tiny.config)
        with recorded(both_tiny, [cell.site]) as states:
            next_token_logits(both_tiny, both_pairs.tokens, both_pairs.source)
        source_states = states[cell.site]
        up = pushed_logits(cell.site, span, source_states, step)
        down = pushed_logits(cell.site, span, source_states, -step)
        slope = (weights * (up - down)).sum((1, 2, 3)) / (2 * step) / gap.sum((1, 2))
        mine = table[(table.site == cell.site) & (table.start == cell.start)]
        attribution = mine.sort_values("pair").attribution
        assert np.allclose(slope.numpy(), attribution, atol=0.02, rtol=0.05), cell


def test_guided_attribution_does_not_depend_on_the_batch(both_tiny, both_pairs):
    cells = all_cells(both_tiny, 0.4, ("mlp",), step_s=0.2)

    def attribute(batch_size):
        table = attribution_patching(
            both_tiny, both_pairs, cells, "guided", batch_size=batch_size, progress=False
        )
        return table.sort_values(["pair", "site", "start"])

    one, two = attribute(1), attribute(2)
    assert np.allclose(one.attribution, two.attribution, atol=1e-4)
    agreement = attribution_agreement(
        both_tiny, both_pairs, one, 5, "guided", n_boot=50, progress=False
    )
    assert agreement.spearman.n == len(agreement.table) == 5
    assert agreement.spearman.low <= agreement.spearman.high


@pytest.mark.parametrize("readout, passes", [("cond", 2), ("guided", 3)])
def test_attribution_counts_forward_and_backward_passes(both_tiny, both_pairs, readout, passes):
    "One run of each prompt for all cells, and the null rows where guidance needs them."
    runs = []
    module = both_tiny.module("layer_0")
    hooks = [
        module.register_forward_hook(lambda *_: runs.append("forward")),
        module.register_full_backward_hook(lambda *_: runs.append("backward")),
    ]
    cells = all_cells(both_tiny, 0.4, step_s=0.1)
    attribution_patching(both_tiny, both_pairs, cells, readout, progress=False)
    for hook in hooks:
        hook.remove()
    assert runs.count("forward") == passes
    assert runs.count("backward") == 1


@pytest.mark.parametrize("readout", ["cond", "guided"])
def test_attribution_is_gradient_times_difference(both_tiny, both_pairs, readout):
    "The same from separate runs: both prompts without gradients, and the target with them."
    model = both_tiny
    p = Pairs(
        ["a happy piano piece", "a merry organ track"],
        ["a sunny piano piece", "a bleak organ track"],
        both_pairs.tokens[:2],
    )
    sites = ["layer_0.mlp", "layer_1", "layer_2.cross_attn"]
    with recorded(model, sites) as source_states:
        source = next_token_logits(model, p.tokens, p.source)
    text_state = model.begin(model.encode_text(p.source), null=False, cache=False)
    source_states["text"] = text_state.states
    target = next_token_logits(model, p.tokens, p.target)
    null = next_token_logits(model, p.tokens, None)
    guidance = 3.0 if readout == "guided" else 1.0
    guided_source = merge_guidance(source, null, guidance)
    guided_target = merge_guidance(target, null, guidance)
    weights, gap = contrast(guided_source, guided_target)

    state = model.begin(model.encode_text(p.target), null=False, cache=False)
    state.states = state.states.detach().requires_grad_()
    target_states = {"text": state.states}

    def keep(states, now):
        states.retain_grad()
        target_states[now.site.name] = states

    step = inspect.unwrap(type(model).step)  # without its no_grad
    ids = delay_tokens(p.tokens, model.config)
    with torch.enable_grad(), hooked(model, {site: keep for site in sites}):
        logits = frame_logits(step(model, state, ids, "all").float(), model.config, 20)
        score = guidance * (weights * logits).sum((1, 2, 3)) / gap.sum((1, 2))
        score.sum().backward()

    names = ("text", *sites)
    cells = all_cells(model, 0.4, names)
    table = attribution_patching(model, p, cells, readout, progress=False)
    ours = table.set_index(["pair", "site"]).attribution
    largest = 0.0
    for pair in range(2):
        for site in names:
            states = target_states[site]
            change = source_states[site] - states.detach()
            by_hand = float((states.grad[pair] * change[pair]).sum())
            assert np.isclose(ours[pair, site], by_hand, atol=1e-4, rtol=1e-3), (pair, site)
            largest = max(largest, abs(by_hand))
    assert largest > 0.05


def test_attribution_on_nano_ranks_cells(both_nano):
    prompts = pair_prompts(matched_pairs("happy", "sad", 3), "happy", "sad")
    p = pair_tokens(both_nano, prompts, 0.5)
    cells = all_cells(both_nano, 0.5, step_s=0.25)
    table = attribution_patching(both_nano, p, cells, progress=False)
    agreement = attribution_agreement(both_nano, p, table, 16, n_boot=100, progress=False)
    assert agreement.spearman.value >= 0.8


def test_half_precision_runs(tiny_folder, backend):
    model = load_model(tiny_folder, backend=backend, device="cpu", dtype="bfloat16")
    p = pair_tokens(model, Pairs(SOURCE[:2], TARGET[:2]), 0.1)
    arms = ("patch", "random")
    patched = activation_patching(model, p, ["text", "layer_1.mlp"], arms, progress=False)
    assert np.isfinite(whole(patched).restored).all()
    assert np.isfinite(attribution_patching(model, p, progress=False).attribution).all()
    assert np.isfinite(word_attention(model, p.tokens, p.source).attention).all()


def test_stereo_delays(tmp_path, backend):
    folder = write_random_model(tmp_path / "stereo", n_codebooks=8, channels=2)
    model = load_model(folder, backend=backend, device="cpu")
    p = pair_tokens(model, Pairs(SOURCE[:1], TARGET[:1]), 0.3)
    table = activation_patching(model, p, ["text", "layer_2"], "patch", progress=False)
    assert set(table.codebook) == {*map(str, range(8)), "all"}
    assert np.allclose(whole(table).restored, 1, atol=1e-3)


# free generation


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_free_generation(both_tiny, guidance):
    p = Pairs(SOURCE, TARGET)
    how = dict(duration_s=0.2, seeds=5, guidance=guidance, audio=False, progress=False)
    cells = ["text", "text_proj", "layer_0.cross_attn", "layer_2"]

    def clips_in_order(batch_size):
        clips = patched_generation(both_tiny, p, cells, batch_size=batch_size, **how)
        rows = clips.table.sort_values(["site", "arm", "pair"]).row.to_numpy()
        return clips, clips.made.tokens[rows]

    _, few_at_once = clips_in_order(3)
    clips, all_at_once = clips_in_order(64)
    assert (few_at_once == all_at_once).all()
    assert len(clips) == 3 * 6

    table, tokens = clips.table, clips.made.tokens
    source = tokens[table.arm == "source"]
    target = tokens[table.arm == "target"]
    for site in ("text", "text_proj"):
        assert (tokens[table.site == site] == source).all()
    assert (source == sample_tokens(both_tiny, SOURCE, 5, 10, guidance)).all()
    assert (target == sample_tokens(both_tiny, TARGET, 5, 10, guidance)).all()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("branch", ["cond", "both"])
def test_states_put_back_change_nothing(both_tiny, guidance, branch):
    sites = ["layer_1", "layer_2.self_attn"]
    clips = patched_generation(
        both_tiny,
        Pairs(SOURCE, TARGET),
        sites,
        duration_s=0.2,
        seeds=5,
        arm="noop",
        guidance=guidance,
        branch=branch,
        audio=False,
        progress=False,
    )
    table, tokens = clips.table, clips.made.tokens
    for site in sites:
        assert (tokens[table.site == site] == tokens[table.arm == "target"]).all()


def test_both_branches_of_the_last_layer_give_the_sources_clip(both_tiny):
    clips = patched_generation(
        both_tiny,
        Pairs(SOURCE, TARGET),
        ["layer_2"],
        0.2,
        1,
        branch="both",
        audio=False,
        progress=False,
    )
    table, tokens = clips.table, clips.made.tokens
    assert (tokens[table.site == "layer_2"] == tokens[table.arm == "source"]).all()


def test_states_of_the_patched_clips_own_music(both_tiny):
    "A greedy patched clip is what the target predicts over it with the source's states over it."
    site = "layer_1.cross_attn"
    clips = patched_generation(
        both_tiny,
        Pairs(SOURCE, TARGET),
        [site, "layer_0.self_attn", "layer_2"],
        0.2,
        1,
        guidance=1.0,
        temperature=0.0,
        batch_size=99,
        audio=False,
        progress=False,
    )
    table, tokens = clips.table, clips.made.tokens
    before_text = tokens[table.site == "layer_0.self_attn"]
    assert (before_text == tokens[table.arm == "target"]).all()
    assert (tokens[table.site == "layer_2"] == tokens[table.arm == "source"]).all()

    clip = tokens[table.site == site]
    with recorded(both_tiny, [site]) as states:
        next_token_logits(both_tiny, clip, SOURCE)
    with replaced(both_tiny, states):
        predicted = next_token_logits(both_tiny, clip, TARGET).argmax(-1).numpy()
    assert (predicted == clip).all()


def test_other_arm_and_sound(both_tiny):
    clips = patched_generation(
        both_tiny, Pairs(SOURCE, TARGET), ["text"], 2.0, 1, arm="other", progress=False
    )
    table, tokens = clips.table, clips.made.tokens
    assert set(table.arm) == {"source", "target", "other"}
    assert len(clips.made.audio) == 9
    differs = tokens[table.arm == "other"] != tokens[table.arm == "target"]
    assert differs.any((1, 2)).all()

    described = describe_patched(clips, progress=False)
    shares = sound_restored(described, ["rms_db", "centroid"], n_boot=50)
    assert len(shares) == 2
    assert shares.difference.notna().all()


# ablation and erasure


def test_ablation_arms(both_tiny, both_pairs):
    def layer_1(prompts, branches=("cond",)):
        return replay(both_tiny, both_pairs.tokens, prompts, ["layer_1"], branches)["layer_1"]

    reference = layer_1(both_pairs.source, ("cond", "null"))
    clean = layer_1(both_pairs.target).values

    def ablate(how, states=None):
        with ablated(both_tiny, "layer_1", how, states):
            cut = layer_1(both_pairs.target).values
        assert not np.allclose(cut, clean)
        return cut

    assert (ablate("zero") == 0).all()
    ablate("resample", reference)
    mean = reference.values[:, 0].reshape(-1, 32).mean(0)
    assert np.allclose(ablate("mean", reference), mean, atol=1e-4)
    erased = ablate(project_out(np.eye(32)[:2]))
    assert np.allclose(erased[..., :2], 0, atol=1e-5)
    assert np.allclose(erased[..., 2:], clean[..., 2:], atol=1e-5)

    too_short = reference.values[:, :, :5]
    with (
        pytest.raises(ValueError, match="timesteps"),
        ablated(both_tiny, "layer_1", "resample", too_short),
    ):
        layer_1(both_pairs.target)
    with (
        pytest.raises(ValueError, match="reference must be"),
        ablated(both_tiny, "layer_1", "mean", np.zeros(3)),
    ):
        pass


def test_ablating_the_null_branch_leaves_cond_alone(both_tiny):
    seen = {}

    def keep(states, now):
        for branch in ("cond", "null"):
            seen[branch] = states[now.rows(branch)].clone()

    with (
        ablated(both_tiny, "layer_1", "zero", branch="null"),
        hooked(both_tiny, {"layer_1": keep}),
    ):
        sample_tokens(both_tiny, SOURCE[:2], 0, 3)
    assert (seen["null"] == 0).all()
    assert (seen["cond"] != 0).any()


def test_an_eraser_that_erases_nothing_loses_nothing(both_tiny, both_pairs):
    sites = ["layer_0.cross_attn", "text", "layer_1"]
    how = dict(zero="zero", nothing=lambda states: states)
    table = ablation_effects(both_tiny, both_pairs, sites, how, progress=False)
    nothing = whole(table, readout="cond", how="nothing")
    assert np.allclose(nothing.lost, 0, atol=1e-3)
    assert np.allclose(nothing.kl_source, 0, atol=1e-4)
    assert (whole(table, readout="cond", how="zero").kl_source > 0).all()


def test_ablations_do_not_depend_on_the_batch(both_tiny, both_pairs):
    "One reference for all pairs, at text sites as at others."
    sites = ["text", "text_proj", "layer_1", "layer_2.mlp"]

    def ablate(batch_size):
        table = ablation_effects(
            both_tiny, both_pairs, sites, batch_size=batch_size, progress=False
        )
        return table.sort_values(["pair", "site", "how", "readout", "codebook"])

    together = ablate(3)
    n_pairs, n_ways, n_readouts, n_codebooks = 3, 3, 2, 4
    assert len(together) == n_pairs * len(sites) * n_ways * n_readouts * (n_codebooks + 1)
    for batch_size in (1, 2):
        table = ablate(batch_size)
        for metric in ("lost", "kl_source", "moved"):
            np.testing.assert_allclose(table[metric], together[metric], atol=2e-3)


def test_mean_ablation_puts_in_the_mean_of_both_runs_of_all_pairs(both_tiny, both_pairs):
    "At a decoder site over positions, at text sites over real tokens; padding counts nowhere."
    model = both_tiny
    vectors = {"text_proj": [], "layer_1": []}
    for prompts in (both_pairs.source, both_pairs.target):
        for pair, prompt in enumerate(prompts):
            n_tokens = int(model.encode_text([prompt]).mask.sum())
            with recorded(model, list(vectors)) as states:
                next_token_logits(model, both_pairs.tokens[[pair]], [prompt])
            vectors["text_proj"].append(states["text_proj"][0, :n_tokens])
            vectors["layer_1"].append(states["layer_1"][0])

    table = ablation_effects(
        model,
        both_pairs,
        ["text", "text_proj", "layer_1"],
        "mean",
        None,
        batch_size=2,
        progress=False,
    )
    lost = whole(table).set_index(["pair", "site"]).lost
    source, target = clean_logits(model, both_pairs)
    for site, parts in vectors.items():
        mean = torch.cat(parts).mean(0)
        for pair, prompt in enumerate(both_pairs.source):
            with replaced(model, {site: mean}):
                cut = next_token_logits(model, both_pairs.tokens[[pair]], [prompt])
            moved, gap = restored_difference(cut, source[[pair]], target[[pair]])
            by_hand = 1 - float(moved.sum() / gap.sum())
            assert np.isclose(lost[pair, site], by_hand, atol=2e-3), site
    for pair in range(3):
        assert np.isclose(lost[pair, "text"], lost[pair, "text_proj"], atol=2e-3)


def test_a_named_resample_takes_another_pairs_states(both_tiny, both_pairs):
    def ablate(how):
        sites = ["layer_1", "text"]
        return whole(ablation_effects(both_tiny, both_pairs, sites, how, None, progress=False))

    plain, named = ablate("resample"), ablate(dict(swap="resample"))
    assert np.allclose(plain.lost, named.lost)
    assert (named.kl_source > 1e-4).all()


def test_ablations_at_the_projected_text_act_there(both_tiny, both_pairs):
    "Zero after the projection is not zero before it, and an eraser is as wide as the decoder."
    drop = project_out(np.eye(both_tiny.config.d_model)[:3])
    how = dict(zero="zero", nothing=lambda states: states, drop=drop)
    table = ablation_effects(both_tiny, both_pairs, ["text_proj"], how, None, progress=False)
    lost = whole(table).set_index(["how", "pair"]).lost
    assert np.isfinite(lost).all()
    assert np.allclose(lost["nothing"], 0, atol=1e-3)
    assert (lost["drop"].abs() > 1e-5).any()

    with hooked(both_tiny, {"text_proj": lambda states, now: 0 * states}):
        cut = next_token_logits(both_tiny, both_pairs.tokens, both_pairs.source)
    source, target = clean_logits(both_tiny, both_pairs)
    moved, gap = restored_difference(cut, source, target)
    by_hand = 1 - moved.sum((1, 2)) / gap.sum((1, 2))
    assert np.allclose(lost["zero"], by_hand, atol=2e-3)


def test_what_cannot_stand_in_for_states_is_refused(both_tiny, both_pairs):
    def ablate(how, sites=("layer_1",)):
        ablation_effects(both_tiny, both_pairs, list(sites), how, progress=False)

    with pytest.raises(ValueError, match="NaN or infinite"):
        ablate(dict(nan=lambda states: states * np.nan))
    with pytest.raises(ValueError, match="NaN or infinite"):
        ablate(dict(infinite=dict(layer_1=lambda states: states + np.inf)))
    with pytest.raises(ValueError, match="must return states of shape"):
        ablate(dict(cut=lambda states: states[..., :2]), ["text"])
    with pytest.raises(KeyError, match="has nothing for the sites"):
        ablate(dict(cut=dict(layer_1="zero")), ["layer_1", "layer_2"])
    with pytest.raises(ValueError, match="how must be"):
        ablate(dict(cut=dict(layer_1="median")))

    width = both_tiny.config.d_model
    message = f"reference is {width + 1} wide, the states of this site are {width} wide"
    too_wide = np.zeros((2, width + 1))
    for how in ("mean", "resample"):
        with (
            pytest.raises(ValueError, match=message),
            ablated(both_tiny, "layer_1", how, too_wide),
        ):
            pass
    with (
        pytest.raises(ValueError, match="NaN or infinite"),
        ablated(both_tiny, "layer_1", lambda states: states / 0 * 0),
    ):
        sample_tokens(both_tiny, SOURCE[:1], 0, 2)
    assert n_hooks(both_tiny) == 0


def rows_with_classes(n_rows, width, n_classes, seed):
    "States with a class each, correlated over their coordinates."
    r = np.random.default_rng(seed)
    classes = r.integers(n_classes, size=n_rows)
    noise = r.normal(size=(n_rows, width)) @ r.normal(size=(width, width))
    means = r.normal(size=(n_classes, width))
    return noise + 3 * means[classes], classes


LEACE_CASES = [(300, 10, 2), (300, 10, 4), (30, 60, 3)]  # rows, width, classes


@pytest.mark.parametrize("n_rows, width, n_classes", LEACE_CASES)
def test_leace_guarantee(n_rows, width, n_classes):
    "No covariance with the concept is left, and a linear probe finds nothing but the class shares."
    from sklearn.linear_model import LogisticRegression

    states, classes = rows_with_classes(n_rows, width, n_classes, seed=n_classes)
    eraser = leace(states, classes)
    erased = eraser(states)
    largest = np.abs(states).max()
    one_hot = np.eye(n_classes)[classes]
    covariance = (one_hot - one_hot.mean(0)).T @ (erased - erased.mean(0)) / n_rows
    assert np.abs(covariance).max() < 1e-8 * largest
    assert np.allclose(eraser(erased), erased, atol=1e-6 * largest)
    assert eraser.rank == n_classes - 1

    scaled = (erased - erased.mean(0)) / states.std()
    probe = LogisticRegression(C=10, max_iter=5000, tol=1e-8).fit(scaled, classes)
    share = np.bincount(classes) / n_rows
    assert np.allclose(probe.predict_proba(scaled), share, atol=5e-3)
    assert np.isclose(probe.score(scaled, classes), share.max())


@pytest.mark.parametrize("n_rows, width, n_classes", LEACE_CASES[:2])
def test_leace_is_the_smallest_edit_that_leaves_no_covariance(n_rows, width, n_classes):
    """Every other affine edit with no covariance left moves the rows more.

    Adding a linear map of the erased rows keeps the covariance at zero and gives all such edits."""
    states, classes = rows_with_classes(n_rows, width, n_classes, seed=7)
    erased = leace(states, classes)(states)
    smallest = np.square(erased - states).sum()
    r = np.random.default_rng(0)
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(20):
            other = erased + size * (erased - erased.mean(0)) @ r.normal(size=(width, width))
            assert np.square(other - states).sum() > smallest


def test_leace_is_an_oblique_projection_in_whitened_space():
    "By hand for two classes: whiten, project the mean difference out, undo the whitening."
    states, classes = rows_with_classes(400, 6, 2, seed=1)
    mean = states.mean(0)
    _, sizes, axes = np.linalg.svd(states - mean, full_matrices=False)
    white = (states - mean) @ axes.T / sizes
    difference = white[classes == 1].mean(0) - white[classes == 0].mean(0)
    difference /= np.linalg.norm(difference)
    projected = white - np.outer(white @ difference, difference)
    by_hand = projected * sizes @ axes + mean
    assert np.allclose(leace(states, classes)(states), by_hand, atol=1e-6)


@pytest.mark.parametrize("n_rows, width, n_classes", LEACE_CASES[:2])
def test_leace_agrees_with_the_package_of_its_authors(n_rows, width, n_classes):
    "`concept-erasure`, without its shrinkage and trace constraint, which change the edit."
    concept_erasure = pytest.importorskip(
        "concept_erasure", reason="concept-erasure is not installed (`make env` installs it)"
    )
    states, classes = rows_with_classes(n_rows, width, n_classes, seed=3)
    one_hot = torch.eye(n_classes, dtype=torch.float64)[classes]
    theirs = concept_erasure.LeaceEraser.fit(
        torch.as_tensor(states),
        one_hot,
        shrinkage=False,
        constrain_cov_trace=False,
        svd_tol=1e-6,
    )
    fresh, _ = rows_with_classes(50, width, n_classes, seed=4)
    for rows in (states, fresh):
        expected = theirs(torch.as_tensor(rows)).numpy()
        assert np.allclose(leace(states, classes)(rows), expected, atol=1e-6 * np.abs(rows).max())


def test_inlp_removes_more_and_more():
    r = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], 60)
    means = r.normal(size=(3, 12))
    states = r.normal(size=(180, 12)) + 2 * means[classes]
    ranks = [inlp(states, classes, n_iter).rank for n_iter in (1, 2, 3)]
    assert ranks == sorted(ranks)
    assert ranks[0] <= 3
    basis = inlp(states, classes).right
    assert np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-8)


def test_project_out_takes_directions_of_any_kind():
    class Direction:
        vector = np.array([0.0, 2.0, 0.0])

    direction, vector = Direction(), Direction.vector
    x = np.arange(6.0).reshape(2, 3)
    for given in (direction, [direction, vector], vector, vector[None]):
        eraser = project_out(given)
        assert isinstance(eraser, Eraser)
        assert np.allclose(eraser(x)[:, 1], 0)
    assert np.allclose(project_out(direction, mean=np.ones(3))(x)[:, 1], 1)


# causal reliability


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_reliability_stays_in_range_and_noop_scores_nothing(n_classes):
    r = np.random.default_rng(n_classes)
    after, before = (r.dirichlet(np.full(n_classes, 0.3), 500) for _ in range(2))
    complete, selective = completeness(after), selectivity(after, before)
    scores = [
        complete,
        completeness(after, r.integers(n_classes, size=500)),
        selective,
        harmonic_reliability(complete, selective),
    ]
    for score in scores:
        assert score.min() >= -1e-9
        assert score.max() <= 1 + 1e-9

    farthest = np.eye(n_classes)[before.argmin(1)]
    is_farthest = before.max(1) < 1 - before.min(1)
    assert np.allclose(selectivity(farthest, before)[is_farthest], 0)

    sure = np.eye(n_classes)[r.integers(n_classes, size=50)]
    for target in (None, (sure.argmax(1) + 1) % n_classes):
        noop = harmonic_reliability(completeness(sure, target), selectivity(sure, sure))
        assert np.allclose(noop, 0)


def test_total_variation_of_opposite_predictions_is_one():
    assert np.allclose(total_variation(np.eye(2), 1 - np.eye(2)), 1)


@pytest.mark.parametrize("family", ["mlp", "knn", "rbf"])
def test_oracles_of_all_families(family):
    r = np.random.default_rng(0)
    labels = np.tile(["a", "b", "c"], 40)
    states = r.normal(size=(120, 10)) + 3 * np.eye(10)[np.tile([0, 1, 2], 40)]
    noise = r.normal(size=(120, 10))
    good = fit_oracle(states, labels, family)
    bad = fit_oracle(noise, labels, family, groups=np.arange(120) // 3)
    assert good.decodes
    assert not bad.decodes
    assert np.allclose(good(states[:5] + 1e-3).sum(1), 1)
    with pytest.raises(ValueError, match="one class"):
        fit_oracle(states, np.repeat("a", 120), family)


def test_reliability_is_averaged_after_the_harmonic_mean():
    complete, selective = [1.0, 0.0], [0.0, 1.0]
    assert harmonic_reliability(complete, selective).mean() == 0
    assert harmonic_reliability([0, 0], [0, 0]).tolist() == [0, 0]


def two_properties(n_rows, seed, size=4.0, noise=1.0):
    "States with a property on the first axis (`size` apart) and another on the second."
    r = np.random.default_rng(seed)
    first, second = r.integers(2, size=(2, n_rows))
    states = noise * r.normal(size=(n_rows, 8))
    states[:, 0] += size * (first - 0.5)
    states[:, 1] += 4 * (second - 0.5)
    return states, first, second


def flip_first(states):
    return states * np.r_[-1, np.ones(7)]


def flip_both(states):
    return states * np.r_[-1, -1, np.ones(6)]


@pytest.fixture(scope="module")
def oracles():
    states, first, second = two_properties(300, seed=2)
    return fit_oracle(states, first), dict(second=fit_oracle(states, second))


def test_planted_directions_score_as_they_should():
    "A clean swap is reliable, one that drags the other property along is not selective."
    train, first, second = two_properties(300, seed=2, noise=0.3)
    oracle, controls = fit_oracle(train, first), dict(second=fit_oracle(train, second))
    states, labels, _ = two_properties(200, seed=1, noise=0.3)

    def score(edits):
        return causal_reliability(
            edits, states, labels, oracle, controls, target=1 - labels, n_boot=100
        )

    table = score(dict(clean=flip_first, dirty=flip_both))
    by_way = table.pivot_table(index="intervention", columns="measure", values="value")
    assert by_way.reliability["clean"] > 0.9
    assert by_way.completeness["dirty"] > 0.9
    assert by_way.reliability["dirty"] < 0.2
    assert by_way.reliability["no-op"] < 0.05
    assert by_way.reliability["random"] < by_way.reliability["clean"]
    pd.testing.assert_frame_equal(table, score(dict(clean=flip_first, dirty=flip_both)))

    with pytest.raises(ValueError, match="NaN"):
        score(dict(bad=lambda x: x * np.nan))
    with pytest.raises(ValueError, match="trained on"):
        causal_reliability(
            dict(clean=flip_first),
            np.vstack([states, train[:1]]),
            np.r_[labels, first[:1]],
            oracle,
            controls,
            target=1,
        )


def test_an_oracle_that_fails_on_the_judged_rows_judges_nothing(oracles):
    "Cross-validation on its own rows passes; accuracy on the rows to be judged does not."
    oracle, controls = oracles
    assert oracle.decodes

    def judge(size, seed, **options):
        states, labels, _ = two_properties(200, seed, size)
        options |= dict(n_boot=100)
        table = causal_reliability(
            dict(flip=flip_first), states, labels, oracle, controls, 1 - labels, **options
        )
        return table, (oracle(states).argmax(1) == labels).mean()

    good, accuracy = judge(size=4.0, seed=1)
    assert good.value.notna().all()
    assert np.allclose(good.judged, accuracy, atol=0.03)
    assert (good.judged_low < good.judged).all()

    bad, _ = judge(size=0.0, seed=3)
    assert bad.value.isna().all()
    assert bad.margin.isna().all()
    assert bad.reason.str.contains("on the rows to be judged").all()
    assert abs(bad.judged[0] - 0.5) < 0.15
    anyway, _ = judge(size=0.0, seed=3, strict=False)
    assert anyway.value.notna().all() and (anyway.reason == bad.reason).all()
    pd.testing.assert_frame_equal(without_unread(anyway), bad)
    pd.testing.assert_frame_equal(without_unread(good), good)


def test_reliability_floor_is_a_mean_over_directions_and_the_margin_is_paired(oracles):
    oracle, controls = oracles
    states, labels, _ = two_properties(120, seed=1)

    def score(n_random, seed=0):
        table = causal_reliability(
            dict(flip=flip_first),
            states,
            labels,
            oracle,
            controls,
            1 - labels,
            n_boot=200,
            seed=seed,
            n_random=n_random,
        )
        return table.set_index(["intervention", "measure"])

    def floor_spread(n_random):
        floors = [score(n_random, seed).value["random", "reliability"] for seed in range(8)]
        return np.std(floors)

    assert floor_spread(10) < 0.6 * floor_spread(1)
    table = score(10)
    row = table.loc[("flip", "reliability")]
    floors = [table.value[name, "reliability"] for name in ("no-op", "random")]
    assert np.isclose(row.margin, row.value - max(floors))
    assert row.margin_low < row.margin < row.margin_high
    assert table.margin.notna().sum() == 1
    with pytest.raises(ValueError, match="n_random must be a whole number"):
        score(0)


# mediation and verdict


def test_mediation_by_hand():
    """The two-equation example of the textbooks, with normal equations that fit on paper.

    Treatment t, mediator m, outcome y = 1 t + 3 m + e, where e is orthogonal to 1, t and m:
      t = 0, 0, 1, 1;  m = 0, 2, 2, 4;  e = 1, -1, -1, 1;  y = 1, 5, 6, 14.
    a: m rises from a mean of 1 to 3, so a = 2. b and c': e is orthogonal, so b = 3 and c' = 1.
    c: y rises from a mean of 3 to 10, so c = 7 = c' + a b. The share is 6 / 7."""
    table = pd.DataFrame(dict(t=[0, 0, 1, 1], m=[0, 2, 2, 4], y=[1, 5, 6, 14]))
    effects = mediate(table, "t", ["m"], "y", n_boot=1).set_index(["effect", "mediator", "how"])
    for how in ("joint", "single"):
        row = effects.loc[("indirect", "m", how)]
        assert np.isclose(row.value, 6, atol=1e-6)
        assert np.isclose(row.share, 6 / 7, atol=1e-6)
    assert np.isclose(effects.value["total", "", "joint"], 7, atol=1e-6)
    assert np.isclose(effects.value["direct", "", "joint"], 1, atol=1e-6)
    assert np.isclose(effects.value["indirect", "", "joint"], 6, atol=1e-6)


def test_mediation_is_ordinary_least_squares():
    import statsmodels.formula.api as smf

    r = np.random.default_rng(0)
    t = np.repeat([0.0, 1.0], 60)
    a = t + r.normal(size=120)
    b = 100 * (2 * t + r.normal(size=120))
    age = r.normal(size=120)
    y = 0.5 * a + 0.01 * b + 0.3 * t + age + r.normal(size=120)
    table = pd.DataFrame(dict(t=t, a=a, b=b, age=age, y=y))

    def fitted(formula):
        return smf.ols(formula, table).fit().params

    effects = mediate(table, "t", ["a", "b"], "y", covariates=["age"], n_boot=50)
    ours = effects.set_index(["effect", "mediator", "how"]).value
    full = fitted("y ~ t + a + b + age")
    assert np.isclose(ours["total", "", "joint"], fitted("y ~ t + age")["t"], atol=1e-5)
    assert np.isclose(ours["direct", "", "joint"], full["t"], atol=1e-5)
    for mediator in "ab":
        path = fitted(f"{mediator} ~ t + age")["t"]
        alone = fitted(f"y ~ t + {mediator} + age")[mediator]
        assert np.isclose(ours["indirect", mediator, "joint"], path * full[mediator], atol=1e-5)
        assert np.isclose(ours["indirect", mediator, "single"], path * alone, atol=1e-5)


def test_mediation_intervals_cover():
    hits = 0
    for seed in range(40):
        r = np.random.default_rng(seed)
        t = np.repeat([0.0, 1.0], 50)
        m = t + r.normal(size=100)
        table = pd.DataFrame(dict(t=t, m=m, y=m + r.normal(size=100)))
        effects = mediate(table, "t", ["m"], "y", n_boot=300, seed=seed)
        indirect = effects[effects.effect == "indirect"].iloc[0]
        hits += indirect.low <= 1 <= indirect.high
    assert hits >= 34


def evidence(**changes):
    "One row of evidence that passes its bar, with changes."
    row = dict(site="s", question="used", measure="m", value=0.5, low=0.4, high=0.6, bar=0.3)
    return row | dict(direction=">", reason="") | changes


def answer(*rows):
    return verdict_table(pd.DataFrame(rows), ["used"]).answer.item()


MISSING = dict(value=np.nan, low=np.nan, high=np.nan)


@pytest.mark.parametrize(
    "changes, expected",
    [
        (dict(), "yes"),
        (dict(direction="<"), "no"),
        (dict(bar=0.5), "unclear"),
        (dict(direction="<", bar=0.7), "yes"),
        (MISSING, "not measured"),
    ],
)
def test_one_measure_decides(changes, expected):
    assert answer(evidence(**changes)) == expected


def test_several_measures_decide_together():
    assert answer(evidence(), evidence(bar=0.9)) == "no"
    assert answer(evidence(), evidence(bar=0.5)) == "unclear"
    row = evidence(**MISSING, reason="the oracle cannot decode")
    verdicts = verdict_table(pd.DataFrame([row]), ["used", "necessary"])
    assert "cannot decode" in verdicts.rule[0]
    assert verdicts.answer[1] == "not measured"


def test_evidence_that_cannot_be_decided_is_refused():
    with pytest.raises(ValueError, match="direction"):
        answer(evidence(direction="="))
    with pytest.raises(ValueError, match="empty"):
        verdict_table(pd.DataFrame([evidence()])[:0])


# attention


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_self_attention_is_causal_and_cross_attention_skips_padding(both_tiny, both_pairs, kind):
    batches = attention_pass(
        both_tiny,
        both_pairs.tokens,
        both_pairs.source,
        lambda weights, mask: (weights.clone(), mask),
        kind,
        batch_size=2,
    )
    for _, by_layer in batches:
        for weights, mask in by_layer.values():
            assert torch.allclose(weights.sum(-1), torch.ones(weights.shape[:-1]), atol=1e-5)
            if kind == "self":
                assert weights.triu(1).abs().max() == 0
            else:
                is_padding = mask[:, None, None] == 0
                assert (weights * is_padding).abs().max() < 1e-6


def test_attention_keeps_one_layer_at_a_time(both_tiny, both_pairs):
    references = []

    def reduce(weights, mask):
        assert sum(reference() is not None for reference in references) <= 1
        references.append(weakref.ref(weights))
        return weights.mean((2, 3))

    attention_pass(both_tiny, both_pairs.tokens, both_pairs.source, reduce, "self", batch_size=1)
    n_layers, n_pairs = 3, 3
    assert len(references) == n_layers * n_pairs


def test_spans_do_not_depend_on_the_batch(both_tiny, both_pairs):
    one, three = (
        attention_span(both_tiny, both_pairs.tokens, both_pairs.source, batch_size=batch_size)
        for batch_size in (1, 3)
    )
    pd.testing.assert_frame_equal(one, three, atol=1e-4)
    assert (one.span_s >= 0).all()
    assert one.span_s.max() <= 0.4


def test_words_sum_to_one_whatever_the_prompt(both_tiny, both_pairs):
    odd = ["don't stop, it's a happy-sad song!", "música alegre", "a"]
    table = word_attention(both_tiny, both_pairs.tokens, odd, step_s=0.1)
    sums = table.groupby(["clip", "layer", "head", "start"]).attention.sum()
    assert np.allclose(sums, 1, atol=1e-4)
    assert table[table["clip"] == 2].word.unique().tolist() == ["a", ""]


def test_roles_of_words_over_time(both_tiny, both_pairs):
    "Clips with other prompts share a table; a role that a clip lacks does not count there."
    words = word_attention(both_tiny, both_pairs.tokens, SOURCE, step_s=0.1)
    roles = [
        dict(happy="emotion word", piano="instrument"),
        dict(cheerful="emotion word", flute="instrument", strings="instrument"),
        dict(merry="emotion word"),
    ]
    table = role_attention(words, roles, 50)
    n_clips = table.groupby("role").n.first().to_dict()
    assert n_clips == {"emotion word": 3, "instrument": 2, "no word": 3, "other word": 3}
    assert (table.low <= table.per_token + 1e-9).all()

    def cell(rows):
        return rows[(rows.layer == 1) & (rows["head"] == 2) & (rows.start == 0.2)]

    per_token = []
    for clip, role_of in enumerate(roles[:2]):
        instruments = [word for word, role in role_of.items() if role == "instrument"]
        mine = cell(words[words["clip"] == clip])
        mine = mine[mine.word.str.lower().isin(instruments)]
        per_token.append(mine.attention.sum() / mine.n_tokens.sum())
    ours = cell(table[table.role == "instrument"]).per_token.item()
    assert np.isclose(ours, np.mean(per_token), atol=1e-6)
    with pytest.raises(ValueError, match="one mapping per clip"):
        role_attention(words, roles[:2])


def test_planted_attention_is_found_and_noise_is_not():
    "The max-T test over heads holds its level: on noise it finds something once in 20 tables."
    r = np.random.default_rng(0)
    emotions = np.tile(["happy", "sad"], 8)

    def noise_table():
        rows = []
        for clip in range(16):
            for layer in range(2):
                for head in range(3):
                    span = r.normal()
                    rows.append((clip, f"p{clip}", layer, head, span))
        return pd.DataFrame(rows, columns=["clip", "prompt", "layer", "head", "span_s"])

    hits = 0
    for seed in range(40):
        noise = noise_table()
        hits += span_test(noise, emotions, n_perm=199, seed=seed).p.min() <= 0.05
    assert hits <= 6

    planted = (noise.layer == 1) & (noise["head"] == 2) & (noise["clip"] % 2 == 0)
    found = span_test(noise.assign(span_s=noise.span_s + 4 * planted), emotions, n_perm=199)
    assert found.set_index(["layer", "head"]).p.idxmin() == (1, 2)


def test_emotion_word_test_needs_its_words(both_tiny, both_pairs):
    words = ["happy", "cheerful", "merry"]
    count = piece_counter(both_tiny.tokenizer)
    as_long = {}
    for word in words:
        letters = next(n for n in range(1, 40) if count("x" * n) == count(word))
        as_long[word] = "x" * letters
    texts = [text.replace(word, as_long[word]) for text, word in zip(SOURCE, words)]
    partners = [as_long[word] for word in words]
    tokens = both_pairs.tokens
    with pytest.raises(ValueError, match="as many of each"):
        emotion_word_test(both_tiny, tokens, SOURCE, ["happy"], texts, partners)
    with pytest.raises(ValueError, match="take partners from match_pieces"):
        emotion_word_test(both_tiny, tokens, SOURCE, words, TARGET, ["sad", "gloomy", "mournful"])
    table = emotion_word_test(both_tiny, tokens, SOURCE, words, texts, partners, n_perm=100)
    n_layers, n_heads = 3, 4
    assert len(table) == n_layers * n_heads
    assert (table.p >= 1 / 101).all()
    assert (table.n == len(set(partners))).all()


def test_words_that_share_a_partner_are_one_unit():
    units = shared_partners(["a", "b", "c", "d"], ["x", "x", "y", "z"])
    assert units.tolist() == [0, 0, 1, 2]
    assert len(set(shared_partners(["a", "b", "b"], ["x", "x", "y"]))) == 1
    with pytest.raises(ValueError, match="as many partners as words"):
        shared_partners(["a", "b"], ["x"])


def test_partners_that_are_used_again_make_no_finding_of_chance():
    "Sixty words against sixteen partners, no difference: words as units find one too often."
    draw = np.random.default_rng(0)
    as_words, as_units = 0, 0
    partners = np.arange(60) % 16
    for _ in range(200):
        differences = draw.normal(size=(60, 1)) * 0.5 + draw.normal(size=16)[partners, None]
        units = shared_partners(np.arange(60), partners)
        by_unit = pd.DataFrame(differences).groupby(units).mean().to_numpy()
        assert len(by_unit) == 16
        as_words += ttest_1samp(differences[:, 0], 0).pvalue < 0.05
        as_units += ttest_1samp(by_unit[:, 0], 0).pvalue < 0.05
    assert as_words > 40 and as_units < 20


# the same on either backend


def test_windowed_text_patching_does_not_depend_on_the_backend(tiny, both_tiny, pairs):
    cells = all_cells(both_tiny, 0.4, ("text", "cross_attn", "resid"), layers=[1], step_s=0.2)

    def patch(model):
        table = activation_patching(model, pairs, cells, "patch", None, progress=False)
        return whole(table).sort_values(["pair", "site", "start"])[["moved", "gap"]]

    one, two = patch(tiny), patch(both_tiny)
    assert np.abs(one).max().min() > 1e-3
    np.testing.assert_allclose(one, two, atol=2e-3)


def test_attribution_does_not_depend_on_the_backend(tiny, both_tiny, pairs):
    cells = all_cells(both_tiny, 0.4, ("cross_attn", "resid"), layers=[1], step_s=0.2)

    def attribute(model):
        table = attribution_patching(model, pairs, cells, progress=False)
        return table.sort_values(["pair", "site", "start"]).attribution

    one, two = attribute(tiny), attribute(both_tiny)
    assert np.abs(one).max() > 1e-3
    np.testing.assert_allclose(one, two, atol=2e-3)


def test_free_generation_under_a_patch_on_either_backend(tiny, both_tiny):
    def generate(model):
        return patched_generation(
            model,
            Pairs(SOURCE, TARGET),
            ["text", "layer_0.cross_attn", "layer_2"],
            duration_s=0.2,
            seeds=5,
            branch="both",
            audio=False,
            progress=False,
        )

    ours, theirs = generate(both_tiny), generate(tiny)
    table, tokens = ours.table, ours.made.tokens
    assert (tokens == theirs.made.tokens).all()
    assert table.equals(theirs.table)
    for site in ("text", "layer_2"):
        assert (tokens[table.site == site] == tokens[table.arm == "source"]).all()
    plain = sample_tokens(both_tiny, TARGET, 5, 10)
    assert (tokens[table.arm == "target"] == plain).all()
    assert n_hooks(both_tiny) == 0
