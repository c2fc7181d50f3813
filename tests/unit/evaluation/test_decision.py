"""Decisions against direct loops, scipy, and simulated draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation.decision import auxiliaries_needed, conformal_p_values, decide, ranks


@pytest.mark.parametrize("digits", [1, 15])
def test_p_values_are_those_of_a_direct_loop(digits: int) -> None:
    """Rounded to one digit most scores are tied, with each other and with auxiliaries."""
    rng = np.random.default_rng(0)
    scores, auxiliary = rng.normal(size=50).round(digits), rng.normal(size=37).round(digits)
    found = conformal_p_values(scores, auxiliary)
    for score, p_value in zip(scores, found, strict=True):
        assert p_value == (1 + sum(a >= score for a in auxiliary)) / 38


@pytest.mark.parametrize("m", [1, 19, 37, 99, 200])
@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.07, 0.29, 0.5, 0.57, 0.9])
@pytest.mark.parametrize("digits", [1, 15])
def test_threshold_and_p_values_say_the_same(m: int, fpr: float, digits: int) -> None:
    rng = np.random.default_rng(m)
    scores, auxiliary = rng.normal(size=300).round(digits), rng.normal(size=m).round(digits)
    if m < auxiliaries_needed(fpr):
        with pytest.raises(ValueError, match="cannot resolve"):
            decide(scores, auxiliary, fpr)
        return
    found = decide(scores, auxiliary, fpr)
    np.testing.assert_array_equal(found.is_called, found.p_value <= fpr)
    np.testing.assert_array_equal(found.is_called, scores > found.threshold)
    # The next rate that m auxiliaries resolve is too high: the threshold wastes nothing.
    assert found.attained_fpr <= fpr < found.attained_fpr + 1 / (m + 1)


def test_rates_that_rounding_would_lose() -> None:
    """0.29 * 100 is 28.999..., yet 29 of 99 + 1 is exactly this rate."""
    assert decide(np.zeros(1), np.arange(99.0), 0.29).attained_fpr == 0.29


def test_auxiliaries_needed_are_the_fewest() -> None:
    for n in range(2, 2000):
        assert auxiliaries_needed(1 / n) == n - 1
    for fpr in np.random.default_rng(0).uniform(0.001, 0.999, 500):
        m = auxiliaries_needed(fpr)
        assert 1 / (m + 1) <= fpr
        assert m == 1 or 1 / m > fpr


def test_false_positive_rate_of_simulated_audits() -> None:
    """Non-members only: the share called members is k / (m + 1), here 2 of 40."""
    rng = np.random.default_rng(1)
    audits, n, m = 4000, 25, 39
    called = [
        decide(rng.standard_cauchy(n), rng.standard_cauchy(m), 0.05).is_called.mean()
        for _ in range(audits)
    ]
    # Decisions of one audit share its auxiliaries, so audits are what is counted, not images.
    assert abs(np.mean(called) - 0.05) < 5 * np.std(called) / np.sqrt(audits)
    one = sum(decide(rng.normal(size=1), rng.normal(size=m), 0.05).is_called[0] for _ in called)
    assert stats.binomtest(int(one), audits, 0.05).pvalue > 1e-6


def test_ties_are_never_in_favour_of_membership() -> None:
    rng = np.random.default_rng(2)
    called = [
        decide(rng.integers(0, 3, 1), rng.integers(0, 3, 19), 0.05).is_called[0]
        for _ in range(2000)
    ]
    assert np.mean(called) <= 0.05


@pytest.mark.parametrize(("m", "fpr"), [(19, 0.05), (39, 0.1), (200, 0.05)])
def test_rate_of_one_threshold_is_beta_distributed(m: int, fpr: float) -> None:
    """With uniform scores the rate of a threshold t is known: 1 - t."""
    rng = np.random.default_rng(m)
    found = [decide(np.zeros(1), rng.random(m), fpr) for _ in range(2000)]
    rates = np.array([1 - f.threshold for f in found])
    k = round(found[0].attained_fpr * (m + 1))
    assert stats.kstest(rates, stats.beta(k, m + 1 - k).cdf).pvalue > 1e-4
    bound = found[0].fpr_upper95
    below = int(np.count_nonzero(rates <= bound))
    assert stats.binomtest(below, len(rates), 0.95).pvalue > 1e-4
    # Clopper and Pearson's upper limit for k - 1 successes in m trials is the same quantile.
    wanted = stats.binomtest(k - 1, m, alternative="less").proportion_ci(0.95, "exact").high
    assert bound == pytest.approx(wanted, rel=1e-9)


def test_ranks_are_scipys_and_ties_share_the_best() -> None:
    assert ranks(np.array([0.1, 0.9, 0.5, 0.9])).tolist() == [4, 1, 3, 1]


@pytest.mark.parametrize("auxiliary", [[], [np.nan], [np.inf]])
def test_impossible_auxiliaries(auxiliary: list[float]) -> None:
    with pytest.raises(ValueError, match=r"auxiliary|finite"):
        conformal_p_values(np.zeros(2), np.array(auxiliary))


@pytest.mark.parametrize("fpr", [0, 1, -0.1, np.nan])
def test_impossible_rates(fpr: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        decide(np.zeros(2), np.zeros(30), fpr)
