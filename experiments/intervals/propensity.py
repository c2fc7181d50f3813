"""Which regression tells best how likely each image is to be a member, from all columns together.

Members are drawn with a logit of 1.4 times a factor, or have one shifted column among a thousand.
The log loss of cross-fitted probabilities is 0.693 for one half for every image; it is higher for
probabilities that are more certain than they should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import shared
from mia_lab.evaluation import auc
from mia_lab.evaluation.adjusted import joint_columns, probabilities
from mia_lab.evaluation.blind import PENALTY, compact
from mia_lab.evaluation.ridge import cross_fitted, fold_numbers

SIMULATIONS = 100
N = 100
"""Members, and as many non-members."""

Row = dict[str, Any]
Features = dict[str, np.ndarray]


def measurements() -> Iterator[shared.Measurement]:
    """A measurement a design."""
    for design in DESIGNS:
        yield {"design": design, "n": N, "simulations": SIMULATIONS}, partial(simulated, design)


def simulated(design: str) -> Iterator[Row]:
    """Mean log loss and AUC of each way."""
    rng = np.random.default_rng(crc32(design.encode()))
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for number in range(SIMULATIONS):
        features, difficulty, truth = DESIGNS[design](rng)
        for way, fit in WAYS.items():
            probability = fit(features, difficulty, truth, number)
            found[way].append((log_loss(truth, probability), auc(probability, truth)))
    for way, values in found.items():
        loss, area = np.mean(values, axis=0)
        yield {"way": way, "log_loss": loss.round(4), "auc": area.round(4)}


def _factors(columns: tuple[int, int], rng: np.random.Generator) -> tuple[Features, Any, Any]:
    """Noisy mixtures of fifteen factors, the first of which decides on membership."""
    factors = rng.normal(size=(6 * N, 15))
    drawn = rng.random(6 * N) < expit(1.4 * factors[:, 0])
    chosen = np.concatenate([np.flatnonzero(side)[:N] for side in (drawn, ~drawn)])
    factors = factors[chosen]
    scale = 1 / np.sqrt(np.arange(1, 16))  # as in deep features, few axes have most variance
    loadings = np.random.default_rng(sum(columns)).normal(size=(15, sum(columns)))
    mixed = (factors * scale) @ loadings + rng.normal(size=(2 * N, sum(columns)))
    first, second = np.split(mixed, columns[:1], axis=1)
    return {"features": first, "statistics": second}, rng.normal(size=2 * N), drawn[chosen]


def _one_of_many(rng: np.random.Generator) -> tuple[Features, Any, Any]:
    """A thousand columns of noise, and a baseline of one column that is shifted by 0.8 SD."""
    truth = np.arange(2 * N) < N
    narrow = rng.normal(size=(2 * N, 1)) + 0.8 * truth[:, None]
    return (
        {"features": rng.normal(size=(2 * N, 1000)), "file": narrow},
        rng.normal(size=2 * N),
        truth,
    )


DESIGNS: dict[str, Callable[[np.random.Generator], tuple[Features, Any, Any]]] = {
    "20 + 10 columns": partial(_factors, (20, 10)),
    "300 + 30 columns": partial(_factors, (300, 30)),
    "1 column beside 1000": _one_of_many,
}


def _ridge(columns: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    folds = fold_numbers(2 * N, None, seed)
    assert folds is not None
    labels = truth[:, None].astype(float)
    return cross_fitted(columns, labels, folds, PENALTY)[:, 0]


def _equal(features: Features, difficulty: Any, truth: Any, seed: int) -> np.ndarray:
    return probabilities(_ridge(joint_columns(features, difficulty), truth, seed), truth)


def _side_by_side(features: Features, difficulty: Any, truth: Any, seed: int) -> np.ndarray:
    parts = [compact(part) for part in (*features.values(), difficulty[:, None])]
    return probabilities(_ridge(np.column_stack(parts), truth, seed), truth)


def _stacked(features: Features, difficulty: Any, truth: Any, seed: int) -> np.ndarray:
    fits = [_ridge(compact(part), truth, seed) for part in features.values()]
    columns = StandardScaler().fit_transform(np.column_stack([*fits, difficulty]))
    return probabilities(_ridge(columns, truth, seed), truth)


def _logistic(c: float, features: Features, difficulty: Any, truth: Any, seed: int) -> np.ndarray:
    columns = np.column_stack([*features.values(), difficulty])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500))
    folds = KFold(5, shuffle=True, random_state=seed)
    return cross_val_predict(model, columns, truth, cv=folds, method="predict_proba")[:, 1]


WAYS = {
    "calibrated ridge, equal variance of each baseline": _equal,
    "calibrated ridge, variance by the number of columns": _side_by_side,
    "calibrated ridge on a ridge of each baseline": _stacked,
    "logistic regression, C = 1": partial(_logistic, 1.0),
    "logistic regression, C = 0.01": partial(_logistic, 0.01),
}
