"""What further answers to the same image tell of membership, where a victim answers at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.results import AnswersCurve
from mia_lab.evaluation.roc import auc
from mia_lab.evaluation.uncertainty import auc_interval
from mia_lab.types import Floats, Strings


def answers_curves(
    errors: Floats,
    averaged: Floats,
    is_member: NDArray[np.bool_],
    groups: Strings | None = None,
) -> tuple[AnswersCurve, ...]:
    """AUC of what is made of the first k answers, for k from 1 to K.

    Args:
        errors: (K, N) errors of the answers.
        averaged: (K, N) errors of the mean of the first k answers.
        is_member: bool (N,).
        groups: (N,) clusters; "" for an image without a cluster.
    """
    counts = np.arange(1, len(errors) + 1)
    statistics = {
        "mean of the errors": np.cumsum(errors, axis=0) / counts[:, None],
        "least error": np.minimum.accumulate(errors, axis=0),
        "error of the mean answer": averaged,
    }
    return tuple(
        _curve(name, counts, values, is_member, groups) for name, values in statistics.items()
    )


def _curve(
    name: str,
    counts: NDArray[np.int64],
    values: Floats,
    is_member: NDArray[np.bool_],
    groups: Strings | None,
) -> AnswersCurve:
    areas = np.array([auc(-row, is_member) for row in values])
    limits = np.array([auc_interval(-row, is_member, groups=groups) for row in values])
    return AnswersCurve(name, counts, areas, limits[:, 0], limits[:, 1])
