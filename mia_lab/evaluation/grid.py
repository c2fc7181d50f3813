"""The membership error under every setting of the difficulty score and every alpha."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mia_lab.attacks.membership import membership_error
from mia_lab.evaluation.results import AlphaCurve, GridPoint
from mia_lab.evaluation.roc import auc
from mia_lab.evaluation.uncertainty import auc_interval
from mia_lab.types import DifficultyTable, Floats, Strings

CURVE_POINTS = 41
CURVE_UNTIL = 2.0
"""Largest weight on the curve, unless the configured weight is larger."""


def evaluate_grid(
    difficulty: DifficultyTable,
    reconstruction_error: Floats,
    ids: Sequence[str],
    is_member: NDArray[np.bool_],
    alphas: Sequence[float],
    groups: Strings | None = None,
) -> tuple[GridPoint, ...]:
    """AUC of the membership error at every point of the grid, the configured point first.

    Args:
        difficulty: S settings, the configured one first.
        reconstruction_error: (N,), in the order of ``ids``.
        ids: ids of the candidates.
        is_member: bool (N,).
        alphas: A distinct weights of the difficulty, the configured one first.
        groups: (N,) clusters; "" for an image without a cluster.

    Returns:
        S * A points; empty if the configured point is the only one.

    Raises:
        KeyError: a candidate has no difficulty.
    """
    points = []
    for setting in range(len(difficulty.layers)):
        column = difficulty.column(ids, setting)
        for alpha in alphas:
            score = -membership_error(reconstruction_error, column, alpha)
            points.append(
                GridPoint(
                    backbone=str(difficulty.backbone[setting]),
                    features_from=str(difficulty.features_from[setting]),
                    layers=str(difficulty.layers[setting]),
                    ridge=str(difficulty.ridge[setting]),
                    alpha=alpha,
                    auc=auc(score, is_member),
                    auc_ci95=auc_interval(score, is_member, groups=groups),
                )
            )
    return tuple(points) if len(points) > 1 else ()


def alpha_curve(
    reconstruction_error: Floats,
    difficulty: Floats,
    is_member: NDArray[np.bool_],
    alpha: float,
    groups: Strings | None = None,
) -> AlphaCurve:
    """AUC of the membership error as a function of the weight, from 0 (reconstruction error) up.

    Args:
        reconstruction_error: (N,).
        difficulty: (N,) in the same order and unit.
        is_member: bool (N,).
        alpha: the configured weight, which is one of the points.
        groups: (N,) clusters; "" for an image without a cluster.
    """
    alphas = np.unique([*np.linspace(0, max(CURVE_UNTIL, alpha), CURVE_POINTS), alpha])
    scores = [-membership_error(reconstruction_error, difficulty, a) for a in alphas]
    limits = np.array([auc_interval(s, is_member, groups=groups) for s in scores])
    areas = np.array([auc(s, is_member) for s in scores])
    return AlphaCurve(alphas, areas, limits[:, 0], limits[:, 1])
