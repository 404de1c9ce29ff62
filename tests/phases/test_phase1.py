"Phase 1: settings that are refused, and sentences that can say no."

import math

import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.lab.gates import Gate
from musicgen_emotion.studies import (
    RAW,
    SCALED_UP,
    DictionarySettings,
    ablation_sentence,
    active_features,
    baseline_sentence,
    clips_of_every_emotion,
    control_counts_sentence,
    edit_sentence,
    final_config,
    layers_sentence,
    monosemanticity_sentence,
    planted_cues,
    probing_sentence,
    recovered_sentence,
    recovery_sentence,
    sweep_sentence,
)


def gate(value, low, high, threshold, name="a gate"):
    return Gate(
        name=name,
        value=value,
        low=low,
        high=high,
        threshold=threshold,
        direction=">",
        n=20,
        why="test",
    )


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"duration_s must be at least 2 s.*got 1\.0"):
        DictionarySettings(duration_s=1.0)
    with pytest.raises(ValueError, match="l0_range must be two rising positive numbers"):
        DictionarySettings(l0_range=[10.0])
    with pytest.raises(ValueError, match="jobs"):
        DictionarySettings(jobs=0)


def test_wanted_l0_scales_with_the_dictionary():
    assert np.allclose(DictionarySettings().wanted_l0(6144), (50, 200))
    assert np.allclose(DictionarySettings().wanted_l0(1024), (50 / 6, 200 / 6))


def test_numbers_that_a_setting_lacks_get_their_default():
    chosen = dict(activation="relu", l1=0.01, k=math.nan, matryoshka=math.nan)
    config = final_config(chosen, 64, 4.0, {})
    assert (config.l1, config.k, config.matryoshka) == (0.01, 64, ())


def test_layers_have_at_least_eight_active_features():
    assert active_features(10) == 8
    assert active_features(3072) == 64


def test_planted_cues_know_the_mode():
    prompts = pd.DataFrame(
        dict(
            emotion=["happy", "sad"],
            intensity=["plain", "plain"],
            instrument=["piano", "piano"],
        )
    )
    cues = planted_cues(prompts)
    assert cues.mode_major.tolist() == [True, False]
    assert cues.tempo[0] > cues.tempo[1]


def test_clips_are_equally_many_of_each_emotion():
    clips = pd.DataFrame(dict(emotion=["sad"] * 10 + ["happy"] * 3))
    chosen = clips.iloc[clips_of_every_emotion(clips, 6)]
    assert chosen.emotion.value_counts().to_dict() == dict(sad=3, happy=3)


@pytest.mark.parametrize(("p", "answer"), [(0.05, "changes"), (0.06, "does not change")])
def test_edit_sentence_follows_p(p, answer):
    hit = pd.Series(dict(p=p, descriptor="tempo"))
    assert f"out of the text {answer} the music" in edit_sentence(hit, "sad", 12, 8, 19)


@pytest.mark.parametrize(("beats", "answer"), [(True, "is beaten"), (False, "is not beaten")])
def test_controls_sentence_follows_the_comparison(beats, answer):
    comparison = dict(beats=beats, against="components", gain=3.0, low=-1.0, high=5.0)
    assert answer in control_counts_sentence(comparison)


def test_sentences_of_the_first_steps_say_yes_and_no():
    table = pd.DataFrame(
        dict(data=["pooled", "tokens"], rows_trained=[300, 9000], explained_variance=[0.9, 0.98])
    )
    assert "tokens better than pooled" in baseline_sentence(table)
    assert "tokens not better" in baseline_sentence(table.assign(explained_variance=0.9))
    probe = dict(representation="features", k=1, score=0.7, low=0.6, high=0.8, n=100)
    for gap, answer in ((0.1, "more than"), (-0.1, "less than"), (0.0, "not clearly different")):
        gaps = dict(gap=gap, gap_low=gap - 0.05, gap_high=gap + 0.05)
        assert answer in probing_sentence(pd.DataFrame([probe | gaps]))


def test_sentences_on_meaning_say_yes_and_no():
    cues = pd.DataFrame([dict(f1=0.7, raw=0.3, always=0.2, gain_low=0.1, n=100)])
    assert recovery_sentence(cues).startswith("For 1 of 1 planted cues")
    assert recovery_sentence(cues.assign(gain_low=-0.1)).startswith("For none of 1")
    row = dict(value=0.5, low=0.4, high=0.6, n=900, chance=0.0)
    variants = pd.DataFrame({SCALED_UP: row, RAW: dict(row, value=0.1, low=0.0, high=0.2)}).T
    assert "are more alike" in monosemanticity_sentence(variants)
    assert "are not clearly more alike" in monosemanticity_sentence(variants.assign(high=0.9))
    effect = dict(measure="probability", scope="all", value=0.06, low=0.04, high=0.08)
    effect |= dict(random=0.003, p=0.02, n=56, n_random=50)
    assert "tokens loses the emotion" in ablation_sentence(pd.DataFrame([effect]), 8)
    effect["p"] = 0.4
    assert "does not clearly lose" in ablation_sentence(pd.DataFrame([effect]), 8)


def test_layers_sentence_says_yes_and_no():
    found = dict(beats=True, against="components", gain=0.3, low=0.2, high=0.4)
    assert "layer_1 beats components (gain +0.30" in layers_sentence(dict(layer_1=found), 150)
    found["beats"] = False
    assert "layer_1 does not beat" in layers_sentence(dict(layer_1=found), 150)


def test_recovered_sentence_names_sites_that_predict_worse_than_frequencies():
    row = dict(site="layer_1", merged=True, change=0.4, change_low=0.3, change_high=0.5)
    row |= dict(gain=1.0, gain_low=0.8, gain_high=1.2, n=9, nll_clean=1.8, nll_unigram=5.6)
    both = pd.DataFrame([row, row | dict(merged=False, change=0.1)])
    text = recovered_sentence(both)
    assert "After it" in text and "layer_1 +0.40 (+0.30 to +0.50)" in text
    assert "No better than frequencies" not in text
    failing = recovered_sentence(both.assign(gain=-2.0, gain_low=-2.4, gain_high=-1.6))
    assert failing.count("No better than frequencies alone: layer_1") == 2
    unsure = recovered_sentence(both.assign(gain=0.1, gain_low=-0.1, gain_high=0.3))
    assert "No better than frequencies alone: layer_1" in unsure


@pytest.mark.parametrize(("inside", "answer"), [(True, "inside"), (False, "outside")])
def test_sweep_sentence_says_whether_the_rule_is_met(inside, answer):
    chosen = dict(activation="topk", l0=20.0, explained_variance=0.9, rule="r", inside=inside)
    assert f"{answer} the wanted range" in sweep_sentence(chosen)
