"""The bootstrap against direct loops, and what it does where nothing varies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from mia_lab.evaluation import auc, auc_interval
from mia_lab.evaluation.bootstrap import (
    _weights,
    auc_bootstrap_interval,
    auc_draws,
    draws_for,
    tpr_draws,
    tpr_interval,
)
from mia_lab.evaluation.clusters import cluster_codes

IS_MEMBER = np.arange(90) < 40


def scores(seed: int = 0, shift: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=90) + shift * IS_MEMBER


def pairs_of(size: int) -> np.ndarray:
    """Groups of a few images each, all of one class."""
    return np.array([f"{m}-{i // size}" for i, m in enumerate(IS_MEMBER)])


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("digits", [0, 15])
def test_areas_are_scikit_learns_under_the_same_weights(grouped: bool, digits: int) -> None:
    groups = pairs_of(3) if grouped else None
    rounded = scores().round(digits)
    drawn = auc_draws(rounded, IS_MEMBER, np.random.default_rng(5), groups)
    (weights,) = _weights(IS_MEMBER, cluster_codes(groups), np.random.default_rng(5))
    assert drawn.shape == (1000,)
    for d in range(0, 1000, 100):
        weight = np.concatenate([weights[0][d], weights[1][d]])
        area = roc_auc_score(IS_MEMBER, rounded, sample_weight=weight)
        assert drawn[d] == pytest.approx(area, abs=1e-12)


def test_clusters_are_weighed_as_wholes() -> None:
    groups = pairs_of(4)
    ((members, nonmembers),) = _weights(IS_MEMBER, cluster_codes(groups), np.random.default_rng(0))
    for side, names in ((members, groups[IS_MEMBER]), (nonmembers, groups[~IS_MEMBER])):
        for name in np.unique(names):
            assert np.ptp(side[:, names == name], axis=1).max() == 0


def test_the_interval_has_delongs_width() -> None:
    low, high = auc_bootstrap_interval(scores(), IS_MEMBER, np.random.default_rng(0))
    a, b = auc_interval(scores(), IS_MEMBER)
    assert high - low == pytest.approx(b - a, rel=0.1)
    assert low < auc(scores(), IS_MEMBER) < high


@pytest.mark.parametrize(
    "constant", [IS_MEMBER + 0.0, np.where(IS_MEMBER, -1.0, 0.0), np.zeros(90)]
)
def test_where_nothing_varies_the_interval_is_no_point(constant: np.ndarray) -> None:
    found = auc_bootstrap_interval(constant, IS_MEMBER, np.random.default_rng(0))
    assert found == auc_interval(constant, IS_MEMBER)
    assert found[1] - found[0] > 0.04


def slow_tpr(score: np.ndarray, fpr: float, rng: np.random.Generator) -> float:
    """One draw from the definition: weights, the weighted curve, the straight line at ``fpr``."""
    members, nonmembers = np.sort(score[IS_MEMBER])[::-1], np.sort(score[~IS_MEMBER])[::-1]
    gaps = rng.exponential(size=len(nonmembers) + 1)
    rates = np.concatenate([[0], np.cumsum(gaps) / gaps.sum()])
    weights = rng.exponential(size=len(members))
    heights = [0.0, *(weights[members > t].sum() for t in nonmembers), weights.sum()]
    above, below = rng.gamma(0.5, size=2)
    height = np.interp(fpr, rates, heights)
    return float((height + above) / (weights.sum() + above + below))


@pytest.mark.parametrize("fpr", [0.01, 0.1, 0.5])
def test_rates_have_the_law_of_the_definition(fpr: float) -> None:
    rng = np.random.default_rng(0)
    drawn = tpr_draws(scores(), IS_MEMBER, [fpr], rng)[:, 0]
    slow = [slow_tpr(scores(), fpr, rng) for _ in range(1000)]
    assert stats.ks_2samp(drawn, slow).pvalue > 0.001


@pytest.mark.parametrize("fpr", [0.05, 0.3])
def test_clusters_of_one_image_change_nothing(fpr: float) -> None:
    """One pair of images makes the general algorithm run; it then draws from the same law."""
    groups = np.array([""] * 88 + ["pair"] * 2)
    alone = tpr_draws(scores(), IS_MEMBER, [fpr], np.random.default_rng(0))[:, 0]
    general = tpr_draws(scores(), IS_MEMBER, [fpr], np.random.default_rng(1), groups)[:, 0]
    assert stats.ks_2samp(alone, general).pvalue > 0.001


def test_clusters_widen_the_interval_of_a_rate() -> None:
    repeated = np.repeat(scores()[::5], 5)
    widths = [
        np.ptp(tpr_interval(tpr_draws(repeated, IS_MEMBER, [0.2], np.random.default_rng(0), g)))
        for g in (None, pairs_of(5))
    ]
    assert widths[1] > 1.5 * widths[0]


def test_none_found_of_few_members_is_no_certainty() -> None:
    low, high = tpr_interval(
        tpr_draws(-1.0 * IS_MEMBER, IS_MEMBER, [0.1], np.random.default_rng(0))
    )[:, 0]
    assert 0 <= low < 0.01
    assert 0.03 < high < 0.15


def test_many_images_get_fewer_draws() -> None:
    assert [draws_for(n) for n in (10, 10_000, 50_000, 10**7)] == [1000, 1000, 200, 100]
