"""Small models, arrays, tables, stores and files that the calls of `calls.py` share."""

import functools
import itertools
import shutil

import numpy as np
import pandas as pd

RATE = 8000
PROMPTS = ["a happy piano piece", "a sad piano piece", "a calm flute", "fast drums"]


class World:
    "Everything is made at its first use, from fixed seeds; `path` and `folder` are always new."

    def __init__(self, root, tiny_folder):
        self.root, self.tiny_folder = root, tiny_folder
        self._numbers, self._results = itertools.count(), {}
        draw = np.random.default_rng(0)
        self.X = draw.standard_normal((24, 6))
        self.X[:12] += 1.5
        self.x, self.x2 = self.X[:, 0], self.X[:, 1]
        self.codes = np.repeat([0, 1], 12)
        self.labels = np.repeat(["happy", "sad"], 12)
        self.groups = np.tile(np.arange(12), 2)  # each unit has both labels
        self.units = np.repeat(np.arange(8), 3)  # each unit has one label
        self.acts = np.maximum(draw.standard_normal((24, 8)) + self.codes[:, None], 0)
        self.null = draw.standard_normal(50)
        self.rows = draw.standard_normal((400, 6)).astype(np.float32)
        self.positive = self.X[:12]
        self.negative = self.X[12:]
        time = np.arange(RATE // 2) / RATE
        notes = [np.sin(2 * np.pi * hertz * time) for hertz in (262, 330, 392, 523)]
        self.wave = (0.3 * np.concatenate(notes)).astype(np.float32)
        self.prompts = list(PROMPTS)

    def path(self, ending=""):
        "A path below a new folder; nothing is there."
        folder = self.root / f"n{next(self._numbers)}"
        folder.mkdir()
        return folder / f"made{ending}"

    def folder(self):
        path = self.path()
        path.mkdir()
        return path

    def file(self, text, ending):
        path = self.path(ending)
        path.write_text(text, encoding="utf-8")
        return path

    def once(self, function, *arguments, **settings):
        "Result of a function that is called once in a session, whatever the arguments."
        if function.__name__ not in self._results:
            self._results[function.__name__] = function(*arguments, **settings)
        return self._results[function.__name__]

    @functools.cached_property
    def model(self):
        from musicgen_emotion.models.load import load_model

        return load_model(self.tiny_folder, device="cpu")

    @functools.cached_property
    def tokens(self):
        draw = np.random.default_rng(0)
        return draw.integers(0, 64, (4, 4, 5)).astype(np.int16)

    @functools.cached_property
    def audio(self):
        return np.stack([self.wave * gain for gain in (1.0, 0.8, 0.6, 0.4)])

    @functools.cached_property
    def prompt_table(self):
        emotions = ["happy", "sad", "calm", "energetic"]
        return pd.DataFrame(dict(prompt=self.prompts, emotion=emotions))

    @functools.cached_property
    def kept_store(self):
        from musicgen_emotion.activations.clip_plans import generate_clips

        folder = self.path()
        generate_clips(self.model, self.prompt_table, folder, 0, 0.1, progress=False)
        return folder

    def store_folder(self):
        "A copy of a store of four clips."
        return shutil.copytree(self.kept_store, self.path())

    @functools.cached_property
    def kept_activations(self):
        from musicgen_emotion.activations.stored import replay_store

        out = self.path(".zarr")
        return replay_store(
            self.model, self.kept_store, ["layer_1"], out, pool=None, progress=False
        )

    @functools.cached_property
    def ids(self):
        from musicgen_emotion.activations.clips import ClipStore

        return ClipStore(self.kept_store).table.clip_id.tolist()

    @functools.cached_property
    def sae(self):
        from musicgen_emotion.sae.dictionary import SparseAutoencoder

        return SparseAutoencoder(d_in=6, expansion=2, seed=0)

    @functools.cached_property
    def wide_sae(self):
        from musicgen_emotion.sae.dictionary import SparseAutoencoder

        return SparseAutoencoder(d_in=32, expansion=2, seed=0)

    @functools.cached_property
    def direction(self):
        from musicgen_emotion.steering.directions import Direction

        draw = np.random.default_rng(1)
        vector = draw.standard_normal(32).astype(np.float32)
        return Direction(vector, "layer_1", "by hand", 1.0)

    @functools.cached_property
    def small_direction(self):
        from musicgen_emotion.steering.directions import Direction

        return Direction(np.arange(1, 7, dtype=np.float32), "layer_1", "by hand", 1.0)

    @functools.cached_property
    def selective(self):
        from musicgen_emotion.sae.features import selective_features

        return selective_features(self.acts, self.labels, n_perm=20)

    @functools.cached_property
    def folds(self):
        from musicgen_emotion.probes.folds import grouped_folds

        return grouped_folds(self.labels, self.units, 4)

    @functools.cached_property
    def probe(self):
        from musicgen_emotion.probes.linear import probe_layers

        return probe_layers(
            self.X, self.labels, folds=self.folds, n_perm=20, control=False, progress=False
        )

    @functools.cached_property
    def pairs(self):
        from musicgen_emotion.causes.pairs import Pairs, pair_tokens

        made = Pairs(["a happy song", "a merry tune"], ["a happy tune", "a merry song"])
        return pair_tokens(self.model, made, 0.1)

    @functools.cached_property
    def patched(self):
        from musicgen_emotion.causes.patching import activation_patching

        cells = ["layer_1", "text"]
        return activation_patching(self.model, self.pairs, cells, progress=False, n_random=1)

    @functools.cached_property
    def patched_clips(self):
        from musicgen_emotion.causes.free_generation import patched_generation

        return patched_generation(
            self.model, self.pairs, ["layer_1"], 0.1, audio=False, progress=False
        )

    @functools.cached_property
    def attributed(self):
        from musicgen_emotion.causes.attribution import attribution_patching

        return attribution_patching(
            self.model, self.pairs, ["layer_0", "layer_1", "layer_2", "layer_1.mlp"], progress=False
        )

    @functools.cached_property
    def clips(self):
        "Sounds of two conditions for a listening test."
        rows = []
        for track in range(3):
            for number, condition in enumerate(("unsteered", "steered")):
                wave = self.wave * (0.5 + 0.1 * track + 0.05 * number)
                rows.append(dict(track=f"track {track}", condition=condition, audio=wave))
        return pd.DataFrame(rows)

    @functools.cached_property
    def listening(self):
        from musicgen_emotion.sound.listening import write_listening_test

        return write_listening_test(self.clips, self.path(".html"), sample_rate=RATE)

    @functools.cached_property
    def key(self):
        from musicgen_emotion.sound.answer_files import read_key

        return read_key(self.listening)

    @functools.cached_property
    def answers(self):
        from musicgen_emotion.sound.answers import simulate_raters

        return simulate_raters(self.listening, 4, dict(unsteered=0, steered=1))

    @functools.cached_property
    def analysed(self):
        from musicgen_emotion.sound.answers import read_answers

        path = self.path(".csv")
        self.answers.to_csv(path, index=False)
        return read_answers(path, self.listening)

    @functools.cached_property
    def described(self):
        from musicgen_emotion.sound.descriptors import describe_table

        draw = np.random.default_rng(2)
        waves = []
        for number in range(12):
            scale = 0.2 + 0.6 * (number >= 6)
            waves.append(self.wave * scale + 0.01 * draw.standard_normal(len(self.wave)))
        table = describe_table(waves, RATE, progress=False)
        return pd.concat([table, table], ignore_index=True)

    @functools.cached_property
    def spectrum(self):
        from musicgen_emotion.sound.spectra import spectrum

        return spectrum(self.wave, RATE)

    @functools.cached_property
    def peaks(self):
        from musicgen_emotion.sound.pitch import spectral_peaks

        return spectral_peaks(self.spectrum)

    @functools.cached_property
    def judge(self):
        from musicgen_emotion.sound.label_judge import LabelJudge

        names = ("rms_db", "centroid", "brightness")
        return LabelJudge(names).fit(self.described[list(names)], self.labels)

    @functools.cached_property
    def doses(self):
        "A finished dose study: 4 prompts, 3 doses, a target and two random arms."
        draw = np.random.default_rng(3)
        rows = []
        for arm, slope in (("sad", -1.0), ("random 0", 0.0), ("random 1", 0.1)):
            kind = "random" if arm.startswith("random") else "target"
            for prompt, alpha in itertools.product(self.prompts, (-0.1, 0.0, 0.1)):
                value = slope * alpha + 0.01 * draw.standard_normal()
                rows.append(dict(arm=arm, kind=kind, prompt=prompt, seed=0, alpha=alpha))
                rows[-1] |= dict(replicate=0, valence=value, tempo_bpm=100 + value)
                rows[-1] |= dict(failure="", clip_id=f"{len(rows):016x}")
        return pd.DataFrame(rows)

    @functools.cached_property
    def dose_outcomes(self):
        from musicgen_emotion.steering.doses import dose_response

        return dose_response(
            self.model, self.prompts[:2], self.direction, [-0.1, 0.1], loudness_judge, self.path(),
            duration_s=0.1, progress=False,
        )  # fmt: skip

    @functools.cached_property
    def run_folder(self):
        from musicgen_emotion.lab.runs import open_run

        with open_run(self.path(), "phase0_foundation", dict(seed=0)) as run:
            run.table(pd.DataFrame(dict(a=[1, 2], b=["x", "y"])), "scores.csv")
            run.gate("score", 0.8, 0.7, 0.9, threshold=0.5, why="a test", n=10)
        return run.path

    def open_run(self):
        from musicgen_emotion.lab.runs import open_run

        return open_run(self.path(), "a_phase", dict(n=1))

    @functools.cached_property
    def embeddings_folder(self):
        from musicgen_emotion.activations.texts import export_t5_embeddings

        return export_t5_embeddings(self.path(), self.X, self.labels, list(map(str, range(24))))

    @functools.cached_property
    def sae_folder(self):
        return self.sae.save_pretrained(self.path())

    @functools.cached_property
    def activation_array(self):
        from musicgen_emotion.activations.replaying import replay

        return replay(self.model, self.tokens, self.prompts, "layer_1")["layer_1"]

    @functools.cached_property
    def eraser(self):
        from musicgen_emotion.causes.erasure import leace

        return leace(self.X, self.codes)

    @functools.cached_property
    def oracle(self):
        from musicgen_emotion.causes.oracle import fit_oracle

        return fit_oracle(self.X, self.labels, "knn", self.units)

    @functools.cached_property
    def control_oracle(self):
        from musicgen_emotion.causes.oracle import fit_oracle

        other = np.tile(["piano", "flute"], 12)
        return fit_oracle(self.X, other, "knn", self.units)


def loudness_judge(audio, sample_rate):
    "A judge of one score."
    return dict(level=20 * np.log10(np.sqrt((audio**2).mean(1)) + 1e-5))


def flat_judge(audio, sample_rate):
    return [0.5] * len(audio)
