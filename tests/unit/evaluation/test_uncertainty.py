from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom, norm

from mia_lab.evaluation import auc, auc_interval, compare
from mia_lab.evaluation.uncertainty import delong_covariance, newcombe_interval

Z = float(ndtri(0.975))


def covariance_by_definition(scores: np.ndarray, is_member: np.ndarray) -> np.ndarray:
    """DeLong et al. 1988, equations for S10 and S01, over all pairs."""
    kernels = [
        (np.sign(s[is_member][:, None] - s[~is_member][None]) + 1) / 2 for s in scores
    ]  # (m, n) each
    m, n = kernels[0].shape
    members = np.cov([k.mean(axis=1) for k in kernels])
    nonmembers = np.cov([k.mean(axis=0) for k in kernels])
    return np.atleast_2d(members / m + nonmembers / n)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shape", [(30, 50), (2, 2), (61, 7)])
def test_covariance_equals_its_definition(shape, ties):
    rng = np.random.default_rng(1)
    is_member = rng.permutation(np.arange(sum(shape)) < shape[0])
    scores = rng.normal(size=(3, sum(shape))) + is_member
    scores = scores.round(0) if ties else scores
    np.testing.assert_allclose(
        delong_covariance(scores, is_member),
        covariance_by_definition(scores, is_member),
        rtol=1e-10,
        atol=1e-15,
    )


def test_interval_covers_the_true_area():
    rng = np.random.default_rng(0)
    true, n, draws = 0.8, 50, 300
    is_member = np.arange(2 * n) < n
    shift = np.sqrt(2) * ndtri(true)
    hits = 0
    for _ in range(draws):
        low, high = auc_interval(rng.normal(size=2 * n) + shift * is_member, is_member)
        hits += low <= true <= high
    assert binom.ppf(0.001, draws, 0.95) <= hits <= binom.ppf(0.999, draws, 0.95)


def test_interval_encloses_the_estimate_and_shrinks_with_the_level():
    rng = np.random.default_rng(2)
    is_member = np.arange(80) < 30
    scores = rng.normal(size=80) + 2 * is_member
    low, high = auc_interval(scores, is_member)
    assert 0 < low < auc(scores, is_member) < high < 1
    narrow = auc_interval(scores, is_member, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_interval_of_a_perfect_separation():
    is_member = np.arange(60) < 20
    low, high = auc_interval(is_member + 0.0, is_member)
    assert high == 1
    assert 0.8 < low < 1
    assert auc_interval(-(is_member + 0.0), is_member) == pytest.approx((0, 1 - low))


def test_interval_where_the_variance_is_zero_or_unknown():
    is_member = np.arange(60) < 20
    low, high = auc_interval(np.zeros(60), is_member)
    assert low == pytest.approx(1 - high)
    assert 0.2 < low < 0.5
    low, high = auc_interval(np.arange(5.0), np.arange(5) == 2)
    assert 0 < low < 0.5 < high < 1


@pytest.mark.parametrize("area", [0.3, 0.8, 0.99])
def test_newcombe_limits_solve_their_equation(area):
    m, n = 40, 25
    for t in newcombe_interval(area, m, n, Z):
        extra = (m + n) / 2 - 1
        variance = t * (1 - t) * (1 + extra * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n)
        assert abs(area - t) == pytest.approx(Z * np.sqrt(variance), rel=1e-8)


def test_newcombe_at_the_end_is_the_limit_from_inside():
    inside = newcombe_interval(1 - 1e-9, 40, 25, Z)
    assert newcombe_interval(1.0, 40, 25, Z) == pytest.approx(inside, abs=1e-6)


def test_paired_test_agrees_with_the_bootstrap():
    rng = np.random.default_rng(5)
    n = 150
    is_member = np.arange(2 * n) < n
    shared = rng.normal(size=2 * n)
    first = shared + 0.5 * rng.normal(size=2 * n) + 1.3 * is_member
    second = shared + 0.5 * rng.normal(size=2 * n) + 1.0 * is_member
    difference, (low, high), p = compare(first, second, is_member)
    draws = []
    for _ in range(1000):
        rows = np.concatenate([rng.integers(0, n, n), rng.integers(n, 2 * n, n)])
        draws.append(auc(first[rows], is_member) - auc(second[rows], is_member))
    assert difference == pytest.approx(auc(first, is_member) - auc(second, is_member))
    assert (high - low) / 2 / Z == pytest.approx(np.std(draws), rel=0.1)
    assert [low, high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.01)
    assert (p < 0.05) == (low > 0 or high < 0)


def test_paired_test_is_antisymmetric():
    rng = np.random.default_rng(6)
    is_member = np.arange(60) < 30
    first, second = rng.normal(size=(2, 60)) + is_member
    a, b = compare(first, second, is_member), compare(second, first, is_member)
    assert a[0] == -b[0]
    assert a[1] == pytest.approx((-b[1][1], -b[1][0]))
    assert a[2] == b[2]


@pytest.mark.parametrize(
    "altered", [np.copy, np.exp, lambda s: s + 4e-8 * np.sin(s)], ids=["copy", "exp", "rounding"]
)
def test_scores_of_the_same_order_do_not_differ(altered):
    rng = np.random.default_rng(8)
    is_member = np.arange(60) < 30
    scores = rng.normal(size=60) + is_member
    assert compare(scores, altered(scores), is_member) == (0, (0, 0), 1)


def almost_equal(rng, n, moved):
    """Scores of two equally good attacks, which differ in a few images."""
    is_member = np.arange(n) < n // 2
    first = rng.normal(size=n) + is_member
    second = first.copy()
    rows = rng.random(n) < moved / n
    second[rows] = rng.normal(size=n)[rows] + is_member[rows]
    return first, second, is_member


@pytest.mark.parametrize(("n", "moved"), [(20, 1), (50, 4), (200, 4), (200, 16)])
def test_almost_equal_attacks_are_rarely_told_apart(n, moved):
    rng = np.random.default_rng(0)
    found = [compare(*almost_equal(rng, n, moved)) for _ in range(400)]
    rejected = sum(p < 0.05 for _, _, p in found)
    assert rejected <= binom.ppf(0.999, 400, 0.05)
    assert sum(low > 0 or high < 0 for _, (low, high), _ in found) == rejected


def test_one_image_is_no_evidence():
    """A single member moves over all non-members: one image, whatever its way, cannot convince."""
    is_member = np.arange(60) < 30
    first = np.arange(60.0)[::-1].copy()
    second = first.copy()
    second[29], first[29] = -1, 100
    difference, (low, high), p = compare(first, second, is_member)
    assert difference == pytest.approx(1 / 30)
    assert low < 0 < high
    assert p == pytest.approx(2 * norm.sf(1), abs=0.01)


def test_comparison_of_two_perfect_attacks():
    is_member = np.arange(60) < 30
    other = 2.0 * is_member + np.random.default_rng(0).random(60)
    difference, (low, high), p = compare(is_member + 0.0, other, is_member)
    assert (difference, p) == (0, 1)
    assert -0.2 < low < 0 < high < 0.2


def test_comparison_of_perfect_and_uninformative():
    is_member = np.arange(60) < 30
    difference, (low, high), p = compare(is_member + 0.0, np.zeros(60), is_member)
    assert difference == 0.5
    assert 0 < low < 0.5 < high <= 1
    assert 0 < p < 1e-3
    # The p-value is the level at which the interval reaches 0.
    assert compare(is_member + 0.0, np.zeros(60), is_member, level=1 - p)[1][0] == pytest.approx(
        0, abs=1e-9
    )


def test_comparison_with_one_member():
    is_member = np.arange(10) == 0
    difference, (low, high), p = compare(-np.arange(10.0), np.arange(10.0), is_member)
    assert difference == 1
    assert low < 1
    assert high == 1
    assert 0 < p < 0.2


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize(("first", "second", "shared"), [(0, 0, 0), (1, 1, 0.5), (2.5, 0, 0)])
def test_differences_of_few_images_are_covered(n, first, second, shared):
    rng = np.random.default_rng(n)
    is_member = np.arange(2 * n) < n
    true = norm.cdf(first / np.sqrt(2)) - norm.cdf(second / np.sqrt(2))
    covered = 0
    for _ in range(400):
        common = rng.normal(size=2 * n) * np.sqrt(shared)
        a, b = rng.normal(size=(2, 2 * n)) * np.sqrt(1 - shared) + common
        _, (low, high), _ = compare(a + first * is_member, b + second * is_member, is_member)
        covered += low <= true <= high
    assert covered >= binom.ppf(0.001, 400, 0.93)


def test_extra_variance_widens_also_at_the_end_of_the_scale():
    is_member = np.arange(4) < 2
    first, second = np.array([3.0, 4.0, 1.0, 2.0]), np.array([3.0, 1.0, 2.0, 4.0])
    _, (low, high), p = compare(first, second, is_member)
    _, (wider_low, wider_high), larger = compare(first, second, is_member, extra_variance=0.04)
    assert high == wider_high == 1
    assert wider_low < low
    assert larger > p > 0.01
