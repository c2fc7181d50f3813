"""Residuals of references' log errors, against scipy on residuals made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation.normality import normality


def test_residuals_are_of_each_image() -> None:
    rng = np.random.default_rng(0)
    logs = rng.normal(size=(6, 50)) * 0.2 + 10 * rng.normal(size=50)
    logs[:3, ::2] = np.nan
    found = normality(logs)
    assert found is not None
    residual = []
    for column in logs.T:
        known = column[~np.isnan(column)]
        residual += list((known - known.mean()) * np.sqrt(len(known) / (len(known) - 1)))
    scaled = np.sort(residual) / np.std(residual)
    assert found.n == len(residual) == 225
    assert found.skewness == pytest.approx(stats.skew(residual))
    assert found.excess_kurtosis == pytest.approx(stats.kurtosis(residual))
    assert found.p_value == pytest.approx(stats.shapiro(scaled).pvalue)
    np.testing.assert_allclose(found.observed, scaled)
    np.testing.assert_allclose(found.expected, stats.norm.ppf((np.arange(225) + 0.5) / 225))


def test_a_gaussian_passes_and_a_heavy_tail_does_not() -> None:
    rng = np.random.default_rng(1)
    gaussian = normality(rng.normal(size=(8, 500)))
    heavy = normality(rng.standard_t(3, size=(8, 500)))
    assert gaussian is not None
    assert heavy is not None
    assert abs(gaussian.excess_kurtosis) < 0.3 < 1 < heavy.excess_kurtosis
    assert heavy.p_value < 1e-6 < 0.01 < gaussian.p_value
    assert normality(np.zeros((2, 5))) is None


def test_many_residuals_are_tested_as_few_are() -> None:
    # Order statistics at even steps are smoother than any sample, and would always pass.
    found = [
        normality(np.random.default_rng(seed).normal(size=(8, 2000))).p_value for seed in range(6)
    ]
    assert min(found) < 0.95
    assert len({round(p, 3) for p in found}) == 6
