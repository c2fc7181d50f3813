"""Lower bounds on the epsilon of a training, from guesses on the membership of one run.

Two hypotheses are tested on the same guesses: that the training is (epsilon, delta)-private
(Steinke et al. 2023), and that it is Gaussian differentially private (Mahloujifar et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import binom

from mia_lab.evaluation.results import EpsilonBound, EpsilonBounds
from mia_lab.evaluation.roc import split_classes
from mia_lab.seeding import generator
from mia_lab.types import Floats

Guesses = int | Literal["split", "bonferroni"]
"""The number of guesses, or how it is chosen."""

FEWEST = 8
"""Smallest number of guesses that is tried: fewer can hardly reject anything, 0.5^8 is 0.004."""

FEWEST_CANDIDATES = {"split": 2 * FEWEST, "bonferroni": FEWEST}
"""Smallest number of candidates, by how the number of guesses is chosen."""

_LARGEST = 40.0
"""Upper end of the search for a bound; no number of guesses reaches e^40."""


def p_value(correct: int, guesses: int, candidates: int, epsilon: float, delta: float) -> float:
    """Bound on the probability of this many correct guesses under (epsilon, delta)-DP.

    Steinke, Nasr & Jagielski, "Privacy Auditing with One (1) Training Run", NeurIPS 2023,
    arXiv:2305.08846, Theorem 5.2: with W correct of r guesses about m coins,
    P(W >= v) <= P(S >= v) + 2 m delta max_i P(v - i <= S < v) / i, where S is binomial with r
    trials of probability e^epsilon / (1 + e^epsilon).

    Args:
        correct: v, number of correct guesses.
        guesses: r, number of guesses.
        candidates: m, number of candidates, each a member by its own fair coin.
        epsilon, delta: parameters of the privacy claim.
    """
    q = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(correct - 1, guesses, q))
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    steps = np.arange(1, correct + 1)
    below = np.cumsum(binom.pmf(correct - steps, guesses, q))
    return min(1.0, tail + 2 * candidates * delta * float((below / steps).max()))


@lru_cache(maxsize=4096)  # simulations ask for the same few counts again and again
def approximate_dp_bound(
    correct: int, guesses: int, candidates: int, delta: float, level: float
) -> float:
    """The largest epsilon for which (epsilon, delta)-DP is rejected; see :func:`p_value`.

    Args:
        correct, guesses, candidates: as in :func:`p_value`.
        delta: in [0, 1).
        level: confidence level.
    """

    def excess(epsilon: float) -> float:
        return p_value(correct, guesses, candidates, epsilon, delta) - (1 - level)

    if excess(0.0) >= 0:
        return 0.0
    if excess(_LARGEST) < 0:
        return _LARGEST
    return float(brentq(excess, 0.0, _LARGEST, xtol=1e-10))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon for which every mu-GDP training is (epsilon, delta)-private.

    Dong, Roth & Su, "Gaussian Differential Privacy", 2022, arXiv:1905.02383, Corollary 2.13:
    delta = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2).

    Args:
        mu: at least 0; a Gaussian mechanism has sensitivity / noise.
        delta: in (0, 1).
    """
    if mu <= _smallest_mu(delta):
        return 0.0

    def excess(epsilon: float) -> float:
        first = log_ndtr(-epsilon / mu + mu / 2)
        second = epsilon + log_ndtr(-epsilon / mu - mu / 2)
        return float(first + np.log(-np.expm1(second - first)) - math.log(delta))

    # There the first of the two terms alone is delta.
    upper = mu * (mu / 2 - float(ndtri(delta)))
    return float(brentq(excess, 0.0, upper, xtol=1e-12))


def _smallest_mu(delta: float) -> float:
    """The mu whose epsilon is 0."""
    return 2 * float(ndtri((1 + delta) / 2))


@lru_cache(maxsize=4096)  # as above
def gaussian_dp_bound(
    correct: int, guesses: int, candidates: int, delta: float, level: float
) -> float:
    """The epsilon at ``delta`` of the largest mu for which mu-GDP is rejected.

    Mahloujifar, Melis & Chaudhuri, "Auditing f-Differential Privacy in One Run", ICML 2025,
    arXiv:2410.22235, Algorithm 3 (with abstention, k = 2), for the trade-off function of a
    Gaussian mechanism.

    Args:
        correct, guesses, candidates: as in :func:`p_value`.
        delta: in (0, 1).
        level: confidence level.
    """
    counts = (correct, guesses, candidates, level)
    low = _smallest_mu(delta)
    if _gaussian_excess(low, *counts) <= 0:
        return 0.0
    high = max(1.0, 2 * low)
    while _gaussian_excess(high, *counts) > 0:
        low, high = high, 2 * high
    return gaussian_epsilon(float(brentq(_gaussian_excess, low, high, counts, xtol=1e-10)), delta)


def _gaussian_excess(mu: float, correct: int, guesses: int, candidates: int, level: float) -> float:
    """Above 0 if mu-GDP is rejected.

    Suppose that this many guesses are correct with the probability 1 - level. Then right and wrong
    guesses have at least the probabilities that the recursion ends with, and together these must
    not exceed the share of guesses.
    """
    right = (1 - level) * correct / candidates
    wrong = (1 - level) * (guesses - correct) / candidates
    for k in range(correct - 1, -1, -1):
        raised = float(ndtr(ndtri(right) - mu))
        if raised <= wrong:  # then neither changes any more
            break
        right = min(1.0, right + k / (guesses - k) * (raised - wrong))
        wrong = raised
    return right + wrong - guesses / candidates


@dataclass(frozen=True)
class Hypothesis:
    """A kind of privacy that guesses can reject.

    Attributes:
        sentence: what is assumed of the training.
        theorem: its source.
        bound: of (correct, guesses, candidates, delta, level).
    """

    sentence: str
    theorem: str
    bound: Callable[[int, int, int, float, float], float]


APPROXIMATE_DP = Hypothesis(
    "the training is (epsilon, delta)-differentially private",
    "Steinke, Nasr and Jagielski 2023, one training run",
    approximate_dp_bound,
)
GAUSSIAN_DP = Hypothesis(
    "the training is Gaussian differentially private with the mu that belongs to epsilon and delta",
    "Mahloujifar, Melis and Chaudhuri 2024, one training run",
    gaussian_dp_bound,
)

FIXED = "fixed beforehand"
SPLIT = "chosen on a random half of the candidates, and the guesses are about the other half"
BONFERRONI = "the best of {}, with a confidence that is corrected for all of them"


def no_bounds(why: str) -> EpsilonBounds:
    """Neither bound, for the same reason."""
    return EpsilonBounds(
        *(EpsilonBound(None, h.sentence, why) for h in (APPROXIMATE_DP, GAUSSIAN_DP))
    )


def one_run_bounds(
    scores: Floats,
    is_member: NDArray[np.bool_],
    guesses: Guesses,
    delta: float,
    level: float = 0.95,
    seed: int = 0,
) -> EpsilonBounds:
    """For each hypothesis the largest epsilon that the guesses on one run reject.

    With r guesses, the highest r / 2 (rounded up) are guessed to be members and the lowest r / 2
    to be non-members; there is no guess on the other images. Ties are broken by the order of the
    images, which must not depend on the labels.

    Args:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,), each by its own fair coin.
        guesses: number of guesses, 2 to N, fixed before the scores were known. ``split``: a random
            half of the images chooses the number of :func:`numbers_of_guesses` with the highest
            bound, and the other half gives the bound. ``bonferroni``: all of these numbers, each at
            a level that is corrected for how many they are.
        delta: delta of the claim, in [0, 1).
        level: confidence level of each of the two bounds.
        seed: of the halves.

    Raises:
        ValueError: the number of guesses is out of range, the images are fewer than
            :data:`FEWEST_CANDIDATES`, or see :func:`mia_lab.evaluation.roc.split_classes`.
    """
    split_classes(scores, is_member)
    n = len(scores)
    if isinstance(guesses, int) and not 2 <= guesses <= n:
        raise ValueError(f"{guesses} guesses on {n} images: the number must be in 2 to {n}")
    if not isinstance(guesses, int) and n < FEWEST_CANDIDATES[guesses]:
        raise ValueError(f"{n} images: {guesses} needs at least {FEWEST_CANDIDATES[guesses]}")
    order = np.argsort(-np.asarray(scores), kind="stable")
    ordered = np.asarray(is_member)[order]

    def bound(hypothesis: Hypothesis) -> EpsilonBound:
        if delta == 0 and hypothesis is GAUSSIAN_DP:
            return EpsilonBound(None, hypothesis.sentence, _NO_GAUSSIAN)
        if isinstance(guesses, int):
            return best_bound(hypothesis, ordered, (guesses,), delta, level, FIXED)
        if guesses == "bonferroni":
            numbers = numbers_of_guesses(n)
            chosen = BONFERRONI.format(", ".join(map(str, numbers)))
            return best_bound(hypothesis, ordered, numbers, delta, level, chosen)
        chooses = (generator(seed, "guesses").permutation(n) < n // 2)[order]
        first, second = ordered[chooses], ordered[~chooses]
        tried = [
            best_bound(hypothesis, first, (r,), delta, level, SPLIT)
            for r in numbers_of_guesses(len(first))
        ]
        number = max(tried, key=lambda found: found.value or 0.0).guesses
        return best_bound(hypothesis, second, (number,), delta, level, SPLIT)

    return EpsilonBounds(bound(APPROXIMATE_DP), bound(GAUSSIAN_DP))


_NO_GAUSSIAN = "no valid bound: no Gaussian mechanism is private at delta 0 (evaluation.delta)"


def numbers_of_guesses(candidates: int) -> tuple[int, ...]:
    """The numbers of guesses that are tried: all, a half, a quarter, ... of them, at least 8."""
    halvings = range(max(candidates, 1).bit_length())
    return tuple(r for k in halvings if (r := candidates >> k) >= FEWEST)


def best_bound(
    hypothesis: Hypothesis,
    ordered: NDArray[np.bool_],
    numbers: tuple[int, ...],
    delta: float,
    level: float,
    chosen: str,
) -> EpsilonBound:
    """The highest of the bounds that some numbers of guesses give, which all hold together.

    Args:
        hypothesis: what is tested.
        ordered: bool (N,), membership of the images, that with the highest score first.
        numbers: of guesses, fixed before the scores were known; the level is corrected for how many
            they are (Bonferroni).
        delta: of the claim; above 0 for :data:`GAUSSIAN_DP`.
        level: confidence level.
        chosen: how the numbers were chosen, in words.
    """
    n, alpha = len(ordered), (1 - level) / len(numbers)
    found = []
    for r in numbers:
        half = r // 2
        called, cleared = ordered[: r - half], ordered[n - half :]
        correct = int(np.count_nonzero(called) + np.count_nonzero(~cleared))
        value = hypothesis.bound(correct, r, n, delta, 1 - alpha)
        found.append(
            EpsilonBound(
                value, hypothesis.sentence, hypothesis.theorem, chosen, n, r, correct, delta
            )
        )
    return max(found, key=lambda bound: bound.value or 0.0)
