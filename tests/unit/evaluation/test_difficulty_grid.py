"""The grid against scikit-learn's AUC of the plain formula."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mia_lab.evaluation.grid import evaluate_grid
from mia_lab.evaluation.uncertainty import auc_interval
from tables import difficulty_table

IDS = [f"i{k}" for k in range(40)]
TRUTH = np.arange(40) % 2 == 0
SETTINGS = (("1,2", "1"), ("1", "auto"))
RNG = np.random.default_rng(3)
SCORE = RNG.uniform(0.02, 0.2, (40, 2, 3))
ERROR = RNG.uniform(0.1, 0.2, 40) - 0.02 * TRUTH


def test_every_point_is_the_auc_of_its_membership_error() -> None:
    order = RNG.permutation(40)
    table = difficulty_table([IDS[i] for i in order], SCORE[order], SETTINGS)
    points = evaluate_grid(table, ERROR, IDS, TRUTH, [0.5, 0.0, 2.0])
    assert len(points) == 6
    for point in points:
        setting = SETTINGS.index((point.layers, point.ridge))
        score = -(ERROR - point.alpha * SCORE[:, setting].mean(axis=1))
        assert point.auc == pytest.approx(roc_auc_score(TRUTH, score), abs=1e-12)
        assert point.auc_ci95 == auc_interval(score, TRUTH)


def test_the_configured_point_comes_first() -> None:
    first, *_ = evaluate_grid(difficulty_table(IDS, SCORE, SETTINGS), ERROR, IDS, TRUTH, [2.0, 1.0])
    assert (first.layers, first.ridge, first.alpha) == ("1,2", "1", 2.0)


def test_one_point_is_no_grid() -> None:
    table = difficulty_table(IDS, SCORE[:, :1])
    assert evaluate_grid(table, ERROR, IDS, TRUTH, [0.5]) == ()
    assert len(evaluate_grid(table, ERROR, IDS, TRUTH, [0.5, 1.0])) == 2
