"Music with ten cues: independent, heard as drawn, and labelled as listeners do."

import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.nano.bars import band_clips, listener_shares
from musicgen_emotion.nano.scenes import (
    HELD_OUT_CONFLICTS,
    HELD_OUT_INSTRUMENT,
    draw_scene,
    scene_caption,
)
from musicgen_emotion.sound.descriptors import describe_table
from musicgen_emotion.stimuli.band import BAND_RATE, play_music
from musicgen_emotion.stimuli.emotions import EMOTIONS
from musicgen_emotion.stimuli.music_cues import (
    MusicCues,
    draw_emotion_cues,
    draw_neutral_cues,
    emotion_chances,
)
from musicgen_emotion.stimuli.prompts import HELD_OUT_TEMPLATES


@pytest.fixture(scope="module")
def renders():
    waves, clips = band_clips(12, seed=8)
    return describe_table(waves, BAND_RATE, progress=False), clips


def test_listeners_agree_with_every_label(renders):
    described, clips = renders
    shares = listener_shares(described, clips.emotion)
    assert set(shares) == set(EMOTIONS)
    assert min(share.value for share in shares.values()) >= 0.8, shares


def test_cues_are_heard_as_they_were_drawn(renders):
    described, clips = renders
    mode_is_right = (described.mode_score > 0) == (clips["mode"] == "major")
    tempo_is_right = abs(described.tempo_bpm / clips.tempo - 1) < 0.08
    assert mode_is_right.mean() >= 0.95 and tempo_is_right.mean() >= 0.85
    assert abs(described.rms_db - clips.level).max() < 0.5


def test_neutral_cues_are_independent_and_each_is_audible():
    draw = np.random.default_rng(2)
    cues = [draw_neutral_cues(draw) for _ in range(60)]
    drawn = pd.DataFrame([asdict(one) for one in cues])
    waves = np.stack([play_music(one, number, 4.0) for number, one in enumerate(cues)])
    heard = describe_table(waves, BAND_RATE, progress=False)
    pairs = dict(tempo="tempo_bpm", level="rms_db", register="register")
    pairs |= dict(articulation="articulation", percussion="percussiveness")
    for cue, descriptor in pairs.items():
        assert np.corrcoef(drawn[cue], heard[descriptor])[0, 1] > 0.6, cue
    numbers = drawn[["level", "register", "articulation", "brightness", "percussion", "reverb"]]
    between = numbers.corr().to_numpy()[np.triu_indices(6, 1)]
    assert abs(between).max() < 0.4  # 60 clips; the chance of more is below one in a thousand


def test_brightness_and_reverb_change_the_sound_alone():
    dark, bright = (
        play_music(MusicCues(brightness=value, percussion=0), 3, 3.0) for value in (0.1, 0.9)
    )
    heard = describe_table(np.stack([dark, bright]), BAND_RATE, progress=False)
    assert heard.centroid[1] > 1.3 * heard.centroid[0]
    dry, wet = (play_music(MusicCues(reverb=value, articulation=0.3), 3, 3.0) for value in (0, 1))
    quiet_parts = [np.quantile(np.abs(wave), 0.1) for wave in (dry, wet)]
    assert quiet_parts[1] > 2 * quiet_parts[0]


def test_the_chances_of_emotions_are_those_of_the_draw():
    "Among clips whose most likely emotion has a chance of .6 to .9, as many have that emotion."
    draw = np.random.default_rng(0)
    sure, right = [], []
    for _ in range(4000):
        emotion = EMOTIONS[draw.integers(5)]
        chances = emotion_chances(draw_emotion_cues(emotion, draw))
        best = max(chances, key=chances.get)
        if chances[best] < 0.95:
            sure.append(chances[best])
            right.append(best == emotion)
    assert len(sure) >= 10
    assert abs(np.mean(sure) - np.mean(right)) < 3 * np.std(right) / len(right) ** 0.5 + 0.02


def test_what_is_held_out_is_in_no_caption():
    draw = np.random.default_rng(0)
    frames = [re.sub(r"\{\w+\}", ".+", template) for template in HELD_OUT_TEMPLATES]
    for _ in range(3000):
        scene = draw_scene(draw)
        caption = scene_caption(scene, draw)
        assert not any(re.search(frame, caption) for frame in frames), caption
        if scene["emotion"] != "neutral":
            assert HELD_OUT_INSTRUMENT not in caption
            assert (scene["emotion"], scene["conflict"]) not in HELD_OUT_CONFLICTS


def test_captions_name_conflicts_as_they_are_heard():
    draw = np.random.default_rng(3)
    named = dict(tempo=("fast", "slow"), mode=("major", "minor"), level=("loud", "quiet", "soft"))
    seen = 0
    for _ in range(600):
        scene = draw_scene(draw)
        if scene["conflict"]:
            caption = scene_caption(scene, draw)
            assert any(word in caption for word in named[scene["conflict"]]), caption
            seen += 1
    assert seen > 40
