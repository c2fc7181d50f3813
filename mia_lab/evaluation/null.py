"""Permutation test of an AUC."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from mia_lab.evaluation.clusters import cluster_codes, permuted
from mia_lab.evaluation.roc import midranks, split_classes
from mia_lab.types import Floats, Strings

PERMUTATIONS = 2000
"""Number of permutations if the null has no closed form: clusters, and small classes."""

_SMALL_CLASS = 8
"""Largest class for which the normal approximation is not used."""


def permutation_p_value(
    scores: Floats,
    is_member: NDArray[np.bool_],
    rng: np.random.Generator,
    groups: Strings | None = None,
) -> float:
    """Two-sided p-value of an AUC under permutation of the labels.

    This is the Mann-Whitney test, with the normal approximation and the correction for ties. With
    clusters, or a class of at most eight images, the labels are permuted 2,000 times instead; see
    :func:`mia_lab.evaluation.clusters.permuted`.

    Args:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,).
        rng: the source of randomness of the permutations.
        groups: (N,) clusters; "" for an image without a cluster.

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    members, nonmembers = split_classes(scores, is_member)
    if np.ptp(np.asarray(scores)) == 0:
        return 1.0
    codes = cluster_codes(groups)
    if codes is None and min(len(members), len(nonmembers)) > _SMALL_CLASS:
        return float(mannwhitneyu(members, nonmembers, method="asymptotic").pvalue)
    ranks = midranks(np.asarray(scores))  # permuted labels leave them as they are
    observed = abs(_auc_of_ranks(ranks, is_member) - 0.5)
    null = [
        _auc_of_ranks(ranks, permuted(is_member, codes, rng)) - 0.5 for _ in range(PERMUTATIONS)
    ]
    beyond = np.count_nonzero(np.abs(null) >= observed - 1e-12)
    return float((1 + beyond) / (1 + PERMUTATIONS))


def _auc_of_ranks(ranks: Floats, is_member: NDArray[np.bool_]) -> float:
    """As :func:`mia_lab.evaluation.roc.auc`, from the midranks of the scores."""
    m = np.count_nonzero(is_member)
    wins = ranks[is_member].sum() - m * (m + 1) / 2
    return float(wins / (m * (len(ranks) - m)))
