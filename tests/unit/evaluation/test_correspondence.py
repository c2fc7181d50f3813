"""Answers that belong to their targets, and those that do not."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from mia_lab.evaluation.correspondence import correspondence

Pictures = NDArray[np.float64]


def pictures(n: int, seed: int = 0) -> Pictures:
    return np.random.default_rng(seed).random((n, 2, 24, 40))


def share(answers: Pictures, targets: Pictures, order: tuple[int, ...]) -> float:
    """A direct count, with targets assigned in some order."""
    found = []
    for i, own in enumerate(order):
        errors = [float(np.abs(answers[i] - target).mean()) for target in targets]
        others = [error for j, error in enumerate(errors) if j != own]
        found.append(np.mean([(e > errors[own]) + 0.5 * (e == errors[own]) for e in others]))
    return float(np.mean(found))


def test_a_direct_count_and_all_assignments() -> None:
    targets = np.kron(pictures(6), np.ones((1, 1, 1, 1)))[:, :, :, :32]
    answers = 0.15 * targets + 0.85 * pictures(6, 1)[:, :, :, :32]
    found = correspondence(answers, targets, np.random.default_rng(0))
    assert found.share == pytest.approx(share(answers, targets, tuple(range(6))), abs=1e-12)
    every = [share(answers, targets, order) for order in permutations(range(6))]
    exact = np.mean(np.array(every) >= found.share - 1e-12)
    assert found.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact / 999) + 1e-3)


def test_equal_pictures_are_ties() -> None:
    same = np.full((8, 1, 16, 16), 0.5)
    found = correspondence(same, same, np.random.default_rng(0))
    assert (found.share, found.p_value) == (0.5, 1.0)
    assert not found.holds


def test_its_level_is_kept() -> None:
    p_values = [
        correspondence(
            pictures(12, seed), pictures(12, 1000 + seed), np.random.default_rng(seed)
        ).p_value
        for seed in range(100)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.12


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        (lambda y: y, True),
        (lambda y: 0.5 * y + 0.25, True),  # pale, but of the same mean
        (lambda y: y.mean(axis=(1, 2, 3), keepdims=True) + 0 * y, False),
        (lambda y: y[::-1], False),
        (lambda y: 1 - y, False),
    ],
)
def test_what_counts_as_belonging(answer: object, holds: bool) -> None:
    targets = pictures(40)
    answers = answer(targets)  # type: ignore[operator]
    assert correspondence(answers, targets, np.random.default_rng(0)).holds is holds
