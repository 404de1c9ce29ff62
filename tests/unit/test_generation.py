"""Clips depend on seed and prompt alone; bad arguments fail; sound files are written whole."""

import numpy as np
import pytest
import soundfile as sf

from musicgen_emotion.activations.generation import generate, save_audio, save_clips
from musicgen_emotion.activations.hooks import count_hooks

PROMPTS = [
    "a happy song with piano",
    "a sad song",
    "",
    "an angry song with guitar and drums, very fast, in a minor key, quiet, low register, dark",
]


@pytest.mark.parametrize("size, order", [(1, [0, 1, 2, 3]), (2, [3, 2, 1, 0]), (3, [2, 0, 3, 1])])
def test_tokens_do_not_depend_on_the_batch(both_nano, size, order):
    want = generate(both_nano, PROMPTS, [1, 2, 3, 4], 0.2, audio=False).tokens
    got = generate(
        both_nano,
        [PROMPTS[i] for i in order],
        [order[k] + 1 for k in range(4)],
        0.2,
        batch_size=size,
        audio=False,
    ).tokens
    np.testing.assert_array_equal(got, want[order])


def test_tokens_do_not_depend_on_the_batch_with_hooks(both_tiny):
    def push(x, now):
        x = x.clone()
        x[now.rows("cond")] += 0.1
        return x

    a, b = (
        generate(
            both_tiny, PROMPTS, 5, 0.1, batch_size=n, hooks={"layer_1": push}, audio=False
        ).tokens
        for n in (1, 4)
    )
    np.testing.assert_array_equal(a, b)


def test_seed_prompt_and_settings_matter(both_tiny):
    base = generate(both_tiny, PROMPTS[:2], 1, 0.2, audio=False)
    for kwargs in (
        dict(seeds=50),
        dict(guidance=6.0),
        dict(temperature=0.5),
        dict(top_k=2),
        dict(prompts=["calm", "tense"]),
    ):
        other = generate(
            both_tiny, **(dict(prompts=PROMPTS[:2], seeds=1, duration_s=0.2, audio=False) | kwargs)
        )
        assert (other.tokens != base.tokens).any(), kwargs
    np.testing.assert_array_equal(
        generate(both_tiny, PROMPTS[:2], 1, 0.2, audio=False).tokens, base.tokens
    )


def test_a_longer_clip_begins_like_a_shorter_one(both_tiny):
    short, long = (generate(both_tiny, PROMPTS[:2], 1, d, audio=False).tokens for d in (0.2, 0.4))
    # the last frames of later codebooks are drawn when the first codebook of the short clip is over
    settled = 10 - (4 - 2)
    np.testing.assert_array_equal(long[..., :settled], short[..., :settled])


def test_guidance_one_runs_no_null_rows(both_tiny):
    branches = set()
    made = generate(
        both_tiny,
        ["happy song"] * 2,
        [1, 2],
        0.1,
        guidance=1,
        hooks={"layer_0": lambda x, now: branches.add((now.branches, len(x)))},
    )
    assert branches == {(("cond",), 2)} and np.isfinite(made.audio).all()


@pytest.mark.parametrize(
    "kwargs, error, match",
    [
        (dict(prompts=[]), ValueError, "prompts is empty"),
        (dict(prompts=["a", 1]), TypeError, r"prompts\[1\] must be text"),
        (dict(seeds=[1]), ValueError, "1 entries for 2 prompts"),
        (dict(seeds=[1, -2]), ValueError, r"seeds\[1\] must be a whole number"),
        (dict(seeds=[0, 1.5]), ValueError, "whole number"),
        (dict(duration_s=0), ValueError, "duration_s"),
        (dict(duration_s=-2), ValueError, "duration_s"),
        (dict(duration_s=1e6), ValueError, "at most 40.90 s"),
        (dict(duration_s="5"), TypeError, "duration_s"),
        (dict(guidance=-1), ValueError, "guidance"),
        (dict(temperature=float("nan")), ValueError, "temperature"),
        (dict(top_k=65), ValueError, "codebook's 64"),
        (dict(top_k=2.5), ValueError, "top_k"),
        (dict(batch_size=0), ValueError, "batch_size"),
        (dict(hooks={"layer_7": print}), KeyError, "layer_7"),
        (dict(model="nano"), TypeError, "MusicModel"),
    ],
)
def test_wrong_arguments(both_tiny, kwargs, error, match):
    with pytest.raises(error, match=match):
        generate(**(dict(model=both_tiny, prompts=PROMPTS[:2], seeds=1, duration_s=0.1) | kwargs))


def test_hooks_are_gone_after_a_failure(both_tiny):
    with pytest.raises(ZeroDivisionError):
        generate(both_tiny, PROMPTS[:1], 1, 0.1, hooks={"layer_0": lambda x, now: 1 / 0})
    assert count_hooks(both_tiny) == 0


def test_odd_prompts_make_finite_sound(both_tiny):
    with pytest.warns(UserWarning):
        made = generate(both_tiny, ["", "sad " * 2500, "悲しい音楽"], 1, 0.1)
    assert (
        made.tokens.dtype == np.int16
        and made.audio.dtype == np.float32
        and np.isfinite(made.audio).all()
    )


def test_sound_files(both_tiny, tmp_path):
    wave = np.sin(np.linspace(0, 300, 4000)).astype(np.float32) * 0.5
    for ending in ("flac", "wav"):
        back, rate = sf.read(save_audio(tmp_path / f"a.{ending}", wave, 8000))
        assert rate == 8000 and np.abs(back - wave).max() < 1e-4
    back, _ = sf.read(save_audio(tmp_path / "stereo.flac", np.stack([wave, -wave]), 8000))
    assert back.shape == (4000, 2)
    with pytest.warns(UserWarning, match="above full scale"):
        save_audio(tmp_path / "loud.wav", wave * 4, 8000)
    for bad in (np.array([np.nan]), np.zeros(0), np.zeros((3, 10)), np.zeros((1, 2, 3))):
        with pytest.raises(ValueError):
            save_audio(tmp_path / "bad.wav", bad, 8000)
    with pytest.raises(ValueError, match=r"\.flac, \.wav"):
        save_audio(tmp_path / "a.mp3", wave, 8000)
    assert len(list(tmp_path.iterdir())) == 4
    made = generate(both_tiny, PROMPTS[:2], 1, 0.1)
    assert [p.name for p in save_clips(made[1:], tmp_path / "clips")] == ["clip_0000.flac"]
