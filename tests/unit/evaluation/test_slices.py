"""Attacks on parts of the candidates."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mia_lab.evaluation import auc_interval
from mia_lab.evaluation.slices import GROUPS, QUARTERS, slices
from mia_lab.types import ScoreTable


def test_parts_are_measured_by_themselves() -> None:
    rng = np.random.default_rng(0)
    n = 80
    truth, difficulty = rng.random(n) < 0.5, rng.random(n)
    groups = np.array([["berlin", "rome", "oslo", ""][i % 4] for i in range(n)])
    tables = [ScoreTable(a, "victim", np.arange(n).astype(str), rng.normal(size=n)) for a in "ab"]
    found = slices(tables, difficulty, truth, groups)
    assert [(s.by, s.name) for s in found[::2]] == [
        *(("difficulty", name) for name in QUARTERS),
        *(("group", name) for name in ("berlin", "oslo", "rome")),
    ]
    assert [s.attack for s in found[:2]] == ["a", "b"]
    easiest = np.argsort(difficulty)[:20]
    assert found[0].auc.value == pytest.approx(
        roc_auc_score(truth[easiest], tables[0].score[easiest])
    )
    rome = groups == "rome"
    assert found[-1].auc.value == pytest.approx(roc_auc_score(truth[rome], tables[1].score[rome]))
    assert (found[-1].n_members, found[-1].n_nonmembers) == (
        truth[rome].sum(),
        (~truth[rome]).sum(),
    )
    for s in found[-2:]:  # within a group, its images count as independent
        rows = groups == s.name
        score = next(t.score for t in tables if t.attack == s.attack)[rows]
        assert s.auc.ci95 == auc_interval(score, truth[rows])


def test_a_part_of_one_class_has_no_area() -> None:
    truth = np.arange(8) < 4
    groups = np.where(truth, "only members", "mixed")
    groups[0] = "mixed"
    table = ScoreTable("a", "victim", np.arange(8).astype(str), np.arange(8.0))
    found = {s.name: s for s in slices([table], np.arange(8.0), truth, groups)}
    assert "only members" not in found
    assert found["easiest quarter"].auc is None
    assert found["easiest quarter"].n_members == 2
    assert found["mixed"].auc.value == 0


def test_only_the_largest_groups_are_listed() -> None:
    groups = np.array([f"{i:02d}" for i in range(40) for _ in range(1 + (i < 20))])
    n = len(groups)
    table = ScoreTable("a", "victim", np.arange(n).astype(str), np.arange(float(n)))
    found = slices([table], np.arange(float(n)), np.arange(n) % 2 == 0, groups)
    assert [s.name for s in found if s.by == "group"] == [f"{i:02d}" for i in range(GROUPS)]


def test_equal_difficulties_are_in_the_same_quarter() -> None:
    """Members come first: quarters must not tell them by their order."""
    n = 400
    truth, none = np.arange(n) < 200, np.array([""] * n)
    table = ScoreTable("a", "victim", np.arange(n).astype(str), np.arange(float(n)))
    found = slices([table], np.arange(n) % 2 + 0.0, truth, none)
    assert [(s.name, s.n_members, s.n_nonmembers) for s in found] == [
        ("second quarter", 100, 100),
        ("hardest quarter", 100, 100),
    ]


def test_a_constant_difficulty_has_no_quarters() -> None:
    table = ScoreTable("a", "victim", np.arange(8).astype(str), np.arange(8.0))
    assert slices([table], np.zeros(8), np.arange(8) < 4, np.array([""] * 8)) == ()
