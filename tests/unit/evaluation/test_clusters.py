"""Clustered images: codes, permutations, variances and p-values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation import auc, auc_interval, compare, null
from mia_lab.evaluation.clusters import cluster_codes, permuted
from mia_lab.evaluation.null import permutation_p_value
from mia_lab.evaluation.uncertainty import delong_covariance


def clustered(
    rng: np.random.Generator, clusters: int, size: int, rho: float, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that correlate by rho within clusters of one class."""
    n = 2 * clusters * size
    is_member, code = np.arange(n) < n // 2, np.arange(n) // size
    shared = rng.normal(size=2 * clusters)[code]
    scores = np.sqrt(rho) * shared + np.sqrt(1 - rho) * rng.normal(size=n) + shift * is_member
    return scores, is_member, code.astype(str)


def test_images_without_a_group_stand_alone() -> None:
    assert cluster_codes(None) is None
    assert cluster_codes(np.array(["", "", "a"])) is None
    assert cluster_codes(np.array(["a", "b"])) is None
    codes = cluster_codes(np.array(["", "b", "", "b", "a"]))
    assert codes is not None
    assert codes[1] == codes[3]
    assert len(set(codes)) == 4


def by_definition(scores: np.ndarray, is_member: np.ndarray, groups: np.ndarray) -> float:
    """Obuchowski 1997, equation (3), with loops over images and clusters."""
    members, nonmembers = scores[is_member], scores[~is_member]
    theta = np.mean([[np.sign(a - b) / 2 + 0.5 for b in nonmembers] for a in members])
    placed = {
        True: [np.mean([np.sign(a - b) / 2 + 0.5 for b in nonmembers]) for a in members],
        False: [np.mean([np.sign(a - b) / 2 + 0.5 for a in members]) for b in nonmembers],
    }
    names = sorted(set(groups))
    sums = {
        side: [
            sum(v - theta for v, g in zip(placed[side], groups[is_member == side], strict=True)
                if g == name)
            for name in names
        ]
        for side in (True, False)
    }  # fmt: skip
    m, n = len(members), len(nonmembers)
    i10, i01, i = len(set(groups[is_member])), len(set(groups[~is_member])), len(names)
    s10 = i10 / (i10 - 1) / m * sum(v**2 for v in sums[True])
    s01 = i01 / (i01 - 1) / n * sum(v**2 for v in sums[False])
    s11 = i / (i - 1) * sum(a * b for a, b in zip(sums[True], sums[False], strict=True))
    return s10 / m + s01 / n + 2 * s11 / (m * n)


@pytest.mark.parametrize("mixed", [False, True])
def test_variance_equals_its_definition(mixed: bool) -> None:
    rng = np.random.default_rng(0)
    scores, is_member, groups = clustered(rng, 6, 4, 0.5, 1.0)
    scores = scores.round(1)
    groups = rng.permutation(groups) if mixed else groups
    found = delong_covariance(scores[None], is_member, groups)[0, 0]
    assert found == pytest.approx(by_definition(scores, is_member, groups), rel=1e-10)


def test_clusters_of_one_image_give_delongs_variance() -> None:
    rng = np.random.default_rng(0)
    is_member = np.arange(40) < 15
    scores = rng.normal(size=(2, 40)) + is_member
    groups = np.array(["pair", "pair", *map(str, range(38))])
    near = delong_covariance(scores, is_member, groups)
    np.testing.assert_allclose(near, delong_covariance(scores, is_member), rtol=0.3)
    alone = delong_covariance(scores, is_member, np.arange(40).astype(str))
    np.testing.assert_array_equal(alone, delong_covariance(scores, is_member))


@pytest.mark.parametrize("rho", [0.2, 0.5])
def test_clustered_intervals_cover_where_naive_ones_do_not(rho: float) -> None:
    rng = np.random.default_rng(0)
    true, draws = 0.8, 300
    shift = np.sqrt(2) * stats.norm.ppf(true)
    hits = np.zeros(2)
    for _ in range(draws):
        scores, is_member, groups = clustered(rng, 20, 5, rho, shift)
        for k, g in enumerate((None, groups)):
            low, high = auc_interval(scores, is_member, groups=g)
            hits[k] += low <= true <= high
    assert hits[1] >= stats.binom.ppf(0.001, draws, 0.95)
    assert hits[0] < hits[1] - 0.03 * draws


def test_paired_differences_know_of_clusters() -> None:
    rng = np.random.default_rng(3)
    draws, rejected = 300, 0
    for _ in range(draws):
        one, is_member, groups = clustered(rng, 15, 5, 0.6, 1.0)
        two, _, _ = clustered(rng, 15, 5, 0.6, 1.0)
        rejected += compare(one, two, is_member, groups=groups)[2] < 0.05
    assert rejected <= stats.binom.ppf(0.999, draws, 0.05)


def test_one_cluster_a_class_has_an_interval_that_says_little() -> None:
    is_member = np.arange(20) < 10
    groups = np.where(is_member, "a", "b")
    low, high = auc_interval(np.arange(20.0), is_member, groups=groups)
    assert low == 0
    assert high > 0.75


def test_whole_clusters_are_permuted_as_wholes() -> None:
    is_member, codes = np.arange(20) < 8, np.arange(20) // 4
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        drawn = permuted(is_member, codes, rng)
        members = np.bincount(codes, drawn)
        assert set(members) <= {0, 4}
        assert members.sum() == 8
        seen.add(tuple(members))
    assert len(seen) == 10  # 2 of 5 clusters


def test_clusters_of_equal_size_keep_their_numbers_of_members() -> None:
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.arange(30) // 6)
    is_member = rng.random(30) < 0.5
    wanted = sorted(np.bincount(codes, is_member))
    seen = set()
    for _ in range(100):
        counts = np.bincount(codes, permuted(is_member, codes, rng))
        assert sorted(counts) == wanted
        seen.add(tuple(counts))
    assert len(seen) > 5


@pytest.mark.parametrize("size", [2, 40])
def test_one_mixed_cluster_does_not_hold_the_others(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that stand alone, or in clusters of one class, change labels beside it."""
    monkeypatch.setattr(null, "PERMUTATIONS", 300)
    is_member = np.arange(200) % 2 == 0
    groups = np.array(["mixed"] * size + [""] * (200 - size))
    scores = np.random.default_rng(1).normal(size=200) + 3 * is_member
    p_value = permutation_p_value(scores, is_member, np.random.default_rng(2), groups)
    assert p_value < 0.01


def test_clusters_of_any_size_leave_both_kinds() -> None:
    rng = np.random.default_rng(0)
    codes, is_member = np.array([0] * 9 + [1] + [2] * 3), np.arange(13) < 9
    for _ in range(200):
        drawn = permuted(is_member, codes, rng)
        assert 0 < drawn.sum() < 13
        assert all(len(set(drawn[codes == c])) == 1 for c in range(3))


def test_p_value_is_scipys_mann_whitney_test() -> None:
    rng = np.random.default_rng(1)
    is_member = np.arange(50) < 20
    scores = (rng.normal(size=50) + 0.5 * is_member).round(1)
    found = permutation_p_value(scores, is_member, rng)
    sides = scores[is_member], scores[~is_member]
    assert found == stats.mannwhitneyu(*sides, method="asymptotic").pvalue
    by_hand = stats.permutation_test(
        (scores[is_member], scores[~is_member]),
        lambda a, b: auc(np.concatenate([a, b]), is_member) - 0.5,
        permutation_type="independent",
        n_resamples=4000,
        rng=2,
    )
    assert found == pytest.approx(by_hand.pvalue, abs=0.03)
    assert permutation_p_value(np.zeros(50), is_member, rng) == 1


def test_p_values_of_few_images_are_permuted() -> None:
    """Four against four, told apart with ties: 2 of 70 orders are as extreme."""
    is_member = np.arange(8) < 4
    found = permutation_p_value(is_member + 0.0, is_member, np.random.default_rng(0))
    assert found == pytest.approx(2 / 70, abs=0.01)


def test_p_values_of_clusters_reject_a_true_null_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(null, "PERMUTATIONS", 200)
    rng = np.random.default_rng(0)
    draws, naive, aware = 60, 0, 0
    for _ in range(draws):
        scores, is_member, groups = clustered(rng, 8, 5, 0.7)
        naive += permutation_p_value(scores, is_member, rng) < 0.05
        aware += permutation_p_value(scores, is_member, rng, groups) < 0.05
    assert aware <= stats.binom.ppf(0.999, draws, 0.05)
    assert naive > aware
