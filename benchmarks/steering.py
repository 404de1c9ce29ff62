"""Steered against bare generation.

    python benchmarks/steering.py [--quick] [--json] [--threads 1]

Both sides of a ratio run alternately in one process on the same weights, prompts, seeds and
threads. Ratios are medians over rounds; the interval is the range of the rounds. `holds` compares
the ratio with the aim.
"""

import numpy as np
from common import clock, command_line, cycled_prompts, entry, nano_or_random, show

from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.steering.directions import Direction
from musicgen_emotion.steering.push import steer
from musicgen_emotion.steering.schedules import ClosedLoop, Schedule


def direction(model, site):
    vector = np.random.default_rng(0).normal(size=model.config.d_model)
    return Direction(vector, site, "random", rms=1.0)


def steer_ratio(name, model, n_clips, seconds, rounds, aim, **steering):
    """How much longer generation takes when it is steered.

    A dose of 0 has to give the bare tokens, and a dose of 0.5 other ones.
    """
    prompts = cycled_prompts(n_clips)
    n_frames = round(seconds * model.config.frame_rate)
    pushed_along = direction(model, f"layer_{model.config.n_layers // 2}")
    ratios = []

    def make():
        return sample_tokens(model, prompts, list(range(n_clips)), n_frames, batch_size=n_clips)

    with steer(model, pushed_along, 0, **steering):
        unmoved = make()
    for round_number in range(rounds + 1):
        bare, plain = clock(make)
        with steer(model, pushed_along, 0.5, **steering):
            pushed, moved = clock(make)
        assert (plain == unmoved).all()
        assert (plain != moved).any()
        if round_number:
            ratios.append(pushed / bare)
    return entry(name, ratios, aim, False, clips=n_clips, seconds=seconds)


def steering_entries(model, quick):
    "Steering hooks against none: one layer, all layers, a schedule, a closed loop."
    clips, seconds, rounds = (4, 0.5, 5) if quick else (4, 4, 9)
    loop = ClosedLoop(lambda states: states.mean(1), 1e9, "layer_0", window=25)
    schedule = Schedule(half_life_s=0.5)
    yield steer_ratio(
        "steered_vs_bare_generation_nano", model, clips, 1 if quick else seconds, rounds + 2, 1.10
    )
    variants = {
        "steered_all_layers_vs_bare_generation_nano": dict(layers="all"),
        "steered_schedule_vs_bare_generation_nano": dict(schedule=schedule),
        "steered_closed_loop_vs_bare_generation_nano": dict(schedule=loop),
    }
    for name, steering in variants.items():
        yield steer_ratio(name, model, clips, seconds, rounds, None, **steering)


def entries(quick, folder):
    "All comparisons, the cheap ones first."
    nano = nano_or_random(folder)
    yield from steering_entries(nano, quick)


def main():
    options = command_line(__doc__, "short clips: under 40 s")
    show(lambda folder: entries(options.quick, folder), options)


if __name__ == "__main__":
    main()
