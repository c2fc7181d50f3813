"""Attacks: formulas, joins by id, and blindness to roles."""

from __future__ import annotations

import numpy as np
import pytest

from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.membership import membership, membership_error
from mia_lab.attacks.reconstruction import reconstruction
from mia_lab.types import Reconstructions, Split
from tables import difficulty_table

IDS = ["a", "b", "c"]

SPLIT = Split(
    id=np.array(["a", "b", "c", "x", "a"]),
    role=np.array(["member", "nonmember", "nonmember", "auxiliary", "member"]),
    group=np.array([""] * 5),
    model=np.array(["victim"] * 4 + ["reference-0"]),
    content=np.array([""] * 5),
)


def evidence() -> Evidence:
    """The victim answered each image twice, a reference model once; rows in odd orders."""
    rows = [
        ("victim", "c", "identity", 0, 0.3),
        ("victim", "a", "identity", 0, 0.1),
        ("victim", "a", "identity", 1, 0.2),
        ("victim", "c", "identity", 1, 0.5),
        ("victim", "b", "identity", 0, 0.25),
        ("victim", "b", "hflip", 0, 0.75),
        ("reference-0", "a", "identity", 0, 0.9),
    ]
    model, ids, transform, repeat, error = zip(*rows, strict=True)
    answers = np.zeros((len(rows), 3, 2, 2), dtype=np.float32)
    reconstructions = Reconstructions(
        np.array(model),
        np.array(ids),
        np.array(transform),
        np.array(repeat),
        np.array(error),
        answers,
    )
    score = np.array([[[0.3, 0.5]], [[0.1, 0.1]], [[0.2, 0.0]]])
    difficulty = difficulty_table(["c", "a", "b"], score)
    return Evidence(SPLIT.without_candidates(), reconstructions, difficulty, lambda ids: ())


def test_attacks_are_not_told_who_is_a_member() -> None:
    known = evidence().known
    rows = list(zip(known.model, known.id, known.role, strict=True))
    assert rows == [("victim", "x", "auxiliary"), ("reference-0", "a", "member")]


def test_reconstruction_averages_repeats_of_the_plain_query() -> None:
    table = reconstruction(evidence(), IDS, "victim")
    np.testing.assert_allclose(table.score, [-0.15, -0.25, -0.4])
    assert list(table.id) == IDS
    np.testing.assert_allclose(reconstruction(evidence(), ["a"], "reference-0").score, [-0.9])


def test_all_transforms_can_be_averaged() -> None:
    answers = evidence().reconstructions
    np.testing.assert_allclose(answers.mean_error(["b"], transform=None), [0.5])
    assert answers.row("b", transform="hflip") == 5


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_membership_is_equation_3(alpha: float) -> None:
    table = membership(evidence(), IDS, "victim", alpha=alpha)
    error, difficulty = np.array([0.15, 0.25, 0.4]), np.array([0.1, 0.1, 0.4])
    np.testing.assert_allclose(-table.score, error - alpha * difficulty)
    np.testing.assert_allclose(membership_error(error, difficulty, alpha), -table.score)


def test_order_of_ids_is_the_callers() -> None:
    forward = membership(evidence(), IDS, "victim", alpha=0.5)
    backward = membership(evidence(), IDS[::-1], "victim", alpha=0.5)
    np.testing.assert_array_equal(forward.score, backward.score[::-1])


@pytest.mark.parametrize("attack", [reconstruction, lambda *a: membership(*a, alpha=0.5)])
def test_missing_rows_are_an_error(attack: object) -> None:
    with pytest.raises(KeyError, match="d"):
        attack(evidence(), ["a", "d"], "victim")  # type: ignore[operator]
