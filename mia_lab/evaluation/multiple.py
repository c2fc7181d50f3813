"""Correction of p-values for multiple tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia_lab.types import Floats


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Adjust p-values so that rejecting those below 0.05 has a family-wise error of at most 5 %.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6: the k-th smallest of K p-values, k from 1, is multiplied by K + 1 - k, and is at
    least as large as the one before it. The tests may depend on each other in any way.

    Args:
        p_values: (K,) in [0, 1], in any order.

    Returns:
        float64 (K,), in [0, 1], in the same order.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order])
    return np.minimum(adjusted, 1.0)
