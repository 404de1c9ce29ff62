"Phase 0: settings that are refused, sentences that can say no, and steps on a tiny model."

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.lab.runs import open_run
from musicgen_emotion.models.load import randomized
from musicgen_emotion.probes.folds import leave_word_out
from musicgen_emotion.probes.linear import probe_layers
from musicgen_emotion.stimuli.emotions import EMOTION_WORDS
from musicgen_emotion.stimuli.other_words import OTHER_EMOTION_WORDS
from musicgen_emotion.stimuli.prompts import study_prompts
from musicgen_emotion.stimuli.word_lists import share_stem, stem_groups
from musicgen_emotion.studies import (
    FOUNDATION_CRITERIA,
    READ_UNSEEN,
    FoundationScores,
    FoundationSettings,
    FoundationStudy,
    LayerStudy,
    TextStudy,
    centroids_sentence,
    controlled_model,
    encodes_sentence,
    gates_sentence,
    gates_step,
    generalization_sentence,
    label_sentence,
    plant,
    repeats_sentence,
    settings_from,
    similarity_sentence,
    start_study,
    summary_sentences,
    tempo_sentence,
    words_read,
)


def test_clips_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match=r"duration_s must be at least 2 s.*got 1\.5"):
        FoundationSettings(duration_s=1.5)


def test_a_missing_parameter_is_named():
    with pytest.raises(KeyError, match="text_emotions"):
        settings_from(FoundationSettings, dict(model="nano", backend="auto"))


@pytest.mark.parametrize(("p", "answer"), [(0.01, "are more alike"), (0.3, "are not more alike")])
def test_similarity_sentence_follows_p(p, answer):
    row = pd.Series(dict(difference=0.1, low=0.0, high=0.2, p=p, n=20))
    assert answer in similarity_sentence(row)


@pytest.mark.parametrize(("holds", "answer"), [(True, "encode"), (False, "do not encode")])
def test_encodes_sentence_follows_the_rule(holds, answer):
    row = pd.Series(
        dict(
            encodes=holds,
            baseline="bag of words",
            score=0.6,
            baseline_score=0.4,
            difference=0.2,
            low=-0.1,
            high=0.3,
            n=20,
        )
    )
    assert f"Text states {answer} emotion" in encodes_sentence(row)


def test_label_sentence_is_decided_on_the_lower_end():
    sounds = dict(value=0.9, low=0.85, high=0.95, n=100)
    unsure = dict(value=0.9, low=0.7, high=0.95, n=100)
    assert "Clips sound like" in label_sentence(sounds, "fitted")
    assert "Clips do not all sound" in label_sentence(unsure, "fitted")


def test_sentences_of_the_text_say_yes_and_no():
    rows = [
        dict(n=8, arm=arm, similarity=value, low=value - 0.1, high=value + 0.1)
        for arm, value in dict(between=0.2, ceiling=0.9, floor=0.8).items()
    ]
    curve = pd.DataFrame(rows)
    assert "two emotions are less alike" in centroids_sentence(curve)
    assert "are not clearly less alike" in centroids_sentence(curve.assign(high=1.0))
    row = pd.Series(dict(value=1.0, low=1.0, high=1.0, n=40, mismatched=0.02))
    assert repeats_sentence(row).startswith("The same prompt gives the same state")
    row["value"] = 0.9
    assert "does not give the same state" in repeats_sentence(row)
    row = dict(held_out="words", score=0.6, low=0.5, high=0.7, n_groups=16)
    table = pd.DataFrame([row | dict(text_encoder="none of these words")])
    assert "(0.50 to 0.70, n = 16 groups), above chance (0.25)" in generalization_sentence(table)
    assert "not clearly above chance" in generalization_sentence(table, chance=0.5)
    assert generalization_sentence(table).endswith("had read: none of these words.")
    trained = generalization_sentence(table.assign(text_encoder="all of these words"))
    assert trained.endswith("had read: all of these words.")


def test_capture_is_checked_by_two_gates(tiny, tmp_path):
    run = open_run(tmp_path / "run", "phase0_test")
    study = FoundationStudy(run, FoundationSettings(model="tiny", duration_s=2.0), tiny)
    step = study.check_capture()
    assert [gate.name for gate in run.gates] == [
        "all timesteps captured",
        "replay equals stepwise capture",
    ]
    assert all(gate.passed for gate in run.gates)
    assert step.table.captured.item() == 1.0
    run.close()


def test_summary_has_the_controls_and_can_say_no():
    from musicgen_emotion.probes.nested import Best
    from musicgen_emotion.stats.estimates import Estimate

    best = Best("layer_1", Estimate(0.8, 0.7, 0.9, 20), 0.01, ["layer_1"])
    text = pd.Series(dict(score=0.5, low=0.45, high=0.6, n_groups=16))
    arms = {"free": best, "text only": best, "music only": best}
    names = ["codec tokens", "acoustic descriptors"]
    inputs = pd.DataFrame(dict(name=names, score=[0.91, 0.82], low=[0.85, 0.75], high=[0.96, 0.89]))
    figure = pd.Series(dict(name="layer_3", score=0.94))
    above, holds_zero = Estimate(0.1, 0.02, 0.2, 16), Estimate(0.1, -0.01, 0.2, 16)
    scores = FoundationScores(
        text=text,
        text_baseline=0.4,
        text_above=above,
        text_chance=0.25,
        best=arms,
        random_weights=0.6,
        inputs=inputs,
        inputs_above=holds_zero,
        highest=figure,
    )
    sentences = summary_sentences(scores)
    assert "(0.45 to 0.60, n = 16 stems of words), above the strongest" in sentences[0]
    assert "up to 0.94 at layer_3: to pick that one after the fact raises" in sentences[1]
    assert "random weights reaches 0.60 from the same tokens and text." in sentences[2]
    with_music = dataclasses.replace(scores, random_music=0.7)
    assert "text, and 0.70 from the tokens alone." in summary_sentences(with_music)[2]
    assert "codec tokens alone reach 0.91 (0.85 to 0.96)" in sentences[2]
    assert "acoustic descriptors 0.82" in sentences[2]
    assert (
        "do not lie clearly above that: they read 80 of 100 clips, codec tokens read 91"
        in (sentences[2])
    )
    weak, lower = inputs.assign(score=[0.3, 0.4]), figure.replace(0.94, 0.7)
    other = dataclasses.replace(scores, text_above=holds_zero, inputs_above=above)
    unclear = summary_sentences(dataclasses.replace(other, inputs=weak, highest=lower))
    assert "not clearly above" in unclear[0]
    assert "No layer of the figure is higher" in unclear[1]
    assert "acoustic descriptors alone reach 0.40" in unclear[2]
    assert "The layers lie above that" in unclear[2]


# ---- what all studies share


def test_gates_sentence_says_the_verdict_and_what_was_missed(tmp_path):
    with open_run(tmp_path / "run", "phase0_test") as run:
        assert "No gate was decided" in gates_sentence(run.gates)
        run.gate("first", 2.0, 1.5, 2.5, threshold=1.0)
        run.gate("all captured", 1.0, threshold=1.0, direction=">=", kind="check")
        assert gates_sentence(run.gates) == "Verdict: GO. 1 of 1 claims passed."
        run.gate("second", 2.0, 0.5, 3.5, threshold=1.0)
        sentence = gates_step(run, "Phase 0").sentence
        assert sentence == "Verdict: ITERATE. 1 of 2 claims passed. Not passed: second."
        run.gate("all captured", 0.9, threshold=1.0, direction=">=", kind="check")
        assert "The checks that failed: all captured." in gates_sentence(run.gates)


def test_settings_that_cannot_work_make_no_run_folder(tmp_path):
    values = {**vars(FoundationSettings()), "duration_s": 1.0, "out_dir": str(tmp_path / "out")}
    with pytest.raises(ValueError, match="must be 2 to 600; got"):
        start_study("phase0_foundation", FoundationSettings, values)
    assert not (tmp_path / "out").exists()


def test_a_new_column_of_the_prompts_is_in_the_clip_table_and_makes_groups(tiny, tmp_path):
    "Also when the clips were made before the column."
    settings = FoundationSettings(
        model="tiny", duration_s=2.0, clips_per_emotion=3, emotions=["happy", "sad"], arm_clips=1
    )
    with open_run(tmp_path / "run", "phase0_test") as run:
        study = FoundationStudy(run, settings, tiny)
        assert study.clips().added == []
        prompts = study.clip_prompts()
        prompts["n_words"] = prompts.prompt.str.split().str.len()
        clips = study.clips(prompts)
        assert clips.added == ["n_words"]
        expected = clips.clips.prompt.str.split().str.len()
        assert (clips.clips.n_words == expected).all()
        assert "emotion" in clips.descriptors().table
        step = clips.descriptors(by="n_words")
        assert step.table.n_words.tolist() == sorted(prompts.n_words.unique())
        assert "n_words" in pd.read_csv(run.path / "audio_features.csv")
        step.plot()
        usual = {path.name: path.read_bytes() for path in run.path.glob("*.csv")}
        step = clips.descriptors(by="split")
        assert step.figures[0].name == "descriptors_by_split"
        written = pd.read_csv(run.path / "descriptors_by_split.csv")
        assert written.n_clips.tolist() == [6] and written.split.tolist() == ["train"]
        for name, content in usual.items():
            assert (run.path / name).read_bytes() == content
        with pytest.raises(ValueError, match=r"by must be one of .*did you mean 'n_words'"):
            clips.descriptors(by="n_word")


def test_groups_of_a_column_with_missing_values_leave_those_clips_out(tiny, tmp_path):
    settings = FoundationSettings(
        model="tiny", duration_s=2.0, clips_per_emotion=3, emotions=["happy", "sad"], arm_clips=1
    )
    with open_run(tmp_path / "run", "phase0_test") as run:
        study = FoundationStudy(run, settings, tiny)
        prompts = study.clip_prompts().assign(session=["a", "a", "b", "b", None, None])
        clips = study.clips(prompts)
        step = clips.descriptors(by="session")
        assert step.table.n_clips.tolist() == [2, 2]
        step.plot()
        with pytest.raises(ValueError, match="no clip has a value in the column 'revision'"):
            clips.clips["revision"] = None
            clips.descriptors(by="revision")


@pytest.mark.parametrize("name", ["tempo_bpm", "clip", "clip_id", "seed", "duration_s", "frames"])
def test_a_column_whose_name_is_taken_is_refused_before_clips_are_made(tiny, tmp_path, name):
    with open_run(tmp_path / "run", "phase0_test") as run:
        study = FoundationStudy(run, FoundationSettings(model="tiny", duration_s=2.0), tiny)
        prompts = study.clip_prompts().assign(**{name: 1})
        with pytest.raises(ValueError, match=f"a column '{name}', but that name is taken"):
            study.clips(prompts)
        assert not (run.path / "clips").exists()


def test_the_stored_column_is_that_of_the_prompts(tiny, tmp_path):
    settings = FoundationSettings(
        model="tiny", duration_s=2.0, clips_per_emotion=3, emotions=["happy", "sad"], arm_clips=1
    )
    with open_run(tmp_path / "run", "phase0_test") as run:
        study = FoundationStudy(run, settings, tiny)
        for session in ("monday", "friday"):
            clips = study.clips(study.clip_prompts().assign(session=session))
            stored = pd.read_parquet(run.path / "clips" / "clips.parquet")
            assert set(stored.session.dropna()) == set(clips.clips.session) == {session}


def test_tempo_sentence_has_the_size_of_groups_and_the_interval_of_the_difference():
    groups = pd.Series(["slow"] * 10 + ["fast"] * 12)
    tempo = pd.Series([80.0, 84.0] * 5 + [120.0, 126.0] * 6)
    sentence = tempo_sentence(tempo, groups, "session")
    assert "session fast (123 beats a minute, n = 12 clips)" in sentence
    assert "slow (82, n = 10)" in sentence
    assert "The difference is 41 (36 to 46, n = 22 clips)" in sentence
    assert "may differ by instrument or word" in sentence and "differ most" not in sentence
    assert "by hand" not in tempo_sentence(tempo, groups, "emotion")
    three = pd.concat([groups[:-1], pd.Series(["one"], index=[21])])
    assert "differ most" in tempo_sentence(tempo, three, "emotion")
    assert "no interval" in tempo_sentence(tempo[9:11], groups[9:11], "session")
    assert "does not differ" in tempo_sentence(tempo * 0, groups, "session")


def text_study(model, run, control="none", n_prompts=8, n_perm=20):
    emotions = ("happy", "sad", "calm", "energetic")
    return TextStudy(run, model, emotions, n_prompts, n_perm=n_perm, control=control)


@pytest.mark.parametrize("control", ["none", "shuffled-labels", "no-emotion"])
def test_held_out_words_of_phase_0_begin_unlike_all_trained_words(nano, tmp_path, control):
    with open_run(tmp_path / "run", "phase0_test") as run:
        prompts = text_study(nano, run, control).unseen()
    trained = [word for listed in EMOTION_WORDS.values() for word in listed]
    shared = [word for word in set(prompts.word) for other in trained if share_stem(word, other)]
    assert shared == [] and prompts.word.nunique() >= (16 if control == "no-emotion" else 48)
    listed = {word: name for name, words in OTHER_EMOTION_WORDS.items() for word in words}
    right = (prompts.word.map(listed) == prompts.emotion).mean()
    assert (right == 1) == (control == "none")  # words are dealt as those of the study
    assert set(prompts.split) == {"held_out_word", "held_out_both"}


def test_rows_of_unseen_words_say_what_the_text_encoder_had_read(nano, tmp_path):
    with open_run(tmp_path / "run", "phase0_test") as run:
        table = text_study(nano, run).generalization().table
    read = table.set_index("held_out").text_encoder
    unseen = read.index.str.startswith("words that begin like no word")
    assert (read[unseen] == READ_UNSEEN).all() and unseen.sum() == 2
    assert read[~unseen].str.startswith("all of these words").all()
    assert (table.n_groups[unseen] == 48).all()
    assert words_read(nano, True, "planted") == "nothing, it was not trained"


def test_unseen_prompts_are_read_by_a_probe_of_known_prompts_alone(nano, tmp_path, monkeypatch):
    """Labels of unseen prompts are turned: a probe that had learned from any of them would know."""
    seen = []

    def spy(states, labels, words, *, folds, **settings):
        seen.append((labels, folds))
        return probe_layers(states, labels, words, folds=folds, **settings)

    with open_run(tmp_path / "run", "phase0_test") as run:
        study = text_study(nano, run)
        monkeypatch.setattr("musicgen_emotion.studies.foundation_text.probe_layers", spy)
        unseen = study.unseen()
        turned = dict(happy="sad", sad="happy", calm="energetic", energetic="calm")
        right = study._right_on(unseen)
        wrong = study._right_on(unseen.assign(emotion=unseen.emotion.map(turned)))
    assert len(right) == len(unseen) and 0 < right.mean() < 1
    assert not ((right == 1) & (wrong == 1)).any()  # the same answers, judged by other labels
    labels, folds = seen[0]
    train, test = list(folds)[-1]
    assert test.tolist() == list(range(len(labels) - len(unseen), len(labels)))
    assert len(train) == len(labels) - len(unseen)


class OneStore:
    "Stands for the clips that carry the text-only arm."

    def __init__(self, tokens):
        self.tokens = tokens

    def codes(self, ids):
        return self.tokens[: len(ids)]


def layer_study(model, run, n_perm=39):
    "Layers of a model on clips whose tokens and texts carry the labels, probed."
    emotions = ("happy", "sad", "calm")
    prompts = study_prompts(12, emotions).table
    labels = prompts.emotion.to_numpy()
    stems = np.array(stem_groups(prompts.word.tolist()))
    codes = np.unique(labels, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    size, books = model.config.vocab_size, model.config.n_codebooks
    tokens = rng.integers(0, size, (len(labels), books, 12))
    own = rng.random(tokens.shape) < 0.3  # tokens that tell the label
    tokens = np.where(own, codes[:, None, None] * (size // 4), tokens)
    clips = SimpleNamespace(
        run=run,
        model=model,
        clips=prompts,
        tokens=tokens,
        labels=labels,
        stems=stems,
        folds=leave_word_out(labels, stems),
        emotions=emotions,
        settings=SimpleNamespace(batch_size=18, duration_s=2.0),
        store=OneStore(rng.integers(0, size, (1, books, 12))),
        neutral=pd.DataFrame(dict(clip_id=["a"])),
        cues=rng.normal(size=(len(labels), 4)) + codes[:, None],
        control="none",
    )
    study = LayerStudy(clips, n_perm)
    study.probe()
    return study


WORDS_ALONE = {"bag of words", "character n-grams", "majority", "static word vectors"}
MUSIC_ALONE = {"codec tokens", "acoustic descriptors"}
EXPECTED_BASELINES = {
    "free": WORDS_ALONE | MUSIC_ALONE,
    "music only": WORDS_ALONE | MUSIC_ALONE,
    "text only": WORDS_ALONE,  # all clips have the same music
}


def test_all_baselines_of_the_protocol_are_in_the_rule_of_layers(tiny, tmp_path):
    with open_run(tmp_path / "run", "phase0_test") as run:
        study = layer_study(randomized(tiny, 5), run)
        for arm, inputs in EXPECTED_BASELINES.items():
            names = {name for probe in study.baselines(arm) for name in probe.table.name}
            blank = {f"{layer}, random weights" for layer in study.layers}
            assert names == inputs | blank | {study.layers[0]}, arm
            folds = [probe.folds.fold for probe in study.baselines(arm)]
            assert all((fold == study.clips.folds.fold).all() for fold in folds)
        table = study.encodes().table
    rows = table[table.arm.isin(EXPECTED_BASELINES)]
    assert len(rows) == 3 * len(study.layers)
    # (the decoder has random weights, and tokens and texts tell the label)
    assert not rows.encodes.any(), rows
    free = study.probes["free"].table
    assert free.p_max.min() < 0.05  # the p of the gate that was taken out passes here


def test_later_layers_that_only_pass_on_layer_0_encode_nothing(tiny, tmp_path):
    with open_run(tmp_path / "run", "phase0_test") as run:
        study = layer_study(randomized(tiny, 5), run)
        labels, later = study.clips.labels, study.layers[1:]
        for planted_at, expected in ((study.layers, [True] + [False] * len(later)), (later, None)):
            noise = np.random.default_rng(1).normal(size=(36, 16))
            states = {layer: noise for layer in study.layers}
            states |= {layer: plant(noise, labels, 1.0) for layer in planted_at}
            only_words(study, states)
            rule = study._rule("text only")
            expected = expected or [False] + [True] * len(later)
            assert rule.encodes.tolist() == expected, rule


def only_words(study, states):
    "Probe these states as the text-only arm."
    clips = study.clips
    study.arms["text only"] = states
    study.probes["text only"] = probe_layers(
        states, clips.labels, clips.stems, folds=clips.folds, n_perm=39, progress=False
    )


@pytest.mark.parametrize("control", ["none", "random-weights"])
def test_text_states_must_beat_a_random_text_encoder(nano, tmp_path, control):
    with open_run(tmp_path / "run", "phase0_test") as run:
        study = text_study(controlled_model(nano, control), run, control, 25, 39)
        study.probe()
        names = set(pd.read_csv(run.path / "text_probes.csv").name)
    assert names >= WORDS_ALONE | {"random text encoder"}
    assert study.rule.encodes.tolist() == [control == "none"]


def test_a_p_that_random_weights_pass_is_no_gate():
    names = [criterion.name for criterion in FOUNDATION_CRITERIA]
    assert not any("max-T" in name for name in names)
    assert len([each for each in FOUNDATION_CRITERIA if each.kind == "evidence"]) == 7
