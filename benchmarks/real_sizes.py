"""The published sizes of MusicGen with random weights: memory, time, replay and disk.

    python benchmarks/real_sizes.py [--size small medium large] [--backend transformers]
                                    [--dtype float32] [--json] [--threads 1]

Each size is built with every published shape (decoder, T5-base with 12 layers, EnCodec at 32 kHz)
and written in the hub's layout; `--backend audiocraft` writes it in audiocraft's layout as well. A
process per stage then loads it with `load_model`, generates, hooks, replays and stores. Only the
tokenizer is smaller: its words are those of this package's prompts. The embedding table has the
published 32,128 rows.

Times are seconds of processor time, which a busy machine stretches less than the clock. They are
medians over rounds on one clip with the range of the rounds. The first pass over everything is not
counted unless there is one round. `peak_rss_gb` is the most memory in use at any moment, `anon_gb`
what the process holds at the end beside weights that it maps from their file. The numbers under
`predicted`, what a study would cost on a GPU, are computed and not measured: `predict` has the
formula.

`real_sizes.jsonl` in this folder holds the last run, one line per size.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

from musicgen_emotion.activations.clip_plans import generate_clips
from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.extractor import ActivationExtractor
from musicgen_emotion.activations.replaying import replay
from musicgen_emotion.activations.stored import replay_bytes, replay_store
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.registry import HUB_SIZES, quiet_transformers, torch_dtype
from musicgen_emotion.models.tiny import (
    codec_config,
    decoder_config,
    joined_config,
    random_musicgen,
    text_config,
    write_tokenizer,
)

PROMPT = "happy upbeat pop song with bright synths"
SIZES = dict(tiny=(3, 32, 4), **HUB_SIZES)
DTYPES = dict(tiny="float32", small="float32", medium="float32", large="bfloat16")
SECONDS = dict(tiny=0.5, small=0.5, medium=0.4, large=0.2)
ROUNDS = dict(tiny=3, small=3, medium=2, large=1)
GPU = dict(
    name="H100 SXM", bandwidth=3.35e12, flops=989e12, of_bandwidth=0.5, of_flops=0.4, layer_s=0.6e-3
)


def clock(work):
    "Processor seconds of all threads, and the result."
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def published(size, channels=1):
    """Configurations of text encoder, codec and decoder, as facebook/musicgen-* have them.

    `tiny` is for trying this script.
    """
    n_layers, d_model, n_heads = SIZES[size]
    if size == "tiny":
        decoder = decoder_config(d_model, n_layers, n_heads, 128, 64, 4, 1, 0.2)
        return text_config(24), codec_config(32000, 64, 4, False), decoder
    text = text_config(768, n_layers=12, n_heads=12, d_ff=3072, vocab_size=32128)
    decoder = decoder_config(
        d_model, n_layers, n_heads, 4 * d_model, 2048, 4 * channels, channels, 0.02
    )
    return text, codec_config(32000, 2048, 4, True), decoder


def build(folder, size, dtype):
    "Write the model in the hub's layout."
    with quiet_transformers():
        write_tokenizer(folder)
        model = random_musicgen(*published(size), seed=0, dtype=torch_dtype(dtype))
        model.save_pretrained(str(folder))


def export(folder):
    "Write the model a second time as an audiocraft checkpoint, in a folder inside."
    from musicgen_emotion.models.audiocraft_export import export_audiocraft

    export_audiocraft(Path(folder), Path(folder) / "audiocraft")


def counts(size):
    "Weights by part, without making any."
    from transformers import MusicgenConfig
    from transformers import MusicgenForConditionalGeneration as Musicgen

    text, codec, decoder = published(size)
    with torch.device("meta"):
        hf = Musicgen(joined_config(MusicgenConfig, text, codec, decoder))
    parts = dict(text_encoder=hf.text_encoder, audio_encoder=hf.audio_encoder, decoder=hf.decoder)
    return {name: n_weights(module) for name, module in parts.items()}


def n_weights(module):
    return sum(weight.numel() for weight in module.parameters())


def anonymous_gb():
    "Memory that belongs to this process alone, GB; nan where the system does not say."
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    for row in status.read_text().splitlines():
        if row.startswith("RssAnon"):
            return int(row.split()[1]) * 1024 / 1e9
    return float("nan")


def disk_bytes(folder):
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def predict(size, n_clips=2000, seconds=8.0, batch=16, gpu=GPU):
    """What a study would take on one GPU in bfloat16: a roofline with a floor, not a measurement.

    A step of B clips moves 2B rows (cond and null). Its time is the largest of bytes / bandwidth,
    flops / speed and layers x launch time, with bytes = 2 x decoder weights
    + 2 x 2 x layers x d_model x 2B rows x mean positions (keys and values, two bytes each).
    A clip takes frames + 3 steps. Replay of a branch needs
    2 x weights x positions + 4 x layers x d_model x positions^2 flops.
    Text encoder and codec are left out.
    """
    n_layers, d_model, _ = SIZES[size]
    weights = counts(size)["decoder"]
    positions = round(seconds * 50) + 3
    rows = 2 * batch
    bandwidth = gpu["bandwidth"] * gpu["of_bandwidth"]
    speed = gpu["flops"] * gpu["of_flops"]
    cache_bytes = 4 * n_layers * d_model * rows * positions / 2
    parts = dict(
        memory=(2 * weights + cache_bytes) / bandwidth,
        arithmetic=2 * weights * rows / speed,
        launches=n_layers * gpu["layer_s"],
    )
    step = max(parts.values())
    n_batches = -(-n_clips // batch)
    replay_flops = 2 * weights * positions + 4 * n_layers * d_model * positions**2
    replay_s = n_clips * replay_flops / speed
    bytes_per_clip = n_layers * positions * d_model * 2
    return dict(
        gpu=gpu,
        clips=n_clips,
        seconds=seconds,
        batch=batch,
        bound_by=max(parts, key=parts.get),
        step_ms=round(1e3 * step, 2),
        generate_h=round(n_batches * positions * step / 3600, 3),
        replay_one_branch_h=round(replay_s / 3600, 4),
        all_layers_gb_per_branch=round(n_clips * bytes_per_clip / 1e9, 1),
        pooled_gb_per_branch=round(n_clips * n_layers * d_model * 4 / 1e9, 3),
    )


def check_shapes(model, size):
    "Published layers, widths and site names, or an AssertionError that names what differs."
    n_layers, d_model, n_heads = SIZES[size]
    expected = dict(
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        d_ff=4 * d_model,
        d_text=768,
        n_codebooks=4,
        vocab_size=2048,
        frame_rate=50,
        sample_rate=32000,
        channels=1,
    )
    if size != "tiny":
        found = {name: getattr(model.config, name) for name in expected}
        wrong = {name: value for name, value in found.items() if value != expected[name]}
        assert not wrong, f"{wrong} instead of {expected}"
    layers = [
        f"layer_{layer}{kind}"
        for layer, kind in product(range(n_layers), (".self_attn", ".cross_attn", ".mlp", ""))
    ]
    assert model.sites == ["text", "text_proj", "embed", *layers], model.sites


def spread(values, digits=2):
    "Median, least and largest."
    return [round(float(summary(values)), digits) for summary in (np.median, min, max)]


def largest_gap(stepwise, replayed):
    "Largest difference of any site, relative to the site's largest stepwise activation."
    gaps = []
    for site, activations in stepwise.items():
        expected = activations.transpose("clip", "branch", "timestep", "d_model").values
        difference = np.abs(replayed[site].values - expected).max()
        gaps.append(float(difference / np.abs(expected).max()))
    return max(gaps)


def timed_round(model, seconds):
    "Seconds of hooked generation and of replay of one branch and of both; and the largest gap."
    extractor = ActivationExtractor(model)
    generate_s, made = clock(lambda: extractor.generate(PROMPT, seed=0, duration_s=seconds))
    both_s, replayed = clock(lambda: replay(model, made, PROMPT, branches=("cond", "null")))
    one_s, _ = clock(lambda: replay(model, made, PROMPT))
    return generate_s, one_s, both_s, largest_gap(extractor.get_activations(), replayed)


def measure(folder, size, backend, dtype, seconds, rounds):
    "Load, generate, hook, replay and store; numbers of one size."
    load_s, model = clock(lambda: load_model(folder, backend=backend, device="cpu", dtype=dtype))
    check_shapes(model, size)
    _ = model.checksum  # computed once here, so that no timing contains it
    config = model.config
    n_frames = config.frames(seconds)
    music_s = n_frames / 50
    store = ClipStore(Path(folder) / "clips")
    public_path_s, _ = clock(
        lambda: generate_clips(
            model, [PROMPT], store, seeds=(0,), duration_s=seconds, progress=False
        )
    )
    n_passes = 1 if rounds == 1 else rounds + 1
    passes = [timed_round(model, seconds) for _ in range(n_passes)]
    gap = max(timed[-1] for timed in passes)
    counted = passes if rounds == 1 else passes[1:]
    generate_s, one_s, both_s = np.array(counted)[:, :3].T  # each (round,)
    activations = replay_store(
        model,
        store,
        None,
        Path(folder) / "acts",
        pool=None,
        batch_size=1,
        dtype="float16",
        progress=False,
    )
    store_bytes = sum(disk_bytes(path) for path in activations.glob("*/activations"))
    bytes_of_8_s = config.n_layers * config.positions(400) * config.d_model * 2
    return dict(
        load_s=round(load_s, 1),
        frames=n_frames,
        seconds=music_s,
        rounds=len(counted),
        public_path_s=round(public_path_s, 2),
        compute_s_per_music_s=spread(generate_s / music_s),
        replay_ratio_cond=spread(generate_s / one_s, 1),
        replay_ratio_both=spread(generate_s / both_s, 1),
        largest_gap=float(f"{gap:.1e}"),
        store_bytes=store_bytes,
        label_bytes=disk_bytes(activations) - store_bytes,
        formula_bytes=replay_bytes(model, 1, n_frames, None, ("cond",), None, "float16"),
        clip_8s_mb=round(bytes_of_8_s / 1e6, 1),
        tokens_shape=list(store.codes().shape),
        peak_rss_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        anon_gb=round(anonymous_gb(), 2),
    )


def child(stage, **options):
    "Numbers of one stage, run in a process of its own, so that its memory is its own."
    args = ["--stage", stage, "--json"]
    for name, value in options.items():
        args += [f"--{name}", str(value)]
    done = subprocess.run([sys.executable, __file__, *args], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        reason = " (killed, probably for memory)" if done.returncode == -9 else ""
        raise SystemExit(f"{' '.join(args)} ended with {done.returncode}{reason}")
    return json.loads(done.stdout.splitlines()[-1])


def run(size, options, folder):
    "Build and measure one size."
    dtype = options.dtype or DTYPES[size]
    stage = dict(
        size=size,
        dtype=dtype,
        threads=options.threads,
        backend=options.backend,
        seconds=options.seconds or SECONDS[size],
        rounds=options.rounds or ROUNDS[size],
        folder=folder,
    )
    built = child("build", **stage)
    if options.backend == "audiocraft":
        child("export", **stage)
        stage["folder"] = str(Path(folder) / "audiocraft")
    files = Path(stage["folder"]).rglob("*")
    weight_files = [path for path in files if path.suffix in (".safetensors", ".bin")]
    weight_bytes = sum(path.stat().st_size for path in weight_files)
    built_numbers = dict(
        size=size,
        backend=options.backend,
        dtype=dtype,
        threads=options.threads,
        weights={name: round(n / 1e6, 1) for name, n in counts(size).items()},
        build_s=built["build_s"],
        disk_gb=round(weight_bytes / 1e9, 2),
    )
    return built_numbers | child("measure", **stage) | dict(predicted=predict(size))


def interval(values, unit=""):
    "Median and range for people."
    median, low, high = values
    return f"{median:g}{unit} [{low:g}, {high:g}]"


def text(found):
    "A result for people."
    predicted = found["predicted"]
    gpu = predicted["gpu"]
    weights = ", ".join(f"{name} {millions:g}" for name, millions in found["weights"].items())
    lines = [
        f"{found['size']}, {found['backend']}, {found['dtype']}, {found['threads']} thread(s); "
        f"{found['seconds']:g} s of music, one clip, {found['rounds']} round(s)",
        f"  weights            {found['disk_gb']} GB on disk; millions: {weights}",
        f"  memory             {found['peak_rss_gb']} GB at the peak; {found['anon_gb']} GB at the "
        "end beside weights mapped from the file",
        f"  generation         {interval(found['compute_s_per_music_s'], ' s')} of processor time "
        "per second of music, all layers hooked, guidance 3",
        f"  replay             {interval(found['replay_ratio_cond'])} times faster for one branch, "
        f"{interval(found['replay_ratio_both'])} for both; largest gap {found['largest_gap']:g}",
        f"  store, all layers  {found['store_bytes']:,} bytes measured "
        f"(and {found['label_bytes']:,} of labels), {found['formula_bytes']:,} by layers x "
        f"positions x d_model x 2; {found['clip_8s_mb']} MB for a clip of 8 s",
        f"  PREDICTED, not measured: {predicted['clips']} clips of {predicted['seconds']:g} s on "
        f"one {gpu['name']} at {gpu['of_bandwidth']:.0%} of {gpu['bandwidth'] / 1e12:g} TB/s, "
        f"{gpu['of_flops']:.0%} of {gpu['flops'] / 1e12:g} TFLOP/s and {1e3 * gpu['layer_s']:g} ms "
        "per layer and step:",
        f"                     generate {predicted['generate_h']} h ({predicted['step_ms']} ms per "
        f"step of {predicted['batch']} clips, bound by {predicted['bound_by']}), replay "
        f"{predicted['replay_one_branch_h']} h per branch, "
        f"{predicted['all_layers_gb_per_branch']} GB for all layers and positions, "
        f"{predicted['pooled_gb_per_branch']} GB pooled",
    ]
    return "\n".join(lines)


def run_stage(options):
    "Numbers of one stage, in the process that `child` started."
    size = options.size[0]
    if options.stage == "build":
        seconds, _ = clock(lambda: build(Path(options.folder), size, options.dtype))
        return dict(build_s=round(seconds, 1))
    if options.stage == "export":
        seconds, _ = clock(lambda: export(options.folder))
        return dict(export_s=round(seconds, 1))
    return measure(
        options.folder, size, options.backend, options.dtype, options.seconds, options.rounds
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", nargs="+", default=["small", "medium", "large"], choices=list(SIZES)
    )
    parser.add_argument("--backend", default="transformers", choices=["transformers", "audiocraft"])
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="float32; large is bfloat16"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--seconds", type=float, help="of music")
    parser.add_argument("--rounds", type=int, help="of the timings")
    parser.add_argument(
        "--folder",
        help="where the weights go (20 GB for all sizes); a temporary folder that is emptied",
    )
    parser.add_argument("--stage", choices=["build", "export", "measure"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.stage:
        print(json.dumps(run_stage(options)))
        return
    for size in options.size:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            found = run(size, options, folder)
        print(json.dumps(found) if options.json else text(found), flush=True)


if __name__ == "__main__":
    main()
