"Estimators on many clips of known cues, sample rates and damage that a notebook cell has no room for."

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import musicgen_emotion
from musicgen_emotion.sound.descriptors import DESCRIPTORS, describe, describe_table
from musicgen_emotion.sound.label_judge import LabelJudge
from musicgen_emotion.sound.listener import (
    LISTENER_CUES,
    LISTENER_LEVELS,
    ListenerModel,
    fit_listener,
    listener_codes,
)
from musicgen_emotion.sound.spectra import estimate_tempo, onset_strength, spectrum

DATA = Path(
    os.environ.get("MGE_DATA") or Path(musicgen_emotion.__file__).parents[2] / "shared" / "data"
)
needs_cues = pytest.mark.skipif(
    not (DATA / "eerola2013_cues").is_dir(),
    reason=f"the 200 rated stimuli are not in {DATA}; set MGE_DATA",
)


def tone(midi, seconds, sr, rolloff=0.5):
    t, f = np.arange(int(seconds * sr)) / sr, 440 * 2 ** ((midi - 69) / 12)
    wave = sum(
        rolloff ** (k - 1) * np.sin(2 * np.pi * k * f * t + k)
        for k in range(1, 7)
        if k * f < 0.45 * sr
    )
    return wave * np.minimum(1, t / 0.01) * np.minimum(1, (seconds - t) / min(0.02, seconds / 4))


def piece(tonic, major, bpm, sr=8000, seconds=5, legato=0.8, rolloff=0.5, halves=0.0):
    third, beat, wave = (4 if major else 3), 60 / bpm, np.zeros(int((seconds + 3) * sr))
    chords = [
        [0, third, 7, -12],
        [5, 5 + third, 12, -7],
        [7, 2, 7 + third, -5],
        [0, third, 12, -12],
    ]
    for i in range(int(np.ceil(seconds / beat))):
        for part, gain in ((0, 1.0), (0.5, halves)):
            for m in chords[i % 4] if gain else ():
                n, at = (
                    gain * tone(tonic + m, legato * beat * (0.5 if halves else 1), sr, rolloff),
                    int((i + part) * beat * sr),
                )
                wave[at : at + len(n)] += n
    return (0.1 * wave[: int(seconds * sr)] / wave.std()).astype(np.float32)


def draws(n, seed, **kw):
    r = np.random.default_rng(seed)
    for _ in range(n):
        tonic, major, bpm = (
            int(r.integers(52, 68)),
            bool(r.integers(2)),
            float(np.exp(r.uniform(np.log(50), np.log(190)))),
        )
        yield (
            tonic,
            major,
            bpm,
            piece(tonic, major, bpm, legato=r.uniform(0.3, 1), rolloff=r.uniform(0.2, 0.85), **kw),
            r,
        )


@pytest.mark.parametrize("noise_db", [None, -5])
def test_mode_and_tempo_of_random_cadences(noise_db):
    rows = []
    for tonic, major, bpm, wave, r in draws(88, 7):
        if noise_db is not None:
            wave = wave + (0.1 * 10 ** (noise_db / 20) * r.standard_normal(len(wave))).astype(
                np.float32
            )
        d = describe(wave, 8000)
        rows.append(
            (
                (d["mode_score"] > 0) == major,
                d["key_index"] == tonic % 12,
                abs(np.log(d["tempo"] / bpm)) < 0.08,
            )
        )
    mode, key, tempo = np.mean(rows, 0)
    assert mode >= 0.95 and key >= 0.9 and tempo >= 0.95, (mode, key, tempo)


def test_same_music_at_32_kHz():
    for tonic, major, bpm, _, r in draws(4, 3):
        a, b = (
            describe(piece(tonic, major, bpm, 8000, 10), 8000),
            describe(piece(tonic, major, bpm, 32000, 10), 32000),
        )
        assert a["key"] == b["key"] and abs(np.log(a["tempo"] / b["tempo"])) < 0.02
        for name, tolerance in dict(
            rms_db=0.1,
            register=0.3,
            articulation=0.05,
            centroid=0.15 * a["centroid"],
            onset_rate=0.3,
        ).items():
            assert abs(a[name] - b[name]) < tolerance, (name, a[name], b[name])


@pytest.mark.parametrize("low,high", [(48, 80), (80, 140), (140, 212)])
def test_no_octave_or_third_in_any_range(low, high):
    truth = np.linspace(low, high, 16)
    found = [
        describe(piece(60 + i % 5, i % 2 == 0, b, legato=0.4 + 0.03 * i), 8000)["tempo"]
        for i, b in enumerate(truth)
    ]
    assert (np.abs(np.log(found / truth)) < 0.08).all(), np.round(found / truth, 2)


def test_half_beats_give_the_beat_or_the_rate_of_notes():
    truth = np.random.default_rng(0).uniform(60, 100, 12)
    ratio = (
        np.array([describe(piece(60, True, b, halves=0.2), 8000)["tempo"] for b in truth]) / truth
    )
    assert np.minimum(abs(np.log(ratio)), abs(np.log(ratio / 2))).max() < 0.08, np.round(ratio, 2)


def test_gain_changes_loudness_alone():
    wave = piece(60, True, 120)
    a, b = describe(wave, 8000), describe(wave / 4, 8000)
    assert abs(a["rms_db"] - b["rms_db"] - 20 * np.log10(4)) < 1e-3
    for n in DESCRIPTORS:
        if n not in ("rms_db", "key", "silence_share"):
            assert abs(a[n] - b[n]) < 0.02 * max(1, abs(a[n])), n
    assert a["key"] == b["key"]


@pytest.mark.parametrize(
    "wave",
    [
        np.random.default_rng(0).standard_normal(24000),
        np.ones(24000),
        np.r_[np.zeros(23999), 1.0],
        np.sin(np.arange(24000) * 0.3),
        np.r_[np.zeros(12000), 0.1 * np.sin(np.arange(12000) * 0.2)],
    ],
)
def test_odd_sounds_give_finite_or_flagged_numbers(wave):
    d = describe(wave.astype(np.float32), 8000)
    bad = [n for n, v in d.items() if n != "key" and not np.isfinite(v)]
    assert set(bad) <= {"tempo", "attack", "register"}, bad


@pytest.mark.parametrize(
    "wave,error",
    [
        (np.zeros((2, 24000), np.float32), "one channel"),
        (np.full(24000, np.inf, np.float32), "NaN or infinite"),
        (np.zeros(100, np.float32), "at least 2 s"),
        (np.zeros(24000, np.int16), "floats"),
    ],
)
def test_no_clip_is_refused(wave, error):
    with pytest.raises((ValueError, TypeError), match=error):
        describe(wave, 8000)


def test_more_processes_give_the_same_table():
    waves = [w for *_, w, _ in draws(3, 5)]
    pd.testing.assert_frame_equal(
        describe_table(waves, 8000, progress=False),
        describe_table(waves, 8000, progress=False, n_jobs=2),
    )


def test_import_needs_no_heavy_library():
    code = "import sys, musicgen_emotion.sound; print([m for m in ('torch', 'librosa', 'sklearn', 'matplotlib', 'scipy') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=Path(musicgen_emotion.__file__).parents[1],
        ).stdout.strip()
        == "[]"
    )


def table(n, seed, gap=2.0):
    r, y = np.random.default_rng(seed), np.tile(["a", "b", "c"], n)
    X = r.standard_normal((3 * n, 4)) + gap * np.repeat([np.eye(3, 4)], n, 0).reshape(-1, 4)
    return pd.DataFrame(X, columns=list("wxyz")), y


def test_judge_agrees_with_sklearn_and_is_at_chance_on_shuffled_labels():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    (X, y), (Z, z) = table(60, 0), table(200, 1)
    judge = LabelJudge(descriptors=tuple("wxyz")).fit(X, y)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=judge.shrinkage).fit(
        (X - judge.mean) / judge.scale, y
    )
    assert (judge.predict(Z) == lda.predict((Z - judge.mean) / judge.scale)).mean() > 0.995
    mixed = (
        LabelJudge(descriptors=tuple("wxyz"))
        .fit(X, np.random.default_rng(2).permutation(y))
        .score(Z, np.random.default_rng(3).permutation(z))
    )
    assert mixed["low"] < 1 / 3 < mixed["high"] + 0.02


def test_judge_of_two_classes_has_probabilities_of_sklearn():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y = table(60, 0)
    X, y = X[y != "c"], y[y != "c"]
    judge = LabelJudge(descriptors=tuple("wxyz")).fit(X, y)
    lda = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=judge.shrinkage, priors=[0.5, 0.5]
    ).fit(((X - judge.mean) / judge.scale).to_numpy(), y)
    np.testing.assert_allclose(
        judge.predict_proba(X),
        lda.predict_proba(((X - judge.mean) / judge.scale).to_numpy()),
        atol=1e-9,
    )


def test_damaged_judge_is_refused(tmp_path):
    X, y = table(20, 0)
    path = LabelJudge(descriptors=tuple("wxyz")).fit(X, y).save(tmp_path / "judge.json")
    d = json.loads(path.read_text())
    path.write_text(json.dumps(d | dict(coef=[r[:2] for r in d["coef"]])))
    with pytest.raises(ValueError, match=r"coef has shape \(3, 2\), expected \(3, 4\)"):
        LabelJudge.load(path)
    path.write_text('{"descri')
    with pytest.raises(ValueError, match="not valid JSON"):
        LabelJudge.load(path)


@needs_cues
def test_listener_refit_reproduces_the_published_effects():
    m, shipped = fit_listener(DATA / "eerola2013_cues"), ListenerModel.load()
    assert m.n == 200 and m.compare_published().difference.abs().max() < 0.01
    assert min(m.r2.values()) >= 0.77 and max(m.r2.values()) < 0.9
    for r in m.coef:
        np.testing.assert_allclose(
            list(m.coef[r].values()), list(shipped.coef[r].values()), atol=1e-9
        )


@needs_cues
def test_listener_predicts_the_ratings_it_was_fitted_to():
    t = (
        pd.read_csv(DATA / "eerola2013_cues" / "design_matrix.csv")
        .merge(pd.read_csv(DATA / "eerola2013_cues" / "mean_emotion_ratings.csv"), on="Nro")
        .rename(columns=str.lower)
    )
    cues = pd.DataFrame({c: [LISTENER_LEVELS[c][i - 1] for i in t[c]] for c in LISTENER_CUES})
    m = ListenerModel.load()
    assert np.array_equal(
        listener_codes(cues).astype(int),
        t[["register", "mode", "tempo", "soundlevel", "articulation"]],
    )
    p = m.predict(cues)
    for r in p:
        full = p[r] + t.melody.map(lambda k: m.melody[r][str(k)])
        assert 1 - ((t[r] - full) ** 2).sum() / ((t[r] - t[r].mean()) ** 2).sum() == pytest.approx(
            m.r2[r], abs=1e-9
        )


def test_safe_directions_of_the_listener():
    base = dict(register=65, mode=1, tempo=2.8, soundlevel=0, articulation=0.75)
    change = lambda **kw: (
        ListenerModel.load().predict(pd.DataFrame([base | kw, base])).diff().iloc[1] * -1
    )
    assert change(mode=2).happy < 0 < change(mode=2).sad
    assert change(tempo=6).happy > 0 > change(tempo=6).sad and change(tempo=6).peaceful < 0
    assert change(soundlevel=10).peaceful < 0 < change(soundlevel=10).scary


def test_pulse_free_sound_has_no_clarity():
    noise = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    s, beats = spectrum(noise, 8000), spectrum(piece(60, True, 120), 8000)
    assert (
        estimate_tempo(onset_strength(s), s.rate)[1]
        < 0.4 * estimate_tempo(onset_strength(beats), beats.rate)[1]
    )
