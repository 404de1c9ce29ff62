"""What counts as a recovered emotion, and judges that do not saturate, on known renders."""

import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.nano.captions import neutral_cues
from musicgen_emotion.nano.evaluation import CUE_DESCRIPTORS, graded_clips, rendered_clips
from musicgen_emotion.sound.descriptors import describe_table
from musicgen_emotion.sound.graded_axes import fit_graded_axes
from musicgen_emotion.sound.label_judge import LabelJudge
from musicgen_emotion.steering.recovered import (
    confusion_of_renders,
    cue_geometry,
    recovered_emotions,
)
from musicgen_emotion.stimuli.emotions import EMOTIONS, VALENCE_AROUSAL
from musicgen_emotion.stimuli.synth import SAMPLE_RATE, render_music

SECONDS = 3.0
CUES = list(CUE_DESCRIPTORS)


def described(waves):
    return describe_table(waves, SAMPLE_RATE, progress=False)


def emotional(seed, n=12):
    waves, clips = rendered_clips(n, seed, SECONDS)
    return described(waves), clips.emotion.to_numpy()


def neutral(seed, n=60):
    draw = np.random.default_rng(seed)
    waves = [render_music(neutral_cues(draw), int(draw.integers(2**31)), SECONDS) for _ in range(n)]
    return described(np.stack(waves))


@pytest.fixture(scope="module")
def renders():
    return dict(fit=emotional(0, 30), fresh=emotional(1), neutral=neutral(0), other=neutral(1))


@pytest.fixture(scope="module")
def space(renders):
    return cue_geometry(*renders["fit"], renders["neutral"], CUES)


def test_clean_renders_recover_their_own_emotion_and_no_other(renders, space):
    table = confusion_of_renders(*renders["fresh"], renders["neutral"], space)
    assert np.diag(table).min() >= 0.75
    beside = table.to_numpy()[~np.eye(len(table), dtype=bool)]
    assert beside.max() <= 0.1
    assert table.loc["calm", "sad"] == 0  # a projection on all cues gave .56


def test_sad_with_its_mode_inverted_is_not_sad(renders, space):
    table, labels = renders["fresh"]
    middle = renders["neutral"][CUES].mean()
    sad = table[CUES][labels == "sad"].reset_index(drop=True) - middle
    assert recovered_emotions(sad, space, ["sad"]).recovered.mean() >= 0.75
    inverted = sad.assign(mode_score=-sad.mode_score)
    assert recovered_emotions(inverted, space, ["sad"]).recovered.sum() == 0


def test_neutral_music_recovers_nothing(renders, space):
    changes = renders["other"][CUES] - renders["neutral"][CUES].mean()
    answers = recovered_emotions(changes, space)
    assert answers.groupby("emotion").recovered.mean().max() <= 0.1


@pytest.fixture(scope="module")
def graded():
    waves, clips = graded_clips(20, seed=3, duration_s=SECONDS)
    return described(waves), clips


def test_margins_grow_with_every_grade(renders, graded):
    table, labels = renders["fit"]
    fit_on = pd.concat([table, renders["neutral"]], ignore_index=True)
    judge = LabelJudge(CUES).fit(fit_on, [*labels, *["neutral"] * len(renders["neutral"])])
    margins, clips = judge.margins(graded[0]), graded[1]
    for emotion in EMOTIONS:
        own = clips.emotion == emotion
        by_grade = margins[emotion][own].groupby(clips.grade[own]).mean()
        assert len(by_grade) == 5 and (np.diff(by_grade) > 0).all(), by_grade
        assert by_grade.iloc[0] < 0 < by_grade.iloc[-1]


def test_axes_follow_the_grades(graded):
    table, clips = graded
    places = np.array([VALENCE_AROUSAL[emotion] for emotion in clips.emotion])
    wanted = clips.grade.to_numpy()[:, None] * places
    starts = clips.start.to_numpy() % 2 == 0  # fit on half of the starts, read the other half
    axes = fit_graded_axes(table[starts], wanted[starts], CUES)
    read = axes.read(table[~starts])
    assert np.corrcoef(read.arousal, wanted[~starts, 1])[0, 1] > 0.8
    assert np.corrcoef(read.valence, wanted[~starts, 0])[0, 1] > 0.5
    angry = clips[~starts].emotion == "angry"
    by_grade = read[angry].groupby(clips[~starts].grade[angry]).mean()
    assert (np.diff(by_grade.arousal) > 0).all() and (np.diff(by_grade.valence) < 0).all()
