"""Test whether the log errors of reference victims are Gaussian, as a likelihood ratio assumes."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mia_lab.evaluation.results import Normality
from mia_lab.types import Floats

KEPT = 400
"""Largest number of quantiles that a figure shows."""

TESTED = 5000
"""Largest number of residuals for which Shapiro and Wilk's test is valid."""


def normality(logs: Floats) -> Normality | None:
    """Test the pooled residuals of log errors from each image's mean.

    Args:
        logs: (K, N) log errors of K references on N images; NaN if a reference was trained on the
            image.

    Returns:
        None with fewer than 20 residuals, or if the residuals do not vary.
    """
    n = (~np.isnan(logs)).sum(0)
    logs, n = logs[:, n > 1], n[n > 1]
    if n.sum() < 20:
        return None
    # The residuals of n draws from their own mean have a smaller variance than the draws.
    residual = ((logs - np.nanmean(logs, axis=0)) / np.sqrt(1 - 1 / n)).ravel()
    residual = np.sort(residual[~np.isnan(residual)])
    spread = residual.std()
    if not spread > 0:
        return None
    residual /= spread
    shown = np.linspace(0, residual.size - 1, min(KEPT, residual.size)).round().astype(int)
    tested = min(TESTED, residual.size)
    thinned = np.random.default_rng(0).choice(residual, tested, replace=False)
    return Normality(
        n=int(residual.size),
        skewness=float(stats.skew(residual)),
        excess_kurtosis=float(stats.kurtosis(residual)),
        p_value=float(stats.shapiro(thinned).pvalue),
        expected=stats.norm.ppf((shown + 0.5) / residual.size),
        observed=residual[shown],
    )
