"A text encoder that was built: its states hold what the truth says, in stock transformers."

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, T5EncoderModel

from musicgen_emotion.nano.planted_text import (
    ENTANGLED,
    PLANTED_DECOYS,
    PLANTED_FACTORS,
    build_text_encoder,
    planted_prompt,
    planted_truth,
)

TRUTH = planted_truth(width=96, n_sparse=160, seed=3)


@pytest.fixture(scope="module")
def states_of(tmp_path_factory):
    "States of a text (token, d), from the folder as stock transformers loads it."
    folder = tmp_path_factory.mktemp("planted")
    build_text_encoder(folder, TRUTH)
    encoder = T5EncoderModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def read(text):
        with torch.no_grad():
            inputs = tokenizer(text, return_tensors="pt")
            return encoder(**inputs).last_hidden_state[0].numpy()

    return read


@pytest.mark.parametrize("factor", [*PLANTED_FACTORS, *PLANTED_DECOYS])
def test_a_word_moves_the_states_in_its_own_subspace_alone(states_of, factor):
    low, high = (PLANTED_FACTORS | PLANTED_DECOYS)[factor][:2]
    frame = f"{{}} music with {TRUTH.fillers[0]} and {TRUTH.fillers[5]}"
    change = states_of(frame.format(high)) - states_of(frame.format(low))
    inside = change @ TRUTH.bases[factor].T @ TRUTH.bases[factor]
    assert np.linalg.norm(change - inside) < 1e-4 * np.linalg.norm(change)
    assert (np.linalg.norm(inside, axis=1) > 0.1).all()  # every token carries it


def test_the_entangled_factor_shares_what_the_truth_says(states_of):
    factor, other, degrees = ENTANGLED
    low, high = PLANTED_FACTORS[factor]
    change = (states_of(f"{high} music") - states_of(f"{low} music"))[1]
    shared = abs(change @ TRUTH.bases[other][0]) / np.linalg.norm(change)
    assert shared == pytest.approx(np.cos(np.radians(degrees)), abs=1e-4)


def test_sparse_directions_are_in_superposition_and_hold_no_factor():
    left = TRUTH.width - sum(len(basis) for basis in TRUTH.bases.values())
    assert len(TRUTH.sparse) > left and len(set(TRUTH.fillers)) == len(TRUTH.sparse)
    for basis in TRUTH.bases.values():
        assert np.abs(TRUTH.sparse @ basis.T).max() < 1e-9
    overlap = np.abs(TRUTH.sparse @ TRUTH.sparse.T - np.eye(len(TRUTH.sparse)))
    assert overlap.max() < 0.8  # no two are nearly the same


def test_two_truths_share_nothing_and_one_seed_is_one_truth():
    same, other = planted_truth(96, 160, seed=3), planted_truth(96, 160, seed=4)
    assert np.array_equal(same.sparse, TRUTH.sparse)
    assert np.abs(np.sum(other.bases["tempo"] * TRUTH.bases["tempo"])) < 0.5


def test_words_that_are_unknown_carry_no_factor(states_of):
    plain = states_of("zyx music 42")
    for basis in TRUTH.bases.values():
        assert np.abs(plain @ basis.T).max() < 1e-3


def test_prompts_have_the_levels_that_were_asked():
    draw = np.random.default_rng(0)
    levels = dict(tempo="slow", instrument="flute", place="city")
    texts = {planted_prompt(levels, draw, TRUTH, n_fillers=3) for _ in range(10)}
    assert len(texts) == 10
    for text in texts:
        assert {"slow", "flute", "city"} < set(text.split()) and len(text.split()) == 6
    for wrong in (dict(mood="sad"), dict(tempo="sad")):
        with pytest.raises(ValueError, match="must be one of"):
            planted_prompt(wrong, draw, TRUTH)
