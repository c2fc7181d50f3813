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

_WEIGHTS = 20_000
"""Most weights that are computed together, which limits memory."""


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


def cross_fitted_each(
    columns: Floats, labels: Floats, folds: Folds, penalty: float, weights: Floats
) -> Floats:
    """:func:`cross_fitted` for many weightings of the images, each with fits of its own.

    Args:
        columns: (N, R), of mean 0.
        labels: (D, N, K), K vectors for each weighting, or (1, N, K) for all of them.
        folds: (N,) from :func:`fold_numbers`.
        penalty: of the squared slopes, above 0; the intercept is not penalised.
        weights: (D, N), at least 0; an image of weight 0 is predicted only.

    Returns:
        float64 (D, N, K); entry (d, :, k) is what ``sklearn.linear_model.Ridge(penalty)`` predicts,
        fitted to ``labels[d, :, k]`` without the fold, with the sample weights ``weights[d]``. The
        values of a fold are 0 if all weight is in it.
    """
    found = np.empty((*weights.shape, labels.shape[2]))
    for part in np.array_split(np.arange(len(weights)), -(-weights.size // _WEIGHTS)):
        own = labels[part] if len(labels) > 1 else labels
        found[part] = _fitted_each(columns, own, folds, penalty, weights[part])
    return found


def _fitted_each(
    columns: Floats, labels: Floats, folds: Folds, penalty: float, weights: Floats
) -> Floats:
    found = np.empty((*weights.shape, labels.shape[2]))
    for number in np.unique(folds):
        test = folds == number
        x, y, w = columns[~test], labels[:, ~test], weights[:, ~test]
        total = w.sum(axis=1)[:, None]  # (D, 1)
        total[total == 0] = 1.0
        center, level = w @ x / total, (w[:, None] @ y)[:, 0] / total  # (D, R), (D, K)
        weighted = w[:, None] * x.T  # (D, R, n)
        gram = weighted @ x - (total * center)[:, :, None] * center[:, None]
        gram += penalty * np.eye(x.shape[1])
        slopes = np.linalg.solve(gram, weighted @ (y - level[:, None]))  # (D, R, K)
        found[:, test] = level[:, None] + columns[test] @ slopes - center[:, None] @ slopes
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
