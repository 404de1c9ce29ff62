"Phase 0: settings that are refused, sentences that can say no, and steps on a tiny model."

import pandas as pd
import pytest

from musicgen_emotion.lab.runs import open_run
from musicgen_emotion.studies import (
    FoundationSettings,
    FoundationStudy,
    best_sentence,
    encodes_sentence,
    label_sentence,
    settings_from,
    similarity_sentence,
    summary_sentences,
)


def test_clips_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match=r"duration_s must be at least 2 s.*got 1\.5"):
        FoundationSettings(duration_s=1.5)


def test_a_missing_parameter_is_named():
    with pytest.raises(KeyError, match="text_emotions"):
        settings_from(FoundationSettings, dict(model="nano", backend="auto"))


@pytest.mark.parametrize(("p", "answer"), [(0.01, "are more alike"), (0.3, "are not more alike")])
def test_similarity_sentence_follows_p(p, answer):
    row = pd.Series(dict(difference=0.1, low=0.0, high=0.2, p=p, n=20))
    assert answer in similarity_sentence(row)


@pytest.mark.parametrize(("holds", "answer"), [(True, "encode"), (False, "do not encode")])
def test_encodes_sentence_follows_the_rule(holds, answer):
    row = pd.Series(
        dict(
            encodes=holds,
            baseline="bag of words",
            score=0.6,
            baseline_score=0.4,
            difference=0.2,
            low=-0.1,
            high=0.3,
            n=20,
        )
    )
    assert f"Text states {answer} emotion" in encodes_sentence(row)


def test_label_sentence_is_decided_on_the_lower_end():
    sounds = dict(value=0.9, low=0.85, high=0.95, n=100)
    unsure = dict(value=0.9, low=0.7, high=0.95, n=100)
    assert "Clips sound like" in label_sentence(sounds, "fitted")
    assert "Clips do not all sound" in label_sentence(unsure, "fitted")


def test_best_sentence_names_random_weights_that_do_as_well():
    best = dict(layer="layer_2", score=0.9, low=0.8, high=0.95)
    assert "random weights" in best_sentence(best, strongest=0.4, random_weights=0.82)
    assert "random weights" not in best_sentence(best, strongest=0.4, random_weights=0.5)
    assert "not clearly above" in best_sentence(best, strongest=0.85, random_weights=0.5)


def test_capture_is_checked_by_two_gates(tiny, tmp_path):
    run = open_run(tmp_path / "run", "phase0_test")
    study = FoundationStudy(run, FoundationSettings(model="tiny", duration_s=2.0), tiny)
    step = study.check_capture()
    assert [gate.name for gate in run.gates] == [
        "all timesteps captured",
        "replay equals stepwise capture",
    ]
    assert all(gate.passed for gate in run.gates)
    assert step.table.captured.item() == 1.0
    run.close()


def test_summary_says_the_verdict_and_the_controls():
    from musicgen_emotion.probes.nested import Best
    from musicgen_emotion.stats.estimates import Estimate

    best = Best("layer_1", Estimate(0.8, 0.7, 0.9, 20), 0.01, ["layer_1"])
    arms = {"free": best, "text only": best, "music only": best}
    sentences = summary_sentences("PAUSE", 0.5, 0.4, 0.25, arms, 0.6, 0.7)
    assert sentences[0] == "Verdict: PAUSE."
    assert "random weights reaches 0.60" in sentences[3]
