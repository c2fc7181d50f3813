"""Decisions against direct loops, scipy, and simulated draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation.decision import (
    auxiliaries_needed,
    conformal_p_values,
    decide,
    hindsight,
    operating_point,
    proportion,
    proportion_interval,
    ranks,
)
from mia_lab.evaluation.results import Hindsight


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


def test_rates_at_a_threshold_from_elsewhere() -> None:
    rng = np.random.default_rng(0)
    is_member = np.arange(300) < 120
    scores, auxiliary = rng.normal(size=300) + 1.5 * is_member, rng.normal(size=99)
    found = operating_point(scores, is_member, auxiliary, 0.1)
    threshold = np.sort(auxiliary)[-10]
    assert (found.threshold, found.n_auxiliary) == (threshold, 99)
    for rate, side in ((found.tpr, is_member), (found.fpr, ~is_member)):
        hits, n = int((scores[side] > threshold).sum()), int(side.sum())
        assert rate.value == hits / n
        exact = stats.beta.ppf([0.025, 0.975], [hits, hits + 1], [n - hits + 1, n - hits])
        assert rate.ci95 == pytest.approx(exact)


@pytest.mark.parametrize("prior", [0.01, 0.1])
def test_precision_is_bayes_theorem(prior: float) -> None:
    rng = np.random.default_rng(0)
    is_member = np.arange(300) < 120
    scores, auxiliary = rng.normal(size=300) + 1.5 * is_member, rng.normal(size=99)
    point = operating_point(scores, is_member, auxiliary, 0.1)
    found = point.precision_at_prior[f"{prior:g}"]
    t, f = point.tpr.value, point.fpr.value
    assert found.value == pytest.approx(prior * t / (prior * t + (1 - prior) * f))
    # The same by counting: a crowd with so many members, called as the candidates are.
    crowd = np.random.default_rng(1).random(1_000_000)
    member, called = crowd[::2] < prior, crowd[1::2]
    called = np.where(member, called < t, called < f)
    assert member[called].mean() == pytest.approx(found.value, abs=0.01)
    assert 0 < found.ci95[0] < found.value < found.ci95[1] < 1


def test_precision_where_nobody_or_no_stranger_is_called() -> None:
    is_member = np.arange(40) < 20
    nobody = operating_point(np.zeros(40), is_member, np.ones(19), 0.1)
    assert nobody.precision_at_prior == {"0.01": None, "0.1": None}
    assert nobody.tpr.value == 0
    perfect = operating_point(is_member + 0.0, is_member, np.zeros(19) - 1 + 1e-9, 0.1)
    assert perfect.fpr.value == 1
    perfect = operating_point(is_member + 0.0, is_member, np.full(19, 0.5), 0.1)
    assert perfect.precision_at_prior["0.01"].value == 1
    assert perfect.precision_at_prior["0.01"].ci95[0] < 0.1  # 20 strangers cannot show more


def test_too_few_auxiliaries_fix_no_threshold() -> None:
    is_member = np.arange(40) < 20
    assert operating_point(np.arange(40.0), is_member, np.arange(50.0), 0.01) is None


def test_the_best_in_hindsight() -> None:
    is_member = np.array([True, True, False, True, False])
    scores = np.array([5.0, 4, 3, 2, 1])
    found = hindsight(scores, is_member)
    candidates = [
        ((scores[is_member] >= t).mean() - (scores[~is_member] >= t).mean()) for t in scores
    ]
    assert found.tpr - found.fpr == max(candidates)
    assert found.threshold == 4
    assert found.accuracy == (2 / 3 + 1) / 2
    worse_than_chance = hindsight(-1.0 * is_member, is_member)
    assert worse_than_chance == Hindsight(None, 0.0, 0.0, 0.5)


def test_share_of_clusters_is_less_certain() -> None:
    """Korn and Graubard: as many independent images as have the variance over clusters."""
    rng = np.random.default_rng(0)
    truth, draws = 0.4, 400
    hits = np.zeros(2)
    for _ in range(draws):
        shared = np.repeat(rng.normal(size=20), 5)
        scores = np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.normal(size=100)
        called = scores < stats.norm.ppf(truth)
        for k, groups in enumerate((None, (np.arange(100) // 5).astype(str))):
            low, high = proportion(called, groups).ci95
            hits[k] += low <= truth <= high
    assert hits[1] >= stats.binom.ppf(0.001, draws, 0.95)
    assert hits[0] < hits[1]
    every = proportion(np.ones(100, dtype=bool), (np.arange(100) // 5).astype(str))
    assert every.ci95 == pytest.approx(proportion_interval(20, 20))


def test_interval_is_scipys() -> None:
    for hits, n in ((0, 7), (3, 7), (7, 7), (50, 200)):
        exact = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
        assert proportion_interval(hits, n) == pytest.approx((exact.low, exact.high))
