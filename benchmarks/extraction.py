"""Replay against hooked stepwise generation, and hooked against bare generation.

    python benchmarks/extraction.py [--quick] [--json] [--threads 1]

Both sides of a ratio run alternately in one process on the same weights, clips and threads, and
end with the same numbers in memory: the residual stream of every layer at every position of the
same clips. The stepwise side is the `generate` of transformers with plain forward hooks that keep
the wanted rows. Decoding tokens to sound is taken out of it, so that only activations are timed.
Ratios are medians over rounds; the interval is the range of the rounds. `holds` compares the ratio
with the aim.
"""

import contextlib
from types import SimpleNamespace

import numpy as np
import torch
from common import clock, command_line, cycled_prompts, entry, nano_or_random, show

from musicgen_emotion.activations.hooks import hooked
from musicgen_emotion.activations.replaying import replay
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.models.shapes import undelay_tokens
from musicgen_emotion.models.tiny import write_random_model


@contextlib.contextmanager
def without_sound(hf):
    "The `generate` of transformers, without the codec's decoder."

    def silence(codes, **settings):
        return SimpleNamespace(audio_values=torch.zeros(codes.shape[1], 1, 1))

    decode = hf.audio_encoder.decode
    hf.audio_encoder.decode = silence
    try:
        yield
    finally:
        hf.audio_encoder.decode = decode


def stepwise(model, prompts, n_frames, branches):
    """Activations and tokens of the `generate` of transformers with plain hooks.

    Activations come by layer, each (row, position, width); tokens are (clip, codebook, frame).
    """
    hf = model.hf
    config = model.config
    n_rows = len(prompts) * len(branches)
    n_positions = config.positions(n_frames)
    outputs = [[] for _ in range(config.n_layers)]
    fed = []
    decoder = hf.decoder.model.decoder

    def keep_input(module, args, kwargs):
        fed.append(kwargs["input_ids"][: len(prompts) * config.n_codebooks])

    def keep_output(kept):
        def hook(module, args, output):
            states = output[0] if isinstance(output, tuple) else output
            kept.append(states[:n_rows].clone())

        return hook

    handles = [decoder.register_forward_pre_hook(keep_input, with_kwargs=True)]
    for layer, kept in zip(decoder.layers, outputs):
        handles.append(layer.register_forward_hook(keep_output(kept)))
    try:
        with without_sound(hf):
            hf.generate(
                **model.tokenize(prompts, warn=False),
                do_sample=True,
                guidance_scale=3.0,
                max_length=n_positions + 1,
            )
    finally:
        for handle in handles:
            handle.remove()
    delayed = torch.cat(fed[-n_positions:], 1).reshape(len(prompts), config.n_codebooks, -1)
    # the decoder never reads the last frame of the last codebook; a 0 takes its place
    sequence = torch.cat([delayed, torch.zeros_like(delayed[..., :1])], -1)
    tokens = undelay_tokens(sequence, config)
    return [torch.cat(kept[-n_positions:], 1) for kept in outputs], tokens.numpy()


def replay_ratio(name, model, n_clips, seconds, branches, rounds, aim):
    "How many times longer stepwise generation takes than replay, for the same activations."
    prompts = cycled_prompts(n_clips)
    n_frames = round(seconds * model.config.frame_rate)
    times = []
    gap = 0.0
    for round_number in range(rounds + 1):
        slow, (states, tokens) = clock(lambda: stepwise(model, prompts, n_frames, branches))
        fast, replayed = timed_replay(model, tokens, prompts, branches)
        if round_number == 0 and rounds > 1:
            continue
        times.append((slow, fast))
        for layer, expected in enumerate(states):
            found = replayed[f"layer_{layer}"].transpose("branch", "clip", ...).values
            found = found.reshape(expected.shape)[:, :-1]
            difference = np.abs(found - expected.numpy()[:, :-1]).max()
            gap = max(gap, float(difference / expected.abs().max()))
    slow, fast = np.median(times, axis=0)
    return entry(
        name,
        [slow_s / fast_s for slow_s, fast_s in times],
        aim,
        True,
        clips=n_clips,
        seconds=seconds,
        branches=list(branches),
        stepwise_s=round(float(slow), 3),
        replay_s=round(float(fast), 4),
        largest_gap=float(f"{gap:.1e}"),
    )


def timed_replay(model, tokens, prompts, branches):
    "Seconds and activations of one replay of all clips in one batch."
    return clock(lambda: replay(model, tokens, prompts, branches=branches, batch_size=len(prompts)))


def keep_clones(kept):
    "A reader that appends a copy of each activation to `kept`."

    def reader(activation, now):
        kept.append(activation.clone())

    return reader


def hook_ratio(model, n_clips, seconds, rounds):
    "How much longer generation takes when every layer's residual stream is kept."
    prompts = cycled_prompts(n_clips)
    n_frames = round(seconds * model.config.frame_rate)
    sites = model.resolve_sites()
    ratios = []

    def make():
        return sample_tokens(model, prompts, list(range(n_clips)), n_frames, batch_size=n_clips)

    for round_number in range(rounds + 1):
        bare, plain = clock(make)
        kept = {site: [] for site in sites}
        readers = {site: keep_clones(kept[site]) for site in sites}
        with hooked(model, readers):
            with_hooks, tokens = clock(make)
        assert (tokens == plain).all()
        assert len(kept[sites[0]]) == model.config.positions(n_frames)
        if round_number:
            ratios.append(with_hooks / bare)
    return entry(
        "hooked_vs_bare_generation_nano", ratios, 1.10, False, clips=n_clips, seconds=seconds
    )


def entries(quick, folder):
    "All comparisons, the cheap ones first."
    nano = nano_or_random(folder)
    both = ("cond", "null")
    seconds, rounds = (2, 3) if quick else (5, 5)
    yield hook_ratio(nano, 4, 1 if quick else 4, rounds + 1)
    yield replay_ratio("replay_vs_stepwise_nano", nano, 1, seconds, ("cond",), rounds, 20)
    yield replay_ratio("replay_vs_stepwise_nano_both_branches", nano, 1, seconds, both, rounds, 20)
    yield replay_ratio(
        "replay_vs_stepwise_nano_batch_of_8", nano, 8, seconds, ("cond",), 1 if quick else 3, None
    )
    if quick:
        return
    small = load_model(write_random_model(folder / "small", size="small"), device="cpu")
    yield replay_ratio("replay_vs_stepwise_small", small, 1, 2, ("cond",), 1, 20)
    yield replay_ratio("replay_vs_stepwise_small_both_branches", small, 1, 2, both, 1, 20)


def main():
    options = command_line(__doc__, "nano only, short clips: under 40 s")
    show(lambda folder: entries(options.quick, folder), options)


if __name__ == "__main__":
    main()
