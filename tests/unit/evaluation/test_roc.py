from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from mia_lab.evaluation import auc, roc_curve, tpr_at_fpr


def draw(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    is_member = rng.random(90) < 0.4
    scores = rng.normal(size=90) + is_member
    return (scores.round(0) if ties else scores), is_member


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_curve_equals_shares_above_every_score(seed, ties):
    scores, is_member = draw(seed, ties)
    roc = roc_curve(scores, is_member)
    thresholds = [np.inf, *sorted(set(scores.tolist()), reverse=True)]
    np.testing.assert_array_equal(roc.threshold, thresholds)
    np.testing.assert_array_equal(roc.fpr, [(scores[~is_member] >= t).mean() for t in thresholds])
    np.testing.assert_array_equal(roc.tpr, [(scores[is_member] >= t).mean() for t in thresholds])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_area_equals_scikit_learn(seed, ties):
    scores, is_member = draw(seed, ties)
    assert auc(scores, is_member) == pytest.approx(
        metrics.roc_auc_score(is_member, scores), abs=1e-14
    )


@pytest.mark.parametrize("ties", [False, True])
def test_area_is_the_share_of_ordered_pairs(ties):
    scores, is_member = draw(7, ties)
    pairs = scores[is_member][:, None] - scores[~is_member][None]
    assert auc(scores, is_member) == pytest.approx(((np.sign(pairs) + 1) / 2).mean(), abs=1e-14)


def test_area_is_exact_at_the_ends():
    is_member = np.array([True] * 3 + [False] * 7)
    assert auc(is_member + 0.0, is_member) == 1
    assert auc(-(is_member + 0.0), is_member) == 0
    assert auc(np.zeros(10), is_member) == 0.5


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("fpr", [0.01, 0.03, 0.1, 0.5, 1.0])
def test_tpr_at_fpr_equals_brute_force(fpr, ties):
    rng = np.random.default_rng(3)
    is_member = np.arange(300) < 200
    scores = rng.normal(size=300) + is_member
    scores = scores.round(1) if ties else scores
    points = [
        ((scores[is_member] >= t).mean(), -(scores[~is_member] >= t).mean())
        for t in [np.inf, *scores]
        if (scores[~is_member] >= t).mean() <= fpr
    ]
    tpr, realised = max(points)  # of equal true positive rates, that with the fewest mistakes
    assert tpr_at_fpr(roc_curve(scores, is_member), fpr, 100) == (tpr, -realised)


@pytest.mark.parametrize(
    ("n", "fpr", "resolvable"),
    [(99, 0.01, False), (100, 0.01, True), (9, 0.1, False), (10, 0.1, True)],
)
def test_tpr_needs_enough_nonmembers(n, fpr, resolvable):
    is_member = np.arange(n + 5) >= n
    value = tpr_at_fpr(roc_curve(is_member + 0.0, is_member), fpr, n)
    assert value == ((1.0, 0.0) if resolvable else None)


@pytest.mark.parametrize(
    ("scores", "is_member", "message"),
    [
        ([0.1, np.nan], [True, False], "1 of 2 scores are not finite"),
        ([0.1, np.inf], [True, False], "not finite"),
        ([0.1, 0.2], [True, True], "2 members and 0 non-members"),
        ([0.1, 0.2], [False, False], "0 members and 2 non-members"),
        ([], [], "0 members and 0 non-members"),
        ([0.1, 0.2], [True], "equal length"),
        ([0.1, 0.2], [1, 0], "boolean"),
    ],
)
def test_bad_input_is_refused(scores, is_member, message):
    truth = np.array(is_member) if len(is_member) else np.zeros(0, dtype=bool)
    with pytest.raises(ValueError, match=message):
        roc_curve(np.array(scores), truth)
