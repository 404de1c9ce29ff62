"""How a clip store answers when it grows: the same questions to a small and to a large store.

    python benchmarks/store.py [--small 1000] [--large 100000] [--rounds 15] [--quick] [--json]

Both stores are synthetic: invented prompts, tokens of 4 x 20, and a little sound for the last 500
clips. Each round asks both stores the same questions about other clips, in turn, each time through
a new `ClipStore`. Times are processor seconds, medians over rounds; the ratio of a question is that
of the large store over the small one. Memory is the most that Python holds during one question
(`tracemalloc`). A lookup aims at a ratio of at most 1.5, 50 ms and 50 MB. Appending 16 clips and
merging them is measured as well; building the large store takes some minutes.
"""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
from common import clock, command_line, entry, show

from musicgen_emotion.activations.clip_files import clip_id, token_bytes
from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.waiting_clips import BATCH_FOLDER, write_batch
from musicgen_emotion.lab.files import sha256_bytes

WITH_SOUND = 500  # clips of a store that have sound; the others have rows and tokens alone
IN_A_BATCH = 250  # clips that are written together
MERGED = 25_000  # clips that are merged together
ASKED = 10  # clips in a question about several
ADDED = 16  # clips in a new batch
SECONDS, MEGABYTES, RATIO = 0.05, 50, 1.5  # aims of a lookup
LOOKUPS = ("contains", "length", "codes", "audio", "rows")


def clips(first, n):
    "Rows of invented clips."
    prompts = [f"synthetic prompt number {i} for a clip store" for i in range(first, first + n)]
    return pd.DataFrame(
        dict(
            clip_id=[clip_id("synthetic", prompt, 0) for prompt in prompts],
            prompt=prompts,
            emotion=["happy", "sad", "calm", "energetic"][first % 4],
            seed=0,
            model="synthetic",
            model_checksum="synthetic",
            frame_rate=50.0,
        )
    )


def tokens(n, seed):
    return list(np.random.default_rng(seed).integers(0, 2048, (n, 4, 20)).astype(np.int16))


def add(store, first, n):
    "Add some clips with sound and merge them."
    with store.writing():
        store.add(clips(first, n), tokens(n, first), [np.zeros(50)] * n, 8000)
        store.compact()


def add_silent(store, first, n):
    "A batch as `add` writes it, without the files of the sound."
    rows, codes = clips(first, n), tokens(n, first)
    rows = rows.assign(
        audio_path="audio/none.flac",
        checksum="0",
        tokens_checksum=[sha256_bytes(token_bytes(clip)) for clip in codes],
        frames=20,
        sample_rate=8000,
    )
    write_batch(store.path / BATCH_FOLDER / f"{rows.clip_id[0]}.parquet", rows, codes, n_new=n)


def build(folder, n_clips):
    "A store with `n_clips` clips, the last of which have sound."
    store = ClipStore(folder)
    n_silent = n_clips - WITH_SOUND
    with store.writing():
        for first in range(0, n_silent, IN_A_BATCH):
            add_silent(store, first, min(IN_A_BATCH, n_silent - first))
            if (first + IN_A_BATCH) % MERGED == 0:
                store.compact()
    add(store, n_silent, WITH_SOUND)
    return store


def questions(ids, with_sound):
    "What a store is asked; each takes a store."
    return dict(
        contains=lambda store: ids[0] in store,
        length=len,
        codes=lambda store: store.codes(ids),
        audio=lambda store: store.audio(with_sound),
        rows=lambda store: store.rows(ids),
    )


def processor_s(work):
    "Seconds of processor time, which a busy machine stretches less than the clock."
    start = time.process_time()
    work()
    return time.process_time() - start


def traced_mb(work):
    "Most memory that Python holds during some work."
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def measure(stores, rounds):
    "Seconds and MB by question and size, (round,) each."
    seconds, memory = {}, {}
    for number in range(rounds):
        for size, folder in stores.items():
            random = np.random.default_rng([number, size])
            ids = clips_of(random.integers(0, size, ASKED))
            (heard,) = clips_of(random.integers(size - WITH_SOUND, size, 1))
            for name, ask in questions(ids, heard).items():
                took = processor_s(lambda ask=ask, folder=folder: ask(ClipStore(folder)))
                seconds.setdefault((name, size), []).append(took)
                used = traced_mb(lambda ask=ask, folder=folder: ask(ClipStore(folder)))
                memory.setdefault((name, size), []).append(used)
            first = size + number * ADDED
            took = processor_s(
                lambda folder=folder, first=first: add(ClipStore(folder), first, ADDED)
            )
            seconds.setdefault(("append_and_merge_16", size), []).append(took)
    return seconds, memory


def clips_of(numbers):
    "Clip ids of some numbers."
    return [clips(int(number), 1).clip_id[0] for number in numbers]


def entries(options, folder):
    "An entry per question: time of the large store over that of the small one."
    stores = {}
    built = {}
    for size in (options.small, options.large):
        stores[size] = Path(folder) / str(size)
        built[size], _ = clock(lambda size=size: build(stores[size], size))
    rounds = 3 if options.quick else options.rounds
    seconds, memory = measure(stores, rounds)
    small, large = options.small, options.large
    for name in dict.fromkeys(name for name, _ in seconds):
        fast = np.median(seconds[name, small])
        times = np.array(seconds[name, large])
        is_lookup = name in LOOKUPS
        found = entry(
            f"{name}_{large}_vs_{small}",
            times / fast,
            RATIO,
            above=False,
            small_ms=round(1e3 * float(fast), 2),
            large_ms=round(1e3 * float(np.median(times)), 2),
            build_s=round(built[large], 1),
        )
        if is_lookup:
            found["large_mb"] = round(max(memory[name, large]), 2)
            found["within_50_ms"] = bool(np.median(times) <= SECONDS)
            found["within_50_mb"] = bool(found["large_mb"] <= MEGABYTES)
        yield found


def main():
    options = command_line(
        __doc__,
        "a store of 5,000 clips and three rounds, under a minute on an idle machine",
        small=(1000, "clips of the small store"),
        large=(100_000, "clips of the large store"),
        rounds=(15, "rounds"),
    )
    if options.quick:
        options.large = min(options.large, 5000)
    show(lambda folder: entries(options, folder), options)


if __name__ == "__main__":
    main()
