"""Patching, attribution, erasure, reliability, mediation and attention: what the lessons do not say."""

import inspect

import numpy as np
import pandas as pd
import pytest
import torch

from musicgen_emotion.activations.hooks import _n_hooks as n_hooks
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
)
from musicgen_emotion.causes.verdicts import verdict_table
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.models.shapes import delay_tokens
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.probes.attention import (
    attention_pass,
    attention_span,
    emotion_word_test,
    role_attention,
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


def whole(table, **kw):
    for k, v in kw.items():
        table = table[table[k] == v]
    return table[table.codebook == "all"]


# one pass


def test_logits_agree_with_the_likelihood_of_extraction(both_tiny, both_pairs):
    for prompts, branch in ((both_pairs.target, "cond"), (None, "null")):
        logits = next_token_logits(both_tiny, both_pairs.tokens, prompts)
        want = torch.as_tensor(both_pairs.tokens.astype(np.int64))
        nll = (
            torch.nn.functional.cross_entropy(logits.permute(0, 3, 1, 2), want, reduction="none")
            .mean(-1)
            .numpy()
        )
        ours = token_nll(both_tiny, both_pairs.tokens, prompts, branch).sel(branch=branch).values
        assert np.allclose(nll, ours, atol=1e-3)


def test_contrast_is_blind_to_constants_and_never_negative():
    g = torch.Generator().manual_seed(0)
    s, t, p = (3 * torch.randn(4, 5, 40, generator=g) for _ in range(3))
    w, gap = contrast(s, t)
    assert (gap >= 0).all() and torch.allclose(w.sum(-1), torch.zeros(4, 5), atol=1e-5)
    assert torch.allclose(
        restored_difference(p + 7, s, t)[0], restored_difference(p, s, t)[0], atol=1e-3
    )
    assert (kl(s, t) >= 0).all() and torch.allclose(kl(s, s + 2), torch.zeros(4, 5), atol=1e-5)


def test_windows_tile_the_positions(both_tiny):
    for duration, step in ((1.0, 0.3), (0.4, 0.4), (2.02, 0.25)):
        n = both_tiny.config.frames(duration)
        spans = [window_positions(w, n, both_tiny.config) for w in time_windows(duration, step)]
        assert [i for s in spans for i in range(s.start, s.stop)] == list(
            range(both_tiny.config.positions(n))
        )


# activation patching


def test_what_must_be_zero_and_one(both_tiny, both_pairs):
    table = activation_patching(
        both_tiny,
        both_pairs,
        ["text", "text_proj", "layer_0", "layer_1.mlp", "layer_2", "embed"],
        PATCH_ARMS,
        progress=False,
    )
    for readout in ("cond", "guided"):
        t = whole(table, readout=readout)
        for s in ("text", "text_proj", "layer_2"):
            assert np.allclose(t[(t.site == s) & (t.arm == "patch")].restored, 1, atol=1e-3)
        assert np.allclose(t[t.arm == "noop"].restored, 0, atol=1e-3) and np.allclose(
            t[t.arm == "noop"].kl_target, 0, atol=1e-4
        )
        assert np.allclose(t[(t.site == "embed") & (t.arm == "patch")].restored, 0, atol=1e-3)
    assert n_hooks(both_tiny) == 0


def test_all_blocks_of_a_layer_together_are_its_residual_stream(both_tiny, both_pairs):
    "Patching attention, cross-attention and MLP of all layers at once is the same as patching the last residual stream."
    sites = [f"layer_{i}.{k}" for i in range(3) for k in ("self_attn", "cross_attn", "mlp")]
    seen = {}
    with (
        torch.no_grad(),
        hooked(
            both_tiny,
            {s: (lambda x, now: seen.__setitem__(now.site.name, x.clone())) for s in sites},
        ),
    ):
        source = next_token_logits(both_tiny, both_pairs.tokens, both_pairs.source)
    with hooked(both_tiny, {s: (lambda x, now: seen[now.site.name]) for s in sites}):
        patched = next_token_logits(both_tiny, both_pairs.tokens, both_pairs.target)
    assert torch.allclose(source, patched, atol=1e-3)


def test_numbers_do_not_depend_on_the_batch(both_tiny, both_pairs):
    cells = all_cells(both_tiny, 0.4, ("text", "cross_attn"), layers=[1], step_s=0.2)
    one, many = (
        activation_patching(
            both_tiny, both_pairs, cells, PATCH_ARMS, batch_size=n, seed=3, progress=False
        )
        for n in (1, 3)
    )
    keys = ["pair", "site", "start", "arm", "readout", "codebook"]
    both = one.merge(many, on=keys, validate="one_to_one")
    assert len(both) == len(one) == 3 * len(cells) * 4 * 2 * 5
    for c in ("moved", "gap", "kl_source", "kl_target"):
        assert np.allclose(both[f"{c}_x"], both[f"{c}_y"], atol=2e-3)


def test_windowed_text_is_what_stepwise_switching_gives(both_tiny, both_pairs):
    "Positions of the window read the source's text, the rest the target's; earlier frames cannot know."
    one = both_pairs[[0]]
    ids, cells = (
        delay_tokens(one.tokens, both_tiny.config),
        all_cells(both_tiny, 0.4, ("text",), step_s=0.2),
    )
    s, t = (both_tiny.begin(both_tiny.encode_text(p), null=False) for p in (one.source, one.target))
    from musicgen_emotion.models.shapes import frame_logits

    cache, logits = t.cache, []
    for p in range(ids.shape[-1]):
        state = both_tiny.switch_text(s if p >= 10 else t, cache)
        logits.append(both_tiny.step(state, ids[..., p : p + 1]))
        cache = state.cache
    by_hand = frame_logits(torch.stack(logits, 2), both_tiny.config, 20)
    source, target = (next_token_logits(both_tiny, one.tokens, p) for p in (one.source, one.target))
    moved, gap = restored_difference(by_hand, source, target)
    ours = whole(
        activation_patching(
            both_tiny, one, cells[cells.start == 0.2], "patch", None, progress=False
        )
    )
    assert np.isclose(ours.restored.item(), float(moved.sum() / gap.sum()), atol=1e-3)
    assert torch.allclose(by_hand[:, 0, :10], target[:, 0, :10], atol=1e-3)


def test_window_readout_counts_the_window_only(both_tiny, both_pairs):
    cells = all_cells(both_tiny, 0.4, ("resid",), layers=[2], step_s=0.2)
    t = whole(
        activation_patching(
            both_tiny, both_pairs, cells, "patch", None, at="window", progress=False
        )
    )
    clip = whole(activation_patching(both_tiny, both_pairs, cells, "patch", None, progress=False))
    assert (t.gap < clip.gap).all() and t[t.start == 0.2].restored.mean() > clip[
        clip.start == 0.2
    ].restored.mean()


def test_an_error_leaves_nothing_behind(both_tiny, both_pairs):
    bad = Pairs(both_pairs.source, both_pairs.target, both_pairs.tokens + 5000)
    with pytest.raises(ValueError, match="tokens must lie"):
        activation_patching(both_tiny, bad, ["layer_0"], progress=False)
    with pytest.raises(RuntimeError), ablated(both_tiny, "layer_0", "zero"):
        raise RuntimeError
    with pytest.raises(ZeroDivisionError):
        attention_pass(both_tiny, both_pairs.tokens, both_pairs.source, lambda w, m: 1 / 0)
    assert n_hooks(both_tiny) == 0 and (
        both_tiny.backend != "transformers"
        or both_tiny.hf.decoder.config._attn_implementation == "sdpa"
    )
    assert not any(
        p.requires_grad for s in both_tiny.sites for p in both_tiny.module(s).parameters()
    )


def test_random_floor_is_the_mean_over_its_draws(both_tiny, both_pairs):
    "Every further draw is a new one, all of a pair are averaged, and the floor is steadier for it; the other arms are run once."

    def floor(n, seed=0):
        return whole(
            activation_patching(
                both_tiny,
                both_pairs,
                ["text", "layer_1"],
                ("patch", "random"),
                None,
                seed=seed,
                n_random=n,
                progress=False,
            )
        )

    one, two = floor(1), floor(2)
    second = 2 * two.moved - one.moved
    assert (
        np.allclose(one[one.arm == "patch"].moved, two[two.arm == "patch"].moved)
        and (np.abs(second - one.moved)[one.arm == "random"] > 1e-4).all()
    )
    spread = {
        n: np.std(
            [
                floor(n, s).query("arm == 'random'").groupby("site", sort=False).restored.mean()
                for s in range(6)
            ],
            0,
        )
        for n in (1, 8)
    }
    assert (spread[8] < 0.8 * spread[1]).all(), spread
    for n in (0, 1.5):
        with pytest.raises(ValueError, match="n_random must be a whole number"):
            floor(n)


def test_batch_sizes_are_whole_numbers(tiny, pairs):
    for f in (
        lambda n: activation_patching(tiny, pairs, ["text"], batch_size=n),
        lambda n: attribution_patching(tiny, pairs, batch_size=n),
        lambda n: ablation_effects(tiny, pairs, ["text"], batch_size=n),
        lambda n: patched_generation(tiny, pairs, ["text"], 0.2, batch_size=n),
        lambda n: attention_pass(tiny, pairs.tokens, pairs.source, None, batch_size=n),
    ):
        for n in (0.5, 0, -1, True):
            with pytest.raises(
                TypeError if n is True else ValueError,
                match="batch_size must be a whole number >= 1; got",
            ):
                f(n)


def test_summary_bootstraps_pairs_and_divides_sums():
    t = pd.DataFrame(dict(pair=[0, 1, 2], site="x", moved=[1.0, 0.0, 30.0], gap=[1.0, 1.0, 100.0]))
    row = patching_summary(t, by=["site"]).iloc[0]
    assert np.isclose(row.value, 31 / 102) and row.low <= row.value <= row.high and row.n == 3
    with pytest.raises(ValueError, match="NaN"):
        patching_summary(t.assign(moved=np.nan), by=["site"])


# attribution


def test_attribution_is_the_derivative_of_patching(both_tiny, both_pairs):
    "Push a cell a little way towards the source and compare with the linear prediction."
    cells, eps = all_cells(both_tiny, 0.4, ("cross_attn", "resid"), layers=[0, 2], step_s=0.2), 1e-2
    table = attribution_patching(both_tiny, both_pairs, cells, progress=False)
    source, target = (
        next_token_logits(both_tiny, both_pairs.tokens, p)
        for p in (both_pairs.source, both_pairs.target)
    )
    w, gap = contrast(source, target)
    for c in cells.itertuples():
        span, seen = window_positions((c.start, c.end), 20, both_tiny.config), {}
        with hooked(both_tiny, {c.site: lambda x, now: seen.__setitem__("s", x.clone())}):
            next_token_logits(both_tiny, both_pairs.tokens, both_pairs.source)
        ends = []
        for e in (eps, -eps):

            def push(x, now):
                x = x.clone()
                x[:, span] += e * (seen["s"][:, span] - x[:, span])
                return x

            with hooked(both_tiny, {c.site: push}):
                ends.append(next_token_logits(both_tiny, both_pairs.tokens, both_pairs.target))
        slope = (w * (ends[0] - ends[1])).sum((1, 2, 3)) / (2 * eps) / gap.sum((1, 2))
        mine = (
            table[(table.site == c.site) & (table.start == c.start)]
            .sort_values("pair")
            .attribution.to_numpy()
        )
        assert np.allclose(slope.numpy(), mine, atol=0.02, rtol=0.05), c


def test_attribution_and_patching_agree_where_all_is_linear(both_tiny, both_pairs):
    "The guided readout scales weights and logits alike; the batch does not matter."
    cells = all_cells(both_tiny, 0.4, ("mlp",), step_s=0.2)
    a, b = (
        attribution_patching(
            both_tiny, both_pairs, cells, "guided", batch_size=n, progress=False
        ).sort_values(["pair", "site", "start"])
        for n in (1, 2)
    )
    assert np.allclose(a.attribution, b.attribution, atol=1e-4)
    got = attribution_agreement(both_tiny, both_pairs, a, 5, "guided", n_boot=50, progress=False)
    assert got.spearman.n == 5 and got.spearman.low <= got.spearman.high and len(got.table) == 5


@pytest.mark.parametrize("readout,passes", [("cond", 2), ("guided", 3)])
def test_attribution_counts_two_forward_passes_and_one_backward(
    both_tiny, both_pairs, readout, passes
):
    "One run of each prompt for all cells, and the null rows where guidance needs them."
    run, module = [], both_tiny.module("layer_0")
    hooks = [
        module.register_forward_hook(lambda *_: run.append("forward")),
        module.register_full_backward_hook(lambda *_: run.append("backward")),
    ]
    attribution_patching(
        both_tiny, both_pairs, all_cells(both_tiny, 0.4, step_s=0.1), readout, progress=False
    )
    for h in hooks:
        h.remove()
    assert (run.count("forward"), run.count("backward")) == (passes, 1)


@pytest.mark.parametrize("readout", ["cond", "guided"])
def test_attribution_is_gradient_times_difference(both_tiny, both_pairs, readout):
    "The same from three separate runs: both prompts without gradients for the weights, and the target once more with them."
    p = Pairs(
        ["a happy piano piece", "a merry organ track"],
        ["a sunny piano piece", "a bleak organ track"],
        both_pairs.tokens[:2],
    )
    names, ids, seen, n = (
        ["layer_0.mlp", "layer_1", "layer_2.cross_attn"],
        delay_tokens(p.tokens, both_tiny.config),
        {},
        20,
    )
    with hooked(
        both_tiny, {s: lambda x, now: seen.__setitem__(now.site.name, x.clone()) for s in names}
    ):
        source = next_token_logits(both_tiny, p.tokens, p.source)
    target, null = (next_token_logits(both_tiny, p.tokens, q) for q in (p.target, None))
    g = 3.0 if readout == "guided" else 1.0
    w, gap = contrast(*(null + g * (x - null) for x in (source, target)))
    acts, state = {}, both_tiny.begin(both_tiny.encode_text(p.target), null=False, cache=False)
    state.states = acts["text"] = state.states.detach().requires_grad_()

    def keep(x, now):
        x.retain_grad()
        acts[now.site.name] = x

    from musicgen_emotion.models.shapes import frame_logits

    with torch.enable_grad(), hooked(both_tiny, {s: keep for s in names}):
        logits = frame_logits(
            inspect.unwrap(type(both_tiny).step)(both_tiny, state, ids, "all").float(),
            both_tiny.config,
            n,
        )
        (g * (w * logits).sum((1, 2, 3)) / gap.sum((1, 2))).sum().backward()
    seen["text"] = both_tiny.begin(both_tiny.encode_text(p.source), null=False, cache=False).states
    want = [
        float((acts[s].grad[i] * (seen[s] - acts[s].detach())[i]).sum())
        for i in range(2)
        for s in ("text", *names)
    ]
    got = (
        attribution_patching(
            both_tiny, p, all_cells(both_tiny, 0.4, ["text", *names]), readout, progress=False
        )
        .set_index(["pair", "site"])
        .attribution
    )
    assert (
        np.allclose(
            [got[i, s] for i in range(2) for s in ("text", *names)], want, atol=1e-4, rtol=1e-3
        )
        and np.abs(want).max() > 0.05
    )


def test_attribution_on_nano_ranks_cells(both_nano):
    p = pair_tokens(both_nano, pair_prompts(matched_pairs("happy", "sad", 3), "happy", "sad"), 0.5)
    got = attribution_agreement(
        both_nano,
        p,
        attribution_patching(both_nano, p, all_cells(both_nano, 0.5, step_s=0.25), progress=False),
        16,
        n_boot=100,
        progress=False,
    )
    assert got.spearman.value >= 0.8


def test_half_precision_runs(tiny_folder, backend):
    model = load_model(tiny_folder, backend=backend, device="cpu", dtype="bfloat16")
    p = pair_tokens(model, Pairs(SOURCE[:2], TARGET[:2]), 0.1)
    t = whole(
        activation_patching(model, p, ["text", "layer_1.mlp"], ("patch", "random"), progress=False)
    )
    assert (
        np.isfinite(t.restored).all()
        and np.isfinite(attribution_patching(model, p, progress=False).attribution).all()
    )
    assert np.isfinite(word_attention(model, p.tokens, p.source).attention).all()


def test_stereo_delays(tmp_path, backend):
    model = load_model(
        write_random_model(tmp_path / "stereo", n_codebooks=8, channels=2),
        backend=backend,
        device="cpu",
    )
    p = pair_tokens(model, Pairs(SOURCE[:1], TARGET[:1]), 0.3)
    t = activation_patching(model, p, ["text", "layer_2"], "patch", progress=False)
    assert set(t.codebook) == {*map(str, range(8)), "all"} and np.allclose(
        whole(t).restored, 1, atol=1e-3
    )


# free generation


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_free_generation(both_tiny, guidance):
    p, how = (
        Pairs(SOURCE, TARGET),
        dict(duration_s=0.2, seeds=5, guidance=guidance, audio=False, progress=False),
    )
    cells = ["text", "text_proj", "layer_0.cross_attn", "layer_2"]
    few, many = (patched_generation(both_tiny, p, cells, batch_size=n, **how) for n in (3, 64))
    order = ["site", "arm", "pair"]
    a, b = (c.made.tokens[c.table.sort_values(order).row.to_numpy()] for c in (few, many))
    assert (a == b).all() and len(many) == 3 * 6
    t, tokens = many.table, many.made.tokens
    for s in ("text", "text_proj"):
        assert (tokens[t.site == s] == tokens[t.arm == "source"]).all()
    assert (tokens[t.arm == "target"] == sample_tokens(both_tiny, TARGET, 5, 10, guidance)).all()
    assert (tokens[t.arm == "source"] == sample_tokens(both_tiny, SOURCE, 5, 10, guidance)).all()
    for branch in ("cond", "both"):
        back = patched_generation(
            both_tiny, p, ["layer_1", "layer_2.self_attn"], arm="noop", branch=branch, **how
        )
        for s in ("layer_1", "layer_2.self_attn"):
            assert (
                back.made.tokens[back.table.site == s]
                == back.made.tokens[back.table.arm == "target"]
            ).all()


def test_both_branches_of_the_last_layer_give_the_sources_clip(both_tiny):
    "With all that the heads read taken from the source's run, the target must sing the source's song."
    got = patched_generation(
        both_tiny,
        Pairs(SOURCE, TARGET),
        ["layer_2"],
        0.2,
        1,
        branch="both",
        audio=False,
        progress=False,
    )
    assert (
        got.made.tokens[got.table.site == "layer_2"] == got.made.tokens[got.table.arm == "source"]
    ).all()


def test_states_of_the_patched_clips_own_music(both_tiny):
    "A greedy patched clip is what the target predicts over that clip with the states of the source's prompt over that clip."
    site, seen = "layer_1.cross_attn", {}
    got = patched_generation(
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
    t, tokens = got.table, got.made.tokens
    assert (tokens[t.site == "layer_0.self_attn"] == tokens[t.arm == "target"]).all() and (
        tokens[t.site == "layer_2"] == tokens[t.arm == "source"]
    ).all()
    clip = tokens[t.site == site]
    with hooked(both_tiny, {site: lambda x, now: seen.__setitem__("x", x.clone())}):
        next_token_logits(both_tiny, clip, SOURCE)
    with hooked(both_tiny, {site: lambda x, now: seen["x"]}):
        assert (next_token_logits(both_tiny, clip, TARGET).argmax(-1).numpy() == clip).all()


def test_other_arm_and_sound(both_tiny):
    got = patched_generation(
        both_tiny, Pairs(SOURCE, TARGET), ["text"], 2.0, 1, arm="other", progress=False
    )
    t = got.table
    assert set(t.arm) == {"source", "target", "other"} and len(got.made.audio) == 9
    other = got.made.tokens[t.arm == "other"]
    assert not any((other[i] == got.made.tokens[t.arm == "target"][i]).all() for i in range(3))
    shares = sound_restored(
        describe_patched(got, progress=False), ["rms_db", "centroid"], n_boot=50
    )
    assert len(shares) == 2 and shares.difference.notna().all()


# ablation and erasure


def test_ablation_arms(both_tiny, both_pairs):
    acts = replay(both_tiny, both_pairs.tokens, both_pairs.source, ["layer_1"], ("cond", "null"))[
        "layer_1"
    ]
    for how, ref in (
        ("zero", None),
        ("mean", acts),
        ("resample", acts),
        (project_out(np.eye(32)[:2]), None),
    ):
        with ablated(both_tiny, "layer_1", how, ref):
            cut = replay(both_tiny, both_pairs.tokens, both_pairs.target, ["layer_1"])[
                "layer_1"
            ].values
        clean = replay(both_tiny, both_pairs.tokens, both_pairs.target, ["layer_1"])[
            "layer_1"
        ].values
        assert not np.allclose(cut, clean)
        if how == "zero":
            assert (cut == 0).all()
        if how == "mean":
            assert np.allclose(
                cut, np.asarray(acts.values[:, 0]).reshape(-1, 32).mean(0), atol=1e-4
            )
        if isinstance(how, Eraser):
            assert np.allclose(cut[..., :2], 0, atol=1e-5) and np.allclose(
                cut[..., 2:], clean[..., 2:], atol=1e-5
            )
    with pytest.raises(ValueError, match="timesteps"):
        with ablated(both_tiny, "layer_1", "resample", acts.values[:, :, :5]):
            replay(both_tiny, both_pairs.tokens, both_pairs.target, ["layer_1"])
    with pytest.raises(ValueError, match="reference must be"):
        with ablated(both_tiny, "layer_1", "mean", np.zeros(3)):
            pass


def test_ablating_the_null_branch_leaves_cond_alone(both_tiny):
    seen = {}
    with (
        ablated(both_tiny, "layer_1", "zero", branch="null"),
        hooked(
            both_tiny,
            {
                "layer_1": lambda x, now: seen.update(
                    cond=x[now.rows("cond")].clone(), null=x[now.rows("null")].clone()
                )
            },
        ),
    ):
        sample_tokens(both_tiny, SOURCE[:2], 0, 3)
    assert (seen["null"] == 0).all() and (seen["cond"] != 0).any()


def test_ablation_effects_of_a_site_without_text_are_nil(both_tiny, both_pairs):
    t = whole(
        ablation_effects(
            both_tiny,
            both_pairs,
            ["layer_0.cross_attn", "text", "layer_1"],
            dict(zero="zero", nothing=lambda x: x),
            progress=False,
        ),
        readout="cond",
    )
    assert np.allclose(t[t.how == "nothing"].lost, 0, atol=1e-3) and np.allclose(
        t[t.how == "nothing"].kl_source, 0, atol=1e-4
    )
    assert (t[t.how == "zero"].kl_source > 0).all()


def test_ablations_do_not_depend_on_the_batch(both_tiny, both_pairs):
    "One reference for all pairs: how many are run at once changes nothing, at text sites as at others."
    keys = ["pair", "site", "how", "readout", "codebook"]
    one, two, all_ = (
        ablation_effects(
            both_tiny,
            both_pairs,
            ["text", "text_proj", "layer_1", "layer_2.mlp"],
            batch_size=n,
            progress=False,
        ).sort_values(keys)
        for n in (1, 2, 3)
    )
    for other in (one, two):
        for c in ("lost", "kl_source", "moved"):
            np.testing.assert_allclose(other[c], all_[c], atol=2e-3)
    assert len(one) == 3 * 4 * 3 * 2 * 5


def test_mean_ablation_puts_in_the_mean_of_both_runs_of_all_pairs(both_tiny, both_pairs):
    "At a decoder site over positions, at text sites over real tokens; padding counts nowhere."
    seen = {}
    for q in (both_pairs.source, both_pairs.target):
        for i, prompt in enumerate(q):
            real = dict(
                text_proj=slice(0, int(both_tiny.encode_text([prompt]).mask.sum())),
                layer_1=slice(None),
            )
            with hooked(
                both_tiny,
                {
                    s: lambda x, now: seen.setdefault(now.site.name, []).append(
                        x[0, real[now.site.name]].clone()
                    )
                    for s in real
                },
            ):
                next_token_logits(both_tiny, both_pairs.tokens[[i]], [prompt])
    source, target = (
        next_token_logits(both_tiny, both_pairs.tokens, q)
        for q in (both_pairs.source, both_pairs.target)
    )
    got = (
        whole(
            ablation_effects(
                both_tiny,
                both_pairs,
                ["text", "text_proj", "layer_1"],
                "mean",
                None,
                batch_size=2,
                progress=False,
            )
        )
        .set_index(["pair", "site"])
        .lost
    )
    for s, rows in seen.items():
        mean = torch.cat(rows).mean(0)
        for i, prompt in enumerate(both_pairs.source):
            with hooked(both_tiny, {s: lambda x, now: mean.expand(x.shape)}):
                cut = next_token_logits(both_tiny, both_pairs.tokens[[i]], [prompt])
            moved, gap = restored_difference(cut, source[[i]], target[[i]])
            assert np.isclose(got[i, s], 1 - float(moved.sum() / gap.sum()), atol=2e-3), s
        if s == "text_proj":
            assert np.allclose(
                [got[i, "text"] for i in range(3)], [got[i, s] for i in range(3)], atol=2e-3
            )


def test_a_named_resample_takes_another_pairs_states(both_tiny, both_pairs):
    plain, named = (
        whole(
            ablation_effects(both_tiny, both_pairs, ["layer_1", "text"], how, None, progress=False)
        )
        for how in ("resample", dict(swap="resample"))
    )
    assert np.allclose(plain.lost, named.lost) and (named.kl_source > 1e-4).all()


def test_ablations_at_the_projected_text_act_there(both_tiny, both_pairs):
    "Zero after the projection is not zero before it, and an eraser is as wide as the decoder."
    width = both_tiny.config.d_model
    how = dict(zero="zero", nothing=lambda x: x, drop=project_out(np.eye(width)[:3]))
    t = (
        whole(ablation_effects(both_tiny, both_pairs, ["text_proj"], how, None, progress=False))
        .set_index(["how", "pair"])
        .lost
    )
    assert (
        np.allclose(t["nothing"], 0, atol=1e-3)
        and np.isfinite(t).all()
        and (t["drop"].abs() > 1e-5).any()
    )
    with hooked(both_tiny, {"text_proj": lambda x, now: 0 * x}):
        cut = next_token_logits(both_tiny, both_pairs.tokens, both_pairs.source)
    source, target = (
        next_token_logits(both_tiny, both_pairs.tokens, q)
        for q in (both_pairs.source, both_pairs.target)
    )
    moved, gap = (x.sum((1, 2)) for x in restored_difference(cut, source, target))
    assert np.allclose(t["zero"], 1 - moved / gap, atol=2e-3)


def test_what_cannot_stand_in_for_states_is_refused(both_tiny, both_pairs):
    n = both_tiny.config.d_model
    for how in (
        lambda x: x * np.nan,
        dict(x=lambda x: x * np.nan),
        {"y": {"layer_1": lambda x: x + np.inf}},
    ):
        with pytest.raises(ValueError, match="NaN or infinite"):
            ablation_effects(
                both_tiny,
                both_pairs,
                ["layer_1"],
                dict(how=how) if callable(how) else how,
                progress=False,
            )
    with pytest.raises(ValueError, match="must return states of shape"):
        ablation_effects(
            both_tiny, both_pairs, ["text"], dict(cut=lambda x: x[..., :2]), progress=False
        )
    with pytest.raises(KeyError, match="has nothing for the sites"):
        ablation_effects(
            both_tiny,
            both_pairs,
            ["layer_1", "layer_2"],
            dict(cut=dict(layer_1="zero")),
            progress=False,
        )
    with pytest.raises(ValueError, match="how must be"):
        ablation_effects(
            both_tiny, both_pairs, ["layer_1"], dict(cut=dict(layer_1="median")), progress=False
        )
    for how in ("mean", "resample"):
        with (
            pytest.raises(
                ValueError, match=f"reference is {n + 1} wide, the states of this site are {n} wide"
            ),
            ablated(both_tiny, "layer_1", how, np.zeros((2, n + 1))),
        ):
            pass
    with (
        pytest.raises(ValueError, match="NaN or infinite"),
        ablated(both_tiny, "layer_1", lambda x: x / 0 * 0),
    ):
        sample_tokens(both_tiny, SOURCE[:1], 0, 2)
    assert n_hooks(both_tiny) == 0


@pytest.mark.parametrize("n, d, k", [(300, 10, 2), (300, 10, 4), (30, 60, 3)])
def test_leace_guarantee(n, d, k):
    from sklearn.linear_model import LogisticRegression

    r = np.random.default_rng(k)
    z = r.integers(k, size=n)
    X = r.normal(size=(n, d)) @ r.normal(size=(d, d)) + 3 * np.eye(k)[z] @ r.normal(size=(k, d))
    e = leace(X, z)
    wiped = e(X)
    Z = np.eye(k)[z] - np.eye(k)[z].mean(0)
    assert np.abs(Z.T @ (wiped - wiped.mean(0)) / n).max() < 1e-8 * np.abs(X).max()
    assert np.allclose(e(wiped), wiped, atol=1e-6 * np.abs(X).max()) and e.rank == k - 1
    scaled = (wiped - wiped.mean(0)) / X.std()
    probe = LogisticRegression(C=10, max_iter=5000, tol=1e-8).fit(scaled, z)
    share = np.bincount(z) / n
    assert np.allclose(probe.predict_proba(scaled), share, atol=5e-3) and np.isclose(
        probe.score(scaled, z), share.max()
    )


def test_leace_is_the_smaller_edit():
    "Among linear edits that remove the covariance it moves the rows least, in particular less than projecting the mean difference out."
    r = np.random.default_rng(1)
    z = np.tile([0, 1], 200)
    X = r.normal(size=(400, 6)) @ np.diag([5, 1, 1, 0.5, 2, 1]) @ r.normal(size=(6, 6)) + 2 * z[
        :, None
    ] * r.normal(size=6)
    U, s, Vt = np.linalg.svd(X - X.mean(0), full_matrices=False)
    white = (X - X.mean(0)) @ Vt.T / s
    back = white.copy()
    q = white[z == 1].mean(0) - white[z == 0].mean(0)
    q /= np.linalg.norm(q)
    oblique = (back - np.outer(back @ q, q)) * s @ Vt + X.mean(0)
    assert np.allclose(leace(X, z)(X), oblique, atol=1e-6)


def test_inlp_removes_more_and_more():
    r = np.random.default_rng(0)
    z = np.repeat([0, 1, 2], 60)
    X = r.normal(size=(180, 12)) + 2 * np.eye(3)[z] @ r.normal(size=(3, 12))
    ranks = [inlp(X, z, n).rank for n in (1, 2, 3)]
    assert ranks == sorted(ranks) and ranks[0] <= 3
    Q = inlp(X, z).right
    assert np.allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-8)


def test_project_out_takes_directions_of_any_kind():
    class D:
        vector = np.array([0.0, 2.0, 0.0])

    x = np.arange(6.0).reshape(2, 3)
    for d in (D(), [D(), D.vector], D.vector, D.vector[None]):
        assert np.allclose(project_out(d)(x)[:, 1], 0)
    assert np.allclose(project_out(D(), mean=np.ones(3))(x)[:, 1], 1)


# causal reliability


def test_reliability_stays_in_range_and_noop_scores_nothing():
    r = np.random.default_rng(0)
    for k in (2, 3, 5):
        P, clean = (r.dirichlet(np.full(k, 0.3), 500) for _ in range(2))
        for v in (
            completeness(P),
            completeness(P, r.integers(k, size=500)),
            selectivity(P, clean),
            harmonic_reliability(completeness(P), selectivity(P, clean)),
        ):
            assert v.min() >= -1e-9 and v.max() <= 1 + 1e-9
        assert np.allclose(
            selectivity(np.eye(k)[clean.argmin(1)], clean)[clean.max(1) < 1 - clean.min(1)], 0
        )
        sure = np.eye(k)[r.integers(k, size=50)]
        for target in (None, (sure.argmax(1) + 1) % k):
            assert np.allclose(
                harmonic_reliability(completeness(sure, target), selectivity(sure, sure)), 0
            )
    assert np.allclose(total_variation(np.eye(2), 1 - np.eye(2)), 1)


@pytest.mark.parametrize("family", ["mlp", "knn", "rbf"])
def test_oracles_of_all_families(family):
    r = np.random.default_rng(0)
    y = np.tile(["a", "b", "c"], 40)
    X = r.normal(size=(120, 10)) + 3 * np.eye(10)[np.tile([0, 1, 2], 40)]
    good, bad = (
        fit_oracle(X, y, family),
        fit_oracle(r.normal(size=(120, 10)), y, family, groups=np.arange(120) // 3),
    )
    assert good.decodes and not bad.decodes and np.allclose(good(X[:5] + 1e-3).sum(1), 1)
    with pytest.raises(ValueError, match="at least two|one class"):
        fit_oracle(X, np.repeat("a", 120), family)


def test_reliability_is_averaged_after_the_harmonic_mean():
    C, S = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert harmonic_reliability(C, S).mean() == 0 and harmonic_reliability(
        np.zeros(2), np.zeros(2)
    ).tolist() == [
        0,
        0,
    ]


def test_planted_directions_score_as_they_should():
    "A clean swap is reliable, a swap that drags another property along is complete but not selective, doing nothing is neither."

    def rows(n, seed):
        g = np.random.default_rng(seed)
        z, j = g.integers(2, size=(2, n))
        return (
            g.normal(size=(n, 8)) * 0.3
            + np.outer(4 * z - 2, np.eye(8)[0])
            + np.outer(4 * j - 2, np.eye(8)[1]),
            z,
            j,
        )

    X, z, j = rows(200, 1)
    Xo, zo, jo = rows(300, 2)
    oracle, control = fit_oracle(Xo, zo), fit_oracle(Xo, jo)
    flip = lambda X, both=False: X * np.r_[-1, -1 if both else 1, np.ones(6)]
    t = causal_reliability(
        dict(clean=flip, dirty=lambda X: flip(X, True)),
        X,
        z,
        oracle,
        dict(j=control),
        1 - z,
        n_boot=100,
    )
    s = t.pivot_table(index="intervention", columns="measure", values="value")
    assert (
        s.loc["clean", "reliability"] > 0.9
        and s.loc["dirty", "completeness"] > 0.9
        and s.loc["dirty", "reliability"] < 0.2
    )
    assert (
        s.loc["no-op", "reliability"] < 0.05
        and s.loc["random", "reliability"] < s.loc["clean", "reliability"]
    )
    again = causal_reliability(
        dict(clean=flip, dirty=lambda X: flip(X, True)),
        X,
        z,
        oracle,
        dict(j=control),
        1 - z,
        n_boot=100,
    )
    pd.testing.assert_frame_equal(t, again)
    with pytest.raises(ValueError, match="trained on"):
        causal_reliability(
            dict(clean=flip), np.vstack([X, Xo[:1]]), np.r_[z, zo[:1]], oracle, dict(j=control), 1
        )
    with pytest.raises(ValueError, match="NaN"):
        causal_reliability(dict(bad=lambda X: X * np.nan), X, z, oracle, dict(j=control), 1 - z)


def _two_properties(n, seed, size=4.0):
    g = np.random.default_rng(seed)
    z, j = g.integers(2, size=(2, n))
    return (
        g.normal(size=(n, 8))
        + np.outer(size * z - size / 2, np.eye(8)[0])
        + np.outer(4 * j - 2, np.eye(8)[1]),
        z,
        j,
    )


def test_an_oracle_that_fails_on_the_judged_rows_judges_nothing():
    "Cross-validation on its own rows says that it can; the rows to be judged say that it cannot."
    Xo, zo, jo = _two_properties(300, 2)
    oracle, control = fit_oracle(Xo, zo), fit_oracle(Xo, jo)
    flip = lambda X: X * np.r_[-1, np.ones(7)]
    X, z, _ = _two_properties(200, 1)
    good = causal_reliability(dict(flip=flip), X, z, oracle, dict(j=control), 1 - z, n_boot=100)
    assert (
        good.value.notna().all()
        and np.allclose(good.judged, (oracle(X).argmax(1) == z).mean(), atol=0.03)
        and (good.judged_low < good.judged).all()
    )
    X, z, _ = _two_properties(200, 3, size=0.0)
    bad = causal_reliability(dict(flip=flip), X, z, oracle, dict(j=control), 1 - z, n_boot=100)
    assert (
        oracle.decodes
        and bad.value.isna().all()
        and bad.margin.isna().all()
        and bad.reason.str.contains("on the rows to be judged").all()
        and abs(bad.judged[0] - 0.5) < 0.15
    )


def test_reliability_floor_is_a_mean_over_directions_and_the_margin_is_paired():
    Xo, zo, jo = _two_properties(300, 2)
    X, z, _ = _two_properties(120, 1)
    oracle, control, ways = (
        fit_oracle(Xo, zo),
        fit_oracle(Xo, jo),
        dict(flip=lambda X: X * np.r_[-1, np.ones(7)]),
    )

    def table(n, seed=0):
        return causal_reliability(
            ways, X, z, oracle, dict(j=control), 1 - z, n_boot=200, seed=seed, n_random=n
        ).set_index(["intervention", "measure"])

    one, ten = ([table(n, s).value["random", "reliability"] for s in range(8)] for n in (1, 10))
    assert np.std(ten) < 0.6 * np.std(one)
    t = table(10)
    row, floor = (
        t.loc[("flip", "reliability")],
        max(t.value[n, "reliability"] for n in ("no-op", "random")),
    )
    assert (
        np.isclose(row.margin, row.value - floor) and row.margin_low < row.margin < row.margin_high
    )
    assert t.margin.notna().sum() == 1
    with pytest.raises(ValueError, match="n_random must be a whole number"):
        table(0)


# mediation and verdict


def test_mediation_is_ordinary_least_squares():
    import statsmodels.formula.api as smf

    r = np.random.default_rng(0)
    t = np.repeat([0.0, 1.0], 60)
    df = pd.DataFrame(
        dict(
            t=t,
            a=t + r.normal(size=120),
            b=100 * (2 * t + r.normal(size=120)),
            age=r.normal(size=120),
        )
    )
    df["y"] = 0.5 * df.a + 0.01 * df.b + 0.3 * t + df.age + r.normal(size=120)
    got = (
        mediate(df, "t", ["a", "b"], "y", covariates=["age"], n_boot=50)
        .set_index(["effect", "mediator", "how"])
        .value
    )
    full, total = (
        smf.ols("y ~ t + a + b + age", df).fit().params,
        smf.ols("y ~ t + age", df).fit().params,
    )
    for m in "ab":
        path = smf.ols(f"{m} ~ t + age", df).fit().params["t"]
        assert np.isclose(got["indirect", m, "joint"], path * full[m], atol=1e-5)
        assert np.isclose(
            got["indirect", m, "single"],
            path * smf.ols(f"y ~ t + {m} + age", df).fit().params[m],
            atol=1e-5,
        )
    assert np.isclose(got["total", "", "joint"], total["t"], atol=1e-5) and np.isclose(
        got["direct", "", "joint"], full["t"], atol=1e-5
    )


def test_mediation_intervals_cover():
    hits = 0
    for seed in range(40):
        r = np.random.default_rng(seed)
        t = np.repeat([0.0, 1.0], 50)
        m = t + r.normal(size=100)
        df = pd.DataFrame(dict(t=t, m=m, y=m + r.normal(size=100)))
        row = mediate(df, "t", ["m"], "y", n_boot=300, seed=seed).iloc[2]
        hits += row.low <= 1 <= row.high
    assert hits >= 34


def test_verdict_directions_and_gaps():
    def row(**kw):
        return (
            dict(
                site="s",
                question="used",
                measure="m",
                value=0.5,
                low=0.4,
                high=0.6,
                bar=0.3,
                direction=">",
                reason="",
            )
            | kw
        )

    def answer(*rows):
        return verdict_table(pd.DataFrame(rows), ["used"]).answer.item()

    assert (
        answer(row()) == "yes"
        and answer(row(direction="<")) == "no"
        and answer(row(bar=0.5)) == "unclear"
    )
    assert (
        answer(row(direction="<", bar=0.7)) == "yes"
        and answer(row(value=np.nan, low=np.nan, high=np.nan)) == "not measured"
    )
    assert answer(row(), row(bar=0.9)) == "no" and answer(row(), row(bar=0.5)) == "unclear"
    rule = verdict_table(
        pd.DataFrame(
            [row(value=np.nan, low=np.nan, high=np.nan, reason="the oracle cannot decode")]
        ),
        ["used", "necessary"],
    )
    assert "cannot decode" in rule.rule[0] and rule.answer[1] == "not measured"
    with pytest.raises(ValueError, match="direction"):
        answer(row(direction="="))
    with pytest.raises(ValueError, match="empty"):
        verdict_table(pd.DataFrame([row()])[:0])


# attention


def test_self_attention_is_causal_and_cross_attention_skips_padding(both_tiny, both_pairs):
    for kind in ("self", "cross"):
        for rows, seen in attention_pass(
            both_tiny,
            both_pairs.tokens,
            both_pairs.source,
            lambda w, m: (w.clone(), m),
            kind,
            batch_size=2,
        ):
            for w, mask in seen.values():
                assert torch.allclose(w.sum(-1), torch.ones(w.shape[:-1]), atol=1e-5)
                if kind == "self":
                    assert w.triu(1).abs().max() == 0
                else:
                    assert (w * (mask[:, None, None] == 0)).abs().max() < 1e-6


def test_attention_keeps_one_layer_at_a_time(both_tiny, both_pairs):
    import weakref

    alive = []

    def reduce(w, mask):
        assert sum(r() is not None for r in alive) <= 1
        alive.append(weakref.ref(w))
        return w.mean((2, 3))

    attention_pass(both_tiny, both_pairs.tokens, both_pairs.source, reduce, "self", batch_size=1)
    assert len(alive) == 3 * 3


def test_spans_do_not_depend_on_the_batch(both_tiny, both_pairs):
    a, b = (
        attention_span(both_tiny, both_pairs.tokens, both_pairs.source, batch_size=n)
        for n in (1, 3)
    )
    pd.testing.assert_frame_equal(a, b, atol=1e-4)
    assert (a.span_s >= 0).all() and a.span_s.max() <= 0.4


def test_words_sum_to_one_whatever_the_prompt(both_tiny, both_pairs):
    odd = ["don't stop, it's a happy-sad song!", "música alegre", "a"]
    t = word_attention(both_tiny, both_pairs.tokens, odd, step_s=0.1)
    assert np.allclose(t.groupby(["clip", "layer", "head", "start"]).attention.sum(), 1, atol=1e-4)
    assert t[t["clip"] == 2].word.unique().tolist() == ["a", ""]


def test_roles_of_words_over_time(both_tiny, both_pairs):
    "Clips with other prompts share a table; a role that a clip lacks does not count there, and nothing depends on which clip comes first."
    t = word_attention(both_tiny, both_pairs.tokens, SOURCE, step_s=0.1)
    roles = [
        dict(happy="emotion word", piano="instrument"),
        dict(cheerful="emotion word", flute="instrument", strings="instrument"),
        dict(merry="emotion word"),
    ]
    r = role_attention(t, roles, 50)
    assert r.set_index("role").n.groupby(level=0).first().to_dict() == {
        "emotion word": 3,
        "instrument": 2,
        "no word": 3,
        "other word": 3,
    }
    cell = (r.layer == 1) & (r["head"] == 2) & (r.start == 0.2)
    mine = t[(t.layer == 1) & (t["head"] == 2) & (t.start == 0.2)]
    by_hand = np.mean(
        [
            mine[
                (mine["clip"] == i)
                & mine.word.str.lower().isin([w for w, x in m.items() if x == "instrument"])
            ][["attention", "n_tokens"]]
            .sum()
            .pipe(lambda s: s.attention / s.n_tokens)
            for i, m in enumerate(roles[:2])
        ]
    )
    assert (
        np.isclose(r[cell & (r.role == "instrument")].per_token.item(), by_hand, atol=1e-6)
        and (r.low <= r.per_token + 1e-9).all()
    )
    with pytest.raises(ValueError, match="one mapping a clip"):
        role_attention(t, roles[:2])


def test_planted_attention_is_found_and_noise_is_not():
    "The max-T test over heads holds its level: on noise it finds something in about one of twenty tables."
    r, hits = np.random.default_rng(0), 0
    for seed in range(40):
        t = pd.DataFrame(
            [
                dict(clip=c, prompt=f"p{c}", layer=l, head=h, span_s=r.normal())
                for c in range(16)
                for l in range(2)
                for h in range(3)
            ]
        )
        hits += span_test(t, np.tile(["happy", "sad"], 8), n_perm=199, seed=seed).p.min() <= 0.05
    assert hits <= 6
    planted = t.assign(
        span_s=t.span_s + 4 * ((t.layer == 1) & (t["head"] == 2) & (t["clip"] % 2 == 0))
    )
    assert span_test(planted, np.tile(["happy", "sad"], 8), n_perm=199).set_index(
        ["layer", "head"]
    ).p.idxmin() == (1, 2)


def test_emotion_word_test_needs_its_words(both_tiny, both_pairs):
    with pytest.raises(ValueError, match="as many of each"):
        emotion_word_test(
            both_tiny, both_pairs.tokens, SOURCE, ["happy"], TARGET, ["sad", "gloomy", "mournful"]
        )
    t = emotion_word_test(
        both_tiny,
        both_pairs.tokens,
        SOURCE,
        ["happy", "cheerful", "merry"],
        TARGET,
        ["sad", "gloomy", "mournful"],
        n_perm=100,
    )
    assert len(t) == 3 * 4 and (t.p >= 1 / 101).all() and (t.n == 3).all()


# the same on either backend


def test_windowed_text_and_attribution_do_not_depend_on_the_backend(tiny, both_tiny, pairs):
    cells = all_cells(both_tiny, 0.4, ("text", "cross_attn", "resid"), layers=[1], step_s=0.2)
    keys = ["pair", "site", "start"]
    for f, columns in (
        (
            lambda m: whole(
                activation_patching(m, pairs, cells, "patch", None, progress=False), readout="cond"
            ),
            ["moved", "gap"],
        ),
        (
            lambda m: attribution_patching(m, pairs, cells[cells.site != "text"], progress=False),
            ["attribution"],
        ),
    ):
        one, two = (f(m).sort_values(keys) for m in (tiny, both_tiny))
        assert len(one) == len(two) and np.abs(one[columns]).max().min() > 1e-3
        np.testing.assert_allclose(one[columns], two[columns], atol=2e-3)


def test_free_generation_under_a_patch_on_either_backend(tiny, both_tiny):
    how = dict(duration_s=0.2, seeds=5, audio=False, progress=False)
    ours, theirs = (
        patched_generation(
            m,
            Pairs(SOURCE, TARGET),
            ["text", "layer_0.cross_attn", "layer_2"],
            branch="both",
            **how,
        )
        for m in (both_tiny, tiny)
    )
    t, tokens = ours.table, ours.made.tokens
    assert (tokens == theirs.made.tokens).all() and t.equals(theirs.table)
    for s in ("text", "layer_2"):
        assert (tokens[t.site == s] == tokens[t.arm == "source"]).all()
    assert (tokens[t.arm == "target"] == sample_tokens(both_tiny, TARGET, 5, 10)).all() and n_hooks(
        both_tiny
    ) == 0
