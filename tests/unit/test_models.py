"""Loading, sites, text and decoding: bad input and agreement with the library."""

import importlib.util
import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from musicgen_emotion.models.hub import folder_kind, lacking, model_folder
from musicgen_emotion.models.load import as_model, load_model, randomized
from musicgen_emotion.models.registry import model_registry
from musicgen_emotion.models.sampling import clip_seeds, sample_tokens
from musicgen_emotion.models.shapes import ModelConfig, delay_tokens
from musicgen_emotion.models.tiny import write_random_model


def _damaged(tiny_folder, out, change):
    shutil.copytree(tiny_folder, out)
    weights = load_file(out / "model.safetensors")
    change(weights)
    save_file(weights, out / "model.safetensors", metadata=dict(format="pt"))
    return out


@pytest.mark.parametrize(
    "name, value",
    [
        ("decoder.lm_heads.0.weight", float("nan")),
        ("enc_to_dec_proj.bias", float("inf")),
        ("text_encoder.shared.weight", float("nan")),
    ],
)
def test_nan_weights_are_refused_by_name(tiny_folder, tmp_path, name, value):
    def change(w):
        w[name].view(-1)[0] = value

    with pytest.raises(ValueError, match=rf"weight '{name}' holds 1 NaN or infinite"):
        load_model(_damaged(tiny_folder, tmp_path / "bad", change), device="cpu")


def test_missing_weights_are_refused(tiny_folder, tmp_path):
    def change(w):
        del w["decoder.model.decoder.layers.1.fc1.weight"]

    with pytest.raises(ValueError, match="lacks 1 weights"):
        load_model(_damaged(tiny_folder, tmp_path / "bad", change), device="cpu")


def test_other_architectures_are_refused(tiny_folder, tmp_path):
    out = shutil.copytree(tiny_folder, tmp_path / "bert")
    cfg = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(cfg | dict(model_type="bert")))
    with pytest.raises(ValueError, match="must be one of musicgen, musicgen_melody; got 'bert'"):
        load_model(out, device="cpu")


def test_audiocraft_folder_is_named(tmp_path):
    (tmp_path / "state_dict.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="audiocraft checkpoint"):
        load_model(tmp_path, backend="transformers")
    here = importlib.util.find_spec("audiocraft")
    with pytest.raises(
        ValueError if here else ImportError,
        match="state_dict.bin cannot be read" if here else "pip install",
    ):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "name, hint",
    [
        ("facebook/musicgen-smal", "facebook/musicgen-small"),
        ("small", "facebook/musicgen-small"),
        ("nanoo", "nano"),
        ("musicgen-large", "facebook/musicgen-large"),
    ],
)
def test_unknown_names_get_a_close_match(name, hint):
    with pytest.raises(ValueError, match=f"Did you mean.*{hint}") as e:
        load_model(name)
    assert "facebook/musicgen-stereo-large" in str(e.value)


def test_uncached_hub_model_gives_one_error(monkeypatch, tmp_path):
    import huggingface_hub.constants as c

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(c, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(c, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError) as e:
        load_model("facebook/musicgen-medium")
    for word in (
        "musicgen-emotion models download facebook/musicgen-medium",
        "HF_HUB_OFFLINE",
        "HF_HOME",
    ):
        assert word in str(e.value)
    assert e.value.__cause__ is None


TF, CRAFT = (
    ("config.json", "model.safetensors", "tokenizer.json"),
    ("state_dict.bin", "compression_state_dict.bin"),
)


@pytest.fixture
def hub_of(tmp_path, monkeypatch):
    "A cache that holds some files and a hub that has others, or that cannot be reached (None); counts how often it is asked."
    import fnmatch

    import huggingface_hub

    def make(cached, has):
        snap, asked = tmp_path / "snapshot", []

        def put(files):
            snap.mkdir(exist_ok=True)
            for f in files:
                (snap / f).write_text('{"model_type": "musicgen"}')

        def download(name, revision=None, local_files_only=False, allow_patterns=None):
            if not local_files_only:
                asked.append(allow_patterns)
                if has is not None:
                    put(f for f in has if any(fnmatch.fnmatch(f, p) for p in allow_patterns))
            if not snap.exists():
                raise OSError("nothing")
            return str(snap)

        if cached:
            put(cached)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        return asked

    return make


@pytest.mark.parametrize(
    "cached, has, backend, kind, asked",
    [
        (TF, TF + CRAFT, "auto", "musicgen", 0),
        (CRAFT, TF + CRAFT, "auto", "audiocraft", 0),
        (TF + CRAFT, None, "auto", "musicgen", 0),
        (("config.json", *CRAFT), None, "auto", "audiocraft", 0),
        (CRAFT[:1], TF + CRAFT, "auto", "musicgen", 1),
        (TF[:1], TF + CRAFT, "auto", "musicgen", 1),
        ((), TF + CRAFT, "auto", "musicgen", 1),
        ((), CRAFT, "auto", "audiocraft", 2),
        (CRAFT, TF + CRAFT, "transformers", "musicgen", 1),
        (TF, TF + CRAFT, "audiocraft", "audiocraft", 1),
        (CRAFT, None, "audiocraft", "audiocraft", 0),
    ],
)
def test_the_hub_is_asked_for_what_the_backend_lacks(hub_of, cached, has, backend, kind, asked):
    seen = hub_of(cached, has)
    folder = model_folder("facebook/musicgen-small", backend=backend)
    assert (
        len(seen) == asked
        and folder_kind(folder, backend) == kind
        and lacking(folder, "audiocraft" if kind == "audiocraft" else "transformers") == []
    )


@pytest.mark.parametrize(
    "cached, backend, why",
    [
        (
            CRAFT,
            "transformers",
            "without config.json, model.safetensors, tokenizer.json.*What backend='audiocraft' needs is there",
        ),
        (TF[:1], "auto", "without model.safetensors"),
        (CRAFT[:1], "auto", "without config.json"),
        (
            CRAFT[:1],
            "audiocraft",
            "without compression_state_dict.bin, which backend='audiocraft' needs",
        ),
        (
            TF,
            "audiocraft",
            "without state_dict.bin.*What backend='transformers' needs is there.*models download facebook/musicgen-small --backend audiocraft",
        ),
    ],
)
def test_half_a_cache_and_no_hub_is_one_error(hub_of, cached, backend, why):
    hub_of(cached, None)
    with pytest.raises(FileNotFoundError, match=why):
        load_model("facebook/musicgen-small", backend=backend)


def test_a_shard_that_did_not_arrive_is_lacking(tmp_path):
    for f in ("config.json", "spiece.model", "model-1.safetensors"):
        (tmp_path / f).write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps(dict(weight_map=dict(a="model-1.safetensors", b="model-2.safetensors")))
    )
    assert lacking(tmp_path) == ["model-2.safetensors"]


def test_a_missing_tokenizer_and_codec_weight_and_cut_files_are_refused(tiny_folder, tmp_path):
    out = shutil.copytree(tiny_folder, tmp_path / "words")
    for f in out.iterdir():
        if "token" in f.name or "spiece" in f.name:
            f.unlink()
    with pytest.raises(FileNotFoundError, match="has no tokenizer: one of tokenizer.json"):
        load_model(out, device="cpu")

    def change(w):
        del w[next(k for k in w if k.startswith("audio_encoder.decoder"))]

    with pytest.raises(ValueError, match="lacks 1 weights, first 'audio_encoder"):
        load_model(_damaged(tiny_folder, tmp_path / "codec", change), device="cpu")
    out = shutil.copytree(tiny_folder, tmp_path / "cut")
    (out / "model.safetensors").write_bytes((out / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(
        ValueError, match="cut cannot be read .*a MusicGen in transformers' format is expected"
    ):
        load_model(out, device="cpu")
    (out / "config.json").write_text("{")
    with pytest.raises(
        ValueError, match="cut/config.json cannot be read .*the configuration of a MusicGen"
    ):
        load_model(out, device="cpu")


def test_weight_norm_under_its_older_name_is_read(tiny_folder, tiny, tmp_path):
    "As in published checkpoints."

    def change(w):
        for k in [k for k in w if "parametrizations" in k]:
            w[
                k.replace("parametrizations.weight.original0", "weight_g").replace(
                    "parametrizations.weight.original1", "weight_v"
                )
            ] = w.pop(k)

    model = load_model(_damaged(tiny_folder, tmp_path / "older", change), device="cpu")
    for (name, a), (_, b) in zip(
        tiny.hf.audio_encoder.state_dict().items(), model.hf.audio_encoder.state_dict().items()
    ):
        assert torch.equal(a, b), name


def test_functions_take_the_raw_object(both_tiny, tmp_path):
    "What takes a model takes the object of the library that it came from."
    from musicgen_emotion.activations.clip_plans import generate_clips, plan_clips
    from musicgen_emotion.activations.clips import ClipStore
    from musicgen_emotion.activations.extractor import ActivationExtractor
    from musicgen_emotion.activations.generation import generate, rounding_gap
    from musicgen_emotion.activations.hooks import hooked
    from musicgen_emotion.activations.replaying import (
        replay,
        replay_error,
        stepwise,
        text_rows,
        token_nll,
    )
    from musicgen_emotion.activations.stored import replay_bytes, replay_store
    from musicgen_emotion.activations.tracing import trace

    raw, texts = getattr(both_tiny, "raw", both_tiny.hf), ["happy song"]
    tokens = sample_tokens(raw, texts, 0, 4)
    np.testing.assert_array_equal(tokens, sample_tokens(both_tiny, texts, 0, 4))
    np.testing.assert_array_equal(tokens, generate(raw, texts, 0, 0.08, audio=False).tokens)
    for f in (replay, stepwise, token_nll):
        np.testing.assert_allclose(
            *(
                np.asarray(x if f is token_nll else x["layer_1"])
                for x in (f(raw, tokens, texts), f(both_tiny, tokens, texts))
            ),
            atol=1e-6,
        )
    assert (
        replay_error(raw, tokens, texts).relative.max() < 1e-4
        and rounding_gap(raw, tokens, texts, 1, 2) < 1e-4
    )
    assert (
        replay_bytes(raw, 2, 4) == replay_bytes(both_tiny, 2, 4)
        and list(text_rows(raw, texts)) == texts
    )
    assert (
        len(plan_clips(raw, texts))
        == len(
            generate_clips(
                raw, texts, ClipStore(tmp_path / "clips"), duration_s=0.2, progress=False
            )
        )
        == 1
    )
    assert replay_store(
        raw, tmp_path / "clips", "layer_0", tmp_path / "acts", progress=False
    ).is_dir()
    assert (
        randomized(raw, 1).checksum == randomized(both_tiny, 1).checksum != as_model(raw).checksum
    )
    with hooked(raw, {"layer_0": lambda x, now: None}), ActivationExtractor(raw, layers=[0]):
        sample_tokens(raw, texts, 0, 2)
    assert trace(raw, texts[0], duration_s=0.06).ok


@pytest.mark.parametrize(
    "kwargs, error, match",
    [
        (dict(backend="jax"), ValueError, "transformers"),
        (dict(dtype="int8"), ValueError, "bfloat16"),
        (dict(name=None), TypeError, "NoneType"),
    ],
)
def test_wrong_arguments(tiny_folder, kwargs, error, match):
    with pytest.raises(error, match=match):
        load_model(**(dict(name=tiny_folder) | kwargs))


def test_sites(tiny):
    for bad in ("layer_3", "layer_-1", "layer_0.mpl", "decoder", 3, None):
        with pytest.raises(KeyError, match="layer_0..layer_2"):
            tiny.site(bad)
    with pytest.raises(ValueError, match="3 layers, 0..2"):
        tiny.resolve_sites([0, 12, 24])
    with pytest.raises(ValueError, match="layer -1"):
        tiny.resolve_sites([-1])
    with pytest.raises(TypeError, match="'0'"):
        tiny.resolve_sites("0")
    with pytest.raises(TypeError, match="True"):
        tiny.resolve_sites([True])
    assert tiny.resolve_sites(1, "resid") == ["layer_1"]
    assert all(tiny.module(s) is not None for s in tiny.sites)


@pytest.mark.parametrize(
    "prompts, error, match",
    [
        ([], ValueError, "prompts is empty"),
        (None, TypeError, "not iterable"),
        (["a", 3], TypeError, "prompt 1"),
        ([b"a"], TypeError, "bytes"),
        ([["a"]], TypeError, "list"),
    ],
)
def test_wrong_prompts(tiny, prompts, error, match):
    with pytest.raises(error, match=match):
        tiny.tokenize(prompts)


def test_empty_long_and_foreign_prompts(tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = tiny.encode_text("")
    assert (
        empty.mask.sum() == 1
        and torch.isfinite(empty.states).all()
        and empty.states.abs().sum() > 0
    )
    with pytest.warns(UserWarning, match="the first 512 are kept"):
        long = tiny.encode_text("sad song. " * 1000)
    assert (
        long.states.shape[1] == 512
        and torch.isfinite(long.states).all()
        and long.ids[0, -1] == tiny.tokenizer.eos_token_id
    )
    for text in ("悲しい音楽", "грустная музыка", "🎵🎵"):
        with pytest.warns(UserWarning, match=r"\d+ of \d+ tokens of prompt .* are unknown"):
            states = tiny.encode_text(text)
        assert torch.isfinite(states.states).all()


def test_batch_mates_do_not_change_text_states(tiny):
    both = tiny.encode_text(
        ["happy song", "sad slow piano ballad in a minor key with soft strings"]
    )
    torch.testing.assert_close(
        tiny.encode_text("happy song").states[0], both.states[0][:16], atol=1e-5, rtol=0
    )


def test_null_rows_are_finite_and_equal(tiny):
    state = tiny.begin(tiny.encode_text(["happy song", "sad song"]))
    logits = tiny.step(state, torch.full((2, 4, 1), 64))
    assert (
        torch.isfinite(logits).all()
        and torch.equal(logits[2], logits[3])
        and not torch.equal(logits[0], logits[1])
    )


def test_stereo(tmp_path):
    model = load_model(write_random_model(tmp_path / "s", n_codebooks=8, channels=2), device="cpu")
    tokens = sample_tokens(model, ["happy song"], 0, 6, temperature=0)
    ids = delay_tokens(tokens, model.config)
    assert ids.shape == (1, 8, 9) and model.decode_audio(tokens).shape == (1, 2, 6 * 640)
    with torch.no_grad():
        theirs = model.hf.generate(
            **model.tokenize("happy song"), do_sample=False, guidance_scale=3.0, max_length=10
        )
    np.testing.assert_allclose(model.decode_audio(tokens)[0], theirs[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("which", ["tiny", "nano"])
def test_half_precision_is_finite_and_replays(tiny_folder, which, dtype):
    "The same bars as for the other backend: the largest gap between replay and stepwise capture, over the largest activation of the site."
    from musicgen_emotion.activations.replaying import REPLAY_TOLERANCE, replay_error

    model = load_model(tiny_folder if which == "tiny" else "nano", device="cpu", dtype=dtype)
    tokens = sample_tokens(model, ["happy song"], 0, 6)
    gap = replay_error(model, tokens, "happy song")
    assert np.isfinite(gap.largest).all() and (gap.largest > 0).all()
    assert gap.relative.max() < REPLAY_TOLERANCE[dtype], gap.to_string()


@pytest.mark.parametrize(
    "tokens",
    [
        np.zeros((1, 3, 5), int),
        np.full((1, 4, 5), 64),
        np.full((1, 4, 5), -1),
        np.zeros((4, 5), int),
        np.zeros((1, 4, 0), int),
        np.zeros((1, 4, 2047), int),
    ],
)
def test_wrong_tokens(tiny, tokens):
    with pytest.raises(ValueError):
        delay_tokens(tokens, tiny.config)
    with pytest.raises(ValueError):
        tiny.decode_audio(tokens)


def test_published_shapes():
    table = model_registry().set_index("name")
    assert table.loc["facebook/musicgen-small", ["n_layers", "d_model", "n_heads"]].tolist() == [
        24,
        1024,
        16,
    ]
    assert table.loc[
        "facebook/musicgen-stereo-medium", ["n_layers", "d_model", "n_codebooks"]
    ].tolist() == [48, 1536, 8]


def test_raw_model_is_accepted(tiny):
    assert as_model(tiny.hf, tiny.tokenizer).sites == tiny.sites
    assert (
        as_model(tiny.hf).tokenize("happy song")["input_ids"].tolist()
        == tiny.tokenize("happy song")["input_ids"].tolist()
    )
    with pytest.raises(TypeError, match="Linear"):
        as_model(torch.nn.Linear(1, 1))

    class Mine(type(tiny.hf)):
        pass

    mine = Mine(tiny.hf.config)
    mine.config._name_or_path = str(tiny.folder)
    assert as_model(mine, tiny.tokenizer).config == tiny.config


def test_seeds():
    assert clip_seeds(np.int64(3), 2) == [3, 4]
    for bad, error in (
        ([1], ValueError),
        ([1, -1], ValueError),
        ([1, 2.0], TypeError),
        ("12", TypeError),
        (None, TypeError),
        (True, TypeError),
    ):
        with pytest.raises(error):
            clip_seeds(bad, 2)


def test_durations():
    c = ModelConfig(4, 192, 128, 4, 512, 50, 8000, 768, 6, max_positions=403)
    assert c.frames(8) == 400
    for bad in (0, -1, float("nan"), float("inf"), 8.1):
        with pytest.raises(ValueError, match="duration_s"):
            c.frames(bad)
    with pytest.raises(TypeError):
        c.frames("5")
