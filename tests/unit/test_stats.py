"Statistics against hand-worked numbers, other libraries, and properties that must hold."

import numpy as np
import pytest

from musicgen_emotion.stats.effects import (
    balanced_accuracies,
    balanced_accuracy,
    correlation,
    partial_correlation,
    wilson,
)
from musicgen_emotion.stats.estimates import Estimate, bootstrap, bootstrap_weights, sampling_units
from musicgen_emotion.stats.permutation import (
    fdr,
    max_t,
    permanova,
    permutation_p,
    permutation_test,
    permute_labels,
)
from musicgen_emotion.stats.trend import trend_test


def distances_between(points):
    points = np.asarray(points, float).reshape(len(points), -1)
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_permanova_gives_the_hand_worked_numbers():
    # Points 0, 1 (a) and 4, 5 (b) on a line. The squared distances are 1, 16, 25, 9, 16, 1: their
    # sum is 68, so the total is 68 / 4 = 17. Within classes it is 1 / 2 + 1 / 2 = 1.
    distances = distances_between([0, 1, 4, 5])
    with pytest.warns(UserWarning, match="only 6 distinct relabelings"):
        result = permanova(distances, ["a", "a", "b", "b"], n_perm=3000)
    np.testing.assert_allclose(result.R2, 16 / 17)
    np.testing.assert_allclose(result.F, (16 / 1) / (1 / 2))
    # Only 2 of the 6 arrangements (the real one and its mirror image) reach this R².
    assert result.p == pytest.approx(1 / 3, abs=0.03)
    assert result.n == 4 and len(result.null) == 3000


def test_permanova_on_one_axis_is_an_analysis_of_variance():
    from scipy.stats import f_oneway

    generator = np.random.default_rng(1)
    labels = np.repeat(["a", "b", "c"], [5, 8, 11])
    values = generator.normal(size=24) + (labels == "c")
    result = permanova(distances_between(values), labels, n_perm=19)
    expected = f_oneway(*(values[labels == name] for name in "abc"))
    np.testing.assert_allclose(result.F, expected.statistic)


def test_permanova_agrees_with_scikit_bio():
    reference = pytest.importorskip(
        "skbio.stats.distance", reason="scikit-bio is not installed (`make env` installs it)"
    )
    generator = np.random.default_rng(0)
    labels = np.repeat(["happy", "sad", "calm"], [6, 9, 7])
    points = generator.normal(size=(22, 5)) + 0.8 * (labels == "sad")[:, None]
    distances = distances_between(points)
    ours = permanova(distances, labels, n_perm=1999)
    matrix = reference.DistanceMatrix(distances)
    theirs = reference.permanova(matrix, labels, permutations=1999)
    np.testing.assert_allclose(ours.F, theirs["test statistic"])
    assert ours.p == pytest.approx(theirs["p-value"], abs=0.02)


def test_permanova_refuses_what_is_no_distance_matrix():
    distances = distances_between([0, 1, 4, 5])
    with pytest.raises(ValueError, match="symmetric"):
        permanova(distances + np.triu(np.ones((4, 4)), 1), ["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="zero diagonal"):
        permanova(distances + np.eye(4), ["a", "a", "b", "b"])


def test_whole_groups_move_together():
    groups = np.repeat(np.arange(6), 4)
    labels = np.where(groups < 3, "a", "b")
    for row in permute_labels(labels, groups, n_perm=50):
        assert all(len(set(row[groups == group])) == 1 for group in range(6))
        assert (row == "a").sum() == 12


def test_labels_stay_inside_their_block():
    blocks = np.tile(["x", "y"], 10)
    labels = np.repeat(["a", "b"], 10)
    for row in permute_labels(labels, blocks, n_perm=50):
        assert [(row[blocks == block] == "a").sum() for block in ("x", "y")] == [5, 5]


def test_permutation_p_is_uniform_without_an_effect():
    generator = np.random.default_rng(2)
    p_values = []
    for seed in range(150):
        values = generator.normal(size=12)
        labels = np.repeat(["a", "b"], 6)

        def difference(shuffled, values=values):
            return values[shuffled == "a"].mean() - values[shuffled == "b"].mean()

        p_values.append(permutation_test(difference, labels, n_perm=39, seed=seed).p)
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.11


def test_max_t_controls_the_family_and_uses_the_correlation():
    generator = np.random.default_rng(3)
    common = generator.normal(size=(499, 1))
    copies = np.repeat(common, 20, axis=1)  # 20 equal tests count as one
    observed = np.full(20, np.quantile(common, 0.97))
    np.testing.assert_allclose(max_t(observed, copies), permutation_p(observed, copies))
    independent = generator.normal(size=(499, 20))
    assert (max_t(observed, independent) > permutation_p(observed, independent)).all()


def test_fdr_is_benjamini_hochberg():
    # By hand: p * m / rank, made monotone from the largest p downwards.
    np.testing.assert_allclose(fdr([0.04, 0.01, 0.03, 0.5]), [0.16 / 3, 0.04, 0.16 / 3, 0.5])


def test_bootstrap_weights_draw_whole_groups_within_strata():
    groups = np.repeat(np.arange(5), [1, 2, 3, 4, 5])
    strata = np.where(groups < 2, "few", "many")
    weights = bootstrap_weights(15, groups, strata, n_boot=100)
    first_row = np.array([rows[0] for rows in sampling_units(15, groups)[0]])
    per_group = weights[:, first_row]
    np.testing.assert_array_equal(weights, np.repeat(per_group, [1, 2, 3, 4, 5], axis=1))
    assert (per_group[:, :2].sum(1) == 2).all() and (per_group[:, 2:].sum(1) == 3).all()


def test_bootstrap_interval_covers_the_mean():
    generator = np.random.default_rng(4)
    samples = generator.normal(size=(100, 25))
    covered = [not bootstrap(s, n_boot=200, seed=i).excludes(0) for i, s in enumerate(samples)]
    assert 0.85 <= np.mean(covered) <= 0.99


def test_estimate_refuses_contradictions():
    with pytest.raises(ValueError, match="both ends"):
        Estimate(0.5, 0.1, float("nan"), 3)
    with pytest.raises(ValueError, match="low must not exceed high"):
        Estimate(0.5, 0.6, 0.4, 3)


def test_wilson_by_hand():
    # 8 of 10 with z = 1.96: centre (0.8 + z²/20) / (1 + z²/10), as in Newcombe (1998)
    estimate = wilson(8, 10)
    assert (estimate.low, estimate.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_balanced_accuracy_is_the_mean_recall():
    true = np.repeat(["a", "b"], [8, 2])
    guessed = np.array(["a"] * 6 + ["b"] * 2 + ["b", "a"])
    assert balanced_accuracy(true, guessed).value == pytest.approx((6 / 8 + 1 / 2) / 2)
    both = balanced_accuracies(true, np.stack([guessed, true]))
    assert both[0] == balanced_accuracy(true, guessed)
    assert both[1].value == 1 and both[1].low < 1


def test_partial_correlation_by_the_formula():
    generator = np.random.default_rng(5)
    z = generator.normal(size=200)
    x = z + generator.normal(size=200)
    y = z + generator.normal(size=200)
    r_xy, r_xz, r_yz = (
        np.corrcoef(first, second)[0, 1] for first, second in ((x, y), (x, z), (y, z))
    )
    expected = (r_xy - r_xz * r_yz) / np.sqrt((1 - r_xz**2) * (1 - r_yz**2))
    assert partial_correlation(x, y, z, n_boot=20).value == pytest.approx(expected)
    assert abs(expected) < 0.2 < correlation(x, y, n_boot=20).value


def test_page_is_scipys_page_and_jonckheere_counts_pairs():
    from scipy.stats import page_trend_test

    generator = np.random.default_rng(6)
    dose = np.tile(np.arange(4), 10)
    prompt = np.repeat(np.arange(10), 4)
    values = 0.3 * dose + generator.normal(size=40)
    page = trend_test(values, dose, prompt, "page", n_perm=999)
    assert page.p == pytest.approx(page_trend_test(values.reshape(10, 4)).pvalue, abs=0.02)
    with pytest.warns(UserWarning, match="only 6 distinct relabelings"):
        pairs = trend_test([1.0, 3.0, 2.0], [0, 1, 2], kind="jonckheere", n_perm=19)
    assert pairs.estimate.value == pytest.approx(2 / 3)  # (1, 3) and (1, 2) rise, (3, 2) falls
