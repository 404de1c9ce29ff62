"Phase 1: settings that are refused, and sentences that can say no."

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from musicgen_emotion.lab.gates import Gate
from musicgen_emotion.lab.runs import open_run
from musicgen_emotion.sae.edited_clips import edit_changes, edit_test
from musicgen_emotion.stats.estimates import Estimate
from musicgen_emotion.stimuli.emotions import EMOTION_WORDS
from musicgen_emotion.stimuli.other_words import OTHER_EMOTION_WORDS
from musicgen_emotion.stimuli.word_lists import share_stem
from musicgen_emotion.studies import (
    DICTIONARY_CRITERIA,
    RAW,
    SCALED_UP,
    DictionarySettings,
    FeatureStudy,
    ablation_sentence,
    active_features,
    baseline_sentence,
    clips_of_every_emotion,
    control_counts_sentence,
    edit_sentence,
    fall_text,
    falls_by_emotion,
    final_config,
    held_out_words_sentence,
    holding_sentence,
    layer_stability_sentence,
    layers_sentence,
    monosemanticity_sentence,
    near_identity,
    planted_cues,
    probing_sentence,
    reconstruction,
    recovered_sentence,
    recovery_sentence,
    study_words,
    sweep_sentence,
    with_planted_sound,
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


def test_layers_have_the_share_of_active_features_that_was_chosen():
    assert active_features(10, 4 / 1024) == 4
    assert active_features(3072, 32 / 1536) == 64


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


@pytest.mark.parametrize(
    ("p", "p_prompts", "answer"),
    [
        (0.025, 0.04, "changes"),
        (0.05, 0.001, "does not clearly change"),
        (0.025, 0.05, "does not clearly change"),
    ],
)
def test_edit_sentence_follows_the_larger_p(p, p_prompts, answer):
    hit = pd.Series(dict(p=p, p_prompts=p_prompts, descriptor="tempo_bpm"))
    assert f"out of the text {answer} the music" in edit_sentence(hit, "sad", 9, 12, 19)
    few = edit_sentence(hit, "sad", 9, 8, 19)
    assert "cannot be said to change" in few


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
    cues = pd.DataFrame([dict(f1=0.7, raw=0.3, types=0.4, always=0.2, gain_low=0.1, n=100)])
    assert recovery_sentence(cues).startswith("For 1 of 1 properties")
    assert recovery_sentence(cues.assign(gain_low=-0.1)).startswith("For none of 1")
    row = dict(value=0.5, low=0.4, high=0.6, n=900, chance=0.0)
    variants = pd.DataFrame({SCALED_UP: row, RAW: dict(row, value=0.1, low=0.0, high=0.2)}).T
    assert "are more alike" in monosemanticity_sentence(variants)
    assert "are not clearly more alike" in monosemanticity_sentence(variants.assign(high=0.9))
    effect = dict(measure="probability", scope="all", value=0.06, low=0.04, high=0.08)
    effect |= dict(random=0.003, p=0.02, p_groups=0.01, n=56, n_random=50)
    assert "tokens loses the emotion" in ablation_sentence(pd.DataFrame([effect]), 8)
    for name in ("p", "p_groups"):  # both must be small, as for the gate
        doubted = pd.DataFrame([effect | {name: 0.4}])
        assert "does not clearly lose" in ablation_sentence(doubted, 8)


def test_an_ablation_says_for_whom_the_probability_falls_and_rises():
    "It was printed as +0.0119, carried by two emotions, while another one rose."
    row = dict(measure="probability", random=0.0003, p=0.02, p_groups=0.001, n_random=50)
    rows = [
        row | dict(scope="all", value=0.0119, low=0.0079, high=0.017, n=56),
        row | dict(scope="happy", value=0.0107, low=0.0024, high=0.0199, n=12),
        row | dict(scope="sad", value=0.0367, low=0.0199, high=0.0607, n=11),
        row | dict(scope="energetic", value=-0.0022, low=-0.0029, high=-0.0014, n=12),
        row | dict(scope="calm", value=-0.0008, low=-0.002, high=0.0001, n=12),
    ]
    effect = pd.DataFrame(rows)
    assert fall_text(effect) == (
        "the probability of the true emotion falls by 1.2 points (0.8 to 1.7, n = 56 words), "
        "by random edits of the same size and firing rate 0.0 points"
    )
    told = ablation_sentence(effect, 14)
    assert "It falls clearly for happy by 1.1 points (0.2 to 2.0, n = 12 words)." in told
    assert "It rises clearly (a fall below zero) for energetic by -0.2 points" in told
    assert "does not clearly change for calm" in told
    assert "without a claim, for fewer than 12 words: sad by 3.7 points" in told
    ends = dict(value=-effect.value, low=-effect.high, high=-effect.low)
    turned = effect.assign(**ends, p_groups=1.0)
    assert "rises: it falls by -1.2 points" in fall_text(turned)
    assert "does not clearly lose" in ablation_sentence(turned, 14)
    assert "It rises clearly (a fall below zero) for happy" in falls_by_emotion(turned)
    assert "may or may not lose" in ablation_sentence(effect.assign(n=11), 14)


def test_layers_sentence_says_yes_and_no():
    found = dict(beats=True, against="components", gain=0.3, low=0.2, high=0.4)
    told = layers_sentence(dict(layer_1=found), 98, 150)
    assert "layer_1 beats components (gain +0.30" in told
    assert "n = 98 words, which are the units, in 150 clips with an emotion" in told
    assert "beats" not in layers_sentence(dict(layer_1=found), 11, 150)
    found["beats"] = False
    assert "layer_1 does not beat" in layers_sentence(dict(layer_1=found), 98, 150)


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


@pytest.mark.parametrize(("l0", "answer"), [(20.0, "inside"), (4.0, "outside")])
def test_sweep_sentence_says_whether_the_choice_is_in_the_plan(l0, answer):
    chosen = dict(activation="topk", l0=l0, explained_variance=0.9, stable=0.4, rule="r")
    text = sweep_sentence(chosen, (8.3, 33.3))
    assert f"{answer} the plan's range" in text and "0.100 of the variance is left" in text


def test_every_claim_of_phase_1_can_fail_and_pass():
    names = [criterion.name for criterion in DICTIONARY_CRITERIA]
    assert len(names) == len(set(names))
    for criterion in DICTIONARY_CRITERIA:
        if criterion.kind == "evidence":
            assert "random-weights" in criterion.fails_on and "planted" in criterion.passes_on
    music = next(each for each in DICTIONARY_CRITERIA if "the music" in each.name)
    assert "deaf" in music.fails_on
    assert not [name for name in names if "held-out words" in name or "layer features" in name]


def test_what_is_no_gate_of_phase_1_is_said_in_words():
    stable = Estimate(0.8, 0.7, 0.9, 900)
    runs = pd.DataFrame(
        dict(mean_max=0.5, covariance=0.2, hungarian=0.4, hungarian_covariance=0.1), [0]
    )
    row = dict(share=0.4, low=0.3, high=0.5, chance=0.2, n=60, text_encoder="none of these words")
    template = row | dict(emotion="all", held_out="template", share=0.9)
    for general in (pd.DataFrame(), pd.DataFrame([template])):
        features = SimpleNamespace(
            stable=stable, runs=runs, general=general, held_out_words=lambda: pd.Series(row)
        )
        told = holding_sentence(features)
        assert told.endswith("reported and not claimed.")
        assert "0.40 of them (0.30 to 0.50, n = 60 words)" in told
    assert "on held-out templates 0.90 (0.30 to 0.50, n = 60 sentences; chance 0.20)" in told


def test_eleven_units_carry_no_claim(tmp_path):
    with open_run(tmp_path, "phase1_sae") as run:
        run.declare(DICTIONARY_CRITERIA)
        name = "found again by other seeds"
        few = run.gate(name, 0.9, 0.8, 1.0, n=11)
        assert not few.passed and "11 units are fewer than 12" in few.why
        assert run.gate(name, 0.9, 0.8, 1.0, n=12).passed


def test_the_mean_alone_explains_nothing_however_small_the_error():
    rng = np.random.default_rng(0)
    rows = (0.5 + 0.1 * rng.normal(size=(400, 8))).astype(np.float32)
    dictionary = near_identity(8, 0.02)
    with torch.no_grad():
        dictionary.W_dec.zero_()
        dictionary.b_dec.copy_(torch.tensor(rows.mean(0)))
    mean_alone = reconstruction(dictionary, rows, np.repeat(np.arange(40), 10), 50, 0)
    assert float(((rows - rows.mean(0)) ** 2).mean()) < 0.02  # the earlier bar
    assert mean_alone.value == pytest.approx(1.0, abs=0.01) and mean_alone.n == 40
    assert mean_alone.low > 0.2


def test_a_planted_dictionary_loses_two_percent():
    rows = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    lost = reconstruction(near_identity(6, 0.02), rows, np.repeat(np.arange(50), 10), 50, 0)
    assert lost.value == pytest.approx(0.02, rel=0.05)


def test_layer_stability_names_each_layer():
    rows = [dict(site="layer_1", twins=2, value=0.3, low=0.2, high=0.4, n=900)]
    told = layer_stability_sentence(pd.DataFrame(rows), 126)
    assert "layer_1 0.30 (0.20 to 0.40" in told and "reported and not claimed" in told
    assert "No layer has a twin" in layer_stability_sentence(pd.DataFrame(), 126)


def test_planted_sound_is_as_large_as_said():
    rng = np.random.default_rng(0)
    rows = []
    for arm in ("clean", "ablate", *(f"random {number}" for number in range(19))):
        for prompt in range(12):
            rows.append(dict(arm=arm, prompt=prompt, seed=0, rms_db=rng.normal()))
    clips = pd.DataFrame(rows)
    louder = with_planted_sound(clips, ("ablate",), size=3.0)
    change = (louder.rms_db - clips.rms_db).groupby(clips.arm).mean()
    spread = clips[clips.arm == "clean"].rms_db.std()
    assert change["ablate"] == pytest.approx(3 * spread)
    assert change.drop("ablate").abs().max() == 0
    assert edit_test(edit_changes(louder, ["rms_db"]), "ablate").p.item() == 0.05


LISTED = {word: name for name, listed in OTHER_EMOTION_WORDS.items() for word in listed}


@pytest.mark.parametrize("control", ["none", "shuffled-labels", "no-emotion"])
def test_held_out_words_of_phase_1_begin_unlike_all_trained_words(nano, control):
    texts = SimpleNamespace(
        model=nano, settings=SimpleNamespace(seed=0, control=control), words=study_words(control)
    )
    features = object.__new__(FeatureStudy)
    features.texts, features.settings = texts, texts.settings
    prompts = features.held_out_prompts("word")
    trained = [word for listed in EMOTION_WORDS.values() for word in listed]
    shared = [word for word in set(prompts.word) for other in trained if share_stem(word, other)]
    assert shared == [] and prompts.word.nunique() >= (16 if control == "no-emotion" else 60)
    right = (prompts.word.map(LISTED) == prompts.emotion).mean()
    assert (right == 1) == (control == "none")  # words are dealt as those of the study
    templates = features.held_out_prompts("template")
    assert not set(templates.word) & set(prompts.word)
    dealt = {word: name for name, listed in texts.words.items() for word in listed}
    assert (templates.word.map(dealt) == templates.emotion).all()


def test_sentence_of_held_out_words_says_what_was_read():
    row = dict(share=0.7, low=0.6, high=0.8, n=60, chance=0.2, text_encoder="none of these words")
    sentence = held_out_words_sentence(pd.Series(row))
    assert "features keep their emotion" in sentence and "n = 60 words" in sentence
    assert "had read: none of these words. This is reported and not claimed" in sentence
    sentence = held_out_words_sentence(pd.Series(row | dict(low=0.1, text_encoder="not known")))
    assert "do not clearly keep" in sentence and "had read: not known." in sentence
