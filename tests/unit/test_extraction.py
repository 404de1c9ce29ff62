"""Clip store and replay: kills, damage, full disks, equality with the library's generation."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from musicgen_emotion.activations.clip_files import TAKEN_COLUMNS, clip_id
from musicgen_emotion.activations.clip_plans import generate_clips, plan_clips
from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.hooks import count_hooks
from musicgen_emotion.activations.replaying import replay, replay_error, text_rows, token_nll
from musicgen_emotion.activations.stored import replay_store
from musicgen_emotion.lab.files import sha256_file
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.registry import nano_folder
from musicgen_emotion.models.shapes import undelay_tokens
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.steering import doses
from musicgen_emotion.steering.arms import Arm
from musicgen_emotion.stimuli.prompts import conflict_prompts

torch.set_num_threads(1)
PROMPTS = pd.DataFrame(
    dict(
        prompt=["happy upbeat pop song", "sad slow piano", "calm ambient pads", ""],
        emotion=["happy", "sad", "calm", ""],
    )
)
HOW = dict(seeds=(0,), duration_s=0.12, batch_size=2, progress=False)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    return write_random_model(tmp_path_factory.mktemp("model"), seed=0, sample_rate=8000)


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return load_model(tiny_folder, device="cpu")


@pytest.fixture(scope="module")
def both(tiny_folder, backend):
    return load_model(tiny_folder, backend=backend, device="cpu")


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    "A store that nobody disturbed."
    store = ClipStore(tmp_path_factory.mktemp("whole") / "clips")
    generate_clips(tiny, PROMPTS, store, **HOW)
    return store


def files(folder):
    "Digest of every file, hidden ones included."
    return {
        str(p.relative_to(folder)): sha256_file(p)
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file()
    }


def killed_at(n, work):
    "Run `work` in a child that is killed at its n-th file rename. False if it got through."
    pid = os.fork()
    if pid == 0:
        real, left = os.replace, [n]

        def counting(*args, **kwargs):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*args, **kwargs)

        os.replace = counting
        try:
            work()
        except BaseException:
            os._exit(7)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, (
        "the child failed before it was killed"
    )
    return os.WIFSIGNALED(status)


# kills


def test_store_killed_anywhere_ends_with_the_same_bytes(tiny, whole, tmp_path):
    n, store = 0, tmp_path / "clips"

    def make():
        generate_clips(tiny, PROMPTS, store, **HOW)

    while killed_at(n, make):
        make()
        assert files(store) == files(whole.path), f"killed at rename {n}"
        shutil.rmtree(store)
        n += 2
    assert n > 10


def test_growing_store_killed_anywhere_loses_nothing(tiny, whole, tmp_path):
    "A second round of clips is killed at each step; the clips of the first round stay readable."
    generate_clips(tiny, PROMPTS[:2], tmp_path / "first", **HOW)
    generate_clips(tiny, PROMPTS, shutil.copytree(tmp_path / "first", tmp_path / "grown"), **HOW)
    assert files(tmp_path / "grown") == files(whole.path)
    n, folder = 0, tmp_path / "clips"

    def grow():
        generate_clips(tiny, PROMPTS, shutil.copytree(tmp_path / "first", folder), **HOW)

    while killed_at(n, grow):
        store = ClipStore(folder)
        assert store.verify() in (2, 4)
        generate_clips(tiny, PROMPTS, store, **HOW)
        assert files(folder) == files(whole.path), f"killed at rename {n}"
        shutil.rmtree(folder)
        n += 2
    assert n > 8


MAKE_CLIPS = """
import sys, torch, pandas as pd
from musicgen_emotion.activations.clip_plans import generate_clips
from musicgen_emotion.models.load import load_model
torch.set_num_threads(1)
model, prompts = load_model(sys.argv[1], device="cpu"), pd.read_json(sys.argv[3])
generate_clips(
    model, prompts, sys.argv[2], seeds=(0,), duration_s=0.12, batch_size=2, progress=False
)
"""


def test_store_killed_from_outside_resumes(tiny, tiny_folder, whole, tmp_path, popen):
    PROMPTS.to_json(tmp_path / "prompts.json")
    arguments = [str(path) for path in (tiny_folder, tmp_path / "clips", tmp_path / "prompts.json")]
    child = popen([sys.executable, "-c", MAKE_CLIPS, *arguments])
    end = time.monotonic() + 120
    while (
        not list((tmp_path / "clips/shards").glob("[!.]*.parquet"))
        and child.poll() is None
        and time.monotonic() < end
    ):
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 2 <= len(ClipStore(tmp_path / "clips")) <= 4
    made = (
        {p: p.stat().st_mtime_ns for p in (tmp_path / "clips/audio").glob("*/*.flac")}
        if len(ClipStore(tmp_path / "clips")) == 2
        else {}
    )
    kept = set(ClipStore(tmp_path / "clips").table.clip_id)
    generate_clips(tiny, PROMPTS, tmp_path / "clips", **HOW)
    assert all(p.stat().st_mtime_ns == t for p, t in made.items() if p.stem in kept), (
        "a clip that was there was made again"
    )
    assert files(tmp_path / "clips") == files(whole.path)


def test_replay_killed_anywhere_ends_with_the_same_bytes(both, whole, tmp_path):
    how = dict(sites=("layer_0", "layer_2.mlp", "text"), pool=None, batch_size=4, progress=False)
    expected = files(replay_store(both, whole, out=tmp_path / "whole", **how))
    n, step = 0, 9 if both.backend == "transformers" else 18
    out = tmp_path / "killed"

    def store_activations():
        return replay_store(both, whole, out=out, **how)

    while killed_at(n, store_activations):
        assert files(store_activations()) == expected, f"killed at rename {n}"
        shutil.rmtree(out)
        n += step
    assert n > 15


# two at once


OWN_STORE = """
import sys
from musicgen_emotion.activations.clips import ClipStore
with ClipStore(sys.argv[1]).writing():
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_two_writers(tiny, whole, tmp_path, popen):
    store = ClipStore(shutil.copytree(whole.path, tmp_path / "clips"))
    other = popen(
        [sys.executable, "-c", OWN_STORE, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "mine\n"
    with pytest.raises(RuntimeError, match=f"in use by another process .pid {other.pid}"):
        generate_clips(tiny, PROMPTS, store, **HOW)
    with pytest.raises(RuntimeError, match="in use by another process"):
        store.repair()
    assert store.verify() == 4
    other.kill()
    other.wait()
    generate_clips(tiny, PROMPTS, store, **HOW)
    assert files(store.path) == files(whole.path)


# damage


def shorten(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("harm", [shorten, flip, Path.unlink])
@pytest.mark.parametrize(
    "what", ["tokens.parquet/part.parquet", "clips.parquet/part.parquet", "audio"]
)
def test_damage_is_named_and_repaired(tiny, whole, tmp_path, harm, what):
    store = ClipStore(shutil.copytree(whole.path, tmp_path / "clips"))
    file = store.path / what if what != "audio" else store.path / store.table.audio_path[2]
    harm(file)
    with pytest.raises(
        ValueError,
        match=r"(?s)clips/(\w+.parquet/part.parquet|audio/\w+/\w+.flac) is .*repair\(\) and then",
    ):
        store.verify()
    if harm is not Path.unlink or what[:4] != "clip":  # without its row a clip is not known
        with pytest.raises(ValueError, match=r"store.repair\(\)"):
            store.audio(file.stem) if what == "audio" else store.codes()
    assert len(store.repair()) == (1 if what == "audio" else 4)
    generate_clips(tiny, PROMPTS, store, **HOW)
    assert files(store.path) == files(whole.path)


@pytest.mark.parametrize("harm", [shorten, flip, Path.unlink])
def test_damaged_summary(tiny, whole, tmp_path, harm):
    store = ClipStore(shutil.copytree(whole.path, tmp_path / "clips"))
    harm(store.path / "summary.json")
    with pytest.raises(ValueError, match=r"store\.repair"):
        store.verify()
    assert store.repair() == [] and store.verify() == 4
    assert files(store.path) == files(whole.path)


def test_damaged_batch(tiny, whole, tmp_path):
    store = ClipStore(shutil.copytree(whole.path, tmp_path / "clips"))
    (store.path / "shards").mkdir()
    (store.path / "shards/0123456789abcdef.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        ValueError, match=r"0123456789abcdef\.parquet is damaged .*move it away, then generate"
    ):
        generate_clips(tiny, PROMPTS, store, **HOW)
    (store.path / "shards/0123456789abcdef.parquet").rename(tmp_path / "away")
    generate_clips(tiny, PROMPTS, store, **HOW)
    assert files(store.path) == files(whole.path)


# disks


@pytest.fixture
def disk(tmp_path):
    "A small file system of its own, which can be full or read-only."
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    (tmp_path / "disk").mkdir()

    def mount(options):
        return (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path / "disk")],
                capture_output=True,
            ).returncode
            == 0
        )

    if not mount("size=220k"):
        pytest.skip("this machine does not let tests mount a file system")
    yield tmp_path / "disk", mount
    subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=False)


def test_full_disk_then_more_space(tiny, whole, disk):
    path, mount = disk
    (path / "ballast").write_bytes(bytes(160_000))
    with pytest.raises(OSError, match="disk is full"):
        generate_clips(tiny, PROMPTS, path / "clips", **HOW)
    (path / "ballast").unlink()
    made = len(ClipStore(path / "clips"))
    assert 0 < made <= 4
    assert mount("remount,size=4m")
    generate_clips(tiny, PROMPTS, path / "clips", **HOW)
    assert files(path / "clips") == files(whole.path)


def test_full_disk_while_compacting(tiny, whole, disk):
    path, _ = disk
    store, whole_store = ClipStore(path / "clips"), ClipStore(whole.path)
    generate_clips(tiny, PROMPTS[:2], store, **HOW)
    rest = whole.table.loc[~whole.table.clip_id.isin(store.table.clip_id)]
    tokens = list(whole.codes(rest.clip_id))
    sounds = [whole_store.audio(clip)[0] for clip in rest.clip_id]
    with store.writing():
        store.add(rest, tokens, sounds, 8000)
    free = shutil.disk_usage(path).free
    (path / "ballast").write_bytes(bytes(max(free - 12_000, 0)))
    with pytest.raises(OSError, match=r"disk is full.*nothing is lost"), store.writing():
        store.compact()
    assert store.verify() == 4 and len(store.codes()) == 4
    (path / "ballast").unlink()
    with store.writing():
        store.compact()
    assert store.verify() == 4 and store.table.equals(whole.table)


def test_read_only_folder(tiny, whole, disk):
    path, _ = disk
    generate_clips(tiny, PROMPTS[:2], path / "clips", **HOW)
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
    with pytest.raises(OSError, match="read-only: choose another folder"):
        generate_clips(tiny, PROMPTS, path / "clips", **HOW)
    assert ClipStore(path / "clips").verify() == 2
    with pytest.raises(OSError, match="read-only: choose another folder"):
        replay_store(tiny, path / "clips", "resid", path / "acts", progress=False)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_folder_without_permission(tiny, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o555)
    with pytest.raises(OSError, match="no permission to write there"):
        generate_clips(tiny, PROMPTS, tmp_path / "shut/clips", **HOW)


def test_activations_that_do_not_fit(tiny, whole, disk):
    path, _ = disk
    (path / "ballast").write_bytes(bytes(190_000))
    with pytest.raises(OSError, match="GB free; pool them"):
        replay_store(
            tiny,
            whole,
            None,
            path / "acts",
            branches=("cond", "null", "guidance"),
            pool=None,
            progress=False,
        )
    assert not [p for p in (path / "acts").iterdir() if p.name != ".lock"]


# the store as others read it


def test_store_without_this_package(whole):
    df = pd.read_parquet(whole.path / "clips.parquet")
    tokens = pd.read_parquet(whole.path / "tokens.parquet").set_index("clip_id").tokens
    assert set(df.clip_id) == set(tokens.index) == set(whole.table.clip_id)
    for clip, codes in zip(df.clip_id, whole.codes(df.clip_id)):
        np.testing.assert_array_equal(np.stack(tokens[clip]), codes)
    marker = json.loads((whole.path / "format.json").read_text())
    assert (marker["format"], marker["version"]) == ("clip store", 2)
    import soundfile as sf

    assert sf.info(whole.path / df.audio_path[0]).samplerate == 8000
    assert {
        "emotion",
        "word",
        "template",
        "instrument",
        "intensity",
        "split",
        "revision",
        "checksum",
    } <= set(df)


def test_clips_of_several_lengths_and_seeds(both, tmp_path):
    store = ClipStore(tmp_path / "clips")
    for seconds in (0.2, 0.4):
        generate_clips(both, PROMPTS[:2], store, seeds=(0, 1), duration_s=seconds, progress=False)
    assert sorted(store.table.frames) == [10] * 4 + [20] * 4
    pooled = replay(both, store.codes(), store.table.prompt.tolist(), pool="mean", batch_size=3)
    for i in (0, 7):
        clip = store.codes([store.table.clip_id[i]])
        alone = replay(
            both, clip[..., : store.table.frames[i]], [store.table.prompt[i]], pool="mean"
        )
        np.testing.assert_allclose(pooled["layer_2"][i], alone["layer_2"][0], atol=1e-5)
    with pytest.raises(ValueError, match="must be equally long; got 10 to 20 frames"):
        replay(both, store.codes(), store.table.prompt.tolist())
    assert (
        np.isnan(
            token_nll(both, store.codes(), store.table.prompt.tolist(), per_frame=True).values
        ).sum()
        == 4 * 2 * 4 * 10
    )
    with pytest.raises(ValueError, match="keep one store per model"), store.writing():
        row = plan_clips(both, ["two codebooks"], duration_s=0.2)
        store.add(row, [np.zeros((2, 10), int)], [np.zeros(100)], 8000)
        store.compact()


def test_prompts_asked_for_twice(both):
    with pytest.warns(UserWarning, match="asked for twice and made once"):
        plan = plan_clips(both, ["happy", "happy", "sad"])
    assert len(plan) == 2
    with pytest.raises(ValueError, match="prompts is empty"):
        plan_clips(both, [])
    with pytest.raises(TypeError, match="text; got 3"):
        plan_clips(both, ["happy", 3])
    with pytest.raises(ValueError, match="seeds is empty"):
        plan_clips(both, ["happy"], seeds=[])


# columns of the clip table


def test_rows_of_rewritten_prompts_are_planned_from_what_was_sung(tiny, tmp_path, monkeypatch):
    "A field that `plan_clips` computes from the prompt is right in every study."

    def plan_with_words(*arguments, **settings):
        plan = plan_clips(*arguments, **settings)
        return plan.assign(n_words=plan.prompt.str.split().str.len())

    monkeypatch.setattr(doses, "plan_clips", plan_with_words)
    prompts = ["piano", "calm flute"]
    sampling = dict(seeds=(0, 3), duration_s=0.12)
    heard = doses.dose_response(
        tiny,
        prompts,
        Arm("words", "prompt", rewrite={0.0: str, 1.0: lambda prompt: f"{prompt}, very happy"}),
        [0.0, 1.0],
        judge=lambda audio, rate: audio[:, 0],
        folder=tmp_path,
        progress=False,
        **sampling,
    )
    stored = ClipStore(tmp_path / "clips").table
    assert len(stored) == 8 and set(stored.n_words) == {1, 2, 3, 4}
    for row in stored.to_dict("records"):
        planned = plan_with_words(tiny, [row["prompt"]], noise_of=[row["from_prompt"]], **sampling)
        (same,) = planned[planned.replicate == row["replicate"]].to_dict("records")
        assert same == {name: row[name] for name in same}
    assert set(heard.prompt) == set(prompts)
    texts = stored.set_index("clip_id").loc[heard.clip_id]
    assert texts.prompt.tolist() == heard.text.tolist()
    assert texts.n_words.tolist() == heard.n_words.tolist()
    assert heard.groupby(["prompt", "replicate"]).seed.nunique().eq(1).all()


@pytest.mark.parametrize("name", TAKEN_COLUMNS)
def test_a_column_whose_name_is_taken_is_refused_before_a_clip_is_made(tiny, tmp_path, name):
    with pytest.raises(ValueError, match=f"a column '{name}', but that name is taken.*frames"):
        generate_clips(tiny, PROMPTS.assign(**{name: 1}), tmp_path / "clips", **HOW)
    assert not (tmp_path / "clips").exists()


def test_columns_of_prompt_sets_are_not_refused(tiny):
    plan = plan_clips(tiny, conflict_prompts(n_per_cell=1))
    assert {"tempo", "kind", "pair", "split", "template"} <= set(plan)
    given = pd.DataFrame(dict(prompt=["a"], emotion="sad", word="gloomy", split="mine"))
    assert plan_clips(tiny, given).split.item() == "mine"
    with pytest.raises(ValueError, match="a column 'alpha', but that name is taken"):
        doses.plan_doses(tiny, given.assign(alpha=1), [Arm("a", rewrite={0.0: str})], [0])


def test_labels_follow_the_prompts_of_the_last_call(tiny, whole, tmp_path):
    "The table changes, at whatever moment it is killed; sound, tokens and other labels stay."
    first = shutil.copytree(whole.path, tmp_path / "first")
    generate_clips(tiny, PROMPTS.assign(session="monday", split="mine"), first, **HOW)
    assert set(ClipStore(first).table.session) == {"monday"}
    friday = PROMPTS[:2].assign(session="friday")
    expected = shutil.copytree(first, tmp_path / "expected")
    clips = generate_clips(tiny, friday, expected, **HOW)
    assert clips.session.tolist() == ["friday"] * 2 and clips.split.tolist() == ["mine"] * 2
    table = ClipStore(expected).table.set_index("prompt")
    assert table.session[PROMPTS.prompt].tolist() == ["friday"] * 2 + ["monday"] * 2
    assert (ClipStore(expected).codes(clips.clip_id) == whole.codes(clips.clip_id)).all()
    assert ClipStore(expected).verify() == 4
    n, folder = 0, tmp_path / "clips"

    def relabel():
        generate_clips(tiny, friday, folder, **HOW)

    while killed_at(n, lambda: shutil.copytree(first, folder) and relabel()):
        assert ClipStore(folder).verify() == 4
        relabel()
        assert files(folder) == files(expected), f"killed at rename {n}"
        shutil.rmtree(folder)
        n += 1
    assert n >= 3


def test_a_missing_label_keeps_the_stored_one(tiny, whole, tmp_path):
    store = ClipStore(shutil.copytree(whole.path, tmp_path / "clips"))
    generate_clips(tiny, PROMPTS.assign(n_words=[4, 3, 3, 0]), store, **HOW)
    before = files(store.path)
    generate_clips(tiny, PROMPTS.assign(n_words=[4, None, 3, None]), store, **HOW)
    generate_clips(tiny, PROMPTS.prompt.tolist(), store, **HOW)
    assert files(store.path) == before and store.table.n_words.dtype == "int64"


def test_a_new_column_is_missing_in_older_clips_and_types_stay(tiny, tmp_path):
    store = tmp_path / "clips"
    generate_clips(tiny, PROMPTS[:2].assign(level=0.5, n_words=3), store, **HOW)
    new = PROMPTS[2:].assign(bpm=[70, 2**60 + 1], is_loud=[True, False], session="friday")
    made = generate_clips(tiny, new, store, **HOW)
    assert (made.bpm.dtype, made.is_loud.dtype) == ("int64", "bool")
    for table in (ClipStore(store).table, pd.read_parquet(store / "clips.parquet")):
        rows = table.set_index("prompt")
        old = rows.loc[PROMPTS.prompt[:2]]
        assert old[["bpm", "is_loud", "session"]].isna().all(axis=None)
        assert rows.bpm[PROMPTS.prompt[3]] == 2**60 + 1
        kinds = rows[["bpm", "is_loud", "level", "n_words", "session", "seed"]].dtypes
        assert kinds.tolist() == ["Int64", "boolean", "float64", "Int64", "string", "int64"]
    generate_clips(tiny, PROMPTS[:2].assign(bpm=[90, 60]), store, **HOW)
    assert ClipStore(store).table.bpm.dtype == "int64"


def test_clip_ids_are_stable():
    assert (
        clip_id("weights", "größer", 7, 3.0, 1.0, None, 5.0)
        == clip_id("weights", "größer", 7, 3, 1, 0, 5)
        == "7d4b9922d7f08d0a"
    )


# replay


def hooked_generate(model, prompts, n_frames, sites):
    "transformers' generate with plain forward hooks: tokens, and (row, position, width) by site."
    seen, ids, handles = {s: [] for s in sites}, [], []

    def start(module, args, kwargs):
        if kwargs["past_key_values"] is None or kwargs["past_key_values"].get_seq_length() == 0:
            ids.clear()
            for s in sites:
                seen[s].clear()
        ids.append(kwargs["input_ids"])

    handles.append(
        model.hf.decoder.model.decoder.register_forward_pre_hook(start, with_kwargs=True)
    )
    for s in sites:
        handles.append(
            model.module(s).register_forward_hook(
                lambda m, a, o, s=s: seen[s].append((o[0] if isinstance(o, tuple) else o).clone())
            )
        )
    torch.manual_seed(0)
    c = model.config
    try:
        model.hf.generate(
            **model.tokenize(prompts),
            do_sample=True,
            guidance_scale=3.0,
            max_length=c.positions(n_frames) + 1,
        )
    finally:
        for h in handles:
            h.remove()
    fed = torch.cat(ids, 1)[: len(prompts) * c.n_codebooks].reshape(len(prompts), c.n_codebooks, -1)
    return fed, {s: torch.cat(v, 1) for s, v in seen.items()}


def check_against_generate(model, prompts, n_frames):
    sites = [
        s for s in model.sites if model.site(s).kind in ("resid", "self_attn", "cross_attn", "mlp")
    ]
    fed, acts = hooked_generate(model, prompts, n_frames, sites)
    sequence = torch.cat([fed, torch.zeros_like(fed[..., :1])], -1)
    tokens = undelay_tokens(sequence, model.config).numpy()
    fast = replay(model, tokens, prompts, sites, ("cond", "null"))
    keep = slice(0, model.config.positions(n_frames))
    for s in sites:
        slow = acts[s].unflatten(0, (2, -1)).transpose(0, 1).numpy()
        assert slow.shape == fast[s].shape
        assert np.abs(slow - fast[s].values)[:, :, keep].max() <= 1e-4 * np.abs(slow).max(), s


def test_replay_equals_generate_tiny(tiny):
    check_against_generate(tiny, ["happy upbeat pop song", "sad"], 40)


def test_replay_equals_generate_stereo(tmp_path):
    model = load_model(
        write_random_model(tmp_path / "stereo", n_codebooks=8, channels=2), device="cpu"
    )
    check_against_generate(model, ["happy upbeat pop song", "sad"], 20)


@pytest.mark.skipif(
    not (nano_folder() / "config.json").exists(), reason="the nano model is not in this checkout"
)
def test_replay_equals_generate_nano():
    model = load_model("nano", device="cpu")
    check_against_generate(model, ["happy upbeat pop song", "sad slow piano"], 100)
    assert (
        replay_error(
            model, np.random.default_rng(0).integers(0, model.config.vocab_size, (1, 4, 60)), "calm"
        ).relative.max()
        <= 1e-4
    )


@pytest.mark.slow
def test_replay_equals_stepwise_at_the_size_of_small(tmp_path):
    model = load_model(write_random_model(tmp_path / "small", size="small"), device="cpu")
    assert (model.config.n_layers, model.config.d_model) == (24, 1024)
    tokens = np.random.default_rng(0).integers(0, 2048, (1, 4, 50))
    sites = [
        s for s in model.sites if model.site(s).kind in ("resid", "self_attn", "cross_attn", "mlp")
    ]
    error = replay_error(model, tokens, "happy upbeat pop song", sites)
    assert len(error) == 96 and error.relative.max() <= 1e-4


@pytest.mark.filterwarnings("ignore:prompt .* has 6001 tokens")
def test_batch_mates_change_nothing(both):
    prompts = ["happy", "sad " * 20, "calm ambient pads", "", "悲しい音楽", "sad piano " * 1000]
    tokens = np.random.default_rng(0).integers(0, 64, (6, 4, 12))
    with pytest.warns(UserWarning):
        together = replay(both, tokens, prompts, branches=("cond", "null"))
    for i in (0, 3, 5):
        with np.errstate(all="ignore"):
            alone = replay(
                both, tokens[i : i + 1], prompts[i : i + 1], branches=("cond", "null"), batch_size=1
            )
        np.testing.assert_allclose(together["layer_2"][i], alone["layer_2"][0], atol=1e-5)
    assert np.isfinite(together["layer_2"].values).all()


def test_texts_of_several_lengths(both):
    prompts = ["happy", "sad " * 20]
    acts = replay(
        both,
        np.zeros((2, 4, 12), int),
        prompts,
        ("text", "text_proj", "layer_0"),
        ("cond", "null", "guidance"),
    )
    assert acts["text"].dims == ("clip", "branch", "token", "d_text") and acts[
        "text_proj"
    ].dims == ("clip", "branch", "token", "d_model")
    n = text_rows(both, prompts)["happy"].mask.sum().item()
    assert (
        np.isnan(acts["text"].sel(branch="cond").values[0, n:]).all()
        and np.isfinite(acts["text"].sel(branch="cond").values[0, :n]).all()
    )
    np.testing.assert_allclose(acts["text"].sel(branch="guidance"), acts["text"].sel(branch="cond"))
    pooled = replay(both, np.zeros((2, 4, 12), int), prompts, "text", pool="mean")
    np.testing.assert_allclose(
        pooled["text"].values[:, 0], acts["text"].sel(branch="cond").mean("token").values, atol=1e-6
    )


def test_layers_above_the_deepest_do_not_run(both):
    ran, tokens = [], np.zeros((1, 4, 12), int)
    handle = both.module("layer_2").register_forward_hook(lambda *a: ran.append(1))
    try:
        low = replay(both, tokens, "happy", "layer_0")
    finally:
        handle.remove()
    assert ran == []
    np.testing.assert_allclose(low["layer_0"], replay(both, tokens, "happy")["layer_0"], atol=1e-6)
    assert count_hooks(both) == 0


def test_no_hook_stays_after_an_error(both):
    with pytest.raises(ValueError, match="tokens must lie in"):
        replay(both, np.full((1, 4, 12), 99), "happy")
    with pytest.raises(ValueError, match="got shape"):
        replay(both, np.zeros((4, 12), int), "happy")
    with pytest.raises(ValueError, match="4 codebooks"):
        replay(both, np.zeros((1, 2, 12), int), "happy")
    with pytest.raises(ValueError, match="no position without special tokens"):
        replay(both, np.zeros((1, 4, 3), int), "happy", pool="mean")
    assert count_hooks(both) == 0


@pytest.mark.filterwarnings("ignore:.* unknown to the tokenizer")
def test_memory_is_bounded_by_the_batch(both, tmp_path):
    store = ClipStore(tmp_path / "clips")
    r = np.random.default_rng(0)
    rows = plan_clips(both, [f"prompt {i}" for i in range(120)], duration_s=2)
    with store.writing():
        store.add(rows, list(r.integers(0, 64, (120, 4, 100))), list(np.zeros((120, 10))), 8000)
        store.compact()
    tracemalloc.start()
    replay_store(both, store, "resid", tmp_path / "acts", pool=None, batch_size=4, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    block = 4 * 103 * 32 * 3 * 4
    assert peak < 8 * block + 3e6, f"{peak / block:.1f} blocks"
    assert sum(p.stat().st_size for p in (tmp_path / "acts").rglob("*") if p.is_file()) > 25 * block
    with xr.open_zarr(tmp_path / "acts/layer_1") as ds:
        np.testing.assert_allclose(
            ds["activations"][119, 0],
            replay(both, store.codes()[119:], [store.table.prompt[119]])["layer_1"][0, 0],
            atol=1e-5,
        )
