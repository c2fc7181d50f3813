"""Confidence intervals and paired tests for the area under the ROC curve.

Sources:
    DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44: the variance and the paired test.
    Sun & Xu (2014), IEEE Signal Processing Letters 21: DeLong's variance from midranks, in
    O(n log n).
    Newcombe (2006), Statistics in Medicine 25: an interval that exists at AUC 0 and 1 (method 5).
    Zou & Donner (2008), Statistics in Medicine 27: the interval of a difference from two
    single intervals (MOVER).
    Obuchowski (1997), Biometrics 53: DeLong's variance for clustered images.
    Brunner & Munzel (2000), Biometrical Journal 42: Student's t with Satterthwaite's degrees of
    freedom for placements of few images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtr, ndtri, stdtrit
from scipy.stats import t

from mia_lab.evaluation.clusters import Codes, cluster_codes, sums
from mia_lab.evaluation.roc import auc, midranks, split_classes
from mia_lab.types import Floats, Strings

Interval = tuple[float, float]

# Smaller than any positive variance: one pair out of order among 1e5 + 1e5 images gives 1e-21.
_ZERO_VARIANCE = 1e-28
# Beyond it the normal tail underflows, and the p-value is 0.
_LARGEST_Z = 38.0


def delong_covariance(
    scores: Floats, is_member: NDArray[np.bool_], groups: Strings | None = None
) -> Floats:
    """Covariance of the AUCs of K scores of the same images (DeLong 1988; Sun & Xu 2014).

    Args:
        scores: (K, N), higher = more likely a member.
        is_member: bool (N,).
        groups: (N,) clusters of images that are not independent; "" for an image without a cluster.
            With clusters the variance is Obuchowski's (1997), which sums the placements of each
            cluster.

    Returns:
        float64 (K, K); NaN if a class has a single image or cluster, because its spread is unknown.

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    placed = [_placements(row, is_member) for row in np.asarray(scores, dtype=np.float64)]
    return _covariance(placed, is_member, cluster_codes(groups))


def auc_interval(
    scores: Floats,
    is_member: NDArray[np.bool_],
    level: float = 0.95,
    groups: Strings | None = None,
) -> Interval:
    """Two-sided confidence interval of the AUC.

    The interval is DeLong's on the logit scale, which stays inside (0, 1) and has better coverage
    near the ends. If its variance is zero or unknown (AUC 0 or 1, all scores tied, a class of one
    image), the interval is that of Newcombe's method 5. With clusters, Student's t replaces the
    normal quantile; its degrees of freedom are the smaller number of clusters of a class, minus 1.

    Args:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,).
        level: coverage, in (0, 1).
        groups: (N,) clusters, see :func:`delong_covariance`.

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    area = auc(scores, is_member)
    variance = float(delong_covariance(np.asarray(scores)[None], is_member, groups)[0, 0])
    codes = cluster_codes(groups)
    m, n = independent_units(is_member, codes)
    if not variance > _ZERO_VARIANCE or area in (0.0, 1.0):
        return newcombe_interval(area, m, n, _two_sided_z(level))
    z = _two_sided_z(level, None if codes is None else min(m, n) - 1)
    half = z * np.sqrt(variance) / (area * (1 - area))  # d logit(a) / da = 1 / (a (1 - a))
    return float(expit(logit(area) - half)), float(expit(logit(area) + half))


def newcombe_interval(area: float, n_members: int, n_nonmembers: int, z: float) -> Interval:
    """Newcombe's (2006) method 5: all AUCs t that differ from ``area`` by at most z s(t).

    Like Wilson's interval, it uses the variance at t, not at the estimate, so that it exists for a
    perfect separation: s(t)^2 = t (1 - t) (1 + N* ((1 - t) / (2 - t) + t / (1 + t))) / (m n) with
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
    first: Floats,
    second: Floats,
    is_member: NDArray[np.bool_],
    level: float = 0.95,
    groups: Strings | None = None,
    extra_variance: float = 0.0,
) -> tuple[float, Interval, float]:
    """Paired difference of two AUCs on the same images: DeLong's interval and test.

    Quantiles are Student's, with Brunner and Munzel's (2000) degrees of freedom; with clusters,
    with the smaller number of clusters of a class, minus 1. The interval covers the true
    difference in 93 % of draws or more from 3 + 3 images on. (A test simulates it.)

    Scores that put all images in the same order do not differ: 0, [0, 0], p = 1. If the variance of
    the difference is zero or unknown for another reason, MOVER (Zou & Donner 2008) combines the two
    single intervals as if they were independent, and the p-value is the level at which that
    interval reaches 0.

    There is no bootstrap of the difference on purpose. If the scores differ in a few images only,
    the difference has one sign in nearly all draws, and the bootstrap finds a difference in 35 to
    50 % of equal attacks, DeLong's test in less than 5 %. (A test simulates it.)

    Args:
        first: (N,) scores, higher = more likely a member.
        second: (N,) scores of the same images, in the same order.
        is_member: bool (N,).
        level: coverage of the interval, in (0, 1).
        groups: (N,) clusters, see :func:`delong_covariance`.
        extra_variance: of the difference, from other sources than the drawing of the images.

    Returns:
        AUC(first) - AUC(second), its interval in [-1, 1], and the two-sided p-value of "no
        difference" (1 if the difference is 0).

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    difference = auc(first, is_member) - auc(second, is_member)
    if same_order(first, second):
        return 0.0, (0.0, 0.0), 1.0
    # The variance is that of differences of placements, exactly 0 for scores of the same order.
    pairs = zip(_placements(first, is_member), _placements(second, is_member), strict=True)
    members, nonmembers = (a - b for a, b in pairs)
    codes = cluster_codes(groups)
    variance = float(_covariance([(members, nonmembers)], is_member, codes)[0, 0])
    if not variance > _ZERO_VARIANCE:
        return _compare_degenerate(first, second, is_member, level, groups, extra_variance)
    if codes is None:
        sides = (members, nonmembers)
        degrees = variance**2 / sum((v.var(ddof=1) / len(v)) ** 2 / (len(v) - 1) for v in sides)
    else:
        degrees = min(independent_units(is_member, codes)) - 1
    se = float(np.sqrt(variance + extra_variance))
    half = _two_sided_z(level, degrees) * se
    p_value = 2 * float(t.sf(abs(difference) / se, degrees))
    return difference, (max(-1.0, difference - half), min(1.0, difference + half)), p_value


def same_order(first: Floats, second: Floats) -> bool:
    """Whether two scores (N,) put all images in the same order, with the same ties."""
    return np.array_equal(midranks(first), midranks(second))


def _compare_degenerate(
    first: Floats,
    second: Floats,
    is_member: NDArray[np.bool_],
    level: float,
    groups: Strings | None,
    extra_variance: float,
) -> tuple[float, Interval, float]:
    """:func:`compare` if the variance of the paired differences is zero or unknown."""
    areas = auc(first, is_member), auc(second, is_member)
    m, n = independent_units(is_member, cluster_codes(groups))

    def mover(z: float) -> Interval:
        a, b = areas
        (al, ah), (bl, bh) = (newcombe_interval(area, m, n, z) for area in areas)
        extra = z * np.sqrt(extra_variance)
        low = a - b - np.linalg.norm([a - al, bh - b, extra])
        high = a - b + np.linalg.norm([ah - a, b - bl, extra])
        return float(low), float(high)

    difference = areas[0] - areas[1]
    low, high = mover(_two_sided_z(level))
    ci = (max(-1.0, low), min(1.0, high))
    if difference == 0:
        return difference, ci, 1.0
    near = 0 if difference > 0 else 1  # the end of the interval that is nearer to 0
    if mover(_LARGEST_Z)[near] * difference > 0:
        return difference, ci, 0.0
    z = brentq(lambda z: mover(z)[near], 1e-6, _LARGEST_Z)
    return difference, ci, 2 * float(ndtr(-z))


def _placements(scores: Floats, is_member: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Share of non-members below each member, and share of members above each non-member.

    Ties count one half. Shapes (m,) and (n,); the mean of each is the AUC.
    """
    members, nonmembers = split_classes(scores, is_member)
    m, n = len(members), len(nonmembers)
    ranks = midranks(np.concatenate([members, nonmembers]))
    return (ranks[:m] - midranks(members)) / n, 1 - (ranks[m:] - midranks(nonmembers)) / m


def _covariance(
    placed: list[tuple[Floats, Floats]], is_member: NDArray[np.bool_], codes: Codes | None
) -> Floats:
    """Covariance (K, K) of K AUCs from the K pairs of placements of members and non-members."""
    members, nonmembers = (np.stack(side) for side in zip(*placed, strict=True))  # (K, m), (K, n)
    if codes is None:
        return _covariance_of_means(members) + _covariance_of_means(nonmembers)
    total = int(codes.max()) + 1
    m, n = independent_units(is_member, codes)
    if min(m, n) < 2:
        return np.full((len(placed), len(placed)), np.nan)
    centred = [v - v.mean(axis=1, keepdims=True) for v in (members, nonmembers)]
    a = sums(centred[0] / members.shape[1], codes[is_member], total)
    b = sums(centred[1] / nonmembers.shape[1], codes[~is_member], total)
    shared = a @ b.T * total / (total - 1)
    covariance: Floats = m / (m - 1) * (a @ a.T) + n / (n - 1) * (b @ b.T) + shared + shared.T
    return covariance


def independent_units(is_member: NDArray[np.bool_], codes: Codes | None) -> tuple[int, int]:
    """Number of independent units (images or clusters) of the members and of the non-members."""
    if codes is None:
        return int(np.count_nonzero(is_member)), int(np.count_nonzero(~is_member))
    return len(np.unique(codes[is_member])), len(np.unique(codes[~is_member]))


def _covariance_of_means(values: Floats) -> Floats:
    """Covariance (K, K) of the K row means of (K, n) values; NaN where n is 1."""
    n = values.shape[1]
    if n < 2:
        return np.full((len(values), len(values)), np.nan)
    centred = values - values.mean(axis=1, keepdims=True)
    covariance: Floats = centred @ centred.T / (n - 1) / n
    return covariance


def _newcombe_low(area: float, n_members: int, n_nonmembers: int, z: float) -> float:
    """Lower limit of :func:`newcombe_interval`."""
    if area == 0:
        return 0.0
    extra = (n_members + n_nonmembers) / 2 - 1

    def rejected(candidate: float) -> float:
        """Positive if a candidate is too small to be compatible with the estimate."""
        spread = 1 + extra * ((1 - candidate) / (2 - candidate) + candidate / (1 + candidate))
        scaled = z * z * spread / (n_members * n_nonmembers)
        if area == 1:  # divided by 1 - candidate, which removes the root at 1
            return 1 - candidate - scaled * candidate
        return (area - candidate) ** 2 - scaled * candidate * (1 - candidate)

    return float(brentq(rejected, 0.0, area, xtol=1e-14))


def _two_sided_z(level: float, degrees: float | None = None) -> float:
    """Two-sided quantile of the normal distribution, or of Student's t with degrees of freedom."""
    q = (1 + level) / 2
    return float(ndtri(q) if degrees is None else stdtrit(max(degrees, 1), q))
