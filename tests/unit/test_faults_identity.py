"""Identity follows the bits that run, the files that are read, and the numbers that are stored."""

import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from musicgen_emotion.activations.clip_files import DamagedStore
from musicgen_emotion.activations.clip_plans import WEIGHTS_FILE, generate_clips, plan_clips
from musicgen_emotion.activations.clips import ClipStore
from musicgen_emotion.activations.stored import replay_store
from musicgen_emotion.activations.stored_checks import damaged_activations, verify_activations
from musicgen_emotion.activations.texts import load_encoder
from musicgen_emotion.causes.stages import Stages
from musicgen_emotion.lab.files import sha256_bytes, sha256_file
from musicgen_emotion.models.audiocraft_files import read_part
from musicgen_emotion.models.fingerprints import stored_tensors, weights_fingerprint
from musicgen_emotion.models.hub import weight_files
from musicgen_emotion.models.load import as_model, load_model
from musicgen_emotion.sae.data import StoreBatches
from musicgen_emotion.sae.dictionary import SAEConfig
from musicgen_emotion.sae.settings import TrainConfig
from musicgen_emotion.sae.sweeps import sweep
from musicgen_emotion.sae.training import train_sae
from musicgen_emotion.steering.judging import judge_fingerprint

HAPPY = ["a happy song"]
SHORT = dict(duration_s=0.1, progress=False)


@pytest.fixture
def fresh(tiny_folder):
    "A model of the test's own, which it may change."
    return load_model(tiny_folder, device="cpu")


@pytest.fixture
def folder(tiny_folder, tmp_path):
    "A copy of the model's folder, which the test may change."
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.fixture
def stored(fresh, tmp_path):
    "Activations of three stored clips at two sites."
    store = ClipStore(tmp_path / "clips")
    prompts = ["a happy song", "a sad song", "a calm song"]
    generate_clips(fresh, prompts, store, **SHORT)
    how = dict(sites=("layer_0", "layer_2"), out=tmp_path / "acts", pool=None, batch_size=2)
    make = partial(replay_store, store=store, progress=False, **how)
    return SimpleNamespace(make=make, folder=make(fresh), store=store)


def id_of(model):
    return plan_clips(model, HAPPY).clip_id[0]


# the bits of tensors


def test_the_fingerprint_sees_every_kind_of_change():
    generator = torch.Generator().manual_seed(0)
    weights = dict(
        long=torch.randn(3, 70_001, generator=generator),
        halves=torch.randn(9001, generator=generator).half(),
        short=torch.randn(5, generator=generator),
        counts=torch.arange(7),
    )
    found = {weights_fingerprint(weights)}
    assert found == {weights_fingerprint({name: t.clone() for name, t in weights.items()})}
    n_changes = 1
    for name, tensor in weights.items():
        first, last = (0,) * tensor.ndim, (-1,) * tensor.ndim
        for change in ("swap", "zero", "sign", "bit", "dtype", "shape", "name", "transpose"):
            other = dict(weights)
            new = tensor.clone()
            if change == "swap":
                new[first], new[last] = tensor[last], tensor[first]
            elif change == "zero":
                new.zero_()
            elif change == "sign":
                new[last] *= -1
            elif change == "bit":
                new.view(-1).view(torch.uint8)[-1] ^= 1
            elif change == "dtype":
                new = new.to(torch.bfloat16)
            elif change == "shape":
                new = new.reshape(1, *new.shape)
            elif change == "transpose":
                new = new.reshape(-1, 1).flip(0).reshape(new.shape)
            del other[name]
            other["renamed" if change == "name" else name] = new
            found.add(weights_fingerprint({key: other[key] for key in sorted(other)}))
            n_changes += 1
    assert len(found) == n_changes


def test_the_fingerprint_does_not_depend_on_strides_and_threads():
    generator = torch.Generator().manual_seed(1)
    plain = torch.randn(300, 700, generator=generator)
    expected = weights_fingerprint(dict(w=plain))
    shifted = torch.cat([torch.zeros(1), plain.view(-1)])[1:].view(300, 700)
    assert weights_fingerprint(dict(w=plain.T.contiguous().T)) == expected
    assert weights_fingerprint(dict(w=shifted)) == expected
    torch.set_num_threads(2)
    try:
        assert weights_fingerprint(dict(w=plain)) == expected
    finally:
        torch.set_num_threads(1)


def test_a_run_changes_no_bit(both_tiny, tmp_path):
    before = both_tiny.identity()
    generate_clips(both_tiny, HAPPY, tmp_path / "clips", **SHORT)
    assert both_tiny.identity() == before


# the weights of a model


def test_unchanged_files_keep_the_ids_that_they_had(nano):
    lines = [f"{name} {sha256_file(file)}\n" for name, file in weight_files(nano.folder).items()]
    assert nano.checksum == sha256_bytes("".join(lines))
    assert nano.checksum == load_model("nano", device="cpu").checksum


def zero_fc2(model):
    model.module("layer_1.mlp").weight.data.zero_()


def merge_lora(model):
    weight = model.module("layer_0.mlp").weight
    down, up = torch.randn(1, weight.shape[1]), torch.randn(weight.shape[0], 1)
    weight.data += 1e-4 * up @ down


def swap_two_rows(model):
    weight = model.module("layer_0.mlp").weight
    weight.data[[0, 1]] = weight.data[[1, 0]]


def change_codec(model):
    next(model.codec.parameters()).data[0] += 1


def change_text_encoder(model):
    next(model.hf.text_encoder.parameters()).data[0] += 1


def through_half(model):
    model.hf.half().float()


CHANGES = [zero_fc2, merge_lora, swap_two_rows, change_codec, change_text_encoder, through_half]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changed_weights_are_another_model(tiny_folder, backend, change):
    model = load_model(tiny_folder, backend=backend, device="cpu")
    raw = as_model(getattr(model, "raw", model.hf))
    before, raw_before = id_of(model), id_of(raw)
    backup = {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}
    buffers = {name: buffer.clone() for name, buffer in model.hf.named_buffers()}
    change(model)
    assert id_of(model) != before
    assert id_of(raw) != raw_before, "a wrapper that is kept follows its raw model"
    model.hf.load_state_dict(backup)
    for name, buffer in model.hf.named_buffers():
        buffer.copy_(buffers[name])
    assert (id_of(model), id_of(raw)) == (before, raw_before)


def test_computed_buffers_count(fresh):
    before = fresh.checksum
    fresh.decoder.embed_positions.weights.zero_()
    assert fresh.checksum != before


def test_another_network_inside_is_another_model(tiny_folder, backend):
    model = load_model(tiny_folder, backend=backend, device="cpu")
    before = model.checksum
    if backend == "audiocraft":
        other = load_model(tiny_folder, backend=backend, device="cpu")
        other.raw.lm.linears[0].weight.data += 1
        model.raw.lm = other.raw.lm
    else:
        model.hf.decoder.lm_heads[0] = torch.nn.Linear(*model.hf.decoder.lm_heads[0].weight.T.shape)
    assert model.checksum != before


def test_a_cast_after_loading_is_another_model_and_moving_is_not(fresh):
    before = fresh.checksum
    fresh.hf.to("cpu")
    assert fresh.checksum == before
    fresh.hf.half()
    assert fresh.checksum != before


def test_files_that_were_replaced_after_loading_do_not_name_the_weights(folder):
    model = load_model(folder, device="cpu")
    file = folder / "model.safetensors"
    weights = load_file(file)
    name = "decoder.lm_heads.0.weight"
    save_file(weights | {name: weights[name] + 1}, file, dict(format="pt"))
    other = load_model(folder, device="cpu")
    assert model.checksum != other.checksum
    assert other.checksum == load_model(folder, device="cpu").checksum


def test_a_raw_object_that_changed_before_it_was_wrapped(tiny_folder):
    pytest.importorskip("audiocraft")
    model = load_model(tiny_folder, backend="audiocraft", device="cpu")
    assert as_model(model.raw).checksum == model.checksum
    model.raw.lm.linears[0].weight.data.zero_()
    assert (
        as_model(model.raw).checksum
        == model.checksum
        != load_model(tiny_folder, backend="audiocraft", device="cpu").checksum
    )


def test_clips_of_changed_weights_are_made_anew(fresh, tmp_path):
    store = ClipStore(tmp_path / "clips")
    first = generate_clips(fresh, HAPPY, store, **SHORT)
    fresh.hf.decoder.lm_heads[0].weight.data *= -1
    second = generate_clips(fresh, HAPPY, store, **SHORT)
    assert second.clip_id[0] != first.clip_id[0]
    assert second.tokens_checksum[0] != first.tokens_checksum[0]
    assert len(store) == 2


def test_a_store_refuses_another_precision_and_names_both(tiny_folder, fresh, tmp_path):
    store = tmp_path / "clips"
    generate_clips(fresh, HAPPY, store, **SHORT)
    other = load_model(tiny_folder, device="cpu", dtype="bfloat16")
    assert id_of(other) == id_of(fresh)
    with pytest.raises(ValueError, match=r"float32.*bfloat16.*dtype='float32'") as refused:
        generate_clips(other, HAPPY, store, **SHORT)
    assert fresh.identity()[1][:12] in str(refused.value)
    assert other.identity()[1][:12] in str(refused.value)
    generate_clips(fresh, HAPPY, store, **SHORT)


def test_a_store_without_a_note_is_taken_as_it_is(tiny_folder, fresh, tmp_path):
    store = tmp_path / "clips"
    generate_clips(fresh, HAPPY, store, **SHORT)
    (store / WEIGHTS_FILE).unlink()
    generate_clips(load_model(tiny_folder, device="cpu", dtype="bfloat16"), HAPPY, store, **SHORT)
    generate_clips(fresh, HAPPY, store, **SHORT)


# the files of a model


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("as_the_model", [False, True])
def test_an_adapter_is_refused(folder, backend, name, as_the_model):
    if as_the_model:
        (folder / "config.json").unlink()
    (folder / name).write_text("{}")
    with pytest.raises(ValueError, match=r"holds an adapter.*merge it into the weights"):
        load_model(folder, backend=backend, device="cpu")


def test_an_adapter_of_an_encoder_is_refused(folder, tmp_path):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds an adapter"):
        load_encoder(folder)
    with pytest.raises(ValueError, match="holds an adapter"):
        read_part(None, folder, "text_encoder", "a T5")


def shard(folder, names=("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")):
    "Divide the weights of a folder; returns the index."
    file = folder / "model.safetensors"
    weights = load_file(file)
    file.unlink()
    where = {name: names[i % 2] for i, name in enumerate(sorted(weights))}
    for part in names:
        (folder / part).parent.mkdir(exist_ok=True, parents=True)
        own = {name: weights[name] for name, own_part in where.items() if own_part == part}
        save_file(own, folder / part, dict(format="pt"))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps(dict(metadata=dict(total_size=1), weight_map=where)))
    return index


def change_a_weight(file):
    weights = load_file(file)
    name = next(name for name, tensor in sorted(weights.items()) if tensor.is_floating_point())
    save_file(weights | {name: weights[name] + 1}, file, dict(format="pt"))


@pytest.mark.parametrize("second", ["model-2.safetensors", "more/model-2.safetensors"])
def test_every_shard_is_in_the_checksum(folder, second):
    shard(folder, ("model-1.safetensors", second))
    seen = [load_model(folder, device="cpu").checksum]
    for part in ("model-1.safetensors", second):
        change_a_weight(folder / part)
        seen.append(load_model(folder, device="cpu").checksum)
    assert len(set(seen)) == 3


def test_a_shard_behind_a_link_counts_with_what_it_points_to(folder, tmp_path):
    shard(folder)
    part = folder / "model-00002-of-00002.safetensors"
    part.rename(tmp_path / "blob")
    part.symlink_to(tmp_path / "blob")
    before = load_model(folder, device="cpu").checksum
    change_a_weight(tmp_path / "blob")
    assert load_model(folder, device="cpu").checksum != before


@pytest.mark.parametrize("where", ["../outside.safetensors", "absolute", "a/../../x.safetensors"])
def test_an_index_that_points_elsewhere_is_refused(folder, tmp_path, where):
    index = shard(folder)
    content = json.loads(index.read_text())
    moved = tmp_path / "outside.safetensors"
    shutil.move(folder / "model-00002-of-00002.safetensors", moved)
    elsewhere = str(moved) if where == "absolute" else where
    for name, part in content["weight_map"].items():
        if part.startswith("model-00002"):
            content["weight_map"][name] = elsewhere
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"index.json names the file .* not in its folder"):
        load_model(folder, device="cpu")


def test_a_decoy_beside_the_weights_changes_nothing(folder, tiny):
    whole = (folder / "model.safetensors").read_bytes()
    shard(folder)
    (folder / "model.safetensors").write_bytes(whole)
    for part in folder.glob("model-*.safetensors"):
        change_a_weight(part)
    model = load_model(folder, device="cpu")
    assert model.checksum == tiny.checksum
    assert weights_fingerprint(stored_tensors({"": model.hf})) == tiny.identity()[1]


def test_a_configuration_that_names_other_weights_is_refused(folder):
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["transformers_weights"] = "other.safetensors"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"names other weights, 'other.safetensors'"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"weight_map": {}}'])
def test_a_damaged_index_is_named(folder, content):
    shard(folder).write_text(content)
    with pytest.raises(ValueError, match=r"model.safetensors.index.json"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("sharded", [False, True])
def test_older_weight_files_have_an_identity(folder, sharded, tmp_path):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    name = "pytorch_model-00001-of-00001.bin" if sharded else "pytorch_model.bin"
    torch.save(weights, folder / name)
    if sharded:
        content = dict(metadata=dict(total_size=1), weight_map=dict.fromkeys(weights, name))
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(content))
    model = load_model(folder, device="cpu")
    assert model.checksum == sha256_bytes(f"{name} {sha256_file(folder / name)}\n")
    generate_clips(model, HAPPY, tmp_path / "clips", **SHORT)


# stored activations


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def all_files(folder):
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name[0] != ".")


def test_verify_finds_flipped_bits_and_lost_files(stored):
    assert verify_activations(stored.folder) == 3
    for file in all_files(stored.folder)[::3]:
        content = file.read_bytes()
        name = file.relative_to(stored.folder).as_posix()
        if file.name not in ("replay.json", "checksums.txt"):
            flip_bit(file)
            assert name in set(damaged_activations(stored.folder).file)
            with pytest.raises(DamagedStore, match="altered"):
                verify_activations(stored.folder)
        file.unlink()
        with pytest.raises((DamagedStore, FileNotFoundError), match=file.name):
            verify_activations(stored.folder)
        file.write_bytes(content)
    assert verify_activations(stored.folder) == 3


@pytest.mark.parametrize("lost", ["layer_0", "layer_2/activations", "layer_0/activations/1.0.0.0"])
def test_what_is_lost_is_named_and_made_again(stored, fresh, lost):
    expected = {file: file.read_bytes() for file in all_files(stored.folder)}
    path = stored.folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DamagedStore, match="missing"):
        verify_activations(stored.folder)
    stored.make(fresh)
    assert {file: file.read_bytes() for file in all_files(stored.folder)} == expected
    assert verify_activations(stored.folder) == 3


def test_an_unfinished_replay_is_not_complete(stored, fresh):
    state = stored.folder / "replay.json"
    content = json.loads(state.read_text())
    state.write_text(json.dumps(content | dict(complete=False, blocks_done=1)))
    with pytest.raises(DamagedStore, match="not complete"):
        verify_activations(stored.folder)
    stored.make(fresh)
    assert verify_activations(stored.folder) == 3


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"sites": []}'])
def test_a_damaged_state_is_one_sentence(stored, content):
    (stored.folder / "replay.json").write_text(content)
    with pytest.raises(DamagedStore, match=r"replay.json"):
        verify_activations(stored.folder)


def test_activations_of_changed_weights_are_refused_and_both_are_named(stored, fresh):
    before = fresh.checksum
    zero_fc2(fresh)
    with pytest.raises(ValueError, match="other model_checksum") as refused:
        stored.make(fresh)
    assert before[:12] in str(refused.value)
    assert fresh.checksum[:12] in str(refused.value)


def test_activations_of_another_precision_are_refused(stored, tiny_folder):
    with pytest.raises(ValueError, match="other model_fingerprint"):
        stored.make(load_model(tiny_folder, device="cpu", dtype="bfloat16"))


def test_a_replay_of_an_older_version_goes_on(stored, fresh):
    state = stored.folder / "replay.json"
    content = json.loads(state.read_text())
    for name in ("model_fingerprint", "tokens"):
        del content[name]
    state.write_text(json.dumps(content))
    stored.make(fresh)


# what is kept between runs


def judge_of(weight):
    layer = torch.nn.Linear(3, 3)
    layer.weight.data.fill_(weight)
    layer.bias.data.zero_()
    return SimpleNamespace(layer=layer, limit=weight)


def plain_judge(audio, rate, held=None):
    return np.zeros(len(audio))


class Judge:
    def __init__(self, held):
        self.held = held

    def score(self, audio, rate):
        return np.full(len(audio), 1.0)


THRESHOLD = 0.5


def judge_with_global(audio, rate):
    return np.abs(audio).max(1) > THRESHOLD


def table_of(value):
    numbers = np.zeros(2000)
    numbers[1000] = value
    return pd.DataFrame(dict(weight=numbers))


JUDGES = {
    "weights of a network": lambda value: partial(plain_judge, held=judge_of(value).layer),
    "partial": lambda value: partial(plain_judge, held=value),
    "bound method": lambda value: Judge(value).score,
    "network of an object": lambda value: Judge(judge_of(value)).score,
    "long table": lambda value: Judge(table_of(value)).score,
    "set": lambda value: Judge({"a", f"b{value}"}).score,
}


@pytest.mark.parametrize("kind", JUDGES)
def test_a_judge_that_holds_something_else_is_another(kind):
    make = JUDGES[kind]
    first, again, other = (judge_fingerprint(dict(j=make(value))) for value in (1.0, 1.0, 2.0))
    assert first == again != other


def test_a_judge_whose_global_changed_is_another(monkeypatch):
    first = judge_fingerprint(dict(j=judge_with_global))
    assert judge_fingerprint(dict(j=judge_with_global)) == first
    monkeypatch.setitem(globals(), "THRESHOLD", 0.7)
    assert judge_fingerprint(dict(j=judge_with_global)) != first


def test_stages_follow_weights_and_inputs(tmp_path):
    def run(**manifest):
        known = dict(code="c", models=[dict(name="m", checksum="1")], inputs={})
        return SimpleNamespace(path=tmp_path, manifest=known | manifest)

    def stage_of(number, **manifest):
        make = partial(pd.DataFrame, dict(number=[number]))
        return int(Stages(run(**manifest))("stage", make).number[0])

    assert stage_of(1) == 1
    assert stage_of(2) == 1, "the same run reads it back"
    assert stage_of(3, models=[dict(name="m", checksum="2")]) == 3
    assert stage_of(4, inputs={"songs.csv": "a"}) == 4
    assert stage_of(5, inputs={"songs.csv": "b"}) == 5


def test_a_training_of_other_activations_is_refused(stored, tmp_path):
    config = TrainConfig(steps=4, batch_size=4, eval_every=2)
    train = partial(
        train_sae,
        sae=SAEConfig(32, 2, activation="topk", k=2),
        config=config,
        folder=tmp_path / "sae",
        progress=False,
    )
    with pytest.warns(UserWarning):
        train(StoreBatches(stored.folder, "layer_0", trim=0))
        train(StoreBatches(stored.folder, "layer_0", trim=0))
    state = stored.folder / "replay.json"
    content = json.loads(state.read_text())
    state.write_text(json.dumps(content | dict(model_fingerprint="f" * 64)))
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match=r"model \(.* and ffffffffffff\) differ"),
    ):
        train(StoreBatches(stored.folder, "layer_0", trim=0))


def test_a_sweep_of_other_data_is_refused(tmp_path):
    rows = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    how = dict(
        grid=dict(k=[1]),
        base=SAEConfig(8, 2, activation="topk", k=1),
        train=TrainConfig(steps=4, batch_size=16, eval_every=2),
        folder=tmp_path / "sweep",
        progress=False,
    )
    first = sweep(rows, **how)
    assert sweep(rows, **how).loss.tolist() == first.loss.tolist()
    with pytest.raises(ValueError, match="made from other data"):
        sweep(rows[::-1].copy(), **how)
