"""Agreement of scores of the same images, between settings and between repeats."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mia_lab.evaluation.results import Reliability
from mia_lab.types import Floats


def rank_correlation(scores: Floats) -> Floats:
    """Spearman's correlation of every pair of columns, where ties share their mean rank.

    ``scipy.stats.spearmanr`` returns a scalar for two columns and warns about constant ones.

    Args:
        scores: (N, S), one column per setting.

    Returns:
        (S, S), in [-1, 1]; NaN for a constant column, which has no ranking.
    """
    ranks = stats.rankdata(scores, axis=0)
    centred = ranks - ranks.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, length, where=length > 0, out=np.full_like(centred, np.nan))
    correlation: Floats = np.clip(unit.T @ unit, -1, 1)
    return correlation


def reliability(score: Floats) -> Reliability | None:
    """Divide a score's variance into that between images and that of the random pixel split.

    One-way analysis of variance with images as groups, and the intraclass correlations ICC(1,1) and
    ICC(1,k) of Shrout and Fleiss, "Intraclass correlations", Psychological Bulletin 86, 1979.

    Args:
        score: (N, T), T repeats per image.

    Returns:
        None with fewer than two images or repeats, or if all images have the same mean.
    """
    n, repeats = score.shape
    if n < 2 or repeats < 2:
        return None
    means = score.mean(axis=1)
    between = repeats * float(means.var(ddof=1))
    within = float(((score - means[:, None]) ** 2).sum() / (n * (repeats - 1)))
    if between == 0:
        return None
    ranks = float(rank_correlation(score)[np.triu_indices(repeats, k=1)].mean())
    return Reliability(
        n_repeats=repeats,
        within_sd=within**0.5,
        between_sd=max(between - within, 0.0) ** 0.5 / repeats**0.5,
        icc_single=(between - within) / (between + (repeats - 1) * within),
        icc_mean=(between - within) / between,
        rank_correlation=ranks if np.isfinite(ranks) else None,
    )
