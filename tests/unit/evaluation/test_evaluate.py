from __future__ import annotations

import time

import numpy as np
import pytest

from mia_lab.evaluation import auc, compare_attacks, difficulty_alone, evaluate
from mia_lab.types import ScoreTable


def table(attack: str, ids: list[str], score: np.ndarray) -> ScoreTable:
    return ScoreTable(attack, "victim", np.array(ids), np.asarray(score, dtype=float))


def test_evaluation_holds_counts_and_rates():
    is_member = np.arange(60) < 40
    e = evaluate("reconstruction", is_member + 0.0, is_member)
    assert (e.name, e.n_members, e.n_nonmembers, e.auc) == ("reconstruction", 40, 20, 1.0)
    assert e.auc_ci95[0] < 1 == e.auc_ci95[1]
    assert e.tpr_at_fpr == {"0.01": None, "0.1": 1.0}
    assert (e.roc.fpr[0], e.roc.tpr[0], e.roc.fpr[-1], e.roc.tpr[-1]) == (0, 0, 1, 1)


def test_bad_scores_are_named():
    with pytest.raises(ValueError, match=r"^membership: 1 of 4 scores are not finite"):
        evaluate("membership", np.array([0, 1, np.nan, 2]), np.array([True, False] * 2))


def test_difficulty_is_scored_with_its_own_sign():
    is_member = np.array([True, True, False, False])
    blind = difficulty_alone(np.array([0.9, 0.8, 0.1, 0.2]), is_member)
    assert (blind.name, blind.auc) == ("difficulty", 1.0)


def test_comparison_joins_by_id():
    rng = np.random.default_rng(0)
    ids = [f"i{k}" for k in range(40)]
    is_member = np.arange(40) < 20
    first, second = rng.normal(size=(2, 40)) + is_member
    order = rng.permutation(40)
    straight = compare_attacks(table("a", ids, first), table("b", ids, second), is_member)
    shuffled = compare_attacks(
        table("a", ids, first), table("b", [ids[k] for k in order], second[order]), is_member
    )
    assert straight == shuffled
    assert (straight.first, straight.second) == ("a", "b")
    assert straight.difference == auc(first, is_member) - auc(second, is_member)


def test_comparison_of_different_images_is_refused():
    is_member = np.array([True, False])
    first, second = table("a", ["x", "y"], np.arange(2)), table("b", ["x", "z"], np.arange(2))
    with pytest.raises(ValueError, match="a and b scored different images"):
        compare_attacks(first, second, is_member)


def test_many_scores_are_quick():
    rng = np.random.default_rng(0)
    is_member = np.arange(200_000) < 100_000
    start = time.monotonic()
    evaluate("many", rng.normal(size=200_000) + is_member, is_member)
    assert time.monotonic() - start < 5
