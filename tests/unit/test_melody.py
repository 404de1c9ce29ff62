"MusicGen Melody with text alone: the library's tokens, replay, batches, stereo, edits, refusals."

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
from musicgen_emotion.models.sampling import merge_guidance, sample_tokens
from musicgen_emotion.models.shapes import delay_tokens, frame_logits
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.probes.attention import attention_pass
from musicgen_emotion.steering.branches import branch_arithmetic
from musicgen_emotion.steering.directions import Direction
from musicgen_emotion.steering.heads import head_activations, hooked_sites
from musicgen_emotion.steering.push import steer

SHORT = "happy song"
LONG = "sad slow piano ballad in a minor key with soft strings"
PROMPTS = [SHORT, LONG]
KINDS = ("embed", "resid", "self_attn", "mlp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_random_melody(tmp_path_factory.mktemp("melody") / "tiny", seed=0)


@pytest.fixture(scope="module")
def melody(folder):
    return load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    out = tmp_path_factory.mktemp("melody") / "stereo"
    write_random_melody(out, seed=1, n_codebooks=8, channels=2, chroma_length=20)
    return load_model(out, device="cpu")


def library_greedy(model, prompt, n_frames, guidance):
    "Sound (channel, sample) and fed ids (1, codebook, position) of the library's own generate."
    fed = []

    def keep_ids(module, args, kwargs):
        fed.append(kwargs["input_ids"][: model.config.n_codebooks])

    handle = model.decoder.register_forward_pre_hook(keep_ids, with_kwargs=True)
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


def relative_gap(a, b):
    "Largest difference, over the largest value of the first."
    return float(abs(a - b).max() / abs(a).max())


def one_pass(model, prompt, ids, **kwargs):
    "A single pass over delayed tokens, with null rows."
    state = model.begin(model.encode_text(prompt), cache=False)
    return model.step(state, ids, **kwargs)


def a_direction(width=32, site="layer_1"):
    return Direction(np.sin(np.arange(float(width))), site=site, origin="test", rms=1.0)


# the library's tokens


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_greedy_tokens_are_the_librarys(melody, prompt, guidance):
    tokens = sample_tokens(melody, [prompt], 0, 8, guidance=guidance, temperature=0)
    wave, fed = library_greedy(melody, prompt, 8, guidance)
    assert len(np.unique(tokens)) > 4
    assert torch.equal(delay_tokens(tokens, melody.config), fed)
    np.testing.assert_allclose(melody.decode_audio(tokens)[0], wave[0], atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_stereo_greedy_tokens_are_the_librarys(stereo, guidance):
    tokens = sample_tokens(stereo, [SHORT], 0, 6, guidance=guidance, temperature=0)
    wave, fed = library_greedy(stereo, SHORT, 6, guidance)
    assert torch.equal(delay_tokens(tokens, stereo.config), fed)
    audio = stereo.decode_audio(tokens)
    assert audio.shape == (1, 2, 6 * 640)
    np.testing.assert_allclose(audio[0], wave, atol=1e-4)


# replay


@pytest.mark.parametrize("name", ["melody", "stereo"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_replay_is_stepwise(name, prompt, request):
    model = request.getfixturevalue(name)
    tokens = sample_tokens(model, [prompt, prompt], 0, 7)
    sites = model.resolve_sites(sites=KINDS)
    slow = stepwise(model, tokens, prompt, sites)  # (clip, branch, position, d_model) by site
    fast = replay(model, tokens, prompt, sites)
    seen = {}

    def keep(values, now):
        by_clip = values.unflatten(0, (2, -1)).transpose(0, 1)
        seen[now.site.name] = by_clip.numpy()

    with hooked(model, dict.fromkeys(sites, keep)):
        one_pass(model, [prompt, prompt], delay_tokens(tokens, model.config), logits=None)
    shape = (2, 2, model.config.positions(7), model.config.d_model)
    for site in sites:
        assert slow[site].shape == seen[site].shape == shape
        cond = slow[site].sel(branch="cond"), fast[site].sel(branch="cond")
        assert relative_gap(*cond) < 1e-4, site
        assert relative_gap(slow[site].values, seen[site]) < 1e-4, f"{site}, both in one pass"


@pytest.mark.parametrize("sites", [["layer_0"], ["embed", "layer_1.mlp"]])
def test_replay_is_stepwise_below_the_last_layer(melody, sites):
    "The pass stops above the deepest wanted layer, and the text has been read all the same."
    tokens = sample_tokens(melody, [LONG], 0, 7)
    assert replay_error(melody, tokens, LONG, sites).relative.max() < 1e-4


@pytest.mark.parametrize("prompt", ["", *PROMPTS])
def test_replay_of_the_null_branch(melody, prompt):
    "The null rows are as long as the prompt, so replay has to know the prompt for them as well."
    tokens = sample_tokens(melody, [prompt], 0, 7)
    slow = stepwise(melody, tokens, prompt)
    fast = replay(melody, tokens, prompt, branches=("null", "guidance"))
    for site in slow.data_vars:
        cond, null = slow[site].sel(branch="cond"), slow[site].sel(branch="null")
        assert relative_gap(null, fast[site].sel(branch="null")) < 1e-4, site
        assert relative_gap(cond - null, fast[site].sel(branch="guidance")) < 1e-4, site


def test_there_is_no_null_branch_without_a_prompt(melody, tiny):
    tokens = sample_tokens(melody, [LONG], 0, 7)
    for call in (
        lambda: replay(melody, tokens, None, branches=("null",)),
        lambda: token_nll(melody, tokens, None, "null"),
        lambda: next_token_logits(melody, tokens, None),
        lambda: null_text(melody, 1),
    ):
        with pytest.raises(ValueError, match=r"as long as the prompt.*give prompts"):
            call()
    text = melody.encode_text(LONG)
    assert null_text(melody, 2, text).mask.shape == (2, text.mask.shape[1])
    assert null_text(tiny, 2).mask.shape == (2, 1)


def test_a_store_replays_its_null_branch(melody, tmp_path):
    import xarray as xr

    store = ClipStore(tmp_path / "clips")
    clips = generate_clips(melody, [LONG], store, duration_s=0.16, progress=False)
    acts = tmp_path / "acts"
    replay_store(melody, store, "layer_2", acts, branches="null", pool=None, progress=False)
    kept = xr.open_zarr(acts / "layer_2").activations.values
    tokens = store.codes(clips.clip_id)
    expected = replay(melody, tokens, LONG, "layer_2", "null")["layer_2"].values
    np.testing.assert_allclose(kept, expected, atol=1e-5 * np.abs(expected).max())


def test_store_and_replay_store(melody, tmp_path):
    import xarray as xr

    clips, acts = tmp_path / "clips", tmp_path / "acts"
    generate_clips(melody, PROMPTS, ClipStore(clips), duration_s=0.16, progress=False)
    out = replay_store(melody, clips, "resid", acts, pool=None, progress=False)
    assert xr.open_zarr(out / "layer_2").activations.shape == (2, 1, 11, 32)


def test_text_sites(melody):
    tokens = sample_tokens(melody, [SHORT], 0, 5)
    acts = replay(melody, tokens, SHORT, sites=("text", "text_proj"))
    n_tokens = melody.tokenize(SHORT)["input_ids"].shape[1]
    assert acts["text"].shape == (1, 1, n_tokens, 24)
    assert acts["text_proj"].shape == (1, 1, n_tokens, 32)
    assert np.isfinite(acts["text_proj"]).all()


# extraction and batches


def test_extractor_records_what_replay_computes(melody):
    extractor = ActivationExtractor(melody, sites=(*KINDS, "text", "text_proj"))
    tokens = extractor.generate(PROMPTS, duration_s=0.16)
    acts = extractor.get_activations()
    assert acts["layer_1"].sizes == dict(timestep=11, branch=2, clip=2, d_model=32)
    assert acts["text"].sizes["d_text"] == 24
    assert acts["text_proj"].sizes["d_model"] == 32
    in_decoder = [site for site in melody.sites if not site.startswith("text")]
    again = replay(melody, tokens, PROMPTS, sites=in_decoder)
    for site in again.data_vars:
        recorded = acts[site].sel(branch="cond").transpose("clip", "timestep", "d_model").values
        tolerance = 1e-4 * np.abs(recorded).max()
        np.testing.assert_allclose(recorded, again[site].values[:, 0], atol=tolerance)


def test_extractor_around_the_librarys_generate(melody):
    ours = ActivationExtractor(melody, sites=KINDS)
    theirs = ActivationExtractor(melody.hf, sites=KINDS)
    ours.generate(SHORT, duration_s=0.16, temperature=0)
    with theirs:
        library_greedy(melody, SHORT, 8, 3.0)
    for site, recorded in ours.get_activations().items():
        other = theirs.get_activations()[site]
        assert recorded.sizes == other.sizes
        assert relative_gap(recorded.values, other.values) < 1e-4, site


def test_a_clip_does_not_depend_on_its_batch(melody):
    prompts = [*PROMPTS, "calm ambient pads", "angry heavy metal"]
    many = generate(melody, prompts, [5, 6, 7, 8], 0.16, progress=False)
    one = generate(melody, LONG, 6, 0.16, progress=False)
    np.testing.assert_array_equal(many.tokens[1], one.tokens[0])
    together = replay(melody, many.tokens[:2], PROMPTS)["layer_2"].values[1]
    alone = replay(melody, one.tokens, LONG)["layer_2"].values[0]
    np.testing.assert_allclose(together, alone, atol=1e-5 * np.abs(alone).max())


def test_passes_are_followed(melody):
    seen = []

    def note(values, now):
        null = now.null_rows().tolist()
        shape = tuple(values.shape)
        seen.append((now.position, now.length, now.branches, now.n_clips, shape, null))

    with hooked(melody, dict(layer_0=note)):
        sample_tokens(melody, [SHORT] * 2, 0, 3)
    null = [False, False, True, True]
    assert seen == [(p, 1, ("cond", "null"), 2, (4, 1, 32), null) for p in range(6)]


def test_trace_finds_no_fault(melody):
    "Both prompts have as many tokens: the null rows of a melody model follow the prompt's length."
    prompt, other = "happy upbeat song", "slow upbeat song"

    def n_tokens(text):
        return melody.tokenize(text)["input_ids"].shape[1]

    while n_tokens(prompt) != n_tokens(other):
        if n_tokens(prompt) < n_tokens(other):
            prompt += " a"
        else:
            other += " a"
    report = trace(melody, prompt, other=other)
    assert report.ok, report.verdict


# hooks, heads and steering


def test_hooks_that_change_nothing_and_hooks_that_steer(melody):
    def n_hooks():
        modules = list(melody.hf.modules())
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)

    def pushed(alpha):
        def add(values, now):
            return values + alpha * torch.sin(torch.arange(values.shape[-1]))

        sites = ("embed", "layer_0", "layer_1.self_attn", "layer_2.mlp")
        with hooked(melody, dict.fromkeys(sites, add)):
            return sample_tokens(melody, [SHORT], 0, 6)

    bare = sample_tokens(melody, [SHORT], 0, 6)
    before = n_hooks()
    assert (pushed(0.0) == bare).all()
    assert (pushed(3.0) != bare).any()
    assert n_hooks() == before


def test_edits_leave_the_prefix_alone(melody):
    "A huge push at the tokens of layer 0 must not reach the prefix rows of the raw module."
    layer = melody.decoder.layers[1]
    text, ids = melody.encode_text(SHORT), torch.full((1, 4, 3), 64)

    def raw_output(hooks):
        "What the raw module of layer 1 returns: (row, prefix + position, d_model)."
        seen = []
        with hooked(melody, hooks):
            handle = layer.register_forward_hook(lambda m, args, out: seen.append(out[0].clone()))
            melody.step(melody.begin(text, null=False, cache=False), ids, logits=None)
            handle.remove()
        return seen[0]

    plain = raw_output({})
    for site in ("embed", "layer_0", "layer_0.mlp", "layer_1"):
        pushed = raw_output({site: lambda values, now: values + 100})
        assert torch.equal(pushed[:, :-3], plain[:, :-3]), site
        assert not torch.equal(pushed[:, -3:], plain[:, -3:]), site


def test_heads_are_at_the_tokens(melody):
    "What goes into the output projection gives what comes out of it, position by position."
    tokens = sample_tokens(melody, [LONG], 0, 7)
    site = "layer_1.self_attn"
    project = melody.module(site).out_proj
    for branch in ("cond", "null"):
        heads = head_activations(melody, tokens, LONG, 1, branch=branch, pool=None)
        assert heads.shape == (1, melody.config.positions(7), 4, 8)
        out = project(torch.as_tensor(heads).flatten(2)).detach().numpy()
        expected = replay(melody, tokens, LONG, site, branch)[site].values[:, 0]
        np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(out).max())
    pooled = head_activations(melody, tokens, LONG, 1, branch="null")
    np.testing.assert_allclose(pooled, heads[:, 3:-3].mean(1), atol=1e-5)


def test_steering_a_head_leaves_the_prefix_alone(melody):
    site = "layer_1.self_attn.head_2"
    direction = Direction(np.ones(8), site=site, origin="test", rms=1.0)
    project = melody.module("layer_1.self_attn").out_proj
    ids = torch.full((1, 4, 3), 64)
    shapes = []

    def note_shape(values, now):
        shapes.append(tuple(values.shape))

    def raw_input(alpha):
        "What goes into the output projection: (row, prefix + position, d_model)."
        seen = []
        with (
            steer(melody, direction, alpha, branch="both"),
            hooked_sites(melody, {site: note_shape}),
        ):
            handle = project.register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()))
            try:
                one_pass(melody, SHORT, ids, logits=None)
            finally:
                handle.remove()
        return seen[-1]

    plain, pushed = raw_input(0.0), raw_input(3.0)
    assert plain.shape[1] > 238
    assert shapes == [(2, 3, 8)] * 2
    assert torch.equal(pushed[:, :-3], plain[:, :-3])
    moved = pushed[:, -3:] - plain[:, -3:]
    assert torch.allclose(moved[..., 16:24], torch.tensor(3.0), atol=1e-5)
    assert not moved[..., :16].any()
    assert not moved[..., 24:].any()


def test_steering_with_strength_zero_changes_nothing(melody):
    def steered(alpha):
        with steer(melody, a_direction(), alpha, branch="both"):
            return sample_tokens(melody, [SHORT], 0, 6)

    bare = sample_tokens(melody, [SHORT], 0, 6)
    assert (steered(0.0) == bare).all()
    assert (steered(4.0) != bare).any()


def test_steering_one_branch_leaves_the_other_alone(melody):
    ids = torch.full((1, 4, 3), 64)

    def layer_2(branch):
        "Activations (row, position, d_model), the cond row first."
        seen = []
        with (
            steer(melody, a_direction(), 2.0, branch=branch),
            hooked(melody, dict(layer_2=lambda values, now: seen.append(values.clone()))),
        ):
            one_pass(melody, SHORT, ids, logits=None)
        return seen[0]

    cond, null, both = layer_2("cond"), layer_2("null"), layer_2("both")
    assert torch.equal(cond[0], both[0])
    assert torch.equal(null[1], both[1])
    assert not torch.equal(cond[1], both[1])
    assert not torch.equal(null[0], both[0])


# patching


def guided_logits(model, tokens, prompt, guidance=3.0):
    "Logits (clip, codebook, frame, entry) after guidance."
    logits = one_pass(model, prompt, delay_tokens(tokens, model.config), logits="all")
    guided = merge_guidance(*logits.chunk(2), guidance)
    return frame_logits(guided, model.config, tokens.shape[-1])


@pytest.mark.parametrize("source, target", [PROMPTS, PROMPTS[::-1]])
def test_patching_reads_each_prompts_own_null_rows(melody, source, target):
    "Source and target differ in length, and so do their null rows."
    pairs = pair_tokens(melody, Pairs([source], [target]), 0.16)
    sites, arms = ["layer_0.mlp", "text"], ("patch", "noop")
    table = activation_patching(melody, pairs, sites, arms, progress=False)
    table = table.query("readout == 'guided'")
    source_logits = guided_logits(melody, pairs.tokens, source)
    target_logits = guided_logits(melody, pairs.tokens, target)
    gap = contrast(source_logits, target_logits)[1].sum(-1)[0]
    for _, rows in table[table.codebook != "all"].groupby(["site", "arm"]):
        np.testing.assert_allclose(rows.gap, gap, rtol=1e-3)
    restored = table[table.codebook == "all"].set_index(["site", "arm"]).restored
    assert abs(restored["text", "patch"] - 1) < 1e-4
    assert abs(restored["text", "noop"]) < 1e-4
    assert abs(restored["layer_0.mlp", "noop"]) < 1e-4


@pytest.mark.parametrize("source, target", [PROMPTS, PROMPTS[::-1]])
def test_ablation_reads_each_prompts_own_null_rows(melody, source, target):
    pairs = pair_tokens(melody, Pairs([source], [target]), 0.16)
    how = dict(keep=lambda values: values, zero="zero")
    table = ablation_effects(melody, pairs, ["layer_0.mlp", "text"], how, progress=False)
    table = table.query("readout == 'guided' and codebook == 'all'")
    lost = table.set_index(["site", "how"]).lost
    assert abs(lost["text", "keep"]) < 1e-4
    assert abs(lost["layer_0.mlp", "keep"]) < 1e-4
    assert lost["text", "zero"] > 1e-3


def test_text_cannot_be_patched_within_a_window(melody):
    pairs = pair_tokens(melody, Pairs([SHORT], [LONG]), 0.16)
    cells = all_cells(melody, 0.16, "text", step_s=0.08)
    for window in (cells[:1], cells[1:]):
        with pytest.raises(ValueError, match="reads its text once"):
            activation_patching(melody, pairs, window, "patch", progress=False)


def test_branch_arithmetic_of_prompts_of_any_length(melody):
    direction = a_direction()
    prompts = [SHORT, LONG, SHORT]
    tokens = sample_tokens(melody, prompts, 0, 5)
    together = branch_arithmetic(melody, tokens, prompts, direction).set_index("branch")
    squares = []
    for clip, prompt in zip(tokens, prompts):
        alone = branch_arithmetic(melody, clip[None], [prompt], direction).set_index("branch")
        squares.append(alone.moved**2)
    np.testing.assert_allclose(together.moved**2, np.mean(squares, 0), rtol=1e-3)
    with pytest.raises(ValueError, match="one prompt per clip; got 2 prompts for 3 clips"):
        branch_arithmetic(melody, tokens, PROMPTS, direction)


# refusals


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


def test_a_melody_is_refused(melody):
    with pytest.raises(ValueError, match="melody audio prompt is not supported"):
        melody.begin(melody.encode_text(SHORT), melody=np.zeros(3))
    chroma = torch.rand(1, 30, 12)
    with (
        pytest.raises(ValueError, match="melody audio prompt is not supported"),
        ActivationExtractor(melody),
    ):
        melody.hf.generate(
            **melody.tokenize(SHORT), input_features=chroma, do_sample=False, max_length=8
        )


def test_what_else_is_refused(melody):
    with pytest.raises(ValueError, match="tokens cannot share a batch"):
        melody.begin(melody.encode_text(PROMPTS))
    with pytest.raises(KeyError, match=r"layer_0\.\.layer_2"):
        melody.site("layer_3")
    for kind in ("cross", "self"):
        expected = f"{kind}-attention weights of a melody model are not supported"
        with pytest.raises(ValueError, match=expected):
            attention_pass(melody, np.zeros((1, 4, 5), int), "x", lambda w, mask: w, kind)
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


# raw models, random controls and precision


def test_raw_model_and_random_control(melody):
    assert isinstance(as_model(melody.hf, melody.tokenizer), MelodyModel)
    assert isinstance(melody.site("layer_0"), TokenSite)
    control = randomized(melody, seed=3, text=True)
    assert control.sites == melody.sites
    assert "cross_attn" not in " ".join(control.sites)
    from_control = sample_tokens(control, [SHORT], 0, 5)
    assert (from_control != sample_tokens(melody, [SHORT], 0, 5)).any()


@pytest.mark.parametrize("name", ["tiny", "melody"])
def test_random_weights_touch_no_generator(name, request, monkeypatch):
    model = request.getfixturevalue(name)
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    randomized(model, seed=3)
    assert not seeded
    assert torch.equal(torch.get_rng_state(), before)


def test_random_weights_keep_no_hook_of_the_original(tiny):
    def shift(module, args, output):
        output.last_hidden_state += 5.0

    def text_states(model):
        encoded = model.tokenizer([SHORT], return_tensors="pt")
        with torch.no_grad():
            return model.hf.text_encoder(**encoded, output_hidden_states=True)

    plain = text_states(randomized(tiny, seed=3, text=True))
    handle = tiny.hf.text_encoder.register_forward_hook(shift)
    try:
        control = text_states(randomized(tiny, seed=3, text=True))
    finally:
        handle.remove()
    assert torch.equal(control.last_hidden_state, plain.last_hidden_state)
    assert len(control.hidden_states) == len(plain.hidden_states) > 1


@pytest.mark.parametrize("name", ["tiny", "melody"])
def test_random_weights_are_drawn_in_copies_on_the_cpu(name, request, monkeypatch):
    drawn = []
    reset = torch.nn.Linear.reset_parameters

    def reset_and_note(module):
        drawn.append(module)
        reset(module)

    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", reset_and_note)
    control = randomized(request.getfixturevalue(name), seed=3)
    in_use = {id(module) for module in control.hf.modules()}
    assert drawn
    assert not [module for module in drawn if id(module) in in_use]


@pytest.mark.parametrize("name", ["tiny", "melody"])
def test_random_weights_are_the_same_in_every_precision(name, request):
    model = request.getfixturevalue(name)
    full = randomized(model, seed=3)
    half = randomized(load_model(model.folder, device="cpu", dtype="bfloat16"), seed=3)
    drawn = ("decoder", "enc_to_dec_proj", "audio_enc_to_dec_proj")
    half_weights = dict(half.hf.named_parameters())
    for parameter, weight in full.hf.named_parameters():
        if parameter.startswith(drawn):
            assert torch.equal(weight.bfloat16(), half_weights[parameter]), parameter


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", ["tiny", "melody"])
def test_random_weights_of_a_model_on_a_gpu(name, request):
    model = request.getfixturevalue(name)
    before = torch.cuda.get_rng_state()
    there = randomized(load_model(model.folder, device="cuda"), seed=3)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    for here, moved in zip(randomized(model, seed=3).hf.parameters(), there.hf.parameters()):
        assert torch.equal(here, moved.cpu())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_finite(folder, dtype):
    model = load_model(folder, device="cpu", dtype=dtype)
    tokens = sample_tokens(model, [SHORT], 0, 4)
    assert np.isfinite(replay(model, tokens, SHORT)["layer_2"]).all()
    error = replay_error(model, tokens, SHORT)
    assert error.relative.max() <= REPLAY_TOLERANCE[dtype], error.to_string()


# stereo


def test_stereo_of_plain_musicgen_replays(tmp_path):
    folder = write_random_model(tmp_path / "stereo", n_codebooks=8, channels=2)
    model = load_model(folder, device="cpu")
    tokens = sample_tokens(model, PROMPTS, 0, 6)
    assert tokens.shape == (2, 8, 6)
    assert model.config.delays == (0, 0, 1, 1, 2, 2, 3, 3)
    sites = [site for site in model.sites if not site.startswith("text")]
    assert "layer_2.cross_attn" in sites
    for prompt, clip in zip(PROMPTS, tokens):
        slow = stepwise(model, clip[None], prompt, sites)
        fast = replay(model, clip[None], prompt, sites, ("cond", "null"))
        for site in sites:
            assert relative_gap(slow[site], fast[site]) < 1e-4, site
    extractor = ActivationExtractor(model)
    extractor.generate(SHORT, duration_s=0.12)
    sizes = extractor.get_activations()["layer_0"].sizes
    assert sizes == dict(timestep=9, branch=2, clip=1, d_model=32)
