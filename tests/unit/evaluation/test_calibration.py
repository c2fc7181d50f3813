"""Probabilities from scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, log_loss

from mia_lab.evaluation.calibration import calibrate


def drawn(n: int = 400, shift: float = 1.5, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    is_member = np.arange(n) < share * n
    return rng.normal(size=n) + shift * is_member, is_member


def test_losses_and_bins_are_scikit_learns_and_scipys() -> None:
    scores, is_member = drawn()
    found = calibrate(scores, is_member, seed=0)
    assert found.brier == pytest.approx(brier_score_loss(is_member, found.probability))
    assert found.log_loss == pytest.approx(log_loss(is_member, found.probability), rel=1e-6)
    order = np.argsort(found.probability, kind="stable")
    assert found.count.sum() == 400
    start = 0
    for i, count in enumerate(found.count):
        rows = order[start : start + count]
        hits = int(is_member[rows].sum())
        assert found.predicted[i] == pytest.approx(found.probability[rows].mean())
        assert found.observed[i] == pytest.approx(hits / count)
        exact = stats.binomtest(hits, int(count)).proportion_ci(0.95, method="exact")
        assert found.observed_ci95[i] == pytest.approx([exact.low, exact.high])
        start += count


def test_probabilities_of_a_known_model_are_right() -> None:
    """Normal scores of equal variance: log odds are linear, slope d, zero at d / 2."""
    scores, is_member = drawn(20_000)
    found = calibrate(scores, is_member, seed=0)
    truth = 1 / (1 + np.exp(-1.5 * (scores - 0.75)))
    np.testing.assert_allclose(found.probability, truth, atol=0.03)
    assert np.abs(found.predicted - found.observed).max() < 0.03


def test_probabilities_are_those_of_equal_odds() -> None:
    scores, is_member = drawn(20_000, share=0.1)
    found = calibrate(scores, is_member, seed=0)
    truth = 1 / (1 + np.exp(-1.5 * (scores - 0.75)))
    np.testing.assert_allclose(found.probability, truth, atol=0.06)
    # And so are what they are held against: a member stands for nine non-members.
    assert np.abs(found.predicted - found.observed).max() < 0.08
    assert found.brier < 0.2


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_unequal_classes_do_not_pass_for_knowledge(share: float) -> None:
    rng = np.random.default_rng(0)
    is_member = np.arange(2000) < share * 2000
    found = calibrate(rng.normal(size=2000), is_member, seed=0)
    np.testing.assert_allclose(found.predicted, 0.5, atol=0.05)
    np.testing.assert_allclose(found.observed, 0.5, atol=0.12)
    assert ((found.observed_ci95[:, 0] < 0.55) & (found.observed_ci95[:, 1] > 0.45)).all()
    assert found.brier == pytest.approx(0.25, abs=0.01)


def test_a_score_that_says_nothing_is_no_better_than_a_coin() -> None:
    scores, is_member = drawn(shift=0)
    found = calibrate(scores, is_member, seed=0)
    assert found.brier >= 0.248
    assert found.log_loss >= 0.69


def test_perfect_separation_stays_finite() -> None:
    is_member = np.arange(40) < 20
    found = calibrate(is_member + 0.0, is_member, seed=0)
    assert np.isfinite(found.log_loss)
    assert found.brier < 0.01


def test_one_image_of_a_class_cannot_be_calibrated() -> None:
    assert calibrate(np.arange(10.0), np.arange(10) == 3, seed=0) is None


def test_errors_of_any_scale_are_calibrated() -> None:
    """Reconstruction errors lie close together: their spread, not their unit, must count."""
    scores, is_member = drawn()
    usual = calibrate(scores, is_member, seed=0)
    small = calibrate(0.01 * scores - 0.08, is_member, seed=0)
    np.testing.assert_allclose(small.probability, usual.probability, atol=1e-6)


@pytest.mark.parametrize("distinct", [1, 3])
def test_equal_scores_are_in_one_bin(distinct: int) -> None:
    """Members come first, as in the official protocol: bins must not tell them by their order."""
    is_member = np.arange(400) < 200
    found = calibrate(np.arange(400) % distinct + 0.0, is_member, seed=0)
    np.testing.assert_allclose(found.observed, 0.5, atol=0.2)
    assert found.count.sum() == 400
