"""The audiocraft backend against the library's own generate, against transformers, and against damaged checkpoints."""

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

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("audiocraft") is None,
    reason="audiocraft is not installed (`make env` installs it)",
)

from musicgen_emotion.activations.clip_plans import generate_clips
from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.extractor import ActivationExtractor
from musicgen_emotion.activations.hooks import _n_hooks, hooked
from musicgen_emotion.activations.replaying import REPLAY_TOLERANCE, replay, replay_error, stepwise
from musicgen_emotion.activations.tracing import trace
from musicgen_emotion.cli.commands import describe_model, download_model
from musicgen_emotion.cli.readiness import backends_here, is_here
from musicgen_emotion.lab.files import sha256_file
from musicgen_emotion.models import audiocraft_export, audiocraft_files
from musicgen_emotion.models import audiocraft_import as backend
from musicgen_emotion.models.audiocraft_backend import AudiocraftModel
from musicgen_emotion.models.audiocraft_export import cached_export, export_audiocraft
from musicgen_emotion.models.audiocraft_files import CODEC_FILE, LM_FILE, fetch_parts, register_t5
from musicgen_emotion.models.audiocraft_import import COMMANDS, import_audiocraft
from musicgen_emotion.models.load import as_model, load_model, randomized
from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.probes.attention import attention_pass
from musicgen_emotion.steering.directions import Direction
from musicgen_emotion.steering.distances import codec_embedding
from musicgen_emotion.steering.heads import hooked_sites
from musicgen_emotion.steering.push import steer

PROMPTS = ["happy upbeat pop song", "sad slow piano ballad in a minor key", ""]
SITES = ("resid", "self_attn", "cross_attn", "mlp")


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
    import_audiocraft()
    from audiocraft.models import MusicGen

    register_t5(folder)
    return MusicGen.get_pretrained(str(folder), device="cpu")


def settings(raw, n_frames, **kwargs):
    raw.set_generation_params(
        **(dict(use_sampling=False, duration=n_frames / raw.frame_rate) | kwargs)
    )


def plain_hooks(raw, prompts, layers):
    "The library's own generate with plain forward hooks: tokens, and activations (row, position, width) by layer."
    seen = {i: [] for i in layers}
    handles = [
        raw.lm.transformer.layers[i].register_forward_hook(
            lambda m, a, o, i=i: seen[i].append(o.clone())
        )
        for i in layers
    ]
    try:
        _, tokens = raw.generate(prompts, return_tokens=True)
    finally:
        for h in handles:
            h.remove()
    return tokens.numpy(), seen


def changed(folder, out, file, change):
    "A copy of a checkpoint with one file changed."
    shutil.copytree(folder, out)
    package = torch.load(out / file, weights_only=True)
    change(package)
    torch.save(package, out / file)
    return out


# the two backends


def test_both_backends_compute_the_same_at_every_site(tiny, craft, nano, craft_nano):
    "transformers pads and hides the padding, audiocraft has none: compared at the tokens that both have."
    for a, b in ((tiny, craft), (nano, craft_nano)):
        tokens = sample_tokens(a, PROMPTS[:2], 0, 30)
        one, two = (
            replay(m, tokens, PROMPTS[:2], m.sites, ("cond", "null"), pool=None) for m in (a, b)
        )
        for s in a.sites:
            x, y = one[s].values, two[s].values
            y = y if s not in ("text", "text_proj") else y[:, :, : x.shape[2]]
            x = x if s not in ("text", "text_proj") else x[:, :, : y.shape[2]]
            assert (np.isnan(x) == np.isnan(y)).all() or s.startswith("text"), s
            keep = ~(np.isnan(x) | np.isnan(y))
            assert keep.any() and np.abs(x - y)[keep].max() <= 1e-4 * np.abs(x[keep]).max(), s


def test_text_states_agree(tiny, craft, nano, craft_nano):
    for a, b in ((tiny, craft), (nano, craft_nano)):
        for p in PROMPTS[:2]:
            x, y = a.encode_text(p), b.encode_text(p)
            n = y.states.shape[1]
            assert (
                int(x.mask.sum()) == int(y.mask.sum()) == n
                and x.ids[0, :n].tolist() == y.ids[0].tolist()
            )
            torch.testing.assert_close(x.states[:, :n], y.states, atol=1e-4, rtol=0)
            torch.testing.assert_close(x.mean(), y.mean(), atol=1e-4, rtol=0)


def test_greedy_tokens_and_sound_are_equal_on_nano(nano, craft_nano):
    a, b = (sample_tokens(m, PROMPTS[:2], 0, 50, temperature=0) for m in (nano, craft_nano))
    np.testing.assert_array_equal(a, b)
    wave = craft_nano.decode_audio(b)
    np.testing.assert_allclose(nano.decode_audio(a), wave, atol=1e-4)
    np.testing.assert_allclose(
        codec_embedding(nano, wave), codec_embedding(craft_nano, wave), atol=1e-3
    )


def test_attention_weights_agree(tiny, craft):
    tokens = sample_tokens(tiny, PROMPTS[:2], 0, 12)
    for kind in ("self", "cross"):
        ((_, one),) = attention_pass(tiny, tokens, PROMPTS[:2], lambda w, mask: w, kind)
        ((_, two),) = attention_pass(craft, tokens, PROMPTS[:2], lambda w, mask: w, kind)
        for i in one:
            torch.testing.assert_close(one[i][..., : two[i].shape[-1]], two[i], atol=1e-5, rtol=0)
    assert _n_hooks(craft) == 0 and not any("forward" in vars(m) for m in craft.hf.modules())


# the library's own generate


def test_sampling_equals_the_librarys_greedy_generate(exported, craft):
    raw = raw_of(exported)
    settings(raw, 20)
    for p in PROMPTS:
        np.testing.assert_array_equal(
            raw.generate([p], return_tokens=True)[1].numpy(),
            sample_tokens(craft, [p], 0, 20, temperature=0),
        )


def test_plain_hooks_on_generate_equal_stepwise_and_replay(craft_nano):
    "The packaged model as the library's own loader reads it."
    raw, prompts = raw_of(craft_nano.folder), PROMPTS[:1] * 2
    for (name, x), (_, y) in zip(
        raw.lm.state_dict().items(), craft_nano.raw.lm.state_dict().items(), strict=True
    ):
        assert torch.equal(x, y), name
    settings(raw, 30, use_sampling=True, top_k=50)
    torch.manual_seed(0)
    tokens, seen = plain_hooks(raw, prompts, range(4))
    fast, slow = (
        replay(craft_nano, tokens, prompts, None, ("cond", "null"), pool=None),
        stepwise(craft_nano, tokens, prompts),
    )
    for i in range(4):
        rows = torch.cat(seen[i], 1)
        assert len(seen[i]) == craft_nano.config.positions(30) and rows.shape[:2] == (
            4,
            craft_nano.config.positions(30),
        )
        theirs = rows.unflatten(0, (2, 2)).transpose(0, 1).numpy()
        for ours in (fast, slow):
            assert np.abs(theirs - ours[f"layer_{i}"].values).max() <= 1e-4 * np.abs(theirs).max()


def test_rows_are_doubled_even_at_guidance_one(exported):
    raw = raw_of(exported)
    settings(raw, 5, cfg_coef=1.0)
    _, seen = plain_hooks(raw, PROMPTS[:2], [0])
    assert {len(x) for x in seen[0]} == {4}


@pytest.mark.parametrize("two_step", [False, True])
@pytest.mark.parametrize("prompts", [PROMPTS[:2], [PROMPTS[0], ""], ["", ""], [""], PROMPTS[:1]])
def test_an_extractor_around_generate_keeps_branches_apart(exported, craft, prompts, two_step):
    raw = raw_of(exported)
    settings(raw, 6, two_step_cfg=two_step)
    extractor = ActivationExtractor(raw, layers=[0, 2], sites=("resid", "text", "text_proj"))
    with extractor:
        for _ in range(2):
            _, tokens = raw.generate(prompts, return_tokens=True)
    runs = extractor.get_activations(concatenate=False)["layer_2"]
    assert (
        [list(r.branch.values) for r in runs] == [["cond", "null"]] * 2
        and [r.sizes["timestep"] for r in runs] == [9, 9]
        and list(runs[1]["clip"].values) == [*range(len(prompts), 2 * len(prompts))]
    )
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-5)
    null = replay(craft, tokens, None, ["layer_2"], ("null",), pool=None)["layer_2"].values[:, 0]
    np.testing.assert_allclose(
        runs[0].sel(branch="null").transpose("clip", "timestep", "d_model"), null, atol=1e-4
    )
    calls = plain_hooks(raw, prompts, [2])[1][2]
    theirs = (
        torch.stack([torch.cat(calls[i::2], 1) for i in (0, 1)])
        if two_step
        else torch.cat(calls, 1).unflatten(0, (2, len(prompts)))
    )
    np.testing.assert_allclose(
        runs[0].transpose("branch", "clip", "timestep", "d_model"), theirs, atol=1e-5
    )
    if len({craft.encode_text(p).ids.shape[1] for p in prompts}) == 1:
        alone = replay(craft, tokens, prompts, ["layer_2"], "cond", pool=None)["layer_2"].values[
            :, 0
        ]
        np.testing.assert_allclose(theirs[0], alone, atol=1e-4)
    text = extractor.get_activations(concatenate=False)["text"][0].sel(branch="cond")
    assert np.isfinite(text).all() and bool((np.abs(text) > 0).any()) == any(prompts)
    assert _n_hooks(as_model(raw)) == 0


def test_the_librarys_generate_is_steered_the_same(exported, craft):
    raw, d = (
        raw_of(exported),
        Direction(np.random.default_rng(0).normal(size=32), "layer_1", "by hand", 1.0),
    )
    plain = sample_tokens(craft, PROMPTS[:1], 0, 12, temperature=0)
    for two_step in (False, True):
        for branch in ("cond", "null", "both"):
            settings(raw, 12, two_step_cfg=two_step)
            with steer(raw, d, 2.0, branch=branch):
                _, theirs = raw.generate(PROMPTS[:1], return_tokens=True)
            with steer(craft, d, 2.0, branch=branch):
                ours = sample_tokens(craft, PROMPTS[:1], 0, 12, temperature=0)
            np.testing.assert_array_equal(theirs.numpy(), ours)
            assert (ours != plain).any()


def test_wrapping_shares_the_weights_and_says_what_it_is(exported, craft):
    raw = raw_of(exported)
    model = as_model(raw)
    assert (
        model.raw is raw
        and model.hf.lm is raw.lm
        and model.folder == exported
        and model.checksum == craft.checksum
    )
    assert (model.config, model.sites) == (craft.config, craft.sites) and trace(
        raw, PROMPTS[0], duration_s=0.1
    ).ok
    for (name, x), (_, y) in zip(raw.lm.state_dict().items(), craft.raw.lm.state_dict().items()):
        assert torch.equal(x, y), name
    for (name, x), (_, y) in zip(
        raw.compression_model.state_dict().items(), craft.raw.compression_model.state_dict().items()
    ):
        assert torch.equal(x, y), name


# a clip and its batch


def test_a_clip_does_not_depend_on_its_batch(craft):
    tokens = np.random.default_rng(0).integers(0, 64, (4, 4, 12))
    prompts = [PROMPTS[0], "sad " * 20, "", PROMPTS[1]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = replay(craft, tokens, prompts, SITES, ("cond", "null"), pool=None)
        for i in range(4):
            alone = replay(
                craft, tokens[i : i + 1], prompts[i : i + 1], SITES, ("cond", "null"), pool=None
            )
            for s in together.data_vars:
                np.testing.assert_allclose(together[s][i], alone[s][0], atol=1e-5)


def test_padding_of_joined_prompts_is_hidden(craft):
    ids = torch.zeros(2, 4, 6, dtype=torch.long)
    joined = craft.step(craft.begin(craft.encode_text(PROMPTS[:2]), cache=False), ids, "all")
    for i, p in enumerate(PROMPTS[:2]):
        alone = craft.step(craft.begin(craft.encode_text(p), cache=False), ids[:1], "all")
        torch.testing.assert_close(joined[[i, i + 2]], alone, atol=1e-4, rtol=0)
    with pytest.raises(ZeroDivisionError), hooked(craft, {"layer_1": lambda x, now: 1 / 0}):
        craft.step(craft.begin(craft.encode_text(PROMPTS[:2])), ids)
    assert not any("forward" in vars(m) or "key_mask" in vars(m) for m in craft.hf.modules())
    assert not any(
        getattr(m, "_streaming_state", None) or getattr(m, "_is_streaming", False)
        for m in craft.hf.modules()
    )


def test_two_decodings_take_turns(craft):
    ids = torch.randint(0, 64, (1, 4, 8), generator=torch.Generator().manual_seed(0))
    states = [craft.begin(craft.encode_text(p)) for p in PROMPTS[:2]]
    turns = [[craft.step(s, ids[..., p : p + 1]) for s in states] for p in range(8)]
    for j, p in enumerate(PROMPTS[:2]):
        whole = craft.step(craft.begin(craft.encode_text(p), cache=False), ids, "all")
        torch.testing.assert_close(torch.stack([t[j] for t in turns], 2), whole, atol=1e-4, rtol=0)


def test_replay_equals_stepwise(craft, craft_nano):
    for model in (craft, craft_nano):
        tokens = sample_tokens(model, PROMPTS[:1] * 2, 0, 40)
        assert (
            replay_error(
                model, tokens, PROMPTS[:1] * 2, model.resolve_sites(None, SITES)
            ).relative.max()
            <= 1e-4
        )


def test_reading_lower_layers_stepwise_keeps_the_position(craft):
    tokens = sample_tokens(craft, PROMPTS[:1], 0, 12)
    assert replay_error(craft, tokens, PROMPTS[:1], ["layer_0"]).relative.max() <= 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("which", ["exported", "craft_nano"])
def test_half_precision_is_finite_and_replays(which, dtype, request):
    "Replay and stepwise passes round alike up to a few units in the last place of the format."
    got, tolerance = request.getfixturevalue(which), REPLAY_TOLERANCE[dtype]
    folder, craft = (
        (got.folder, got) if which == "craft_nano" else (got, request.getfixturevalue("craft"))
    )
    model = load_model(folder, device="cpu", dtype=dtype)
    assert (
        str(model.dtype) == f"torch.{dtype}"
        and next(model.hf.text_encoder.parameters()).dtype == torch.float32
    )
    tokens = sample_tokens(model, PROMPTS[:1], 0, 20)
    error = replay_error(model, tokens, PROMPTS[:1], model.resolve_sites(None, SITES))
    assert error.relative.max() <= tolerance
    full, half = (replay(m, tokens, PROMPTS[:1], None, pool=None) for m in (craft, model))
    for s in full.data_vars:
        assert np.isfinite(half[s].values).all()
        assert np.abs(full[s] - half[s]).max() <= 3 * tolerance * np.abs(full[s]).max()
    assert np.isfinite(model.decode_audio(tokens)).all()


def test_a_batch_of_different_lengths_is_said_once(exported):
    "The library lets the shorter prompt read its padding; our own passes hide it and say nothing."
    raw = raw_of(exported)
    settings(raw, 3)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            with ActivationExtractor(raw, layers=[0]):
                raw.generate(["sad", PROMPTS[1]])
        with ActivationExtractor(raw, layers=[0]):
            raw.generate([PROMPTS[0], "", PROMPTS[0]])
        ActivationExtractor(raw, layers=[0]).generate(["sad", PROMPTS[1]], duration_s=0.06)
    n = sorted(
        len(raw.lm.condition_provider.conditioners.description.t5_tokenizer(p)["input_ids"])
        for p in ("sad", PROMPTS[1])
    )
    said = [str(w.message) for w in seen if "read the padding" in str(w.message)]
    assert (
        len(said) == 1
        and f"prompts of {n[0]}, {n[1]} tokens" in said[0]
        and "prompts of one length" in said[0]
    )


def test_a_clip_in_windows_is_said_once(exported):
    raw = raw_of(exported)
    raw.max_duration = 0.2
    raw.set_generation_params(use_sampling=False, duration=0.3, extend_stride=0.1)
    with (
        pytest.warns(
            UserWarning, match="0.3 s in overlapping windows of 0.2 s.*at most 0.2 s"
        ) as seen,
        ActivationExtractor(raw, layers=[0]) as extractor,
    ):
        raw.generate(PROMPTS[:1])
    assert (
        sum("windows" in str(w.message) for w in seen) == 1
        and extractor.get_activations(concatenate=False)["layer_0"][0].sizes["clip"] == 1
    )


# stereo, equal widths


def test_stereo_sites_replay_and_sound(tmp_path):
    theirs = load_model(
        write_random_model(tmp_path / "stereo", n_codebooks=8, channels=2), device="cpu"
    )
    folder = export_audiocraft(theirs, tmp_path / "out")
    model, raw = load_model(folder, device="cpu"), raw_of(folder)
    assert model.config == theirs.config and model.config.delays == (
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
    ) == tuple(raw.lm.pattern_provider.delays)
    settings(raw, 12)
    wave, tokens = raw.generate(PROMPTS[:1], return_tokens=True)
    ours = sample_tokens(model, PROMPTS[:1], 0, 12, temperature=0)
    np.testing.assert_array_equal(tokens.numpy(), ours)
    np.testing.assert_array_equal(ours, sample_tokens(theirs, PROMPTS[:1], 0, 12, temperature=0))
    np.testing.assert_allclose(model.decode_audio(ours), wave.numpy(), atol=1e-5)
    np.testing.assert_allclose(model.decode_audio(ours), theirs.decode_audio(ours), atol=1e-4)
    one, two = (
        replay(m, ours, PROMPTS[:1], m.resolve_sites(None, SITES), ("cond", "null"), pool=None)
        for m in (theirs, model)
    )
    for s in one.data_vars:
        assert np.abs(one[s] - two[s]).max() <= 1e-4 * np.abs(one[s]).max()
    assert replay_error(model, ours, PROMPTS[:1]).relative.max() <= 1e-4


def test_equal_widths_have_no_projection(tmp_path):
    theirs = load_model(write_random_model(tmp_path / "same", d_text=32, d_model=32), device="cpu")
    model = load_model(export_audiocraft(theirs, tmp_path / "out"), device="cpu")
    assert "text_proj" not in theirs.sites and model.sites == theirs.sites
    tokens = sample_tokens(model, PROMPTS[:1], 0, 8, temperature=0)
    np.testing.assert_array_equal(tokens, sample_tokens(theirs, PROMPTS[:1], 0, 8, temperature=0))


def test_heads_add_up_to_the_attention(craft):
    seen, c = {}, craft.config

    def keep(x, now):
        seen[now.site.name] = x.clone()

    names = [f"layer_1.cross_attn.head_{h}" for h in range(c.n_heads)]
    with hooked_sites(craft, {s: keep for s in (*names, "layer_1.cross_attn")}):
        craft.step(
            craft.begin(craft.encode_text(PROMPTS[0])), torch.zeros(1, 4, 1, dtype=torch.long)
        )
    out = craft.module("layer_1.cross_attn").out_proj(torch.cat([seen[n] for n in names], -1))
    torch.testing.assert_close(out, seen["layer_1.cross_attn"])


def test_random_weights_leave_the_model_alone(craft):
    before = {k: v.clone() for k, v in craft.hf.state_dict().items()}
    other = randomized(craft, 1, text=True)
    assert (
        isinstance(other, AudiocraftModel)
        and other.sites == craft.sites
        and all(torch.equal(v, craft.hf.state_dict()[k]) for k, v in before.items())
    )
    for part in ("layers.0.self_attn.in_proj_weight", "layers.1.linear1.weight"):
        assert not torch.equal(
            other.raw.lm.transformer.get_parameter(part),
            craft.raw.lm.transformer.get_parameter(part),
        )
    assert not torch.equal(
        other.encode_text(PROMPTS[0]).states, craft.encode_text(PROMPTS[0]).states
    )
    assert (
        other.checksum == randomized(craft, 1, text=True).checksum != randomized(craft, 2).checksum
    )
    state = torch.random.get_rng_state()
    again = randomized(craft, 1, text=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    for (name, x), (_, y) in zip(
        other.hf.state_dict().items(), again.hf.state_dict().items(), strict=True
    ):
        assert torch.equal(x, y), name


# checkpoints


def test_export_is_the_same_bytes_anywhere(tiny, exported, craft, tmp_path):
    again = export_audiocraft(tiny, tmp_path / "elsewhere" / "again")
    assert [
        (again / f).read_bytes() == (exported / f).read_bytes() for f in (LM_FILE, CODEC_FILE)
    ] == [True, True]
    moved = shutil.move(again, tmp_path / "moved")
    assert load_model(moved, device="cpu").checksum == craft.checksum and raw_of(moved).lm.dim == 32


def test_a_folder_of_transformers_is_exported_once(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MGE_CACHE", str(tmp_path))
    folder = cached_export(tiny_folder)
    stamp = (folder / LM_FILE).stat().st_mtime_ns
    assert (
        load_model(tiny_folder, backend="audiocraft", device="cpu").folder == folder
        and (folder / LM_FILE).stat().st_mtime_ns == stamp
    )
    assert [p.name for p in (tmp_path / "audiocraft").iterdir() if p.is_dir()] == [folder.name]


def test_the_cache_follows_weights_tokenizer_and_exporter(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(audiocraft_export, "export_audiocraft", lambda folder, out: out.mkdir())
    own = shutil.copytree(tiny_folder, tmp_path / "own")
    seen = [cached_export(own)]
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        data = (own / file).read_bytes()
        (own / file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        seen.append(cached_export(own))
        (own / file).write_bytes(data)
        assert cached_export(own) == seen[0]
    monkeypatch.setattr(audiocraft_export, "EXPORT_VERSION", 2)
    assert len({*seen, cached_export(own)}) == 5


def test_a_large_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("MGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(backend, "SETTLED_S", -1)
    read, file = [], tmp_path / "weights.bin"
    monkeypatch.setattr(backend, "sha256_file", lambda f: read.append(f) or sha256_file(f))
    file.write_bytes(bytes(2**20))
    before, date = backend.cached_sha256(file), file.stat().st_mtime_ns
    assert backend.cached_sha256(file) == before and len(read) == 1
    file.write_bytes(bytes(2**20 - 1) + b"a")
    os.utime(file, ns=(date, date))
    assert backend.cached_sha256(file) == sha256_file(file) != before and len(read) == 2
    (tmp_path / "cache" / "audiocraft" / "sha256.json").write_text("[")
    assert backend.cached_sha256(file) == sha256_file(file)
    monkeypatch.setattr(backend, "SETTLED_S", 1e9)
    file.write_bytes(bytes(2**20))
    for _ in range(2):
        assert backend.cached_sha256(file) == before
    assert len(read) == 5


def test_two_exports_at_once_and_what_a_killed_one_left(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MGE_CACHE", str(tmp_path))
    made = []

    def slow(folder, out):
        made.append(out)
        time.sleep(0.2)
        return export_audiocraft(folder, out)

    monkeypatch.setattr(audiocraft_export, "export_audiocraft", slow)
    (tmp_path / "audiocraft" / ".tmp-1-a-model").mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(cached_export, [tiny_folder] * 2)
    assert one == two and len(made) == 1
    assert [p.name for p in (tmp_path / "audiocraft").iterdir() if p.is_dir()] == [one.name]


def test_a_half_precision_model_is_exported_and_left_alone(tiny_folder, exported, tmp_path):
    theirs = load_model(tiny_folder, device="cpu", dtype="bfloat16")
    dtype = next(theirs.hf.text_encoder.parameters()).dtype
    model = load_model(export_audiocraft(theirs, tmp_path / "out"), device="cpu")
    assert dtype == torch.bfloat16 and {p.dtype for p in theirs.hf.text_encoder.parameters()} == {
        dtype
    }
    assert {p.dtype for p in model.hf.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "file, key",
    [
        (LM_FILE, "transformer.layers.1.linear1.weight"),
        (LM_FILE, "emb.0.weight"),
        (CODEC_FILE, "decoder.model.0.conv.conv.weight_v"),
    ],
)
def test_damaged_weights_are_refused_by_name(exported, tmp_path, file, key):
    def missing(p):
        del p["best_state"][key]

    def misshaped(p):
        p["best_state"][key] = p["best_state"][key][..., :-1].clone()

    def nan(p):
        p["best_state"][key].view(-1)[0] = float("nan")

    def more(p):
        p["best_state"]["other"] = torch.zeros(1)

    for change, why in (
        (missing, f"lacks 1 weights, first '{key}'"),
        (misshaped, f"weight '{key}' has shape"),
        (nan, f"weight '{key}' holds 1 NaN"),
        (more, "has 1 weights that its configuration does not, first 'other'"),
    ):
        with pytest.raises(ValueError, match=why):
            load_model(changed(exported, tmp_path / change.__name__, file, change), device="cpu")


def test_unreadable_files_are_refused_by_name(exported, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("this must not run",))

    for change, why in (
        (lambda p: p.update({"xp.cfg": Evil()}), "cannot be read"),
        (lambda p: p.update({"xp.cfg": dict(a=1)}), "must be YAML text, got dict"),
        (lambda p: p.pop("best_state"), "lacks best_state"),
    ):
        out = changed(exported, tmp_path / why.replace(" ", ""), LM_FILE, change)
        with pytest.raises(ValueError, match=f"{LM_FILE}.*{why}"):
            load_model(out, device="cpu")
    out = shutil.copytree(exported, tmp_path / "short")
    (out / LM_FILE).write_bytes((out / LM_FILE).read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_model(out, device="cpu")
    (out / LM_FILE).unlink()
    with pytest.raises(FileNotFoundError):
        load_model(out, device="cpu")
    out = shutil.copytree(exported, tmp_path / "no_codec")
    (out / CODEC_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=f"{CODEC_FILE} is missing"):
        load_model(out, device="cpu")


T5 = "t5/model.safetensors"


def rewritten(folder, file, change):
    weights = load_file(folder / file)
    change(weights, next(k for k in sorted(weights) if "bias" in k or "SelfAttention.q" in k))
    save_file(weights, folder / file, metadata=dict(format="pt"))


def configure(folder, **values):
    cfg = json.loads((folder / "t5/config.json").read_text())
    (folder / "t5/config.json").write_text(json.dumps(cfg | values))


PARTS = {
    "a weight too few": (
        lambda d: rewritten(d, T5, lambda w, k: w.pop(k)),
        "lacks 1 weights, first 'text_encoder.encoder.block.0",
    ),
    "NaN": (
        lambda d: rewritten(d, T5, lambda w, k: w[k].view(-1)[:1].fill_(np.nan)),
        "weight 'text_encoder.encoder.block.0.*holds 1 NaN",
    ),
    "more layers": (lambda d: configure(d, num_layers=5), "lacks 24 weights, first 'text_encoder"),
    "fewer layers": (
        lambda d: configure(d, num_layers=1),
        "8 weights that its configuration does not",
    ),
    "no tokenizer": (
        lambda d: [
            f.unlink()
            for f in (d / "t5").iterdir()
            if f.name not in ("config.json", "model.safetensors")
        ],
        "t5 has no tokenizer: one of tokenizer.json",
    ),
    "cut off": (
        lambda d: (d / T5).write_bytes((d / T5).read_bytes()[:1000]),
        "t5 cannot be read .*of a T5 is expected",
    ),
    "half a configuration": (
        lambda d: (d / "t5/config.json").write_text("{"),
        "t5/config.json cannot be read",
    ),
    "no width": (
        lambda d: (d / "t5/config.json").write_text("{}"),
        "t5/config.json cannot be read .*d_model",
    ),
}


@pytest.mark.parametrize("what", PARTS)
def test_a_damaged_text_encoder_is_refused_by_name(exported, tmp_path, what):
    "Where a checkpoint is read; the library's own loader takes most of these."
    out = shutil.copytree(exported, tmp_path / "out")
    PARTS[what][0](out)
    with pytest.raises((ValueError, FileNotFoundError), match=PARTS[what][1]):
        load_model(out, device="cpu")


def test_an_export_without_its_text_encoder_says_what_is_missing(exported, tmp_path, monkeypatch):
    out = shutil.copytree(exported, tmp_path / "out")
    (out / "t5/config.json").unlink()
    monkeypatch.setattr(audiocraft_files, "_text_encoders", {})
    with pytest.raises(
        FileNotFoundError, match="belongs into .*t5, and config.json is missing there"
    ):
        load_model(out, device="cpu")


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda w, k: w.pop(k), "lacks 1 weights, first 'audio_encoder"),
        (lambda w, k: w[k].view(-1)[:1].fill_(np.nan), "weight 'audio_encoder.*holds 1 NaN"),
    ],
)
def test_a_damaged_codec_of_transformers_is_refused_by_name(tiny, exported, tmp_path, change, why):
    out = shutil.copytree(exported, tmp_path / "out")
    tiny.hf.audio_encoder.save_pretrained(out / "codec")
    rewritten(out, "codec/model.safetensors", change)
    torch.save(dict(pretrained=str(out / "codec")), out / CODEC_FILE)
    with pytest.raises(ValueError, match=why):
        load_model(out, device="cpu")


@pytest.mark.parametrize(
    "kind, has",
    [
        (dict(n_codebooks=8), "8 codebooks of 64 entries"),
        (dict(codebook_size=32), "4 codebooks of 32 entries"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_codec_of_another_model_is_refused(exported, tmp_path, kind, has, named):
    other = load_model(write_random_model(tmp_path / "tf", **kind), device="cpu")
    out = shutil.copytree(exported, tmp_path / "out")
    if not named:
        shutil.copy(export_audiocraft(other, tmp_path / "other") / CODEC_FILE, out)
    else:
        other.hf.audio_encoder.save_pretrained(out / "codec")
        torch.save(dict(pretrained=str(out / "codec")), out / CODEC_FILE)
    with pytest.raises(
        ValueError, match=f"its codec has {has}, and its language model writes 4 of 64"
    ):
        load_model(out, device="cpu")


@pytest.mark.parametrize("file", [LM_FILE, CODEC_FILE])
@pytest.mark.parametrize(
    "data, why",
    [
        (b"hello world", "cannot be read"),
        (b"", "it is empty"),
        (b"<!DOCTYPE html><p>404", "it is a web page"),
        (b"PK\x03\x04abc", "cannot be read"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n",
            "pointer of git-lfs.*git lfs pull",
        ),
    ],
)
def test_files_that_are_no_checkpoint(exported, tmp_path, file, data, why):
    out = shutil.copytree(exported, tmp_path / "out")
    (out / file).write_bytes(data)
    with pytest.raises(
        ValueError, match=f"{file} cannot be read.*{why}.*weights and a configuration|{file} {why}"
    ):
        load_model(out, device="cpu")


@pytest.mark.parametrize("file", [LM_FILE, CODEC_FILE])
@pytest.mark.parametrize(
    "change, why",
    [
        (lambda p: p.update({"xp.cfg": "{"}), "xp.cfg cannot be read"),
        (
            lambda p: p.update({"xp.cfg": ""}),
            "xp.cfg lacks .* and others; the configuration of audiocraft's",
        ),
        (lambda p: p.update({"xp.cfg": "- a"}), "xp.cfg lacks"),
        (lambda p: p.update(best_state=None), "best_state must be a dict of tensors, got NoneType"),
        (
            lambda p: p["best_state"].update(more="x"),
            "best_state must hold tensors, got str for 'more'",
        ),
    ],
)
def test_half_a_package_is_refused_by_name(exported, tmp_path, file, change, why):
    with pytest.raises(ValueError, match=f"{file}: {why}"):
        load_model(changed(exported, tmp_path / "out", file, change), device="cpu")


@pytest.mark.parametrize(
    "file, key",
    [
        *(
            (LM_FILE, k)
            for k in (
                "transformer_lm",
                "fuser",
                "codebooks_pattern",
                "dataset",
                "lm_model",
                "classifier_free_guidance",
                "transformer_lm.num_heads",
                "conditioners.description.t5.name",
            )
        ),
        *((CODEC_FILE, k) for k in ("compression_model", "seanet", "encodec", "rvq")),
    ],
)
def test_a_configuration_that_lacks_a_part_is_refused_by_name(exported, tmp_path, file, key):
    def without(cfg):
        *path, last = key.split(".")
        for k in path:
            cfg = cfg[k]
        del cfg[last]

    with pytest.raises(ValueError, match=f"xp.cfg lacks.* {key}|Missing key {key}"):
        load_model(configured(exported, tmp_path / "out", without, file), device="cpu")


def test_files_in_each_others_place_and_models_that_cannot_be_built(exported, tmp_path):
    out = shutil.copytree(exported, tmp_path / "swapped")
    for a, b in ((LM_FILE, CODEC_FILE), (CODEC_FILE, LM_FILE)):
        shutil.copy(exported / a, out / b)
    with pytest.raises(
        ValueError,
        match=f"{LM_FILE}: xp.cfg lacks .*the configuration of audiocraft's language model is expected",
    ):
        load_model(out, device="cpu")

    def heads(cfg):
        cfg.transformer_lm.num_heads = 5

    def delays(cfg):
        cfg.codebooks_pattern.delay.delays = [0, 1, 2]

    def more(cfg):
        cfg.transformer_lm.foo = 5

    for edit, why in (
        (heads, "num_heads is 5, which does not divide dim, 32"),
        (delays, "n_q is 4, and codebooks_pattern has 3 delays"),
        (more, "unexpected keyword argument 'foo'"),
    ):
        with pytest.raises(ValueError, match=f"{LM_FILE}: audiocraft cannot build.*{why}"):
            load_model(configured(exported, tmp_path / edit.__name__, edit), device="cpu")


# identity


def test_the_checksum_covers_text_encoder_and_codec(exported, craft, hub, tmp_path):
    def louder(w, k):
        w[k].mul_(2)

    other = shutil.copytree(exported, tmp_path / "other")
    rewritten(other, T5, louder)
    seen = [craft.checksum, load_model(other, device="cpu").checksum]
    published = lambda: load_model("facebook/musicgen-small", backend="audiocraft", device="cpu")
    seen.append(published().checksum)
    assert published().checksum == seen[-1]
    rewritten(
        next(hub.glob("models--facebook--encodec_32khz/snapshots/*")), "model.safetensors", louder
    )
    seen.append(published().checksum)
    assert len(set(seen)) == 4


def test_raw_objects_without_a_folder_and_of_a_subclass(exported, craft, tmp_path):
    raw = raw_of(exported)
    raw.name = "facebook/musicgen-small"
    model = as_model(raw)
    assert model.folder is None and model.checksum == as_model(raw).checksum != craft.checksum
    table = generate_clips(
        raw, PROMPTS[:1], ClipStore(tmp_path / "clips"), duration_s=0.06, progress=False
    )
    assert table.model_checksum.tolist() == [model.checksum]
    raw.lm.linears[0].weight.data[0, 0] += 1
    assert as_model(raw).checksum != model.checksum

    class Mine(type(raw)):
        pass

    raw.__class__ = Mine
    assert as_model(raw).config == craft.config
    with pytest.raises(ValueError, match="only a text-to-music model of the transformers backend"):
        export_audiocraft(raw, tmp_path / "no")


def test_a_raw_model_of_transformers_is_exported(tiny, exported, tmp_path):
    out = export_audiocraft(tiny.hf, tmp_path / "out")
    assert (out / LM_FILE).read_bytes() == (exported / LM_FILE).read_bytes()


def test_a_melody_model_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    from musicgen_emotion.models.melody import write_random_melody

    folder = write_random_melody(tmp_path / "melody", chroma_length=4)
    monkeypatch.setattr(audiocraft_export, "cached_export", lambda folder: pytest.fail("exported"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: pytest.fail("fetched"))
    for name in (folder, "facebook/musicgen-melody", "facebook/musicgen-stereo-melody-large"):
        with pytest.raises(ValueError, match="reads a melody.*use backend='transformers'"):
            load_model(name, backend="audiocraft")
        with pytest.raises(ValueError, match="reads a melody.*use backend='transformers'"):
            describe_model(str(name), "audiocraft")


def configured(exported, out, edit, file=LM_FILE):
    def change(package):
        from omegaconf import OmegaConf

        cfg = OmegaConf.create(package["xp.cfg"])
        edit(cfg)
        package["xp.cfg"] = OmegaConf.to_yaml(cfg)

    return changed(exported, out, file, change)


def test_a_missing_text_encoder_is_one_error_with_the_command(exported, tmp_path, monkeypatch):
    import huggingface_hub.constants as c

    monkeypatch.setattr(c, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(c, "HF_HUB_CACHE", str(tmp_path / "empty"))

    def hub(cfg):
        cfg.conditioners.description.t5.name = "t5-base"

    out = configured(exported, tmp_path / "hub", hub)
    assert load_model(out, device="cpu").config.d_text == 24
    shutil.rmtree(out / "t5")
    with pytest.raises(
        FileNotFoundError, match="do not contain their text encoder.*hf download t5-base"
    ) as e:
        load_model(out, device="cpu")
    assert str(out / "t5") in str(e.value)


@pytest.fixture
def hub(tiny, tiny_folder, exported, tmp_path, monkeypatch):
    "A cache as the published checkpoints fill it, without a connection: both files name what they need."
    import huggingface_hub.constants as c

    monkeypatch.setattr(c, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(c, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def t5(cfg):
        cfg.conditioners.description.t5.name = "t5-base"

    published = configured(exported, tmp_path / "published", t5)
    shutil.move(published / "t5", tmp_path / "t5")
    shutil.copy(tiny_folder / "spiece.model", tmp_path / "t5")
    torch.save(dict(pretrained="facebook/encodec_32khz"), published / CODEC_FILE)
    tiny.hf.audio_encoder.save_pretrained(tmp_path / "codec")
    for name, files in (
        ("facebook/musicgen-small", published),
        ("t5-base", tmp_path / "t5"),
        ("facebook/encodec_32khz", tmp_path / "codec"),
    ):
        repo = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(files, repo / "snapshots" / ("a" * 40))
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("a" * 40)
    return tmp_path / "hub"


def test_a_published_checkpoint_is_read_from_the_cache(hub, craft):
    model = load_model("facebook/musicgen-small", backend="audiocraft", device="cpu")
    assert (
        model.config == craft.config
        and type(model.raw.compression_model).__name__ == "HFEncodecCompressionModel"
    )
    tokens = sample_tokens(model, PROMPTS[:1], 0, 12, temperature=0)
    np.testing.assert_array_equal(tokens, sample_tokens(craft, PROMPTS[:1], 0, 12, temperature=0))
    wave = model.decode_audio(tokens)
    np.testing.assert_allclose(wave, craft.decode_audio(tokens), atol=1e-5)
    torch.testing.assert_close(
        model.codec_latents(wave), craft.codec_latents(wave), atol=1e-4, rtol=0
    )


def test_a_whole_checkpoint_in_the_cache_is_here(hub):
    assert (
        backends_here("facebook/musicgen-small") == ["audiocraft"]
        and is_here("facebook/musicgen-small")
        and not is_here("facebook/musicgen-large")
    )
    assert load_model("facebook/musicgen-small", device="cpu").backend == "audiocraft"
    shutil.rmtree(hub / "models--t5-base")
    assert backends_here("facebook/musicgen-small") == []


def test_a_codec_may_be_in_another_folder(exported, craft, tmp_path):
    out = shutil.copytree(exported, tmp_path / "out")
    torch.save(dict(pretrained=str(exported)), out / CODEC_FILE)
    tokens = np.zeros((1, 4, 6), int)
    np.testing.assert_array_equal(
        load_model(out, device="cpu").decode_audio(tokens), craft.decode_audio(tokens)
    )
    assert fetch_parts(out) == dict(codec=exported)


def test_a_download_follows_the_names_in_a_checkpoint(hub, exported):
    folder = download_model("facebook/musicgen-small", backend="audiocraft")
    parts = fetch_parts(folder)
    assert {k: p.parts[-3] for k, p in parts.items()} == dict(
        text_encoder="models--t5-base", codec="models--facebook--encodec_32khz"
    ) and fetch_parts(exported) == {}
    for name in ("facebook/encodec_32khz", "t5-base"):
        shutil.rmtree(hub / f"models--{name.replace('/', '--')}")
        with pytest.raises(FileNotFoundError, match=f"hf download {name}"):
            download_model("facebook/musicgen-small", backend="audiocraft")
        with pytest.raises(FileNotFoundError, match=f"hf download {name}"):
            load_model("facebook/musicgen-small", backend="audiocraft", device="cpu")
    with pytest.raises(ValueError, match="reads a melody"):
        download_model("facebook/musicgen-melody", backend="audiocraft")


def test_the_codec_is_looked_for_before_the_model_is_built(hub, exported, monkeypatch):
    shutil.rmtree(hub / "models--facebook--encodec_32khz")
    monkeypatch.setattr(audiocraft_files, "_build_lm", lambda *args: pytest.fail("built"))
    with pytest.raises(
        FileNotFoundError,
        match="its codec 'facebook/encodec_32khz'.*hf download facebook/encodec_32khz",
    ):
        load_model("facebook/musicgen-small", backend="audiocraft", device="cpu")


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

    others = (
        (normalized, "normalize_text is True"),
        (shifted, "delay.empty_initial is 2"),
        (flattened, "delay.flatten_first is 1"),
        (scaled, "layer_scale is 0.1"),
        (acausal, "causal is False"),
    )
    for edit, why in (
        *others,
        (
            melody,
            r"'self_wav' reads a melody.*load_model\('facebook/musicgen-melody', backend='transformers'\)",
        ),
        (rope, "positional_embedding is 'rope'"),
        (parallel, "codebooks_pattern is 'parallel'"),
        (prepend, "fuser.cross is"),
    ):
        with pytest.raises(ValueError, match=why):
            load_model(configured(exported, tmp_path / edit.__name__, edit), device="cpu")

    def delays(cfg):
        cfg.codebooks_pattern.delay.delays = [0, 2, 4, 6]

    with pytest.raises(ValueError, match="delayed by"):
        load_model(configured(exported, tmp_path / "delays", delays), device="cpu")


def test_only_transformers_models_are_exported(craft, tmp_path):
    with pytest.raises(ValueError, match="only a text-to-music model of the transformers backend"):
        export_audiocraft(craft, tmp_path / "no")
    assert not (tmp_path / "no").exists()


# the import

CHILD = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
import transformers, torch
from musicgen_emotion.models.audiocraft_import import import_audiocraft, StandIn
before = {m for m in ("torchaudio", "av", "spacy", "librosa", "xformers") if m in sys.modules}
sys.modules["num2words"] = None
for _ in range(2):
    try: import_audiocraft()
    except ImportError as e: assert "num2words" in str(e) and "install what it needs with: pip install einops" in str(e)
    else: raise AssertionError("imported without num2words")
    assert not [m for m, x in sys.modules.items() if isinstance(x, StandIn) or m.split(".")[0] == "audiocraft"]
del sys.modules["num2words"]
lib = import_audiocraft(); import_audiocraft()
left = [m for m, x in sys.modules.items() if isinstance(x, StandIn) and m.split(".")[0] != "xformers"]
from transformers.utils import is_torchaudio_available, is_librosa_available
import importlib.util
assert is_torchaudio_available() == (importlib.util.find_spec("torchaudio") is not None)
print(lib.__version__, left, before)
"""


def test_stand_ins_are_gone_and_said_once():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stderr.count("musicgen_emotion.models.audiocraft_import audiocraft runs without")
    missing = [
        m
        for m in ("xformers", "torchaudio", "av", "spacy", "librosa")
        if importlib.util.find_spec(m) is None
    ]
    assert done.stdout.strip() == "1.3.0 [] set()" and (said == 1 if missing else said <= 1)
    for m in missing:
        assert m in done.stderr


WITHOUT = """
import importlib, pkgutil, sys
for m in ("audiocraft", "einops", "flashy", "omegaconf", "julius", "num2words", "torchmetrics"): sys.modules[m] = None
import musicgen_emotion
for m in pkgutil.iter_modules(musicgen_emotion.__path__): importlib.import_module("musicgen_emotion." + m.name)
from musicgen_emotion.models.load import load_model; from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.activations.replaying import replay
from musicgen_emotion.models.audiocraft_files import fetch_parts
model = load_model(sys.argv[1], device="cpu")
assert replay(model, sample_tokens(model, ["sad"], 0, 4), ["sad"]).sizes["clip"] == 1 and fetch_parts(sys.argv[2]) == {}
for how in (dict(name=sys.argv[1], backend="audiocraft"), dict(name=sys.argv[2])):
    try: load_model(device="cpu", **how)
    except ImportError as e: print(e)
"""


def test_a_missing_library_names_both_commands_and_hinders_nothing_else(
    tiny_folder, exported, tmp_path
):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, tiny_folder, exported],
        capture_output=True,
        text=True,
        env={**os.environ, "MGE_CACHE": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for command in COMMANDS:
        assert done.stdout.count(command) == 2, done.stdout + done.stderr


def test_the_commands_are_those_of_the_requirements_file():
    root = Path(__file__).resolve().parents[2]
    pins = {
        l.split(";")[0].strip()
        for l in (root / "requirements-audiocraft.txt").read_text().splitlines()
        if l and not l.startswith("#")
    }
    assert (
        set(COMMANDS[0].split()[2:]) <= pins
        and COMMANDS[1].split()[-1] in (root / "Makefile").read_text()
    )
    assert all(p in (root / "constraints.txt").read_text() for p in pins)
