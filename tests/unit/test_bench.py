"The scoreboard: methods that know the truth win, those that guess do not, and nothing leaks."

import json

import numpy as np
import pytest

from musicgen_emotion.bench.board import bench_vectors, leaderboard, load_method, read_results
from musicgen_emotion.bench.scores import absorption_rate, placed_between, recovered_f1
from musicgen_emotion.bench.vectors import (
    VECTOR_METHODS,
    Found,
    planted_vectors,
    principal_components,
    random_directions,
    sae_method,
    score_found,
)

SMALL = dict(n_rows=4000, d=16, n_true=24, n_pairs=4)


def test_random_directions_never_equal_the_truth():
    "Truth and random directions once came from the same numbers when their seeds were equal."
    for seed in range(5):
        truth = planted_vectors(**SMALL, seed=seed)
        found = random_directions(truth.states, 24, seed)
        assert score_found(found, truth).mcc < 0.75


def test_a_dictionary_beats_components_and_chance():
    truth = planted_vectors(**SMALL, active=3.0, seed=1)
    topk = score_found(sae_method("topk", k=3, steps=1500)(truth.states, 24, 0), truth)
    pca = score_found(principal_components(truth.states, 24, 0), truth)
    chance = score_found(random_directions(truth.states, 24, 0), truth)
    assert topk.mcc > chance.mcc + 0.15 and topk.mcc > pca.mcc


def test_a_method_gets_a_copy_of_the_vectors_and_no_truth(tmp_path):
    seen = []

    def greedy(states, n, seed):
        seen.append((states.shape, n, seed))
        states[:] = 0  # must not touch the truth
        return np.eye(16), lambda rows: rows

    results = bench_vectors(
        tmp_path, dict(greedy=dict(only=greedy)), n_truths=2, sizes=SMALL, progress=False
    )
    assert set(seen) == {((4000, 16), 24, 1), ((4000, 16), 24, 2)}
    assert (results[results.method == "oracle"].mcc > 0.999).all()


def test_a_stopped_board_goes_on_where_it_was(tmp_path):
    calls = []

    def stopped(states, n, seed):
        calls.append(seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.eye(16), lambda rows: rows

    methods = dict(mine=dict(only=stopped))
    with pytest.raises(KeyboardInterrupt):
        bench_vectors(tmp_path, methods, n_truths=2, sizes=SMALL, progress=False)
    lines = (tmp_path / "vectors.jsonl").read_text().splitlines()
    assert [json.loads(line)["truth"] for line in lines] == [0]
    whole = bench_vectors(tmp_path, methods, n_truths=2, sizes=SMALL, progress=False)
    assert len(calls) == 5  # two of the first truth, one that was stopped, two of the second
    assert (whole.method == "mine").sum() == 2 and len(read_results(tmp_path)) == len(whole)


def test_settings_are_chosen_on_a_truth_that_is_not_scored(tmp_path):
    seen = dict(good=[], bad=[])

    def good(states, n, seed):
        seen["good"].append(float(states.sum()))
        return principal_components(states, n, seed)

    def bad(states, n, seed):
        seen["bad"].append(float(states.sum()))
        return np.full((1, 16), 0.1), lambda rows: np.zeros((len(rows), 1))

    methods = dict(two=dict(bad=bad, good=good))
    results = bench_vectors(tmp_path, methods, n_truths=2, sizes=SMALL, progress=False)
    assert set(results.setting[results.method == "two"]) == {"good"}
    (development,) = seen["bad"]  # the other setting was tried once, and never scored
    assert seen["good"].count(development) == 1 and len(seen["good"]) == 1 + 2 * 2


def test_the_leaderboard_puts_chance_at_zero_and_the_truth_at_one(tmp_path):
    methods = dict(pca=VECTOR_METHODS["pca"])
    results = bench_vectors(tmp_path, methods, n_truths=3, sizes=SMALL, progress=False)
    board = leaderboard(results).set_index("method")
    assert board.place["oracle"] == 1 and board.place["random"] == 0
    assert board.low["pca"] <= board.place["pca"] <= board.high["pca"]
    assert (board.n == 3).all()


def test_scores_by_hand():
    true = np.eye(4)[:2]
    found = np.array([[1.0, 0.0, 0.0, 0.0], [0.95, 0.3, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    score = recovered_f1(found, true)  # both of the first two are near the first truth
    assert (score["precision"], score["recall"]) == (1 / 3, 1 / 2)
    assert np.isnan(absorption_rate([1, 1], [1, 1], [1, 1]))  # the parent is never alone
    with pytest.raises(ValueError, match="cannot tell them apart"):
        placed_between([0.5, 0.5], [0.4, 0.4], [0.4, 0.4])


def test_outside_methods_are_refused_by_name(tmp_path):
    (tmp_path / "mine.py").write_text("value = 3\n")
    for name, reason in (
        ("nothing", "must be a name of the board"),
        (f"{tmp_path}/absent.py:find", "there is no file"),
        (f"{tmp_path}/mine.py:value", "has no function value"),
    ):
        with pytest.raises(ValueError, match=reason):
            load_method(name)
    wide = dict(wide=dict(only=lambda states, n, seed: Found(np.eye(3), lambda rows: rows)))
    with pytest.raises(ValueError, match="directions of wide must be"):
        bench_vectors(tmp_path / "out", wide, n_truths=2, sizes=SMALL, progress=False)


def test_results_may_lie_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    bench_vectors("~/board", dict(pca=VECTOR_METHODS["pca"]), 2, sizes=SMALL, progress=False)
    assert (tmp_path / "board" / "vectors.jsonl").exists() and not (tmp_path / "~").exists()
