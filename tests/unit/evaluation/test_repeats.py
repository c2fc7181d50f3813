"""Means over seeds against scipy's own interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation.repeats import mean_over_repeats, mean_over_seeds


@pytest.mark.parametrize("n", [2, 3, 10])
def test_mean_and_interval_are_students(n: int) -> None:
    values = np.random.default_rng(n).normal(0.7, 0.1, n)
    found = mean_over_repeats(values.tolist())
    error = values.std(ddof=1) / math.sqrt(n)
    expected = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=error)
    assert found.value == pytest.approx(values.mean())
    assert found.ci95 == pytest.approx(expected)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, n - 1) * error)
    assert found.n == n


def test_equal_values_have_no_interval() -> None:
    """A seed that changes nothing is no repeat of the experiment."""
    found = mean_over_repeats([0.3819, 0.3819, 0.3819])
    assert (found.value, found.ci95, found.n) == (0.3819, None, 3)


def test_seeds_have_an_interval_within_the_range_from_three_on() -> None:
    values = [0.99, 0.7, 0.98]
    low, high = mean_over_repeats(values).ci95 or (0.0, 0.0)
    assert high > 1
    found = mean_over_seeds(values, 0, 1)
    assert found.ci95 == (low, 1)
    assert found.half_width == mean_over_repeats(values).half_width
    assert mean_over_seeds(values[:2], 0, 1).ci95 is None
    assert mean_over_seeds([0.1, -0.9, -0.9], -1, 1).ci95 == (-1, pytest.approx(0.867, abs=1e-3))


def test_one_run_has_no_interval_and_none_no_mean() -> None:
    found = mean_over_repeats([0.7])
    assert (found.value, found.ci95, found.n) == (0.7, None, 1)
    assert math.isnan(found.half_width)
    with pytest.raises(ValueError, match="no values"):
        mean_over_repeats([])
