"""How often 95 % intervals of true positive rates at low false positive rates hold the truth.

Scores are normal with equal variances, n members against n non-members. The true positive rate
above all non-members is true given the largest non-member: each draw has a truth of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

import shared
from mia_lab.evaluation.metrics import Scored, tpr_at_zero_fp, true_positive_rates
from mia_lab.progress import progress

DRAWS = 1000
AREAS = (0.5, 0.8, 0.95)
FPRS = (0.001, 0.005, 0.05)

Row = dict[str, Any]


def measurements() -> Iterator[shared.Measurement]:
    """A cell for each number of images and AUC."""
    for n in (100, 1000):
        for area in AREAS:
            yield {"n": n, "auc": area, "draws": DRAWS}, partial(cell, n, area)


def cell(n: int, area: float) -> Iterator[Row]:
    """Coverage and width of every interval that n non-members resolve."""
    rng = np.random.default_rng([7, n, round(1000 * area)])
    shift = np.sqrt(2) * ndtri(area)
    is_member = np.arange(2 * n) < n
    fprs = tuple(fpr for fpr in FPRS if 1 / n <= fpr)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in progress(range(DRAWS), f"n {n}, AUC {area}", "draws", is_brief=True):
        scores = rng.normal(size=2 * n) + shift * is_member
        scored = Scored(scores, is_member, fprs=fprs)
        for fpr, rate in true_positive_rates(scored, rng).items():
            assert rate is not None
            name = f"TPR at {100 * float(fpr):g} % FPR"
            found.setdefault(name, []).append((*rate.ci95, float(ndtr(shift + ndtri(float(fpr))))))
        given = float(ndtr(shift - scores[~is_member].max()))
        limits = tpr_at_zero_fp(scored, rng).ci95
        found.setdefault("TPR above all non-members", []).append((*limits, given))
    for name, intervals in found.items():
        low, high, true = np.array(intervals).T
        yield {
            "interval": name,
            "true": true.mean().round(4),
            "coverage": ((low <= true) & (true <= high)).mean(),
            "width": (high - low).mean().round(4),
        }
