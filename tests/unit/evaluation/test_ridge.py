"""Cross-fitted ridge regressions of many label vectors: scikit-learn's, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from mia_lab.evaluation.clusters import cluster_codes, permuted
from mia_lab.evaluation.ridge import (
    areas,
    cross_fitted,
    cross_fitted_each,
    fold_numbers,
    ranked_within,
)

N, P = 47, 30


def labels(seed: int = 0) -> np.ndarray:
    rng, truth = np.random.default_rng(seed), np.arange(N) < 20
    return np.stack([permuted(truth, None, rng) for _ in range(P)], axis=1)


@pytest.mark.parametrize("n_columns", [1, 8, 60])
@pytest.mark.parametrize("grouped", [False, True])
def test_all_fits_are_those_of_a_loop_over_ridge(n_columns: int, grouped: bool) -> None:
    rng = np.random.default_rng(n_columns)
    columns = rng.normal(2, 1, (N, n_columns))
    groups = np.array([f"g{i // 3}" for i in range(N)]) if grouped else None
    folds = fold_numbers(N, cluster_codes(groups), seed=3)
    truth = labels()
    found = cross_fitted(columns, truth.astype(float), folds, 40.0)
    expected = np.empty_like(found)
    for fold in range(5):
        test = folds == fold
        for p in range(P):
            model = Ridge(40.0, solver="svd").fit(columns[~test], truth[~test, p])
            expected[test, p] = model.predict(columns[test])
    np.testing.assert_allclose(found, expected, atol=1e-10, rtol=0)
    scores = ranked_within(found, folds)
    for fold in range(5):
        rows = folds == fold
        for p in range(P):
            ranks = rankdata(expected[rows, p].round(12)) / (rows.sum() + 1)
            np.testing.assert_allclose(scores[rows, p], ranks, atol=1e-12)
    expected_areas = [roc_auc_score(truth[:, p], scores[:, p]) for p in range(P)]
    np.testing.assert_allclose(areas(scores, truth), expected_areas, atol=1e-12)


def test_one_score_under_many_labels() -> None:
    score, truth = np.random.default_rng(0).integers(0, 9, N).astype(float), labels()
    expected = [roc_auc_score(truth[:, p], score) for p in range(P)]
    np.testing.assert_allclose(areas(score[:, None], truth), expected, atol=1e-12)


def test_folds_are_as_large_as_can_be_and_keep_clusters_whole() -> None:
    assert sorted(np.bincount(fold_numbers(N, None, 0))) == [9, 9, 9, 10, 10]
    assert np.array_equal(fold_numbers(N, None, 5), fold_numbers(N, None, 5))
    assert not np.array_equal(fold_numbers(N, None, 5), fold_numbers(N, None, 6))
    codes = np.arange(N) // 4
    folds = fold_numbers(N, codes, 0)
    assert all(len({*folds[codes == c]}) == 1 for c in codes)
    assert np.bincount(fold_numbers(3, None, 0)).tolist() == [1, 1, 1]
    assert fold_numbers(1, None, 0) is None
    assert fold_numbers(4, np.zeros(4, int), 0) is None


def test_a_fold_that_is_predicted_from_one_class_is_constant() -> None:
    columns = np.random.default_rng(0).normal(size=(N, 4))
    folds = fold_numbers(N, None, 0)
    truth = (folds == 2)[:, None]
    found = cross_fitted(columns, truth.astype(float), folds, 1.0)
    assert np.all(found[folds == 2] == 0)
    assert len({*ranked_within(found, folds)[folds == 2, 0]}) == 1


def test_equal_columns_are_ties() -> None:
    columns = np.random.default_rng(0).normal(size=(N, 30))
    columns[1::2] = columns[0:-1:2]
    folds = np.arange(N) // 2 % 5
    scores = ranked_within(cross_fitted(columns, labels().astype(float), folds, 1.0), folds)
    np.testing.assert_array_equal(scores[1::2], scores[0:-1:2])


@pytest.mark.parametrize("shared", [False, True])
def test_weighted_fits_are_those_of_a_loop_over_ridge(shared: bool) -> None:
    rng = np.random.default_rng(5)
    columns = rng.normal(size=(N, 6))
    columns -= columns.mean(axis=0)
    folds = fold_numbers(N, None, seed=3)
    assert folds is not None
    weights = rng.integers(0, 4, (7, N)).astype(float)
    targets = rng.normal(size=(1 if shared else 7, N, 2))
    found = cross_fitted_each(columns, targets, folds, 3.0, weights)
    for d, w in enumerate(weights):
        for fold in range(5):
            test = folds == fold
            model = Ridge(3.0, solver="svd")
            model.fit(columns[~test], targets[0 if shared else d][~test], sample_weight=w[~test])
            np.testing.assert_allclose(found[d, test], model.predict(columns[test]), atol=1e-10)
    alone = cross_fitted_each(columns, targets, folds, 3.0, weights * (folds == 2))
    assert not alone[:, folds == 2].any()  # nothing to fit to
    assert alone[:, folds != 2].all()
