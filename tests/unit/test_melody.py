"MusicGen Melody with text alone: the library's tokens, replay, batches, stereo, edits, and what is refused."

import shutil

import numpy as np
import pytest
import torch

from musicgen_emotion.activations.clip_plans import generate_clips
from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.extractor import ActivationExtractor
from musicgen_emotion.activations.generation import generate
from musicgen_emotion.activations.hooks import hooked
from musicgen_emotion.activations.replaying import (
    REPLAY_TOLERANCE,
    null_text,
    replay,
    replay_error,
    stepwise,
    token_nll,
)
from musicgen_emotion.activations.stored import replay_store
from musicgen_emotion.activations.tracing import trace
from musicgen_emotion.causes.ablation import ablation_effects
from musicgen_emotion.causes.pairs import Pairs, all_cells, pair_tokens
from musicgen_emotion.causes.passes import contrast, next_token_logits
from musicgen_emotion.causes.patching import activation_patching
from musicgen_emotion.models.load import as_model, load_model, randomized
from musicgen_emotion.models.melody import MelodyModel, TokenSite, write_random_melody
from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.models.shapes import delay_tokens, frame_logits
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.probes.attention import attention_pass
from musicgen_emotion.steering.branches import branch_arithmetic
from musicgen_emotion.steering.directions import Direction
from musicgen_emotion.steering.heads import head_activations, hooked_sites
from musicgen_emotion.steering.push import steer

PROMPTS = ["happy song", "sad slow piano ballad in a minor key with soft strings"]
KINDS = ("embed", "resid", "self_attn", "mlp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_random_melody(tmp_path_factory.mktemp("melody") / "tiny", seed=0)


@pytest.fixture(scope="module")
def melody(folder):
    return load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    return load_model(
        write_random_melody(
            tmp_path_factory.mktemp("melody") / "stereo",
            seed=1,
            n_codebooks=8,
            channels=2,
            chroma_length=20,
        ),
        device="cpu",
    )


def _library(model, prompt, n_frames, guidance):
    "Sound and fed ids of the library's own greedy generate."
    fed = []
    handle = model.hf.decoder.model.decoder.register_forward_pre_hook(
        lambda m, a, kw: fed.append(kw["input_ids"][: model.config.n_codebooks]), with_kwargs=True
    )
    try:
        wave = model.hf.generate(
            **model.tokenize(prompt),
            do_sample=False,
            guidance_scale=guidance,
            max_length=model.config.positions(n_frames) + 1,
        )
    finally:
        handle.remove()
    return wave[0].numpy(), torch.cat(fed, 1)[None]


def _gap(a, b):
    return float(abs(a - b).max() / abs(a).max())


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_greedy_tokens_are_the_librarys(melody, prompt, guidance):
    tokens = sample_tokens(melody, [prompt], 0, 8, guidance=guidance, temperature=0)
    wave, fed = _library(melody, prompt, 8, guidance)
    assert len(np.unique(tokens)) > 4
    assert torch.equal(delay_tokens(tokens, melody.config), fed)
    np.testing.assert_allclose(melody.decode_audio(tokens)[0], wave[0], atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_stereo_greedy_tokens_are_the_librarys(stereo, guidance):
    tokens = sample_tokens(stereo, PROMPTS[:1], 0, 6, guidance=guidance, temperature=0)
    wave, fed = _library(stereo, PROMPTS[0], 6, guidance)
    assert torch.equal(delay_tokens(tokens, stereo.config), fed) and stereo.decode_audio(
        tokens
    ).shape == (1, 2, 6 * 640)
    np.testing.assert_allclose(stereo.decode_audio(tokens)[0], wave, atol=1e-4)


@pytest.mark.parametrize("name", ["melody", "stereo"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_replay_is_stepwise(name, prompt, request):
    model = request.getfixturevalue(name)
    tokens = sample_tokens(model, [prompt, prompt], 0, 7)
    sites = model.resolve_sites(sites=KINDS)
    slow, fast, seen = (
        stepwise(model, tokens, prompt, sites),
        replay(model, tokens, prompt, sites),
        {},
    )
    with hooked(
        model,
        {
            s: lambda x, now: seen.update(
                {now.site.name: x.unflatten(0, (2, -1)).transpose(0, 1).numpy()}
            )
            for s in sites
        },
    ):
        model.step(
            model.begin(model.encode_text([prompt, prompt]), cache=False),
            delay_tokens(tokens, model.config),
            logits=None,
        )
    for s in sites:
        assert (
            slow[s].shape
            == seen[s].shape
            == (2, 2, model.config.positions(7), model.config.d_model)
        )
        assert _gap(slow[s].sel(branch="cond"), fast[s].sel(branch="cond")) < 1e-4, s
        assert _gap(slow[s].values, seen[s]) < 1e-4, f"{s}, both branches in one pass"


@pytest.mark.parametrize("sites", [["layer_0"], ["embed", "layer_1.mlp"]])
def test_replay_is_stepwise_below_the_last_layer(melody, sites):
    "The pass stops above the deepest wanted layer, and the text has been read all the same."
    tokens = sample_tokens(melody, PROMPTS[1:], 0, 7)
    assert replay_error(melody, tokens, PROMPTS[1], sites).relative.max() < 1e-4


@pytest.mark.parametrize("prompt", ["", *PROMPTS])
def test_replay_of_the_null_branch(melody, prompt):
    "The null rows are as long as the prompt, so replay has to know the prompt for them as well."
    tokens = sample_tokens(melody, [prompt], 0, 7)
    slow, fast = (
        stepwise(melody, tokens, prompt),
        replay(melody, tokens, prompt, branches=("null", "guidance")),
    )
    for s in slow.data_vars:
        assert _gap(slow[s].sel(branch="null"), fast[s].sel(branch="null")) < 1e-4, s
        assert (
            _gap(
                slow[s].sel(branch="cond") - slow[s].sel(branch="null"),
                fast[s].sel(branch="guidance"),
            )
            < 1e-4
        ), s


def test_there_is_no_null_branch_without_a_prompt(melody, tiny, tmp_path):
    tokens, text = sample_tokens(melody, PROMPTS[1:], 0, 7), melody.encode_text(PROMPTS[1])
    for call in (
        lambda: replay(melody, tokens, None, branches=("null",)),
        lambda: token_nll(melody, tokens, None, "null"),
        lambda: next_token_logits(melody, tokens, None),
        lambda: null_text(melody, 1),
    ):
        with pytest.raises(ValueError, match="as long as the prompt.*give prompts"):
            call()
    assert null_text(melody, 2, text).mask.shape == (2, text.mask.shape[1]) and null_text(
        tiny, 2
    ).mask.shape == (2, 1)
    store = ClipStore(tmp_path / "clips")
    made = generate_clips(melody, PROMPTS[1:], store, duration_s=0.16, progress=False)
    replay_store(
        melody, store, "layer_2", tmp_path / "acts", branches="null", pool=None, progress=False
    )
    import xarray as xr

    kept, want = (
        xr.open_zarr(tmp_path / "acts" / "layer_2").activations.values,
        replay(melody, store.codes(made.clip_id), PROMPTS[1], "layer_2", "null")["layer_2"].values,
    )
    np.testing.assert_allclose(kept, want, atol=1e-5 * np.abs(want).max())


def test_extractor_records_what_replay_computes(melody):
    ex = ActivationExtractor(melody, sites=(*KINDS, "text", "text_proj"))
    tokens = ex.generate(PROMPTS, duration_s=0.16)
    acts = ex.get_activations()
    again = replay(
        melody, tokens, PROMPTS, sites=[s for s in melody.sites if not s.startswith("text")]
    )
    assert acts["layer_1"].sizes == dict(timestep=11, branch=2, clip=2, d_model=32)
    assert acts["text"].sizes["d_text"] == 24 and acts["text_proj"].sizes["d_model"] == 32
    for s in again.data_vars:
        a = acts[s].sel(branch="cond").transpose("clip", "timestep", "d_model").values
        np.testing.assert_allclose(a, again[s].values[:, 0], atol=1e-4 * np.abs(a).max())


def test_extractor_around_the_librarys_generate(melody):
    ours, theirs = (
        ActivationExtractor(melody, sites=KINDS),
        ActivationExtractor(melody.hf, sites=KINDS),
    )
    ours.generate(PROMPTS[0], duration_s=0.16, temperature=0)
    with theirs:
        _library(melody, PROMPTS[0], 8, 3.0)
    for s, a in ours.get_activations().items():
        b = theirs.get_activations()[s]
        assert a.sizes == b.sizes and float(abs(a.values - b.values).max()) < 1e-4 * float(
            abs(a).max()
        )


def test_a_clip_does_not_depend_on_its_batch(melody):
    many = generate(
        melody,
        [*PROMPTS, "calm ambient pads", "angry heavy metal"],
        [5, 6, 7, 8],
        0.16,
        progress=False,
    )
    one = generate(melody, PROMPTS[1], 6, 0.16, progress=False)
    np.testing.assert_array_equal(many.tokens[1], one.tokens[0])
    both, alone = (
        replay(melody, many.tokens[:2], PROMPTS)["layer_2"].values[1],
        replay(melody, one.tokens, PROMPTS[1])["layer_2"].values[0],
    )
    np.testing.assert_allclose(both, alone, atol=1e-5 * np.abs(alone).max())


def test_hooks_that_change_nothing_and_hooks_that_steer(melody):
    bare = sample_tokens(melody, PROMPTS[:1], 0, 6)
    before = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in melody.hf.modules())

    def push(alpha):
        def _add(x, now):
            return x + alpha * torch.sin(torch.arange(x.shape[-1]))

        with hooked(
            melody, {s: _add for s in ("embed", "layer_0", "layer_1.self_attn", "layer_2.mlp")}
        ):
            return sample_tokens(melody, PROMPTS[:1], 0, 6)

    assert (push(0.0) == bare).all() and (push(3.0) != bare).any()
    assert (
        sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in melody.hf.modules())
        == before
    )


def test_edits_leave_the_prefix_alone(melody):
    "A huge push at the tokens of layer 0 must not reach the prefix rows of the raw module."
    seen, layer = [], melody.hf.decoder.model.decoder.layers[1]
    text, ids = melody.encode_text(PROMPTS[0]), torch.full((1, 4, 3), 64)

    def run(fns):
        with hooked(melody, fns):
            handle = layer.register_forward_hook(lambda m, a, o: seen.append(o[0].clone()))
            melody.step(melody.begin(text, null=False, cache=False), ids, logits=None)
            handle.remove()
        return seen.pop()

    plain = run({})
    for site in ("embed", "layer_0", "layer_0.mlp", "layer_1"):
        pushed = run({site: lambda x, now: x + 100})
        assert torch.equal(pushed[:, :-3], plain[:, :-3]) and not torch.equal(
            pushed[:, -3:], plain[:, -3:]
        ), site


def test_heads_are_at_the_tokens(melody):
    "What goes into the output projection gives what comes out of it, position by position."
    tokens = sample_tokens(melody, PROMPTS[1:], 0, 7)
    module = melody.module("layer_1.self_attn").out_proj
    for branch in ("cond", "null"):
        heads = head_activations(melody, tokens, PROMPTS[1], 1, branch=branch, pool=None)
        assert heads.shape == (1, melody.config.positions(7), 4, 8)
        out = module(torch.as_tensor(heads).flatten(2)).detach().numpy()
        np.testing.assert_allclose(
            out,
            replay(melody, tokens, PROMPTS[1], "layer_1.self_attn", branch)[
                "layer_1.self_attn"
            ].values[:, 0],
            atol=1e-4 * np.abs(out).max(),
        )
    pooled = head_activations(melody, tokens, PROMPTS[1], 1, branch="null")
    np.testing.assert_allclose(pooled, heads[:, 3:-3].mean(1), atol=1e-5)


def test_steering_a_head_leaves_the_prefix_alone(melody):
    seen, site = [], "layer_1.self_attn.head_2"
    v, module, ids = (
        Direction(np.ones(8), site=site, origin="test", rms=1.0),
        melody.module("layer_1.self_attn").out_proj,
        torch.full((1, 4, 3), 64),
    )

    def run(alpha):
        with (
            steer(melody, v, alpha, branch="both") as done,
            hooked_sites(melody, {site: lambda x, now: seen.append(tuple(x.shape))}),
        ):
            handle = module.register_forward_pre_hook(lambda m, a: seen.append(a[0].clone()))
            try:
                melody.step(
                    melody.begin(melody.encode_text(PROMPTS[0]), cache=False), ids, logits=None
                )
            finally:
                handle.remove()
        return seen.pop()

    plain, pushed = run(0.0), run(3.0)
    assert plain.shape[1] > 238 and seen == [(2, 3, 8)] * 2
    assert torch.equal(pushed[:, :-3], plain[:, :-3])
    moved = pushed[:, -3:] - plain[:, -3:]
    assert (
        torch.allclose(moved[..., 16:24], torch.tensor(3.0), atol=1e-5)
        and not moved[..., :16].any()
        and not moved[..., 24:].any()
    )


def _guided(model, tokens, prompt, guidance=3.0):
    cond, null = model.step(
        model.begin(model.encode_text(prompt), cache=False),
        delay_tokens(tokens, model.config),
        logits="all",
    ).chunk(2)
    return frame_logits(null + guidance * (cond - null), model.config, tokens.shape[-1])


@pytest.mark.parametrize("source, target", [PROMPTS, PROMPTS[::-1]])
def test_patching_reads_each_prompts_own_null_rows(melody, source, target):
    "Source and target differ in length, and so do their null rows."
    pairs = pair_tokens(melody, Pairs([source], [target]), 0.16)
    table = activation_patching(
        melody, pairs, ["layer_0.mlp", "text"], ("patch", "noop"), progress=False
    ).query("readout == 'guided'")
    gap = contrast(_guided(melody, pairs.tokens, source), _guided(melody, pairs.tokens, target))[
        1
    ].sum(-1)[0]
    for _, t in table[table.codebook != "all"].groupby(["site", "arm"]):
        np.testing.assert_allclose(t.gap, gap, rtol=1e-3)
    whole = table[table.codebook == "all"].set_index(["site", "arm"]).restored
    assert (
        abs(whole["text", "patch"] - 1) < 1e-4
        and abs(whole["text", "noop"]) < 1e-4
        and abs(whole["layer_0.mlp", "noop"]) < 1e-4
    )
    lost = (
        ablation_effects(
            melody,
            pairs,
            ["layer_0.mlp", "text"],
            dict(keep=lambda x: x, zero="zero"),
            progress=False,
        )
        .query("readout == 'guided' and codebook == 'all'")
        .set_index(["site", "how"])
        .lost
    )
    assert (
        abs(lost["text", "keep"]) < 1e-4
        and abs(lost["layer_0.mlp", "keep"]) < 1e-4
        and lost["text", "zero"] > 1e-3
    )


def test_text_cannot_be_patched_within_a_window(melody):
    pairs = pair_tokens(melody, Pairs(PROMPTS[:1], PROMPTS[1:]), 0.16)
    cells = all_cells(melody, 0.16, "text", step_s=0.08)
    for at in (cells[:1], cells[1:]):
        with pytest.raises(ValueError, match="reads its text once"):
            activation_patching(melody, pairs, at, "patch", progress=False)


def test_branch_arithmetic_of_prompts_of_any_length(melody):
    v = Direction(np.sin(np.arange(32.0)), site="layer_1", origin="test", rms=1.0)
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[0]]
    tokens = sample_tokens(melody, prompts, 0, 5)
    table, alone = (
        branch_arithmetic(melody, tokens, prompts, v).set_index("branch"),
        [
            branch_arithmetic(melody, t[None], [p], v).set_index("branch")
            for t, p in zip(tokens, prompts)
        ],
    )
    np.testing.assert_allclose(table.moved**2, np.mean([a.moved**2 for a in alone], 0), rtol=1e-3)
    with pytest.raises(ValueError, match="one a clip; got 2 for 3"):
        branch_arithmetic(melody, tokens, PROMPTS, v)


def test_passes_are_followed(melody):
    seen = []
    with hooked(
        melody,
        {
            "layer_0": lambda x, now: seen.append(
                (
                    now.position,
                    now.length,
                    now.branches,
                    now.n_clips,
                    tuple(x.shape),
                    now.null_rows().tolist(),
                )
            )
        },
    ):
        sample_tokens(melody, [PROMPTS[0]] * 2, 0, 3)
    assert seen == [
        (p, 1, ("cond", "null"), 2, (4, 1, 32), [False, False, True, True]) for p in range(6)
    ]


def test_trace_finds_no_fault(melody):
    "Both prompts have as many tokens: the null rows of a melody model follow the length of the prompt."
    pair = "happy upbeat song", "slow upbeat song"
    while (a := melody.tokenize(pair[0])["input_ids"].shape[1]) != (
        b := melody.tokenize(pair[1])["input_ids"].shape[1]
    ):
        pair = (pair[0] + " a", pair[1]) if a < b else (pair[0], pair[1] + " a")
    report = trace(melody, pair[0], other=pair[1])
    assert report.ok, report.verdict


def test_store_and_replay_store(melody, tmp_path):
    import xarray as xr

    generate_clips(melody, PROMPTS, ClipStore(tmp_path / "clips"), duration_s=0.16, progress=False)
    out = replay_store(
        melody, tmp_path / "clips", "resid", tmp_path / "acts", pool=None, progress=False
    )
    assert xr.open_zarr(out / "layer_2").activations.shape == (2, 1, 11, 32)


def test_text_sites(melody):
    acts = replay(
        melody, sample_tokens(melody, PROMPTS[:1], 0, 5), PROMPTS[0], sites=("text", "text_proj")
    )
    n = melody.tokenize(PROMPTS[0])["input_ids"].shape[1]
    assert (
        acts["text"].shape == (1, 1, n, 24)
        and acts["text_proj"].shape == (1, 1, n, 32)
        and np.isfinite(acts["text_proj"]).all()
    )


def test_steering_with_strength_zero_changes_nothing(melody):
    v = Direction(np.sin(np.arange(32.0)), site="layer_1", origin="test", rms=1.0)
    bare = sample_tokens(melody, PROMPTS[:1], 0, 6)

    def run(alpha):
        with steer(melody, v, alpha, branch="both"):
            return sample_tokens(melody, PROMPTS[:1], 0, 6)

    assert (run(0.0) == bare).all() and (run(4.0) != bare).any()


def test_steering_one_branch_leaves_the_other_alone(melody):
    v, ids = (
        Direction(np.sin(np.arange(32.0)), site="layer_1", origin="test", rms=1.0),
        torch.full((1, 4, 3), 64),
    )

    def run(**kw):
        out = []
        with (
            steer(melody, v, 2.0, **kw),
            hooked(melody, {"layer_2": lambda x, now: out.append(x.clone())}),
        ):
            melody.step(melody.begin(melody.encode_text(PROMPTS[0]), cache=False), ids, logits=None)
        return out[0]

    cond, null, both = run(branch="cond"), run(branch="null"), run(branch="both")
    assert (
        torch.equal(cond[0], both[0])
        and torch.equal(null[1], both[1])
        and not torch.equal(cond[1], both[1])
        and not torch.equal(null[0], both[0])
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.site("layer_0.cross_attn"),
        lambda m: m.resolve_sites(sites="cross_attn"),
        lambda m: m.resolve_sites(sites=["resid", "cross_attn"]),
        lambda m: ActivationExtractor(m, sites=("cross_attn",)),
        lambda m: replay(m, np.zeros((1, 4, 5), int), "x", sites="layer_1.cross_attn"),
    ],
)
def test_cross_attention_is_refused_by_name(melody, call):
    with pytest.raises(KeyError, match="melody models have no cross-attention"):
        call(melody)


def test_what_else_is_refused(melody, tmp_path, folder):
    text = melody.encode_text(PROMPTS[0])
    with pytest.raises(ValueError, match="melody audio prompt is not supported"):
        melody.begin(text, melody=np.zeros(3))
    with pytest.raises(ValueError, match="tokens cannot share a batch"):
        melody.begin(melody.encode_text(PROMPTS))
    with (
        pytest.raises(ValueError, match="melody audio prompt is not supported"),
        ActivationExtractor(melody),
    ):
        melody.hf.generate(
            **melody.tokenize(PROMPTS[0]),
            input_features=torch.rand(1, 30, 12),
            do_sample=False,
            max_length=8,
        )
    with pytest.raises(KeyError, match=r"layer_0\.\.layer_2"):
        melody.site("layer_3")
    for kind in ("cross", "self"):
        with pytest.raises(
            ValueError, match=f"{kind}-attention weights of a melody model are not supported"
        ):
            attention_pass(melody, np.zeros((1, 4, 5), int), "x", lambda w, m: w, kind)
    with pytest.raises(ValueError, match="duration_s=36"):
        melody.config.frames(36.5)


@pytest.mark.parametrize("name", ["audio_enc_to_dec_proj.weight", "decoder.lm_heads.0.weight"])
def test_missing_weights_are_refused(folder, tmp_path, name):
    from safetensors.torch import load_file, save_file

    out = shutil.copytree(folder, tmp_path / "bad")
    weights = load_file(out / "model.safetensors")
    del weights[name]
    save_file(weights, out / "model.safetensors", metadata=dict(format="pt"))
    with pytest.raises(ValueError, match="lacks 1 weights"):
        load_model(out, device="cpu")


def test_raw_model_and_random_control(melody):
    assert isinstance(as_model(melody.hf, melody.tokenizer), MelodyModel) and isinstance(
        melody.site("layer_0"), TokenSite
    )
    control = randomized(melody, seed=3, text=True)
    assert control.sites == melody.sites and "cross_attn" not in " ".join(control.sites)
    assert (
        sample_tokens(control, PROMPTS[:1], 0, 5) != sample_tokens(melody, PROMPTS[:1], 0, 5)
    ).any()


@pytest.mark.parametrize("name", ["tiny", "melody"])
def test_random_weights_come_from_the_cpu(name, request, monkeypatch):
    "A seed means the same weights whatever device and precision the model has, and no device's generator is touched."
    model, seen, drawn, draw = (
        request.getfixturevalue(name),
        [],
        [],
        torch.nn.Linear.reset_parameters,
    )
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seen.append)
    monkeypatch.setattr(
        torch.nn.Linear, "reset_parameters", lambda self: (drawn.append(self), draw(self))[1]
    )
    before = torch.get_rng_state()
    control = randomized(model, seed=3)
    assert not seen and torch.equal(torch.get_rng_state(), before)
    used = set(map(id, control.hf.modules()))
    assert drawn and not [m for m in drawn if id(m) in used], (
        "weights are drawn in copies on the CPU, not where the model is"
    )
    half = randomized(load_model(model.folder, device="cpu", dtype="bfloat16"), seed=3)
    for (n, a), b in zip(control.hf.named_parameters(), half.hf.parameters()):
        if n.startswith(("decoder", "enc_to_dec_proj", "audio_enc_to_dec_proj")):
            assert torch.equal(a.bfloat16(), b), n


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", ["tiny", "melody"])
def test_random_weights_of_a_model_on_a_gpu(name, request):
    model = request.getfixturevalue(name)
    before, there = (
        torch.cuda.get_rng_state(),
        randomized(load_model(model.folder, device="cuda"), seed=3),
    )
    assert torch.equal(torch.cuda.get_rng_state(), before)
    for a, b in zip(randomized(model, seed=3).hf.parameters(), there.hf.parameters()):
        assert torch.equal(a, b.cpu())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_finite(folder, dtype):
    model = load_model(folder, device="cpu", dtype=dtype)
    tokens = sample_tokens(model, PROMPTS[:1], 0, 4)
    error = replay_error(model, tokens, PROMPTS[0])
    assert (
        np.isfinite(replay(model, tokens, PROMPTS[0])["layer_2"]).all()
        and error.relative.max() <= REPLAY_TOLERANCE[dtype]
    ), error.to_string()


def test_stereo_of_plain_musicgen_replays(tmp_path):
    model = load_model(write_random_model(tmp_path / "s", n_codebooks=8, channels=2), device="cpu")
    tokens = sample_tokens(model, PROMPTS, 0, 6)
    sites = [s for s in model.sites if not s.startswith("text")]
    assert (
        tokens.shape == (2, 8, 6)
        and model.config.delays == (0, 0, 1, 1, 2, 2, 3, 3)
        and "layer_2.cross_attn" in sites
    )
    for p, t in zip(PROMPTS, tokens):
        slow, fast = (
            stepwise(model, t[None], p, sites),
            replay(model, t[None], p, sites, ("cond", "null")),
        )
        for s in sites:
            assert float(abs(slow[s] - fast[s]).max() / abs(slow[s]).max()) < 1e-4, s
    ex = ActivationExtractor(model)
    ex.generate(PROMPTS[0], duration_s=0.12)
    assert ex.get_activations()["layer_0"].sizes == dict(timestep=9, branch=2, clip=1, d_model=32)
