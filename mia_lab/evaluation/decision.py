"""Decisions on membership at a given false positive rate, from known non-members.

Known non-members (auxiliaries) represent the non-members among the candidates. The guarantees hold
only if both come from the same distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import rankdata

from mia_lab.evaluation.clusters import cluster_codes
from mia_lab.evaluation.results import Decision, Estimate, Hindsight, OperatingPoint
from mia_lab.evaluation.roc import roc_curve, split_classes
from mia_lab.types import Floats, Strings


def conformal_p_values(scores: Floats, auxiliary: Floats) -> Floats:
    """Conformal p-values of the null "non-member": p = (1 + #{auxiliary >= score}) / (m + 1).

    If a candidate is a non-member, P(p <= t) <= t for every t, for any distribution of scores (Vovk
    et al. 2005, "Algorithmic learning in a random world"; Bates et al. 2023, "Testing for outliers
    with conformal p-values", arXiv:2104.08279). A tie counts as evidence for "non-member".

    Args:
        scores: (N,) of the candidates, higher = more likely a member.
        auxiliary: (m,) of known non-members, m at least 1.

    Returns:
        float64 (N,), multiples of 1 / (m + 1) in (0, 1].

    Raises:
        ValueError: there are no auxiliaries, or a score is not finite.
    """
    auxiliary, scores = np.asarray(auxiliary, np.float64), np.asarray(scores, np.float64)
    if not len(auxiliary):
        raise ValueError("a p-value needs at least one auxiliary score")
    if not np.isfinite(auxiliary).all() or not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    below = np.searchsorted(np.sort(auxiliary), scores, side="left")
    p_value: Floats = (1 + len(auxiliary) - below) / (len(auxiliary) + 1)
    return p_value


def auxiliaries_needed(fpr: float) -> int:
    """Least number m of auxiliaries that resolves a false positive rate: 1 / (m + 1) <= fpr.

    Raises:
        ValueError: the rate is not in (0, 1).
    """
    if not 0 < fpr < 1:
        raise ValueError(f"the false positive rate must lie between 0 and 1, but is {fpr}")
    m = max(1, math.ceil(1 / fpr) - 1)
    return m - 1 if m > 1 and 1 / m <= fpr else m  # 1 / (1 / 49) rounds to above 49


def decide(scores: Floats, auxiliary: Floats, fpr: float) -> Decision:
    """Call a candidate a member if its p-value is at most ``fpr``.

    Equivalently, its score exceeds the k-th largest of m auxiliaries, where k is the largest number
    with k / (m + 1) <= fpr. Over draws of the auxiliaries, a non-member exceeds this threshold with
    probability k / (m + 1). Given the auxiliaries, the false positive rate of the threshold has the
    distribution Beta(k, m + 1 - k), that of the k-th smallest of m uniform variables (Vovk 2012,
    "Conditional validity of inductive conformal predictors", arXiv:1209.2673). Ties can only lower
    the rate.

    Args:
        scores: (N,) scores of the candidates, higher = more likely a member.
        auxiliary: (m,) scores of known non-members.
        fpr: requested false positive rate, in (0, 1).

    Raises:
        ValueError: there are too few auxiliaries for this rate, or see
            :func:`conformal_p_values`.
    """
    p_value = conformal_p_values(scores, auxiliary)
    m = len(auxiliary)
    if m < auxiliaries_needed(fpr):
        raise ValueError(f"{m} auxiliary scores cannot resolve a false positive rate of {fpr}")
    # The same comparison as for the p-values, because fpr * (m + 1) may round below a whole number.
    k = int(np.count_nonzero(np.arange(1, m + 1) / (m + 1) <= fpr))
    return Decision(
        n_auxiliary=m,
        attained_fpr=k / (m + 1),
        fpr_upper95=float(betaincinv(k, m + 1 - k, 0.95)),
        threshold=float(np.sort(np.asarray(auxiliary, np.float64))[m - k]),
        p_value=p_value,
        is_called=p_value <= fpr,
    )


def ranks(scores: Floats) -> NDArray[np.int64]:
    """Ranks from 1 for the highest score, int64 (N,); ties share the best of their ranks."""
    rank: NDArray[np.int64] = rankdata(-np.asarray(scores), method="min").astype(np.int64)
    return rank


PRIORS = (0.01, 0.1)
"""Default shares of members that are assumed among the images that an attacker queries."""


def proportion_interval(hits: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's (1934) exact interval of a binomial proportion.

    SciPy's ``binomtest`` computes the same interval, but only for whole numbers.

    Args:
        hits: number of hits in [0, n]; not a whole number if clusters reduce the effective n.
        n: number of trials, above 0.
        level: coverage.
    """
    tail = (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def proportion(
    called: NDArray[np.bool_], groups: Strings | None = None, level: float = 0.95
) -> Estimate:
    """Share of images that are called members, with its interval.

    The interval is Clopper and Pearson's. With clusters it is Korn and Graubard's (1998, Survey
    Methodology 24): the same interval with an effective number of images, which gives independent
    images the variance of the share over clusters. The effective number is the number of clusters
    if all images or no images are called.

    Args:
        called: bool (N,), N at least 1.
        groups: (N,) clusters; "" for an image without a cluster.
        level: coverage.
    """
    n, share = len(called), float(np.mean(called))
    effective, codes = float(n), cluster_codes(groups)
    if codes is not None:
        clusters = int(codes.max()) + 1
        effective = float(clusters)
        if 0 < share < 1 and clusters > 1:
            residuals = np.bincount(codes, called - share) / n
            variance = clusters / (clusters - 1) * float(residuals @ residuals)
            effective = min(n, share * (1 - share) / variance) if variance > 0 else float(n)
    return Estimate(share, proportion_interval(share * effective, effective, level))


def precision(tpr: float, fpr: float, prior: float) -> float:
    """Share of members among the images called members, if the share of members is ``prior``.

    Raises:
        ZeroDivisionError: both rates are 0.
    """
    return prior * tpr / (prior * tpr + (1 - prior) * fpr)


def operating_point(
    scores: Floats,
    is_member: NDArray[np.bool_],
    auxiliary: Floats,
    fpr: float,
    groups: Strings | None = None,
    priors: Sequence[float] = PRIORS,
) -> OperatingPoint | None:
    """True and false positive rate and precision at the threshold of :func:`decide`.

    The intervals of the rates are those of :func:`proportion`, given the threshold. The interval of
    the precision combines 97.5 % intervals of both rates, so it covers at least 95 % (Bonferroni).

    Args:
        scores: (N,) scores of the candidates, higher = more likely a member.
        is_member: bool (N,).
        auxiliary: (m,) scores of known non-members that are not candidates.
        fpr: requested false positive rate, in (0, 1).
        groups: (N,) clusters; "" for an image without a cluster.
        priors: assumed shares of members, in (0, 1), for which the precision is computed.

    Returns:
        None if there are too few auxiliaries for this rate.

    Raises:
        ValueError: see :func:`decide` and :func:`mia_lab.evaluation.roc.split_classes`.
    """
    split_classes(scores, is_member)
    if len(auxiliary) < auxiliaries_needed(fpr):
        return None
    threshold = decide(scores, auxiliary, fpr).threshold
    called = np.asarray(scores) > threshold
    sides = [
        (called[side], None if groups is None else groups[side]) for side in (is_member, ~is_member)
    ]
    tpr, rate = (proportion(*side) for side in sides)
    (t_low, t_high), (f_low, f_high) = (proportion(*side, level=0.975).ci95 for side in sides)
    found = {
        str(prior): Estimate(
            precision(tpr.value, rate.value, prior),
            (precision(t_low, f_high, prior), precision(t_high, f_low, prior)),
        )
        if called.any()
        else None
        for prior in priors
    }
    return OperatingPoint(threshold, len(auxiliary), tpr, rate, found)


def hindsight(scores: Floats, is_member: NDArray[np.bool_]) -> Hindsight:
    """The threshold that maximises TPR - FPR on the evaluated images themselves (Youden 1950).

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    roc = roc_curve(scores, is_member)
    best = int(np.argmax(roc.tpr - roc.fpr))
    tpr, fpr = float(roc.tpr[best]), float(roc.fpr[best])
    threshold = float(roc.threshold[best])
    return Hindsight(threshold if best else None, tpr, fpr, (tpr + 1 - fpr) / 2)
