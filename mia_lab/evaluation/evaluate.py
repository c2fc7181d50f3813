"""From scores and ground truth to the rows of the report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.bootstrap import (
    auc_bootstrap_interval,
    compare_bootstrap,
    tpr_draws,
    tpr_interval,
)
from mia_lab.evaluation.null import permutation_p_value
from mia_lab.evaluation.results import Band, Comparison, Estimate, Evaluation
from mia_lab.evaluation.roc import auc, roc_curve, split_classes, tpr_at_fpr
from mia_lab.evaluation.uncertainty import auc_interval, compare
from mia_lab.seeding import generator
from mia_lab.types import Floats, ScoreTable, Strings

FPRS = ("0.01", "0.1")
"""False positive rates at which the true positive rate is reported."""

_BAND_POINTS = 40


def evaluate(
    name: str,
    scores: Floats,
    is_member: NDArray[np.bool_],
    seed: int = 0,
    groups: Strings | None = None,
) -> Evaluation:
    """How well one score tells members from non-members.

    Args:
        name: the attack or blind baseline.
        scores: (N,) higher = more likely a member.
        is_member: bool (N,), in the order of ``scores``.
        seed: of the bootstrap and of permuted clusters.
        groups: (N,) clusters of images that are not independent; "" for one that stands alone.

    Raises:
        ValueError: a score is not finite, or one class is missing; the message names the score.
    """
    try:
        members, nonmembers = split_classes(scores, is_member)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    roc, n = roc_curve(scores, is_member), len(nonmembers)
    fprs = _band_fprs(n)
    rates, band, bootstrap, labels = (
        generator(seed, what, name) for what in ("rates", "band", "bootstrap", "labels")
    )
    low, high = tpr_interval(tpr_draws(scores, is_member, [*map(float, FPRS)], rates, groups))
    tpr_at: dict[str, Estimate | None] = {}
    for fpr, a, b in zip(FPRS, low.tolist(), high.tolist(), strict=True):
        rate = tpr_at_fpr(roc, float(fpr), n)
        # The rate is a step, its interval of straight lines: at the ends they may miss each other.
        tpr_at[fpr] = None if rate is None else Estimate(rate, (min(a, rate), max(b, rate)))
    band_low, band_high = tpr_interval(tpr_draws(scores, is_member, fprs, band, groups))
    return Evaluation(
        name=name,
        n_members=len(members),
        n_nonmembers=n,
        auc=auc(scores, is_member),
        auc_ci95=auc_interval(scores, is_member, groups=groups),
        auc_bootstrap_ci95=auc_bootstrap_interval(scores, is_member, bootstrap, groups),
        p_value=permutation_p_value(scores, is_member, labels, groups),
        tpr_at_fpr=tpr_at,
        roc=roc,
        band=Band(fprs, band_low, band_high),
    )


def compare_attacks(
    first: ScoreTable,
    second: ScoreTable,
    is_member: NDArray[np.bool_],
    seed: int = 0,
    groups: Strings | None = None,
) -> Comparison:
    """Paired difference AUC(first) - AUC(second) on the same images.

    Args:
        first: scores of one attack.
        second: scores of another attack on the same images, in any order.
        is_member: bool (N,), in the order of ``first.id``.
        seed: of the bootstrap.
        groups: (N,) clusters, in the order of ``first.id``.

    Raises:
        ValueError: the tables are not about the same images, or see :func:`evaluate`.
    """
    rows = {str(i): row for row, i in enumerate(second.id)}
    if len(second.id) != len(first.id) or rows.keys() != {str(i) for i in first.id}:
        raise ValueError(f"{first.attack} and {second.attack} scored different images")
    aligned = second.score[[rows[str(i)] for i in first.id]]
    difference, ci95, p_value = compare(first.score, aligned, is_member, groups=groups)
    rng = generator(seed, "bootstrap", first.attack, second.attack)
    by_bootstrap = compare_bootstrap(first.score, aligned, is_member, rng, groups)
    return Comparison(first.attack, second.attack, difference, ci95, p_value, *by_bootstrap)


def _band_fprs(n_nonmembers: int) -> Floats:
    """Where a band is drawn: evenly on a logarithmic axis, and on a linear one."""
    least = min(0.5, 1 / n_nonmembers)
    half = _BAND_POINTS // 2
    points = [np.geomspace(least, 0.99, half), np.linspace(least, 0.99, half)]
    fprs: Floats = np.unique(np.concatenate(points))
    return fprs
