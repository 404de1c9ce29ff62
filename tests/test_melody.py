"MusicGen Melody with text alone: the library's tokens, replay, batches, stereo, edits, and what is refused."
import shutil

import numpy as np
import pytest
import torch

from musicgen_emotion.attention import attention_pass
from musicgen_emotion.extraction import ClipStore, generate_clips, replay, replay_store, stepwise
from musicgen_emotion.generation import generate
from musicgen_emotion.hooks import ActivationExtractor, hooked, trace
from musicgen_emotion.melody import MelodyModel, TokenSite, write_random_melody
from musicgen_emotion.models import as_model, delay_tokens, load_model, randomized, sample_tokens, write_random_model

PROMPTS = ["happy song", "sad slow piano ballad in a minor key with soft strings"]
KINDS = ("embed", "resid", "self_attn", "mlp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory): return write_random_melody(tmp_path_factory.mktemp("melody") / "tiny", seed=0)


@pytest.fixture(scope="module")
def melody(folder): return load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    return load_model(write_random_melody(tmp_path_factory.mktemp("melody") / "stereo", seed=1, n_codebooks=8, channels=2, chroma_length=20), device="cpu")


def _library(model, prompt, n_frames, guidance):
    "Sound and fed ids of the library's own greedy generate."
    fed = []
    handle = model.hf.decoder.model.decoder.register_forward_pre_hook(lambda m, a, kw: fed.append(kw["input_ids"][:model.config.n_codebooks]), with_kwargs=True)
    try: wave = model.hf.generate(**model.tokenize(prompt), do_sample=False, guidance_scale=guidance, max_length=model.config.positions(n_frames) + 1)
    finally: handle.remove()
    return wave[0].numpy(), torch.cat(fed, 1)[None]


def _gap(a, b): return float(abs(a - b).max() / abs(a).max())


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
    assert torch.equal(delay_tokens(tokens, stereo.config), fed) and stereo.decode_audio(tokens).shape == (1, 2, 6 * 640)
    np.testing.assert_allclose(stereo.decode_audio(tokens)[0], wave, atol=1e-4)


@pytest.mark.parametrize("name", ["melody", "stereo"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_replay_is_stepwise(name, prompt, request):
    model = request.getfixturevalue(name)
    tokens = sample_tokens(model, [prompt, prompt], 0, 7)
    sites = model.resolve_sites(sites=KINDS)
    slow, fast, seen = stepwise(model, tokens, prompt, sites), replay(model, tokens, prompt, sites), {}
    with hooked(model, {s: lambda x, now: seen.update({now.site.name: x.unflatten(0, (2, -1)).transpose(0, 1).numpy()}) for s in sites}):
        model.step(model.begin(model.encode_text([prompt, prompt]), cache=False), delay_tokens(tokens, model.config), logits=None)
    for s in sites:
        assert slow[s].shape == seen[s].shape == (2, 2, model.config.positions(7), model.config.d_model)
        assert _gap(slow[s].sel(branch="cond"), fast[s].sel(branch="cond")) < 1e-4, s
        assert _gap(slow[s].values, seen[s]) < 1e-4, f"{s}, both branches in one pass"


@pytest.mark.parametrize("prompt", ["", *PROMPTS])
def test_replay_of_the_null_branch(melody, prompt):
    "The null rows are as long as the prompt, so replay has to know the prompt for them as well."
    tokens = sample_tokens(melody, [prompt], 0, 7)
    slow, fast = stepwise(melody, tokens, prompt), replay(melody, tokens, prompt, branches=("null", "guidance"))
    for s in slow.data_vars:
        assert _gap(slow[s].sel(branch="null"), fast[s].sel(branch="null")) < 1e-4, s
        assert _gap(slow[s].sel(branch="cond") - slow[s].sel(branch="null"), fast[s].sel(branch="guidance")) < 1e-4, s


def test_extractor_records_what_replay_computes(melody):
    ex = ActivationExtractor(melody, sites=(*KINDS, "text", "text_proj"))
    tokens = ex.generate(PROMPTS, duration_s=0.16)
    acts = ex.get_activations()
    again = replay(melody, tokens, PROMPTS, sites=[s for s in melody.sites if not s.startswith("text")])
    assert acts["layer_1"].sizes == dict(timestep=11, branch=2, clip=2, d_model=32)
    assert acts["text"].sizes["d_text"] == 24 and acts["text_proj"].sizes["d_model"] == 32
    for s in again.data_vars:
        a = acts[s].sel(branch="cond").transpose("clip", "timestep", "d_model").values
        np.testing.assert_allclose(a, again[s].values[:, 0], atol=1e-4 * np.abs(a).max())


def test_extractor_around_the_librarys_generate(melody):
    ours, theirs = ActivationExtractor(melody, sites=KINDS), ActivationExtractor(melody.hf, sites=KINDS)
    ours.generate(PROMPTS[0], duration_s=0.16, temperature=0)
    with theirs: _library(melody, PROMPTS[0], 8, 3.0)
    for s, a in ours.get_activations().items():
        b = theirs.get_activations()[s]
        assert a.sizes == b.sizes and float(abs(a.values - b.values).max()) < 1e-4 * float(abs(a).max())


def test_a_clip_does_not_depend_on_its_batch(melody):
    many = generate(melody, [*PROMPTS, "calm ambient pads", "angry heavy metal"], [5, 6, 7, 8], 0.16, progress=False)
    one = generate(melody, PROMPTS[1], 6, 0.16, progress=False)
    np.testing.assert_array_equal(many.tokens[1], one.tokens[0])
    both, alone = replay(melody, many.tokens[:2], PROMPTS)["layer_2"].values[1], replay(melody, one.tokens, PROMPTS[1])["layer_2"].values[0]
    np.testing.assert_allclose(both, alone, atol=1e-5 * np.abs(alone).max())


def test_hooks_that_change_nothing_and_hooks_that_steer(melody):
    bare = sample_tokens(melody, PROMPTS[:1], 0, 6)
    before = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in melody.hf.modules())
    def push(alpha):
        def _add(x, now): return x + alpha * torch.sin(torch.arange(x.shape[-1]))
        with hooked(melody, {s: _add for s in ("embed", "layer_0", "layer_1.self_attn", "layer_2.mlp")}): return sample_tokens(melody, PROMPTS[:1], 0, 6)
    assert (push(0.0) == bare).all() and (push(3.0) != bare).any()
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in melody.hf.modules()) == before


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
        assert torch.equal(pushed[:, :-3], plain[:, :-3]) and not torch.equal(pushed[:, -3:], plain[:, -3:]), site


def test_passes_are_followed(melody):
    seen = []
    with hooked(melody, {"layer_0": lambda x, now: seen.append((now.position, now.length, now.branches, now.n_clips, tuple(x.shape), now.null_rows().tolist()))}):
        sample_tokens(melody, [PROMPTS[0]] * 2, 0, 3)
    assert seen == [(p, 1, ("cond", "null"), 2, (4, 1, 32), [False, False, True, True]) for p in range(6)]


def test_trace_finds_no_fault(melody):
    "Both prompts have as many tokens: the null rows of a melody model follow the length of the prompt."
    pair = "happy upbeat song", "slow upbeat song"
    while (a := melody.tokenize(pair[0])["input_ids"].shape[1]) != (b := melody.tokenize(pair[1])["input_ids"].shape[1]):
        pair = (pair[0] + " a", pair[1]) if a < b else (pair[0], pair[1] + " a")
    report = trace(melody, pair[0], other=pair[1])
    assert report.ok, report.verdict


def test_store_and_replay_store(melody, tmp_path):
    import xarray as xr
    generate_clips(melody, PROMPTS, ClipStore(tmp_path / "clips"), duration_s=0.16, progress=False)
    out = replay_store(melody, tmp_path / "clips", "resid", tmp_path / "acts", pool=None, progress=False)
    assert xr.open_zarr(out / "layer_2").activations.shape == (2, 1, 11, 32)


def test_text_sites(melody):
    acts = replay(melody, sample_tokens(melody, PROMPTS[:1], 0, 5), PROMPTS[0], sites=("text", "text_proj"))
    n = melody.tokenize(PROMPTS[0])["input_ids"].shape[1]
    assert acts["text"].shape == (1, 1, n, 24) and acts["text_proj"].shape == (1, 1, n, 32) and np.isfinite(acts["text_proj"]).all()


def test_steering_with_strength_zero_changes_nothing(melody):
    from musicgen_emotion.directions import Direction
    from musicgen_emotion.steering import steer
    v = Direction(np.sin(np.arange(32.0)), site="layer_1", origin="test", rms=1.0)
    bare = sample_tokens(melody, PROMPTS[:1], 0, 6)
    def run(alpha):
        with steer(melody, v, alpha, branch="both"): return sample_tokens(melody, PROMPTS[:1], 0, 6)
    assert (run(0.0) == bare).all() and (run(4.0) != bare).any()


def test_steering_one_branch_leaves_the_other_alone(melody):
    from musicgen_emotion.directions import Direction
    from musicgen_emotion.steering import steer
    v, ids = Direction(np.sin(np.arange(32.0)), site="layer_1", origin="test", rms=1.0), torch.full((1, 4, 3), 64)
    def run(**kw):
        out = []
        with steer(melody, v, 2.0, **kw), hooked(melody, {"layer_2": lambda x, now: out.append(x.clone())}):
            melody.step(melody.begin(melody.encode_text(PROMPTS[0]), cache=False), ids, logits=None)
        return out[0]
    cond, null, both = run(branch="cond"), run(branch="null"), run(branch="both")
    assert torch.equal(cond[0], both[0]) and torch.equal(null[1], both[1]) and not torch.equal(cond[1], both[1]) and not torch.equal(null[0], both[0])


@pytest.mark.parametrize("call", [lambda m: m.site("layer_0.cross_attn"), lambda m: m.resolve_sites(sites="cross_attn"), lambda m: m.resolve_sites(sites=["resid", "cross_attn"]),
                                  lambda m: ActivationExtractor(m, sites=("cross_attn",)), lambda m: replay(m, np.zeros((1, 4, 5), int), "x", sites="layer_1.cross_attn")])
def test_cross_attention_is_refused_by_name(melody, call):
    with pytest.raises(KeyError, match="melody models have no cross-attention"): call(melody)


def test_what_else_is_refused(melody, tmp_path, folder):
    text = melody.encode_text(PROMPTS[0])
    with pytest.raises(ValueError, match="melody audio prompt is not supported"): melody.begin(text, melody=np.zeros(3))
    with pytest.raises(ValueError, match="tokens cannot share a batch"): melody.begin(melody.encode_text(PROMPTS))
    with pytest.raises(ValueError, match="melody audio prompt is not supported"), ActivationExtractor(melody):
        melody.hf.generate(**melody.tokenize(PROMPTS[0]), input_features=torch.rand(1, 30, 12), do_sample=False, max_length=8)
    with pytest.raises(KeyError, match=r"layer_0\.\.layer_2"): melody.site("layer_3")
    for kind in ("cross", "self"):
        with pytest.raises(ValueError, match=f"{kind}-attention weights of a melody model are not supported"): attention_pass(melody, np.zeros((1, 4, 5), int), "x", lambda w, m: w, kind)
    with pytest.raises(ValueError, match="duration_s=36"): melody.config.frames(36.5)


@pytest.mark.parametrize("name", ["audio_enc_to_dec_proj.weight", "decoder.lm_heads.0.weight"])
def test_missing_weights_are_refused(folder, tmp_path, name):
    from safetensors.torch import load_file, save_file
    out = shutil.copytree(folder, tmp_path / "bad")
    weights = load_file(out / "model.safetensors")
    del weights[name]
    save_file(weights, out / "model.safetensors", metadata=dict(format="pt"))
    with pytest.raises(ValueError, match="lacks 1 weights"): load_model(out, device="cpu")


def test_raw_model_and_random_control(melody):
    assert isinstance(as_model(melody.hf, melody.tokenizer), MelodyModel) and isinstance(melody.site("layer_0"), TokenSite)
    control = randomized(melody, seed=3, text=True)
    assert control.sites == melody.sites and "cross_attn" not in " ".join(control.sites)
    assert (sample_tokens(control, PROMPTS[:1], 0, 5) != sample_tokens(melody, PROMPTS[:1], 0, 5)).any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_finite(folder, dtype):
    model = load_model(folder, device="cpu", dtype=dtype)
    tokens = sample_tokens(model, PROMPTS[:1], 0, 4)
    assert np.isfinite(replay(model, tokens, PROMPTS[0])["layer_2"]).all()


def test_stereo_of_plain_musicgen_replays(tmp_path):
    model = load_model(write_random_model(tmp_path / "s", n_codebooks=8, channels=2), device="cpu")
    tokens = sample_tokens(model, PROMPTS, 0, 6)
    sites = [s for s in model.sites if not s.startswith("text")]
    assert tokens.shape == (2, 8, 6) and model.config.delays == (0, 0, 1, 1, 2, 2, 3, 3) and "layer_2.cross_attn" in sites
    for p, t in zip(PROMPTS, tokens):
        slow, fast = stepwise(model, t[None], p, sites), replay(model, t[None], p, sites, ("cond", "null"))
        for s in sites: assert float(abs(slow[s] - fast[s]).max() / abs(slow[s]).max()) < 1e-4, s
    ex = ActivationExtractor(model)
    ex.generate(PROMPTS[0], duration_s=0.12)
    assert ex.get_activations()["layer_0"].sizes == dict(timestep=9, branch=2, clip=1, d_model=32)
