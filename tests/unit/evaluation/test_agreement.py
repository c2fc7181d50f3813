"""Agreement of scores against scipy's correlation and analysis of variance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation.agreement import rank_correlation, reliability

RNG = np.random.default_rng(0)


def test_rank_correlation_is_scipys_with_ties() -> None:
    scores = RNG.normal(size=(50, 4)).round(1)
    scores[:, 3] = -(scores[:, 0] ** 3)
    np.testing.assert_allclose(rank_correlation(scores), stats.spearmanr(scores)[0], atol=1e-12)


def test_a_constant_score_has_no_ranking() -> None:
    found = rank_correlation(np.column_stack([np.arange(5.0), np.ones(5)]))
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan([found[0, 1], found[1, 1]]).all()


def test_reliability_is_the_f_statistic_in_disguise() -> None:
    score = RNG.normal(size=(30, 1)) + 0.5 * RNG.normal(size=(30, 4))
    found = reliability(score)
    assert found is not None
    f = stats.f_oneway(*score).statistic
    assert found.icc_single == pytest.approx((f - 1) / (f + 3), rel=1e-10)
    assert found.icc_mean == pytest.approx((f - 1) / f, rel=1e-10)
    within = np.sqrt(np.mean([np.var(row, ddof=1) for row in score]))
    assert found.within_sd == pytest.approx(within, rel=1e-12)
    pairs = [(a, b) for a in range(4) for b in range(a)]
    wanted = np.mean([stats.spearmanr(score[:, a], score[:, b])[0] for a, b in pairs])
    assert found.rank_correlation == pytest.approx(wanted, rel=1e-10)


def test_reliability_recovers_the_variances_that_made_the_scores() -> None:
    score = 0.3 * RNG.normal(size=(4000, 1)) + 0.1 * RNG.normal(size=(4000, 5))
    found = reliability(score)
    assert found is not None
    assert found.between_sd == pytest.approx(0.3, rel=0.05)
    assert found.within_sd == pytest.approx(0.1, rel=0.05)
    assert found.icc_single == pytest.approx(0.09 / 0.10, rel=0.02)


@pytest.mark.parametrize("score", [np.ones((5, 1)), np.ones((1, 5)), np.full((4, 3), 0.1)])
def test_nothing_to_compare_is_none(score: np.ndarray) -> None:
    assert reliability(score) is None


def test_noise_alone_is_not_reliable() -> None:
    found = reliability(RNG.normal(size=(500, 3)))
    assert found is not None
    assert abs(found.icc_single) < 0.1
    assert found.between_sd < 0.3


def test_a_draw_without_a_ranking_is_none() -> None:
    found = reliability(np.array([[0.0, 0.0], [0.0, 1e-17]]))
    assert found is not None
    assert found.rank_correlation is None
