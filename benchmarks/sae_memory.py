"""Peak memory of training steps: each library in a process of its own, and ours from a store."""

import multiprocessing
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from common import entry, skipped
from sae_sides import LR, PACKAGES, SIDES, K, make_rows, missing

from musicgen_emotion.sae.data import StoreBatches
from musicgen_emotion.sae.dictionary import SparseAutoencoder
from musicgen_emotion.sae.training import SAETrainer, TrainConfig


def resident():
    "Memory of this process now, MiB."
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak():
    "Most memory that this process ever had, MiB."
    for row in Path("/proc/self/status").read_text().splitlines():
        if row.startswith("VmHWM"):
            return int(row.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no line VmHWM")


def _child(work, args, send):
    torch.set_num_threads(1)
    try:
        send.send(work(*args))
    except Exception as error:
        send.send(f"skipped: {type(error).__name__}: {error}")


def in_child(work, *args):
    "What `work` returns in a forked process."
    receive, send = multiprocessing.Pipe(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = multiprocessing.get_context("fork").Process(target=_child, args=(work, args, send))
        child.start()
    send.close()
    try:
        result = receive.recv()
    except EOFError:
        result = "skipped: the process ended without an answer"
    child.join()
    return result


def peak_of_steps(side, kind, options):
    "Memory that three steps of a side need, MiB, or why it cannot take part."
    rows = make_rows(4 * options.batch, options.d_in, features=256)
    why = missing(side, kind)
    if why:
        return why
    before = resident()
    model = SIDES[side](kind, "float32", rows, options)
    for i in range(3):
        model.step(i)
    return peak() - before


def write_store(folder, rows, steps=250, trim=3):
    "An activation store as `replay_store` writes it."
    import xarray as xr

    clips = len(rows) // steps
    by_clip = rows[: clips * steps].reshape(clips, steps, -1)
    padded = torch.nn.functional.pad(by_clip, (0, 0, trim, trim))
    values = padded.numpy()[:, None].astype(np.float16)  # (clip, branch, timestep, width)
    prompts = [f"prompt {clip % 40}" for clip in range(clips)]
    data = xr.Dataset(
        dict(activations=(("clip", "branch", "timestep", "d_model"), values)),
        coords=dict(branch=["cond"], prompt=("clip", prompts)),
    )
    data.to_zarr(
        Path(folder) / "layer_0",
        mode="w",
        zarr_format=2,
        encoding=dict(activations=dict(chunks=(8, *values.shape[1:]), compressors=None)),
    )
    return clips


def streamed(folder, options, buffer_rows):
    return StoreBatches(folder, "layer_0", batch_size=options.batch, buffer_rows=buffer_rows)


def streaming_trainer(batches, options):
    config = TrainConfig(
        steps=options.total, batch_size=options.batch, lr=LR, warmup=options.warmup, decay=0.2
    )
    sae = SparseAutoencoder(options.d_in, d_sae=options.d_sae, activation="topk", k=K)
    return SAETrainer(sae, batches, config)


def peak_of_stream(folder, n_rows, options):
    write_store(folder, make_rows(n_rows, options.d_in, features=256))
    return in_child(_peak_of_stream, folder, options)


def _peak_of_stream(folder, options):
    missing("ours", "topk")
    before = resident()
    trainer = streaming_trainer(streamed(folder, options, 4 * options.batch), options)
    for _ in range(min(12, trainer.batches.per_epoch)):
        trainer.step()
    return peak() - before


def first_reason(*peaks):
    "The first of these that is a reason instead of a number, or None."
    return next((peak_mb for peak_mb in peaks if isinstance(peak_mb, str)), None)


def memory(options, folder):
    "Peak memory of each side, and of streaming from stores of one size and of four times that."
    if not Path("/proc/self/statm").exists():
        yield skipped("peak_memory", "skipped: needs /proc (Linux)")
        return
    for kind in ("relu_l1", "topk"):
        own = in_child(peak_of_steps, "ours", kind, options)
        peers = {name: in_child(peak_of_steps, name, kind, options) for name in PACKAGES}
        for name, theirs in peers.items():
            case = f"{kind}_float32_peak_memory_vs_{name}"
            why = first_reason(own, theirs)
            if why:
                yield skipped(case, why)
            else:
                peak_mb = dict(ours=round(own), theirs=round(theirs))
                yield entry(case, [theirs / own], None, peak_mb=peak_mb)
    n_rows = max(24 * options.batch, 24000)
    small = in_child(peak_of_stream, folder / "store_1", n_rows, options)
    large = in_child(peak_of_stream, folder / "store_4", 4 * n_rows, options)
    why = first_reason(small, large)
    if why:
        yield skipped("streamed_memory_of_4x_store", why)
    else:
        peak_mb = dict(small=round(small), large=round(large))
        yield entry("streamed_memory_of_4x_store", [large / small], 1.1, False, peak_mb=peak_mb)
