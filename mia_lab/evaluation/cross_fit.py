"""Classifiers whose verdict on an image never saw that image's label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.clusters import Codes, cluster_codes
from mia_lab.types import Floats, Strings

FOLDS = 5


@dataclass(frozen=True)
class CrossFit:
    """Verdicts on N images.

    Attributes:
        decision: float64 (N,) of the classifier that was fitted without the image's fold.
        fold: int64 (N,) which fold that was.
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
    """Fit a scikit-learn classifier on four fifths of the images, judge the others, in turns.

    Args:
        model: an estimator with ``fit`` and ``decision_function``.
        features: (N, F).
        is_member: bool (N,).
        seed: of the folds, which are stratified.
        groups: (N,) clusters that are not torn apart.

    Returns:
        None where a class has fewer than two images or clusters.
    """
    codes = cluster_codes(groups)
    folds = _folds(is_member, codes)
    if folds < 2:
        return None
    decision, fold = np.empty(len(is_member)), np.empty(len(is_member), dtype=np.int64)
    for number, (train, test) in enumerate(_divide(is_member, codes, folds, seed % 2**32)):
        if is_member[train].all() or not is_member[train].any():
            return None
        decision[test] = model.fit(features[train], is_member[train]).decision_function(
            features[test]
        )
        fold[test] = number
    return CrossFit(decision, fold)


def _folds(is_member: NDArray[np.bool_], codes: Codes | None) -> int:
    units = [
        np.count_nonzero(c) if codes is None else len(np.unique(codes[c]))
        for c in (is_member, ~is_member)
    ]
    return int(min(FOLDS, *units))


def _divide(is_member: NDArray[np.bool_], codes: Codes | None, folds: int, seed: int) -> Any:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if codes is None:
        return StratifiedKFold(folds, shuffle=True, random_state=seed).split(is_member, is_member)
    division = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return division.split(is_member, is_member, codes)
