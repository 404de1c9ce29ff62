"""One valid, cheap call of each public function: name -> arguments, made anew for every call.

A method's arguments begin with `self`. `CALLS` is the table; hostile values replace one argument
of a call at a time, and valid forms of the same argument do so in `valid.py`.
"""

import contextlib
import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from world import RATE, flat_judge, loudness_judge

import musicgen_emotion

QUICK = dict(n_boot=20)
FEW = dict(n_perm=20)
SILENT = dict(progress=False)
TAGS = ("rms_db", "centroid", "brightness")


def first_column(X):
    return X[:, 0] if np.ndim(X) == 2 else X


def mean_gap(labels):
    return float(np.mean(labels == labels[0]))


def unsteered():
    return contextlib.nullcontext()


def times_two(states):
    return states * 2


# Statistics

STATS = {
    "balanced_accuracies": lambda w: dict(
        y=w.labels, predictions=np.stack([w.labels, w.labels[::-1]]), groups=w.units, **QUICK
    ),
    "balanced_accuracy": lambda w: dict(y=w.labels, predictions=w.labels, groups=w.units, **QUICK),
    "cliffs_delta": lambda w: dict(a=w.x, b=w.x2, **QUICK),
    "cohens_d": lambda w: dict(a=w.x, b=w.x2),
    "correlation": lambda w: dict(x=w.x, y=w.x2, groups=w.units, given=w.X[:, 2], **QUICK),
    "eta_squared": lambda w: dict(values=w.x, labels=w.labels, groups=w.units, **QUICK),
    "hedges_g": lambda w: dict(a=w.x, b=w.x2),
    "partial_correlation": lambda w: dict(x=w.x, y=w.x2, given=w.X[:, 2], groups=w.units, **QUICK),
    "participation_ratio": lambda w: dict(X=w.X),
    "ratio_of_medians": lambda w: dict(
        a=w.x + 5, b=w.x2 + 5, groups_a=w.units, groups_b=w.units, **QUICK
    ),
    "ratio_of_means": lambda w: dict(numerator=w.x, denominator=w.x2 + 5),
    "units_needed": lambda w: dict(pilot=w.x, effect=1.0, n_studies=100),
    "wilson": lambda w: dict(successes=7, n=10),
    "Estimate.excludes": lambda w: dict(self=_estimate(w)),
    "Estimate.table_row": lambda w: dict(self=_estimate(w)),
    "bootstrap": lambda w: dict(
        values=w.x, groups=np.arange(24), strata=np.tile(["a", "b"], 12), **QUICK
    ),
    "bootstrap_weights": lambda w: dict(n=24, groups=w.units, **QUICK),
    "check_level": lambda w: dict(level=0.95),
    "factor_codes": lambda w: dict(name="labels", labels=w.labels, n=24),
    "finite_array": lambda w: dict(name="values", values=w.x),
    "interval": lambda w: dict(samples=w.null, value=0.0, n=10),
    "label_per_group": lambda w: dict(labels=w.labels, groups=w.units),
    "sampling_units": lambda w: dict(n=24, groups=w.units, strata=w.labels),
    "fdr": lambda w: dict(p=np.linspace(0.01, 1, 9)),
    "max_t": lambda w: dict(observed=w.X[0], null=w.X),
    "paired_difference": lambda w: dict(a=w.x, b=w.x2, groups=w.units, weights=np.ones(24), **FEW),
    "permanova": lambda w: dict(distances=_distances(w), labels=w.labels, groups=w.units, **FEW),
    "mean_p": lambda w: dict(values=w.x),
    "permutation_p": lambda w: dict(observed=0.5, null=w.null),
    "permutation_test": lambda w: dict(statistic=mean_gap, labels=w.labels, groups=w.units, **FEW),
    "permute_labels": lambda w: dict(labels=w.labels, groups=w.units, **FEW),
    "trend_test": lambda w: dict(
        values=w.x, doses=np.tile([0.0, 1.0, 2.0], 8), groups=w.units, **FEW
    ),
}


def _estimate(w):
    from musicgen_emotion.stats import Estimate

    return Estimate(0.5, 0.4, 0.6, 10)


def _distances(w):
    difference = w.X[:, None] - w.X[None]
    return np.sqrt((difference**2).sum(-1))


# Stimuli and sound

CAPTIONS = """ytid,start_s,end_s,aspect_list,caption,author_id
abc,0,10,"['low', 'sad']",a sad song,1
def,0,10,"['fast']",a merry tune,2
"""
NORMS = """Word,Valence,Arousal,ValenceN
happy,8,6,20
sad,2,3,20
calm,6,2,20
angry,2,7,20
energetic,7,8,20
"""

STIMULI = {
    "unseen_words": lambda w: dict(n_per_emotion=2),
    "check_words": lambda w: dict(norms=_norms(w), words=dict(happy=["happy"], sad=["sad"])),
    "find_emotion_words": lambda w: dict(text="a sad and happy song"),
    "load_captions": lambda w: dict(path=w.file(CAPTIONS, ".csv")),
    "load_norms": lambda w: dict(path=w.file(NORMS, ".csv")),
    "load_prompt_embeddings": lambda w: dict(source=_npy(w), labels=list(w.labels)),
    "mask_emotion_words": lambda w: dict(text="a sad song"),
    "read_csv_table": lambda w: dict(path=w.file(NORMS, ".csv"), needed=dict(word=["Word"])),
    "read_text": lambda w: dict(path=w.file(NORMS, ".csv")),
    "whole_number": lambda w: dict(cell="12.0"),
    "artist_group": lambda w: dict(table=_songs(w)),
    "dataset_summary": lambda w: dict(songs=_songs(w)),
    "rank_correlation": lambda w: dict(x=w.x, y=w.x2),
    "rescale": lambda w: dict(values=w.x, low=-10, high=10),
    "split_by_group": lambda w: dict(groups=w.units, shares=dict(train=0.5, test=0.5)),
    "check_emotion": lambda w: dict(emotion="happy"),
    "Cues": lambda w: dict(mode="minor", tempo=90.0, level=-20.0, instrument="flute"),
    "emotion_cues": lambda w: dict(emotion="sad"),
    "quadrant": lambda w: dict(valence=0.5, arousal=-0.5),
    "split_words": lambda w: dict(text="a sad song"),
    "word_emotion": lambda w: dict(word="gloomy"),
    "control_words": lambda w: dict(control="shuffled-labels"),
    "draw_words": lambda w: dict(candidates=["woeful", "weary", "tearful"], n=2, avoid=["joy"]),
    "match_pieces": lambda w: dict(words=["sad", "happy"], count=len, neutral=["red", "plain"]),
    "share_stem": lambda w: dict(word="joyful", other="joyless"),
    "stem_groups": lambda w: dict(words=["joyful", "joy", "sad"]),
    "PromptPool": lambda w: dict(n=20),
    "PromptPool.rows": lambda w: dict(self=_pool(w), start=2, stop=5),
    "PromptPool.blocks": lambda w: dict(self=_pool(w), size=5),
    "dictionary_prompts": lambda w: dict(n=20),
    "diverse_prompts": lambda w: dict(n=12),
    "conflict_prompts": lambda w: dict(n_per_cell=2),
    "crossed_prompts": lambda w: dict(words=dict(happy=("happy",), sad=("sad",))),
    "cue_phrase": lambda w: dict(cue="tempo", value="fast"),
    "cue_prompts": lambda w: dict(n=6),
    "held_out_prompts": lambda w: dict(n_per_emotion=2),
    "make_prompt": lambda w: dict(word="sad", template="a {word} {instrument} piece",
                                  instrument="piano"),
    "matched_pairs": lambda w: dict(emotion="happy", other="sad", n=4),
    "neutral_prompts": lambda w: dict(n=4),
    "prompt_row": lambda w: dict(word="sad", template="a {word} {instrument} piece",
                                 instrument="piano"),
    "shuffled_cycles": lambda w: dict(size=3, n=7, generator=np.random.default_rng(0)),
    "study_prompts": lambda w: dict(n_per_emotion=2),
    "render_music": lambda w: dict(cues=_cues(w), duration_s=0.5),
    "drum_track": lambda w: dict(n_beats=2, beat=0.2, rng=np.random.default_rng(0)),
    "tone": lambda w: dict(midi=60.0, seconds=0.1, cues=_cues(w)),
    "score_notes": lambda w: dict(cues=_cues(w), tonic=60, n_beats=4, rng=np.random.default_rng(0)),
}  # fmt: skip


def _norms(w):
    from musicgen_emotion.stimuli import load_norms

    return load_norms(w.file(NORMS, ".csv"))


def _npy(w):
    path = w.path(".npy")
    np.save(path, w.X)
    return path


def _songs(w):
    numbers = [str(number) for number in range(6)]
    return pd.DataFrame(
        dict(
            song=numbers, dataset="deam", quadrant=["happy", "sad"] * 3, artist=list("aabbcc"),
            valence=np.linspace(-1, 1, 6), arousal=np.linspace(-1, 1, 6), audio="",
            valence_sd=0.1, arousal_sd=0.1, raters=10, artist_group=list("aabbcc"), title=numbers,
        )
    )  # fmt: skip


def _pool(w):
    from musicgen_emotion.stimuli import dictionary_prompts

    return dictionary_prompts(20)


def _cues(w):
    from musicgen_emotion.stimuli import Cues

    return Cues()


SOUND = {
    "answer_paths": lambda w: dict(files=_answer_file(w)),
    "read_answer_file": lambda w: dict(path=_answer_file(w)),
    "read_key": lambda w: dict(key=w.listening.key),
    "check_key": lambda w: dict(name="key", key=w.key),
    "check_answers": lambda w: dict(answers=_answers(w), key=w.key),
    "rater_report": lambda w: dict(answers=w.analysed, key=w.key),
    "read_answers": lambda w: dict(files=_answer_file(w), key=w.listening),
    "simulate_raters": lambda w: dict(
        key=w.listening, n_raters=2, effect=dict(unsteered=0.0, steered=1.0)
    ),
    "describe": lambda w: dict(wave=w.wave, sr=RATE),
    "current_descriptors": lambda w: dict(table=w.described),
    "describe_table": lambda w: dict(
        waves=[w.wave, w.wave / 2], sr=RATE, names=["a", "b"], **SILENT
    ),
    "read_channels": lambda w: dict(path=_flac(w)),
    "read_wave": lambda w: dict(path=_flac(w)),
    "LabelJudge.fit": lambda w: dict(
        self=_empty_judge(w), table=w.described[list(TAGS)], labels=w.labels, groups=w.units
    ),
    "LabelJudge.predict": lambda w: dict(self=w.judge, table=w.described),
    "LabelJudge.predict_proba": lambda w: dict(self=w.judge, table=w.described),
    "LabelJudge.score": lambda w: dict(self=w.judge, table=w.described, labels=w.labels),
    "LabelJudge.margins": lambda w: dict(self=w.judge, table=w.described),
    "fit_graded_axes": lambda w: dict(
        table=w.described, wanted=np.zeros((len(w.described), 2)), descriptors=TAGS
    ),
    "GradedAxes.read": lambda w: dict(self=_graded(w), table=w.described),
    "LabelJudge.save": lambda w: dict(self=w.judge, path=w.path(".json")),
    "LabelJudge.load": lambda w: dict(path=w.judge.save(w.path(".json"))),
    "descriptor_matrix": lambda w: dict(table=w.described, names=TAGS),
    "judge_accuracy": lambda w: dict(labels=w.labels, predicted=w.labels, **QUICK),
    "ListenerModel.predict": lambda w: dict(self=_listener(w), cues=_listener_cues(w)),
    "ListenerModel.save": lambda w: dict(self=_listener(w), path=w.path(".json")),
    "ListenerModel.load": lambda w: dict(path=_listener(w).save(w.path(".json"))),
    "listener_axes": lambda w: dict(ratings=_listener(w).predict(_listener_cues(w))),
    "listener_codes": lambda w: dict(cues=_listener_cues(w)),
    "listener_cues": lambda w: dict(table=w.described),
    "listener_agreement": lambda w: dict(table=_rated(w)),
    "base_id": lambda w: dict(test_id=w.listening.test_id),
    "listening_scales": lambda w: dict(scales=("valence", "arousal")),
    "rater_plan": lambda w: dict(test_id=w.listening.test_id, rater="anna", trials=w.key["trials"]),
    "write_listening_test": lambda w: dict(clips=w.clips, out=w.path(".html"), sample_rate=RATE),
    "clip_sounds": lambda w: dict(clips=w.clips, conditions=["condition"], sample_rate=RATE),
    "encoded_sound": lambda w: dict(samples=w.wave, rate=RATE),
    "opaque_clip_ids": lambda w: dict(content="abc", n_clips=3),
    "estimate_key": lambda w: dict(chroma=np.arange(1.0, 13)),
    "key_scores": lambda w: dict(chroma=np.arange(1.0, 13)),
    "estimate_register": lambda w: dict(peaks=w.peaks),
    "pitch_classes": lambda w: dict(peaks=w.peaks),
    "spectral_peaks": lambda w: dict(spec=w.spectrum),
    "analyse_listening": lambda w: dict(table=w.analysed, **QUICK),
    "crossed_bootstrap": lambda w: dict(
        values=w.x, side=w.codes - 0.5, raters=w.groups, tracks=np.arange(24) % 4, **QUICK
    ),
    "crossed_se": lambda w: dict(influence=w.x, raters=w.groups, tracks=np.arange(24) % 4),
    "mean_influence": lambda w: dict(values=w.x, side=w.codes - 0.5),
    "check_clip": lambda w: dict(wave=w.wave, sr=RATE),
    "check_samples": lambda w: dict(name="wave", wave=w.wave),
    "estimate_tempo": lambda w: dict(strength=_strength(w), rate=100.0),
    "mel_spectrum": lambda w: dict(spec=w.spectrum),
    "onset_strength": lambda w: dict(spec=w.spectrum),
    "onset_times": lambda w: dict(strength=_strength(w), rate=100.0),
    "spectrum": lambda w: dict(wave=w.wave, sr=RATE),
    "tempo_scores": lambda w: dict(strength=_strength(w), rate=100.0),
    "listening_power": lambda w: dict(n_raters=4, n_tracks=4, effect=1.0, n_sims=20),
    "power_table": lambda w: dict(n_raters=[4], n_tracks=[4], effect=[1.0], n_sims=20),
    "articulation": lambda w: dict(wave=w.wave, sr=RATE),
    "attack_time": lambda w: dict(wave=w.wave, sr=RATE, onsets=np.array([0.0, 0.25])),
    "brightness": lambda w: dict(spec=w.spectrum),
    "loudness": lambda w: dict(wave=w.wave, sr=RATE),
    "mfcc": lambda w: dict(spec=w.spectrum),
    "percussiveness": lambda w: dict(spec=w.spectrum),
}


def _answer_file(w):
    path = w.path(".csv")
    w.answers.to_csv(path, index=False)
    return path


def _answers(w):
    from musicgen_emotion.sound.answer_files import read_answer_file

    return read_answer_file(_answer_file(w))


def _flac(w):
    import soundfile

    path = w.path(".flac")
    soundfile.write(path, w.wave, RATE)
    return path


def _empty_judge(w):
    from musicgen_emotion.sound import LabelJudge

    return LabelJudge(TAGS)


def _listener(w):
    from musicgen_emotion.sound import ListenerModel

    return ListenerModel.load()


def _rated(w):
    from musicgen_emotion.sound import LISTENER_RATINGS

    ratings = pd.DataFrame(w.X[:, :4], columns=list(LISTENER_RATINGS))
    labels = np.resize(["happy", "sad", "energetic"], len(ratings))
    return ratings.assign(emotion=labels, arousal=w.x)


def _listener_cues(w):
    from musicgen_emotion.sound import listener_cues

    return listener_cues(w.described)


def _strength(w):
    from musicgen_emotion.sound import onset_strength

    return w.once(onset_strength, w.spectrum)


# Figures

SHOW = {
    "save_figure": lambda w: dict(
        ax=_axes(w), path=w.path(".png"), caption="What it shows.", alt="A line.", close=True
    ),
    "saved_figure": lambda w: dict(path=_saved_figure(w)),
    "plot_confusion": lambda w: dict(table=_square(w)),
    "plot_correlations": lambda w: dict(table=pd.DataFrame(w.X, columns=list("abcdef"))),
    "plot_embedding": lambda w: dict(table=_points(w)),
    "plot_gates": lambda w: dict(gates=_gates(w)),
    "plot_heatmap": lambda w: dict(table=_square(w)),
    "plot_scores": lambda w: dict(table=_scores(w, "representation"), chance=0.5),
    "audio_table": lambda w: dict(df=w.clips, sr=RATE, format="flac"),
    "audio_tag": lambda w: dict(wave=w.wave, sr=RATE, format="flac"),
    "plot_clip": lambda w: dict(wave=w.wave, sr=RATE),
    "axes_grid": lambda w: dict(n=2, size=(2.0, 2.0)),
    "axis_label": lambda w: dict(name="rms_db"),
    "check_columns": lambda w: dict(table=_square(w)),
    "check_numbers": lambda w: dict(table=_square(w)),
    "color_of": lambda w: dict(name="sad"),
    "emotion_order": lambda w: dict(values=["sad", "happy"]),
    "plot_dose": lambda w: dict(table=_scores(w, "alpha").rename(columns=dict(score="value"))),
    "plot_histograms": lambda w: dict(
        table=w.described.assign(emotion=w.labels), columns=["rms_db", "centroid"]
    ),
    "plot_layers": lambda w: dict(table=_scores(w, "layer"), chance=0.5),
    "plot_null": lambda w: dict(null=w.null, observed=2.0),
    "plot_time": lambda w: dict(
        table=_scores(w, "seconds").rename(columns=dict(score="similarity")), hue=None
    ),
}


def _axes(w):
    from musicgen_emotion.show.plots import new_axes

    ax = new_axes()
    ax.plot([0, 1])
    return ax


def _saved_figure(w):
    from musicgen_emotion.show import save_figure

    return save_figure(_axes(w), w.path(".png"), "What it shows.", "A line.", close=True)


def _square(w):
    return pd.DataFrame(np.eye(2) + 1, index=["happy", "sad"], columns=["happy", "sad"])


def _points(w):
    return pd.DataFrame(dict(x=w.x, y=w.x2, emotion=w.labels))


def _gates(w):
    from musicgen_emotion.lab import Gate

    return [Gate("one", 0.8, 0.7, 0.9, 10, 0.5, ">", "a test")]


def _criterion(w):
    from musicgen_emotion.lab import Criterion

    return Criterion("one", threshold=0.5, fails_on=("deaf",))


def _scores(w, x):
    return pd.DataFrame({x: [0, 1, 2], "score": [0.2, 0.5, 0.6], "low": 0.1, "high": 0.8})


# Models

MODELS = {
    "load_model": lambda w: dict(name=w.tiny_folder, device="cpu"),
    "as_model": lambda w: dict(model=w.model),
    "pick_device": lambda w: dict(device="cpu"),
    "randomized": lambda w: dict(model=w.model),
    "deafened": lambda w: dict(model=w.model),
    "piece_counter": lambda w: dict(tokenizer=w.model.tokenizer),
    "silence": lambda w: dict(projections=[torch.nn.Linear(2, 2)]),
    "folder_kind": lambda w: dict(folder=w.tiny_folder),
    "lacking": lambda w: dict(folder=w.tiny_folder),
    "model_folder": lambda w: dict(name=w.tiny_folder),
    "torch_dtype": lambda w: dict(dtype="float32"),
    "MusicModel.tokenize": lambda w: dict(self=w.model, prompts=w.prompts),
    "MusicModel.encode_text": lambda w: dict(self=w.model, prompts=w.prompts),
    "MusicModel.decode_audio": lambda w: dict(self=w.model, tokens=w.tokens),
    "MusicModel.codec_latents": lambda w: dict(self=w.model, audio=w.audio[:, :2000]),
    "SiteLookup.site": lambda w: dict(self=w.model, name="layer_1"),
    "SiteLookup.module": lambda w: dict(self=w.model, site="layer_1.mlp"),
    "SiteLookup.site_width": lambda w: dict(self=w.model, site="layer_1"),
    "SiteLookup.resolve_sites": lambda w: dict(self=w.model, layers=[0, 1]),
    "layer_list": lambda w: dict(layers=[0, 1], n_layers=3),
    "clip_seeds": lambda w: dict(seeds=0, n=3),
    "SamplingSettings": lambda w: dict(guidance=2.0, temperature=0.9, top_k=10),
    "sample_tokens": lambda w: dict(model=w.model, prompts=w.prompts[:2], seeds=0, n_frames=3),
    "ModelConfig.positions": lambda w: dict(self=w.model.config, n_frames=5),
    "ModelConfig.frames": lambda w: dict(self=w.model.config, duration_s=0.2),
    "check_tokens": lambda w: dict(tokens=w.tokens, config=w.model.config),
    "delay_tokens": lambda w: dict(tokens=w.tokens, config=w.model.config),
    "delayed_sequence": lambda w: dict(tokens=w.tokens, config=w.model.config),
    "undelay_tokens": lambda w: dict(sequence=_delayed(w), config=w.model.config),
    "layer_site": lambda w: dict(layer=1),
    "check_prompts": lambda w: dict(prompts=w.prompts),
    "prompts_per_clip": lambda w: dict(prompts=w.prompts, n_clips=4),
    "equal_length_batches": lambda w: dict(lengths=[3, 3, 4], batch_size=2),
    "write_random_model": lambda w: dict(out=w.path()),
    "write_random_melody": lambda w: dict(out=w.path()),
    "write_tokenizer": lambda w: dict(folder=w.path()),
    "read_tokenizer": lambda w: dict(folder=w.tiny_folder),
    "export_audiocraft": lambda w: dict(model=w.model, out=w.path()),
}


def _delayed(w):
    from musicgen_emotion.models.shapes import delay_tokens

    return delay_tokens(w.tokens, w.model.config)


# Activations

BRIEF = dict(duration_s=0.1)

ACTIVATIONS = {
    "check_column_names": lambda w: dict(columns=["prompt", "emotion"]),
    "clip_id": lambda w: dict(model_checksum="abc", prompt="a song", seed=0),
    "flac_bytes": lambda w: dict(wave=w.wave, sample_rate=RATE),
    "pad_tokens": lambda w: dict(tokens=[w.tokens[0], w.tokens[1, :, :3]]),
    "token_bytes": lambda w: dict(tokens=w.tokens[0]),
    "token_counts": lambda w: dict(tokens=w.tokens, codebook_size=64),
    "generate_clips": lambda w: dict(
        model=w.model, prompts=w.prompts[:2], store=w.path(), seeds=[0], **BRIEF, **SILENT
    ),
    "plan_clips": lambda w: dict(model=w.model, prompts=w.prompts, seeds=[0, 1], **BRIEF),
    "ClipStore": lambda w: dict(path=w.kept_store),
    "ClipStore.codes": lambda w: dict(self=_store(w), clips=w.ids[:2]),
    "ClipStore.audio": lambda w: dict(self=_store(w), clip=w.ids[0]),
    "ClipStore.add": lambda w: dict(
        self=_owned(w), rows=_clip_rows(w), tokens=list(w.tokens[:2]), audio=list(w.audio[:2]),
        sample_rate=RATE,
    ),
    "ClipStore.compact": lambda w: dict(self=_owned(w), clips=w.ids[:3]),
    "ClipStore.relabel": lambda w: dict(
        self=_owned(w), labels=pd.DataFrame(dict(clip_id=w.ids[:2], mood=["a", "b"]))
    ),
    "ActivationExtractor": lambda w: dict(model=w.model, layers=[0], sites=("resid",)),
    "ActivationExtractor.generate": lambda w: dict(
        self=_extractor(w), prompts=w.prompts[:2], **BRIEF
    ),
    "Generation.save": lambda w: dict(self=_made(w), folder=w.path()),
    "Generation.play": lambda w: dict(self=_made(w), clip=1),
    "generate": lambda w: dict(
        model=w.model, prompts=w.prompts[:2], seeds=[0, 1], audio=False, **BRIEF, **SILENT
    ),
    "save_audio": lambda w: dict(path=w.path(".flac"), wave=w.wave, sample_rate=RATE),
    "save_clips": lambda w: dict(made=_made(w), folder=w.path()),
    "hooked": lambda w: dict(model=w.model, fns={"layer_1": times_two}),
    "first_position": lambda w: dict(seconds=0.5, frame_rate=50.0),
    "position_seconds": lambda w: dict(n_positions=5, frame_rate=50.0),
    "time_windows": lambda w: dict(duration_s=1.0, step_s=0.5),
    "trim_special": lambda w: dict(acts=w.X, n_special=1),
    "window_positions": lambda w: dict(window=(0.0, 0.1), n_frames=5, config=w.model.config),
    "null_text": lambda w: dict(model=w.model, n=2),
    "prompt_table": lambda w: dict(prompts=w.prompts),
    "text_rows": lambda w: dict(model=w.model, prompts=w.prompts),
    "frame_counts": lambda w: dict(tokens=w.tokens),
    "replay_request": lambda w: dict(
        model=w.model, tokens=w.tokens, prompts=w.prompts, sites=["layer_1"]
    ),
    "replay": lambda w: dict(
        model=w.model, tokens=w.tokens, prompts=w.prompts, sites=["layer_1"], pool="mean"
    ),
    "replay_error": lambda w: dict(
        model=w.model, tokens=w.tokens[:1], prompts=w.prompts[:1], sites=["layer_1"]
    ),
    "stepwise": lambda w: dict(
        model=w.model, tokens=w.tokens[:1], prompts=w.prompts[:1], sites=["layer_1"]
    ),
    "token_nll": lambda w: dict(model=w.model, tokens=w.tokens, prompts=w.prompts),
    "replay_bytes": lambda w: dict(model=w.model, n_clips=4, n_frames=5, sites=["layer_1"]),
    "replay_store": lambda w: dict(
        model=w.model, store=w.kept_store, sites=["layer_1"], out=w.path(".zarr"), **SILENT
    ),
    "Embeddings": lambda w: dict(vectors=w.X, labels=list(w.labels)),
    "export_t5_embeddings": lambda w: dict(
        folder=w.path(), embeddings=w.X, labels=w.labels, prompts=list(map(str, range(24)))
    ),
    "load_embeddings": lambda w: dict(path=w.embeddings_folder),
    "load_encoder": lambda w: dict(name=w.tiny_folder, device="cpu"),
    "pool_tokens": lambda w: dict(states=w.X.reshape(4, 6, 6), mask=np.ones((4, 6), bool)),
    "text_embeddings": lambda w: dict(encoder=w.model, prompts=w.prompts, **SILENT),
    "static_vectors": lambda w: dict(model=w.model, prompts=w.prompts),
    "word_token_spans": lambda w: dict(encoder=w.model, prompt="a happy piece", word="happy"),
    "trace": lambda w: dict(model=w.model, prompt="a happy song", layers=[0], duration_s=0.1),
}  # fmt: skip


def _store(w):
    from musicgen_emotion.activations import ClipStore

    return ClipStore(w.kept_store)


def _owned(w):
    "A copy of the store that counts as locked by this process."
    from musicgen_emotion.activations import ClipStore

    store = ClipStore(w.store_folder())
    store._owned = True
    return store


def _clip_rows(w):
    ids = ["0" * 15 + "1", "0" * 15 + "2"]
    return pd.DataFrame(dict(clip_id=ids, prompt=["a", "b"], seed=[0, 1], frame_rate=50))


def _extractor(w):
    from musicgen_emotion.activations import ActivationExtractor

    return ActivationExtractor(w.model, layers=[0])


def _made(w):
    from musicgen_emotion.activations.generation import Generation

    return Generation(w.tokens, w.audio, RATE, w.prompts, [0, 1, 2, 3])


# Probes

LAYERS = ("layer_0", "layer_1")

PROBES = {
    "attention_span": lambda w: dict(
        model=w.model, tokens=w.tokens, prompts=w.prompts, layers=[0]
    ),
    "word_attention": lambda w: dict(
        model=w.model, tokens=w.tokens, prompts=w.prompts, layers=[0]
    ),
    "emotion_word_test": lambda w: dict(
        model=w.model, tokens=w.tokens[:2], prompts=["a calm song", "an angry song"],
        words=["calm", "angry"], neutral=["a dark song", "a loud song"],
        neutral_words=["dark", "loud"], layers=[0], **FEW,
    ),
    "role_attention": lambda w: dict(
        table=_word_table(w), roles=[dict(happy="emotion", piano="instrument", sad="emotion",
                                          calm="emotion", flute="instrument", fast="emotion",
                                          drums="instrument")] * 4, **QUICK,
    ),
    "span_test": lambda w: dict(
        table=_span_table(w), emotions=["happy", "sad", "happy", "sad"], **FEW
    ),
    "differing_dimensions": lambda w: dict(X=w.X, labels=w.labels, groups=w.units, **FEW),
    "pair_baselines": lambda w: dict(pairs=dict(own=(w.X[:12], w.X[12:])), **QUICK),
    "time_course": lambda w: dict(
        X_time=np.stack([w.X, w.X + 1], 1), labels=w.labels, seconds=np.array([0.0, 1.0]),
        groups=w.units, **QUICK,
    ),
    "compare_activations": lambda w: dict(a=w.activation_array, b=w.activation_array),
    "grouped_folds": lambda w: dict(labels=w.labels, groups=w.units, n_folds=4),
    "leave_word_out": lambda w: dict(labels=w.labels, words=w.units),
    "probe_layers": lambda w: dict(
        X=dict(layer_0=w.X, layer_1=w.X * 2), y=w.labels, groups=w.units, control=1, **FEW, **SILENT
    ),
    "probe_regression": lambda w: dict(X=w.X, y=w.x, groups=w.units, **FEW, **SILENT),
    "logistic_probe": lambda w: dict(
        X=w.X, y=w.labels, groups=w.units, l2s=(0.1,), n_perm=2, control=1, **SILENT
    ),
    "mlp_probe": lambda w: dict(
        X=w.X, y=w.labels, groups=w.units, hidden=4, epochs=3, n_perm=2, control=1, **SILENT
    ),
    "circumplex_test": lambda w: dict(similarity=_similarity(w)),
    "embed_2d": lambda w: dict(X=w.X),
    "layer_table": lambda w: dict(X=dict(a=w.X), labels=w.labels, groups=w.units, **FEW, **SILENT),
    "silhouette": lambda w: dict(X=w.X, labels=w.labels, groups=w.units, **FEW),
    "ProbeResult.correct": lambda w: dict(self=w.probe, name=w.probe.table.iloc[0, 0]),
    "ProbeResult.index": lambda w: dict(self=w.probe, name=0),
    "ProbeResult.confusion": lambda w: dict(self=w.probe, name=0),
    "class_codes": lambda w: dict(y=w.labels),
    "penalty_grid": lambda w: dict(name="lambdas", values=(0.1, 1.0)),
    "compare_probes": lambda w: dict(
        scores_a=(w.x > 0), scores_b=(w.x2 > 0), groups=w.units, labels=w.labels, **FEW
    ),
    "encodes": lambda w: dict(result=w.probe, baselines=[_majority(w)], **FEW),
    "majority_baseline": lambda w: dict(y=w.labels, folds=w.folds),
    "mask_words": lambda w: dict(prompts=w.prompts[:2], words=["happy", "sad"]),
    "probe_text": lambda w: dict(
        prompts=[f"{word} song {n}" for n, word in enumerate(w.labels)], y=w.labels, folds=w.folds,
        **SILENT,
    ),
    "centroid_curve": lambda w: dict(
        X=w.X, labels=w.labels, ns=(1, 2), groups=w.units, n_resamples=5
    ),
    "centroid_similarity": lambda w: dict(X=w.X, labels=w.labels),
    "cosine_similarity": lambda w: dict(a=w.X, b=w.X + 1),
    "mean_state": lambda w: dict(acts=w.activation_array),
    "transform": lambda w: dict(X=w.X),
    "unit_vectors": lambda w: dict(X=w.X),
    "within_between": lambda w: dict(X=w.X, labels=w.labels, groups=w.units, **FEW),
}  # fmt: skip


def _word_table(w):
    from musicgen_emotion.probes import word_attention

    return w.once(word_attention, w.model, w.tokens, w.prompts, layers=[0])


def _span_table(w):
    from musicgen_emotion.probes import attention_span

    return w.once(attention_span, w.model, w.tokens, w.prompts, layers=[0])


def _similarity(w):
    from musicgen_emotion.probes import centroid_similarity

    emotions = np.repeat(["happy", "sad", "calm", "energetic"], 6)
    return centroid_similarity(w.X, emotions)


def _majority(w):
    from musicgen_emotion.probes import majority_baseline

    return majority_baseline(w.labels, w.folds)


# Dictionaries

SAE = {
    "feature_card": lambda w: dict(data=_card_data(w), feature=1, n=2, bins=3),
    "write_feature_page": lambda w: dict(cards=[_card(w)], out=w.path(".html")),
    "control_table": lambda w: dict(
        acts=w.acts, raw=w.X, labels=w.labels, groups=w.units, n_shuffles=1, **FEW, **QUICK
    ),
    "beats_controls": lambda w: dict(table=_control_table(w)),
    "generalization": lambda w: dict(
        table=w.selective.assign(selective=True), acts_new=w.acts, labels_new=w.labels,
        groups_new=w.units, **FEW, **QUICK,
    ),
    "pca_features": lambda w: dict(states=w.X, n=3),
    "rectify": lambda w: dict(states=w.X),
    "ArrayBatches": lambda w: dict(x=w.rows, rows=np.arange(400), batch_size=32),
    "StoreBatches": lambda w: dict(path=w.kept_activations, site="layer_1", batch_size=4),
    "checked_rows": lambda w: dict(x=w.rows),
    "data_report": lambda w: dict(x=w.rows, groups=np.arange(400), d_sae=12, max_rows=100),
    "group_split": lambda w: dict(groups=w.units),
    "token_rows": lambda w: dict(encoder=w.model, prompts=w.prompts),
    "SparseAutoencoder": lambda w: dict(d_in=6, expansion=2, seed=0),
    "SparseAutoencoder.save_pretrained": lambda w: dict(self=w.sae, folder=w.path()),
    "SparseAutoencoder.from_pretrained": lambda w: dict(name=w.sae_folder),
    "SparseAutoencoder.encode": lambda w: dict(self=w.sae, x=_tensor(w)),
    "edit_changes": lambda w: dict(table=_edited(w), descriptors=["tempo_bpm"]),
    "edit_effects": lambda w: dict(table=_edited(w), descriptors=["tempo_bpm"], **QUICK),
    "edit_test": lambda w: dict(changes=_changed(w), edit="ablate"),
    "feature_edit": lambda w: dict(sae=w.sae, features=[0, 1]),
    "random_edits": lambda w: dict(sae=w.sae, x=w.rows, features=[0], n=2, pool=3),
    "ablate_features": lambda w: dict(sae=w.sae, x=_tensor(w), features=[0, 1]),
    "edit_size": lambda w: dict(sae=w.sae, x=w.rows, features=[0, 1]),
    "ablation_effect": lambda w: dict(
        sae=w.sae, x=w.X.astype(np.float32), labels=w.labels, features=[0, 1], groups=w.units,
        n_random=3, **QUICK,
    ),
    "random_features_like": lambda w: dict(acts=w.acts, features=[0, 1], n=3, pool=3),
    "count_selective": lambda w: dict(
        table=w.selective, acts=w.acts, labels=w.labels, groups=w.units, **QUICK
    ),
    "selective_features": lambda w: dict(acts=w.acts, labels=w.labels, groups=w.units, **FEW),
    "selectivity": lambda w: dict(acts=w.acts, labels=w.labels),
    "from_tensors": lambda w: dict(tensors=_plain(w), activation="relu"),
    "dictionary_folder": lambda w: dict(source=w.sae_folder),
    "dictionary_form": lambda w: dict(folder=w.sae_folder),
    "list_dictionaries": lambda w: dict(folder=w.sae_folder.parent),
    "load_dictionary": lambda w: dict(folder=w.sae_folder),
    "to_dictionary_learning": lambda w: dict(sae=w.sae, folder=w.path()),
    "to_saelens": lambda w: dict(sae=w.sae, folder=w.path()),
    "to_sparsify": lambda w: dict(sae=_topk(w), folder=w.path()),
    "from_dictionary_learning": lambda w: dict(folder=_peer(w, "dictionary_learning")),
    "from_saelens": lambda w: dict(folder=_peer(w, "saelens")),
    "from_sparsify": lambda w: dict(folder=_peer(w, "sparsify")),
    "feature_splitting": lambda w: dict(W_small=w.X[:5], W_large=w.X[5:15]),
    "found_by_twins": lambda w: dict(dictionary=w.X[:8], twins=[w.X[8:16], w.X[16:]], n_boot=20),
    "match_features": lambda w: dict(W_a=w.X[:8], W_b=w.X[8:16]),
    "stability": lambda w: dict(dictionaries=[w.X[:8], w.X[8:16], w.X[16:]]),
    "decoder_cosines": lambda w: dict(sae=w.sae),
    "feature_density": lambda w: dict(sae=w.sae, x=w.rows, batch_size=100),
    "sae_metrics": lambda w: dict(sae=w.sae, x=w.rows, batch_size=100),
    "planted_features": lambda w: dict(n_words=3, per_word=2, d=10),
    "sparse_code": lambda w: dict(types=np.arange(24), labels=w.labels, prompts=w.units, d=6),
    "type_means": lambda w: dict(rows=w.X, types=np.arange(24) // 2),
    "type_share": lambda w: dict(rows=w.X, types=np.arange(24) // 2),
    "sparse_probe": lambda w: dict(
        acts=w.acts, labels=w.labels, groups=w.units, ks=(1, 2), **QUICK
    ),
    "cluster_features": lambda w: dict(table=w.selective, n_clusters=2),
    "emotion_profile": lambda w: dict(table=w.selective),
    "top_features": lambda w: dict(table=w.selective, n=2, only=None),
    "va_weights": lambda w: dict(acts=w.acts, va=w.X[:, :2], groups=w.units, **FEW, **QUICK),
    "monosemanticity": lambda w: dict(acts=w.acts, states=w.X),
    "mass_purity": lambda w: dict(acts=w.acts, truth=_truth(w)),
    "distinct_properties": lambda w: dict(truth=_truth(w), n_rows=24),
    "recovery_table": lambda w: dict(acts=w.acts, truth=_truth(w), groups=w.units, **QUICK),
    "SAEConfig": lambda w: dict(d_in=6, expansion=2, k=3),
    "TrainConfig": lambda w: dict(steps=10, batch_size=32),
    "TrainConfig.lr_at": lambda w: dict(self=_train_config(w), step=3),
    "loss_recovered": lambda w: dict(
        model=w.model, sae=w.wide_sae, site="layer_1", tokens=w.tokens, prompts=w.prompts, **QUICK
    ),
    "spliced_logits": lambda w: dict(
        model=w.model, tokens=w.tokens, prompts=w.prompts, site="layer_1", fn=times_two
    ),
    "best_setting": lambda w: dict(table=_sweep_table(w), l0=(0, 12), dead=1.0),
    "balanced_setting": lambda w: dict(table=_sweep_table(w).assign(stable=0.5)),
    "pareto": lambda w: dict(table=_sweep_table(w)),
    "plot_pareto": lambda w: dict(table=_sweep_table(w)),
    "sweep": lambda w: dict(
        x=w.rows, grid=dict(l1=[0.001]), base=_sae_config(w), train=_train_config(w),
        groups=np.arange(400), folder=w.path(), **SILENT,
    ),
    "train_seeds": lambda w: dict(
        x=w.rows, base=_sae_config(w), train=_train_config(w), seeds=(0,), groups=np.arange(400)
    ),
    "train_sae": lambda w: dict(
        data=w.rows, sae=_sae_config(w), config=_train_config(w), groups=np.arange(400),
        folder=w.path(), **SILENT,
    ),
    "read_config": lambda w: dict(path=w.sae_folder / "cfg.json"),
}  # fmt: skip


def _card_data(w):
    from musicgen_emotion.sae.cards import CardData

    rows = pd.DataFrame(dict(prompt=[f"{word} song" for word in w.labels], emotion=w.labels))
    return CardData(w.acts, rows, w.selective)


def _card(w):
    from musicgen_emotion.sae import feature_card

    return w.once(feature_card, _card_data(w), 1, 2, 3)


def _control_table(w):
    from musicgen_emotion.sae import control_table

    return w.once(control_table, w.acts, w.X, w.labels, w.units, n_shuffles=1, **FEW, **QUICK)


def _tensor(w):
    import torch

    return torch.tensor(w.rows[:8])


def _edited(w):
    rows = []
    arms = ["clean", "ablate", *(f"random {number}" for number in range(19))]
    for number, arm in enumerate(arms):
        shift = dict(clean=0.0, ablate=-5.0).get(arm, 0.1 * number)
        for prompt, seed in itertools.product(w.prompts, (0, 1)):
            rows.append(dict(arm=arm, prompt=prompt, seed=seed, tempo_bpm=100 + shift + seed))
    return pd.DataFrame(rows)


def _changed(w):
    from musicgen_emotion.sae import edit_changes

    return w.once(edit_changes, _edited(w), ["tempo_bpm"])


def _plain(w):
    from musicgen_emotion.sae.folding import plain_tensors

    return plain_tensors(w.sae)


def _topk(w):
    from musicgen_emotion.sae import SparseAutoencoder

    return SparseAutoencoder(d_in=6, expansion=2, activation="topk", k=3)


def _peer(w, form):
    from musicgen_emotion.sae import formats

    return getattr(formats, f"to_{form}")(_topk(w), w.path())


def _truth(w):
    return pd.DataFrame(dict(emotion=w.labels, tempo=w.x, mode=np.tile(["major", "minor"], 12)))


def _train_config(w):
    from musicgen_emotion.sae import TrainConfig

    return TrainConfig(steps=4, batch_size=32, eval_every=2, window=2, warmup=1, l1_warmup=1)


def _sae_config(w):
    from musicgen_emotion.sae import SAEConfig

    return SAEConfig(6, 2)


def _sweep_table(w):
    rows = [dict(variant="relu", l0=4.0, explained_variance=0.8, dead_fraction=0.0, l1=0.01)]
    rows.append(dict(variant="relu", l0=8.0, explained_variance=0.9, dead_fraction=0.0, l1=0.001))
    return pd.DataFrame(rows)


# Steering

SITE = dict(site="layer_1")


def _graded(w):
    from musicgen_emotion.sound import fit_graded_axes

    return fit_graded_axes(w.described, np.zeros((len(w.described), 2)), TAGS)


def _space(w):
    from musicgen_emotion.steering import cue_geometry

    return cue_geometry(w.described, w.labels, w.described, TAGS)


def _recovered(w):
    from musicgen_emotion.steering import recovered_emotions

    return recovered_emotions(w.described, _space(w))


STEERING = {
    "cue_geometry": lambda w: dict(
        emotional=w.described, labels=w.labels, neutral=w.described, cues=TAGS
    ),
    "recovered_emotions": lambda w: dict(changes=w.described, space=_space(w)),
    "recovered_shares": lambda w: dict(answers=_recovered(w)),
    "confusion_of_renders": lambda w: dict(
        emotional=w.described, labels=w.labels, neutral=w.described, space=_space(w)
    ),
    "opposite_arm": lambda w: dict(direction=w.direction),
    "other_layer_arm": lambda w: dict(direction=w.direction, layer=0, rms=1.0),
    "random_arms": lambda w: dict(direction=w.direction, n=2),
    "shuffled_arms": lambda w: dict(
        positive=w.positive, negative=w.negative, direction=w.small_direction, n=2
    ),
    "prompt_arm": lambda w: dict(words={0.1: "very", -0.1: "slightly"}),
    "axis_direction": lambda w: dict(
        activations=w.X, emotions=np.repeat(["happy", "sad", "calm", "angry"], 6),
        axis="valence", **SITE,
    ),
    "cosine_table": lambda w: dict(directions=dict(a=w.direction, b=w.direction)),
    "emotion_directions": lambda w: dict(
        activations=w.X, emotions=_six_emotions(w), pairs=np.tile(np.arange(6), 4), **SITE
    ),
    "method_directions": lambda w: dict(positive=w.positive, negative=w.negative, **SITE),
    "pairs_curve": lambda w: dict(positive=w.positive, negative=w.negative, sizes=[2], n_draws=3),
    "random_direction": lambda w: dict(like=w.direction, seed=0),
    "rank_p": lambda w: dict(target=2.0, controls=w.x),
    "slopes_beside": lambda w: dict(target=2.0, controls=w.x, cosines=np.tanh(w.x) * 0.9),
    "slope_by_cosine": lambda w: dict(slopes=w.x, cosines=w.x2, **QUICK),
    "unrelated_share": lambda w: dict(controls=np.stack([w.x, w.x2]), target=w.x + 5),
    "choice_p": lambda w: dict(rises=dict(a=(w.x[:2], w.x[2:])), n_draws=19),
    "absolute_bounds": lambda w: dict(estimate=_estimate(w)),
    "planted_parts": lambda w: dict(push=w.x[:4], vectors=dict(a=w.x2[:4])),
    "with_planted": lambda w: dict(
        table=w.doses, parts=dict(sad=dict(happy=0.5)), effects=dict(happy=dict(valence=1.0)),
        full=0.1,
    ),
    "unit_slopes": lambda w: dict(table=w.doses, outcomes=["valence"]),
    "shuffled_direction": lambda w: dict(positive=w.positive, negative=w.negative, seed=0, **SITE),
    "text_direction": lambda w: dict(
        model=w.model, positive=["a happy song"], negative=["a sad song"]
    ),
    "branch_agreement": lambda w: dict(arithmetic=_arithmetic(w)),
    "branch_arithmetic": lambda w: dict(
        model=w.model, tokens=w.tokens[:2], prompts=w.prompts[:2], direction=w.direction
    ),
    "clap_sentences": lambda w: dict(words=["happy"]),
    "resample": lambda w: dict(wave=w.wave, sr=RATE, to=4000),
    "at_equal_cost": lambda w: dict(table=_costs(w), budget=0.5),
    "cue_recovery": lambda w: dict(
        changes=_changes(w), planted=dict(tempo_bpm=10.0, valence=1.0),
        spread=dict(tempo_bpm=5.0, valence=1.0),
    ),
    "Direction": lambda w: dict(vector=w.x, site="layer_1", origin="by hand", rms=1.0),
    "Direction.at": lambda w: dict(self=w.direction, site="layer_0", rms=1.0),
    "Direction.cosine": lambda w: dict(self=w.direction, other=w.direction.vector),
    "Direction.project": lambda w: dict(self=w.small_direction, activations=w.X),
    "Direction.save": lambda w: dict(self=w.direction, folder=w.path()),
    "Direction.load": lambda w: dict(folder=w.direction.save(w.path())),
    "check_vector": lambda w: dict(vector=w.x),
    "combine": lambda w: dict(directions=[w.direction, w.direction], weights=[0.5, 0.5]),
    "orthogonalise": lambda w: dict(directions=[w.direction]),
    "save_directions": lambda w: dict(folder=w.path(), directions=dict(a=w.direction)),
    "load_directions": lambda w: dict(folder=_direction_folder(w)),
    "codec_embedding": lambda w: dict(model=w.model, audio=w.audio, window_s=0.5),
    "mel_embedding": lambda w: dict(audio=w.audio, sample_rate=RATE),
    "distribution_distance": lambda w: dict(
        reference=_windows(w, 0), steered=_windows(w, 12), groups=np.arange(6), n_perm=9, n_split=3
    ),
    "frechet_distance": lambda w: dict(x=w.positive, y=w.negative),
    "dose_response": lambda w: dict(
        model=w.model, prompts=w.prompts[:2], directions=w.direction, alphas=[-0.1, 0.1],
        judge=loudness_judge, folder=w.path(), **BRIEF, **SILENT,
    ),
    "plan_doses": lambda w: dict(
        model=w.model, prompts=w.prompts[:2], arms=_arms(w), alphas=[-0.1, 0.1], **BRIEF
    ),
    "steer_features": lambda w: dict(
        model=w.model, sae=w.wide_sae, features={0: 1.0}, **SITE
    ),
    "dose_quality": lambda w: dict(
        model=w.model, doses={0.0: w.tokens, 0.1: w.tokens}, prompts=w.prompts, n_perm=3,
        embeddings=("mel",), window_s=0.05, **SILENT,
    ),
    "quality_guard": lambda w: dict(
        model=w.model, tokens=w.tokens, prompts=w.prompts, reference_tokens=w.tokens, n_perm=3,
        embeddings=("mel",), window_s=0.05,
    ),
    "head_activations": lambda w: dict(
        model=w.model, tokens=w.tokens, prompts=w.prompts, layer=1
    ),
    "site_rms": lambda w: dict(
        model=w.model, sites="layer_1", tokens=w.tokens, prompts=w.prompts
    ),
    "site_width": lambda w: dict(model=w.model, **SITE),
    "DescriptorJudge": lambda w: dict(),
    "ListenerJudge": lambda w: dict(),
    "run_judge": lambda w: dict(judge=loudness_judge, audio=w.audio, sample_rate=RATE, **SILENT),
    "user_judge": lambda w: dict(function=flat_judge, name="flat"),
    "as_scores": lambda w: dict(out=[0.5, 0.6], n=2),
    "judge_clips": lambda w: dict(judge=loudness_judge, audio=w.audio, sample_rate=RATE),
    "named_judges": lambda w: dict(judge=loudness_judge),
    "renamed": lambda w: dict(judge=loudness_judge, prefix="a_"),
    "agop_direction": lambda w: dict(activations=w.X, labels=w.codes, n_iter=1, **SITE),
    "lda_direction": lambda w: dict(activations=w.X, labels=w.codes, **SITE),
    "logistic_direction": lambda w: dict(activations=w.X, labels=w.codes, **SITE),
    "ridge_direction": lambda w: dict(activations=w.X, labels=w.codes, **SITE),
    "as_pattern": lambda w: dict(direction=w.small_direction, activations=w.X),
    "match_pairs": lambda w: dict(
        labels=w.labels, positive="happy", negative="sad", pairs=w.groups
    ),
    "mean_difference": lambda w: dict(positive=w.positive, negative=w.negative, **SITE),
    "pca_direction": lambda w: dict(positive=w.positive, negative=w.negative, **SITE),
    "mean_differences": lambda w: dict(
        activations=_pooled(w), labels=["happy", "sad", "happy", "sad"], positive="happy",
        negative="sad",
    ),
    "sae_direction": lambda w: dict(sae=w.sae, features=[0, 1], **SITE),
    "push_length": lambda w: dict(alpha=0.1, rms=1.0, width=32),
    "push_places": lambda w: dict(model=w.model, layers=[0, 1], **SITE),
    "steer": lambda w: dict(model=w.model, direction=w.direction, alpha=0.05),
    "ClosedLoop": lambda w: dict(probe=first_column, target=0.5, site="layer_1"),
    "Schedule": lambda w: dict(start_s=0.0, end_s=1.0, half_life_s=0.5, ramp_s=0.1),
    "dose_changes": lambda w: dict(table=w.doses, outcomes=["valence"], **QUICK),
    "dose_slopes": lambda w: dict(table=w.doses, outcomes=["valence"], **QUICK),
    "side_effects": lambda w: dict(
        table=w.doses, target="valence", outcomes=["tempo_bpm", "valence"], **QUICK
    ),
    "repetition": lambda w: dict(tokens=np.tile(w.tokens, 8)),
    "silence": lambda w: dict(audio=w.audio, sample_rate=RATE),
    "token_kl": lambda w: dict(
        model=w.model, tokens=w.tokens, prompts=w.prompts, steered=unsteered
    ),
}  # fmt: skip


def _six_emotions(w):
    return np.repeat(["happy", "sad", "calm", "neutral"], 6)


def _arithmetic(w):
    from musicgen_emotion.steering import branch_arithmetic

    return w.once(branch_arithmetic, w.model, w.tokens[:2], w.prompts[:2], w.direction)


def _costs(w):
    return pd.DataFrame(dict(arm=["a", "a"], alpha=[1.0, 2.0], recovered=[0.2, 0.4], cost=[0.3, 1]))


def _direction_folder(w):
    from musicgen_emotion.steering import save_directions

    return save_directions(w.path(), dict(a=w.direction))


def _changes(w):
    from musicgen_emotion.steering import dose_changes

    return w.once(dose_changes, w.doses, ["tempo_bpm", "valence"], **QUICK)


def _windows(w, start):
    "Embeddings (clip, window, d)."
    return w.X[start : start + 12].reshape(6, 2, 6)


def _arms(w):
    from musicgen_emotion.steering import opposite_arm

    return [opposite_arm(w.direction)]


def _pooled(w):
    from musicgen_emotion.activations import replay

    return w.once(replay, w.model, w.tokens, w.prompts, ["layer_1"], pool="mean")


# Causes

PAIRS = dict(batch_size=2, progress=False)

CAUSES = {
    "ablated": lambda w: dict(model=w.model, how="zero", **SITE),
    "ablation_effects": lambda w: dict(
        model=w.model, pairs=w.pairs, sites=["layer_1"], how=("zero",), **PAIRS
    ),
    "attribution_patching": lambda w: dict(
        model=w.model, pairs=w.pairs, cells=["layer_1"], **PAIRS
    ),
    "Alignment": lambda w: dict(basis=np.eye(4)[:, :2], site="layer_1", origin="by hand"),
    "random_alignment": lambda w: dict(like=_subspace(w), seed=0),
    "distributed_alignment": lambda w: dict(
        model=w.model, pairs=w.pairs, site="layer_1", steps=1, **PAIRS
    ),
    "swap_effects": lambda w: dict(
        model=w.model, pairs=w.pairs, subspaces=dict(one=_subspace(w)), **PAIRS
    ),
    "attribution_agreement": lambda w: dict(
        model=w.model, pairs=w.pairs, table=w.attributed, n_cells=4, **QUICK, **PAIRS
    ),
    "construction_checks": lambda w: dict(model=w.model, pairs=w.pairs),
    "word_parts": lambda w: dict(n=2),
    "inlp": lambda w: dict(states=w.X, concept=w.labels, n_iter=2),
    "leace": lambda w: dict(states=w.X, concept=w.labels),
    "project_out": lambda w: dict(directions=w.X[:2]),
    "patched_generation": lambda w: dict(
        model=w.model, pairs=w.pairs, cells=["layer_1"], audio=False, **BRIEF, **PAIRS
    ),
    "PatchSettings": lambda w: dict(arm="patch", guidance=2.0),
    "sound_restored": lambda w: dict(table=_heard(w), descriptors=["tempo_bpm"], **QUICK),
    "mediate": lambda w: dict(
        table=_mediated(w), treatment="emotion", mediators=["tempo"], outcome="valence",
        groups="prompt", covariates=["level"], **QUICK,
    ),
    "held_effects": lambda w: dict(
        table=_held(w), cues=dict(tempo="onset_rate"), outcomes=["arousal"]
    ),
    "fingerprints": lambda w: dict(states=w.X),
    "fit_oracle": lambda w: dict(states=w.X, labels=w.labels, family="knn", groups=w.units),
    "Pairs": lambda w: dict(source=["a happy song"], target=["a sad song"]),
    "all_cells": lambda w: dict(model=w.model, duration_s=0.1, layers=[0, 1], step_s=0.05),
    "cell_table": lambda w: dict(model=w.model, cells=["layer_1", "text"], n_frames=5),
    "other_pairs": lambda w: dict(n_pairs=4, seed=0),
    "pair_prompts": lambda w: dict(prompts=_matched(w), source="happy", target="sad"),
    "pair_tokens": lambda w: dict(model=w.model, pairs=_text_pairs(w), duration_s=0.1),
    "resampled_sums": lambda w: dict(per_pair=w.X, **QUICK),
    "next_token_logits": lambda w: dict(model=w.model, tokens=w.tokens, prompts=w.prompts),
    "activation_patching": lambda w: dict(
        model=w.model, pairs=w.pairs, cells=["layer_1"], n_random=1, **PAIRS
    ),
    "patching_summary": lambda w: dict(table=w.patched, **QUICK),
    "causal_reliability": lambda w: dict(
        interventions=dict(erase=w.eraser), states=w.X + 1e-3, labels=w.labels, oracle=w.oracle,
        controls=dict(instrument=w.control_oracle), groups=w.units, n_random=2, **QUICK,
    ),
    "completeness": lambda w: dict(after=_shares(w)),
    "harmonic_reliability": lambda w: dict(
        complete=np.array([0.5, 0.6]), selective=np.array([0.4, 0.9])
    ),
    "selectivity": lambda w: dict(after=_shares(w), before=_shares(w)),
    "total_variation": lambda w: dict(p=_shares(w), q=_shares(w)),
    "fit_interventions": lambda w: dict(states=w.X, emotions=w.labels, source="happy"),
    "listener_ratings": lambda w: dict(
        table=w.described, source="happy", target="sad"
    ),
}  # fmt: skip


def _heard(w):
    rows = []
    for arm, pair in itertools.product(("source", "target", "patch"), range(4)):
        tempo = dict(source=100.0, target=120.0, patch=110.0)[arm] + pair
        row = dict(arm=arm, pair=pair, seed=0, site="layer_1", kind="resid", layer=1, start=0.0)
        rows.append(row | dict(end=0.1, tempo_bpm=tempo, branch="cond", music="own", replicate=0))
    return pd.DataFrame(rows)


def _held(w):
    draw = np.random.default_rng(0)
    rows = []
    for pair, side, held in itertools.product(
        range(4), ("source", "target"), ("reference", "tempo")
    ):
        moved = 2.0 * (side == "source") * (held == "reference") + 0.1 * draw.normal()
        row = dict(pair=pair, side=side, held=held, value="", onset_rate=moved, arousal=moved)
        rows.append(row)
    return pd.DataFrame(rows)


def _mediated(w):
    return pd.DataFrame(
        dict(emotion=w.labels, tempo=w.x, valence=w.x + w.x2, level=w.X[:, 3], prompt=w.units)
    )


def _matched(w):
    from musicgen_emotion.stimuli import matched_pairs

    return matched_pairs("happy", "sad", 4)


def _text_pairs(w):
    from musicgen_emotion.causes import Pairs

    return Pairs(["a happy song"], ["a sad song"])


def _subspace(w):
    from musicgen_emotion.causes.alignment import Alignment

    return Alignment(np.eye(w.model.config.d_model)[:, :2], "layer_1", "by hand")


def _shares(w):
    return np.random.default_rng(0).dirichlet(np.ones(3), 6)


# The lab

LAB = {
    "check_between": lambda w: dict(name="x", value=0.5, low=0.0, high=1.0),
    "check_count": lambda w: dict(name="x", value=3),
    "check_finite": lambda w: dict(name="x", values=w.x),
    "check_number": lambda w: dict(name="x", value=3),
    "check_positive": lambda w: dict(name="x", value=3),
    "chosen_rows": lambda w: dict(name="x", chosen=[0, 2], n_rows=4),
    "check_table": lambda w: dict(name="table", table=pd.DataFrame(dict(a=[1.0]))),
    "compare_folders": lambda w: dict(folder_a=w.run_folder.parent, folder_b=w.run_folder.parent),
    "compare_runs": lambda w: dict(run_a=w.run_folder, run_b=w.run_folder),
    "atomic_write": lambda w: dict(path=w.path(".txt"), data="text"),
    "read_json": lambda w: dict(path=w.file("{}", ".json")),
    "read_table": lambda w: dict(path=w.file("a,b\n1,2\n", ".csv")),
    "write_json": lambda w: dict(path=w.path(".json"), value=dict(a=1)),
    "write_table": lambda w: dict(df=pd.DataFrame(dict(a=[1, 2])), path=w.path(".csv")),
    "sha256_file": lambda w: dict(path=w.file("{}", ".json")),
    "Gate": lambda w: dict(name="one", value=0.8, low=0.7, high=0.9, n=10, threshold=0.5),
    "Criterion": lambda w: dict(name="one", threshold=0.5, fails_on=("deaf",)),
    "Criterion.gate": lambda w: dict(self=_criterion(w), value=0.8, low=0.7, high=0.9, n=10),
    "Criterion.expected": lambda w: dict(self=_criterion(w), control="deaf"),
    "expected_matrix": lambda w: dict(criteria=[_criterion(w)]),
    "gates_table": lambda w: dict(gates=_gates(w)),
    "verdict": lambda w: dict(gates=_gates(w)),
    "read_gates": lambda w: dict(folder=w.run_folder),
    "folder_lock": lambda w: dict(folder=w.path()),
    "is_locked": lambda w: dict(folder=w.folder()),
    "git_revision": lambda w: dict(folder=w.folder()),
    "find_params": lambda w: dict(name="nano"),
    "read_params_file": lambda w: dict(name=w.file("n_perm: 10\n", ".yaml")),
    "resolve_parameters": lambda w: dict(phases=["phase0"], overrides=dict(n_perm="20")),
    "read_parameters": lambda w: dict(notebook=_phase_file(w)),
    "value_from_text": lambda w: dict(name="n", kind="int", text="12"),
    "find_phase": lambda w: dict(phase="phase0"),
    "notebook_cells": lambda w: dict(path=_phase_file(w)),
    "run_status": lambda w: dict(folder=w.run_folder),
    "plan": lambda w: dict(phase="phase0", grid=dict(seed=[0, 1])),
    "parse_seeds": lambda w: dict(text="0-4"),
    "run_gates": lambda w: dict(folder=w.run_folder),
    "markdown_table": lambda w: dict(df=pd.DataFrame(dict(a=[1, 2]))),
    "run_report": lambda w: dict(run=w.run_folder),
    "Run.gate": lambda w: dict(
        self=w.open_run(), name="one", value=0.8, low=0.7, high=0.9, threshold=0.5
    ),
    "Run.declare": lambda w: dict(self=w.open_run(), criteria=[_criterion(w)]),
    "Run.table": lambda w: dict(
        self=w.open_run(), df=pd.DataFrame(dict(a=[1, 2])), name="scores.csv"
    ),
    "Run.add_input": lambda w: dict(self=w.open_run(), path=w.file("a", ".txt")),
    "find_runs": lambda w: dict(folder=w.run_folder.parent),
    "open_run": lambda w: dict(out=w.path(), phase="a_phase", params=dict(n=1)),
    "run_manifest": lambda w: dict(folder=w.run_folder),
    "load_bounded_yaml": lambda w: dict(text="a: 1\n"),
}


def _phase_file(w):
    from musicgen_emotion.lab import find_phase

    return find_phase("phase0")


# Settings of the studies, and the command's functions

STUDIES = {
    "with_emotions": lambda w: dict(
        clips=pd.DataFrame(dict(valence=[0.5], arousal=[0.1])), emotions=["happy", "sad"]
    ),
    "music_cells": lambda w: dict(clips=pd.DataFrame(dict(tempo_bpm=[90.0], mode_score=[0.1]))),
    "balance_table": lambda w: dict(cells=_cells()),
    "balanced_rows": lambda w: dict(cells=_cells(), n=2),
    "read_headline": lambda w: dict(file=_headline(w)),
    "summary_of_run": lambda w: dict(file=_summary(w)),
    "word_units": lambda w: dict(
        prompts=["calm sea", "calm wood", "sad song"], labels=["calm", "calm", "sad"]
    ),
    "read_criteria": lambda w: dict(run=w.run_folder),
    "spread_of_interval": lambda w: dict(low=0.1, high=0.3, n=40),
    "too_many_passes": lambda w: dict(runs=20),
    "units_from_interval": lambda w: dict(low=0.1, high=0.3, n=40, effect=0.2),
}


def _cells():
    return pd.DataFrame(dict(fast=[True, False, True], major=[True, True, False]))


def _summary(w):
    file = w.path()
    file.write_text("Verdict: GO. 1 of 1 claims passed.\n\nThe score is 0.6.\n")
    return file


def _headline(w):
    from pathlib import Path

    return Path(musicgen_emotion.__file__).parents[1] / "nbs" / "findings" / "headline.json"


CLI = {
    "describe_model": lambda w: dict(name=str(w.tiny_folder)),
    "check_disk": lambda w: dict(folder=w.folder(), need_gib=0.001),
    "split_assignments": lambda w: dict(items=["a=1"]),
}

CALLS = dict(
    lab=LAB,
    stats=STATS,
    stimuli=STIMULI,
    sound=SOUND,
    show=SHOW,
    models=MODELS,
    activations=ACTIVATIONS,
    probes=PROBES,
    sae=SAE,
    steering=STEERING,
    causes=CAUSES,
    studies=STUDIES,
    cli=CLI,
)


# helpers whose callers have checked the arguments: they are called with valid ones only
INNER = {
    "models.piece_counter", "models.silence",
    "activations.check_column_names", "activations.first_position", "activations.flac_bytes",
    "activations.frame_counts", "activations.null_text", "activations.pad_tokens",
    "activations.position_seconds", "activations.replay_request", "activations.text_rows",
    "activations.token_bytes", "activations.token_counts", "activations.trim_special",
    "activations.window_positions", "causes.cell_table", "causes.fingerprints",
    "causes.other_pairs", "causes.resampled_sums", "lab.check_between", "lab.check_finite",
    "lab.check_table", "lab.chosen_rows", "models.ModelConfig.positions", "models.clip_seeds",
    "models.delay_tokens", "models.delayed_sequence", "models.equal_length_batches",
    "models.folder_kind", "models.lacking", "models.layer_list", "models.layer_site",
    "models.prompts_per_clip", "models.undelay_tokens", "models.write_tokenizer",
    "probes.class_codes", "probes.penalty_grid", "sae.read_config", "show.axes_grid",
    "show.axis_label", "show.check_columns", "show.check_numbers", "show.color_of",
    "show.emotion_order", "sound.check_key", "sound.check_samples", "sound.clip_sounds",
    "sound.crossed_bootstrap", "sound.crossed_se", "sound.encoded_sound",
    "sound.estimate_register", "sound.estimate_tempo", "sound.key_scores",
    "sound.mean_influence", "sound.mel_spectrum", "sound.mfcc", "sound.onset_strength",
    "sound.onset_times", "sound.opaque_clip_ids", "sound.percussiveness",
    "sound.pitch_classes", "sound.rater_plan", "sound.spectral_peaks", "sound.tempo_scores",
    "stats.Estimate.excludes", "stats.Estimate.table_row", "stats.bootstrap_weights",
    "stats.factor_codes", "stats.finite_array", "stats.interval", "stats.label_per_group",
    "stats.sampling_units", "steering.as_scores", "steering.check_vector",
    "steering.match_pairs", "steering.named_judges", "steering.push_length",
    "steering.push_places", "steering.renamed", "steering.resample", "steering.site_width",
    "stimuli.drum_track", "stimuli.prompt_row", "stimuli.rescale", "stimuli.score_notes",
    "stimuli.shuffled_cycles", "stimuli.tone", "stimuli.whole_number",
}  # fmt: skip


def public_functions():
    "Name `folder.function` or `folder.Class.method` -> the object, over all `__all__`."
    found = {}
    for folder in pkgutil.iter_modules(musicgen_emotion.__path__):
        if not folder.ispkg:
            continue
        package = importlib.import_module(f"musicgen_emotion.{folder.name}")
        for file in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{file.name}")
            for name in getattr(module, "__all__", ()):
                item = getattr(module, name)
                if not callable(item):
                    continue
                found[f"{folder.name}.{name}"] = item
                if inspect.isclass(item):
                    found |= _methods(f"{folder.name}.{name}", item)
    return found


def _methods(name, owner):
    found = {}
    for method in vars(owner):
        if not method.startswith("_") and callable(getattr(owner, method)):
            found[f"{name}.{method}"] = getattr(owner, method)
    return found


def call(function, arguments):
    "The result of a call; contexts are entered and left, iterators are read."
    arguments = dict(arguments)
    if "self" in arguments:
        owner = arguments.pop("self")
        bound = getattr(owner, function.__name__)
    else:
        bound = function
    result = bound(**arguments)
    if isinstance(result, contextlib.AbstractContextManager) and isinstance(result, Iterator):
        raise AssertionError("a context manager is no iterator")
    if hasattr(result, "gen") and hasattr(result, "__enter__"):
        with result as inside:
            return inside
    if isinstance(result, Iterator):
        return list(result)
    return result
