"""Feature tests that need more than a lesson.

Memory and order do not matter, p-values hold under the null, bad input is refused, and the page
works in a real browser."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from musicgen_emotion.sae.cards import CardData, feature_card, write_feature_page
from musicgen_emotion.sae.controls import (
    beats_controls,
    control_claims,
    control_table,
    generalization,
    pca_features,
    rectify,
)
from musicgen_emotion.sae.dictionary import SparseAutoencoder
from musicgen_emotion.sae.edited_clips import (
    _p_over_prompts,
    edit_changes,
    edit_effects,
    edit_test,
    feature_edit,
)
from musicgen_emotion.sae.effects import (
    ablate_features,
    ablation_effect,
    fitted_readout,
    random_features_like,
)
from musicgen_emotion.sae.features import count_selective, selective_features, selectivity
from musicgen_emotion.sae.matching import (
    feature_splitting,
    match_features,
    stability,
    stable_estimate,
)
from musicgen_emotion.sae.planted import planted_features
from musicgen_emotion.sae.probing import sparse_probe
from musicgen_emotion.sae.profiles import cluster_features, emotion_profile, va_weights
from musicgen_emotion.sae.recovery import monosemanticity, recovery_table
from musicgen_emotion.stimuli.emotions import EMOTIONS


@pytest.fixture(scope="module")
def data():
    return planted_features()


@pytest.fixture(scope="module")
def table(data):
    return selective_features(
        data.acts, data.rows.emotion.to_numpy(), data.rows.word.to_numpy(), n_perm=300
    )


def flags(T):
    return T[T.selective].feature.tolist()


def test_planted_features_are_found_and_word_features_are_not(table):
    assert set(range(15)) <= set(flags(table)) and not set(flags(table)) & set(range(45, 67))
    assert table[table.highly].feature.nunique() == table.highly.sum(), "a feature is counted once"


def test_rows_may_come_in_any_order(data, table):
    i = np.random.default_rng(0).permutation(len(data.acts))
    other = selective_features(
        data.acts[i], data.rows.emotion.to_numpy()[i], data.rows.word.to_numpy()[i], n_perm=300
    )
    np.testing.assert_allclose(other.selectivity, table.selectivity, rtol=1e-9)
    np.testing.assert_allclose(other.p, table.p)


def test_memory_bound_changes_nothing(data, table):
    small = selective_features(
        data.acts, data.rows.emotion.to_numpy(), data.rows.word.to_numpy(), n_perm=300, max_mb=0.2
    )
    pd.testing.assert_frame_equal(small, table)


def test_single_precision_gives_the_same_answer(data, table):
    single = selective_features(
        data.acts.astype(np.float32),
        data.rows.emotion.to_numpy(),
        data.rows.word.to_numpy(),
        n_perm=300,
    )
    assert flags(single) == flags(table)


@pytest.mark.parametrize("how", ["groups", "within", "rows"])
def test_p_values_hold_under_the_null(how):
    rng = np.random.default_rng(1)
    acts = rng.gamma(1, 1, (90, 300)) * (rng.random((90, 300)) < 0.3)
    words = np.repeat(np.arange(30), 3)
    acts = acts * (1 + rng.gamma(1, 1, (30, 300)))[words]
    labels = dict(
        groups=np.repeat(["happy", "sad", "calm"], 30),
        within=np.tile(["happy", "sad", "calm"], 30),
        rows=rng.permutation(np.repeat(["happy", "sad", "calm"], 30)),
    )[how]
    T = selective_features(
        acts if how != "rows" else rng.gamma(1, 1, (90, 300)),
        labels,
        None if how == "rows" else words,
        n_perm=60 if how == "within" else 200,
        refine=0,
    )
    assert 0.02 < (T.p <= 0.05).mean() < 0.09 and not T.selective.any()


def test_more_shuffles_reach_a_lonely_feature():
    rng = np.random.default_rng(0)
    labels, words = np.repeat(EMOTIONS, 24), np.repeat(np.arange(60), 2)
    acts = rng.gamma(1, 1, (120, 1500)) * (rng.random((120, 1500)) < 0.2)
    acts[:, 7] = (labels == "sad") * rng.gamma(8, 1 / 8, 120)
    assert not selective_features(acts, labels, words, n_perm=300, refine=0).selective.any()
    assert flags(selective_features(acts, labels, words, n_perm=300)) == [7]


def test_density_flags_and_drop(data):
    labels = data.rows.emotion.to_numpy()
    acts = np.column_stack(
        [data.acts[:, 0], np.ones(120), np.r_[1.0, np.zeros(119)], np.zeros(120)]
    )
    T = selective_features(acts, labels, n_perm=50)
    assert T[T.emotion == "sad"].in_band.tolist() == [True, False, False, False] and T[
        T.emotion == "sad"
    ].dead.tolist() == [False] * 3 + [True]
    assert selective_features(acts, labels, n_perm=50, drop=True).groupby(
        "feature"
    ).p.count().tolist() == [5, 0, 0, 0]


def test_definition_of_selectivity():
    S = selectivity(
        np.array([[4.0], [2.0], [1.0], [1.0], [0.0]]),
        ["happy", "happy", "sad", "calm", "calm"],
        eps=1e-9,
    )
    assert S[0].to_dict() == pytest.approx(
        dict(happy=3 / ((1 + 0.5) / 2), sad=1 / ((3 + 0.5) / 2), calm=0.5 / 2)
    )


def test_counts_do_not_need_the_activations(table):
    assert (
        count_selective(table)["count"].iloc[0] == table.selective.sum()
        and count_selective(table).low.isna().all()
    )


def studies(seed, n=200):
    "A study of 60 words: 80 features lean to an emotion, from hardly to strongly, the rest to none"
    rng, words = np.random.default_rng(seed), np.repeat(np.arange(60), 2)
    lean = np.where(
        np.repeat(np.arange(5), 12)[:, None] == np.arange(n) % 5,
        np.where(np.arange(n) < 80, np.linspace(1, 8, n), 1.0),
        1.0,
    )
    return (
        (rng.gamma(0.7, 1, (60, n)) * lean)[words] * rng.gamma(2, 0.5, (120, n)),
        np.repeat(EMOTIONS, 24),
        words,
    )


def test_interval_of_a_count_covers_the_mean_of_repeated_studies():
    from musicgen_emotion.sae.features import (
        class_labels,
        count_ends,
        kept_features,
        selectivity_cells,
    )

    rows = []
    for seed in range(14):
        A, y, words = studies(seed)
        T = selective_features(A, y, words, n_perm=200, seed=seed)
        cells = selectivity_cells(A, class_labels(y)[1], words)
        fixed = count_ends(
            T.selective.sum(),
            kept_features(cells, T, cells.draws(100, seed), 0.01)[:, 0].sum(1),
            0.95,
        )
        rows.append(
            count_selective(T, A, y, words, n_boot=100, seed=seed).iloc[0].to_dict()
            | dict(fixed_low=fixed[0], fixed_high=fixed[1])
        )
    R = pd.DataFrame(rows)
    mean = R["count"].mean()

    def holds(low, high):
        return ((low <= mean) & (mean <= high)).mean()

    assert holds(R.low, R.high) >= 0.8 and (R.high > R["count"]).all()
    assert holds(R.fixed_low, R.fixed_high) < 0.5, (
        "with the set of significant features fixed the interval promises too much"
    )


def test_redrawing_without_change_gives_the_count(data, table):
    from musicgen_emotion.sae.features import class_labels, found_again, selectivity_cells

    names, codes = class_labels(data.rows.emotion.to_numpy())
    cells = selectivity_cells(data.acts, codes, data.rows.word.to_numpy())
    same = found_again(cells, table, names, np.ones((1, len(cells.n))), 0.01, 0)[0]
    assert same.sum(1).tolist() == [table.selective.sum(), table.highly.sum()]
    assert same[0].tolist() == [table[table.emotion == e].selective.sum() for e in names]


def test_counts_refuse_another_study(data, table):
    labels, words = data.rows.emotion.to_numpy(), data.rows.word.to_numpy()
    with pytest.raises(ValueError, match="acts has 9 features"):
        count_selective(table, data.acts[:, :9], labels, words)
    with pytest.raises(ValueError, match="the table holds"):
        count_selective(table, data.acts, np.where(labels == "sad", "calm", labels), words)


def test_valence_weights_match_a_plain_regression(data):
    rng = np.random.default_rng(0)
    va = rng.normal(size=(120, 2))
    T = va_weights(data.acts[:, :3], va, n_boot=50, n_perm=50)
    want = np.linalg.lstsq(
        np.column_stack([np.ones(120), va]), data.acts[:, :3] / data.acts[:, :3].std(0), rcond=None
    )[0][1:]
    np.testing.assert_allclose(T.weight.to_numpy().reshape(2, 3), want, atol=1e-6)


def test_choice_of_features_stays_inside_the_folds():
    rng = np.random.default_rng(0)
    T = sparse_probe(rng.gamma(1, 1, (60, 3000)), np.repeat(["happy", "sad"], 30), ks=(1, 5))
    assert (T[T.emotion == "mean"].score < 0.68).all(), (
        "noise looks good when the best of 3,000 is chosen on all rows"
    )


def test_an_open_control_is_never_a_win(data):
    T = control_table(
        data.acts,
        data.states,
        data.rows.emotion.to_numpy(),
        data.rows.word.to_numpy(),
        n_perm=20,
        n_boot=30,
        n_shuffles=1,
    )
    assert beats_controls(T) | dict(gain=0, low=0, high=0) == dict(
        measure="probe",
        beats=False,
        against=beats_controls(T)["against"],
        gain=0,
        low=0,
        high=0,
        missing=["random weights"],
    )


def test_count_and_share_are_two_claims(data):
    T = control_table(
        data.acts,
        data.states,
        data.rows.emotion.to_numpy(),
        data.rows.word.to_numpy(),
        data.acts[:, ::-1],
        n_perm=50,
        n_boot=60,
        n_shuffles=1,
    )
    np.testing.assert_allclose(T.share_of_columns, T.selective / T.features)
    assert (T.selective_redrawn_high - T.selective_redrawn_low)[3:].gt(
        (T.selective_gain_high - T.selective_gain_low)[3:]
    ).all() and T.share_of_columns_low.notna().all()
    for redrawn in (False, True):
        C = control_claims(T, redrawn).set_index("measure")
        assert (
            not C.beats["selective"]
            and C.against["share_of_columns"] == "raw dimensions"
            and C.says.is_unique
        )
        assert all(C.loc[m, "low"] == beats_controls(T, m, redrawn)["low"] for m in C.index)
    assert (
        C.control["share_of_columns"] == T.share_of_columns.iloc[-1]
        and C.dictionary["share_of_columns"] == T.share_of_columns.iloc[0]
    )


@pytest.mark.parametrize(
    "raw, error",
    [
        (np.full((120, 4), np.nan), "raw must be finite, .* in 120 rows"),
        (np.zeros(120), r"raw must be \(row, d\)"),
        (None, "raw must be an array; got None"),
    ],
)
def test_controls_name_what_is_wrong_with_raw_states(data, raw, error):
    with pytest.raises((ValueError, TypeError), match=error):
        control_table(data.acts, raw, data.rows.emotion.to_numpy())


@pytest.mark.parametrize("n", [-5, 0, 2.5])
def test_a_test_needs_shuffles(data, n):
    with pytest.raises(ValueError, match="n_perm must be a whole number >= 1"):
        selective_features(data.acts, data.rows.emotion.to_numpy(), n_perm=n)


def test_generalization_against_chance(data, table):
    rng, labels = np.random.default_rng(0), np.repeat(EMOTIONS, 10)
    T = generalization(table, rng.gamma(1, 1, (50, 67)), labels, n_perm=100, n_boot=50)
    assert T.p[0] > 0.01 and abs(T.chance[0] - 0.2) < 0.06


@pytest.mark.parametrize(
    "wrong, error",
    [
        (dict(acts=np.full((120, 67), np.nan)), "NaN"),
        (dict(acts=np.zeros(3)), r"\(row, feature\)"),
        (dict(labels=["sad"] * 120), "one class only"),
        (dict(labels=[None] * 120), "missing entries"),
        (dict(groups=[1, 2]), r"groups must be \(120,\)"),
        (dict(acts=-np.ones((120, 67))), "non-negative"),
    ],
)
@pytest.mark.parametrize("work", [selective_features, sparse_probe])
def test_bad_input(work, wrong, error, data):
    with pytest.raises(ValueError, match=error):
        work(
            **dict(
                acts=data.acts,
                labels=data.rows.emotion.to_numpy(),
                groups=data.rows.word.to_numpy(),
            )
            | wrong
        )


def test_a_dead_dictionary_is_flagged_everywhere(data):
    labels, words, zero = (
        data.rows.emotion.to_numpy(),
        data.rows.word.to_numpy(),
        np.zeros((120, 25)),
    )
    with pytest.warns(UserWarning, match="all 25 features are dead"):
        T = selective_features(zero, labels, words)
    assert (
        T.dead.all()
        and T.p.isna().all()
        and not count_selective(T, zero, labels, words)["count"].any()
    )
    assert (sparse_probe(zero, labels, words).score == 0.5).all()
    assert not recovery_table(
        zero, data.rows[["emotion"]], words, data.states, n_boot=20
    ).recovered.any()
    assert (
        np.isnan(monosemanticity(zero, data.states)).all()
        and (va_weights(zero, labels, words, 20, 20).weight == 0).all()
    )
    with pytest.raises(ValueError, match="no feature"):
        emotion_profile(T)
    with pytest.raises(ValueError, match="no feature"):
        cluster_features(T)
    with pytest.raises(ValueError, match="need as many other living ones"):
        random_features_like(zero, [0])
    assert feature_card(CardData(zero, data.rows, T), 0).best == ""


def test_random_sets_take_marked_features_only_when_no_others_are_left():
    acts = np.random.default_rng(0).random((50, 8))
    sets = random_features_like(acts, [0, 1], n=40, last=[2, 3, 4])
    assert set(sets.ravel()) == {5, 6, 7}
    mask = np.arange(8) > 2
    few = random_features_like(acts, [0, 1], n=40, last=mask)
    assert all(2 in row for row in few)  # the only one that is not marked
    assert set(few.ravel()) == {2, *range(3, 8)}
    with pytest.raises(ValueError, match="last"):
        random_features_like(acts, [0], last=[9])


def test_features_of_the_same_emotion_are_no_control_of_an_ablation():
    "Eight features carry one emotion: random sets that hold some of the eight act as well."
    draw = np.random.default_rng(0)
    labels = np.tile(["happy", "sad"], 100)
    acts = draw.random((200, 16)) * 0.2
    acts[labels == "happy", :8] += 0.5 * (draw.random((100, 8)) < 0.7)
    sae = Dictionary(np.eye(16))
    rows = {}
    for name, last in dict(any=(), others=range(4, 8)).items():
        table = ablation_effect(sae, acts, labels, [0, 1, 2, 3], n_random=60, last=last)
        rows[name] = table.set_index(["measure", "scope"]).loc[("probability", "all")]
    assert rows["any"].random > 0.2 * rows["any"].value
    assert abs(rows["others"].random) < 0.1 * rows["others"].value
    assert rows["others"].p < 0.05


def chance_study(seed):
    "Both p of features and a readout that were chosen for labels of chance, on other words."
    draw = np.random.default_rng(seed)
    n_words, n_rows, width = 24, 6, 16
    of_word = draw.exponential(size=(n_words, width)) * (draw.random((n_words, width)) < 0.4)
    states = np.repeat(of_word, n_rows, 0) + 0.1 * draw.random((n_words * n_rows, width))
    words = np.repeat([f"w{number}" for number in range(n_words)], n_rows)
    labels = np.repeat(draw.permutation(np.arange(n_words) % 2), n_rows)
    chosen = np.arange(len(words)) < len(words) // 2
    difference = states[chosen][labels[chosen] == 1].mean(0)
    difference = difference - states[chosen][labels[chosen] == 0].mean(0)
    features = np.argsort(-np.abs(difference))[:4]
    table = ablation_effect(
        Dictionary(np.eye(width)),
        states[~chosen],
        labels[~chosen],
        features,
        words[~chosen],
        probe=fitted_readout(states[chosen], labels[chosen]),
        n_random=39,
        n_boot=20,
        seed=seed,
    )
    row = table.set_index(["measure", "scope"]).loc[("probability", "all")]
    return row.p, row.p_groups


def test_labels_of_chance_rank_first_too_often_and_not_over_words():
    """A label of chance: its features have large effects on other words, of either sign."""
    found = np.array([chance_study(seed) for seed in range(60)])
    assert (found[:, 0] < 0.05).mean() > 0.1
    assert (found.max(1) < 0.05).mean() <= 0.05


def test_rectified_controls_lose_nothing(data):
    np.testing.assert_allclose(
        rectify(data.states)[:, :40] - rectify(data.states)[:, 40:],
        data.states - data.states.mean(0),
        atol=1e-12,
    )
    P = pca_features(data.states)
    assert P.shape == (120, 80) and np.allclose(
        (P**2).sum(), ((data.states - data.states.mean(0)) ** 2).sum()
    )


def test_matching_is_symmetric_and_blind_to_order_and_length(data):
    W = data.directions
    i = np.random.default_rng(0).permutation(67)
    m = match_features(W, 3 * W[i])
    assert (
        m.mean_max == pytest.approx(1, abs=1e-5)
        and m.hungarian == pytest.approx(1, abs=1e-5)
        and (i[m.assigned] == np.arange(67)).all()
    )
    assert match_features(W, W[:30]).mean_max_reverse == pytest.approx(
        match_features(W[:30], W).mean_max
    )
    assert set(feature_splitting(W[:5], W).fate) == {"kept"}
    assert feature_splitting(
        W[:5], W, alive_small=np.array([True, False, True, True, False])
    ).feature.tolist() == [0, 2, 3]


def test_rows_are_named_by_a_mask_or_by_indices():
    large = np.random.default_rng(0).normal(size=(20, 12))
    small = large[:5]
    mask = np.array([True, False, True, True, False])
    by_mask = feature_splitting(small, large, alive_small=mask, alive_large=np.arange(20) < 10)
    by_index = feature_splitting(small, large, alive_small=[0, 2, 3], alive_large=range(10))
    assert by_index.feature.tolist() == [0, 2, 3]
    pd.testing.assert_frame_equal(by_mask, by_index)
    reordered = feature_splitting(small, large, alive_small=[3, 0])
    assert reordered.feature.tolist() == [3, 0]
    with pytest.raises(ValueError, match="for 5 rows"):
        feature_splitting(small, large, alive_small=mask[:4])
    with pytest.raises(ValueError, match="between 0 and 4"):
        match_features(small, large, alive_a=[0, 5])


def test_edits_take_a_mask_or_indices(data):
    sae = SparseAutoencoder(40, d_sae=67, activation="relu").eval()
    mask = np.isin(np.arange(67), [3, 7])
    by_mask = ablate_features(sae, data.states, mask)
    np.testing.assert_array_equal(by_mask, ablate_features(sae, data.states, [3, 7]))
    np.testing.assert_array_equal(
        random_features_like(data.acts, mask, n=3), random_features_like(data.acts, [3, 7], n=3)
    )
    with pytest.raises(ValueError, match="for 67 rows"):
        ablate_features(sae, data.states, mask[:5])
    with pytest.raises(TypeError, match="a mask"):
        emotion_profile(selective_features(data.acts, data.rows.emotion, n_perm=20), mask)


def test_assignment_has_its_chance():
    rng = np.random.default_rng(0)
    S = rng.normal(size=(12, 12)) * np.linspace(0.1, 3, 12)
    a, b = rng.normal(size=(60, 12)) @ S, rng.normal(size=(60, 12)) @ S
    m = match_features(a, b)
    assert m.hungarian_chance > 0.5 and abs(m.hungarian_above_chance) < 0.05, (
        "rows that share nothing but a covariance are matched well, by chance"
    )
    assert match_features(a, b[:20]).hungarian_chance > 0 and np.isnan(
        match_features(a, b, hungarian=False).hungarian_chance
    )
    with pytest.warns(UserWarning, match="2 runs"):
        T = stability([a, a[::-1]])
    assert (
        (T.hungarian_covariance < 0.95).all()
        and np.allclose(T.hungarian_above, T.hungarian - T.hungarian_covariance)
        and (T.found_covariance <= T.found).all()
    )


def test_stability_interval_counts_runs_not_pairs(data):
    rng = np.random.default_rng(0)
    T = stability(
        [data.directions + rng.normal(scale=0.1, size=(67, 40)) for _ in range(5)], hungarian=False
    )
    assert len(T) == 20 and stable_estimate(T).n == 5 and T.hungarian.isna().all()


def test_recovery_does_not_fit_noise(data):
    rng = np.random.default_rng(0)
    T = recovery_table(
        rng.gamma(1, 1, (120, 800)),
        data.rows[["emotion", "instrument"]],
        data.rows.word.to_numpy(),
        n_boot=100,
    )
    assert T.recovered.sum() <= 1 and (T.f1 <= T.always + 0.25).all()


class Dictionary(torch.nn.Module):
    "The planted directions as a dictionary of the plainest kind"

    def __init__(self, W):
        super().__init__()
        self.W_dec = torch.nn.Parameter(torch.tensor(W, dtype=torch.float32))
        self.W_enc = torch.linalg.pinv(self.W_dec.detach())

    def encode(self, x):
        return (x @ self.W_enc - 0.05).relu()

    def decode(self, f):
        return f @ self.W_dec


def test_an_edit_that_changes_nothing_changes_nothing(data):
    sae, x = Dictionary(data.directions), torch.randn(2, 3, 40)
    for mode, value in (("scale", 1.0), ("scale", [1.0, 1.0])):
        torch.testing.assert_close(
            ablate_features(sae, x, [0, 5], mode, value).detach(), x, atol=1e-5, rtol=0
        )
    assert ablate_features(sae, x.double(), [0]).dtype == torch.float64
    gone = ablate_features(sae, x, [3]).detach()
    torch.testing.assert_close(
        x - gone, sae.encode(x).detach()[..., [3]] * sae.W_dec.detach()[3], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    "work, error",
    [
        (
            lambda sae, x: ablate_features(sae, torch.tensor([[float("nan")] * 40]), [0]),
            "x holds NaN",
        ),
        (
            lambda sae, x: ablate_features(sae, torch.full((2, 40), torch.inf), [0]),
            "x holds NaN or infinite",
        ),
        (
            lambda sae, x: ablate_features(sae, x, [0, 1], "clamp", np.nan),
            "value must be a finite number; got nan",
        ),
        (lambda sae, x: ablate_features(sae, x, [0, 1], "scale", [1.0, np.inf]), "finite to scale"),
        (
            lambda sae, x: ablate_features(sae, x, [0, 1], "clamp", [1.0, 2.0, 3.0]),
            r"one for each of the 2 features, got shape \(3,\)",
        ),
        (
            lambda sae, x: ablation_effect(sae, x, ["sad"] * 5, [0]),
            r"labels must be \(120,\), one per row of x, got \(5,\)",
        ),
        (
            lambda sae, x: ablation_effect(sae, x, EMOTIONS * 24, [0], np.arange(5)),
            r"groups must be \(120,\)",
        ),
        (
            lambda sae, x: random_features_like(x - x.min(), [0], n=0),
            "n must be a whole number >= 1; got 0",
        ),
    ],
)
def test_edits_refuse_bad_input(data, work, error):
    with pytest.raises(ValueError, match=error):
        work(Dictionary(data.directions), data.states)


def test_effect_names_the_emotion(data):
    T = ablation_effect(
        Dictionary(data.directions),
        data.states,
        data.rows.emotion.to_numpy(),
        [3, 4, 5],
        data.rows.word.to_numpy(),
        n_random=30,
        n_boot=100,
    ).set_index(["measure", "scope"])
    assert (
        T.value["probability", "sad"] > T.random_high["probability", "sad"]
        and T.value["probability", "happy"] < T.value["probability", "sad"] / 3
    )


def test_edits_reach_one_branch_of_a_running_model(both_tiny):
    from musicgen_emotion.activations.generation import generate
    from musicgen_emotion.activations.hooks import hooked

    d = both_tiny.config.d_model
    sae = Dictionary(np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0])

    def tokens(hooks):
        return generate(
            both_tiny, ["a happy song"], [0], 0.3, hooks=hooks, audio=False, progress=False
        ).tokens

    clean = tokens(None)
    assert (tokens({"layer_0": feature_edit(sae, range(d), "scale", 1.0)}) == clean).all()
    seen = {}

    def watch(name):
        return lambda x, now: seen.setdefault(name, x[now.rows("null")].clone()) is None or None

    edit = feature_edit(sae, range(d), "clamp", 5.0, "cond")
    with hooked(both_tiny, {"layer_0": [watch("before"), edit, watch("after")]}):
        changed = tokens(None)
    assert torch.equal(seen["before"], seen["after"]) and (changed != clean).any()


def test_edit_effects_drop_clips_without_a_number():
    T = pd.DataFrame(
        [
            dict(arm=a, prompt=p, seed=0, tempo_bpm=100.0 + (a == "x") if p != "c" else np.nan)
            for a in ("clean", "x")
            for p in "abc"
        ]
    )
    assert edit_effects(T, ("tempo_bpm",)).loc[0, ["difference", "n"]].tolist() == [1.0, 2]


def test_edits_need_a_clean_arm_and_single_clips():
    T = pd.DataFrame(
        [dict(arm=a, prompt=p, seed=0, tempo_bpm=100.0) for a in ("clean", "x") for p in "ab"]
    )
    with pytest.raises(
        ValueError, match=r"needs an arm 'clean' to compare with, its arms are \['x'\]"
    ):
        edit_effects(T[T.arm == "x"], ("tempo_bpm",))
    with pytest.raises(ValueError, match="more than once"):
        edit_effects(pd.concat([T, T]), ("tempo_bpm",))
    assert edit_changes(T.iloc[:3], ("tempo_bpm",)).tempo_bpm.tolist() == [0.0] and edit_changes(
        T, ("tempo_bpm",)
    ).arm.tolist() == ["x", "x"]


def changes(rng, n=19, prompts=8, effect=0.0, shift=0.0, heavy=False):
    """Paired changes of an edit and n random sets.

    Every arm has its own mean in six descriptors of very different size."""
    X = (
        (rng.standard_t(2, (n + 1, prompts, 6)) if heavy else rng.normal(size=(n + 1, prompts, 6)))
        + 0.3 * rng.normal(size=(n + 1, 1, 6))
        + shift
    )
    X[0, :, 0] += effect
    index = pd.MultiIndex.from_product(
        [["ablate", *(f"random {i}" for i in range(n))], range(prompts)], names=["arm", "prompt"]
    )
    return pd.DataFrame(
        X.reshape(-1, 6) * 10.0 ** np.arange(6), index, list("abcdef")
    ).reset_index()


@pytest.mark.parametrize("kind", [dict(), dict(heavy=True, shift=1.0)])
def test_an_edit_like_the_random_ones_seldom_passes(kind):
    rng = np.random.default_rng(0)
    p = np.array([edit_test(changes(rng, **kind), "ablate").p.item() for _ in range(300)])
    assert (p <= 0.05).mean() <= 0.08 and 0.4 < p.mean() < 0.6


def test_a_planted_edit_is_found():
    T = edit_test(changes(np.random.default_rng(1), 39, effect=4.0), "ablate").iloc[0]
    assert (T.p, T.descriptor, T.moved, T.n_prompts, T.n_random, T.n_descriptors) == (
        1 / 40,
        "a",
        "a",
        8,
        39,
        6,
    )
    C = changes(np.random.default_rng(1), 39, effect=4.0)
    assert edit_test(
        C.sample(frac=1, random_state=0), ["ablate"]
    ).statistic.item() == pytest.approx(T.statistic)
    still = C.assign(a=C.a.where(C.arm != "ablate", 0.0), **{d: 0.0 for d in "bcdef"})
    assert edit_test(still, "ablate").p.item() == 1, "an edit that changes nothing never passes"


def test_one_prompt_out_of_twelve_is_no_effect():
    "The rank alone passed where one prompt's music had turned out quite another."
    C = changes(np.random.default_rng(1), 39, prompts=12)
    alone = C.assign(a=C.a.where(C.arm != "ablate", 0.0))
    alone.loc[(alone.arm == "ablate") & (alone.prompt == 3), "a"] = 60.0
    tested = edit_test(alone.assign(**{d: 0.0 for d in "bcdef"}), "ablate").iloc[0]
    assert tested.p < 0.05 and tested.p_prompts == 1
    every = changes(np.random.default_rng(1), 39, prompts=12, effect=4.0)
    assert edit_test(every, "ablate").p_prompts.item() < 0.01


def test_p_over_prompts_has_the_nominal_size():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        X = rng.normal(size=(12, 6)) @ rng.normal(size=(6, 6))  # correlated descriptors
        table = pd.DataFrame(X, columns=list("abcdef")).assign(prompt=range(12))
        found.append(_p_over_prompts(table, list("abcdef")))
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.08


def test_edit_test_refuses_what_cannot_be_tested():
    C = changes(np.random.default_rng(0))
    with pytest.raises(
        ValueError,
        match=r"at least 19 random sets, got 18 .*: with 18 the smallest .* is 1/19 = 0.053",
    ):
        edit_test(C[C.arm != "random 3"], "ablate")
    with pytest.raises(ValueError, match=r"got \['random 1'\]"):
        edit_test(C, "random 1")
    with pytest.raises(ValueError, match="same prompts; 'random 2' has 7"):
        edit_test(C[(C.arm != "random 2") | (C.prompt != 0)], "ablate")
    with pytest.raises(KeyError, match="tempo_bpm"):
        edit_test(C, "ablate", ["tempo_bpm"])
    with pytest.raises(ValueError, match="no descriptor"):
        edit_test(C.assign(a=np.nan), "ablate", ["a"])
    assert edit_test(C.assign(b=C.b.where(C.arm != "random 2")), "ablate").n_descriptors.item() == 5


def test_a_card_needs_a_wave_for_every_clip(data, table):
    frames = pd.DataFrame(dict(clip=["a", "b"], prompt="x", seconds=[0.0, 0.0]))
    with pytest.raises(KeyError, match="waves lack 1 of 2 clips, first 'b'"):
        CardData(
            data.acts,
            data.rows,
            table,
            frame_acts=data.acts[:2],
            frames=frames,
            waves=dict(a=np.zeros(9)),
            sample_rate=8000,
        )


@pytest.fixture(scope="module")
def page(data, table, tmp_path_factory):
    rows = data.rows.assign(
        prompt=[
            p if i else '</script><img src=x onerror="document.title=1">& <b>'
            for i, p in enumerate(data.rows.prompt)
        ]
    )
    n = 20
    frames = pd.DataFrame(
        dict(clip=["a", "b"] * n, prompt="a song", seconds=np.repeat(np.arange(n) / 50, 2))
    )
    known = CardData(
        data.acts,
        rows,
        table,
        frame_acts=np.tile(data.acts[::6], (2, 1)),
        frames=frames,
        waves=dict(a=np.zeros(8000), b=np.zeros(8000)),
        sample_rate=8000,
        W_dec=data.directions,
    )
    return write_feature_page(
        [feature_card(known, f) for f in range(20)],
        tmp_path_factory.mktemp("page") / "features.html",
        "Cards & <more>",
    )


def test_page_holds_its_data_and_nothing_from_outside(page):
    source = page.read_text()
    inside = json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', source, re.S)[1]
    )
    assert (
        inside == json.loads(page.with_suffix(".json").read_text())
        and len(inside["features"]) == 20
    )
    assert (
        "<img" not in source
        and not re.search(r'(src|href)=["\'](https?:)?//', source)
        and "<title>Cards &amp; &lt;more&gt;</title>" in source
    )


def test_page_works_in_a_browser_from_a_file(page, browser):
    def shown():
        "Words above the list, features in it, and the feature whose card is open."
        buttons = browser.js("document.querySelectorAll('#list button').length")
        return browser.text("count"), buttons, browser.page.text_content("#card h2")

    browser.errors.clear()
    browser.open(page.as_uri())
    count, buttons, card = shown()
    assert (count, buttons) == ("20 of 20 features", 20)
    assert re.match(r"Feature \d+: .", card)
    browser.page.select_option("#emotion", "sad")
    browser.page.fill("#q", "sad1")
    browser.page.click("#list button >> nth=0")
    count, buttons, card = shown()
    assert 0 < buttons < 20
    assert count == f"{buttons} of 20 features"
    assert re.match(r"Feature \d+: sad", card)
    assert browser.page.locator("#card rect").count()
    assert browser.page.locator("audio").count()
    assert not browser.page.locator("img").count()
    assert browser.page.title() == "Cards & <more>"
    assert not browser.errors
