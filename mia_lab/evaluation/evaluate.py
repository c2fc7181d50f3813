"""From scores and ground truth to evaluations and paired comparisons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation import metrics
from mia_lab.evaluation.bootstrap import (
    auc_bootstrap_interval,
    tpr_draws,
    tpr_interval,
)
from mia_lab.evaluation.results import Band, Comparison, Evaluation
from mia_lab.evaluation.roc import roc_curve, split_classes
from mia_lab.evaluation.uncertainty import compare
from mia_lab.seeding import generator
from mia_lab.types import Floats, ScoreTable, Strings

_BAND_POINTS = 40


def evaluate(
    name: str,
    scores: Floats,
    is_member: NDArray[np.bool_],
    seed: int = 0,
    groups: Strings | None = None,
    fprs: tuple[float, ...] = metrics.FPRS,
) -> Evaluation:
    """How well one score tells members from non-members.

    Args:
        name: the attack or blind baseline.
        scores: (N,) higher = more likely a member.
        is_member: bool (N,), in the order of ``scores``.
        seed: of the bootstrap and of the permutations.
        groups: (N,) clusters of images that are not independent; "" for one that stands alone.
        fprs: false positive rates at which the true positive rate is measured.

    Raises:
        ValueError: a score is not finite, or one class is missing; the message names the score.
    """
    try:
        members, nonmembers = split_classes(scores, is_member)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    points = _band_fprs(len(nonmembers))
    draws = tpr_draws(scores, is_member, points, generator(seed, "band", name), groups)
    low, high = tpr_interval(draws)
    scored = metrics.Scored(scores, is_member, groups, fprs)
    return Evaluation(
        name=name,
        n_members=len(members),
        n_nonmembers=len(nonmembers),
        metrics={
            metric.name: metric.measure(scored, generator(seed, metric.stream or metric.name, name))
            for metric in metrics.METRICS
        },
        auc_bootstrap_ci95=auc_bootstrap_interval(
            scores, is_member, generator(seed, "bootstrap", name), groups
        ),
        roc=roc_curve(scores, is_member),
        band=Band(points, low, high),
    )


def compare_attacks(
    first: ScoreTable,
    second: ScoreTable,
    is_member: NDArray[np.bool_],
    groups: Strings | None = None,
    extra_variance: float = 0.0,
) -> Comparison:
    """Paired difference AUC(first) - AUC(second) on the same images.

    Args:
        first: scores of one attack.
        second: scores of another attack on the same images, in any order.
        is_member: bool (N,), in the order of ``first.id``.
        groups: (N,) clusters, in the order of ``first.id``.
        extra_variance: see :func:`~mia_lab.evaluation.uncertainty.compare`.

    Raises:
        ValueError: the tables are not about the same images, or see :func:`evaluate`.
    """
    rows = {str(i): row for row, i in enumerate(second.id)}
    if len(second.id) != len(first.id) or rows.keys() != {str(i) for i in first.id}:
        raise ValueError(f"{first.attack} and {second.attack} scored different images")
    aligned = second.score[[rows[str(i)] for i in first.id]]
    difference, ci95, p_value = compare(
        first.score, aligned, is_member, groups=groups, extra_variance=extra_variance
    )
    return Comparison(first.attack, second.attack, difference, ci95, p_value)


def _band_fprs(n_nonmembers: int) -> Floats:
    """Where a band is drawn: evenly on a logarithmic axis, and on a linear one."""
    least = min(0.5, 1 / n_nonmembers)
    half = _BAND_POINTS // 2
    points = [np.geomspace(least, 0.99, half), np.linspace(least, 0.99, half)]
    fprs: Floats = np.unique(np.concatenate(points))
    return fprs
