"""Loading, sites, text, sampling and decoding: bad input and agreement with the library."""

import fnmatch
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
from musicgen_emotion.models.model import MusicModel
from musicgen_emotion.models.registry import model_registry
from musicgen_emotion.models.sampling import (
    SamplingSettings,
    clip_seeds,
    merge_guidance,
    sample_tokens,
)
from musicgen_emotion.models.shapes import (
    ModelConfig,
    delay_tokens,
    delayed_sequence,
    undelay_tokens,
)
from musicgen_emotion.models.text import equal_length_batches, padded_widths
from musicgen_emotion.models.tiny import write_random_model


def damaged_copy(folder, out, change):
    "A copy of a model whose weights `change` has edited in place."
    shutil.copytree(folder, out)
    weights = load_file(out / "model.safetensors")
    change(weights)
    save_file(weights, out / "model.safetensors", metadata=dict(format="pt"))
    return out


# damaged and foreign folders


@pytest.mark.parametrize(
    "name, value",
    [
        ("decoder.lm_heads.0.weight", float("nan")),
        ("enc_to_dec_proj.bias", float("inf")),
        ("text_encoder.shared.weight", float("nan")),
    ],
)
def test_nan_weights_are_refused_by_name(tiny_folder, tmp_path, name, value):
    def change(weights):
        weights[name].view(-1)[0] = value

    folder = damaged_copy(tiny_folder, tmp_path / "bad", change)
    with pytest.raises(ValueError, match=rf"weight '{name}' holds 1 NaN or infinite"):
        load_model(folder, device="cpu")


def test_missing_weights_are_refused(tiny_folder, tmp_path):
    def change(weights):
        del weights["decoder.model.decoder.layers.1.fc1.weight"]

    folder = damaged_copy(tiny_folder, tmp_path / "bad", change)
    with pytest.raises(ValueError, match="lacks 1 weights"):
        load_model(folder, device="cpu")


def test_a_missing_codec_weight_is_refused(tiny_folder, tmp_path):
    def change(weights):
        in_codec = [name for name in weights if name.startswith("audio_encoder.decoder")]
        del weights[in_codec[0]]

    folder = damaged_copy(tiny_folder, tmp_path / "codec", change)
    with pytest.raises(ValueError, match="lacks 1 weights, first 'audio_encoder"):
        load_model(folder, device="cpu")


def test_a_missing_tokenizer_is_refused(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "words")
    for file in folder.iterdir():
        if "token" in file.name or "spiece" in file.name:
            file.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer: one of tokenizer\.json"):
        load_model(folder, device="cpu")


def test_cut_files_are_refused(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    expected = r"cut cannot be read .*a MusicGen in transformers' format is expected"
    with pytest.raises(ValueError, match=expected):
        load_model(folder, device="cpu")
    (folder / "config.json").write_text("{")
    expected = r"cut/config\.json cannot be read .*the configuration of a MusicGen"
    with pytest.raises(ValueError, match=expected):
        load_model(folder, device="cpu")


def test_other_architectures_are_refused(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | dict(model_type="bert")))
    with pytest.raises(ValueError, match="must be one of musicgen, musicgen_melody; got 'bert'"):
        load_model(folder, device="cpu")


def test_audiocraft_folder_is_named(tmp_path):
    (tmp_path / "state_dict.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="audiocraft checkpoint"):
        load_model(tmp_path, backend="transformers")
    if importlib.util.find_spec("audiocraft"):
        error, why = ValueError, r"state_dict\.bin cannot be read"
    else:
        error, why = ImportError, "pip install"
    with pytest.raises(error, match=why):
        load_model(tmp_path)


def test_weight_norm_under_its_older_name_is_read(tiny_folder, tiny, tmp_path):
    "As in published checkpoints."

    def change(weights):
        for name in [name for name in weights if "parametrizations" in name]:
            older = name.replace("parametrizations.weight.original0", "weight_g")
            older = older.replace("parametrizations.weight.original1", "weight_v")
            weights[older] = weights.pop(name)

    model = load_model(damaged_copy(tiny_folder, tmp_path / "older", change), device="cpu")
    expected = tiny.hf.audio_encoder.state_dict()
    for name, weight in model.hf.audio_encoder.state_dict().items():
        assert torch.equal(weight, expected[name]), name


# names, the cache and the hub


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
    with pytest.raises(ValueError, match=f"Did you mean.*{hint}") as error:
        load_model(name)
    assert "facebook/musicgen-stereo-large" in str(error.value)


def test_uncached_hub_model_gives_one_error(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        load_model("facebook/musicgen-medium")
    command = "musicgen-emotion models download facebook/musicgen-medium"
    for words in (command, "HF_HUB_OFFLINE", "HF_HOME"):
        assert words in str(error.value)
    assert error.value.__cause__ is None


TRANSFORMERS_FILES = ("config.json", "model.safetensors", "tokenizer.json")
AUDIOCRAFT_FILES = ("state_dict.bin", "compression_state_dict.bin")
ALL_FILES = TRANSFORMERS_FILES + AUDIOCRAFT_FILES


@pytest.fixture
def fake_hub(tmp_path, monkeypatch):
    "A function that puts up a cache and a hub and returns the list of downloads that were tried."
    import huggingface_hub

    snapshot = tmp_path / "snapshot"

    def put(files):
        snapshot.mkdir(exist_ok=True)
        for file in files:
            (snapshot / file).write_text('{"model_type": "musicgen"}')

    def make(cached, on_hub):
        "`on_hub` None: the hub cannot be reached."
        asked = []

        def download(name, revision=None, local_files_only=False, allow_patterns=None):
            if not local_files_only:
                asked.append(allow_patterns)
                for pattern in allow_patterns if on_hub else ():
                    put(fnmatch.filter(on_hub, pattern))
            if not snapshot.exists():
                raise OSError("nothing")
            return str(snapshot)

        if cached:
            put(cached)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        return asked

    return make


@pytest.mark.parametrize(
    "cached, on_hub, backend, kind, n_asked",
    [
        (TRANSFORMERS_FILES, ALL_FILES, "auto", "musicgen", 0),
        (AUDIOCRAFT_FILES, ALL_FILES, "auto", "audiocraft", 0),
        (ALL_FILES, None, "auto", "musicgen", 0),
        (("config.json", *AUDIOCRAFT_FILES), None, "auto", "audiocraft", 0),
        (AUDIOCRAFT_FILES[:1], ALL_FILES, "auto", "musicgen", 1),
        (TRANSFORMERS_FILES[:1], ALL_FILES, "auto", "musicgen", 1),
        ((), ALL_FILES, "auto", "musicgen", 1),
        ((), AUDIOCRAFT_FILES, "auto", "audiocraft", 2),
        (AUDIOCRAFT_FILES, ALL_FILES, "transformers", "musicgen", 1),
        (TRANSFORMERS_FILES, ALL_FILES, "audiocraft", "audiocraft", 1),
        (AUDIOCRAFT_FILES, None, "audiocraft", "audiocraft", 0),
    ],
)
def test_the_hub_is_asked_for_what_the_backend_lacks(
    fake_hub, cached, on_hub, backend, kind, n_asked
):
    asked = fake_hub(cached, on_hub)
    folder = model_folder("facebook/musicgen-small", backend=backend)
    assert len(asked) == n_asked
    assert folder_kind(folder, backend) == kind
    needed = "audiocraft" if kind == "audiocraft" else "transformers"
    assert lacking(folder, needed) == []


@pytest.mark.parametrize(
    "cached, backend, why",
    [
        (
            AUDIOCRAFT_FILES,
            "transformers",
            "without config.json, model.safetensors, tokenizer.json.*"
            "What backend='audiocraft' needs is there",
        ),
        (TRANSFORMERS_FILES[:1], "auto", "without model.safetensors"),
        (AUDIOCRAFT_FILES[:1], "auto", "without config.json"),
        (
            AUDIOCRAFT_FILES[:1],
            "audiocraft",
            "without compression_state_dict.bin, which backend='audiocraft' needs",
        ),
        (
            TRANSFORMERS_FILES,
            "audiocraft",
            "without state_dict.bin.*What backend='transformers' needs is there.*"
            "models download facebook/musicgen-small --backend audiocraft",
        ),
    ],
)
def test_half_a_cache_and_no_hub_is_one_error(fake_hub, cached, backend, why):
    fake_hub(cached, None)
    with pytest.raises(FileNotFoundError, match=why):
        load_model("facebook/musicgen-small", backend=backend)


def test_a_shard_that_did_not_arrive_is_lacking(tmp_path):
    for file in ("config.json", "spiece.model", "model-1.safetensors"):
        (tmp_path / file).write_text("{}")
    shard_of = dict(a="model-1.safetensors", b="model-2.safetensors")
    index = json.dumps(dict(weight_map=shard_of))
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert lacking(tmp_path) == ["model-2.safetensors"]


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


def test_published_shapes():
    table = model_registry().set_index("name")
    small = table.loc["facebook/musicgen-small"]
    assert small[["n_layers", "d_model", "n_heads"]].tolist() == [24, 1024, 16]
    stereo = table.loc["facebook/musicgen-stereo-medium"]
    assert stereo[["n_layers", "d_model", "n_codebooks"]].tolist() == [48, 1536, 8]


# raw models


def test_raw_model_is_accepted(tiny):
    assert as_model(tiny.hf, tiny.tokenizer).sites == tiny.sites
    ids = as_model(tiny.hf).tokenize("happy song")["input_ids"]
    assert ids.tolist() == tiny.tokenize("happy song")["input_ids"].tolist()
    with pytest.raises(TypeError, match="Linear"):
        as_model(torch.nn.Linear(1, 1))


def test_a_subclass_of_the_raw_class_is_accepted(tiny):
    class Mine(type(tiny.hf)):
        pass

    mine = Mine(tiny.hf.config)
    mine.config._name_or_path = str(tiny.folder)
    assert as_model(mine, tiny.tokenizer).config == tiny.config


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

    raw = getattr(both_tiny, "raw", both_tiny.hf)
    prompts = ["happy song"]
    tokens = sample_tokens(raw, prompts, 0, 4)
    np.testing.assert_array_equal(tokens, sample_tokens(both_tiny, prompts, 0, 4))
    np.testing.assert_array_equal(tokens, generate(raw, prompts, 0, 0.08, audio=False).tokens)

    for measure in (replay, stepwise):
        from_raw = measure(raw, tokens, prompts)["layer_1"]
        wrapped = measure(both_tiny, tokens, prompts)["layer_1"]
        np.testing.assert_allclose(from_raw, wrapped, atol=1e-6)
    from_raw, wrapped = (token_nll(model, tokens, prompts) for model in (raw, both_tiny))
    np.testing.assert_allclose(np.asarray(from_raw), np.asarray(wrapped), atol=1e-6)
    assert replay_error(raw, tokens, prompts).relative.max() < 1e-4
    assert rounding_gap(raw, tokens, prompts, 1, 2) < 1e-4
    assert replay_bytes(raw, 2, 4) == replay_bytes(both_tiny, 2, 4)
    assert list(text_rows(raw, prompts)) == prompts

    assert len(plan_clips(raw, prompts)) == 1
    store = ClipStore(tmp_path / "clips")
    clips = generate_clips(raw, prompts, store, duration_s=0.2, progress=False)
    assert len(clips) == 1
    acts = replay_store(raw, tmp_path / "clips", "layer_0", tmp_path / "acts", progress=False)
    assert acts.is_dir()

    control = randomized(raw, 1).checksum
    assert control == randomized(both_tiny, 1).checksum
    assert control != as_model(raw).checksum
    with hooked(raw, {"layer_0": lambda x, now: None}), ActivationExtractor(raw, layers=[0]):
        sample_tokens(raw, prompts, 0, 2)
    assert trace(raw, prompts[0], duration_s=0.06).ok


# the interface


def test_a_backend_has_to_be_whole(tiny):
    class Unfinished(MusicModel):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Unfinished(tiny.hf, tiny.tokenizer, tiny.config, {})


def test_sites(tiny):
    for bad in ("layer_3", "layer_-1", "layer_0.mpl", "decoder", 3, None):
        with pytest.raises(KeyError, match=r"layer_0\.\.layer_2"):
            tiny.site(bad)
    with pytest.raises(ValueError, match=r"3 layers, 0\.\.2"):
        tiny.resolve_sites([0, 12, 24])
    with pytest.raises(ValueError, match="layer -1"):
        tiny.resolve_sites([-1])
    with pytest.raises(TypeError, match="'0'"):
        tiny.resolve_sites("0")
    with pytest.raises(TypeError, match="True"):
        tiny.resolve_sites([True])
    assert tiny.resolve_sites(1, "resid") == ["layer_1"]
    assert all(tiny.module(site) is not None for site in tiny.sites)


@pytest.mark.parametrize(
    "prompts, error, match",
    [
        ([], ValueError, "prompts is empty"),
        (None, TypeError, "prompts must be a list of texts"),
        (["a", 3], TypeError, r"prompts\[1\] must be text"),
        ([b"a"], TypeError, "bytes"),
        ([["a"]], TypeError, "list"),
    ],
)
def test_wrong_prompts(tiny, prompts, error, match):
    with pytest.raises(error, match=match):
        tiny.tokenize(prompts)


def test_the_empty_prompt_is_a_text(tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = tiny.encode_text("")
    assert empty.mask.sum() == 1
    assert torch.isfinite(empty.states).all()
    assert empty.states.abs().sum() > 0


def test_a_long_prompt_is_cut_with_a_warning(tiny):
    with pytest.warns(UserWarning, match="the first 512 are kept"):
        long = tiny.encode_text("sad piano " * 1000)
    assert long.states.shape[1] == 512
    assert torch.isfinite(long.states).all()
    assert long.ids[0, -1] == tiny.tokenizer.eos_token_id


@pytest.mark.parametrize("text", ["悲しい音楽", "грустная музыка", "🎵🎵"])
def test_unknown_characters_are_counted_in_a_warning(tiny, text):
    with pytest.warns(UserWarning, match=r"\d+ of \d+ tokens of prompt .* are unknown"):
        states = tiny.encode_text(text)
    assert torch.isfinite(states.states).all()


def test_batch_mates_do_not_change_text_states(tiny):
    long = "sad slow piano ballad in a minor key with soft strings"
    together = tiny.encode_text(["happy song", long]).states[0][:16]
    alone = tiny.encode_text("happy song").states[0]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_null_rows_are_finite_and_equal(tiny):
    state = tiny.begin(tiny.encode_text(["happy song", "sad song"]))
    logits = tiny.step(state, torch.full((2, 4, 1), 64))
    assert torch.isfinite(logits).all()
    assert torch.equal(logits[2], logits[3])
    assert not torch.equal(logits[0], logits[1])


def test_stereo(tmp_path):
    folder = write_random_model(tmp_path / "stereo", n_codebooks=8, channels=2)
    model = load_model(folder, device="cpu")
    tokens = sample_tokens(model, ["happy song"], 0, 6, temperature=0)
    assert delay_tokens(tokens, model.config).shape == (1, 8, 9)
    audio = model.decode_audio(tokens)
    assert audio.shape == (1, 2, 6 * 640)
    with torch.no_grad():
        theirs = model.hf.generate(
            **model.tokenize("happy song"), do_sample=False, guidance_scale=3.0, max_length=10
        )
    np.testing.assert_allclose(audio[0], theirs[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("which", ["tiny", "nano"])
def test_half_precision_is_finite_and_replays(tiny_folder, which, dtype):
    "The same bounds as for the other backend, relative to the largest activation of a site."
    from musicgen_emotion.activations.replaying import REPLAY_TOLERANCE, replay_error

    model = load_model(tiny_folder if which == "tiny" else "nano", device="cpu", dtype=dtype)
    tokens = sample_tokens(model, ["happy song"], 0, 6)
    gap = replay_error(model, tokens, "happy song")
    assert np.isfinite(gap.largest).all()
    assert (gap.largest > 0).all()
    assert gap.relative.max() < REPLAY_TOLERANCE[dtype], gap.to_string()


# tokens and their delay


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


@pytest.mark.parametrize("channels, n_codebooks", [(1, 4), (2, 8)])
def test_undelaying_is_the_inverse_of_delaying(channels, n_codebooks):
    config = ModelConfig(1, 8, 8, n_codebooks, 64, 50, 32000, 16, 2, channels=channels)
    tokens = np.random.default_rng(0).integers(0, 64, (2, n_codebooks, 7))
    sequence = delayed_sequence(tokens, config)
    assert sequence.shape == (2, n_codebooks, config.positions(7) + 1)
    assert int((sequence == 64).sum()) == 2 * n_codebooks * (1 + config.n_special)
    np.testing.assert_array_equal(undelay_tokens(sequence, config), tokens)
    with pytest.raises(ValueError, match="more than 4 positions"):
        undelay_tokens(sequence[..., :4], config)
    with pytest.raises(ValueError, match="codebooks"):
        undelay_tokens(sequence[:, :-1], config)


def test_durations():
    config = ModelConfig(4, 192, 128, 4, 512, 50, 8000, 768, 6, max_positions=403)
    assert config.frames(8) == 400
    for bad in (0, -1, float("nan"), float("inf"), 8.1):
        with pytest.raises(ValueError, match="duration_s"):
            config.frames(bad)
    with pytest.raises(TypeError):
        config.frames("5")


# sampling


def test_rows_of_equal_length_share_a_batch(tiny):
    short, long = "happy song", "sad slow piano ballad in a minor key with soft strings"
    widths = padded_widths(tiny, [long, short, short])
    assert widths == [tiny.tokenize(text)["input_ids"].shape[1] for text in (long, short, short)]
    assert list(equal_length_batches(widths, 2)) == [[1, 2], [0]]
    lengths = [(50, 16), (50, 32), (25, 32), (50, 16), (50, 16)]
    assert list(equal_length_batches(lengths, 2)) == [[2], [0, 3], [4], [1]]


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_guidance_is_linear_in_its_scale(scale):
    rng = np.random.default_rng(0)
    cond, null = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    expected = scale * cond + (1 - scale) * null
    np.testing.assert_allclose(merge_guidance(cond, null, scale), expected, atol=1e-12)


@pytest.mark.parametrize(
    "kwargs, error, match",
    [
        (dict(guidance=-1), ValueError, "guidance must be"),
        (dict(guidance="3"), TypeError, "guidance must be"),
        (dict(temperature=float("inf")), ValueError, "temperature must be"),
        (dict(top_k=-1), ValueError, "top_k must be"),
        (dict(top_k=2.5), ValueError, "top_k must be"),
        (dict(top_k=True), TypeError, "top_k must be"),
    ],
)
def test_wrong_settings(tiny, kwargs, error, match):
    with pytest.raises(error, match=match):
        SamplingSettings(**kwargs)
    with pytest.raises(error, match=match):
        sample_tokens(tiny, ["happy song"], 0, 4, **kwargs)


def test_settings_are_given_one_by_one_or_together(tiny):
    chosen = dict(guidance=2.0, temperature=0.7, top_k=5)
    one_by_one = sample_tokens(tiny, ["happy song"], 0, 6, **chosen)
    together = sample_tokens(tiny, ["happy song"], 0, 6, sampling=SamplingSettings(**chosen))
    np.testing.assert_array_equal(one_by_one, together)
    with pytest.raises(ValueError, match="not both"):
        sample_tokens(tiny, ["happy song"], 0, 6, top_k=5, sampling=SamplingSettings())
    with pytest.raises(ValueError, match="to the codebook's 64; got 65"):
        sample_tokens(tiny, ["happy song"], 0, 6, sampling=SamplingSettings(top_k=65))


def test_seeds():
    assert clip_seeds(np.int64(3), 2) == [3, 4]
    assert clip_seeds([1, 2.0], 2) == [1, 2]
    for bad in ([1], [1, -1], [1, 2.5]):
        with pytest.raises(ValueError):
            clip_seeds(bad, 2)
    for bad in ("12", None, True, [1, None]):
        with pytest.raises(TypeError):
            clip_seeds(bad, 2)
