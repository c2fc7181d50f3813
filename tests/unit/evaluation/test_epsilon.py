"""The one-run bounds against their theorems, enumerated and simulated, and against a library."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation.epsilon import (
    APPROXIMATE_DP,
    GAUSSIAN_DP,
    Guesses,
    approximate_dp_bound,
    best_bound,
    gaussian_dp_bound,
    gaussian_epsilon,
    numbers_of_guesses,
    one_run_bounds,
    p_value,
)
from mia_lab.evaluation.results import EpsilonBound

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "privacy.json").read_text())
"""Numbers of jax_privacy and dp_accounting; see privacy.py beside the file."""


def bounded(
    scores: np.ndarray, is_member: np.ndarray, guesses: Guesses, delta: float, **others: Any
) -> EpsilonBound:
    return one_run_bounds(scores, is_member, guesses, delta, **others).approximate_dp


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
    found = bounded(scores, is_member, 100, 0.0)
    low = stats.binomtest(found.correct, 100).proportion_ci(0.90, method="exact").low
    assert found.value == pytest.approx(math.log(low / (1 - low)), abs=1e-6)
    assert (found.candidates, found.guesses) == (200, 100)
    assert bounded(scores, is_member, 100, 1e-4).value < found.value


def test_both_bounds_are_those_of_an_independent_library() -> None:
    assert len(GOLDEN["bounds"]) >= 20
    assert {case["gaussian_dp"] == 0 for case in GOLDEN["bounds"]} == {True, False}
    for case in GOLDEN["bounds"]:
        counts = [case[key] for key in ("correct", "guesses", "candidates", "delta", "level")]
        for name, bound in (
            ("approximate_dp", approximate_dp_bound),
            ("gaussian_dp", gaussian_dp_bound),
        ):
            assert bound(*counts) == pytest.approx(case[name], abs=1e-4), (name, case)


def test_an_example_of_both_bounds() -> None:
    assert approximate_dp_bound(90, 100, 1000, 1e-5, 0.95) == pytest.approx(1.626, abs=5e-4)
    assert gaussian_dp_bound(90, 100, 1000, 1e-5, 0.95) == pytest.approx(2.456, abs=5e-4)


def test_epsilon_of_gaussian_mechanisms_is_that_of_an_independent_library() -> None:
    for case in GOLDEN["gaussians"]:
        found = gaussian_epsilon(case["mu"], case["delta"])
        assert found == pytest.approx(case["epsilon"], abs=1e-5), case
    assert gaussian_epsilon(0.0, 1e-5) == 0
    assert gaussian_epsilon(1e-5, 1e-5) == 0  # a total variation of 4e-6


@pytest.mark.parametrize("case", GOLDEN["samples"], ids=lambda c: f"{len(c['ordered'])} images")
def test_bounds_of_scores_are_those_of_an_independent_library(case: dict[str, Any]) -> None:
    """At one threshold, and at all thresholds with a correction for their number."""
    ordered = np.array([letter == "1" for letter in case["ordered"]])
    numbers = tuple(case["numbers"])
    for name, hypothesis in (("approximate_dp", APPROXIMATE_DP), ("gaussian_dp", GAUSSIAN_DP)):
        found = best_bound(hypothesis, ordered, numbers, 1e-5, 0.95, "")
        assert found.value == pytest.approx(case[name], abs=1e-4)
    if len(numbers) == 1:
        scores = -np.arange(len(ordered), dtype=float)
        both = one_run_bounds(scores, ordered, numbers[0], 1e-5).by_hypothesis
        assert {name: bound.value for name, bound in both.items()} == pytest.approx(
            {name: case[name] for name in both}, abs=1e-4
        )


def test_guesses_are_the_two_ends_of_the_scores() -> None:
    is_member = np.array([True, False, True, True, False, False])
    scores = np.array([5.0, 4, 3, 2, 1, 0])
    assert bounded(scores, is_member, 2, 0).correct == 2
    assert bounded(scores, is_member, 3, 0).correct == 2
    assert bounded(scores, is_member, 6, 0).correct == 4


def test_numbers_of_guesses_are_halved() -> None:
    assert numbers_of_guesses(100) == (100, 50, 25, 12)
    assert numbers_of_guesses(8) == (8,)
    assert numbers_of_guesses(7) == ()


def test_the_best_number_is_paid_for() -> None:
    """A perfect score: guesses on all images are best, at a quarter of the significance."""
    is_member = np.arange(100) < 50
    scores = is_member + 0.0
    both = one_run_bounds(scores, is_member, "bonferroni", 1e-5)
    for name, bound in both.by_hypothesis.items():
        alone = one_run_bounds(scores, is_member, 100, 1e-5, 1 - 0.05 / 4).by_hypothesis[name]
        assert (bound.value, bound.guesses, bound.correct) == (alone.value, 100, 100)
        assert bound.value < one_run_bounds(scores, is_member, 100, 1e-5).by_hypothesis[name].value
        assert "100, 50, 25, 12" in bound.chosen


def test_a_half_chooses_and_the_other_half_is_guessed() -> None:
    """Only the ends of the scores tell anything, so that few guesses are best."""
    rng = np.random.default_rng(0)
    is_member = rng.random(401) < 0.5
    scores = rng.normal(size=401)
    scores[:60] = np.where(is_member[:60], 9, -9) + rng.random(60)
    both = one_run_bounds(scores, is_member, "split", 1e-5, seed=4)
    for bound in both.by_hypothesis.values():
        assert (bound.candidates, bound.guesses) == (201, 25)
        assert bound.value > 1
        assert "half" in bound.chosen
    assert one_run_bounds(scores, is_member, "split", 1e-5, seed=4) == both
    others = [one_run_bounds(scores, is_member, "split", 1e-5, seed=s) for s in range(5)]
    assert len({bound.approximate_dp.correct for bound in others}) > 1


def test_the_half_that_chooses_does_not_count() -> None:
    """Those coins alone that were guessed change the number of right guesses."""
    rng = np.random.default_rng(1)
    is_member = rng.random(100) < 0.5
    scores = is_member + rng.normal(size=100)
    found = [one_run_bounds(scores, is_member, "split", 1e-5, seed=0).approximate_dp]
    for row in range(100):
        turned = is_member.copy()
        turned[row] = not turned[row]
        found.append(one_run_bounds(scores, turned, "split", 1e-5, seed=0).approximate_dp)
    same_number = [bound for bound in found[1:] if bound.guesses == found[0].guesses]
    assert sum(bound.correct != found[0].correct for bound in same_number) == found[0].guesses


def test_a_blind_score_gives_no_bound_more_often_than_one_in_twenty() -> None:
    """All coins of 8 images: the theorem's premise holds, and so must its confidence."""
    scores = np.arange(8.0)
    coins = [np.array(c) for c in product([False, True], repeat=8) if 0 < sum(c) < 8]
    wrong = sum(bounded(scores, c, 6, 0.0).value > 0 for c in coins)
    assert wrong / 256 <= 0.05


def share_above(
    probabilities: np.ndarray, bound: Callable[..., float], truth: float, level: float
) -> float:
    """Probability of a bound above the truth; of each number of correct guesses, of all images."""
    n = len(probabilities) - 1
    claims = [bound(correct, n, n, 1e-5, level) for correct in range(n + 1)]
    return float(probabilities[np.array(claims) > truth].sum())


def test_a_leak_in_few_runs_comes_close_to_what_gaussian_privacy_allows() -> None:
    """In a share t of the runs, coins are told with probability q; else nothing is.

    Its trade-off curve is a polygon through (t (1 - q), 1 - t q), which a Gaussian one through that
    point nowhere exceeds.
    """
    n, correct, rates = 200, np.arange(201), {0.95: [0.0], 0.85: [0.0]}
    for q, t in product((0.75, 0.9), (0.03, 0.045, 0.1)):
        mu = float(np.diff(stats.norm.ppf([t * (1 - q), t * q]))[0])
        told, nothing = stats.binom.pmf(correct, n, [[q], [0.5]])
        for level, found in rates.items():
            probabilities = t * told + (1 - t) * nothing
            found.append(
                share_above(probabilities, gaussian_dp_bound, gaussian_epsilon(mu, 1e-5), level)
            )
    assert 0.02 < max(rates[0.95]) <= 0.05
    assert 0.05 < max(rates[0.85]) <= 0.15  # so it would be seen if the level were wrong


def test_randomised_response_comes_close_to_what_epsilon_allows() -> None:
    correct, rates = np.arange(201), []
    for q in (0.6, 0.75, 0.9):
        truth = math.log((q - 1e-5) / (1 - q))
        probabilities = stats.binom.pmf(correct, 200, q)
        rates.append(share_above(probabilities, approximate_dp_bound, truth, 0.95))
    assert 0.03 < max(rates) <= 0.05


@pytest.mark.parametrize("guesses", [40, "split", "bonferroni"])
def test_claims_about_gaussian_mechanisms_are_valid(guesses: Guesses) -> None:
    """The whole table, of more mechanisms, is in experiments/intervals."""
    rng, draws, mu = np.random.default_rng(0), 1000, 0.5
    truth, above = gaussian_epsilon(mu, 1e-5), dict.fromkeys(("approximate_dp", "gaussian_dp"), 0)
    for seed in range(draws):
        is_member = rng.random(80) < 0.5
        scores = rng.normal(size=80) + mu * is_member
        both = one_run_bounds(scores, is_member, guesses, 1e-5, seed=seed).by_hypothesis
        for name, bound in both.items():
            above[name] += bound.value > truth
    for wrong in above.values():
        assert stats.binomtest(wrong, draws, 0.05, "greater").pvalue >= 0.01


def test_numbers_of_guesses_that_scores_choose_freely_are_not_valid() -> None:
    """Randomised response, where nearly every bound is tight: both ways correct what is free."""
    rng, draws, epsilon, n = np.random.default_rng(0), 1000, 1.0, 400
    above = dict.fromkeys(("split", "bonferroni", "free"), 0)
    for seed in range(draws):
        is_member = rng.random(n) < 0.5
        told = is_member == (rng.random(n) < 1 / (1 + math.exp(-epsilon)))
        scores = told + rng.random(n) / 2
        for how in ("split", "bonferroni"):
            above[how] += bounded(scores, is_member, how, 0.0, seed=seed).value > epsilon
        above["free"] += any(
            bounded(scores, is_member, number, 0.0).value > epsilon
            for number in numbers_of_guesses(n)
        )
    assert above["free"] > stats.binom.ppf(0.999, draws, 0.05)
    for how in ("split", "bonferroni"):
        assert stats.binomtest(above[how], draws, 0.05, "greater").pvalue >= 0.01


def test_guesses_about_images_that_are_not_there() -> None:
    for guesses in (1, 9):
        with pytest.raises(ValueError, match="must be in 2 to 8"):
            one_run_bounds(np.arange(8.0), np.arange(8) < 4, guesses, 0.0)
    with pytest.raises(ValueError, match="15 images: split needs at least 16"):
        one_run_bounds(np.arange(15.0), np.arange(15) < 4, "split", 0.0)
    with pytest.raises(ValueError, match="7 images: bonferroni needs at least 8"):
        one_run_bounds(np.arange(7.0), np.arange(7) < 4, "bonferroni", 0.0)


def test_a_perfect_attack_has_a_finite_bound() -> None:
    is_member = np.arange(100) < 50
    found = bounded(is_member + 0.0, is_member, 100, 0.0)
    assert found.correct == 100
    assert found.value == pytest.approx(math.log(0.05**0.01 / (1 - 0.05**0.01)), abs=1e-6)


def test_no_gaussian_mechanism_is_private_without_delta() -> None:
    is_member = np.arange(100) < 50
    found = one_run_bounds(is_member + 0.0, is_member, 100, 0.0).gaussian_dp
    assert found.value is None
    assert "delta 0" in found.why
