"""Ridge regression of many label vectors at once, cross-fitted on folds that ignore the labels.

A ridge regression is linear in the labels. With folds, columns and penalty that do not depend on
them, the cross-fitted values of any number of label vectors are one matrix product per fold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import rankdata
from sklearn.model_selection import GroupKFold, KFold

from mia_lab.evaluation.clusters import Codes
from mia_lab.types import Floats

FOLDS = 5

DECIMALS = 12
"""Values are rounded, so that those that are equal in exact arithmetic are ties."""

Folds = NDArray[np.int64]


def fold_numbers(n: int, codes: Codes | None, seed: int) -> Folds | None:
    """The fold of each image, from a seed and from clusters alone.

    Args:
        n: number of images.
        codes: cluster of each image, from :func:`~mia_lab.evaluation.clusters.cluster_codes`; the
            images of a cluster are all in one fold.
        seed: of the random order.

    Returns:
        int64 (N,) in [0, `FOLDS`); None for fewer than two images or clusters.
    """
    units = n if codes is None else len(np.unique(codes))
    if units < 2:
        return None
    kind = KFold if codes is None else GroupKFold
    splitter = kind(min(FOLDS, units), shuffle=True, random_state=seed % 2**32)
    numbers = np.empty(n, dtype=np.int64)
    for number, (_, test) in enumerate(splitter.split(np.empty(n), groups=codes)):
        numbers[test] = number
    return numbers


def cross_fitted(columns: Floats, labels: Floats, folds: Folds, penalty: float) -> Floats:
    """Values that ridge regressions on the other folds give to each fold.

    Args:
        columns: (N, R), of any mean.
        labels: (N, P), one vector a column.
        folds: (N,) from :func:`fold_numbers`.
        penalty: of the squared weights, above 0; the intercept is not penalised.

    Returns:
        float64 (N, P); column p is what ``sklearn.linear_model.Ridge(penalty)`` predicts, fitted to
        ``labels[:, p]`` without the fold. If a fold is predicted from one class only, its values
        are constant.
    """
    found = np.empty(labels.shape)
    for number in np.unique(folds):
        test = folds == number
        train = ~test
        center, level = columns[train].mean(axis=0), labels[train].mean(axis=0)
        x = columns[train] - center
        gram = x.T @ x
        gram[np.diag_indices_from(gram)] += penalty
        weights = cho_solve(cho_factor(gram), x.T @ (labels[train] - level))
        found[test] = level + (columns[test] - center) @ weights
    return found


def ranked_within(values: Floats, folds: Folds) -> Floats:
    """Midranks within each fold, in (0, 1): models of different folds do not share a scale.

    Args:
        values: (N, P).
        folds: (N,).
    """
    scores = np.empty(values.shape)
    rounded = values.round(DECIMALS)
    for number in np.unique(folds):
        rows = folds == number
        scores[rows] = rankdata(rounded[rows], axis=0) / (np.count_nonzero(rows) + 1)
    return scores


def areas(scores: Floats, labels: NDArray[np.bool_]) -> Floats:
    """AUC of each column of scores under the labels of the same column.

    Args:
        scores: (N, P), or (N, 1) for one score under all labels.
        labels: bool (N, P), of both classes.

    Returns:
        float64 (P,).
    """
    ranks = rankdata(scores, axis=0)
    members = labels.sum(axis=0)
    wins = np.where(labels, ranks, 0.0).sum(axis=0) - members * (members + 1) / 2
    found: Floats = wins / (members * (len(labels) - members))
    return found
