"""Confidence intervals and paired tests for the area under the ROC curve.

Sources:
    DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44: the variance and the paired test.
    Sun & Xu (2014), IEEE Signal Processing Letters 21: the same from midranks, in O(n log n).
    Newcombe (2006), Statistics in Medicine 25: an interval that exists at AUC 0 and 1 (method 5).
    Zou & Donner (2008), Statistics in Medicine 27: the interval of a difference from two
    single intervals (MOVER).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.roc import auc, midranks, split_classes
from mia_lab.types import Floats

Interval = tuple[float, float]

# Below any variance that scores can have: one pair out of order among 1e5 + 1e5 gives 1e-21.
_ZERO_VARIANCE = 1e-28
# Beyond it the normal tail underflows: a p-value there is 0.
_LARGEST_Z = 38.0


def delong_covariance(scores: Floats, is_member: NDArray[np.bool_]) -> Floats:
    """Covariance of the AUCs of K scores of the same images (DeLong 1988; Sun & Xu 2014).

    Args:
        scores: (K, N), higher = more likely a member.
        is_member: bool (N,).

    Returns:
        float64 (K, K); NaN where a class has one image only, whose spread is unknown.

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    placed = [_placements(row, is_member) for row in np.asarray(scores, dtype=np.float64)]
    members, nonmembers = (np.stack(side) for side in zip(*placed, strict=True))  # (K, m), (K, n)
    return _covariance_of_means(members) + _covariance_of_means(nonmembers)


def auc_interval(scores: Floats, is_member: NDArray[np.bool_], level: float = 0.95) -> Interval:
    """Two-sided confidence interval of the AUC.

    DeLong's on the logit scale, which stays inside (0, 1) and covers better near the ends. Where
    its variance is zero or unknown (AUC 0 or 1, all scores tied, a class of one image) Newcombe's
    method 5 instead.

    Args:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,).
        level: coverage, in (0, 1).

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    from scipy.special import expit, logit

    area = auc(scores, is_member)
    variance = float(delong_covariance(np.asarray(scores)[None], is_member)[0, 0])
    z = _two_sided_z(level)
    if not variance > _ZERO_VARIANCE or area in (0.0, 1.0):
        members, nonmembers = split_classes(scores, is_member)
        return newcombe_interval(area, len(members), len(nonmembers), z)
    half = z * np.sqrt(variance) / (area * (1 - area))  # d logit(a) / da = 1 / (a (1 - a))
    return float(expit(logit(area) - half)), float(expit(logit(area) + half))


def newcombe_interval(area: float, n_members: int, n_nonmembers: int, z: float) -> Interval:
    """Newcombe's (2006) method 5: the AUCs t within ``z`` of their own standard errors of ``area``.

    Like Wilson's interval it takes the variance at t, not at the estimate, so that it exists for
    a perfect separation: t (1 - t) (1 + N* ((1 - t) / (2 - t) + t / (1 + t))) / (m n) with
    N* = (m + n) / 2 - 1.

    Args:
        area: the estimated AUC, in [0, 1].
        n_members: m.
        n_nonmembers: n.
        z: standard normal quantile, e.g. 1.96.
    """
    low = _newcombe_low(area, n_members, n_nonmembers, z)
    return low, 1 - _newcombe_low(1 - area, n_members, n_nonmembers, z)


def compare(
    first: Floats, second: Floats, is_member: NDArray[np.bool_], level: float = 0.95
) -> tuple[float, Interval, float]:
    """Paired difference of two AUCs on the same images: DeLong's interval and test.

    Where the variance of the difference is zero or unknown, MOVER (Zou & Donner 2008) combines
    the two single intervals as if independent, and the p-value is the level at which that
    interval reaches 0.

    Args:
        first: (N,) scores, higher = more likely a member.
        second: (N,) scores of the same images, in the same order.
        is_member: bool (N,).
        level: coverage of the interval, in (0, 1).

    Returns:
        AUC(first) - AUC(second), its interval in [-1, 1], and the two-sided p-value of "no
        difference" (1 where the difference is 0).

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    from scipy.special import ndtr

    difference = auc(first, is_member) - auc(second, is_member)
    # The placements are subtracted first: scores of equal order then have a variance of exactly 0.
    pairs = zip(_placements(first, is_member), _placements(second, is_member), strict=True)
    variance = sum(float(_covariance_of_means((a - b)[None])[0, 0]) for a, b in pairs)
    if not variance > _ZERO_VARIANCE:
        return _compare_degenerate(first, second, is_member, level)
    se = float(np.sqrt(variance))
    half = _two_sided_z(level) * se
    p = 2 * float(ndtr(-abs(difference) / se))
    return difference, (max(-1.0, difference - half), min(1.0, difference + half)), p


def _compare_degenerate(
    first: Floats, second: Floats, is_member: NDArray[np.bool_], level: float
) -> tuple[float, Interval, float]:
    """:func:`compare` where the paired differences do not vary, or vary in an unknown way."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    areas = auc(first, is_member), auc(second, is_member)
    members, nonmembers = split_classes(first, is_member)

    def mover(z: float) -> Interval:
        a, b = areas
        (al, ah), (bl, bh) = (newcombe_interval(t, len(members), len(nonmembers), z) for t in areas)
        return a - b - float(np.hypot(a - al, bh - b)), a - b + float(np.hypot(ah - a, b - bl))

    difference = areas[0] - areas[1]
    low, high = mover(_two_sided_z(level))
    ci = (max(-1.0, low), min(1.0, high))
    if difference == 0:
        return difference, ci, 1.0
    near = 0 if difference > 0 else 1  # the end of the interval that faces 0
    if mover(_LARGEST_Z)[near] * difference > 0:
        return difference, ci, 0.0
    z = brentq(lambda z: mover(z)[near], 1e-6, _LARGEST_Z)
    return difference, ci, 2 * float(ndtr(-z))


def _placements(scores: Floats, is_member: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """For each member the share of non-members below it; for each non-member that of members above.

    Ties count one half. (m,) and (n,), both with the AUC as their mean.
    """
    members, nonmembers = split_classes(scores, is_member)
    m, n = len(members), len(nonmembers)
    ranks = midranks(np.concatenate([members, nonmembers]))
    return (ranks[:m] - midranks(members)) / n, 1 - (ranks[m:] - midranks(nonmembers)) / m


def _covariance_of_means(values: Floats) -> Floats:
    """Covariance (K, K) of the K row means of (K, n) values; NaN where n is 1."""
    n = values.shape[1]
    if n < 2:
        return np.full((len(values), len(values)), np.nan)
    centred = values - values.mean(axis=1, keepdims=True)
    covariance: Floats = centred @ centred.T / (n - 1) / n
    return covariance


def _newcombe_low(area: float, n_members: int, n_nonmembers: int, z: float) -> float:
    from scipy.optimize import brentq

    if area == 0:
        return 0.0
    extra = (n_members + n_nonmembers) / 2 - 1

    def rejected(t: float) -> float:
        """Positive where t is too small to be compatible with the estimate."""
        spread = 1 + extra * ((1 - t) / (2 - t) + t / (1 + t))
        scaled = z * z * spread / (n_members * n_nonmembers)
        if area == 1:  # the second root, t = 1, is divided out
            return 1 - t - scaled * t
        return (area - t) ** 2 - scaled * t * (1 - t)

    return float(brentq(rejected, 0.0, area, xtol=1e-14))


def _two_sided_z(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))
