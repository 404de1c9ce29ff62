"""The published sizes of MusicGen with random weights: memory, time, replay and disk, and what a study would cost on a GPU.

    python benchmarks/real_sizes.py [--size small medium large] [--backend transformers] [--dtype float32] [--json] [--threads 1]

Each size is built with every published shape (decoder, T5-base with 12 layers, EnCodec at 32 kHz), written in the hub's layout (with
`--backend audiocraft` in that of audiocraft as well), and in a process of its own loaded with `load_model`, generated from, hooked, replayed
and stored. Only the tokenizer is smaller: its words are those of this package's prompts, the embedding table has the published 32,128 rows. Times are seconds of processor time, which a busy machine
stretches less than the clock, medians over rounds on one clip with the range of the rounds; the first pass over everything is not counted
unless there is one round. `peak_rss_gb` is the most memory in use at any moment, `anon_gb` what the process holds at the end beside weights that it
maps from their file. What stands under `predicted` was computed, not measured: `predict` has the formula.

`real_sizes.jsonl` in this folder holds the last run, one line a size."""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from musicgen_emotion.activations.clip_plans import generate_clips
from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.extractor import ActivationExtractor
from musicgen_emotion.activations.replaying import replay
from musicgen_emotion.activations.stored import replay_bytes, replay_store
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.registry import quiet_transformers, torch_dtype
from musicgen_emotion.models.tiny import (
    _decoder_config,
    _random_musicgen,
    codec_config,
    text_config,
    write_tokenizer,
)

PROMPT = "happy upbeat pop song with bright synths"
SIZES = dict(tiny=(3, 32, 4), small=(24, 1024, 16), medium=(48, 1536, 24), large=(48, 2048, 32))
DTYPES = dict(tiny="float32", small="float32", medium="float32", large="bfloat16")
SECONDS = dict(tiny=0.5, small=0.5, medium=0.4, large=0.2)
ROUNDS = dict(tiny=3, small=3, medium=2, large=1)
GPU = dict(
    name="H100 SXM", bandwidth=3.35e12, flops=989e12, of_bandwidth=0.5, of_flops=0.4, layer_s=0.6e-3
)


def clock(work):
    "Processor seconds of all threads, and the result."
    start = time.process_time()
    out = work()
    return time.process_time() - start, out


def published(size, channels=1):
    "Configurations of text encoder, codec and decoder, as facebook/musicgen-* have them; `tiny` is for trying this script."
    from transformers import T5Config

    n_layers, d_model, n_heads = SIZES[size]
    if size == "tiny":
        return (
            text_config(24),
            codec_config(32000, 64, 4, False),
            _decoder_config(d_model, n_layers, n_heads, 128, 64, 4, 1, 0.2),
        )
    text = T5Config(
        vocab_size=32128,
        d_model=768,
        d_kv=64,
        d_ff=3072,
        num_layers=12,
        num_heads=12,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        is_encoder_decoder=False,
        use_cache=False,
        dropout_rate=0.0,
    )
    return (
        text,
        codec_config(32000, 2048, 4, True),
        _decoder_config(
            d_model, n_layers, n_heads, 4 * d_model, 2048, 4 * channels, channels, 0.02
        ),
    )


def build(folder, size, dtype):
    "Write the model in the hub's layout."
    with quiet_transformers():
        write_tokenizer(folder)
        _random_musicgen(*published(size), seed=0, dtype=torch_dtype(dtype)).save_pretrained(
            str(folder)
        )


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
        hf = Musicgen(MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder))
    parts = dict(text_encoder=hf.text_encoder, audio_encoder=hf.audio_encoder, decoder=hf.decoder)
    return {k: sum(p.numel() for p in m.parameters()) for k, m in parts.items()}


def anonymous_gb():
    "Memory that belongs to this process alone, GB; nan where the system does not say."
    status = Path("/proc/self/status")
    return (
        next(
            (
                int(x.split()[1]) * 1024 / 1e9
                for x in status.read_text().splitlines()
                if x.startswith("RssAnon")
            ),
            float("nan"),
        )
        if status.exists()
        else float("nan")
    )


def disk_bytes(folder):
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())


def predict(size, n_clips=2000, seconds=8.0, batch=16, gpu=GPU):
    """What a study would take on one GPU in bfloat16: a roofline with a floor, not a measurement.

    A step of B clips moves 2B rows (cond and null): time = max(bytes / bandwidth, flops / speed, layers x launch time), with bytes = 2 x decoder weights
    + 2 x 2 x layers x d_model x 2B rows x mean positions (keys and values, two bytes each). A clip takes frames + 3 steps. Replay of a branch needs
    2 x weights x positions + 4 x layers x d_model x positions^2 flops. Text encoder and codec are left out."""
    n_layers, d, _ = SIZES[size]
    weights, positions, rows = counts(size)["decoder"], round(seconds * 50) + 3, 2 * batch
    bandwidth, speed = gpu["bandwidth"] * gpu["of_bandwidth"], gpu["flops"] * gpu["of_flops"]
    parts = dict(
        memory=(2 * weights + 4 * n_layers * d * rows * positions / 2) / bandwidth,
        arithmetic=2 * weights * rows / speed,
        launches=n_layers * gpu["layer_s"],
    )
    step = max(parts.values())
    replay_s = n_clips * (2 * weights * positions + 4 * n_layers * d * positions**2) / speed
    per_clip = n_layers * positions * d * 2
    return dict(
        gpu=gpu,
        clips=n_clips,
        seconds=seconds,
        batch=batch,
        bound_by=max(parts, key=parts.get),
        step_ms=round(1e3 * step, 2),
        generate_h=round(-(-n_clips // batch) * positions * step / 3600, 3),
        replay_one_branch_h=round(replay_s / 3600, 4),
        all_layers_gb_per_branch=round(n_clips * per_clip / 1e9, 1),
        pooled_gb_per_branch=round(n_clips * n_layers * d * 4 / 1e9, 3),
    )


def check_shapes(model, size):
    "Published layers, widths and site names, or an AssertionError that names what differs."
    n_layers, d, h = SIZES[size]
    c, want = (
        model.config,
        dict(
            n_layers=n_layers,
            d_model=d,
            n_heads=h,
            d_ff=4 * d,
            d_text=768,
            n_codebooks=4,
            vocab_size=2048,
            frame_rate=50,
            sample_rate=32000,
            channels=1,
        ),
    )
    if size != "tiny":
        assert not (wrong := {k: getattr(c, k) for k, v in want.items() if getattr(c, k) != v}), (
            f"{wrong} instead of {want}"
        )
    layers = [
        f"layer_{i}{k}" for i in range(n_layers) for k in (".self_attn", ".cross_attn", ".mlp", "")
    ]
    assert model.sites == ["text", "text_proj", "embed", *layers], model.sites


def spread(x, digits=2):
    return [round(float(f(x)), digits) for f in (np.median, min, max)]


def measure(folder, size, backend, dtype, seconds, rounds):
    "Load, generate, hook, replay and store; numbers of one size."
    load_s, model = clock(lambda: load_model(folder, backend=backend, device="cpu", dtype=dtype))
    check_shapes(model, size)
    model.checksum
    n = model.config.frames(seconds)
    store = ClipStore(Path(folder) / "clips")
    made_s, _ = clock(
        lambda: generate_clips(
            model, [PROMPT], store, seeds=(0,), duration_s=seconds, progress=False
        )
    )
    tokens, slow, fast, both, gap = store.codes(), [], [], [], 0.0
    for r in range(rounds + 1):
        ex = ActivationExtractor(model)
        s, made = clock(lambda: ex.generate(PROMPT, seed=0, duration_s=seconds))
        b, acts = clock(lambda: replay(model, made, PROMPT, branches=("cond", "null")))
        f, _ = clock(lambda: replay(model, made, PROMPT))
        if r or rounds == 1:
            slow, fast, both = [*slow, s], [*fast, f], [*both, b]
        for site, a in ex.get_activations().items():
            a = a.transpose("clip", "branch", "timestep", "d_model").values
            gap = max(gap, float(np.abs(acts[site].values - a).max() / np.abs(a).max()))
        if rounds == 1:
            break
    out = replay_store(
        model,
        store,
        None,
        Path(folder) / "acts",
        pool=None,
        batch_size=1,
        dtype="float16",
        progress=False,
    )
    return dict(
        load_s=round(load_s, 1),
        frames=n,
        seconds=n / 50,
        rounds=len(slow),
        public_path_s=round(made_s, 2),
        compute_s_per_music_s=spread([x / (n / 50) for x in slow]),
        replay_ratio_cond=spread(np.divide(slow, fast), 1),
        replay_ratio_both=spread(np.divide(slow, both), 1),
        largest_gap=float(f"{gap:.1e}"),
        store_bytes=sum(disk_bytes(p) for p in out.glob("*/activations")),
        label_bytes=disk_bytes(out) - sum(disk_bytes(p) for p in out.glob("*/activations")),
        formula_bytes=replay_bytes(model, 1, n, None, ("cond",), None, "float16"),
        clip_8s_mb=round(
            model.config.n_layers * model.config.positions(400) * model.config.d_model * 2 / 1e6, 1
        ),
        tokens_shape=list(tokens.shape),
        peak_rss_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        anon_gb=round(anonymous_gb(), 2),
    )


def child(options, **more):
    "Run one stage in a process of its own, so that its memory is its own; the last line of its output is JSON."
    args = [a for k, v in {**options, **more}.items() if v is not None for a in (f"--{k}", str(v))]
    done = subprocess.run(
        [sys.executable, __file__, *args, "--json"], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(args)} ended with {done.returncode}"
            + (" (killed, probably for memory)" if done.returncode == -9 else "")
        )
    return json.loads(done.stdout.splitlines()[-1])


def run(size, o, folder):
    "Build and measure one size."
    dtype = o.dtype or DTYPES[size]
    stage = dict(
        size=size,
        dtype=dtype,
        threads=o.threads,
        backend=o.backend,
        seconds=o.seconds or SECONDS[size],
        rounds=o.rounds or ROUNDS[size],
        folder=folder,
    )
    built = child(stage, stage="build")
    if o.backend == "audiocraft":
        child(stage, stage="export")
        stage["folder"] = str(Path(folder) / "audiocraft")
    weights = sum(
        f.stat().st_size
        for f in Path(stage["folder"]).rglob("*")
        if f.suffix in (".safetensors", ".bin")
    )
    return (
        dict(
            size=size,
            backend=o.backend,
            dtype=dtype,
            threads=o.threads,
            weights={k: round(v / 1e6, 1) for k, v in counts(size).items()},
            build_s=built["build_s"],
            disk_gb=round(weights / 1e9, 2),
        )
        | child(stage, stage="measure")
        | dict(predicted=predict(size))
    )


def text(r):
    "A result for people."
    p, g = r["predicted"], r["predicted"]["gpu"]
    low = lambda x, unit="": f"{x[0]:g}{unit} [{x[1]:g}, {x[2]:g}]"
    return "\n".join(
        [
            f"{r['size']}, {r['backend']}, {r['dtype']}, {r['threads']} thread(s); {r['seconds']:g} s of music, one clip, {r['rounds']} round(s)",
            f"  weights            {r['disk_gb']} GB on disk; millions: "
            + ", ".join(f"{k} {v:g}" for k, v in r["weights"].items()),
            f"  memory             {r['peak_rss_gb']} GB at the peak; {r['anon_gb']} GB at the end beside weights mapped from the file",
            f"  generation         {low(r['compute_s_per_music_s'], ' s')} of processor time a second of music, all layers hooked, guidance 3",
            f"  replay             {low(r['replay_ratio_cond'])} times faster for one branch, {low(r['replay_ratio_both'])} for both; largest gap {r['largest_gap']:g}",
            f"  store, all layers  {r['store_bytes']:,} bytes measured (and {r['label_bytes']:,} of labels), {r['formula_bytes']:,} by layers x positions x d_model x 2; {r['clip_8s_mb']} MB for a clip of 8 s",
            f"  PREDICTED, not measured: {p['clips']} clips of {p['seconds']:g} s on one {g['name']} at {g['of_bandwidth']:.0%} of {g['bandwidth'] / 1e12:g} TB/s, {g['of_flops']:.0%} of "
            f"{g['flops'] / 1e12:g} TFLOP/s and {1e3 * g['layer_s']:g} ms a layer and step:",
            f"                     generate {p['generate_h']} h ({p['step_ms']} ms a step of {p['batch']} clips, bound by {p['bound_by']}), replay {p['replay_one_branch_h']} h a branch, "
            f"{p['all_layers_gb_per_branch']} GB for all layers and positions, {p['pooled_gb_per_branch']} GB pooled",
        ]
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
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    if o.stage == "build":
        return print(
            json.dumps(
                dict(build_s=round(clock(lambda: build(Path(o.folder), o.size[0], o.dtype))[0], 1))
            )
        )
    if o.stage == "export":
        return print(json.dumps(dict(export_s=round(clock(lambda: export(o.folder))[0], 1))))
    if o.stage == "measure":
        return print(
            json.dumps(measure(o.folder, o.size[0], o.backend, o.dtype, o.seconds, o.rounds))
        )
    for size in o.size:
        with tempfile.TemporaryDirectory(dir=o.folder) as folder:
            r = run(size, o, folder)
        print(json.dumps(r) if o.json else text(r), flush=True)


if __name__ == "__main__":
    main()
