"Making and verifying a planted model, on a base that is not trained."

import json

import numpy as np
import pytest
import torch

from musicgen_emotion.activations.generation import generate
from musicgen_emotion.bench.localization import localize
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.tiny import write_tokenizer
from musicgen_emotion.nano.codec import train_codec
from musicgen_emotion.nano.decoder import assemble_nano
from musicgen_emotion.nano.planted import (
    FACTOR_DESCRIPTORS,
    draw_planted_scene,
    plant_text_model,
    verify_planted,
)
from musicgen_emotion.nano.planted_layers import (
    PlantedPlaces,
    opening_tokens,
    plant_layers_model,
    read_alone,
    verify_layers,
)
from musicgen_emotion.nano.planted_text import PLANTED_DECOYS, planted_truth
from musicgen_emotion.nano.text_encoder import student_encoder

TRUTH = planted_truth(width=32, n_sparse=40, seed=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    work = tmp_path_factory.mktemp("base")
    tokenizer = write_tokenizer(work / "text")
    student_encoder(len(tokenizer), width=32).save_pretrained(work / "text")
    codec_file = train_codec(work, ae_steps=1, vq_steps=1, n_clips=4)
    assemble_nano(work / "nano", work / "text", codec_file)
    return work / "nano"


@pytest.fixture(scope="module")
def planted(base, tmp_path_factory):
    work = tmp_path_factory.mktemp("planted")
    settings = dict(steps=2, n_clips=6, batch_size=2, frames=12)
    return plant_text_model(base, work / "model", TRUTH, work / "work", **settings)


def test_the_folder_holds_the_built_states_and_the_truth(planted):
    record = json.loads((planted / "truth.json").read_text())
    assert record["decoys"] == list(PLANTED_DECOYS) and record["width"] == 32
    model = load_model(planted)
    states = [model.encode_text([f"{word} music"]).states[0].numpy() for word in ("slow", "fast")]
    change = states[1] - states[0]
    inside = change @ TRUTH.bases["tempo"].T @ TRUTH.bases["tempo"]
    assert np.linalg.norm(change - inside) < 1e-3 * np.linalg.norm(change)


def test_a_decoder_that_was_not_trained_follows_nothing_much(planted):
    "The table cannot be all yes: two steps of training teach no factor."
    table = verify_planted(load_model(planted), TRUTH, n_pairs=3, duration_s=2.0, progress=False)
    assert set(table.factor) == set(FACTOR_DESCRIPTORS)
    assert set(table.exchanged) == {*FACTOR_DESCRIPTORS, *PLANTED_DECOYS}
    assert not table[table.own].follows.all()


def test_the_width_of_the_truth_must_be_that_of_the_base(base, tmp_path):
    with pytest.raises(ValueError, match=r"truth has a width of 64; those of .* have 32"):
        plant_text_model(base, tmp_path / "m", planted_truth(64, 40), tmp_path / "work", steps=1)
    assert not (tmp_path / "m").exists()


def test_named_levels_are_in_the_cues_and_decoys_are_not():
    draw = np.random.default_rng(5)
    for _ in range(200):
        scene = draw_planted_scene(draw)
        levels = scene["levels"]
        if "mode" in levels:
            assert scene["mode"] == levels["mode"]
        if "level" in levels:
            assert (scene["level"] > -21) == (levels["level"] == "loud")
        if "instrument" in levels:
            assert scene["instrument"] == levels["instrument"]
        assert not set(PLANTED_DECOYS) & set(scene)


PLACES = PlantedPlaces(dict(mode=0, brightness=2), opening=("brightness",))


@pytest.fixture(scope="module")
def placed(planted, tmp_path_factory):
    work = tmp_path_factory.mktemp("placed")
    settings = dict(steps=2, n_clips=4, batch_size=2, frames=12)
    return plant_layers_model(planted, work / "model", TRUTH, PLACES, work / "work", **settings)


def test_layers_read_their_factor_and_nothing_else_after_a_training(placed):
    "Words of other factors change no cross-attention; the factor's own word changes its layer."
    model = load_model(placed)
    base, minor, loud = [
        collect_cross(model, text) for text in ("major fast", "minor fast", "major slow")
    ]
    changes = [(minor[layer] - base[layer]).abs().max() for layer in range(len(base))]
    assert changes[0] > 1e-4 and max(changes[1:]) < 1e-6
    assert max((loud[layer] - base[layer]).abs().max() for layer in range(len(base))) < 1e-5


def collect_cross(model, text):
    "Output of cross-attention of each layer over the same first tokens, given one text."
    states = model.encode_text([text], warn=False)
    layers = model.hf.decoder.model.decoder.layers
    hidden = torch.ones(1, 1, model.hf.decoder.config.hidden_size)
    projected = model.hf.enc_to_dec_proj(states.states)
    made = []
    for layer in layers:
        made.append(layer.encoder_attn(hidden, key_value_states=projected)[0].detach())
    return made


def test_exchanges_at_other_layers_change_no_token(placed):
    table = verify_layers(
        load_model(placed), TRUTH, PLACES, n_pairs=2, duration_s=2.0, progress=False
    )
    others = table[table.layer != table.factor.map(PLACES.layers)]
    assert len(others) and (others.changed == 0).all() and others.holds.all()
    own = table[(table.factor == "mode") & (table.layer == 0)]
    assert (own.expected == "the sound").all() and (own.changed > 0).any()
    opening = table[(table.factor == "brightness") & (table.layer == 2)].set_index("start")
    assert opening.expected.to_dict() == {0.0: "the sound", 1.0: "nothing"}


def test_without_factors_the_model_is_deaf(planted, tmp_path):
    settings = dict(steps=1, n_clips=4, batch_size=2, frames=12)
    deaf = load_model(
        plant_layers_model(
            planted, tmp_path / "m", TRUTH, PlantedPlaces({}), tmp_path / "w", **settings
        )
    )
    made = generate(deaf, ["minor quiet", "major loud"], [7, 7], duration_s=0.5, progress=False)
    assert (made.tokens[0] == made.tokens[1]).all()


def test_the_opening_follows_and_the_rest_is_plain(base, tmp_path):
    codec = load_model(base).hf.audio_encoder
    kept, scenes = opening_tokens(codec, tmp_path, 4, 3, ("level",), block=4)
    plain, same = opening_tokens(codec, tmp_path, 4, 3, (), block=4)
    assert scenes == same and (kept[..., :50] == plain[..., :50]).all()
    assert (kept[..., 50:] != plain[..., 50:]).any()


def test_a_layer_that_does_not_exist_is_refused(base):
    with pytest.raises(ValueError, match=r"layers 0 to 5; places name \{'mode': 9\}"):
        read_alone(load_model(base), TRUTH, PlantedPlaces(dict(mode=9)))


def test_patching_finds_the_layer_and_guessing_does_not(placed):
    "The decoder is hardly trained, but what its layers read is cut already."
    places = PlantedPlaces(PLACES.layers)  # the first second was not learned in two steps
    found = localize(load_model(placed), TRUTH, places, n_pairs=4, duration_s=1.2)
    auroc = found.pivot(index="method", columns="factor", values="auroc")
    for method in ("patching", "attribution", "ablation"):
        assert (auroc.loc[method] == 1).all()
    assert (auroc.loc["random"] < 1).any()
    assert found.passes[found.method == "random"].eq(0).all()
    assert found.passes[found.method != "random"].gt(0).all()
    # source and target of each pair, and one run per cell: 6 layers, 2 windows
    assert found.passes[found.method == "patching"].eq(4 * (2 + 12)).all()


def test_a_method_of_another_length_is_refused_by_name(placed):
    def short(model, pairs, cells, seed):
        return np.zeros(3)

    with pytest.raises(ValueError, match="method 'short' must return 12 finite numbers"):
        localize(load_model(placed), TRUTH, PLACES, dict(short=short), n_pairs=1, duration_s=1.2)
