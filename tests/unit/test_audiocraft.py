"""The audiocraft backend against the library's own generate, transformers and damaged files."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from musicgen_emotion.activations.clip_plans import generate_clips
from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.extractor import ActivationExtractor
from musicgen_emotion.activations.hooks import hooked
from musicgen_emotion.activations.replaying import REPLAY_TOLERANCE, replay, replay_error, stepwise
from musicgen_emotion.activations.tracing import trace
from musicgen_emotion.cli.commands import describe_model, download_model
from musicgen_emotion.cli.readiness import backends_here, is_here
from musicgen_emotion.lab.files import sha256_file
from musicgen_emotion.models import (
    audiocraft_backend,
    audiocraft_export,
    audiocraft_files,
    audiocraft_import,
    audiocraft_reading,
)
from musicgen_emotion.models.audiocraft_backend import AudiocraftModel
from musicgen_emotion.models.audiocraft_export import cached_export, export_audiocraft
from musicgen_emotion.models.audiocraft_files import CODEC_FILE, LM_FILE, fetch_parts, register_t5
from musicgen_emotion.models.audiocraft_import import (
    INSTALL_COMMANDS,
    cached_sha256,
    import_audiocraft,
)
from musicgen_emotion.models.load import as_model, load_model, randomized
from musicgen_emotion.models.melody import write_random_melody
from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.probes.attention import attention_pass
from musicgen_emotion.steering.directions import Direction
from musicgen_emotion.steering.distances import codec_embedding
from musicgen_emotion.steering.heads import hooked_sites
from musicgen_emotion.steering.push import steer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("audiocraft") is None,
    reason="audiocraft is not installed (`make env` installs it)",
)

PROMPTS = ["happy upbeat pop song", "sad slow piano ballad in a minor key", ""]
HAPPY, SAD = PROMPTS[:2]
KINDS = ("resid", "self_attn", "cross_attn", "mlp")
BOTH = ("cond", "null")
T5_WEIGHTS = "t5/model.safetensors"


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    return export_audiocraft(tiny, tmp_path_factory.mktemp("exported") / "tiny")


@pytest.fixture(scope="module")
def craft(exported):
    return load_model(exported, device="cpu")


@pytest.fixture(scope="module")
def craft_nano(nano):
    return load_model("nano", backend="audiocraft", device="cpu")


def raw_of(folder):
    "The library's own object, from its own loader."
    import_audiocraft()
    from audiocraft.models.musicgen import MusicGen

    register_t5(folder)
    return MusicGen.get_pretrained(str(folder), device="cpu")


def set_greedy(raw, n_frames, **kwargs):
    "Settings of the library's generate: greedy, unless `kwargs` say otherwise."
    defaults = dict(use_sampling=False, duration=n_frames / raw.frame_rate)
    raw.set_generation_params(**(defaults | kwargs))


def library_tokens(raw, prompts):
    "Tokens (clip, codebook, frame) of the library's own generate."
    _, tokens = raw.generate(prompts, return_tokens=True)
    return tokens.numpy()


def plain_hooks(raw, prompts, layers):
    "Tokens of the library's generate, and by layer what each call of the layer returned."
    seen = {layer: [] for layer in layers}

    def keep(layer):
        return lambda module, args, output: seen[layer].append(output.clone())

    handles = []
    for layer in layers:
        module = raw.lm.transformer.layers[layer]
        handles.append(module.register_forward_hook(keep(layer)))
    try:
        tokens = library_tokens(raw, prompts)
    finally:
        for handle in handles:
            handle.remove()
    return tokens, seen


def changed(folder, out, file, change):
    "A copy of a checkpoint with one file edited in place by `change`."
    shutil.copytree(folder, out)
    package = torch.load(out / file, weights_only=True)
    change(package)
    torch.save(package, out / file)
    return out


def configured(folder, out, edit, file=LM_FILE):
    "A copy of a checkpoint with a configuration edited in place by `edit`."
    from omegaconf import OmegaConf

    def change(package):
        cfg = OmegaConf.create(package["xp.cfg"])
        edit(cfg)
        package["xp.cfg"] = OmegaConf.to_yaml(cfg)

    return changed(folder, out, file, change)


def rewrite_weights(file, change):
    "Edit weights on disk; `change` gets all of them and the name of one."
    weights = load_file(file)
    candidates = [name for name in sorted(weights) if "bias" in name or "SelfAttention.q" in name]
    change(weights, candidates[0])
    save_file(weights, file, metadata=dict(format="pt"))


def assert_same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name


def assert_nothing_left_behind(model):
    "No hook, no changed method and no cache in the modules."
    for network in (model.hf.lm, model.hf.text_encoder):  # the codec has hooks of weight norm
        for module in network.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
    for module in model.hf.modules():
        assert "forward" not in vars(module)
        assert "key_mask" not in vars(module)
        assert not getattr(module, "_streaming_state", None)
        assert not getattr(module, "_is_streaming", False)


# the two backends


@pytest.mark.parametrize("size", ["tiny", "nano"])
def test_both_backends_compute_the_same_at_every_site(size, request):
    "transformers pads and hides the padding, audiocraft has none: compared at common tokens."
    theirs = request.getfixturevalue(size)
    ours = request.getfixturevalue(dict(tiny="craft", nano="craft_nano")[size])
    tokens = sample_tokens(theirs, PROMPTS[:2], 0, 30)
    expected = replay(theirs, tokens, PROMPTS[:2], theirs.sites, BOTH, pool=None)
    got = replay(ours, tokens, PROMPTS[:2], ours.sites, BOTH, pool=None)
    for site in theirs.sites:
        x, y = expected[site].values, got[site].values  # (clip, branch, position or token, width)
        if site in ("text", "text_proj"):
            n_tokens = min(x.shape[2], y.shape[2])
            x, y = x[:, :, :n_tokens], y[:, :, :n_tokens]
        else:
            assert (np.isnan(x) == np.isnan(y)).all(), site
        keep = ~(np.isnan(x) | np.isnan(y))
        assert keep.any(), site
        assert np.abs(x - y)[keep].max() <= 1e-4 * np.abs(x[keep]).max(), site


@pytest.mark.parametrize("prompt", PROMPTS[:2])
@pytest.mark.parametrize("size", ["tiny", "nano"])
def test_text_states_agree(size, prompt, request):
    theirs = request.getfixturevalue(size).encode_text(prompt)
    craft = request.getfixturevalue(dict(tiny="craft", nano="craft_nano")[size])
    ours = craft.encode_text(prompt)
    n_tokens = ours.states.shape[1]
    assert int(theirs.mask.sum()) == int(ours.mask.sum()) == n_tokens
    assert theirs.ids[0, :n_tokens].tolist() == ours.ids[0].tolist()
    torch.testing.assert_close(theirs.states[:, :n_tokens], ours.states, atol=1e-4, rtol=0)
    torch.testing.assert_close(theirs.mean(), ours.mean(), atol=1e-4, rtol=0)


def test_greedy_tokens_and_sound_are_equal_on_nano(nano, craft_nano):
    theirs = sample_tokens(nano, PROMPTS[:2], 0, 50, temperature=0)
    ours = sample_tokens(craft_nano, PROMPTS[:2], 0, 50, temperature=0)
    np.testing.assert_array_equal(theirs, ours)
    wave = craft_nano.decode_audio(ours)
    np.testing.assert_allclose(nano.decode_audio(theirs), wave, atol=1e-4)
    expected = codec_embedding(nano, wave)
    np.testing.assert_allclose(expected, codec_embedding(craft_nano, wave), atol=1e-3)


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_attention_weights_agree(tiny, craft, kind):
    tokens = sample_tokens(tiny, PROMPTS[:2], 0, 12)

    def weights(model):
        ((_, by_layer),) = attention_pass(model, tokens, PROMPTS[:2], lambda w, mask: w, kind)
        return by_layer

    expected = weights(tiny)
    for layer, ours in weights(craft).items():
        n_keys = ours.shape[-1]
        torch.testing.assert_close(expected[layer][..., :n_keys], ours, atol=1e-5, rtol=0)
    assert_nothing_left_behind(craft)


# the library's own generate


@pytest.mark.parametrize("prompt", PROMPTS)
def test_sampling_equals_the_librarys_greedy_generate(exported, craft, prompt):
    raw = raw_of(exported)
    set_greedy(raw, 20)
    expected = library_tokens(raw, [prompt])
    np.testing.assert_array_equal(expected, sample_tokens(craft, [prompt], 0, 20, temperature=0))


def test_plain_hooks_on_generate_equal_stepwise_and_replay(craft_nano):
    "The packaged model as the library's own loader reads it."
    raw, prompts = raw_of(craft_nano.folder), [HAPPY, HAPPY]
    assert_same_weights(raw.lm, craft_nano.raw.lm)
    set_greedy(raw, 30, use_sampling=True, top_k=50)
    torch.manual_seed(0)
    tokens, seen = plain_hooks(raw, prompts, range(4))
    fast = replay(craft_nano, tokens, prompts, None, BOTH, pool=None)
    slow = stepwise(craft_nano, tokens, prompts)
    n_positions = craft_nano.config.positions(30)
    for layer in range(4):
        rows = torch.cat(seen[layer], 1)  # (branch and clip, position, d_model)
        assert len(seen[layer]) == n_positions
        assert rows.shape[:2] == (4, n_positions)
        theirs = rows.unflatten(0, (2, 2)).transpose(0, 1).numpy()  # (clip, branch, ...)
        for ours in (fast, slow):
            gap = np.abs(theirs - ours[f"layer_{layer}"].values).max()
            assert gap <= 1e-4 * np.abs(theirs).max()


def test_rows_are_doubled_even_at_guidance_one(exported):
    raw = raw_of(exported)
    set_greedy(raw, 5, cfg_coef=1.0)
    _, seen = plain_hooks(raw, PROMPTS[:2], [0])
    assert {len(values) for values in seen[0]} == {4}


@pytest.mark.parametrize("two_step", [False, True])
@pytest.mark.parametrize("prompts", [PROMPTS[:2], [HAPPY, ""], ["", ""], [""], [HAPPY]])
@pytest.mark.filterwarnings("ignore:the library's generate got prompts")
def test_an_extractor_around_generate_keeps_branches_apart(exported, craft, prompts, two_step):
    raw = raw_of(exported)
    set_greedy(raw, 6, two_step_cfg=two_step)
    n_clips = len(prompts)
    extractor = ActivationExtractor(raw, layers=[0, 2], sites=("resid", "text", "text_proj"))
    with extractor:
        for _ in range(2):
            tokens = library_tokens(raw, prompts)
    first, second = extractor.get_activations(concatenate=False)["layer_2"]
    for run in (first, second):
        assert list(run.branch.values) == ["cond", "null"]
        assert run.sizes["timestep"] == 9
    assert list(second["clip"].values) == list(range(n_clips, 2 * n_clips))
    np.testing.assert_allclose(first, second, atol=1e-5)

    null = replay(craft, tokens, None, ["layer_2"], ("null",), pool=None)["layer_2"].values[:, 0]
    recorded_null = first.sel(branch="null").transpose("clip", "timestep", "d_model")
    np.testing.assert_allclose(recorded_null, null, atol=1e-4)

    calls = plain_hooks(raw, prompts, [2])[1][2]
    if two_step:  # cond and null are every other call
        theirs = torch.stack([torch.cat(calls[branch::2], 1) for branch in (0, 1)])
    else:
        theirs = torch.cat(calls, 1).unflatten(0, (2, n_clips))
    recorded = first.transpose("branch", "clip", "timestep", "d_model")
    np.testing.assert_allclose(recorded, theirs, atol=1e-5)

    lengths = {craft.encode_text(prompt).ids.shape[1] for prompt in prompts}
    if len(lengths) == 1:
        cond = replay(craft, tokens, prompts, ["layer_2"], "cond", pool=None)["layer_2"]
        np.testing.assert_allclose(theirs[0], cond.values[:, 0], atol=1e-4)
    text = extractor.get_activations(concatenate=False)["text"][0].sel(branch="cond")
    assert np.isfinite(text).all()
    assert bool((np.abs(text) > 0).any()) == any(prompts)
    assert_nothing_left_behind(as_model(raw))


@pytest.mark.parametrize("two_step", [False, True])
@pytest.mark.parametrize("branch", ["cond", "null", "both"])
def test_the_librarys_generate_is_steered_the_same(exported, craft, branch, two_step):
    raw = raw_of(exported)
    direction = Direction(np.random.default_rng(0).normal(size=32), "layer_1", "by hand", 1.0)
    set_greedy(raw, 12, two_step_cfg=two_step)
    with steer(raw, direction, 2.0, branch=branch):
        theirs = library_tokens(raw, [HAPPY])
    with steer(craft, direction, 2.0, branch=branch):
        ours = sample_tokens(craft, [HAPPY], 0, 12, temperature=0)
    np.testing.assert_array_equal(theirs, ours)
    assert (ours != sample_tokens(craft, [HAPPY], 0, 12, temperature=0)).any()


def test_wrapping_shares_the_weights_and_says_what_it_is(exported, craft):
    raw = raw_of(exported)
    model = as_model(raw)
    assert model.raw is raw
    assert model.hf.lm is raw.lm
    assert model.folder == exported
    assert model.checksum == craft.checksum
    assert (model.config, model.sites) == (craft.config, craft.sites)
    assert trace(raw, HAPPY, duration_s=0.1).ok
    assert_same_weights(raw.lm, craft.raw.lm)
    assert_same_weights(raw.compression_model, craft.raw.compression_model)


# a clip and its batch


@pytest.mark.filterwarnings("ignore")
def test_a_clip_does_not_depend_on_its_batch(craft):
    tokens = np.random.default_rng(0).integers(0, 64, (4, 4, 12))
    prompts = [HAPPY, "sad " * 20, "", SAD]
    together = replay(craft, tokens, prompts, KINDS, BOTH, pool=None)
    for clip, prompt in enumerate(prompts):
        own_tokens = tokens[clip : clip + 1]
        alone = replay(craft, own_tokens, [prompt], KINDS, BOTH, pool=None)
        for site in together.data_vars:
            np.testing.assert_allclose(together[site][clip], alone[site][0], atol=1e-5)


def test_padding_of_joined_prompts_is_hidden(craft):
    ids = torch.zeros(2, 4, 6, dtype=torch.long)
    joined = craft.step(craft.begin(craft.encode_text(PROMPTS[:2]), cache=False), ids, "all")
    for clip, prompt in enumerate(PROMPTS[:2]):
        alone = craft.step(craft.begin(craft.encode_text(prompt), cache=False), ids[:1], "all")
        torch.testing.assert_close(joined[[clip, clip + 2]], alone, atol=1e-4, rtol=0)


def test_an_error_within_a_pass_leaves_nothing_behind(craft):
    ids = torch.zeros(2, 4, 6, dtype=torch.long)
    with pytest.raises(ZeroDivisionError), hooked(craft, {"layer_1": lambda x, now: 1 / 0}):
        craft.step(craft.begin(craft.encode_text(PROMPTS[:2])), ids)
    assert_nothing_left_behind(craft)


def test_two_decodings_take_turns(craft):
    ids = torch.randint(0, 64, (1, 4, 8), generator=torch.Generator().manual_seed(0))
    states = [craft.begin(craft.encode_text(prompt)) for prompt in PROMPTS[:2]]
    logits = [[], []]  # of each decoding, a position at a time
    for position in range(8):
        for decoding, state in enumerate(states):
            step = craft.step(state, ids[..., position : position + 1])
            logits[decoding].append(step)
    for decoding, prompt in enumerate(PROMPTS[:2]):
        whole = craft.step(craft.begin(craft.encode_text(prompt), cache=False), ids, "all")
        in_turns = torch.stack(logits[decoding], 2)
        torch.testing.assert_close(in_turns, whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("which", ["craft", "craft_nano"])
def test_replay_equals_stepwise(which, request):
    model = request.getfixturevalue(which)
    prompts = [HAPPY, HAPPY]
    tokens = sample_tokens(model, prompts, 0, 40)
    sites = model.resolve_sites(None, KINDS)
    assert replay_error(model, tokens, prompts, sites).relative.max() <= 1e-4


def test_reading_lower_layers_stepwise_keeps_the_position(craft):
    tokens = sample_tokens(craft, [HAPPY], 0, 12)
    assert replay_error(craft, tokens, [HAPPY], ["layer_0"]).relative.max() <= 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("which", ["craft", "craft_nano"])
def test_half_precision_is_finite_and_replays(which, dtype, request):
    "Replay and stepwise passes round alike up to a few units in the last place of the format."
    full = request.getfixturevalue(which)
    half = load_model(full.folder, device="cpu", dtype=dtype)
    tolerance = REPLAY_TOLERANCE[dtype]
    assert str(half.dtype) == f"torch.{dtype}"
    assert next(half.hf.text_encoder.parameters()).dtype == torch.float32
    tokens = sample_tokens(half, [HAPPY], 0, 20)
    error = replay_error(half, tokens, [HAPPY], half.resolve_sites(None, KINDS))
    assert error.relative.max() <= tolerance
    expected = replay(full, tokens, [HAPPY], None, pool=None)
    got = replay(half, tokens, [HAPPY], None, pool=None)
    for site in expected.data_vars:
        assert np.isfinite(got[site].values).all()
        gap = np.abs(expected[site] - got[site]).max()
        assert gap <= 3 * tolerance * np.abs(expected[site]).max()
    assert np.isfinite(half.decode_audio(tokens)).all()


def test_a_batch_of_different_lengths_is_said_once(exported):
    "The library lets the shorter prompt read its padding; our own passes hide it."
    raw = raw_of(exported)
    set_greedy(raw, 3)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for prompts in (["sad", SAD], ["sad", SAD], [HAPPY, "", HAPPY]):
            with ActivationExtractor(raw, layers=[0]):
                raw.generate(prompts)
        ActivationExtractor(raw, layers=[0]).generate(["sad", SAD], duration_s=0.06)
    tokenizer = as_model(raw).tokenizer
    short, long = sorted(len(tokenizer(prompt)["input_ids"]) for prompt in ("sad", SAD))
    given = [str(w.message) for w in seen if "read the padding" in str(w.message)]
    assert len(given) == 1
    assert f"prompts of {short}, {long} tokens" in given[0]
    assert "prompts of one length" in given[0]


def test_a_clip_in_windows_is_said_once(exported):
    raw = raw_of(exported)
    raw.max_duration = 0.2
    raw.set_generation_params(use_sampling=False, duration=0.3, extend_stride=0.1)
    expected = r"0\.3 s in overlapping windows of 0\.2 s.*at most 0\.2 s"
    with (
        pytest.warns(UserWarning, match=expected) as seen,
        ActivationExtractor(raw, layers=[0]) as extractor,
    ):
        raw.generate([HAPPY])
    assert sum("windows" in str(w.message) for w in seen) == 1
    first_window = extractor.get_activations(concatenate=False)["layer_0"][0]
    assert first_window.sizes["clip"] == 1


# stereo, equal widths, heads, random weights


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    "A stereo model under both backends, and the library's object."
    out = tmp_path_factory.mktemp("stereo")
    theirs = load_model(
        write_random_model(out / "transformers", n_codebooks=8, channels=2), device="cpu"
    )
    folder = export_audiocraft(theirs, out / "audiocraft")
    return theirs, load_model(folder, device="cpu"), raw_of(folder)


def test_stereo_tokens_and_sound(stereo):
    theirs, ours, raw = stereo
    assert ours.config == theirs.config
    assert ours.config.delays == (0, 0, 1, 1, 2, 2, 3, 3) == tuple(raw.lm.pattern_provider.delays)
    set_greedy(raw, 12)
    wave, tokens = raw.generate([HAPPY], return_tokens=True)
    made = sample_tokens(ours, [HAPPY], 0, 12, temperature=0)
    np.testing.assert_array_equal(tokens.numpy(), made)
    np.testing.assert_array_equal(made, sample_tokens(theirs, [HAPPY], 0, 12, temperature=0))
    audio = ours.decode_audio(made)
    np.testing.assert_allclose(audio, wave.numpy(), atol=1e-5)
    np.testing.assert_allclose(audio, theirs.decode_audio(made), atol=1e-4)


def test_stereo_sites_and_replay(stereo):
    theirs, ours, _ = stereo
    tokens = sample_tokens(ours, [HAPPY], 0, 12, temperature=0)
    sites = ours.resolve_sites(None, KINDS)
    expected = replay(theirs, tokens, [HAPPY], sites, BOTH, pool=None)
    got = replay(ours, tokens, [HAPPY], sites, BOTH, pool=None)
    for site in sites:
        gap = np.abs(expected[site] - got[site]).max()
        assert gap <= 1e-4 * np.abs(expected[site]).max()
    assert replay_error(ours, tokens, [HAPPY]).relative.max() <= 1e-4


def test_equal_widths_have_no_projection(tmp_path):
    folder = write_random_model(tmp_path / "same", d_text=32, d_model=32)
    theirs = load_model(folder, device="cpu")
    ours = load_model(export_audiocraft(theirs, tmp_path / "out"), device="cpu")
    assert "text_proj" not in theirs.sites
    assert ours.sites == theirs.sites
    tokens = sample_tokens(ours, [HAPPY], 0, 8, temperature=0)
    np.testing.assert_array_equal(tokens, sample_tokens(theirs, [HAPPY], 0, 8, temperature=0))


def test_heads_add_up_to_the_attention(craft):
    seen = {}

    def keep(values, now):
        seen[now.site.name] = values.clone()

    site = "layer_1.cross_attn"
    heads = [f"{site}.head_{head}" for head in range(craft.config.n_heads)]
    ids = torch.zeros(1, 4, 1, dtype=torch.long)
    with hooked_sites(craft, dict.fromkeys([*heads, site], keep)):
        craft.step(craft.begin(craft.encode_text(HAPPY)), ids)
    joined = torch.cat([seen[head] for head in heads], -1)
    torch.testing.assert_close(craft.module(site).out_proj(joined), seen[site])


def test_random_weights_leave_the_model_alone(craft):
    before = {name: weight.clone() for name, weight in craft.hf.state_dict().items()}
    other = randomized(craft, 1, text=True)
    assert isinstance(other, AudiocraftModel)
    assert other.sites == craft.sites
    for name, weight in craft.hf.state_dict().items():
        assert torch.equal(weight, before[name]), name
    for part in ("layers.0.self_attn.in_proj_weight", "layers.1.linear1.weight"):
        drawn, trained = other.decoder.get_parameter(part), craft.decoder.get_parameter(part)
        assert not torch.equal(drawn, trained)
    assert not torch.equal(other.encode_text(HAPPY).states, craft.encode_text(HAPPY).states)


def test_random_weights_follow_the_seed_alone(craft):
    first = randomized(craft, 1, text=True)
    state = torch.random.get_rng_state()
    again = randomized(craft, 1, text=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same_weights(first.hf, again.hf)
    assert first.checksum == again.checksum
    assert first.checksum != randomized(craft, 2).checksum


# export


def test_export_is_the_same_bytes_anywhere(tiny, exported, craft, tmp_path):
    again = export_audiocraft(tiny, tmp_path / "elsewhere" / "again")
    for file in (LM_FILE, CODEC_FILE):
        assert (again / file).read_bytes() == (exported / file).read_bytes()
    moved = shutil.move(again, tmp_path / "moved")
    assert load_model(moved, device="cpu").checksum == craft.checksum
    assert raw_of(moved).lm.dim == 32


def folders_in(cache):
    return [path.name for path in (cache / "audiocraft").iterdir() if path.is_dir()]


def test_a_folder_of_transformers_is_exported_once(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MGE_CACHE", str(tmp_path))
    folder = cached_export(tiny_folder)
    written = (folder / LM_FILE).stat().st_mtime_ns
    assert load_model(tiny_folder, backend="audiocraft", device="cpu").folder == folder
    assert (folder / LM_FILE).stat().st_mtime_ns == written
    assert folders_in(tmp_path) == [folder.name]


def test_the_cache_follows_weights_tokenizer_and_exporter(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(audiocraft_export, "export_audiocraft", lambda folder, out: out.mkdir())
    own = shutil.copytree(tiny_folder, tmp_path / "own")
    original = cached_export(own)
    seen = [original]
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        data = (own / file).read_bytes()
        (own / file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        seen.append(cached_export(own))
        (own / file).write_bytes(data)
        assert cached_export(own) == original
    monkeypatch.setattr(audiocraft_export, "EXPORT_VERSION", 2)
    seen.append(cached_export(own))
    assert len(set(seen)) == 5


@pytest.fixture
def files_read(tmp_path, monkeypatch):
    "Files whose checksum was computed, with a cache of the test's."
    read = []

    def note_and_read(file):
        read.append(file)
        return sha256_file(file)

    monkeypatch.setenv("MGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(audiocraft_import, "sha256_file", note_and_read)
    return read


def test_a_large_file_is_read_once_until_it_changes(tmp_path, files_read, monkeypatch):
    monkeypatch.setattr(audiocraft_import, "SETTLED_S", -1)
    file = tmp_path / "weights.bin"
    file.write_bytes(bytes(2**20))
    before, date = cached_sha256(file), file.stat().st_mtime_ns
    assert cached_sha256(file) == before
    assert len(files_read) == 1
    file.write_bytes(bytes(2**20 - 1) + b"a")
    os.utime(file, ns=(date, date))  # same size and date as before
    assert cached_sha256(file) == sha256_file(file) != before
    assert len(files_read) == 2
    (tmp_path / "cache" / "audiocraft" / "sha256.json").write_text("[")
    assert cached_sha256(file) == sha256_file(file)


def test_a_file_that_was_just_written_is_not_remembered(tmp_path, files_read, monkeypatch):
    monkeypatch.setattr(audiocraft_import, "SETTLED_S", 1e9)
    file = tmp_path / "weights.bin"
    file.write_bytes(bytes(2**20))
    assert cached_sha256(file) == cached_sha256(file)
    assert len(files_read) == 2


def test_two_exports_at_once_and_what_a_killed_one_left(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MGE_CACHE", str(tmp_path))
    made = []

    def slow_export(folder, out):
        made.append(out)
        time.sleep(0.2)
        return export_audiocraft(folder, out)

    monkeypatch.setattr(audiocraft_export, "export_audiocraft", slow_export)
    (tmp_path / "audiocraft" / ".tmp-1-0123abcd-model").mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(cached_export, [tiny_folder] * 2)
    assert one == two
    assert len(made) == 1
    assert folders_in(tmp_path) == [one.name]


def test_a_half_precision_model_is_exported_and_left_alone(tiny_folder, exported, tmp_path):
    theirs = load_model(tiny_folder, device="cpu", dtype="bfloat16")
    model = load_model(export_audiocraft(theirs, tmp_path / "out"), device="cpu")
    assert {weight.dtype for weight in theirs.hf.text_encoder.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in model.hf.parameters()} == {torch.float32}


def test_only_transformers_models_are_exported(craft, tmp_path):
    with pytest.raises(ValueError, match="only a text-to-music model of the transformers backend"):
        export_audiocraft(craft, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_raw_model_of_transformers_is_exported(tiny, exported, tmp_path):
    out = export_audiocraft(tiny.hf, tmp_path / "out")
    assert (out / LM_FILE).read_bytes() == (exported / LM_FILE).read_bytes()


# damaged checkpoints


@pytest.mark.parametrize(
    "file, weight",
    [
        (LM_FILE, "transformer.layers.1.linear1.weight"),
        (LM_FILE, "emb.0.weight"),
        (CODEC_FILE, "decoder.model.0.conv.conv.weight_v"),
    ],
)
def test_damaged_weights_are_refused_by_name(exported, tmp_path, file, weight):
    def missing(package):
        del package["best_state"][weight]

    def misshaped(package):
        package["best_state"][weight] = package["best_state"][weight][..., :-1].clone()

    def nan(package):
        package["best_state"][weight].view(-1)[0] = float("nan")

    def surplus(package):
        package["best_state"]["other"] = torch.zeros(1)

    for change, why in (
        (missing, f"lacks 1 weights, first '{weight}'"),
        (misshaped, f"weight '{weight}' has shape"),
        (nan, f"weight '{weight}' holds 1 NaN"),
        (surplus, "has 1 weights that its configuration does not, first 'other'"),
    ):
        folder = changed(exported, tmp_path / change.__name__, file, change)
        with pytest.raises(ValueError, match=why):
            load_model(folder, device="cpu")


class Evil:
    "A pickle that would run code."

    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda package: package.update({"xp.cfg": Evil()}), "cannot be read"),
        (lambda package: package.update({"xp.cfg": dict(a=1)}), "must be YAML text, got dict"),
        (lambda package: package.pop("best_state"), "lacks best_state"),
    ],
)
def test_unreadable_packages_are_refused_by_name(exported, tmp_path, change, why):
    folder = changed(exported, tmp_path / "out", LM_FILE, change)
    with pytest.raises(ValueError, match=f"{LM_FILE}.*{why}"):
        load_model(folder, device="cpu")


def test_cut_and_missing_files_are_refused_by_name(exported, tmp_path):
    cut = shutil.copytree(exported, tmp_path / "cut")
    (cut / LM_FILE).write_bytes((cut / LM_FILE).read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_model(cut, device="cpu")
    (cut / LM_FILE).unlink()
    with pytest.raises(FileNotFoundError):
        load_model(cut, device="cpu")
    no_codec = shutil.copytree(exported, tmp_path / "no_codec")
    (no_codec / CODEC_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=f"{CODEC_FILE} is missing"):
        load_model(no_codec, device="cpu")


@pytest.mark.parametrize("file", [LM_FILE, CODEC_FILE])
@pytest.mark.parametrize(
    "data, why",
    [
        (b"hello world", ""),
        (b"", "it is empty"),
        (b"<!DOCTYPE html><p>404", "it is a web page"),
        (b"PK\x03\x04abc", ""),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n",
            "pointer of git-lfs.*git lfs pull",
        ),
    ],
)
def test_files_that_are_no_checkpoint(exported, tmp_path, file, data, why):
    folder = shutil.copytree(exported, tmp_path / "out")
    (folder / file).write_bytes(data)
    expected = f"{file} cannot be read.*{why}.*weights and a configuration"
    with pytest.raises(ValueError, match=expected):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("file", [LM_FILE, CODEC_FILE])
@pytest.mark.parametrize(
    "change, why",
    [
        (lambda package: package.update({"xp.cfg": "{"}), "xp.cfg cannot be read"),
        (
            lambda package: package.update({"xp.cfg": ""}),
            "xp.cfg lacks .* and others; the configuration of audiocraft's",
        ),
        (lambda package: package.update({"xp.cfg": "- a"}), "xp.cfg lacks"),
        (
            lambda package: package.update(best_state=None),
            "best_state must be a dict of tensors, got NoneType",
        ),
        (
            lambda package: package["best_state"].update(more="x"),
            "best_state must hold tensors, got str for 'more'",
        ),
    ],
)
def test_half_a_package_is_refused_by_name(exported, tmp_path, file, change, why):
    folder = changed(exported, tmp_path / "out", file, change)
    with pytest.raises(ValueError, match=f"{file}: {why}"):
        load_model(folder, device="cpu")


LM_SETTINGS = (
    "transformer_lm",
    "fuser",
    "codebooks_pattern",
    "dataset",
    "lm_model",
    "classifier_free_guidance",
    "transformer_lm.num_heads",
    "conditioners.description.t5.name",
)
CODEC_SETTINGS = ("compression_model", "seanet", "encodec", "rvq")


@pytest.mark.parametrize(
    "file, key",
    [
        *((LM_FILE, key) for key in LM_SETTINGS),
        *((CODEC_FILE, key) for key in CODEC_SETTINGS),
    ],
)
def test_a_configuration_that_lacks_a_part_is_refused_by_name(exported, tmp_path, file, key):
    *path, last = key.split(".")

    def remove(cfg):
        for part in path:
            cfg = cfg[part]
        del cfg[last]

    folder = configured(exported, tmp_path / "out", remove, file)
    with pytest.raises(ValueError, match=f"xp.cfg lacks.* {key}|Missing key {key}"):
        load_model(folder, device="cpu")


def test_files_in_each_others_place(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "swapped")
    shutil.copy(exported / LM_FILE, folder / CODEC_FILE)
    shutil.copy(exported / CODEC_FILE, folder / LM_FILE)
    expected = (
        f"{LM_FILE}: xp.cfg lacks .*the configuration of audiocraft's language model is expected"
    )
    with pytest.raises(ValueError, match=expected):
        load_model(folder, device="cpu")


def test_models_that_cannot_be_built(exported, tmp_path):
    def heads(cfg):
        cfg.transformer_lm.num_heads = 5

    def delays(cfg):
        cfg.codebooks_pattern.delay.delays = [0, 1, 2]

    def surplus(cfg):
        cfg.transformer_lm.foo = 5

    for edit, why in (
        (heads, "num_heads is 5, which does not divide dim, 32"),
        (delays, "n_q is 4, and codebooks_pattern has 3 delays"),
        (surplus, "the model that xp.cfg describes"),
    ):
        folder = configured(exported, tmp_path / edit.__name__, edit)
        with pytest.raises(ValueError, match=f"{LM_FILE}: audiocraft cannot build.*{why}"):
            load_model(folder, device="cpu")


def test_what_is_not_supported_is_refused_by_name(exported, tmp_path):
    def melody(cfg):
        cfg.conditioners.self_wav = dict(model="chroma_stem", chroma_stem={})

    def rope(cfg):
        cfg.transformer_lm.positional_embedding = "rope"

    def parallel(cfg):
        cfg.codebooks_pattern.modeling = "parallel"

    def prepend(cfg):
        cfg.fuser.cross, cfg.fuser.prepend = [], ["description"]

    def normalized(cfg):
        cfg.conditioners.description.t5.normalize_text = True

    def shifted(cfg):
        cfg.codebooks_pattern.delay.empty_initial = 2

    def flattened(cfg):
        cfg.codebooks_pattern.delay.flatten_first = 1

    def scaled(cfg):
        cfg.transformer_lm.layer_scale = 0.1

    def acausal(cfg):
        cfg.transformer_lm.causal = False

    def delays(cfg):
        cfg.codebooks_pattern.delay.delays = [0, 2, 4, 6]

    instead = r"load_model\('facebook/musicgen-melody', backend='transformers'\)"
    for edit, why in (
        (melody, f"'self_wav' reads a melody.*{instead}"),
        (rope, "positional_embedding is 'rope'"),
        (parallel, "codebooks_pattern is 'parallel'"),
        (prepend, "fuser.cross is"),
        (normalized, "normalize_text is True"),
        (shifted, "delay.empty_initial is 2"),
        (flattened, "delay.flatten_first is 1"),
        (scaled, "layer_scale is 0.1"),
        (acausal, "causal is False"),
        (delays, "delayed by"),
    ):
        folder = configured(exported, tmp_path / edit.__name__, edit)
        with pytest.raises(ValueError, match=why):
            load_model(folder, device="cpu")


# the text encoder and the codec


def remove_weight(weights, name):
    del weights[name]


def make_nan(weights, name):
    weights[name].view(-1)[:1].fill_(np.nan)


def make_louder(weights, name):
    weights[name].mul_(2)


def configure_t5(folder, **values):
    file = folder / "t5" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def remove_tokenizer(folder):
    for file in (folder / "t5").iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()


def cut_weights(folder):
    file = folder / T5_WEIGHTS
    file.write_bytes(file.read_bytes()[:1000])


DAMAGES = {
    "a weight too few": (
        lambda folder: rewrite_weights(folder / T5_WEIGHTS, remove_weight),
        r"lacks 1 weights, first 'text_encoder\.encoder\.block\.0",
    ),
    "NaN": (
        lambda folder: rewrite_weights(folder / T5_WEIGHTS, make_nan),
        r"weight 'text_encoder\.encoder\.block\.0.*holds 1 NaN",
    ),
    "more layers": (
        lambda folder: configure_t5(folder, num_layers=5),
        "lacks 24 weights, first 'text_encoder",
    ),
    "fewer layers": (
        lambda folder: configure_t5(folder, num_layers=1),
        "8 weights that its configuration does not",
    ),
    "no tokenizer": (remove_tokenizer, r"t5 has no tokenizer: one of tokenizer\.json"),
    "cut off": (cut_weights, "t5 cannot be read .*of a T5 is expected"),
    "half a configuration": (
        lambda folder: (folder / "t5/config.json").write_text("{"),
        r"t5/config\.json cannot be read",
    ),
    "no width": (
        lambda folder: (folder / "t5/config.json").write_text("{}"),
        r"t5/config\.json cannot be read .*d_model",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_text_encoder_is_refused_by_name(exported, tmp_path, what):
    "Where a checkpoint is read; the library's own loader takes most of these."
    folder = shutil.copytree(exported, tmp_path / "out")
    damage, why = DAMAGES[what]
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=why):
        load_model(folder, device="cpu")


def test_an_export_without_its_text_encoder_says_what_is_missing(exported, tmp_path, monkeypatch):
    folder = shutil.copytree(exported, tmp_path / "out")
    (folder / "t5/config.json").unlink()
    monkeypatch.setattr(audiocraft_files, "_text_encoders", {})
    expected = r"belongs into .*t5, and config\.json is missing there"
    with pytest.raises(FileNotFoundError, match=expected):
        load_model(folder, device="cpu")


def test_a_missing_text_encoder_is_one_error_with_the_command(exported, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    folder = configured(exported, tmp_path / "hub", name_t5_base)
    assert load_model(folder, device="cpu").config.d_text == 24
    shutil.rmtree(folder / "t5")
    expected = r"do not contain their text encoder.*hf download t5-base"
    with pytest.raises(FileNotFoundError, match=expected) as error:
        load_model(folder, device="cpu")
    assert str(folder / "t5") in str(error.value)


def name_codec(folder, codec):
    "Let a checkpoint name its codec, as the published ones do."
    torch.save(dict(pretrained=str(codec)), folder / CODEC_FILE)


def name_t5_base(cfg):
    cfg.conditioners.description.t5.name = "t5-base"


@pytest.mark.parametrize(
    "change, why",
    [
        (remove_weight, "lacks 1 weights, first 'audio_encoder"),
        (make_nan, r"weight 'audio_encoder.*holds 1 NaN"),
    ],
)
def test_a_damaged_codec_of_transformers_is_refused_by_name(tiny, exported, tmp_path, change, why):
    folder = shutil.copytree(exported, tmp_path / "out")
    tiny.hf.audio_encoder.save_pretrained(folder / "codec")
    rewrite_weights(folder / "codec/model.safetensors", change)
    name_codec(folder, folder / "codec")
    with pytest.raises(ValueError, match=why):
        load_model(folder, device="cpu")


@pytest.mark.parametrize(
    "sizes, has",
    [
        (dict(n_codebooks=8), "8 codebooks of 64 entries"),
        (dict(codebook_size=32), "4 codebooks of 32 entries"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_codec_of_another_model_is_refused(exported, tmp_path, sizes, has, named):
    other = load_model(write_random_model(tmp_path / "transformers", **sizes), device="cpu")
    folder = shutil.copytree(exported, tmp_path / "out")
    if named:
        other.hf.audio_encoder.save_pretrained(folder / "codec")
        name_codec(folder, folder / "codec")
    else:
        shutil.copy(export_audiocraft(other, tmp_path / "other") / CODEC_FILE, folder)
    expected = f"its codec has {has}, and its language model writes 4 of 64"
    with pytest.raises(ValueError, match=expected):
        load_model(folder, device="cpu")


def test_a_codec_may_be_in_another_folder(exported, craft, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "out")
    name_codec(folder, exported)
    tokens = np.zeros((1, 4, 6), int)
    audio = load_model(folder, device="cpu").decode_audio(tokens)
    np.testing.assert_array_equal(audio, craft.decode_audio(tokens))
    assert fetch_parts(folder) == dict(codec=exported)


# published checkpoints in the cache


@pytest.fixture
def hub(tiny, tiny_folder, exported, tmp_path, monkeypatch):
    "A cache as the published checkpoints fill it, offline: both files name what they need."
    import huggingface_hub.constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))

    published = configured(exported, tmp_path / "published", name_t5_base)
    shutil.move(published / "t5", tmp_path / "t5")
    shutil.copy(tiny_folder / "spiece.model", tmp_path / "t5")
    name_codec(published, "facebook/encodec_32khz")
    tiny.hf.audio_encoder.save_pretrained(tmp_path / "codec")
    for name, files in (
        ("facebook/musicgen-small", published),
        ("t5-base", tmp_path / "t5"),
        ("facebook/encodec_32khz", tmp_path / "codec"),
    ):
        repository = cached_repository(cache, name)
        commit = "a" * 40
        shutil.copytree(files, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    return cache


def cached_repository(cache, name):
    return cache / f"models--{name.replace('/', '--')}"


def test_a_published_checkpoint_is_read_from_the_cache(hub, craft):
    model = load_model("facebook/musicgen-small", backend="audiocraft", device="cpu")
    assert model.config == craft.config
    assert type(model.raw.compression_model).__name__ == "HFEncodecCompressionModel"
    tokens = sample_tokens(model, [HAPPY], 0, 12, temperature=0)
    np.testing.assert_array_equal(tokens, sample_tokens(craft, [HAPPY], 0, 12, temperature=0))
    wave = model.decode_audio(tokens)
    np.testing.assert_allclose(wave, craft.decode_audio(tokens), atol=1e-5)
    expected = craft.codec_latents(wave)
    torch.testing.assert_close(model.codec_latents(wave), expected, atol=1e-4, rtol=0)


def test_a_whole_checkpoint_in_the_cache_is_here(hub):
    assert backends_here("facebook/musicgen-small") == ["audiocraft"]
    assert is_here("facebook/musicgen-small")
    assert not is_here("facebook/musicgen-large")
    assert load_model("facebook/musicgen-small", device="cpu").backend == "audiocraft"
    shutil.rmtree(cached_repository(hub, "t5-base"))
    assert backends_here("facebook/musicgen-small") == []


def test_a_download_follows_the_names_in_a_checkpoint(hub, exported):
    folder = download_model("facebook/musicgen-small", backend="audiocraft")
    repositories = {part: path.parts[-3] for part, path in fetch_parts(folder).items()}
    assert repositories == dict(
        text_encoder="models--t5-base", codec="models--facebook--encodec_32khz"
    )
    assert fetch_parts(exported) == {}


@pytest.mark.parametrize("name", ["facebook/encodec_32khz", "t5-base"])
def test_a_part_that_is_nowhere_is_one_error_with_the_command(hub, name):
    shutil.rmtree(cached_repository(hub, name))
    with pytest.raises(FileNotFoundError, match=f"hf download {name}"):
        download_model("facebook/musicgen-small", backend="audiocraft")
    with pytest.raises(FileNotFoundError, match=f"hf download {name}"):
        load_model("facebook/musicgen-small", backend="audiocraft", device="cpu")


def test_the_codec_is_looked_for_before_the_model_is_built(hub, monkeypatch):
    shutil.rmtree(cached_repository(hub, "facebook/encodec_32khz"))
    monkeypatch.setattr(audiocraft_reading, "_build_lm", lambda *args: pytest.fail("built"))
    expected = r"its codec 'facebook/encodec_32khz'.*hf download facebook/encodec_32khz"
    with pytest.raises(FileNotFoundError, match=expected):
        load_model("facebook/musicgen-small", backend="audiocraft", device="cpu")


def test_a_melody_model_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    folder = write_random_melody(tmp_path / "melody", chroma_length=4)
    monkeypatch.setattr(audiocraft_backend, "cached_export", lambda *args: pytest.fail("exported"))
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *args, **kwargs: pytest.fail("fetched")
    )
    refused = pytest.raises(ValueError, match=r"reads a melody.*use backend='transformers'")
    for name in (folder, "facebook/musicgen-melody", "facebook/musicgen-stereo-melody-large"):
        with refused:
            load_model(name, backend="audiocraft")
        with refused:
            describe_model(str(name), "audiocraft")
    with refused:
        download_model("facebook/musicgen-melody", backend="audiocraft")


# identity


def test_the_checksum_covers_text_encoder_and_codec(exported, craft, hub, tmp_path):
    def published_checksum():
        return load_model("facebook/musicgen-small", backend="audiocraft", device="cpu").checksum

    other = shutil.copytree(exported, tmp_path / "other")
    rewrite_weights(other / T5_WEIGHTS, make_louder)
    seen = [craft.checksum, load_model(other, device="cpu").checksum, published_checksum()]
    assert published_checksum() == seen[-1]
    repository = cached_repository(hub, "facebook/encodec_32khz")
    snapshot = next((repository / "snapshots").iterdir())
    rewrite_weights(snapshot / "model.safetensors", make_louder)
    seen.append(published_checksum())
    assert len(set(seen)) == 4


def test_a_raw_object_without_a_folder_is_known_by_its_weights(exported, craft, tmp_path):
    raw = raw_of(exported)
    raw.name = "facebook/musicgen-small"
    model = as_model(raw)
    assert model.folder is None
    assert model.checksum == as_model(raw).checksum
    assert model.checksum != craft.checksum
    store = ClipStore(tmp_path / "clips")
    table = generate_clips(raw, [HAPPY], store, duration_s=0.06, progress=False)
    assert table.model_checksum.tolist() == [model.checksum]
    raw.lm.linears[0].weight.data[0, 0] += 1
    assert as_model(raw).checksum == model.checksum != table.model_checksum[0]


def test_an_object_of_a_subclass_is_accepted(exported, craft, tmp_path):
    raw = raw_of(exported)

    class Mine(type(raw)):
        pass

    raw.__class__ = Mine
    assert as_model(raw).config == craft.config
    with pytest.raises(ValueError, match="only a text-to-music model of the transformers backend"):
        export_audiocraft(raw, tmp_path / "no")


# the import

IMPORT = """
import importlib.util
import logging
import sys

logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
from musicgen_emotion.models.audiocraft_import import StandIn, import_audiocraft

libraries = ("torchaudio", "av", "spacy", "librosa", "xformers")
before = [name for name in libraries if name in sys.modules]


def stand_ins():
    return [name for name, module in sys.modules.items() if isinstance(module, StandIn)]


sys.modules["num2words"] = None  # audiocraft needs it
for _ in range(2):
    try:
        import_audiocraft()
    except ImportError as error:
        assert "num2words" in str(error)
        assert "install what it needs with: pip install einops" in str(error)
    else:
        raise AssertionError("imported without num2words")
    assert not stand_ins()
    assert not [name for name in sys.modules if name.split(".")[0] == "audiocraft"]
del sys.modules["num2words"]

library = import_audiocraft()
import_audiocraft()
left = [name for name in stand_ins() if name.split(".")[0] != "xformers"]

from transformers.utils import is_librosa_available, is_torchaudio_available

# transformers has not taken a stand-in for the library
assert is_torchaudio_available() == (importlib.util.find_spec("torchaudio") is not None)
assert is_librosa_available() == (importlib.util.find_spec("librosa") is not None)
print(library.__version__, left, before)
"""


def test_stand_ins_are_gone_and_said_once():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "1.3.0 [] []"
    n_said = done.stderr.count("musicgen_emotion.models.audiocraft_import audiocraft runs without")
    libraries = ("xformers", "torchaudio", "av", "spacy", "librosa")
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    assert n_said == 1 if missing else n_said <= 1
    for name in missing:
        assert name in done.stderr


WITHOUT_AUDIOCRAFT = """
import importlib
import pkgutil
import sys

for name in (
    "audiocraft", "einops", "flashy", "omegaconf", "julius", "num2words", "torchmetrics"
):
    sys.modules[name] = None
import musicgen_emotion

for module in pkgutil.iter_modules(musicgen_emotion.__path__):
    importlib.import_module("musicgen_emotion." + module.name)
from musicgen_emotion.activations.replaying import replay
from musicgen_emotion.models.audiocraft_files import fetch_parts
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.sampling import sample_tokens

transformers_folder, audiocraft_folder = sys.argv[1:]
model = load_model(transformers_folder, device="cpu")
assert replay(model, sample_tokens(model, ["sad"], 0, 4), ["sad"]).sizes["clip"] == 1
assert fetch_parts(audiocraft_folder) == {}
for settings in (
    dict(name=transformers_folder, backend="audiocraft"),
    dict(name=audiocraft_folder),
):
    try:
        load_model(device="cpu", **settings)
    except ImportError as error:
        print(error)
"""


def test_a_missing_library_names_both_commands_and_hinders_nothing_else(
    tiny_folder, exported, tmp_path
):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_AUDIOCRAFT, tiny_folder, exported],
        capture_output=True,
        text=True,
        env={**os.environ, "MGE_CACHE": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for command in INSTALL_COMMANDS:
        assert done.stdout.count(command) == 2, done.stdout + done.stderr


def test_the_commands_are_those_of_the_requirements_file():
    root = Path(__file__).resolve().parents[2]
    pins = set()
    for line in (root / "requirements-audiocraft.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pins.add(line.split(";")[0].strip())
    assert set(INSTALL_COMMANDS[0].split()[2:]) <= pins
    assert INSTALL_COMMANDS[1].split()[-1] in (root / "Makefile").read_text()
    constraints = (root / "constraints.txt").read_text()
    assert all(pin in constraints for pin in pins)
