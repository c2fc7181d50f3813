"""The mean of a measure over repeats of an experiment, such as its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

FEWEST_SEEDS = 3
"""Fewest seeds whose spread is told: that of two is 18 standard deviations long."""


@dataclass(frozen=True)
class Mean:
    """A mean over repeats.

    Attributes:
        value: the mean.
        ci95: Student's interval of the mean; None for too few repeats, and where all values are
            equal: repeats that change nothing say nothing about the spread.
        n: number of repeats.
    """

    value: float
    ci95: tuple[float, float] | None
    n: int

    @property
    def half_width(self) -> float:
        """The distance to the farther end of the interval; NaN where there is none."""
        return math.nan if self.ci95 is None else max(abs(end - self.value) for end in self.ci95)


def mean_over_repeats(values: Sequence[float]) -> Mean:
    """Mean and ``t``-interval, mean +- t(0.975, n - 1) s / sqrt(n) (Student, 1908).

    Args:
        values: values of the n independent repeats; n >= 1. The interval is not clipped to the
            range of the measure.

    Raises:
        ValueError: no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("a mean of no values")
    if min(values) == max(values):
        return Mean(values[0], None, n)
    mean = float(np.mean(values))
    half = float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(n))
    return Mean(mean, (mean - half, mean + half), n)


def mean_over_seeds(values: Sequence[float], low: float, high: float) -> Mean:
    """Mean and interval of a measure over the seeds of a sweep, see :func:`mean_over_repeats`.

    Args:
        values: one of each seed; no interval is given for fewer than :data:`FEWEST_SEEDS`.
        low, high: the range of the measure, to which the interval is cut.

    Raises:
        ValueError: no values.
    """
    found = mean_over_repeats(values)
    if found.ci95 is None or found.n < FEWEST_SEEDS:
        return replace(found, ci95=None)
    return replace(found, ci95=(max(low, found.ci95[0]), min(high, found.ci95[1])))
