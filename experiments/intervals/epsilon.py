"""How often lower bounds of epsilon exceed the truth, for mechanisms whose privacy is known.

Each image is a member by its own fair coin. The Gaussian mechanism adds mu to a normal score of
members. Randomised response tells each coin with the probability q: no (epsilon, delta)-private
mechanism with its epsilon is guessed better. The leak does so in a share of its runs only, and
tells nothing in the others; its mu is that of the Gaussian mechanism with as many true and false
positives, and its guesses come close to what Gaussian differential privacy allows. Seeds follow
from the other columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import binomtest

import shared
from mia_lab.evaluation.epsilon import Guesses, gaussian_epsilon, one_run_bounds
from mia_lab.progress import progress

DRAWS = 1000
DELTA = 1e-5


@dataclass(frozen=True)
class Mechanism:
    """What tells coins.

    Attributes:
        name: of it.
        mu: of the weakest Gaussian differential privacy that it has.
        right: probability that it tells a coin, where it tells any; 0 for the Gaussian one.
        leaks: share of runs in which it tells coins.
    """

    name: str
    mu: float
    right: float = 0.0
    leaks: float = 1.0

    def scores(self, is_member: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Of one run: higher is more likely a member; no ties."""
        noise = rng.normal(size=len(is_member))
        if not self.right:
            return noise + self.mu * is_member
        if rng.random() >= self.leaks:
            return noise
        told = is_member == (rng.random(len(is_member)) < self.right)
        return told + rng.random(len(is_member)) / 2

    @property
    def true(self) -> dict[str, float]:
        """Epsilon at :data:`DELTA`, as each bound means it."""
        gaussian = gaussian_epsilon(self.mu, DELTA)
        if not self.right:
            return {"approximate_dp": gaussian, "gaussian_dp": gaussian}
        exact = math.log((self.right - DELTA / self.leaks) / (1 - self.right))
        return {"approximate_dp": exact, "gaussian_dp": gaussian}


def leak(name: str, right: float, leaks: float) -> Mechanism:
    """Tells coins in a share of its runs."""
    mu = float(ndtri(leaks * right) - ndtri(leaks * (1 - right)))
    return Mechanism(name, mu, right, leaks)


MECHANISMS = (
    *(Mechanism(f"Gaussian, mu {mu:g}", mu) for mu in (0.5, 1.0, 2.0)),
    leak("randomised response, q 0.75", 0.75, 1.0),
    leak("leak in 4 % of runs, q 0.75", 0.75, 0.04),
)


def measurements() -> Iterator[shared.Measurement]:
    """A cell for each mechanism, number of images and way to choose the number of guesses."""
    for mechanism in MECHANISMS:
        for n in (200, 1000):
            ways: tuple[Guesses, ...] = (n // 2, "split", "bonferroni")
            for guesses in ways:
                what = {"mechanism": mechanism.name, "n": n, "guesses": guesses}
                yield what | {"draws": DRAWS}, partial(claims, mechanism, n, guesses)


def claims(mechanism: Mechanism, n: int, guesses: Guesses) -> Iterator[dict[str, Any]]:
    """Claims of many runs against the truth, a row a bound."""
    rng = np.random.default_rng([*mechanism.name.encode(), n, *str(guesses).encode()])
    found: dict[str, list[float]] = {name: [] for name in mechanism.true}
    for draw in progress(range(DRAWS), f"{mechanism.name}, {n}", "draws", is_brief=True):
        is_member = rng.random(n) < 0.5
        scores = mechanism.scores(is_member, rng)
        bounds = one_run_bounds(scores, is_member, guesses, DELTA, seed=draw)
        for name, bound in bounds.by_hypothesis.items():
            assert bound.value is not None
            found[name].append(bound.value)
    for name, values in found.items():
        above = sum(value > mechanism.true[name] for value in values)
        yield {
            "bound": name,
            "true": round(mechanism.true[name], 4),
            "mean": round(float(np.mean(values)), 4),
            "above": above,
            "p_value": float(f"{binomtest(above, DRAWS, 0.05, 'greater').pvalue:.3g}"),
        }
