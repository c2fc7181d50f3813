"""What further answers tell, against scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from mia_lab.evaluation.answers import answers_curves


def test_curves_are_the_areas_of_the_first_answers() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(40) < 18
    errors, averaged = rng.random((2, 5, 40)) - 0.1 * truth
    curves = {curve.name: curve for curve in answers_curves(errors, averaged, truth)}
    for k in range(1, 6):
        scores = {
            "mean of the errors": -errors[:k].mean(0),
            "least error": -errors[:k].min(0),
            "error of the mean answer": -averaged[k - 1],
        }
        assert curves.keys() == scores.keys()
        for name, score in scores.items():
            curve = curves[name]
            assert curve.answers.tolist() == [1, 2, 3, 4, 5]
            np.testing.assert_allclose(curve.auc[k - 1], roc_auc_score(truth, score))
            assert curve.low[k - 1] < curve.auc[k - 1] < curve.high[k - 1]
