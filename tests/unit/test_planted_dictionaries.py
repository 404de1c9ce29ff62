"""Dictionaries, edits and tables on data whose answer is known: what is there is found, no more."""

import numpy as np
import pandas as pd
import pytest
import torch

from musicgen_emotion.sae.dictionary import SAEConfig, SparseAutoencoder
from musicgen_emotion.sae.edited_clips import random_edits
from musicgen_emotion.sae.effects import ablation_effect, edit_size
from musicgen_emotion.sae.pieces import type_means, type_share
from musicgen_emotion.sae.planted import planted_features, sparse_code
from musicgen_emotion.sae.recovery import recovery_table
from musicgen_emotion.sae.sweeps import balanced_setting, sweep
from musicgen_emotion.sae.training import TrainConfig


class Axes(torch.nn.Module):
    "A dictionary whose feature i reads dimension i and writes it with a length of its own."

    def __init__(self, lengths):
        super().__init__()
        self.W_dec = torch.nn.Parameter(torch.diag(torch.as_tensor(lengths, dtype=torch.float32)))

    def encode(self, x):
        return x.clamp_min(0) / self.W_dec.diagonal()

    def decode(self, f):
        return f @ self.W_dec


@pytest.fixture(scope="module")
def loud():
    "States whose dimensions fire equally often; the first three are five times as large."
    rng = np.random.default_rng(0)
    lengths = np.r_[np.full(3, 5.0), np.ones(37)]
    fires = rng.random((600, 40)) < 0.3
    return Axes(lengths), (fires * rng.gamma(8, 1 / 8, (600, 40)) * lengths).astype(np.float32)


def test_random_edits_are_as_large_as_the_edit(loud):
    sae, states = loud
    size = edit_size(sae, states, [0, 1, 2])
    assert size > 3 * edit_size(sae, states, [3, 4, 5])  # as often, and much smaller
    x = torch.tensor(states)
    for edit in random_edits(sae, states, [0, 1, 2], n=5).values():
        shift = (edit(x, None) - x).detach()
        assert float(shift.pow(2).sum(1).mean() ** 0.5) == pytest.approx(size, rel=1e-3)


def test_an_edit_that_changes_nothing_has_no_random_twin(loud):
    sae, states = loud
    silent = states.copy()
    silent[:, 0] = 0
    with pytest.raises(ValueError, match="does not change the states"):
        random_edits(sae, silent, [0], n=2)


def test_large_edits_are_not_taken_for_meaningful_ones():
    "A readout that uses all dimensions alike loses more by large edits, whatever they mean."
    found = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        labels = np.tile(["sad", "calm"], 300)
        lengths = np.r_[np.full(3, 5.0), np.ones(37)]
        states = (rng.random((600, 40)) < 0.3) * rng.gamma(8, 1 / 8, (600, 40)) * lengths
        table = ablation_effect(
            Axes(lengths),
            states.astype(np.float32),
            labels,
            [0, 1, 2],
            np.arange(600) // 2 * 2 + np.arange(600) % 2,
            n_random=39,
            n_boot=10,
            seed=seed,
        )
        found.append(table[(table.measure == "probability") & (table.scope == "all")].p.item())
    assert (np.array(found) < 0.05).sum() <= 2


def test_cues_of_one_factor_are_one_property():
    rng = np.random.default_rng(0)
    arousal = rng.integers(3, size=120)
    truth = pd.DataFrame(dict(tempo=60.0 + 40 * arousal, level=-30.0 + 9 * arousal))
    truth["mode"] = rng.integers(2, size=120).astype(bool)
    table = recovery_table(rng.gamma(1, 1, (120, 10)), truth, n_boot=20)
    assert sorted(table.property) == ["mode", "tempo high = level high", "tempo low = level low"]
    assert table.set_index("property").nearest["tempo low = level low"].startswith("tempo high")


def test_a_detector_of_pieces_recovers_nothing_beyond_types():
    planted = planted_features(n_words=8, per_word=6)
    truth, words = planted.rows[["emotion"]], planted.rows.word.to_numpy()
    alone = recovery_table(planted.acts, truth, words, planted.states, n_boot=100)
    assert alone.recovered.all()
    same = recovery_table(planted.acts, truth, words, planted.states, planted.acts, n_boot=100)
    assert not same.recovered.any() and np.allclose(same.f1, same.types)
    noise = np.random.default_rng(0).gamma(1, 1, planted.acts.shape)
    beyond = recovery_table(planted.acts, truth, words, planted.states, noise, n_boot=100)
    assert beyond.recovered.all()


def tokens_with_code(n_prompts=400, length=6):
    rng = np.random.default_rng(0)
    prompts = np.repeat([f"prompt {number}" for number in range(n_prompts)], length)
    labels = np.repeat(np.tile(["happy", "sad", "calm", "angry"], n_prompts // 4), length)
    types = rng.integers(30, size=len(prompts))
    code = dict(size=0.7, per_emotion=16, often=0.15, leading=0.0)
    return sparse_code(types, labels, prompts, 48, **code), types, labels, prompts


def test_type_means_do_not_know_a_planted_emotion():
    states, types, labels, _ = tokens_with_code()
    assert 0.4 < type_share(states, types) < 0.9
    static = type_means(states, types)
    for emotion in np.unique(labels):  # every piece occurs in every emotion
        own, others = static[labels == emotion].mean(0), static[labels != emotion].mean(0)
        assert np.linalg.norm(own - others) < 0.15
    with pytest.raises(ValueError, match="one per token"):
        sparse_code(types, labels[:3], labels, 48)


def test_the_choice_does_not_end_at_the_densest_setting():
    "Tokens have about three active features: k 24 explains more, and no twin finds its features."
    states, _, _, prompts = tokens_with_code()
    config = SAEConfig(48, 3, activation="topk")
    training = TrainConfig(steps=250, batch_size=256, lr=0.003)
    table = sweep(
        states, dict(k=[3, 24]), config, training, prompts, progress=False, twins=True
    ).set_index("k")
    assert table.explained_variance[24] > table.explained_variance[3]
    assert table.stable[3] > 2 * table.stable[24]
    assert balanced_setting(table.reset_index())["k"] == 3
    assert table.stable.le(table.found).all()


def test_a_sweep_without_twins_has_nothing_to_weigh():
    with pytest.raises(KeyError, match="twins=True"):
        balanced_setting(pd.DataFrame(dict(explained_variance=[0.9])))
    with pytest.raises(ValueError, match="no setting"):
        balanced_setting(pd.DataFrame())
    dead = pd.DataFrame(dict(explained_variance=[-0.2, 0.5], stable=[0.9, 0.1]))
    assert balanced_setting(dead)["explained_variance"] == 0.5
    nothing = pd.DataFrame(dict(l0=[300.0, 8.0], explained_variance=[0.9, 0.6], stable=0.0))
    assert balanced_setting(nothing)["l0"] == 8.0


def test_a_dictionary_that_is_not_trained_has_no_stable_features():
    from musicgen_emotion.sae.matching import found_by_twins

    runs = [SparseAutoencoder(48, d_sae=144, seed=seed) for seed in range(3)]
    found = found_by_twins(runs[0], runs[1:], n_boot=50)
    assert found.value < 0.02 and found.n == 144
    assert found_by_twins(runs[0], [runs[0]], n_boot=50).value == 1.0
