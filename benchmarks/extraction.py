"""Replay against hooked stepwise generation, and hooked against bare generation.

    python benchmarks/extraction.py [--quick] [--json] [--threads 1]

Both sides of a ratio run alternately in one process on the same weights, clips and threads, and end with the same numbers in memory:
the residual stream of every layer at every position of the same clips. The stepwise side is transformers' own `generate` with
plain forward hooks that keep the wanted rows; decoding tokens to sound is taken out of it, so that only activations are paid for.
Ratios are medians over rounds; the interval is the range of the rounds. `holds` compares the ratio with the aim."""

import contextlib
from types import SimpleNamespace

import numpy as np
import torch
from common import clock, command_line, entry, nano_or_random, show

from musicgen_emotion.activations.hooks import hooked
from musicgen_emotion.activations.replaying import replay
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.models.tiny import write_random_model

PROMPTS = (
    "happy upbeat pop song with bright synths",
    "sad slow piano ballad",
    "calm ambient pads",
    "angry heavy metal",
)


@contextlib.contextmanager
def without_sound(hf):
    "transformers' generate, without the codec's decoder."
    real, hf.audio_encoder.decode = (
        hf.audio_encoder.decode,
        lambda codes, **kw: SimpleNamespace(audio_values=torch.zeros(codes.shape[1], 1, 1)),
    )
    try:
        yield
    finally:
        hf.audio_encoder.decode = real


def stepwise(model, prompts, n_frames, branches):
    "Activations by layer, (row, position, width), from transformers' generate with plain hooks; and the tokens it was fed."
    hf, c, n = model.hf, model.config, len(prompts) * len(branches)
    seen, fed, handles = [[] for _ in range(c.n_layers)], [], []
    handles.append(
        hf.decoder.model.decoder.register_forward_pre_hook(
            lambda m, a, kw: fed.append(kw["input_ids"][: len(prompts) * c.n_codebooks]),
            with_kwargs=True,
        )
    )
    for i, layer in enumerate(hf.decoder.model.decoder.layers):
        handles.append(
            layer.register_forward_hook(
                lambda m, a, o, i=i: seen[i].append(
                    (o[0] if isinstance(o, tuple) else o)[:n].clone()
                )
            )
        )
    n_positions = c.positions(n_frames)
    try:
        with without_sound(hf):
            hf.generate(
                **model.tokenize(prompts, warn=False),
                do_sample=True,
                guidance_scale=3.0,
                max_length=n_positions + 1,
            )
    finally:
        for h in handles:
            h.remove()
    ids = torch.cat(fed[-n_positions:], 1).reshape(len(prompts), c.n_codebooks, -1)
    last = torch.zeros_like(ids[..., :1])
    tokens = torch.stack(
        [
            torch.cat([ids, last], -1)[:, k, 1 + d : 1 + d + n_frames]
            for k, d in enumerate(c.delays)
        ],
        1,
    )
    return [torch.cat(s[-n_positions:], 1) for s in seen], tokens.numpy()


def replay_ratio(name, model, n_clips, seconds, branches, rounds, aim):
    "How many times longer stepwise generation takes than replay, for the same activations."
    prompts, n_frames, ratios, gap, times = (
        [PROMPTS[i % 4] for i in range(n_clips)],
        round(seconds * model.config.frame_rate),
        [],
        0.0,
        [],
    )
    for r in range(rounds + 1):
        slow, (acts, tokens) = clock(lambda: stepwise(model, prompts, n_frames, branches))
        fast, ours = clock(
            lambda: replay(model, tokens, prompts, branches=branches, batch_size=n_clips)
        )
        if r == 0 and rounds > 1:
            continue
        ratios.append(slow / fast)
        times.append((slow, fast))
        for i, a in enumerate(acts):
            b = ours[f"layer_{i}"].transpose("branch", "clip", ...).values.reshape(a.shape)[:, :-1]
            gap = max(gap, float(np.abs(b - a.numpy()[:, :-1]).max() / a.abs().max()))
    slow, fast = np.median(times, axis=0)
    return entry(
        name,
        ratios,
        aim,
        True,
        clips=n_clips,
        seconds=seconds,
        branches=list(branches),
        stepwise_s=round(float(slow), 3),
        replay_s=round(float(fast), 4),
        largest_gap=float(f"{gap:.1e}"),
    )


def hook_ratio(model, n_clips, seconds, rounds):
    "How much longer generation takes when every layer's residual stream is kept."
    prompts, n_frames, ratios = (
        [PROMPTS[i % 4] for i in range(n_clips)],
        round(seconds * model.config.frame_rate),
        [],
    )
    make, sites = (
        lambda: sample_tokens(model, prompts, list(range(n_clips)), n_frames, batch_size=n_clips),
        model.resolve_sites(),
    )
    for r in range(rounds + 1):
        bare, plain = clock(make)
        kept = {s: [] for s in sites}
        with hooked(
            model, {s: (lambda x, now, s=s: kept[s].append(x.clone()) and None) for s in sites}
        ):
            with_hooks, tokens = clock(make)
        assert (tokens == plain).all() and len(kept[sites[0]]) == model.config.positions(n_frames)
        if r:
            ratios.append(with_hooks / bare)
    return entry(
        "hooked_vs_bare_generation_nano", ratios, 1.10, False, clips=n_clips, seconds=seconds
    )


def entries(quick, folder):
    "All comparisons, the cheap ones first."
    nano = nano_or_random(folder)
    seconds, rounds = (2, 3) if quick else (5, 5)
    yield hook_ratio(nano, 4, 1 if quick else 4, rounds + 1)
    yield replay_ratio("replay_vs_stepwise_nano", nano, 1, seconds, ("cond",), rounds, 20)
    yield replay_ratio(
        "replay_vs_stepwise_nano_both_branches", nano, 1, seconds, ("cond", "null"), rounds, 20
    )
    yield replay_ratio(
        "replay_vs_stepwise_nano_batch_of_8", nano, 8, seconds, ("cond",), 1 if quick else 3, None
    )
    if quick:
        return
    small = load_model(write_random_model(folder / "small", size="small"), device="cpu")
    yield replay_ratio("replay_vs_stepwise_small", small, 1, 2, ("cond",), 1, 20)
    yield replay_ratio(
        "replay_vs_stepwise_small_both_branches", small, 1, 2, ("cond", "null"), 1, 20
    )


def main():
    options = command_line(__doc__, "nano only, short clips: under 40 s")
    show(lambda folder: entries(options.quick, folder), options)


if __name__ == "__main__":
    main()
