"""What scores look like if the labels mean nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.clusters import cluster_codes, permuted
from mia_lab.evaluation.roc import auc, split_classes
from mia_lab.types import Floats, Strings

PERMUTATIONS = 2000
"""Of clustered labels, whose null has no closed form."""


def permutation_p_value(
    scores: Floats,
    is_member: NDArray[np.bool_],
    rng: np.random.Generator,
    groups: Strings | None = None,
) -> float:
    """Two-sided p-value of an AUC against the permutation of the labels.

    Without clusters that is the Mann-Whitney test: exact for small samples without ties, else its
    normal limit with the correction for ties. Clustered labels are permuted as
    :func:`mia_lab.evaluation.clusters.permuted` says, 2,000 times.

    Args:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,).
        rng: the source of randomness, for clusters.
        groups: (N,) clusters; "" for an image that belongs to none.

    Raises:
        ValueError: see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    from scipy.stats import mannwhitneyu

    members, nonmembers = split_classes(scores, is_member)
    if np.ptp(np.asarray(scores)) == 0:
        return 1.0
    codes = cluster_codes(groups)
    if codes is None:
        return float(mannwhitneyu(members, nonmembers).pvalue)
    observed = abs(auc(scores, is_member) - 0.5)
    null = [auc(scores, permuted(is_member, codes, rng)) - 0.5 for _ in range(PERMUTATIONS)]
    beyond = np.count_nonzero(np.abs(null) >= observed - 1e-12)
    return float((1 + beyond) / (1 + PERMUTATIONS))
