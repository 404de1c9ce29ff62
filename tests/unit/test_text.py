"""Text embeddings: padding, foreign input, words and tokens, export and the user's own files."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from musicgen_emotion.activations.texts import (
    export_t5_embeddings,
    load_embeddings,
    load_encoder,
    text_embeddings,
    word_token_spans,
)
from musicgen_emotion.lab.files import sha256_file
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.tiny import write_random_model

torch.set_num_threads(1)
PROMPTS = ["happy upbeat pop song", "sad slow piano", "calm ambient pads"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_model(write_random_model(tmp_path_factory.mktemp("model"), seed=0), device="cpu")


@pytest.fixture(scope="module")
def t5(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    tiny.hf.text_encoder.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return load_encoder(folder, device="cpu")


@pytest.fixture(scope="module")
def bert(tmp_path_factory, tiny):
    "An encoder that is no T5, with the tokenizer of the tiny model."
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=512,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        )
    ).save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pool", ["mean", "last", "max"])
def test_padding_changes_nothing(tiny, t5, pool):
    prompts = [*PROMPTS, "sad " * 30]
    together = text_embeddings(t5, prompts, pool, progress=False)
    alone = np.concatenate([text_embeddings(t5, [p], pool) for p in prompts])
    np.testing.assert_allclose(together.values, alone, atol=1e-5)
    np.testing.assert_allclose(
        together.values, text_embeddings(tiny, prompts, pool).values, atol=1e-5
    )


def test_other_encoders_by_folder(bert):
    out = text_embeddings(bert, PROMPTS, pool=None, progress=False)
    assert out.dims == ("prompt", "token", "d_text") and out.sizes["d_text"] == 16
    assert (np.isnan(out.values).all(-1) == ~out.mask.values).all()


def test_unreachable_encoder(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        FileNotFoundError, match=r"nobody/no-such-encoder.*hf download nobody/no-such-encoder"
    ):
        load_encoder("nobody/no-such-encoder")


@pytest.mark.parametrize(
    "prompt", ["", " ", "sad piano " * 1000, "悲しい音楽", "Грустная музыка", "música triste\n\t🎻"]
)
@pytest.mark.filterwarnings("ignore")
def test_unusual_prompts(tiny, t5, prompt):
    for encoder in (tiny, t5):
        out = text_embeddings(encoder, [prompt, "happy"], progress=False)
        assert np.isfinite(out.values).all() and out.shape == (2, tiny.config.d_text)
        word_token_spans(encoder, prompt)


def test_tables_and_sets(tiny):
    from musicgen_emotion.stimuli.prompts import PromptSet

    df = pd.DataFrame(dict(prompt=PROMPTS, emotion=["happy", "sad", "calm"]))
    np.testing.assert_array_equal(text_embeddings(tiny, df), text_embeddings(tiny, PROMPTS))
    np.testing.assert_array_equal(
        text_embeddings(tiny, PromptSet(df)), text_embeddings(tiny, PROMPTS)
    )


@pytest.mark.filterwarnings("ignore:.* unknown to the tokenizer")
def test_words_cover_their_tokens(tiny):
    prompt = "a happy, up-beat   piano piece: don't stop"
    spans = word_token_spans(tiny, prompt)
    pieces = text_embeddings(tiny, [prompt], pool=None).piece.values[0]
    assert spans.word.tolist() == ["a", "happy", "up-beat", "piano", "piece", "don't", "stop"]
    assert [
        "".join(pieces[t]).replace("▁", "")
        for t in spans.tokens[spans.word.isin(["happy", "piano", "stop"])]
    ] == ["happy", "piano", "stop"]
    assert len(word_token_spans(tiny, "Sad, very sad", "sad")) == 2


def test_export_reads_back_and_repeats(tiny, tmp_path):
    vectors, labels = text_embeddings(tiny, PROMPTS), ["happy", "sad", "calm"]
    first = export_t5_embeddings(tmp_path / "a", vectors, labels, PROMPTS, encoder="tiny")
    second = export_t5_embeddings(
        tmp_path / "b/t5_embeddings", vectors, labels, PROMPTS, encoder="tiny"
    )
    assert sorted(p.name for p in first.iterdir()) == [
        "embeddings.npy",
        "emotion_clustering_pca.png",
        "format.json",
        "labels.npy",
        "metadata.json",
    ]
    assert sha256_file(first) == sha256_file(second)
    assert np.load(first / "labels.npy").tolist() == [0, 1, 2]
    for path in (first, first.parent, first / "embeddings.npy"):
        assert load_embeddings(path).labels.tolist() == labels
    one = export_t5_embeddings(tmp_path / "one", vectors[:1], labels[:1])
    assert load_embeddings(one).prompts is None


def test_bad_files_are_named(tmp_path):
    np.save(tmp_path / "labels.npy", [0, 1])
    for name, x, why in (
        ("nan", [[1, np.nan], [1, 2]], "NaN"),
        ("flat", [1.0, 2.0], "must be embeddings"),
        ("short", [[1.0, 2]], "one per row"),
        ("none", np.zeros((2, 0)), "empty"),
        ("text", [["a"], ["b"]], "numbers"),
    ):
        np.save(tmp_path / f"{name}.npy", x)
        with pytest.raises(ValueError, match=f"{name}.npy.*{why}"):
            load_embeddings(tmp_path / f"{name}.npy")
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"pickle\.npy is no \.npy array without pickled objects"):
        load_embeddings(tmp_path / "pickle.npy")
    np.save(tmp_path / "fine.npy", np.ones((2, 2)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "fine.npy").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"cut\.npy is no \.npy"):
        load_embeddings(tmp_path / "cut.npy")
    pd.DataFrame(dict(mood=["sad", "calm"])).to_csv(tmp_path / "moods.csv")
    with pytest.raises(ValueError, match="needs a column emotion or label"):
        load_embeddings(tmp_path / "fine.npy", tmp_path / "moods.csv")
    for labels, why in (
        ([0, 9], "label 9 is not known"),
        ([0, 0.5], "got the fraction 0.5"),
        (["sad", "hungry"], "'hungry' is not known"),
        ([[0, 1]], "must have one dimension"),
        ([-1, 0], "label -1"),
    ):
        with pytest.raises(ValueError, match=why):
            load_embeddings(tmp_path / "fine.npy", labels)
    with pytest.raises(FileNotFoundError, match=r"absent\.npy does not exist"):
        load_embeddings(tmp_path / "absent.npy")


def test_the_published_embeddings():
    data = (
        Path(os.environ.get("MGE_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
        / "t5_emotion_prompts"
    )
    if not data.exists():
        pytest.skip("the published t5-base embeddings are not here (set MGE_DATA)")
    emb = load_embeddings(data)
    assert emb.vectors.shape == (100, 768) and pd.Series(
        emb.labels
    ).value_counts().to_dict() == dict(happy=25, sad=25, calm=25, energetic=25)
    assert emb.prompts[0] == "happy cheerful upbeat music"
    assert (
        load_embeddings(data / "embeddings.npy", data / "prompts.csv").labels.tolist()
        == emb.labels.tolist()
    )
