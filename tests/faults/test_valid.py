"""Valid input is accepted: every form of every argument, optional arguments, and old folders.

`python -m pytest tests/faults/test_valid.py -rP` prints how many functions and inputs there are.
"""

import inspect
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from calls import CALLS, INNER, call, public_functions
from valid import UNICODE, forms, is_same

NAMES = [f"{folder}.{name}" for folder, table in CALLS.items() for name in table]


@pytest.fixture(scope="module")
def functions():
    return public_functions()


@pytest.fixture(scope="module")
def counted():
    "Functions and inputs that were tried; printed at the end of the module."
    numbers = dict(functions=0, inputs=0)
    yield numbers
    print(f"{numbers['functions']} functions, {numbers['inputs']} valid inputs, 0 refusals")


@pytest.mark.parametrize("name", NAMES)
def test_valid_forms(world, functions, counted, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    function = functions[name]
    folder, short = name.split(".", 1)
    make = CALLS[folder][short]
    expected = call(function, make(world))
    wrong, n_inputs = [], 1
    for parameter in inspect.signature(function).parameters.values():
        value = make(world).get(parameter.name, parameter.default)
        for label, form in [] if name in INNER else forms(function, parameter, value):
            n_inputs += 1
            arguments = make(world) | {parameter.name: form}
            try:
                result = call(function, arguments)
            except Exception as error:
                wrong.append(f"{parameter.name} as {label}: {type(error).__name__}: {error}")
                continue
            if label != "None" and not is_same(expected, result):
                wrong.append(f"{parameter.name} as {label}: another result")
    counted["functions"] += 1
    counted["inputs"] += n_inputs
    assert not wrong, f"{len(wrong)} of {n_inputs} inputs of {name}:\n" + "\n".join(wrong)


# Texts


@pytest.mark.parametrize(
    "text", ["a happy song", UNICODE, "ein fröhliches Lied", "x" * 300, "a\nb"]
)
def test_any_text_is_one_prompt(world, text):
    from musicgen_emotion.activations import generate, generate_clips, text_embeddings

    made = generate(world.model, text, 0, 0.1, audio=False, progress=False)
    assert len(made.tokens) == 1
    assert text_embeddings(world.model, text, progress=False).shape[0] == 1
    rows = generate_clips(world.model, text, world.path(), 0, 0.1, progress=False)
    assert rows.prompt.tolist() == [text]


def test_tables_of_one_row(world):
    from musicgen_emotion.activations import generate_clips
    from musicgen_emotion.lab import markdown_table, read_table, write_table

    one = pd.DataFrame(dict(prompt=["a happy song"], emotion=pd.Categorical(["happy"])))
    rows = generate_clips(world.model, one, world.path(), np.int64(0), 0.1, progress=False)
    assert rows.emotion.tolist() == ["happy"]
    path = write_table(rows, world.path(".parquet"))
    assert len(read_table(path)) == 1
    assert "happy" in markdown_table(rows)


def test_a_store_may_be_empty(world):
    from musicgen_emotion.activations import ClipStore

    store = ClipStore(world.path())
    assert len(store) == 0 and "x" not in store and not len(store.table)
    assert store.verify() == 0
    assert store.codes([]).shape[0] == 0


# Folders of earlier versions


@pytest.fixture
def old(tmp_path):
    "Stores, runs, directions and dictionaries as version 0.1 of their formats wrote them."
    folder = tmp_path / "old folders"
    with zipfile.ZipFile(Path(__file__).with_name("old_layouts.zip")) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def old_model(tmp_path_factory):
    "The model whose clips are in the old stores."
    from musicgen_emotion.models import load_model
    from musicgen_emotion.models.tiny import write_random_model

    folder = write_random_model(tmp_path_factory.mktemp("old") / "tiny", sample_rate=8000)
    return load_model(folder, device="cpu")


@pytest.mark.parametrize("kind", ["store", "killed_store"])
def test_old_stores_are_read(old, kind):
    from musicgen_emotion.activations import ClipStore

    store = ClipStore(old / kind)
    ids = store.table.clip_id.tolist()
    assert len(store) == len(ids) == 3 and ids[0] in store
    assert store.codes().shape == (3, 4, 5)
    assert store.codes(ids[1:2]).shape == (1, 4, 5)
    wave, rate = store.audio(ids[0])
    assert rate == 8000 and np.isfinite(wave).all()
    assert store.verify() == 3


@pytest.mark.parametrize("kind", ["store", "killed_store"])
def test_old_stores_grow_and_keep_their_clips(world, old, old_model, kind):
    from musicgen_emotion.activations import ClipStore, generate_clips

    before = ClipStore(old / kind).table.set_index("clip_id")
    codes = ClipStore(old / kind).codes(before.index)
    sounds = {path.stem: path.read_bytes() for path in (old / kind / "audio").rglob("*.flac")}
    how = dict(seeds=0, duration_s=0.1, progress=False)
    rows = generate_clips(old_model, world.prompt_table, old / kind, **how)
    assert set(before.index) < set(rows.clip_id) and len(rows) == 4
    store = ClipStore(old / kind)
    assert np.array_equal(store.codes(before.index), codes)
    after = store.table.set_index("clip_id").loc[before.index]
    assert after.prompt.tolist() == before.prompt.tolist()
    assert after.emotion.tolist() == before.emotion.tolist()
    kept = {path.stem: path.read_bytes() for path in (old / kind).rglob("*.flac")}
    assert {name: kept[name] for name in sounds} == sounds
    assert store.verify() == 4


def test_an_old_store_is_replayed(old, old_model):
    from musicgen_emotion.activations import replay_store

    out = replay_store(
        old_model, old / "store", ["layer_1"], old / "new.zarr", pool=None, progress=False
    )
    assert out.exists()


@pytest.mark.parametrize("kind", ["states", "pooled"])
def test_old_activations_are_read_and_found_complete(old, old_model, kind):
    from musicgen_emotion.activations import replay_store
    from musicgen_emotion.sae import StoreBatches

    pool = None if kind == "states" else "mean"
    before = {path: path.read_bytes() for path in (old / f"{kind}.zarr" / "layer_1").rglob("*.*.*")}
    out = replay_store(
        old_model, old / "store", ["layer_1"], old / f"{kind}.zarr", pool=pool, progress=False
    )
    assert all(path.read_bytes() == data for path, data in before.items())
    if kind == "states":
        assert StoreBatches(out, "layer_1", batch_size=4).d_in == 32


def test_old_runs_are_read_and_go_on(old):
    from musicgen_emotion.lab import (
        compare_runs,
        find_runs,
        open_run,
        read_gates,
        run_report,
        run_status,
    )

    run = old / "results" / "phase0_foundation"
    assert len(find_runs(old / "results")) == 2
    assert set(run_status(old / "results").status) == {"finished", "interrupted"}
    assert [gate.name for gate in read_gates(run)] == ["score"]
    assert "score" in run_report(run)
    assert compare_runs(run, run).same
    with open_run(old / "results" / "unfinished", "phase0_foundation", dict(seed=1)) as resumed:
        resumed.table(pd.DataFrame(dict(a=[2])), "more.csv")
    assert (old / "results" / "unfinished" / "scores.csv").exists()


def test_old_directions_and_dictionaries_are_read(old):
    from musicgen_emotion.activations import load_embeddings
    from musicgen_emotion.sae import SparseAutoencoder, dictionary_form, load_dictionary
    from musicgen_emotion.sound import LabelJudge
    from musicgen_emotion.steering import Direction, load_directions

    assert Direction.load(old / "direction").site == "layer_1"
    assert sorted(load_directions(old / "directions")) == ["happy", "sad"]
    for folder in (old / "dictionary", old / "training"):
        assert dictionary_form(folder)
        assert load_dictionary(folder).d_in == 6
        assert SparseAutoencoder.from_pretrained(folder).d_sae == 12
    assert len(load_embeddings(old / "embeddings").vectors) == 4
    assert LabelJudge.load(old / "judge.json").classes


def test_old_trainings_and_sweeps_go_on(world, old):
    from musicgen_emotion.sae import SAEConfig, TrainConfig, sweep, train_sae

    config = TrainConfig(
        steps=20, batch_size=32, eval_every=5, window=5, warmup=1, l1_warmup=1, checkpoint_every=5
    )
    how = dict(groups=np.arange(400), progress=False)
    weights = (old / "training" / "dictionary.safetensors").read_bytes()
    train_sae(world.rows, SAEConfig(6, 2), config, folder=old / "training", **how)
    assert (old / "training" / "dictionary.safetensors").read_bytes() == weights
    grid = dict(l1=[0.001, 0.01])
    table = sweep(world.rows, grid, SAEConfig(6, 2), config, folder=old / "sweep", **how)
    assert len(table) == 2 and len(list((old / "sweep").glob("*/dictionary.safetensors"))) == 2


def test_an_old_dose_study_goes_on(world, old, old_model):
    from calls import loudness_judge

    from musicgen_emotion.steering import dose_response

    made = sorted(path.name for path in (old / "doses").rglob("*.flac"))
    table = dose_response(
        old_model, world.prompts[:1], world.direction, [-0.1, 0.1], loudness_judge,
        old / "doses", duration_s=0.1, progress=False,
    )  # fmt: skip
    assert sorted(path.name for path in (old / "doses").rglob("*.flac")) == made
    assert len(table) == len(made)


def test_copies_of_old_folders_are_the_same(old):
    "A folder that was only read keeps its bytes."
    from musicgen_emotion.activations import ClipStore

    copy = shutil.copytree(old / "store", old / "copy")
    ClipStore(copy).verify()
    names = [path.relative_to(old / "store") for path in (old / "store").rglob("*")]
    for name in names:
        if (old / "store" / name).is_file():
            assert (copy / name).read_bytes() == (old / "store" / name).read_bytes()
