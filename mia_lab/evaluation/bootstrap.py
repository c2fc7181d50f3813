"""Intervals by a stratified Bayesian bootstrap of the images, or of their clusters.

The bootstrap is Rubin's (1981, Annals of Statistics 9): instead of drawing images with replacement,
each draw gives them random exponential weights, separately for members and non-members. It has the
spread of Efron's bootstrap and no ties, so that a true positive rate at a small false positive rate
does not depend on whether one or two non-members are drawn. SciPy's ``bootstrap`` only resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from mia_lab.evaluation.clusters import Codes, cluster_codes
from mia_lab.evaluation.roc import split_classes
from mia_lab.evaluation.uncertainty import Interval, auc_interval, independent_units
from mia_lab.types import Floats, Strings

DRAWS = 1000
_MIN_DRAWS = 100
_BUDGET = 1e7
"""Total number of weights; with more than 10,000 images there are fewer than 1,000 draws."""

_CHUNK = 2e6
"""Largest number of weights in memory at a time."""


def draws_for(n: int) -> int:
    """Number of draws for n images: 1,000, and fewer from 10,000 images on, but at least 100."""
    return int(np.clip(_BUDGET / n, _MIN_DRAWS, DRAWS))


def auc_draws(
    scores: Floats,
    is_member: NDArray[np.bool_],
    rng: np.random.Generator,
    groups: Strings | None = None,
) -> Floats:
    """AUCs of a score under random weights of the images.

    Args:
        scores: (N,), higher = more likely a member.
        is_member: bool (N,).
        rng: the source of randomness.
        groups: (N,) clusters; the images of a cluster share a weight. "" for an image without a
            cluster.

    Returns:
        float64 (D,), where :func:`draws_for` gives D.

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    ranked = _SortedScores(scores, is_member)
    chunks = _weights(is_member, cluster_codes(groups), rng)
    return np.concatenate([ranked.areas(*weights) for weights in chunks])


def auc_bootstrap_interval(
    scores: Floats,
    is_member: NDArray[np.bool_],
    rng: np.random.Generator,
    groups: Strings | None = None,
) -> Interval:
    """95 % percentile interval of the AUC, expanded for small samples.

    If the draws do not vary (AUC 0 or 1, all scores tied), the interval is that of
    :func:`mia_lab.evaluation.uncertainty.auc_interval`, which is wider than a point.

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    drawn = auc_draws(scores, is_member, rng, groups)
    if np.ptp(drawn) < 1e-12:
        return auc_interval(scores, is_member, groups=groups)
    return _percentiles(drawn, is_member, groups)


def tpr_draws(
    scores: Floats,
    is_member: NDArray[np.bool_],
    fprs: Sequence[float] | Floats,
    rng: np.random.Generator,
    groups: Strings | None = None,
) -> Floats:
    """True positive rates at false positive rates; the threshold is refitted in every draw.

    The curve is a straight line between neighbouring non-members, and between (0, 0) and the
    highest non-member, because no score beyond it was observed. Half a member is added on either
    side of the threshold (Jeffreys), so that 0 of m members has a positive variance.

    Args:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,).
        fprs: F rates in (0, 1).
        rng: the source of randomness.
        groups: (N,) clusters, see :func:`auc_draws`.

    Returns:
        float64 (D, F).

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    members, nonmembers = split_classes(scores, is_member)
    codes = cluster_codes(groups)
    order = np.argsort(-nonmembers, kind="stable")
    # Members above the k-th highest non-member, with 0 before the first and all after the last.
    above = len(members) - np.searchsorted(np.sort(members), nonmembers[order], side="right")
    counts = np.concatenate([[0], above, [len(members)]]).astype(np.float64)
    if codes is None:
        return _tpr_of_independent_images(
            counts, np.asarray(fprs, dtype=np.float64), len(members), rng
        )
    ranked = np.argsort(-members, kind="stable")
    size = [np.count_nonzero(c) / len(np.unique(codes[c])) for c in (is_member, ~is_member)]
    chunks = [
        _tpr_of_clusters(
            wm[:, ranked], wn[:, order], counts.astype(int), np.asarray(fprs), size, rng
        )
        for wm, wn in _weights(is_member, codes, rng)
    ]
    return np.concatenate(chunks)


def tpr_interval(drawn: Floats) -> Floats:
    """95 % percentile limits of each column of :func:`tpr_draws`: (2, F)."""
    limits: Floats = np.quantile(drawn, [0.025, 0.975], axis=0)
    return limits


def _tpr_of_independent_images(
    counts: Floats, fprs: Floats, m: int, rng: np.random.Generator
) -> Floats:
    """Rates without clusters, drawn from their distribution without drawing weights.

    With exponential weights the false positive rates at n ordered non-members are uniform order
    statistics. The number K of them below f is binomial. The largest of these is f times a
    Beta(K, 1) variable; the next one is f plus 1 - f times a Beta(1, n - K) variable. The weight of
    c of m members is a Beta variable.
    """
    n = len(counts) - 2
    shape = (draws_for(m + n), len(fprs))
    k = rng.binomial(n, fprs, shape)
    below = np.where(k > 0, fprs * rng.beta(np.maximum(k, 1), 1), 0.0)
    beyond = np.where(k < n, fprs + (1 - fprs) * rng.beta(1, np.maximum(n - k, 1)), 1.0)
    part = (fprs - below) / (beyond - below)
    count = counts[k] + part * (counts[k + 1] - counts[k])
    drawn: Floats = rng.beta(count + 0.5, m - count + 0.5)
    return drawn


def _tpr_of_clusters(
    members: Floats,
    nonmembers: Floats,
    counts: NDArray[np.int64],
    fprs: Floats,
    size: Sequence[float],
    rng: np.random.Generator,
) -> Floats:
    """Rates of one chunk of draws, from the weights of images sorted by decreasing score.

    ``size`` is the mean cluster size of each class. The half members and the gap below the lowest
    non-member are scaled by it, because clusters, not images, are the units.
    """
    d = len(members)
    halves = rng.standard_gamma(0.5, (d, 2, len(fprs))) * size[0]
    gap = rng.standard_exponential((d, 1)) * size[1]
    cumulative = np.cumsum(np.concatenate([np.zeros((d, 1)), members], axis=1), axis=1)
    rates = np.cumsum(np.concatenate([np.zeros((d, 1)), nonmembers, gap], axis=1), axis=1)
    rates /= rates[:, -1:]  # (d, n + 2)
    heights = cumulative[:, counts]
    found = np.stack([np.interp(fprs, r, h) for r, h in zip(rates, heights, strict=True)])
    total = cumulative[:, -1:]
    drawn: Floats = (found + halves[:, 0]) / (total + halves.sum(axis=1))
    return drawn


class _SortedScores:
    """One score, sorted, with the ranks of its members among its non-members."""

    def __init__(self, scores: Floats, is_member: NDArray[np.bool_]) -> None:
        members, nonmembers = split_classes(scores, is_member)
        # Both classes are sorted, because sequential memory access is fast with many images.
        self._members, self._nonmembers = np.argsort(members), np.argsort(nonmembers)
        members, nonmembers = members[self._members], nonmembers[self._nonmembers]
        self._below = np.searchsorted(nonmembers, members, side="left")
        self._not_above = np.searchsorted(nonmembers, members, side="right")
        self._tied = bool((self._below < self._not_above).any())

    def areas(self, members: Floats, nonmembers: Floats) -> Floats:
        """AUC of each draw, from (D, m) and (D, n) weights: (D,)."""
        return np.array([self._area(*w) for w in zip(members, nonmembers, strict=True)])

    def _area(self, members: Floats, nonmembers: Floats) -> float:
        below = np.concatenate([[0.0], np.cumsum(nonmembers[self._nonmembers])])
        wins = below[self._below]
        if self._tied:
            wins = (wins + below[self._not_above]) / 2
        return float(members[self._members] @ wins / (members.sum() * below[-1]))


def _weights(
    is_member: NDArray[np.bool_], codes: Codes | None, rng: np.random.Generator
) -> Iterator[tuple[Floats, Floats]]:
    """Weights of the members (d, m) and of the non-members (d, n), for each chunk of d draws."""
    n = len(is_member)
    left = draws_for(n)
    chunk = max(1, int(_CHUNK / n))
    while left > 0:
        d = min(chunk, left)
        units = n if codes is None else int(codes.max()) + 1
        weights = rng.standard_exponential((d, units))
        weights = weights if codes is None else weights[:, codes]
        yield weights[:, is_member], weights[:, ~is_member]
        left -= d


def _percentiles(drawn: Floats, is_member: NDArray[np.bool_], groups: Strings | None) -> Interval:
    """95 % percentiles, expanded as in Hesterberg (2015, The American Statistician 69).

    For u independent images or clusters, the variance under random weights is (u - 1) / (u + 1)
    times that of samples, and Student's quantile is larger than the normal one.
    """
    u = min(independent_units(is_member, cluster_codes(groups)))
    if u < 2:
        return float(drawn.min()), float(drawn.max())
    tail = float(ndtr(-stdtrit(u - 1, 0.975) * np.sqrt((u + 1) / (u - 1))))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
