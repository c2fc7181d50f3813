from __future__ import annotations

import numpy as np
import pytest

from mia_lab.evaluation.multiple import holm


def test_holm_by_hand() -> None:
    # In order 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1; the last rises to the one before it.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.4, 0.9]), [0.8, 0.9])
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []
    assert holm([0.6, 0.6, 0.6]).tolist() == [1, 1, 1]


@pytest.mark.parametrize("level", [0.01, 0.05, 0.2, 0.5])
def test_holm_rejects_what_the_procedure_rejects(level: float) -> None:
    """The smallest against level / K, the next against level / (K - 1), until one is above."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.beta(0.4, 1, size=7)
        rejected = np.zeros(7, dtype=bool)
        for k, i in enumerate(np.argsort(p)):
            if p[i] > level / (7 - k):
                break
            rejected[i] = True
        assert ((holm(p) <= level) == rejected).all()
