"""Cross-fitting: each image is classified by a model that was fitted without its label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from mia_lab.evaluation.clusters import Codes, cluster_codes
from mia_lab.types import Floats, Strings

FOLDS = 5


@dataclass(frozen=True)
class CrossFit:
    """Decision values of N images.

    Attributes:
        decision: float64 (N,), from the classifier that was fitted without the image's fold.
        fold: int64 (N,), number of the image's fold.
    """

    decision: Floats
    fold: NDArray[np.int64]


def cross_fit(
    model: Any,
    features: Floats,
    is_member: NDArray[np.bool_],
    seed: int,
    groups: Strings | None = None,
) -> CrossFit | None:
    """Fit a scikit-learn classifier on all folds but one, and classify that fold, for each fold.

    Args:
        model: an estimator with ``fit`` and ``decision_function``.
        features: (N, F).
        is_member: bool (N,).
        seed: seed of the `FOLDS` stratified folds.
        groups: (N,) clusters; the images of a cluster are all in one fold.

    Returns:
        None if a class has fewer than two images or clusters.
    """
    codes = cluster_codes(groups)
    folds = _folds(is_member, codes)
    if folds < 2:
        return None
    decision, fold = np.empty(len(is_member)), np.empty(len(is_member), dtype=np.int64)
    for number, (train, test) in enumerate(_split(is_member, codes, folds, seed % 2**32)):
        if is_member[train].all() or not is_member[train].any():
            return None
        decision[test] = model.fit(features[train], is_member[train]).decision_function(
            features[test]
        )
        fold[test] = number
    return CrossFit(decision, fold)


def _folds(is_member: NDArray[np.bool_], codes: Codes | None) -> int:
    """Number of folds: at most the number of images or clusters of the smaller class."""
    units = [
        np.count_nonzero(c) if codes is None else len(np.unique(codes[c]))
        for c in (is_member, ~is_member)
    ]
    return int(min(FOLDS, *units))


def _split(
    is_member: NDArray[np.bool_], codes: Codes | None, folds: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of the images to fit on and to classify, one pair per fold."""
    if codes is None:
        yield from StratifiedKFold(folds, shuffle=True, random_state=seed).split(
            is_member, is_member
        )
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        yield from splitter.split(is_member, is_member, codes)
