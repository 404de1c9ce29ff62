"Paths are read in one way everywhere, and files that the package did not write stay."

import functools
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import musicgen_emotion
from musicgen_emotion.lab.files import atomic_path, unfinished_files, write_json, write_table
from musicgen_emotion.lab.paths import as_path, claim_folder, inside_folder, read_marker
from musicgen_emotion.lab.runs import open_run

# ---- every public function with a path


NAMED_ONLY = {  # the path stands in messages, nothing is opened
    ("sae", "source"),
    ("advise", "path"),
    ("readable", "path"),
    ("check_tensors", "source"),
    ("find_codec", "folder"),
}
LATER = {  # read after another file, which is checked first
    ("load_embeddings", "labels"),
    ("load_prompt_embeddings", "labels"),
    ("read_answers", "files"),
}
NAMED_MODULES = ("sae.folding", "sae.format_rules", "sae.tensor_files", "sae.dictionary")
OF_THE_STORE = ("replay_store", "study_guard", "generate_clips", "ClipStore.__init__")


def is_path(parameter):
    "Whether a parameter takes a path as text."
    kind = str(parameter.annotation)
    is_plain = kind in ("Path", "Path | None") or "Iterable[Path]" in kind or "Callable" in kind
    return "Path" in kind and not is_plain


def functions_of(module):
    "Public functions and methods of a module, by their name there."
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing) and thing.__module__ == module.__name__:
            for method, function in vars(thing).items():
                if method == "__init__" or not method.startswith("_"):
                    yield f"{name}.{method}", getattr(function, "__func__", function)


def path_arguments():
    "Every (module, function, parameter) that takes a path, found by the annotations."
    found = []
    package = musicgen_emotion
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        short = info.name.split(".", 1)[1]
        if short.startswith("cli") or "__main__" in short:
            continue
        module = importlib.import_module(info.name)
        for name, function in functions_of(module) if hasattr(module, "__all__") else ():
            if not inspect.isfunction(function):
                continue
            for parameter in inspect.signature(inspect.unwrap(function)).parameters.values():
                named_only = parameter.name == "source" and short in NAMED_MODULES
                key = (name, parameter.name)
                is_named = named_only or key in NAMED_ONLY or key in LATER
                if is_path(parameter) and not is_named and name not in OF_THE_STORE:
                    found.append((short, name, parameter.name))
    return found


ARGUMENTS = path_arguments()


def linear():
    "A tiny torch module with an optimizer."
    model = torch.nn.Linear(1, 1)
    return model, torch.optim.SGD(model.parameters())


@functools.cache
def values():
    "Valid arguments by name, for those that a call needs beside the path."
    from musicgen_emotion.activations.generation import Generation
    from musicgen_emotion.sae.dictionary import SparseAutoencoder
    from musicgen_emotion.sae.settings import SAEConfig, TrainConfig
    from musicgen_emotion.steering.directions import Direction

    model, opt = linear()
    direction = Direction(np.ones(2), "residual.0", rms=1.0, origin="test")
    frame = pd.DataFrame(dict(a=[1]))
    wave = np.zeros(800, np.float32)
    found = dict(
        made=SimpleNamespace(save=lambda folder, ending: Generation.save(made, folder, ending)),
        wave=wave, sample_rate=8000, embeddings=np.ones((2, 3)), labels=["happy", "sad"],
        prompts=["a"], data="text", parts=["a"], what="a thing", value={}, df=frame, names=["a"],
        kind="thing", version=1, note=print, name="a", phase="phase0", phases=["phase0"], grid={},
        runs=[], newest=1, text_folder="absent", codec_file="absent", nano="nano", work="work",
        planted="planted", hours={},
        losses={}, model=model, opt=opt, step=1, params=list(model.parameters()),
        loss=lambda step: None, steps=1, lr=0.1, cards=[], site="residual.0",
        sae=SparseAutoencoder(2, d_sae=4), x=np.ones((4, 2)), grid_=None,
        base=SAEConfig(2), config={}, tensors={}, file_name="a.safetensors", extra={},
        ax=SimpleNamespace(), caption="caption", alt="alt", answers=frame, files="answers.csv",
        key="key.json", n_raters=2, effect={"a": 1.0}, clips=frame, out="page.html",
        directions=dict(a=direction), alphas=[0.0], judge=print, needed=dict(a=("a",)),
        accepted=["a.csv"], source="DEAM", run="run", file="state_dict.bin", dtype=torch.float32,
        device="cpu", texts=["a"], vocab_size=8, codec=None, waves=wave[None], n=1, seed=0,
        seeds=[0], circle=SimpleNamespace(),
        tokens=torch.zeros(1, 4, 8), truth=SimpleNamespace(width=32, codes={}), words=["a"],
        places=SimpleNamespace(layers={}, opening=()),
        caption_of=print,
        folder="folder", target="target", folder_a="a", folder_b="b", run_a="a", run_b="b",
    )  # fmt: skip
    made = SimpleNamespace(_sound=lambda: wave[None], sample_rate=8000)
    selves = {
        "Generation.save": made,
        "SparseAutoencoder.save_pretrained": found["sae"],
        "Direction.save": direction,
        "LabelJudge.save": SAEConfig(2),  # any dataclass
        "ListenerModel.save": SAEConfig(2),
        "SAETrainer.save": SimpleNamespace(
            sae=found["sae"],
            opt=opt,
            tracker=SimpleNamespace(counts=torch.zeros(1), rows=0),
            dead=torch.zeros(1),
            done=0,
            config=TrainConfig(),
        ),
    }
    return found, selves


def call(short, name, parameter, value):
    "Call a public function with one path, and valid arguments else."
    module = importlib.import_module(f"musicgen_emotion.{short}")
    owner, _, method = name.rpartition(".")
    given, selves = values()
    thing = getattr(getattr(module, owner), method) if owner else getattr(module, method)
    signature = inspect.signature(inspect.unwrap(thing))
    arguments = {}
    for known in signature.parameters.values():
        needed = known.default is known.empty and known.kind not in (2, 4)
        if known.name == "cls" and inspect.ismethod(thing):
            continue  # it is bound already
        if known.name == "data" and "np.ndarray" in str(known.annotation):
            arguments["data"] = np.ones((4, 2), np.float32)
        elif known.name in ("self", "cls"):
            arguments[known.name] = selves.get(name, SimpleNamespace())
        elif known.name == parameter:
            is_list = str(known.annotation).startswith("Sequence[Path")
            arguments[known.name] = [value] if is_list else value
        elif needed:
            arguments[known.name] = given[known.name]
    if method == "__init__":
        arguments.pop("self")
        return getattr(module, owner)(**arguments)
    made = thing(**arguments)
    if hasattr(made, "__enter__") and name in ("atomic_path", "folder_lock"):
        with made as path:
            path.write_text("x")
    return made


def test_the_search_for_path_arguments_finds_them():
    assert len(ARGUMENTS) > 110, len(ARGUMENTS)
    for known in (("lab.files", "write_table", "path"), ("sae.training", "train_sae", "folder")):
        assert known in ARGUMENTS


@pytest.fixture
def place(tmp_path, monkeypatch):
    "An empty working folder, and a home folder beside it."
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(("short", "name", "parameter"), ARGUMENTS)
def test_bad_paths_are_refused_by_name_and_nothing_is_written(place, short, name, parameter):
    is_phase = parameter in ("phase", "phases", "notebook") and short.startswith("lab.")
    is_phase = is_phase and name != "read_parameters"  # it takes paths alone
    refused = "is not known" if is_phase else "must be a path"
    for value in ("", "  ", "a\0b", "s3://bucket/x"):
        with pytest.raises(ValueError, match=refused):
            call(short, name, parameter, value)
    if (name, parameter) != ("text_embeddings", "encoder"):  # it takes other objects as well
        with pytest.raises((TypeError, ValueError)):
            call(short, name, parameter, 3.5)
    assert list((place / "work").iterdir()) == []


# with a valid path the call works for long
IT_WORKS = (
    "run_phase",
    "run_phases",
    "repeat_phase",
    "run_controls",
    "evaluate_nano",
    "bench_vectors",
)
QUICK = [entry for entry in ARGUMENTS if entry[1] not in IT_WORKS and entry[0][:4] != "nano"]


QUOTED = ("name", "encoder", "source", "phase", "phases", "notebook", "files")  # or a known name


@pytest.mark.parametrize(("short", "name", "parameter"), QUICK)
def test_a_home_folder_is_expanded(place, short, name, parameter):
    try:
        call(short, name, parameter, "~/there/x")
    except Exception as error:
        is_quoted = parameter in QUOTED or name in ("load_dictionary", "read_tokenizer")
        assert "~" not in str(error) or is_quoted, f"{error}"
    assert not (place / "work" / "~").exists()


@pytest.mark.filterwarnings("ignore")
def test_what_lies_in_the_home_folder_is_read(place):
    from musicgen_emotion.lab.parameters import read_params_file
    from musicgen_emotion.lab.phase_files import find_phase
    from musicgen_emotion.models.load import load_model
    from musicgen_emotion.models.tiny import write_random_model
    from musicgen_emotion.sae.formats import load_dictionary

    write_dictionary("~/dictionary")
    write_saelens(Path("~/saelens"))
    write_random_model("~/model", n_layers=1)
    (place / "home/values.yaml").write_text("n: 3")
    (place / "home/study.ipynb").write_text("{}")
    assert load_dictionary("~/dictionary").d_sae == 8
    assert load_dictionary(Path("~/saelens")).d_sae == 8
    assert load_model("~/model", device="cpu").name == "model"
    assert read_params_file("~/values.yaml") == dict(n=3)
    assert find_phase("~/study.ipynb") == place / "home/study.ipynb"
    assert not list((place / "work").iterdir())


# ---- files of others stay


FOREIGN = ("interview.flac", "cfg.json", "config.json", "sub/train.tar", "sub/.tmp-x/note.txt")


def fill(folder, names=FOREIGN):
    "A folder of somebody's files; their content by name."
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"content of {name}".encode())
    return content(folder)


def content(folder):
    "Content of every file below a folder, by name."
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def small_dictionary():
    from musicgen_emotion.sae.dictionary import SparseAutoencoder

    return SparseAutoencoder(4, d_sae=8, activation="topk", k=2).eval()


def write_dictionary(folder):
    return small_dictionary().save_pretrained(folder)


def write_saelens(folder):
    from musicgen_emotion.sae.formats import to_saelens

    return to_saelens(small_dictionary(), folder)


def write_dictionary_learning(folder):
    from musicgen_emotion.sae.formats import to_dictionary_learning

    return to_dictionary_learning(small_dictionary(), folder)


def write_sparsify(folder):
    from musicgen_emotion.sae.formats import to_sparsify

    return to_sparsify(small_dictionary(), folder)


def write_training(folder):
    from musicgen_emotion.sae.settings import SAEConfig, TrainConfig
    from musicgen_emotion.sae.training import train_sae

    rows = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    settings = TrainConfig(steps=4, batch_size=8, seed=0)
    train_sae(rows, SAEConfig(4, d_sae=8), settings, folder=folder, progress=False)
    return Path(folder)


def write_sweep(folder):
    from musicgen_emotion.sae.settings import SAEConfig, TrainConfig
    from musicgen_emotion.sae.sweeps import sweep

    rows = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    settings = TrainConfig(steps=4, batch_size=8, seed=0)
    base = SAEConfig(4, d_sae=8)
    sweep(rows, dict(l1=[0.1]), base, settings, folder=folder, progress=False)
    return Path(folder)


def write_directions(folder):
    from musicgen_emotion.steering.directions import Direction

    return Direction(np.ones(4), "residual.0", rms=1.0, origin="test").save(folder)


def write_run(folder):
    with open_run(folder, "phase0") as run:
        run.table(pd.DataFrame(dict(a=[1])), "table")
    return Path(folder)


def write_fresh_run(folder):
    with open_run(folder, "phase0", resume=False) as run:
        run.table(pd.DataFrame(dict(a=[1])), "table")
    return Path(folder)


def write_embeddings(folder):
    from musicgen_emotion.activations.texts import export_t5_embeddings

    folder = folder if folder.name == "t5_embeddings" else folder / "t5_embeddings"
    return export_t5_embeddings(folder, np.ones((2, 3)), ["happy", "sad"])


def write_model(folder):
    from musicgen_emotion.models.tiny import write_random_model

    return write_random_model(folder, n_layers=1)


FOLDER_WRITERS = (
    write_dictionary,
    write_saelens,
    write_dictionary_learning,
    write_sparsify,
    write_training,
    write_sweep,
    write_directions,
    write_run,
    write_fresh_run,
    write_model,
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", FOLDER_WRITERS)
def test_a_folder_of_others_is_refused_and_stays(tmp_path, write):
    before = fill(tmp_path / "theirs")
    with pytest.raises(ValueError, match="theirs"):
        write(tmp_path / "theirs")
    assert content(tmp_path / "theirs") == before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", FOLDER_WRITERS)
def test_absent_empty_and_own_folders_are_taken(tmp_path, write):
    (tmp_path / "größer/empty").mkdir(parents=True)
    (tmp_path / "größer/empty/.DS_Store").write_bytes(b"of the file manager")
    for folder in (tmp_path / "größer/new/deep", tmp_path / "größer/empty"):
        for _ in range(2):
            write(folder)
        assert read_marker(folder)["package"] == f"musicgen_emotion {musicgen_emotion.__version__}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", FOLDER_WRITERS)
def test_what_somebody_adds_to_an_own_folder_stays(tmp_path, write):
    write(tmp_path / "ours")
    (tmp_path / "ours/notes").mkdir()
    (tmp_path / "ours/notes/mine.md").write_text("mine")
    try:
        write(tmp_path / "ours")
    except ValueError as error:
        assert "notes" in str(error)  # it would be replaced as a whole
    assert (tmp_path / "ours/notes/mine.md").read_text() == "mine"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", FOLDER_WRITERS)
def test_a_newer_version_and_another_kind_are_refused_by_name(tmp_path, write):
    write(tmp_path / "ours")
    marker = read_marker(tmp_path / "ours")
    newer = dict(marker, version=marker["version"] + 1, package="musicgen_emotion 9.0")
    before = content(tmp_path / "ours")
    write_json(tmp_path / "ours/format.json", newer)
    with pytest.raises(ValueError, match=r"version 2, made by musicgen_emotion 9\.0|not replaced"):
        write(tmp_path / "ours")
    write_json(tmp_path / "ours/format.json", dict(marker, format="recipe"))
    with pytest.raises(ValueError, match=r"holds a recipe, not a|not replaced"):
        write(tmp_path / "ours")
    after = content(tmp_path / "ours")
    assert {name: after[name] for name in before if name != "format.json"} == {
        name: before[name] for name in before if name != "format.json"
    }


def test_the_embeddings_of_another_program_stay(tmp_path):
    write_embeddings(tmp_path)
    write_embeddings(tmp_path)
    names = ("embeddings.npy", "labels.npy", "metadata.json")
    before = fill(tmp_path / "other/t5_embeddings", names)
    with pytest.raises(ValueError, match=r"text embeddings|not valid JSON"):
        write_embeddings(tmp_path / "other")
    assert content(tmp_path / "other/t5_embeddings") == before


@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_saelens_is_not_trained_in(tmp_path):
    write_saelens(tmp_path / "marked")
    write_saelens(tmp_path / "theirs")
    (tmp_path / "theirs/format.json").unlink()
    for folder in (tmp_path / "marked", tmp_path / "theirs"):
        before = content(folder)
        with pytest.raises(ValueError, match=r"SAELens|cfg\.json"):
            write_training(folder)
        assert content(folder) == before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [write_dictionary, write_training, write_directions, write_run])
def test_folders_of_older_versions_are_recognized(tmp_path, write):
    write(tmp_path / "older")
    for name in ("format.json", ".written"):
        (tmp_path / "older" / name).unlink(missing_ok=True)
    write(tmp_path / "older")
    assert read_marker(tmp_path / "older") is not None


@pytest.mark.filterwarnings("ignore")
def test_an_export_never_goes_into_the_model_or_over_other_files(tmp_path, monkeypatch):
    from musicgen_emotion.models import audiocraft_export
    from musicgen_emotion.models.audiocraft_export import export_audiocraft

    for name in ("import_audiocraft", "_lm_config", "_codec_config", "_lm_weights"):
        monkeypatch.setattr(audiocraft_export, name, lambda *_: {})  # as without the library
    monkeypatch.setattr(audiocraft_export, "_codec_weights", lambda codec: {})
    written = dict(exported=True)
    monkeypatch.setattr(audiocraft_export, "_save", lambda path, *_: torch.save(written, path))
    model = write_model(tmp_path / "model")
    before = content(model)
    for out in (model, model / "export", tmp_path):
        with pytest.raises(ValueError, match=r"which is read|not replaced"):
            export_audiocraft(model, out)
        with pytest.raises(ValueError, match=r"which is read|not replaced"):
            export_audiocraft(str(model), Path(str(out)))
    assert content(model) == before
    theirs = fill(tmp_path / "theirs", ("state_dict.bin", "compression_state_dict.bin"))
    with pytest.raises(ValueError, match="is not replaced"):
        export_audiocraft(model, tmp_path / "theirs")
    assert content(tmp_path / "theirs") == theirs
    for _ in range(2):
        out = export_audiocraft(model, tmp_path / "out")
    assert read_marker(out)["format"] == "audiocraft checkpoint"
    (out / "format.json").unlink()  # as older versions wrote it
    export_audiocraft(model, out)
    (out / "t5/notes.md").write_text("mine")
    with pytest.raises(ValueError, match="is not replaced"):
        export_audiocraft(model, out)
    assert (out / "t5/notes.md").exists()


def test_a_folder_is_replaced_only_when_it_may_be(tmp_path):
    before = fill(tmp_path / "theirs")
    for write in (
        lambda path: write_json(path, {}),
        lambda path: atomic_path(path).__enter__().mkdir(),
    ):
        with pytest.raises(ValueError, match="theirs is a folder with"):
            write(tmp_path / "theirs")
    assert content(tmp_path / "theirs") == before


# ---- runs


def test_starting_over_leaves_notes_and_deletes_the_rest(tmp_path):
    with open_run(tmp_path / "run", "phase0") as run:
        run.table(pd.DataFrame(dict(a=[1])), "tables/curve.csv")
        (run.path / "direct.txt").write_text("written without the package")
    (tmp_path / "run/notes.md").write_text("mine")
    (tmp_path / "run/tables/notes.md").write_text("mine")
    with open_run(tmp_path / "run", "phase0", resume=False) as run:
        names = {path.name for path in run.path.rglob("*")}
    assert {"notes.md", "tables"} <= names and not {"curve.csv", "direct.txt"} & names
    assert (tmp_path / "run/tables/notes.md").read_text() == "mine"


def fill_store(folder):
    "A claimed folder with a file that is written directly."
    claim_folder(folder, "clip store", 1)
    (folder / "tokens").write_bytes(b"tokens")


@pytest.mark.parametrize("killed", [False, True])
def test_folders_in_a_run_go_with_it(tmp_path, killed):
    folder = tmp_path / "run"
    for _ in range(2):  # the second time it is resumed
        with open_run(folder, "phase0") as run:
            fill_store(run.path / "clips")
            write_directions(run.path / "directions")
    if killed:
        kill(folder)
    else:
        (folder / "clips/mine.txt").write_text("mine")
    with open_run(folder, "phase0", resume=False):
        names = content(folder).keys()
    assert not {name for name in names if "tokens" in name or "directions" in name}, names
    assert ("clips/mine.txt" in names) is not killed


def test_a_resumed_run_keeps_the_same_record(tmp_path):
    for name in ("once", "twice"):
        with open_run(tmp_path / name, "phase0") as run:
            fill_store(run.path / "clips")
            if name == "twice":
                kill_open(run)
                run = open_run(tmp_path / name, "phase0")
            run.table(pd.DataFrame(dict(a=[1])), "z")
            run.table(pd.DataFrame(dict(a=[1])), "a")
            run.close()
    records = [(tmp_path / name / ".written").read_text() for name in ("once", "twice")]
    assert records[0] == records[1]
    assert "clips/tokens" in records[0] and ".tmp-" not in records[0]


def kill_open(run):
    "Let go of a run as a kill would: nothing more is written."
    from musicgen_emotion.lab import runs

    runs._OPEN_RUNS.clear()
    run.stack.close()


def kill(folder):
    "Make a closed run look like one whose process was killed before it closed."
    from musicgen_emotion.lab.files import read_json

    manifest = read_json(folder / "manifest.json") | dict(status="running", end=None)
    write_json(folder / "manifest.json", manifest)


def test_starting_over_after_a_kill_deletes_what_was_recorded_or_refuses(tmp_path):
    folder = write_run(tmp_path / "run")
    kill(folder)
    (folder / "notes.md").write_text("mine")
    with pytest.raises(ValueError, match=r"may not have written \(notes\.md\)"):
        open_run(folder, "phase0", resume=False)
    assert (folder / "notes.md").exists() and (folder / "table.csv").exists()
    (folder / "notes.md").unlink()
    open_run(folder, "phase0", resume=False).close()
    assert not (folder / "table.csv").exists()


def test_a_record_of_names_outside_the_folder_deletes_nothing(tmp_path):
    folder = write_run(tmp_path / "run")
    (tmp_path / "mine.txt").write_text("mine")
    with (folder / ".written").open("a") as file:
        file.write("../mine.txt\n")
    with pytest.raises(ValueError, match="must be a name inside"):
        open_run(folder, "phase0", resume=False)
    assert (tmp_path / "mine.txt").exists()


def test_only_own_temporary_names_are_cleared(tmp_path):
    folder = write_run(tmp_path / "run")
    fill(folder, ("sub/.tmp-x/note.txt", ".tmp-1-00000000-half.csv"))
    assert [path.name for path in unfinished_files(folder)] == [".tmp-1-00000000-half.csv"]
    write_run(folder)
    assert (folder / "sub/.tmp-x/note.txt").exists()
    assert not (folder / ".tmp-1-00000000-half.csv").exists()


@pytest.mark.parametrize("name", ["../x.csv", "/tmp/x.csv", "a/../../x", "", ".", "~/x.csv"])
def test_a_table_stays_in_its_run(tmp_path, name):
    with open_run(tmp_path / "run", "phase0") as run:
        with pytest.raises(ValueError, match=r"must be a name inside|must be a path"):
            run.table(pd.DataFrame(dict(a=[1])), name)
        run.table(pd.DataFrame(dict(a=[1])), "a/../b")
        claim_folder(run.path / "clips", "clip store", 1)
        with pytest.raises(ValueError, match="a folder of another kind"):
            run.table(pd.DataFrame(dict(a=[1])), "clips/deep/clips.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert inside_folder(tmp_path, Path("a/b.csv")) == tmp_path / "a/b.csv"


# ---- names beside a name


@pytest.mark.parametrize("name", ["gates", "manifest", "format", "curve"])
def test_a_figure_writes_over_nothing_else(tmp_path, name):
    import matplotlib.pyplot as plt

    from musicgen_emotion.show.figures import save_figure, saved_figure

    before = fill(tmp_path, ("gates.json", "manifest.json", "format.json", "curve.json"))
    for _ in range(2):
        save_figure(plt.subplots()[1], tmp_path / f"{name}.png", "caption", "alt", close=True)
    after = content(tmp_path)
    assert {known: after[known] for known in before} == before
    assert "caption" in saved_figure(tmp_path / f"{name}.png").data
    (tmp_path / f"{name}.figure.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match="is for something else"):
        save_figure(plt.subplots()[1], tmp_path / f"{name}.png", "caption", "alt", close=True)
    plt.close("all")
    assert (tmp_path / f"{name}.figure.json").read_text() == '{"mine": 1}'


def test_texts_of_older_figures_are_read(tmp_path):
    from musicgen_emotion.show.figures import saved_figure

    (tmp_path / "old.png").write_bytes(b"png")
    write_json(tmp_path / "old.json", dict(caption="an old caption", alt="alt"))
    assert "an old caption" in saved_figure(tmp_path / "old.png").data


@pytest.mark.parametrize("name", ["gates", "manifest", "format", "mine"])
def test_the_data_of_a_page_write_over_nothing_else(tmp_path, name):
    from musicgen_emotion.sae.cards import write_feature_page

    before = fill(tmp_path, ("gates.json", "manifest.json", "format.json", "mine.json"))
    card = SimpleNamespace(to_dict=lambda: dict(feature=0, by_emotion=[]))
    with pytest.raises(ValueError, match="is for something else"):
        write_feature_page([card], tmp_path / f"{name}.html")
    assert content(tmp_path) == before


def test_saved_clips_write_over_no_clip_of_others(tmp_path):
    from musicgen_emotion.activations.generation import Generation

    made = SimpleNamespace(_sound=lambda: np.zeros((2, 800), np.float32), sample_rate=8000)
    before = fill(tmp_path / "theirs", ("clip_0001.flac",))
    with pytest.raises(ValueError, match=r"holds clip_0001\.flac already"):
        Generation.save(made, tmp_path / "theirs")
    assert content(tmp_path / "theirs") == before
    for _ in range(2):
        assert len(Generation.save(made, tmp_path / "ours")) == 2
    fill(tmp_path / "beside", ("notes.txt",))
    assert len(Generation.save(made, tmp_path / "beside")) == 2


def test_songs_are_written_over_no_other_table(tmp_path):
    from musicgen_emotion.stimuli.datasets import SONG_COLUMNS, emotion_labeled_dataset

    rows = [dict.fromkeys(SONG_COLUMNS, "a") | dict(song=str(n), artist=str(n)) for n in range(9)]
    songs = pd.DataFrame(rows).assign(valence=0.1, arousal=0.1)
    for _ in range(2):
        emotion_labeled_dataset(songs, out=tmp_path)
    (tmp_path / "emotion_labeled_dataset.csv").write_text("song,mine\n1,2\n")
    with pytest.raises(ValueError, match="is another table"):
        emotion_labeled_dataset(songs, out=tmp_path)


# ---- phases and commands


def test_braces_in_a_path_are_taken_literally():
    from papermill.parameterize import parameterize_path

    from musicgen_emotion.lab import workers

    for path in ("res{seed}", "a{b}c{{d}}", "{}", "{0}", "x{", "}"):
        assert parameterize_path(workers._literal(path), dict(seed=1, pm={})) == path


PHASE = """{
 "cells": [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "outputs": [],
   "execution_count": null, "source": "out_dir: str = 'r'  # run folder\\nn: int = 1  # NOTE"}],
 "metadata": {}, "nbformat": 4, "nbformat_minor": 4}"""


@pytest.fixture
def two_notebooks(tmp_path, monkeypatch):
    "Two notebooks of one name; runs end at once as finished."
    from musicgen_emotion.lab import phases, workers

    paths = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        path = tmp_path / place / "study.ipynb"
        path.write_text(PHASE.replace("NOTE", place))
        paths.append(path)
    finished = workers.Outcome("finished")
    monkeypatch.setattr(phases, "run_in_worker", lambda job, out: finished)
    return paths


@pytest.mark.parametrize("fresh", [False, True])
def test_two_notebooks_of_one_name_share_no_folder(tmp_path, two_notebooks, fresh):
    from musicgen_emotion.lab.phases import run_phase
    from musicgen_emotion.lab.plans import run_phases

    first, second = two_notebooks
    for _ in range(2):
        run_phase(first, out=tmp_path / "run", progress=False, fresh=fresh)
    before = content(tmp_path / "run")
    with pytest.raises(ValueError, match=r"study\.ipynb, another notebook than"):
        run_phase(second, out=tmp_path / "run", progress=False, fresh=fresh)
    assert content(tmp_path / "run") == before
    with pytest.raises(ValueError, match="have the same name"):
        run_phases([first, second], tmp_path / "both", fresh=fresh, progress=False)
    assert not (tmp_path / "both").exists()
    moved = first.rename(tmp_path / "moved.ipynb").rename(tmp_path / "study.ipynb")
    run_phase(moved, out=tmp_path / "run", progress=False, fresh=fresh)


def test_braces_in_a_run_folder_and_in_parameters_stay(tmp_path):
    from musicgen_emotion.lab.phases import run_phase

    opening = (
        "from musicgen_emotion.lab.phases import start_phase\\n"
        "run = start_phase('study', globals())\\n"
        "(run.path / 'seen.txt').write_text(note)\\nrun.close()"
    )
    text = PHASE.replace("n: int = 1  # NOTE", "note: str = ''  # text")
    kernel = '"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}'
    cell = (
        '{"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": null, "source": '
    )
    text = text.replace(
        '],\n "metadata": {}', f', {cell}"{opening}"}}],\n "metadata": {{{kernel}}}'
    )
    (tmp_path / "in{seed}").mkdir()
    notebook = tmp_path / "in{seed}" / "study.ipynb"
    notebook.write_text(text)
    out = tmp_path / "res{seed}{{x}}{note}"
    result = run_phase(notebook, dict(note="{a}{{b}}"), out, progress=False)
    assert result.out == out and (out / "seen.txt").read_text() == "{a}{{b}}"
    assert {path.name for path in tmp_path.iterdir()} == {"in{seed}", out.name}


def test_a_run_folder_of_a_phase_is_expanded(place, two_notebooks):
    from musicgen_emotion.lab.phases import run_phase

    result = run_phase(two_notebooks[0], out="~/res{seed}", progress=False)
    assert result.out == place / "home/res{seed}" and result.out.is_dir()
    with pytest.raises(ValueError, match="out must be a path"):
        run_phase(two_notebooks[0], out="", progress=False)


def words_of(command, value):
    "A call of a command with this path."
    return dict(
        generate=["generate", "a happy song", f"--out={value}"],
        run=["run", "phase0", f"--out={value}"],
        status=["status", value],
        report=["report", value],
        compare=["compare", value, value],
    )[command]


def said(words, capsys):
    "Exit code and standard error of a command."
    from musicgen_emotion.cli import commands, study_commands  # noqa: F401
    from musicgen_emotion.cli.command import app

    with pytest.raises(SystemExit) as ended:
        app(words)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "run", "status", "report", "compare"])
def test_commands_refuse_what_is_no_path(place, capsys, command):
    for value in ("", " ", "s3://bucket/x"):
        code, text = said(words_of(command, value), capsys)
        assert code == 2 and "must be a path" in text, text
    assert list((place / "work").iterdir()) == []


@pytest.mark.parametrize("command", ["status", "report", "compare"])
def test_commands_expand_the_home_folder(place, capsys, command):
    _, text = said(words_of(command, "~/absent"), capsys)
    assert str(place / "home/absent") in text, text


def test_as_path_takes_what_is_a_path(place):
    for value in (
        "a",
        "größe/ä b",
        Path("x"),
        np.str_("x"),
        "a\nb",
        "~notes",
        "./~nobody-x/y",
        "..",
    ):
        assert as_path("x", value) == Path(str(value))
    assert as_path("x", "~") == place / "home"
    for value in (None, 3, b"x", ["x"], True, float("nan")):
        with pytest.raises(TypeError, match="x must be a path"):
            as_path("x", value)
    with pytest.raises(ValueError, match="a character that no path can have"):
        as_path("x", "\ud800")


def test_claims_at_the_same_time_agree(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        claims = [pool.submit(claim_folder, tmp_path / "a/b", "store", 1) for _ in range(40)]
    assert {claim.result() for claim in claims} == {tmp_path / "a/b"}
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["format.json"]


def test_a_format_file_of_others_is_refused(tmp_path):
    for text in ("{}", "[1]", "no json", '{"format": "store", "version": 1}', "[" * 10**5):
        (tmp_path / "format.json").write_text(text)
        with pytest.raises(ValueError, match="was not written by musicgen_emotion"):
            claim_folder(tmp_path, "store", 1)
        assert (tmp_path / "format.json").read_text() == text
    (tmp_path / "format.json").unlink()
    (tmp_path / "format.json").mkdir()
    with pytest.raises(ValueError, match="was not written by musicgen_emotion"):
        claim_folder(tmp_path, "store", 1)


def test_home_in_tables(place):
    write_table(pd.DataFrame(dict(a=[1])), "~/x.csv")
    assert content(place / "home") == {"x.csv": b"a\n1\n"} and not content(place / "work")
