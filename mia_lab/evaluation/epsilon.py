"""Lower bounds on the epsilon of a training, from guesses on the membership of one run."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom

from mia_lab.evaluation.results import EpsilonBound
from mia_lab.evaluation.roc import split_classes
from mia_lab.types import Floats

_LARGEST = 40.0
"""Upper end of the search for a bound; no number of guesses reaches e^40."""

THEOREM = (
    "Steinke, Nasr and Jagielski 2023, one training run: each candidate was a member by its own "
    "fair coin, and the number of guesses was fixed beforehand"
)


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


def one_run_bound(
    scores: Floats,
    is_member: NDArray[np.bool_],
    guesses: int,
    delta: float,
    level: float = 0.95,
) -> EpsilonBound:
    """The largest epsilon that the guesses on one run reject.

    With r guesses, the highest r / 2 (rounded up) are guessed to be members and the lowest r / 2
    to be non-members; there is no guess on the other images. Ties are broken by the order of the
    images, which must not depend on the labels.

    Args:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,), each by its own fair coin.
        guesses: number of guesses, 2 to N, fixed before the scores were known.
        delta: delta of the claim.
        level: confidence level.

    Raises:
        ValueError: the number of guesses is out of range, or see
            :func:`mia_lab.evaluation.roc.split_classes`.
    """
    split_classes(scores, is_member)
    n = len(scores)
    if not 2 <= guesses <= n:
        raise ValueError(f"{guesses} guesses on {n} images: the number must be in 2 to {n}")
    order = np.argsort(-np.asarray(scores), kind="stable")
    half = guesses // 2
    called, cleared = order[: guesses - half], order[n - half :]
    correct = int(np.count_nonzero(is_member[called]) + np.count_nonzero(~is_member[cleared]))

    def excess(epsilon: float) -> float:
        return p_value(correct, guesses, n, epsilon, delta) - (1 - level)

    if excess(0.0) >= 0:
        value = 0.0
    elif excess(_LARGEST) < 0:
        value = _LARGEST
    else:
        value = float(brentq(excess, 0.0, _LARGEST, xtol=1e-10))
    return EpsilonBound(value, THEOREM, guesses, correct, delta)
