"""Folders of other libraries: what changes the arithmetic is applied or refused by name.

The formulas below are those of the libraries, written out; `tests/interop` compares with the
libraries themselves."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from musicgen_emotion.sae.dictionary import SparseAutoencoder
from musicgen_emotion.sae.folding import from_tensors, plain_tensors
from musicgen_emotion.sae.format_rules import (
    DICTIONARY_LEARNING_KNOWN,
    SAELENS_HARMLESS,
    SAELENS_ORIGIN,
    SPARSIFY_KNOWN,
)
from musicgen_emotion.sae.formats import (
    load_dictionary,
    to_dictionary_learning,
    to_saelens,
    to_sparsify,
)
from musicgen_emotion.sae.tensor_files import read_state, read_tensors

D, F, K = 8, 16, 3


@pytest.fixture
def x():
    return torch.randn(64, D, generator=torch.Generator().manual_seed(1)) + 1.0


def weights(seed=0, **shapes):
    generator = torch.Generator().manual_seed(seed)
    shapes = dict(W_enc=(D, F), b_enc=(F,), W_dec=(F, D), b_dec=(D,)) | shapes
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def saelens(folder, tensors, **config):
    "A folder as SAELens writes it."
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(dict(d_in=D, d_sae=F) | config))
    return folder


OLDER = dict(  # what SAELens 3 to 5 writes for every dictionary
    architecture="standard",
    dtype="torch.float32",
    device="cuda",
    model_name="gpt2-small",
    hook_name="blocks.5.hook_resid_pre",
    hook_layer=5,
    hook_head_index=None,
    activation_fn_str="relu",
    activation_fn_kwargs={},
    apply_b_dec_to_input=True,
    finetuning_scaling_factor=False,
    sae_lens_training_version="5.11.0",
    prepend_bos=True,
    dataset_path="Skylion007/openwebtext",
    dataset_trust_remote_code=True,
    context_size=128,
    normalize_activations="none",
    neuronpedia_id=None,
    model_from_pretrained_kwargs={},
    seqpos_slice=[None],
)
OLDEST = dict(  # SAELens 1 and 2 wrote the settings of the whole run
    model_name="gelu-2l",
    hook_point="blocks.0.hook_mlp_out",
    hook_point_layer=0,
    hook_point_head_index=None,
    activation_fn="relu",
    normalize_activations=False,
    use_ghost_grads=False,
    expansion_factor=2,
    apply_b_dec_to_input=True,
)


def topk(pre, k=K):
    values, places = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, places, values.relu())


def agree(folder, x, features, reconstruction, **options):
    mine = load_dictionary(folder, **options)
    torch.testing.assert_close(mine.encode(x).detach(), features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mine(x).detach(), reconstruction, atol=1e-4, rtol=1e-4)
    return mine


@pytest.mark.parametrize("name", ["activation_fn_str", "activation_fn"])
@pytest.mark.parametrize("architecture", ["standard", "topk", None])
def test_saelens_topk_written_as_standard(tmp_path, x, name, architecture):
    t = weights()
    config = {key: value for key, value in OLDER.items() if key != "activation_fn_str"}
    config |= {name: "topk", "activation_fn_kwargs": {"k": K}, "architecture": architecture}
    f = topk((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    mine = agree(saelens(tmp_path, t, **config), x, f, f @ t["W_dec"] + t["b_dec"])
    assert mine.cfg.activation == "topk" and mine.cfg.k == K
    assert mine.cfg.metadata["model"] == "gpt2-small"
    assert mine.cfg.metadata["site"] == "blocks.5.hook_resid_pre"


@pytest.mark.parametrize("subtract", [True, False])
def test_saelens_factor_per_feature_is_applied(tmp_path, x, subtract):
    t = weights(finetuning_scaling_factor=(F,))
    config = OLDER | dict(finetuning_scaling_factor=True, apply_b_dec_to_input=subtract)
    f = ((x - subtract * t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    scaled = f * t["finetuning_scaling_factor"]
    agree(saelens(tmp_path, t, **config), x, f, scaled @ t["W_dec"] + t["b_dec"])


def test_the_oldest_saelens_keeps_model_and_hook(tmp_path, x):
    t = weights() | dict(scaling_factor=torch.ones(F))
    f = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    mine = agree(saelens(tmp_path, t, **OLDEST), x, f, f @ t["W_dec"] + t["b_dec"])
    assert (mine.cfg.metadata["model"], mine.cfg.metadata["site"]) == (
        "gelu-2l",
        "blocks.0.hook_mlp_out",
    )
    t["scaling_factor"][0] = 2
    with pytest.raises(ValueError, match="scaling_factor"):
        load_dictionary(saelens(tmp_path, t, **OLDEST))


CHANGES = {  # settings of SAELens that are refused, and the word that the error must have
    "normalize_activations": [
        "expected_average_only_in",
        "layer_norm",
        "constant_norm_rescale",
        "covariance_whitening",
        True,
    ],
    "reshape_activations": ["hook_z"],
    "hook_name": ["blocks.5.attn.hook_z"],
    "architecture": ["transcoder", "skip_transcoder", "matching_pursuit", "temporal", "abs_topk"],
    "activation_fn": ["tanh-relu", "gelu", "topk"],
    "activation_fn_str": ["tanh-relu", "topk"],
    "activation_fn_kwargs": [{"k": 3}, {"postact_fn": "abs"}, [3]],
    "finetuning_scaling_factor": [True, 2.0, "yes"],
    "rescale_acts_by_decoder_norm": [True],
    "hook_name_out": ["blocks.6.hook_mlp_out"],
    "d_out": [9],
    "d_in": [9],
    "d_sae": [17],
    "k": [3],
    "signed": [True],
    "transcode": [True],
    "skip_connection": [True],
    "is_transcoder": [True],
    "norm_scaling_factor": [2.0],
    "input_gain": [1.0, None, False],
    "metadata": [[1], {"hook_name_out": "blocks.6.hook_mlp_out"}],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_of_saelens_that_changes_the_arithmetic_is_refused(tmp_path, name):
    for value in CHANGES[name]:
        folder = saelens(tmp_path, weights(), **OLDER | {name: value})
        word = dict(
            d_in="expected",
            d_sae="expected",
            metadata="metadata|hook_name_out",
            activation_fn_str="activation_fn_str|'k'",
        )
        with pytest.raises(ValueError, match=word.get(name, name)):
            load_dictionary(folder)


@pytest.mark.parametrize("name", [*SAELENS_HARMLESS, *SAELENS_ORIGIN])
def test_a_harmless_setting_of_saelens_is_read(tmp_path, name):
    value = OLDER.get(name, 0.5)
    assert load_dictionary(saelens(tmp_path, weights(), **OLDER | {name: value})).d_sae == F


def test_metadata_may_have_any_names(tmp_path):
    odd = dict(k=5, source="x", activation="y", tensors=1, format=2, hook_name="blocks.1")
    mine = load_dictionary(saelens(tmp_path, weights(), metadata=odd))
    assert odd.items() <= mine.cfg.metadata.items() and mine.cfg.metadata["site"] == "blocks.1"


FORMS = dict(
    own=("relu", SparseAutoencoder.save_pretrained, "dictionary.safetensors", "cfg.json"),
    saelens=("jumprelu", to_saelens, "sae_weights.safetensors", "cfg.json"),
    dictionary_learning=("batch_topk", to_dictionary_learning, "ae.pt", "config.json"),
    sparsify=("topk", to_sparsify, "sae.safetensors", "cfg.json"),
)


def written(form, folder):
    activation, write, file, config = FORMS[form]
    sae = SparseAutoencoder(D, 2, activation=activation, k=K).eval()
    write(sae, folder)
    return folder / file, folder / config


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "tensor", ["W_skip", "finetuning_scaling", "b_skip", "mean", "threshold_2"]
)
def test_an_unknown_tensor_is_refused_in_every_form(tmp_path, form, tensor):
    file, _ = written(form, tmp_path)
    is_pickle = file.suffix == ".pt"
    tensors = torch.load(file) if is_pickle else load_file(file)
    (torch.save if is_pickle else save_file)(tensors | {tensor: torch.zeros(D, D)}, file)
    with pytest.raises(ValueError, match=tensor):
        load_dictionary(tmp_path)
    if form != "own":
        assert load_dictionary(tmp_path, ignore=[tensor]).d_sae == F


@pytest.mark.parametrize("form", FORMS)
def test_an_unknown_setting_is_refused_in_every_form(tmp_path, form):
    _, path = written(form, tmp_path)
    config = json.loads(path.read_text())
    places = [config, config["trainer"]] if form == "dictionary_learning" else [config]
    for place in places:
        for name in ("gain", "skip_connection", "signed", "normalize_activations"):
            before = dict(place)
            place[name] = "layer_norm" if name == "normalize_activations" else True
            path.write_text(json.dumps(config))
            with pytest.raises(ValueError, match=name):
                load_dictionary(tmp_path)
            place.clear()
            place.update(before)


@pytest.mark.parametrize("form", FORMS)
def test_settings_that_are_no_clear_json_are_refused(tmp_path, form):
    _, path = written(form, tmp_path)
    text = path.read_text()
    for content in (
        b"",
        b"[1]",
        b"{",
        text.encode("utf-16"),
        b'{"a": ' * 100_000,
        text.strip().removesuffix("}").encode() + b', "k": 1, "k": 2}',
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=path.name) as caught:
            load_dictionary(tmp_path)
        assert "delete" not in str(caught.value)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_dictionary(tmp_path).d_sae == F


@pytest.mark.parametrize("name", SPARSIFY_KNOWN)
def test_known_settings_of_sparsify_are_read(tmp_path, name):
    _, path = written("sparsify", tmp_path)
    config = dict(signed=False, transcode=False, skip_connection=False, naive_decoder=True)
    path.write_text(json.dumps(config | json.loads(path.read_text()) | dict(multi_topk=True)))
    assert load_dictionary(tmp_path).cfg.k == K


@pytest.mark.parametrize("name", DICTIONARY_LEARNING_KNOWN)
def test_known_settings_of_dictionary_learning_are_read(tmp_path, name):
    _, path = written("dictionary_learning", tmp_path)
    config = json.loads(path.read_text())
    config["trainer"].setdefault(name, 0.5)
    path.write_text(json.dumps(config))
    assert load_dictionary(tmp_path).d_sae == F


def test_a_scale_or_k_that_contradicts_the_weights_is_refused(tmp_path):
    file, path = written("dictionary_learning", tmp_path)
    config = json.loads(path.read_text())
    for change in (dict(norm_factor=2.5), dict(k=5)):
        path.write_text(json.dumps(config | dict(trainer=config["trainer"] | change)))
        with pytest.raises(ValueError, match=next(iter(change))):
            load_dictionary(tmp_path)
    torch.save(torch.load(file) | dict(bias=torch.zeros(D)), file)
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"'b_dec'|'bias'"):
        load_dictionary(tmp_path)


def test_prefixes_of_training_are_harmless(tmp_path):
    file, path = written("dictionary_learning", tmp_path)
    torch.save(torch.load(file) | dict(group_sizes=torch.tensor([4, F - 4])), file)
    config = json.loads(path.read_text())
    config["trainer"]["dict_class"] = "MatryoshkaBatchTopKSAE"
    path.write_text(json.dumps(config))
    assert load_dictionary(tmp_path).d_sae == F


def test_two_names_of_one_tensor_are_refused(tmp_path):
    t = weights(threshold=(F,), log_threshold=(F,))
    with pytest.raises(ValueError, match="log_threshold and threshold mean the same"):
        load_dictionary(saelens(tmp_path, t, **OLDER | dict(architecture="jumprelu")))
    t = weights(b_gate=(F,), r_mag=(F,), b_mag=(F,))
    with pytest.raises(ValueError, match="b_enc and b_gate mean the same"):
        load_dictionary(saelens(tmp_path, t, **OLDER | dict(architecture="gated")))


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_point_are_refused(kind):
    t = weights()
    with pytest.raises(ValueError, match=r"tensor 'W_enc' has number type"):
        from_tensors(t | dict(W_enc=t["W_enc"].to(kind)), "relu")
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        halves = {name: value.to(kind) for name, value in t.items()}
        assert from_tensors(halves, "relu").W_enc.dtype == torch.float32


def test_tensors_that_are_not_in_keys_are_refused(tmp_path):
    plain = plain_tensors(SparseAutoencoder(D, 2, activation="topk", k=K))
    save_file(plain | dict(W_skip=torch.eye(D)), tmp_path / "model.safetensors")
    keys = {name: name for name in plain}
    with pytest.raises(ValueError, match=r"tensors W_skip are not in keys.*ignore=\['W_skip'\]"):
        load_dictionary(tmp_path, keys=keys, k=K)
    assert load_dictionary(tmp_path, keys=keys, k=K, ignore=["W_skip"]).d_sae == F
    (tmp_path / "model.json").write_text('{"signed": true, "layer": 3}')
    with pytest.raises(ValueError, match="signed True"):
        load_dictionary(tmp_path, keys=keys, k=K, ignore=["W_skip"])


def test_one_of_many_dictionaries_is_chosen_by_name(tmp_path):
    for layer in (2, 10, 9):
        written("sparsify", tmp_path / f"layers.{layer}.mlp")
    written("saelens", tmp_path / "deep" / "blocks.1")
    listed = r"layers\.2\.mlp, layers\.9\.mlp, layers\.10\.mlp"
    with pytest.raises(
        FileNotFoundError, match=rf"deep/blocks\.1, {listed}.*name='deep/blocks\.1'"
    ):
        load_dictionary(tmp_path)
    assert load_dictionary(tmp_path, name="layers.10.mlp").cfg.k == K
    assert load_dictionary(tmp_path, name="deep/blocks.1").cfg.activation == "jumprelu"
    for name in ("../x", "/etc", "layers", ""):
        with pytest.raises(ValueError, match="name must be one of"):
            load_dictionary(tmp_path, name=name)
    with pytest.raises(FileNotFoundError, match="holds no dictionary: none of"):
        (tmp_path / "empty").mkdir()
        load_dictionary(tmp_path / "empty")


def test_a_folder_of_two_libraries_needs_a_form(tmp_path):
    written("sparsify", tmp_path)
    other = to_dictionary_learning(SparseAutoencoder(D, 2).eval(), tmp_path / "other")
    for name in ("ae.pt", "config.json"):
        (other / name).rename(tmp_path / name)
    with pytest.raises(ValueError, match=r"ae\.pt and sae\.safetensors; choose with form="):
        load_dictionary(tmp_path)
    assert load_dictionary(tmp_path, "sparsify").cfg.activation == "topk"


def test_the_hub_is_asked_before_anything_is_fetched(tmp_path, monkeypatch):
    import huggingface_hub

    written("sparsify", tmp_path / "layers.1")
    fetched = []

    class Api:
        def list_repo_files(self, repo):
            return ["README.md", "layers.1/cfg.json", "layers.1/sae.safetensors", "x/ae.pt"]

    def fetch(repo, revision=None, **options):
        fetched.append(options)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(FileNotFoundError, match=r"2 in subfolders: layers\.1, x"):
        load_dictionary("owner/name")
    assert not fetched
    assert load_dictionary("owner/name", name="layers.1").d_sae == F
    assert fetched == [dict(allow_patterns=["layers.1/*"])]


def test_a_size_beyond_the_weights_takes_no_memory(tmp_path):
    _, path = written("own", tmp_path)
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | dict(d_sae=10**12)))
    with pytest.raises(ValueError, match="'W_dec' has shape"):
        load_dictionary(tmp_path)


def _header(tensors, size=None):
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + bytes(64)


BAD_HEADERS = dict(
    tensor_beyond_the_file=_header(
        dict(a=dict(dtype="F32", shape=[10**6, 10**6], data_offsets=[0, 4 * 10**12]))
    ),
    header_beyond_the_file=_header({}, 90_000_000),
    header_beyond_all=_header({}, 2**62),
    surplus=_header(dict(a=dict(dtype="F32", shape=[1], data_offsets=[0, 4]))),
    other_size=_header(dict(a=dict(dtype="F32", shape=[3], data_offsets=[0, 64]))),
    cut=b"\x08\0\0",
    no_file=b"",
)


@pytest.mark.parametrize("name", BAD_HEADERS)
@pytest.mark.parametrize("read", [read_tensors, read_state])
def test_a_header_that_does_not_fit_its_file_is_refused(tmp_path, name, read):
    path = tmp_path / "x.safetensors"
    path.write_bytes(BAD_HEADERS[name])
    with pytest.raises(ValueError, match=r"x\.safetensors is damaged") as caught:
        read(path)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize("n_samples", [2**36 - 1, 0, 10**6])
def test_audio_longer_in_its_header_than_in_its_file_is_refused(tmp_path, n_samples):
    import numpy as np
    import soundfile

    from musicgen_emotion.sound.descriptors import read_wave

    path = tmp_path / "x.flac"
    wave = np.random.default_rng(0).normal(size=(16000, 2)) * 0.1
    soundfile.write(path, wave, 16000)
    samples, _ = read_wave(path)
    np.testing.assert_allclose(samples, wave.mean(1), atol=1e-4)
    data = bytearray(path.read_bytes())
    data[21] = (data[21] & 0xF0) | (n_samples >> 32)
    data[22:26] = (n_samples & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.flac cannot be read as audio"):
        read_wave(path)


def _with_code(folder, config):
    "A model folder that wants its own code to be run."
    folder.mkdir()
    code = f"import pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\nclass C: pass\n"
    for module in ("configuration_odd", "modeling_odd", "tokenization_odd"):
        (folder / f"{module}.py").write_text(code)
    auto_map = dict(
        AutoConfig="configuration_odd.C",
        AutoModel="modeling_odd.C",
        AutoTokenizer=["tokenization_odd.C", None],
        AutoFeatureExtractor="modeling_odd.C",
    )
    (folder / "config.json").write_text(json.dumps(config | dict(auto_map=auto_map)))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(auto_map=auto_map)))
    save_file({}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("kind", ["odd", "t5", "clap"])
def test_code_in_a_folder_is_never_run(tmp_path, kind, monkeypatch):
    from musicgen_emotion.activations.texts import load_encoder
    from musicgen_emotion.steering.clap import load_clap

    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder = _with_code(tmp_path / "model", dict(model_type=kind))
    for load in (load_encoder, load_clap):
        said = ""
        try:
            load(folder)
        except (ValueError, OSError) as error:
            said = str(error)
        assert not (folder / "ran").exists()
        if kind == "odd":
            assert "never done here" in said and str(folder) in said


def test_every_loader_of_transformers_is_told_to_run_no_code(tmp_path, monkeypatch):
    import transformers

    from musicgen_emotion.activations.texts import load_encoder
    from musicgen_emotion.steering.clap import load_clap, write_random_clap

    told = []
    for name in ("AutoConfig", "AutoTokenizer", "AutoFeatureExtractor", "ClapModel", "AutoModel"):
        original = getattr(transformers, name).from_pretrained

        def watched(*args, original=original, **options):
            told.append(options.get("trust_remote_code"))
            return original(*args, **options)

        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", watched)
    load_clap(write_random_clap(tmp_path / "clap"))
    assert len(told) >= 4 and set(told) == {False}
    told.clear()
    (tmp_path / "encoder").mkdir()
    save_file({}, tmp_path / "encoder" / "model.safetensors")
    with pytest.raises(FileNotFoundError):
        load_encoder(tmp_path / "encoder")
    assert told == [False]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    "text,words",
    [
        (BOMB, "stand for more than 10000 values"),
        (BOMB.replace("[", "{k1: ").replace("]", "}").replace("x, ", "x"), "values|valid"),
        ("a: &a [*a]", "inside the value that it names"),
        ("a: &a {b: *a}", "inside the value that it names"),
        ("a: " + "[" * 5000, "valid YAML"),
        ("a: *nowhere", "valid YAML"),
        ("a: !!python/object/apply:os.system [x]", "valid YAML"),
        ("- 1", "lines of the form"),
    ],
)
def test_yaml_does_not_multiply_itself(tmp_path, text, words):
    from musicgen_emotion.lab.parameters import read_params_file

    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"x\.yaml .*({words})"):
        read_params_file(path)
    path.write_text("base: &base\n  words: &w [slow, sad]\nother:\n  <<: *base\n  more: *w\n")
    assert read_params_file(path)["other"] == dict(words=["slow", "sad"], more=["slow", "sad"])
    path.write_text("seeds: [" + ", ".join(map(str, range(20_000))) + "]")
    assert len(read_params_file(path)["seeds"]) == 20_000
