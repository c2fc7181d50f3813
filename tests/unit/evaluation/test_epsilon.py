"""The one-run bound against its theorem, enumerated and simulated."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation.epsilon import one_run_bound, p_value


def test_without_delta_the_p_value_is_the_binomial_tail() -> None:
    q = math.exp(1.0) / (1 + math.exp(1.0))
    tail = sum(math.comb(20, k) * q**k * (1 - q) ** (20 - k) for k in range(17, 21))
    assert p_value(17, 20, 100, 1.0, 0.0) == pytest.approx(tail, rel=1e-12)


def test_delta_adds_what_the_theorem_says() -> None:
    """Theorem 5.2 with the maximum written out."""
    v, r, m, epsilon, delta = 9, 12, 40, 0.7, 1e-3
    s = stats.binom(r, 1 / (1 + math.exp(-epsilon)))
    slope = max(sum(s.pmf(v - j) for j in range(1, i + 1)) / i for i in range(1, v + 1))
    expected = s.sf(v - 1) + 2 * m * delta * slope
    assert p_value(v, r, m, epsilon, delta) == pytest.approx(expected, rel=1e-12)
    assert p_value(v, r, m, epsilon, 0.5) == 1


def test_without_delta_the_bound_is_clopper_and_pearsons() -> None:
    rng = np.random.default_rng(0)
    is_member = rng.random(200) < 0.5
    scores = rng.normal(size=200) + 2 * is_member
    found = one_run_bound(scores, is_member, 100, 0.0)
    low = stats.binomtest(found.correct, 100).proportion_ci(0.90, method="exact").low
    assert found.value == pytest.approx(math.log(low / (1 - low)), abs=1e-6)
    assert found.guesses == 100
    assert one_run_bound(scores, is_member, 100, 1e-4).value < found.value


def test_guesses_are_the_two_ends_of_the_scores() -> None:
    is_member = np.array([True, False, True, True, False, False])
    scores = np.array([5.0, 4, 3, 2, 1, 0])
    assert one_run_bound(scores, is_member, 2, 0).correct == 2
    assert one_run_bound(scores, is_member, 3, 0).correct == 2
    assert one_run_bound(scores, is_member, 6, 0).correct == 4


def test_a_blind_score_gives_no_bound_more_often_than_one_in_twenty() -> None:
    """All coins of 8 images: the theorem's premise holds, and so must its confidence."""
    scores = np.arange(8.0)
    coins = [np.array(c) for c in product([False, True], repeat=8) if 0 < sum(c) < 8]
    wrong = sum(one_run_bound(scores, c, 6, 0.0).value > 0 for c in coins)
    assert wrong / 256 <= 0.05


def test_randomised_response_is_never_bounded_above_its_epsilon_too_often() -> None:
    """Scores that tell a coin with probability q are exactly log(q / (1 - q))-private."""
    rng = np.random.default_rng(0)
    epsilon, draws, wrong = 1.0, 400, 0
    for _ in range(draws):
        is_member = rng.random(100) < 0.5
        told = np.where(rng.random(100) < 1 / (1 + math.exp(-epsilon)), is_member, ~is_member)
        wrong += one_run_bound(told + 0.0, is_member, 100, 0.0).value > epsilon
    assert wrong <= stats.binom.ppf(0.999, draws, 0.05)


def test_guesses_about_images_that_are_not_there() -> None:
    for guesses in (1, 9):
        with pytest.raises(ValueError, match="must be in 2 to 8"):
            one_run_bound(np.arange(8.0), np.arange(8) < 4, guesses, 0.0)


def test_a_perfect_attack_has_a_finite_bound() -> None:
    is_member = np.arange(100) < 50
    found = one_run_bound(is_member + 0.0, is_member, 100, 0.0)
    assert found.correct == 100
    assert found.value == pytest.approx(math.log(0.05**0.01 / (1 - 0.05**0.01)), abs=1e-6)
