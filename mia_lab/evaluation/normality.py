"""Whether the log errors of reference victims are Gaussian, as a likelihood ratio supposes."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mia_lab.evaluation.results import Normality
from mia_lab.types import Floats

KEPT = 400
"""Quantiles that a figure shows, at most."""

TESTED = 5000
"""Residuals that Shapiro and Wilk's test is made for, at most."""


def normality(logs: Floats) -> Normality | None:
    """Residuals of log errors from each image's mean, pooled.

    Args:
        logs: (K, N) log errors of K references on N images; NaN where one saw the image.

    Returns:
        None where fewer than 20 residuals are left.
    """
    n = (~np.isnan(logs)).sum(0)
    logs, n = logs[:, n > 1], n[n > 1]
    if n.sum() < 20:
        return None
    # Residuals of n draws from their own mean spread less than the draws.
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
