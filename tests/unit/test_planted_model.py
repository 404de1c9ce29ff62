"Making and verifying a planted model, on a base that is not trained."

import json

import numpy as np
import pytest

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
