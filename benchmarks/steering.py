"""Steered against bare generation.

    python benchmarks/steering.py [--quick] [--json] [--threads 1]

Both sides of a ratio run alternately in one process on the same weights, prompts, seeds and threads. Ratios are medians over rounds; the
interval is the range of the rounds. `holds` compares the ratio with the aim."""
import argparse, json, time
import numpy as np
import torch
from musicgen_emotion.directions import Direction
from musicgen_emotion.models import load_model, nano_folder, sample_tokens, write_random_model
from musicgen_emotion.steering import ClosedLoop, Schedule, steer

PROMPTS = ('happy upbeat pop song with bright synths', 'sad slow piano ballad', 'calm ambient pads', 'angry heavy metal')


def clock(work):
    start = time.perf_counter()
    out = work()
    return time.perf_counter() - start, out

def entry(name, ratios, aim, above, **more):
    ratio = float(np.median(ratios))
    holds = None if aim is None else bool(ratio >= aim if above else ratio <= aim)
    return dict(name=name, ratio=round(ratio, 3), low=round(min(ratios), 3), high=round(max(ratios), 3), n=len(ratios), aim=aim, holds=holds) | more

def direction(model, site):
    return Direction(np.random.default_rng(0).normal(size=model.config.d_model), site, 'random', rms=1.)

def steer_ratio(name, model, n_clips, seconds, rounds, aim, **steering):
    "How much longer generation takes when it is steered; the steered tokens differ, and a dose of 0 gives the bare ones."
    prompts, n_frames, ratios = [PROMPTS[i % 4] for i in range(n_clips)], round(seconds*model.config.frame_rate), []
    make = lambda: sample_tokens(model, prompts, list(range(n_clips)), n_frames, batch_size=n_clips)
    v = direction(model, f'layer_{model.config.n_layers//2}')
    with steer(model, v, 0, **steering): unmoved = make()
    for r in range(rounds + 1):
        bare, plain = clock(make)
        with steer(model, v, .5, **steering): pushed, moved = clock(make)
        assert (plain == unmoved).all() and (plain != moved).any()
        if r: ratios.append(pushed/bare)
    return entry(name, ratios, aim, False, clips=n_clips, seconds=seconds)

def steering_entries(model, quick):
    "Steering hooks against none: one layer, all layers, a schedule, a closed loop."
    clips, seconds, rounds = (4, .5, 5) if quick else (4, 4, 9)
    loop = ClosedLoop(lambda x: x.mean(1), 1e9, 'layer_0', window=25)
    yield steer_ratio('steered_vs_bare_generation_nano', model, clips, 1 if quick else seconds, rounds + 2, 1.10)
    yield steer_ratio('steered_all_layers_vs_bare_generation_nano', model, clips, seconds, rounds, None, layers='all')
    yield steer_ratio('steered_schedule_vs_bare_generation_nano', model, clips, seconds, rounds, None, schedule=Schedule(half_life_s=.5))
    yield steer_ratio('steered_closed_loop_vs_bare_generation_nano', model, clips, seconds, rounds, None, schedule=loop)

def entries(quick, folder):
    "All comparisons, the cheap ones first."
    if (nano_folder()/'config.json').exists(): nano = load_model('nano', device='cpu')
    else: nano = load_model(write_random_model(folder/'nano', d_model=256, n_layers=4, d_ff=1024, codebook_size=512, sample_rate=8000, d_text=128), device='cpu')
    yield from steering_entries(nano, quick)

def main():
    import tempfile
    from pathlib import Path
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='short clips: under 40 s')
    parser.add_argument('--json', action='store_true', help='one JSON object a line')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch, for both sides')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        for e in entries(args.quick, Path(folder)):
            if args.json: print(json.dumps(e), flush=True)
            else: print(f"{e['name']:46} {e['ratio']:8.2f}  [{e['low']:.2f}, {e['high']:.2f}] n={e['n']}  aim {e['aim']}  {'holds' if e['holds'] else 'no aim' if e['holds'] is None else 'FAILS'}", flush=True)


if __name__ == '__main__': main()
