"""From scores and ground truth to the rows of the report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.roc import auc, roc_curve, split_classes, tpr_at_fpr
from mia_lab.evaluation.uncertainty import auc_interval, compare
from mia_lab.results import Comparison, Evaluation
from mia_lab.types import Floats, ScoreTable

FPRS = ("0.01", "0.1")
"""False positive rates at which the true positive rate is reported."""


def evaluate(name: str, scores: Floats, is_member: NDArray[np.bool_]) -> Evaluation:
    """How well one score tells members from non-members.

    Args:
        name: the attack or blind baseline.
        scores: (N,) higher = more likely a member.
        is_member: bool (N,), in the order of ``scores``.

    Raises:
        ValueError: a score is not finite, or one class is missing; the message names the score.
    """
    try:
        members, nonmembers = split_classes(scores, is_member)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    roc = roc_curve(scores, is_member)
    return Evaluation(
        name=name,
        n_members=len(members),
        n_nonmembers=len(nonmembers),
        auc=auc(scores, is_member),
        auc_ci95=auc_interval(scores, is_member),
        tpr_at_fpr={fpr: tpr_at_fpr(roc, float(fpr), len(nonmembers)) for fpr in FPRS},
        roc=roc,
    )


def compare_attacks(
    first: ScoreTable, second: ScoreTable, is_member: NDArray[np.bool_]
) -> Comparison:
    """Paired difference AUC(first) - AUC(second) on the same images.

    Args:
        first: scores of one attack.
        second: scores of another attack on the same images, in any order.
        is_member: bool (N,), in the order of ``first.id``.

    Raises:
        ValueError: the tables are not about the same images, or see :func:`evaluate`.
    """
    rows = {str(i): row for row, i in enumerate(second.id)}
    if len(second.id) != len(first.id) or rows.keys() != {str(i) for i in first.id}:
        raise ValueError(f"{first.attack} and {second.attack} scored different images")
    aligned = second.score[[rows[str(i)] for i in first.id]]
    difference, ci95, p_value = compare(first.score, aligned, is_member)
    return Comparison(first.attack, second.attack, difference, ci95, p_value)
