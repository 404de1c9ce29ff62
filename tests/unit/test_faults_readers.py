"Readers of sound, models, kernels and tables: read right, or refused by name."

import json
import operator
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_faults_commands import DAMAGE, INTERNAL, wrong_parts

from musicgen_emotion.lab.reasons import NO_PLAIN_REASON, plain_reason, plain_words
from musicgen_emotion.sound.descriptors import (
    DESCRIPTORS,
    describe_table,
    mono_clips,
    read_channels,
)
from musicgen_emotion.steering.clap import ClapJudge, write_random_clap
from musicgen_emotion.steering.judges import run_judge, user_judge
from musicgen_emotion.stimuli.captions import load_norms

SR = 16000


def tone(seconds=2.5, pitch=440.0, sr=SR):
    "A sine, (sample,) float32."
    time = np.arange(int(seconds * sr)) / sr
    return (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


# ---- reasons in plain words


def python_errors():
    "Errors that Python and its libraries raise for values of another kind, each caught once."
    attempts = [
        lambda: operator.getitem(None, "a"),
        lambda: operator.attrgetter("missing")(1),
        lambda: operator.getitem([1], 5),
        lambda: operator.getitem([1], "a"),
        lambda: operator.getitem({}, "status"),
        lambda: dict([1]),
        lambda: int("x"),
        lambda: float("x"),
        lambda: len(3),
        lambda: operator.lt(3, "a"),
        lambda: hash([]),
        lambda: operator.add("a", 1),
        lambda: json.loads("{"),
        lambda: json.loads("[" * 100_000),
        lambda: b"\xff".decode(),
        lambda: Path("/nowhere/at/all").read_text(),
        lambda: Path("/tmp").read_text(),
        lambda: plain_reason(),
        lambda: plain_reason(b=1),
        lambda: dict(**{"a": 1}, a=2),
        lambda: np.zeros(3)[7],
        lambda: pd.DataFrame()["a"],
        lambda: json.dumps(object()),
        lambda: operator.truediv(1, 0),
    ]
    for attempt in attempts:
        try:
            attempt()
        except Exception as error:
            yield error
        else:
            raise AssertionError("an attempt did not fail")


def test_a_reason_holds_nothing_of_python():
    for error in python_errors():
        reason = plain_reason(error)
        assert reason and not INTERNAL.search(reason), (error, reason)
        assert "\n" not in reason


@pytest.mark.parametrize(
    "sentence",
    [
        "seed must be a whole number from 0 to 9; got 1.7",
        "site layer_99 does not exist; this model has text, embed and layer_0..layer_2",
        "clips must have shape (clip, sample); got (2, 0)",
    ],
)
def test_a_sentence_for_people_is_kept(sentence):
    for kind in (ValueError, KeyError, TypeError, RuntimeError, FileNotFoundError):
        assert plain_reason(kind(sentence)) == sentence
    assert plain_words(f"cell 3 (x): ValueError: {sentence}") == f"cell 3 (x): {sentence}"
    assert plain_words("'NoneType' object is not iterable") == NO_PLAIN_REASON


# ---- sound


def damaged_sounds(folder):
    "Paths of files that are no sound, with a word of the reason."
    import soundfile as sf

    whole = folder / "whole.flac"
    sf.write(whole, tone(), SR)
    data = whole.read_bytes()
    found = {}
    for name, content in dict(
        empty=b"", text=b"no sound", cut=data[: len(data) // 3], zeros=bytes(1000), header=data[:42]
    ).items():
        (folder / f"{name}.flac").write_bytes(content)
        found[name] = folder / f"{name}.flac"
    sf.write(folder / "silent_end.wav", np.zeros(0, np.float32), SR)
    (folder / "folder.wav").mkdir()
    found |= dict(no_samples=folder / "silent_end.wav", folder=folder / "folder.wav")
    return whole, found | dict(missing=folder / "missing.wav")


def test_damaged_sound_is_refused_by_name(tmp_path):
    whole, damaged = damaged_sounds(tmp_path)
    assert read_channels(whole)[0].shape == (int(2.5 * SR), 1)
    for name, path in damaged.items():
        if name == "cut":  # what is there is read
            continue
        with pytest.raises((ValueError, FileNotFoundError), match=path.name):
            read_channels(path)


def test_one_damaged_sound_costs_its_own_row(tmp_path):
    whole, damaged = damaged_sounds(tmp_path)
    del damaged["cut"]
    with pytest.warns(UserWarning, match="could not be described"):
        table = describe_table([whole, *damaged.values(), whole], progress=False)
    assert list(table.columns) == ["clip", *DESCRIPTORS, "problem"]
    assert table.problem.iloc[[0, -1]].tolist() == ["", ""]
    alone = describe_table([whole], progress=False)
    pd.testing.assert_frame_equal(table[alone.columns].iloc[[0]], alone, check_dtype=False)
    for path, problem in zip(damaged.values(), table.problem[1:-1]):
        assert path.name in problem
    assert table.tempo_bpm[1:-1].isna().all()
    with pytest.raises(ValueError, match="empty"):
        describe_table([damaged["empty"]], progress=False)


def test_judges_read_files_and_name_the_damaged_ones(tmp_path):
    whole, damaged = damaged_sounds(tmp_path)
    del damaged["cut"]
    judge = user_judge(lambda wave, rate: float(np.abs(wave).max()), "peak", per_clip=True)
    stereo = np.stack([tone(), tone()])
    clips = [whole, *damaged.values(), stereo, stereo.T, np.zeros(0), tone()]
    table = run_judge(judge, clips, SR, progress=False)
    is_good = table.problem == ""
    assert is_good.tolist() == [True, *[False] * (len(damaged) + 0), True, False, False, True]
    assert np.allclose(table.peak[is_good], 0.3, atol=1e-3)
    for path, problem in zip(damaged.values(), table.problem[1:]):
        assert path.name in problem
    other_rate = run_judge(judge, [whole, tone()], 8000, progress=False)
    assert "16000 Hz" in other_rate.problem[0] and other_rate.problem[1] == ""
    with pytest.raises(TypeError, match="put it in a list"):
        run_judge(judge, str(whole), SR, progress=False)


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    return ClapJudge(write_random_clap(tmp_path_factory.mktemp("clap")))


def layouts():
    "Sounds of two clips in every layout that is accepted."
    clips = np.stack([tone(), tone(pitch=660.0)])  # (clip, sample)
    return dict(
        mono=clips,
        stereo=np.stack([clips, clips], 1),
        one_channel=clips[:, None],
        listed=list(clips),
        listed_stereo=[np.stack([clip, clip]) for clip in clips],
    )


@pytest.mark.parametrize("layout", layouts())
def test_stereo_is_one_clip_for_clap(layout, clap):
    expected = clap.embed(layouts()["mono"], SR)
    assert np.allclose(clap.embed(layouts()[layout], SR), expected, atol=1e-5)


@pytest.mark.parametrize("layout", layouts())
def test_stereo_is_one_clip_for_the_guard(layout, tiny):
    from musicgen_emotion.steering.guard import quality_guard

    tokens = np.random.default_rng(0).integers(0, tiny.config.vocab_size, (2, 4, 50))
    audio = layouts()[layout]
    measured = quality_guard(
        tiny, tokens, ["a", "b"], tokens, audio=audio, reference_audio=layouts()["mono"]
    )
    steered, reference = (part for _, part in measured.clips.groupby("arm", sort=False))
    assert np.allclose(steered.silence, reference.silence)


WRONG_LAYOUTS = dict(
    time_first=(np.zeros((SR, 2), np.float32), ValueError),
    clips_time_channel=(np.zeros((2, SR, 2), np.float32), ValueError),
    no_samples=(np.zeros((2, 0), np.float32), ValueError),
    no_clips=(np.zeros((0, SR), np.float32), ValueError),
    integers=(np.zeros((2, SR), np.int16), TypeError),
    nan=(np.full((2, SR), np.nan, np.float32), ValueError),
    four_axes=(np.zeros((2, 1, 1, SR), np.float32), ValueError),
    lengths=([tone(2.0), tone(3.0)], ValueError),
)


@pytest.mark.parametrize("name", WRONG_LAYOUTS)
def test_wrong_layouts_are_refused_at_once(name, clap, tiny):
    from musicgen_emotion.steering.distances import mel_embedding
    from musicgen_emotion.steering.guard import quality_guard
    from musicgen_emotion.steering.token_quality import silence

    audio, kind = WRONG_LAYOUTS[name]
    tokens = np.zeros((2, 4, 50), int)
    calls = [
        lambda: mono_clips(audio),
        lambda: clap.embed(audio, SR),
        lambda: quality_guard(tiny, tokens, ["a", "b"], tokens, audio=audio),
        lambda: mel_embedding(audio, SR),
        lambda: silence(audio, SR),
    ]
    for call in calls:
        with pytest.raises(kind, match="audio"):
            call()
    with pytest.raises(ValueError, match="one clip per row of tokens, 2; got"):
        quality_guard(tiny, tokens, ["a", "b"], tokens, audio=np.zeros((3, SR), np.float32))


# ---- files of judges, directions and tables


def saved_files(folder):
    "Files that `load` reads back: the reader, the path that it gets, and the file to damage."
    from musicgen_emotion.sound.label_judge import LabelJudge
    from musicgen_emotion.sound.listener import ListenerModel
    from musicgen_emotion.steering.directions import Direction, load_directions, save_directions

    values = np.random.default_rng(0).normal(size=(40, 2))
    table = pd.DataFrame(values, columns=["tempo_bpm", "rms_db"])
    judge = LabelJudge(descriptors=("tempo_bpm", "rms_db")).fit(table, ["a", "b"] * 20)
    judge.save(folder / "judge.json")
    ListenerModel.load().save(folder / "listener.json")
    save_directions(folder / "sad", {"sad": Direction(np.ones(8, np.float32), "layer_1", "a test")})
    return {
        "judge.json": (LabelJudge.load, folder / "judge.json", folder / "judge.json"),
        "listener.json": (ListenerModel.load, folder / "listener.json", folder / "listener.json"),
        "directions.json": (load_directions, folder / "sad", folder / "sad/directions.json"),
        "directions.safetensors": (
            load_directions,
            folder / "sad",
            folder / "sad/directions.safetensors",
        ),
    }


FILES = ("judge.json", "listener.json", "directions.json", "directions.safetensors")


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_name(name, tmp_path):
    for i, damage in enumerate(DAMAGE.values()):
        folder = tmp_path / str(i)
        folder.mkdir()
        read, path, file = saved_files(folder)[name]
        read(path)
        damage(file)
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            read(path)
        assert path.name in str(error.value) and not INTERNAL.search(str(error.value))


@pytest.mark.parametrize("name", FILES[:2])
def test_a_wrong_part_of_a_judge_is_refused_by_name(name, tmp_path):
    read, path, file = saved_files(tmp_path)[name]
    content = json.loads(file.read_text())
    n_refused = 0
    for wrong in wrong_parts(content):
        file.write_text(json.dumps(wrong))
        try:
            read(path)
        except ValueError as error:
            n_refused += 1
            assert name in str(error) and not INTERNAL.search(str(error))
    assert n_refused > 10


NORMS = "Words,Length,AROU,,,VAL,,\n,,M,SD,N,M,SD,N\nnice,4,4.5,1,30,6.5,1,31\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (NORMS.replace("4.5", "45"), "arousal.*outside 1 to 9"),
        (NORMS.replace("6.5", "1e400"), "line 3: valence is '1e400'"),
        (NORMS.replace(",31", ",3.5"), "whole number"),
        (NORMS.replace("4.5", ""), "arousal is empty"),
        (NORMS.replace("4.5", "4,5"), "9 cells for 8 columns"),
        (NORMS.replace("nice,4,4.5", "nice"), "line 3: the row has 6 cells"),
    ],
)
def test_norms_are_refused_with_their_file(text, reason, tmp_path):
    (tmp_path / "norms.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"norms\.csv.*{reason}"):
        load_norms(tmp_path / "norms.csv")


def test_labels_beside_embeddings_are_read_as_written(tmp_path):
    from musicgen_emotion.activations.texts import load_embeddings

    np.save(tmp_path / "embeddings.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "prompts.csv").write_bytes('prompt\ncafé\nNA\n"slow, sad"\n'.encode("latin-1"))
    (tmp_path / "labels.csv").write_text("emotion;n\nhappy;1\nsad;2\ncalm;3\n")
    found = load_embeddings(tmp_path, labels=tmp_path / "labels.csv")
    assert list(found.labels) == ["happy", "sad", "calm"]
    assert found.prompts == ["café", "NA", "slow, sad"]
    (tmp_path / "labels.csv").write_text("emotion\n0\n1\n2\n")
    by_number = load_embeddings(tmp_path, labels=tmp_path / "labels.csv")
    assert list(by_number.labels) == ["happy", "sad", "calm"]
    (tmp_path / "labels.csv").write_bytes(b"PK\x03\x04 workbook")
    with pytest.raises(ValueError, match=r"labels\.csv is an Excel workbook"):
        load_embeddings(tmp_path, labels=tmp_path / "labels.csv")


def test_the_size_in_a_header_is_compared_with_the_file(tmp_path):
    from musicgen_emotion.activations.texts import load_embeddings
    from musicgen_emotion.sae.tensor_files import read_tensors

    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 768), }"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    (tmp_path / "embeddings.npy").write_bytes(start + bytes(64))
    (tmp_path / "labels.npy").write_bytes(start + bytes(64))
    with pytest.raises(ValueError, match=r"embeddings\.npy"):
        load_embeddings(tmp_path)
    entry = dict(W=dict(dtype="F32", shape=[10**9, 768], data_offsets=[0, 4 * 768 * 10**9]))
    text = json.dumps(entry).encode()
    for name, data in dict(
        far=len(text).to_bytes(8, "little") + text, long=(2**62).to_bytes(8, "little") + text
    ).items():
        (tmp_path / f"{name}.safetensors").write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name}\.safetensors"):
            read_tensors(tmp_path / f"{name}.safetensors")


# ---- models


@pytest.fixture(scope="module")
def raw(tiny_folder):
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(str(tiny_folder))
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_folder))
    return model, tokenizer(["sad piano", "happy"], return_tensors="pt", padding=True)


def recorded(raw, **inputs):
    "What an extractor keeps while transformers' own generate runs: clips, branches, steps."
    from musicgen_emotion.activations import ActivationExtractor

    extractor = ActivationExtractor(raw, layers=[1])
    with extractor:
        raw.generate(**inputs, max_new_tokens=6)
    [[array]] = [arrays for arrays in extractor.get_activations(concatenate=False).values()]
    return array.coords["clip"].values.tolist(), array.branch.values.tolist(), array.sizes


def test_own_generate_has_its_clips_and_branches(raw):
    model, inputs = raw
    both = ["cond", "null"]
    assert recorded(model, **inputs)[:2] == ([0, 1], both)
    sound = torch.randn(2, 1, 4000) * 0.1
    clips, branches, sizes = recorded(model, **inputs, input_values=sound)
    assert (clips, branches) == ([0, 1], both) and sizes["timestep"] > 6
    assert recorded(model, **inputs, guidance_scale=1.0)[:2] == ([0, 1], ["cond"])
    unconditional = model.get_unconditional_inputs(num_samples=2)
    assert recorded(model, **unconditional)[:2] == ([0, 1], ["null"])


def test_two_runs_in_one_block_are_two_batches(raw):
    from musicgen_emotion.activations import ActivationExtractor

    model, inputs = raw
    ids = torch.full((2 * 4, 5), 3)
    extractor = ActivationExtractor(model, layers=[1])
    with extractor, torch.no_grad():
        for _ in range(2):
            model(**inputs, decoder_input_ids=ids)
    [arrays] = extractor.get_activations(concatenate=False).values()
    assert [array.coords["clip"].values.tolist() for array in arrays] == [[0, 1], [2, 3]]


def training_state(model):
    "Mode of every module and the switch of every weight."
    modes = [module.training for module in model.modules()]
    return modes, [weight.requires_grad for weight in model.parameters()]


def test_wrapping_leaves_a_model_in_training_as_it_was(raw, tmp_path):
    from musicgen_emotion.activations import ActivationExtractor, ClipStore, generate_clips
    from musicgen_emotion.models.load import as_model, randomized

    model, inputs = raw
    expected = as_model(model.eval()).encode_text(["sad piano"]).states
    model.train()
    model.text_encoder.requires_grad_(False)
    before = training_state(model)
    wrapped = as_model(model)
    assert torch.equal(wrapped.encode_text(["sad piano"]).states, expected)
    extractor = ActivationExtractor(model, layers=[1])
    with extractor:
        model.generate(**inputs, max_new_tokens=4)
    extractor.generate("sad piano", duration_s=0.1)
    with pytest.raises(RuntimeError), extractor:
        raise RuntimeError("a run that fails")
    settings = dict(seeds=[0], duration_s=0.1, independent=False)
    generate_clips(wrapped, ["slow"], ClipStore(tmp_path / "store"), **settings)
    control = randomized(model)
    assert training_state(model) == before
    assert not control.hf.training
    model.eval().requires_grad_(True)


def test_gradients_of_attribution_stay_off_the_weights(raw):
    from musicgen_emotion.causes.passes import taped_run
    from musicgen_emotion.models.load import as_model

    model, _ = raw
    model.train().requires_grad_(True)
    wrapped = as_model(model)
    ids = torch.full((1, 4, 5), 3)
    run = taped_run(wrapped, wrapped.encode_text(["sad"]), ids, ["layer_1"])
    run.logits.sum().backward()
    assert all(weight.grad is None for weight in model.parameters())
    assert model.training and all(weight.requires_grad for weight in model.parameters())
    model.eval()


@pytest.fixture(scope="module")
def melody_folder(tmp_path_factory):
    from musicgen_emotion.models.melody import write_random_melody

    return write_random_melody(tmp_path_factory.mktemp("models") / "melody")


def test_melody_has_text_embeddings_and_passes_its_trace(melody_folder):
    from musicgen_emotion.activations import text_embeddings, trace
    from musicgen_emotion.models.load import load_model

    model = load_model(melody_folder, device="cpu")
    by_model = text_embeddings(model, ["sad slow piano", "happy"])
    by_folder = text_embeddings(melody_folder, ["sad slow piano", "happy"])
    assert by_model.shape == (2, model.config.d_text)
    assert np.allclose(by_model, by_folder)
    report = trace(model)
    assert report.ok, report.verdict


def test_old_weights_work_and_pickled_objects_are_never_loaded(tiny_folder, tmp_path):
    from safetensors.torch import load_file

    from musicgen_emotion.activations import ClipStore, generate_clips
    from musicgen_emotion.models.load import load_model

    folder = Path(shutil.copytree(tiny_folder, tmp_path / "old"))
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    model = load_model(folder, device="cpu")
    settings = dict(seeds=[0], duration_s=0.1, independent=False)
    made = generate_clips(model, ["slow"], ClipStore(tmp_path / "store"), **settings)
    same = load_model(tiny_folder, device="cpu")
    again = generate_clips(same, ["slow"], ClipStore(tmp_path / "other"), **settings)
    assert made.tokens_checksum.tolist() == again.tokens_checksum.tolist()

    torch.save(dict(weights=types.SimpleNamespace(a=1)), folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pickled objects.*safetensors") as error:
        load_model(folder, device="cpu")
    assert "weights_only" not in str(error.value)


# ---- kernels


def test_a_phase_runs_in_this_python_beside_files_named_like_modules(tmp_path):
    import nbformat

    shadows = ("random", "json", "torch", "types", "numpy", "abc", "pandas")
    for folder in (tmp_path, tmp_path / "nbs"):
        folder.mkdir(exist_ok=True)
        for name in shadows:
            (folder / f"{name}.py").write_text("raise RuntimeError('shadowed')\n")
    parameters = nbformat.v4.new_code_cell("seed: int = 0  # seed\nout_dir: str = 'x'  # folder")
    parameters.metadata["tags"] = ["parameters"]
    code = f"""
import {", ".join(shadows)}, sys
from musicgen_emotion.lab.phases import start_phase
with start_phase("page", globals()) as run:
    run.gate("ends", 1, threshold=0, kind="check")
    (run.path / "python.txt").write_text(sys.executable)
"""
    page = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
    page.metadata = {}  # no kernelspec
    nbformat.write(page, tmp_path / "nbs" / "page.ipynb")
    foreign = tmp_path / "share" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = dict(argv=["/bin/false"], display_name="another Python", language="python")
    (foreign / "kernel.json").write_text(json.dumps(spec))
    done = run_command(tmp_path, "run", "nbs/page.ipynb", "--out", "res")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "res/page/python.txt").read_text() == sys.executable


def run_command(folder, *words):
    "The command in a process of its own, whose kernels are those of `folder`."
    root = str(Path(__file__).parents[2])
    share = str(folder / "share")
    found = dict(PYTHONPATH=root, PYTHONSAFEPATH="1", JUPYTER_DATA_DIR=share, JUPYTER_PATH=share)
    code = "from musicgen_emotion.cli import app; app()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **found},
        timeout=300,
    )
