"""Steered against bare generation.

    python benchmarks/steering.py [--quick] [--json] [--threads 1]

Both sides of a ratio run alternately in one process on the same weights, prompts, seeds and threads. Ratios are medians over rounds; the
interval is the range of the rounds. `holds` compares the ratio with the aim."""

import numpy as np
from common import clock, command_line, entry, nano_or_random, show

from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.steering.directions import Direction
from musicgen_emotion.steering.push import steer
from musicgen_emotion.steering.schedules import ClosedLoop, Schedule

PROMPTS = (
    "happy upbeat pop song with bright synths",
    "sad slow piano ballad",
    "calm ambient pads",
    "angry heavy metal",
)


def direction(model, site):
    return Direction(
        np.random.default_rng(0).normal(size=model.config.d_model), site, "random", rms=1.0
    )


def steer_ratio(name, model, n_clips, seconds, rounds, aim, **steering):
    "How much longer generation takes when it is steered; the steered tokens differ, and a dose of 0 gives the bare ones."
    prompts, n_frames, ratios = (
        [PROMPTS[i % 4] for i in range(n_clips)],
        round(seconds * model.config.frame_rate),
        [],
    )
    make = lambda: sample_tokens(model, prompts, list(range(n_clips)), n_frames, batch_size=n_clips)
    v = direction(model, f"layer_{model.config.n_layers // 2}")
    with steer(model, v, 0, **steering):
        unmoved = make()
    for r in range(rounds + 1):
        bare, plain = clock(make)
        with steer(model, v, 0.5, **steering):
            pushed, moved = clock(make)
        assert (plain == unmoved).all() and (plain != moved).any()
        if r:
            ratios.append(pushed / bare)
    return entry(name, ratios, aim, False, clips=n_clips, seconds=seconds)


def steering_entries(model, quick):
    "Steering hooks against none: one layer, all layers, a schedule, a closed loop."
    clips, seconds, rounds = (4, 0.5, 5) if quick else (4, 4, 9)
    loop = ClosedLoop(lambda x: x.mean(1), 1e9, "layer_0", window=25)
    yield steer_ratio(
        "steered_vs_bare_generation_nano", model, clips, 1 if quick else seconds, rounds + 2, 1.10
    )
    yield steer_ratio(
        "steered_all_layers_vs_bare_generation_nano",
        model,
        clips,
        seconds,
        rounds,
        None,
        layers="all",
    )
    yield steer_ratio(
        "steered_schedule_vs_bare_generation_nano",
        model,
        clips,
        seconds,
        rounds,
        None,
        schedule=Schedule(half_life_s=0.5),
    )
    yield steer_ratio(
        "steered_closed_loop_vs_bare_generation_nano",
        model,
        clips,
        seconds,
        rounds,
        None,
        schedule=loop,
    )


def entries(quick, folder):
    "All comparisons, the cheap ones first."
    nano = nano_or_random(folder)
    yield from steering_entries(nano, quick)


def main():
    options = command_line(__doc__, "short clips: under 40 s")
    show(lambda folder: entries(options.quick, folder), options)


if __name__ == "__main__":
    main()
