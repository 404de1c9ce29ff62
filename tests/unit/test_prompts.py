"Balanced prompts, pools that do not depend on their size, and music with known cues."

import re

import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.models.text import piece_counter
from musicgen_emotion.stimuli.emotions import (
    EMOTION_OF_WORD,
    EMOTION_WORDS,
    EMOTIONS,
    HELD_OUT_WORDS,
    Cues,
    check_emotion,
    emotion_cues,
)
from musicgen_emotion.stimuli.prompt_pool import (
    PromptPool,
    _shuffled_positions,
    dictionary_prompts,
    diverse_prompts,
)
from musicgen_emotion.stimuli.prompts import (
    HELD_OUT_TEMPLATES,
    NOUNS,
    TEMPLATES,
    PromptSet,
    conflict_prompts,
    cue_prompts,
    held_out_prompts,
    make_prompt,
    matched_pairs,
    neutral_prompts,
    study_prompts,
)
from musicgen_emotion.stimuli.synth import SAMPLE_RATE, render_music, score_notes
from musicgen_emotion.stimuli.word_lists import match_pieces


def words_of_all_emotions(lists):
    return {word for words in lists.values() for word in words}


@pytest.mark.parametrize(
    "word,intensity,expected",
    [
        ("energetic", "plain", "an energetic piano piece"),
        ("energetic", "very", "a very energetic piano piece"),
        ("angry", "slightly", "a slightly angry piano piece"),
        ("calm", "plain", "a calm piano piece"),
    ],
)
def test_the_article_fits_the_next_word(word, intensity, expected):
    assert make_prompt(word, TEMPLATES[0], "piano", intensity) == expected


def test_a_frame_is_the_same_for_every_emotion():
    table = study_prompts(30, EMOTIONS, seed=3).table
    for column in ("template", "instrument"):
        assert table.groupby("pair")[column].nunique().max() == 1
    assert not set(table.word) & NOUNS
    used = table.groupby("emotion").word.value_counts()
    assert used.max() - used.min() <= 1


def test_prompts_depend_on_their_seed_alone():
    for make in (study_prompts, held_out_prompts, neutral_prompts, cue_prompts, diverse_prompts):
        assert make(12, seed=1).table.equals(make(12, seed=1).table)
        assert make(12, seed=1).table.prompt.tolist() != make(12, seed=2).table.prompt.tolist()


@pytest.mark.parametrize(
    "hold_out,new_words,new_templates",
    [("word", True, False), ("template", False, True), ("both", True, True)],
)
def test_what_is_held_out_is_new(hold_out, new_words, new_templates):
    table = held_out_prompts(20, hold_out).table
    trained = words_of_all_emotions(EMOTION_WORDS)
    assert set(table.word).isdisjoint(trained) == new_words
    adjectives = table[~table.word.isin(NOUNS)]
    assert set(adjectives.template).isdisjoint(TEMPLATES) == new_templates


def test_pairs_differ_in_the_word_only():
    table = matched_pairs("happy", "sad", 10).table
    for _, pair in table.groupby("pair"):
        first, second = pair.itertuples()
        frames = [(row.template, row.instrument, row.intensity) for row in (first, second)]
        assert frames[0] == frames[1] and first.word != second.word


def test_the_words_of_a_pair_have_as_many_pieces(nano):
    count = piece_counter(nano.tokenizer)
    with pytest.raises(ValueError, match="ordinary 4"):
        matched_pairs("happy", "neutral", 10, count=count)
    words = matched_pairs("happy", "sad", 10, count=count).table.word  # nano knows both
    partners = match_pieces(EMOTION_WORDS["happy"], count)
    table = matched_pairs("happy", "neutral", 10, partners=partners, count=count).table
    for _, pair in table.groupby("pair"):
        first, second = pair.itertuples()
        assert count(first.word) == count(second.word)
    assert len(set(table.word[table.emotion == "neutral"])) > 1
    assert set(words) <= {*EMOTION_WORDS["happy"], *EMOTION_WORDS["sad"]}
    with pytest.raises(ValueError, match="lack a neutral word for"):
        matched_pairs("happy", "neutral", 10, partners=dict(glad="dull"))


def test_conflict_crosses_emotion_and_cue():
    table = conflict_prompts(("happy", "sad", "calm"), "mode", 4).table
    assert (pd.crosstab(table.emotion, table["mode"]) == 4).all(axis=None)
    for row in table.itertuples():
        assert row.prompt.endswith(f"in a {row.mode} key")


def test_a_prompt_set_fills_what_is_missing():
    table = pd.DataFrame(dict(prompt=["a", "b"], emotion=["x", "y"], word=[None, "c"], mine=[1, 2]))
    prompts = PromptSet(table)
    assert list(prompts.table)[-1] == "mine" and "pair" not in table
    assert prompts.table.word.tolist() == ["", "c"]
    assert prompts.table.pair.tolist() == [-1, -1]
    assert prompts.where(mine=[2], emotion="y").table.prompt.tolist() == ["b"]
    assert len(prompts + study_prompts(2)) == 10


def test_diverse_prompts_are_balanced_wherever_they_are_cut():
    table = diverse_prompts(432, seed=5).table
    assert table.prompt.nunique() == 432
    for n in (72, 144, 216):
        first = table.head(n)
        for column in ("instrument", "intensity", "template"):
            counts = first[column].value_counts()
            assert counts.max() - counts.min() <= 6  # one frame has six emotions


@pytest.mark.parametrize("held_out", [False, True])
def test_a_pool_is_distinct_and_independent_of_its_size(held_out):
    small = PromptPool(2000, seed=7, held_out=held_out)
    table = small.table
    assert table.prompt.nunique() == 2000
    large = PromptPool(50_000, seed=7, held_out=held_out)
    assert large.rows(1500, 2000).table.prompt.tolist() == table.prompt[1500:].tolist()
    assert list(table.pair.unique()) == [-1]


@pytest.mark.parametrize("size", [3, 100, 4096, 14_689])
def test_the_order_of_a_stream_holds_every_number_once(size):
    order = _shuffled_positions(np.arange(size), size, 0, 5)
    assert sorted(order) == list(range(size))
    assert (order != _shuffled_positions(np.arange(size), size, 1, 5)).any()


def test_a_pool_is_as_large_as_its_smallest_stream_allows():
    with pytest.raises(ValueError, match=r"from 1 to (\d+)") as refused:
        PromptPool(10**9)
    largest = int(re.search(r"from 1 to (\d+)", str(refused.value)).group(1))
    last = PromptPool(largest).rows(largest - 100, largest).table
    assert len(last) == 100 and last.prompt.nunique() == 100


def test_held_out_rows_are_marked():
    table = dictionary_prompts(20_000, held_out=True).table
    has_new_word = table.word.isin(words_of_all_emotions(HELD_OUT_WORDS))
    has_new_template = table.template.isin(HELD_OUT_TEMPLATES)
    split = np.select(
        [has_new_word & has_new_template, has_new_word, has_new_template],
        ["held_out_both", "held_out_word", "held_out_template"],
        "train",
    )
    assert (table.split == split).all()


def test_words_belong_to_one_emotion():
    counts = [len(EMOTION_WORDS[emotion]) + len(HELD_OUT_WORDS[emotion]) for emotion in EMOTIONS]
    assert len(EMOTION_OF_WORD) == sum(counts)
    with pytest.raises(ValueError, match=r"emotion 'sat' is not known.*did you mean 'sad'"):
        check_emotion("sat")


def test_intensity_moves_cues_away_from_neutral():
    for emotion in EMOTIONS:
        slight, plain, very = (
            emotion_cues(emotion, intensity) for intensity in ("slightly", "plain", "very")
        )
        neutral = Cues().tempo
        distances = [abs(cues.tempo - neutral) for cues in (slight, plain, very)]
        assert distances == sorted(distances)
        assert slight.mode == plain.mode == very.mode


def test_text_from_an_array_counts_as_text():
    mode, intensity = np.array(["minor", "very"])
    assert Cues(mode=mode) == Cues(mode="minor")
    assert emotion_cues("sad", intensity) == emotion_cues("sad", "very")
    assert make_prompt("sad", TEMPLATES[0], "piano", intensity) == "a very sad piano piece"


@pytest.mark.parametrize("mode,third", [("major", 4), ("minor", 3)])
def test_every_chord_has_the_third_of_the_mode(mode, third):
    notes = pd.DataFrame(
        score_notes(Cues(mode=mode), 60, 16, np.random.default_rng(2)),
        columns=["beat", "note", "gain"],
    )
    for _, beat in notes.groupby("beat"):
        root, middle = beat.note.iloc[:2]
        assert (middle - root) % 12 == third


def test_music_repeats_with_its_seed_and_has_its_length():
    cues = emotion_cues("energetic")
    wave = render_music(cues, seed=4, duration_s=1.5)
    assert wave.dtype == np.float32 and wave.shape == (int(1.5 * SAMPLE_RATE),)
    np.testing.assert_array_equal(wave, render_music(cues, seed=4, duration_s=1.5))
    assert not np.array_equal(wave, render_music(cues, seed=5, duration_s=1.5))
    assert np.abs(wave).max() <= 1
