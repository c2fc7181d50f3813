"""When two runs may be tested against each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from audits import make_audit
from mia_lab.evaluation import compare_attacks
from mia_lab.evaluation.finished import FinishedRun
from mia_lab.evaluation.metrics_file import audit_metrics
from mia_lab.evaluation.multiple import holm
from mia_lab.tasks.compare import paired_tests, split_difference
from mia_lab.types import ScoreTable, Split

N = 60
IDS = np.array([f"i{k}" for k in range(N)])
IS_MEMBER = np.arange(N) % 2 == 0
ATTACKS = ("reconstruction", "membership")
METRICS = audit_metrics(make_audit())


def split(**changes: object) -> Split:
    plain = Split(
        id=np.append(IDS, "spare"),
        role=np.append(np.where(IS_MEMBER, "member", "nonmember"), "auxiliary"),
        group=np.full(N + 1, ""),
        model=np.full(N + 1, "victim"),
        content=np.array([f"hash {i}" for i in range(N + 1)]),
    )
    return dataclasses.replace(plain, **changes)


def run(
    label: str, seed: int, attacks: tuple[str, ...] = ATTACKS, **changes: object
) -> FinishedRun:
    rng = np.random.default_rng(seed)
    tables = tuple(
        ScoreTable(a, "victim", IDS, 0.5 * IS_MEMBER + rng.normal(size=N)) for a in attacks
    )
    return FinishedRun(label, f"runs/{label}", METRICS, split(**changes), tables)


def test_every_pair_is_tested_and_adjusted_for_all_tests() -> None:
    runs = [run("a", 0), run("b", 1), run("c", 2, ("membership",))]
    found = paired_tests(runs)
    assert [(p.first, p.second, p.attack) for p in found] == [
        ("a", "b", "reconstruction"),
        ("a", "b", "membership"),
        ("a", "c", "membership"),
        ("b", "c", "membership"),
    ]
    expected = compare_attacks(runs[0].scores[1], runs[2].scores[0], IS_MEMBER)
    assert found[2].found == expected
    adjusted = holm([p.found.p_value for p in found if p.found])
    np.testing.assert_allclose([p.holm_p_value for p in found], adjusted)
    assert not any(p.reason for p in found)


def test_groups_are_no_independent_evidence() -> None:
    group = np.array([f"city {k % 5}" for k in range(N + 1)])
    runs = [run("a", 0, ("x",)), run("b", 1, ("x",), group=group)]
    (found,) = paired_tests(runs)
    tables = [r.scores[0] for r in runs]
    assert found.found == compare_attacks(*tables, IS_MEMBER, group[:N])
    assert found.found != compare_attacks(*tables, IS_MEMBER)


def test_equal_scores_and_other_attacks_are_no_test() -> None:
    same = paired_tests([run("a", 0), run("b", 0)])
    assert {p.reason for p in same} == {"both runs rank all images in the same order"}
    assert {p.holm_p_value for p in same} == {None}
    (other,) = paired_tests([run("a", 0, ("x",)), run("b", 0, ("y",))])
    assert other.reason == "no attack in common"


def changed(column: str, value: str, count: int) -> Split:
    values = getattr(split(), column).astype("<U12")
    values[:count] = value
    return split(**{column: values})


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (split(), ""),
        (changed("content", "another", 12), "content hashes differ for 12 of 60 candidates"),
        (changed("role", "nonmember", 4), "roles differ for 2 of 60 candidates"),
        (changed("id", "x", 1), "59 of 61 candidates are in both splits"),
        (changed("role", "auxiliary", 6), "54 of 60 candidates are in both splits"),
        (changed("group", "city", 9), ""),  # one run knows no groups
    ],
)
def test_why_splits_differ(other: Split, reason: str) -> None:
    found = split_difference(split(), other)
    assert found.endswith(reason)
    assert bool(found) == bool(reason)
    assert bool(split_difference(other, split())) == bool(reason)


def rows(order: slice) -> Split:
    return Split(*(getattr(split(), f.name)[order] for f in dataclasses.fields(Split)))


def test_auxiliaries_and_order_do_not_matter() -> None:
    assert split_difference(split(), rows(slice(None, None, -1))) == ""
    assert split_difference(split(), rows(slice(N))) == ""
    assert split_difference(split(), rows(slice(1, None))).startswith("59 of 60")


def test_groups_must_agree_where_both_have_them() -> None:
    one, two = changed("group", "city", 60), changed("group", "town", 60)
    assert split_difference(one, two) == "groups differ for 60 of 60 candidates"
