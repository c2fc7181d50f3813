"""The rank test of planted canaries, and p-values of several of them as one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from mia_lab.evaluation.canary import (
    canary_p_value,
    combined_p_value,
    fisher,
    harmonic_factor,
    harmonic_mean,
)


@pytest.mark.parametrize(
    ("score", "choice", "expected"),
    [
        ([3.0, 1.0, 2.0, 0.0], 0, 1 / 4),
        ([3.0, 1.0, 2.0, 0.0], 3, 4 / 4),
        ([3.0, 3.0, 2.0, 0.0], 0, 2 / 4),  # a tie counts against the owner
        ([1.0, 1.0, 1.0, 1.0], 2, 4 / 4),
    ],
)
def test_p_value(score: list[float], choice: int, expected: float) -> None:
    assert canary_p_value(np.array(score), choice) == expected


@pytest.mark.parametrize(
    ("score", "choice", "message"),
    [
        ([1.0], 0, "at least two"),
        ([1.0, np.nan], 0, "finite"),
        ([1.0, 2.0], 2, "no twin 2"),
        ([1.0, 2.0], -1, "no twin -1"),
    ],
)
def test_bad_scores_are_refused(score: list[float], choice: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        canary_p_value(np.array(score), choice)


def test_p_values_are_valid_with_ties() -> None:
    """For every threshold t, the share of p-values up to t is at most t."""
    score = np.random.default_rng(0).integers(0, 6, 20).astype(float)
    p = np.array([canary_p_value(score, choice) for choice in range(20)])  # all equally likely
    for t in np.arange(1, 21) / 20:
        assert (p <= t + 1e-12).mean() <= t + 1e-12


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_fisher(count: int) -> None:
    p = np.random.default_rng(count).uniform(1e-4, 1, count)
    expected = stats.combine_pvalues(p, method="fisher").pvalue
    assert fisher(p.tolist()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 100])
def test_factor_of_the_harmonic_mean(count: int) -> None:
    """Against the dual bound of Embrechts and Puccetti 2006 for sums of 1 / p, in small p.

    P(sum 1/p >= s) <= min over t < s / K of K times the integral of 1/x from t to s - (K - 1) t,
    divided by s - K t. With s = K a / e and t = u / e, the bound is e where the minimum of
    log((K a - (K - 1) u) / u) / (a - u) is 1.
    """

    def excess(a: float) -> float:
        def bound(u: float) -> float:
            return float(np.log((count * a - (count - 1) * u) / u) / (a - u))

        found = optimize.minimize_scalar(
            bound, bounds=(1e-9, a * (1 - 1e-7)), method="bounded", options={"xatol": 1e-12}
        )
        return float(found.fun) - 1

    expected = optimize.brentq(excess, 1.0001, 100)
    assert harmonic_factor(count) == pytest.approx(expected, rel=1e-5)


def test_factor_stays_below_the_simple_one() -> None:
    """Vovk and Wang 2020, Proposition 6: e log K is enough for K > 2."""
    for count in range(3, 60):
        assert 1 < harmonic_factor(count) < np.e * np.log(count)
    assert (harmonic_factor(1), harmonic_factor(2)) == (1, 2)


def test_harmonic_mean() -> None:
    p = [0.005, 0.2, 0.9, 1.0]
    plain = 4 / (1 / 0.005 + 1 / 0.2 + 1 / 0.9 + 1)
    assert harmonic_mean(p) == pytest.approx(harmonic_factor(4) * plain, rel=1e-12)
    assert harmonic_mean([0.03]) == pytest.approx(0.03)
    assert harmonic_mean([1.0, 1.0, 1.0]) == 1


@pytest.mark.parametrize("rule", ["fisher", "harmonic"])
@pytest.mark.parametrize("count", [2, 5])
def test_combinations_are_valid(rule: str, count: int) -> None:
    """Of canaries with 19 twins, under the null: 4000 simulated owners."""
    rng = np.random.default_rng(count)
    ranks = rng.integers(1, 21, (4000, count))
    p = np.array([combined_p_value((row / 20).tolist(), rule, count) for row in ranks])
    for level in (0.01, 0.05, 0.1):
        margin = 3 * np.sqrt(level * (1 - level) / len(p))
        assert (p <= level).mean() <= level + margin


def test_harmonic_mean_is_valid_for_copies() -> None:
    """Under full dependence, Fisher's combination is not."""
    p = np.random.default_rng(0).uniform(size=4000)
    copies = [[value] * 4 for value in p.tolist()]
    assert np.mean([harmonic_mean(row) <= 0.05 for row in copies]) <= 0.05
    assert np.mean([fisher(row) <= 0.05 for row in copies]) > 0.1


def test_a_missing_canary_counts_as_one() -> None:
    assert combined_p_value([0.01], "fisher", 2) == fisher([0.01, 1.0])
    assert combined_p_value([0.01], "harmonic", 1) == 0.01
    with pytest.raises(ValueError, match="more than the planned"):
        combined_p_value([0.1, 0.1], "fisher", 1)
    for bad in ([], [0.0], [1.5]):
        with pytest.raises(ValueError, match="p-values"):
            combined_p_value(bad, "fisher", 2)
