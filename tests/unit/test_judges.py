"""Judges keep every clip, CLAP is read in its real format, and the guard finds broken clips."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch

from musicgen_emotion.activations.generation import generate
from musicgen_emotion.activations.hooks import hooked
from musicgen_emotion.models.sampling import merge_guidance
from musicgen_emotion.models.shapes import delay_tokens, frame_logits
from musicgen_emotion.sound.label_judge import LabelJudge
from musicgen_emotion.sound.listener import ListenerModel
from musicgen_emotion.steering.clap import ClapJudge, load_clap, resample, write_random_clap
from musicgen_emotion.steering.distances import (
    codec_embedding,
    distribution_distance,
    frechet_distance,
    mel_embedding,
)
from musicgen_emotion.steering.guard import dose_quality, quality_guard, quality_summary
from musicgen_emotion.steering.judges import (
    DescriptorJudge,
    EmotionJudge,
    ListenerJudge,
    listener_fidelity,
    ratings_folder,
    run_judge,
    user_judge,
)
from musicgen_emotion.steering.token_quality import repetition, silence, token_kl

SR = 8000
PROMPTS = [
    "a piece for piano",
    "music with strings",
    "a song played on guitar",
    "an instrumental track with flute",
    "a slow theme",
]


@pytest.fixture(scope="module")
def sound():
    t = np.arange(2 * SR) / SR
    return np.stack(
        [
            (0.2 * np.sin(2 * np.pi * f * t) * (np.sin(2 * np.pi * 2 * t) > 0)).astype(np.float32)
            for f in (220, 330, 440, 550)
        ]
    )


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory):
    return write_random_clap(tmp_path_factory.mktemp("clap") / "clap", max_length_s=1)


@pytest.fixture(scope="module")
def clips(tiny):
    return generate(tiny, PROMPTS, 1, 0.6, progress=False)


def level(audio, sample_rate):
    return pd.DataFrame(dict(level=np.sqrt((audio**2).mean(1))))


# judges


def test_scores_are_in_the_row_of_their_clip_whatever_the_batch(sound):
    want = run_judge(level, sound, SR, progress=False)
    for size in (1, 3):
        pd.testing.assert_frame_equal(
            run_judge(level, sound, SR, batch_size=size, progress=False), want
        )
    mixed = [sound[0], sound[1][:9000], sound[2], sound[3][:9000]]
    got = run_judge(level, mixed, SR, ids=list("abcd"), progress=False)
    np.testing.assert_allclose(got.level, [np.sqrt((w**2).mean()) for w in mixed], rtol=1e-5)
    assert got["clip"].tolist() == list("abcd") and not got.problem.any()


@pytest.mark.parametrize(
    "broken, match",
    [
        (lambda a, sr: 1 / 0, "ZeroDivisionError"),
        (lambda a, sr: "happy", "TypeError"),
        (lambda a, sr: pd.DataFrame(index=range(len(a))), "no score"),
        (lambda a, sr: None, "not a finite number"),
        (lambda a, sr: [1.0] * (len(a) + 1), "returned 2 rows for 1 clips"),
        (lambda a, sr: [np.nan] * len(a), "not a finite number"),
        (lambda a, sr: [np.inf] * len(a), "not a finite number"),
        (lambda a, sr: [1j] * len(a), "TypeError"),
        (lambda a, sr: dict(x=[pd.NaT] * len(a)), "not a finite number: x"),
        (lambda a, sr: dict(x=[1j] * len(a)), "not a finite number: x"),
    ],
)
def test_a_broken_judge_is_reported_for_every_clip(sound, broken, match):
    table = run_judge(broken, sound, SR, progress=False)
    assert len(table) == 4 and table.problem.str.contains(match).all()


def test_one_bad_clip_costs_no_other(sound):
    def judge(audio, sample_rate):
        if (np.abs(audio).max(1) < 0.01).any():
            raise RuntimeError("silence")
        return level(audio, sample_rate)

    bad = [
        sound[0],
        sound[1] * 0,
        sound[2] + np.nan,
        (sound[3] * 9).astype(int),
        np.zeros(0, np.float32),
        np.stack([sound[3]] * 2),
    ]
    table = run_judge(judge, bad, SR, progress=False)
    assert table.problem.astype(bool).tolist() == [False, True, True, True, True, False]
    assert table.level.notna().tolist() == [True, False, False, False, False, True]
    short = run_judge(lambda a, sr: [1.0] * min(len(a), 1), sound, SR, progress=False)
    assert not short.problem.any() and (short.iloc[:, 1] == 1).all(), (
        "a judge that fails on batches is asked clip by clip"
    )


def test_scores_never_overwrite_the_table_and_judges_never_the_sound(sound):
    for column in ("clip", "problem"):
        message = f"returns the column '{column}', which the table keeps"
        with pytest.raises(ValueError, match=message):
            run_judge(
                lambda a, sr, column=column: {column: [1.0] * len(a)}, sound, SR, progress=False
            )

    def eater(a, sr):
        a.fill(0)
        return [1.0] * len(a)

    kept = sound.copy()
    run_judge(eater, sound, SR, progress=False)
    assert (sound == kept).all()


def test_one_way_to_ask(sound):
    from musicgen_emotion.steering.judging import judge_clips

    def picky(a, sr):
        return dict(x=np.where(a.max(1) > a.max(), np.nan, 1.0), y=[pd.NaT] * len(a))

    a, b = run_judge(picky, sound, SR, progress=False), judge_clips(picky, sound, SR)
    assert ("picky: " + a.problem).tolist() == b.failure.tolist() and (a.x == b.x).all()


def test_an_interrupt_is_not_swallowed(sound):
    def judge(audio, sample_rate):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_judge(judge, sound, SR, progress=False)


@pytest.mark.parametrize(
    "kwargs, error, match",
    [
        (dict(judge=3), TypeError, "judge must be a function"),
        (dict(audio=[]), ValueError, "at least one clip"),
        (dict(ids=["a"]), ValueError, "1 ids"),
        (dict(sample_rate=0), ValueError, "sample_rate"),
        (dict(batch_size=0), ValueError, "batch_size"),
    ],
)
def test_wrong_arguments_of_run_judge(sound, kwargs, error, match):
    with pytest.raises(error, match=match):
        run_judge(**(dict(judge=level, audio=sound, sample_rate=SR, progress=False) | kwargs))


def test_own_judges_return_what_they_like(sound):
    for fn in (
        lambda a, sr: a.max(1),
        lambda a, sr: dict(peak=a.max(1)),
        lambda a, sr: [dict(peak=w.max()) for w in a],
        lambda a, sr: pd.DataFrame(dict(peak=a.max(1)), index=list("wxyz")),
    ):
        table = run_judge(user_judge(fn, "peak"), sound, SR, progress=False)
        np.testing.assert_allclose(table.peak, sound.max(1))
    table = run_judge(
        user_judge(lambda w, sr: dict(a=1.0, b=float(w.max())), "two", per_clip=True),
        sound,
        SR,
        progress=False,
    )
    assert list(table.columns) == ["clip", "a", "b", "problem"]


def test_silent_clips_are_reported_by_the_acoustic_judges(sound):
    judge = LabelJudge(
        ("tempo_bpm", "mode_score"),
        ("a", "b"),
        np.zeros(2),
        np.ones(2),
        np.zeros((2, 2)),
        np.zeros(2),
    )
    for j in (DescriptorJudge(), ListenerJudge(), EmotionJudge(judge)):
        table = run_judge(j, np.stack([sound[0], sound[0] * 0]), SR, progress=False)
        assert table.problem.astype(bool)[1], type(j)
    short = run_judge(ListenerJudge(), sound[:, :SR], SR, progress=False)
    assert short.problem.str.contains("at least 2 s").all()


def test_the_refit_on_the_real_ratings_reproduces_the_paper(data_dir, monkeypatch):
    fresh = ListenerJudge.refit(data_dir)
    assert listener_fidelity(fresh.model).holds.all()
    shipped = ListenerModel.load()
    for r in shipped.coef:
        for c in shipped.coef[r]:
            assert abs(shipped.coef[r][c] - fresh.model.coef[r][c]) < 1e-9
    monkeypatch.setenv("MGE_DATA", str(data_dir))
    assert ratings_folder() == data_dir / "eerola2013_cues"


def test_the_error_of_missing_ratings_tells_where_they_are(monkeypatch, tmp_path):
    monkeypatch.delenv("MGE_DATA", raising=False)
    for folder in (None, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"10\.7910/DVN/IFOBRN"):
            ListenerJudge.refit(folder)


def test_a_refit_on_other_numbers_is_refused(tmp_path):
    draw = np.random.default_rng(0)
    design = pd.DataFrame(
        {"Nro": range(1, 121)}
        | {
            c: draw.integers(1, k + 1, 120)
            for c, k in dict(
                Register=6, Mode=2, Tempo=5, Soundlevel=5, Articulation=4, Timbre=3, Melody=4
            ).items()
        }
    )
    design.to_csv(tmp_path / "design_matrix.csv", index=False)
    pd.DataFrame(
        dict(Nro=design.Nro) | {r: draw.random(120) for r in ("Scary", "Happy", "Sad", "Peaceful")}
    ).to_csv(tmp_path / "mean_emotion_ratings.csv", index=False)
    with pytest.raises(ValueError, match="misses published effects"):
        ListenerJudge.refit(tmp_path)


# CLAP


def test_clap_reads_its_folder_and_is_the_same_every_time(clap_folder, sound):
    judge = ClapJudge(clap_folder, batch_size=3)
    long = np.tile(sound, 2)
    one, two = (run_judge(judge, long, SR, batch_size=b, progress=False) for b in (4, 1))
    np.testing.assert_allclose(
        one.drop(columns=["clip", "problem"]), two.drop(columns=["clip", "problem"]), atol=1e-5
    )
    assert not one.problem.any() and np.isfinite(one.valence).all()
    assert judge.embed(long, SR, pool=False).shape == (4, 4, 16)


def test_clap_scores_are_those_of_the_model(clap_folder, sound):
    judge, (model, extractor, tokenizer) = (
        ClapJudge(clap_folder, emotions=dict(happy=["a happy song"], sad=["a sad song"])),
        load_clap(clap_folder),
    )
    at48 = [w for w in resample(sound[:2, :SR], SR, 48000)]
    inputs = extractor(at48, sampling_rate=48000, return_tensors="pt")
    with torch.inference_mode():
        out = model(
            input_features=inputs["input_features"],
            is_longer=inputs["is_longer"],
            **tokenizer(["a happy song", "a sad song"], padding=True, return_tensors="pt"),
        )
    np.testing.assert_allclose(
        judge(sound[:2, :SR], SR)[["p_happy", "p_sad"]], out.logits_per_audio.softmax(-1), atol=1e-5
    )


def test_clap_never_runs_more_pieces_at_once_than_asked(clap_folder, sound):
    judge, sizes = ClapJudge(clap_folder, batch_size=3), []
    judge.model.audio_model.register_forward_pre_hook(
        lambda m, a, k: sizes.append(len(k["input_features"])), with_kwargs=True
    )
    judge.embed(np.tile(sound, 2), SR)
    assert sizes == [3] * 5 + [1]


def test_an_ensemble_is_one_direction(clap_folder):
    judge = ClapJudge(clap_folder)
    one, same = judge.embed_text(["a happy song"]), judge.embed_text(["a happy song"] * 3)
    np.testing.assert_allclose(one, same, atol=1e-5)
    assert abs(np.linalg.norm(judge.embed_text(["a happy song", "a sad song"])) - 1) < 1e-5


def test_the_error_of_missing_clap_weights_tells_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="hf download"):
        ClapJudge("laion/no-such-clap")
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        ClapJudge(tmp_path)
    with pytest.raises(ValueError, match="wrong"):
        ClapJudge(tmp_path, axes=dict(valence=(["good"],)))


# the guard


def push(model, alpha):
    axis = torch.linspace(-1, 1, model.config.d_model)
    return hooked(model, {"layer_0": lambda x, now: x + alpha * axis})


def test_kl_is_zero_without_a_push_and_grows_with_it(tiny, clips):
    values = []
    for alpha in (0, 0.2, 1, 4):
        steered = functools.partial(push, tiny, alpha)
        values.append(token_kl(tiny, clips.tokens, PROMPTS, steered).mean())
    assert values[0] == 0 and values[0] < values[1] < values[2] < values[3]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.hf.modules())


def test_kl_is_that_of_stepwise_generation(tiny, clips):
    def steps():
        ids = delay_tokens(clips.tokens, tiny.config)
        state = tiny.begin(tiny.encode_text(PROMPTS))
        by_position = []
        for position in range(ids.shape[-1]):
            logits = tiny.step(state, ids[..., position : position + 1]).float()
            guided = merge_guidance(*logits.chunk(2), 3)
            by_position.append(guided.log_softmax(-1))
        n_frames = clips.tokens.shape[-1]
        return frame_logits(torch.stack(by_position, -2), tiny.config, n_frames)

    plain = steps()
    with push(tiny, 1.0):
        pushed = steps()
    want = (pushed.exp() * (pushed - plain)).sum(-1).mean(-1)
    np.testing.assert_allclose(
        token_kl(tiny, clips.tokens, PROMPTS, lambda: push(tiny, 1.0)), want, rtol=1e-3, atol=1e-5
    )


def test_a_push_in_cond_alone_counts_about_guidance_times(tiny, clips):
    axis = torch.linspace(-1, 1, tiny.config.d_model)

    def on(branch, alpha):
        def fn(x, now):
            x = x.clone()
            x[now.rows(branch) if branch else slice(None)] += alpha * axis
            return x

        return hooked(tiny, {f"layer_{tiny.config.n_layers - 1}": fn})

    both, cond = (
        token_kl(tiny, clips.tokens, PROMPTS, functools.partial(on, branch, 1e-2)).mean()
        for branch in (None, "cond")
    )
    assert 6 < cond / both < 12, "KL is quadratic in a small push: guidance 3 gives about 9"


def test_hooks_are_gone_when_the_steering_fails(tiny, clips):
    with pytest.raises(ZeroDivisionError):
        token_kl(
            tiny, clips.tokens, PROMPTS, lambda: hooked(tiny, {"layer_0": lambda x, now: 1 / 0})
        )
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.hf.modules())


def brute_repeat(x):
    return max(
        (
            n
            for n in range(1, len(x) // 2 + 1)
            for i in range(len(x) - n + 1)
            for j in range(i + n, len(x) - n + 1)
            if (x[i : i + n] == x[j : j + n]).all()
        ),
        default=0,
    )


def test_the_longest_repeat_is_that_of_brute_force():
    draw = np.random.default_rng(0)
    for k in (2, 3, 6):
        x = draw.integers(0, k, (3, 1, 40))
        np.testing.assert_allclose(
            repetition(x).longest_repeat * 40, [brute_repeat(r[0]) for r in x]
        )


def test_frechet_of_known_gaussians_and_shrinkage():
    draw = np.random.default_rng(0)
    A = draw.standard_normal((3, 3))
    x, y = draw.standard_normal((50000, 3)), draw.standard_normal((50000, 3)) @ A.T + [1, 2, 3]
    from scipy.linalg import sqrtm

    want = 14 + np.trace(np.eye(3) + A @ A.T - 2 * np.real(sqrtm(A @ A.T)))
    assert (
        abs(frechet_distance(x, y, False) - want) < 0.03 * want
        and abs(frechet_distance(x, y) - want) < 0.03 * want
    )
    few = [
        np.mean(
            [
                frechet_distance(draw.standard_normal((20, 10)), draw.standard_normal((20, 10)), s)
                for _ in range(10)
            ]
        )
        for s in (True, False)
    ]
    assert few[0] < 0.5 * few[1], "shrinkage takes most of the small-sample bias away"
    assert frechet_distance(x[:9], x[:9]) < 1e-9


def test_the_distance_holds_its_level_and_finds_a_shift():
    draw, p = np.random.default_rng(1), []
    for i in range(24):
        p.append(
            distribution_distance(
                *(
                    draw.standard_normal((8, 2, 6)) + draw.standard_normal((8, 1, 6))
                    for _ in range(2)
                ),
                n_perm=19,
                n_split=2,
                seed=i,
            )["p"]
        )
    assert np.mean(np.array(p) <= 0.05) < 0.22
    x = draw.standard_normal((12, 3, 6))
    d = distribution_distance(x, x + 1.5, n_split=5)
    assert (
        d["p"] == 0.01
        and d["low"] > 0
        and d["infinity"] > 5
        and d["cross"] > d["same_high"]
        and (d["n"], d["n_windows"], d["d"]) == (12, 36, 6)
    )
    none = distribution_distance(x, x, n_split=5)
    assert none["distance"] < 1e-9 and none["p"] == 1 and none["excess"] < 1e-9


def test_quality_per_dose_with_intervals(tiny, clips):
    with push(tiny, 3.0):
        pushed = generate(tiny, PROMPTS, 1, 0.6, progress=False)
    doses = dose_quality(
        tiny,
        {0: clips, 3.0: pushed},
        PROMPTS,
        steer=lambda a: push(tiny, a),
        progress=False,
        window_s=0.2,
        n_perm=9,
    )
    assert (
        set(doses.clips.alpha) == {0, 3.0}
        and len(doses.clips) == 20
        and set(doses.distances.embedding) == {"mel", "codec"}
    )
    s = quality_summary(doses.clips, n_boot=200).set_index(["alpha", "measure"])
    assert (
        (s.loc[0, "difference"].abs() < 1e-6).all()
        and s.loc[(3.0, "kl"), "difference_low"] > 0
        and (s.n == 5).all()
    )
    without = quality_guard(tiny, pushed.tokens, PROMPTS, clips.tokens, embeddings=[])
    assert without.clips[without.clips.arm == "steered"].kl.isna().all() and not len(
        without.distances
    )
    assert "kl" not in set(quality_summary(without.clips.assign(alpha=1), n_boot=50).measure)


@pytest.mark.parametrize(
    "kwargs, error, match",
    [
        (dict(tokens=np.zeros((5, 4))), ValueError, "tokens must be"),
        (dict(tokens=np.full((5, 4, 30), 0.5)), ValueError, "whole numbers"),
        (dict(prompts=["a"]), ValueError, "one prompt per clip"),
        (dict(reference_tokens=np.zeros((5, 4, 9), int)), ValueError, "of the same clips"),
        (dict(audio=np.zeros((2, 9000), np.float32)), ValueError, "one clip per row"),
        (dict(embeddings=["vggish"]), ValueError, "embedding must be"),
        (dict(steered=5), TypeError, "steered must be a function"),
        (dict(model="nano"), TypeError, "MusicModel"),
        (dict(audio=np.full((5, 19200), np.nan, np.float32)), ValueError, "NaN"),
        (dict(tokens=np.full((5, 4, 30), 9999)), ValueError, "tokens must lie"),
    ],
)
def test_wrong_arguments_of_quality(tiny, clips, kwargs, error, match):
    with pytest.raises(error, match=match):
        quality_guard(
            **(
                dict(
                    model=tiny,
                    tokens=clips.tokens,
                    prompts=PROMPTS,
                    reference_tokens=clips.tokens,
                    audio=clips.audio,
                    reference_audio=clips.audio,
                    window_s=0.2,
                )
                | kwargs
            )
        )


def test_embeddings_of_broken_sound(tiny):
    assert np.isfinite(mel_embedding(np.zeros((2, SR)), SR)).all()
    assert np.isfinite(codec_embedding(tiny, np.zeros((2, tiny.config.sample_rate)))).all()
    assert silence(np.zeros((2, SR)), SR).tolist() == [1, 1]
    with pytest.raises(ValueError, match="NaN"):
        silence(np.full((1, SR), np.nan), SR)
