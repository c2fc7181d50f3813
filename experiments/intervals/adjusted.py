"""How often the intervals of adjusted AUCs hold the truth, and how often matched images alarm.

Images have five normal factors. The columns of two blind baselines and the difficulty are noisy
mixtures of the factors. Members are drawn with a probability whose logit is `slope` times the
confounder: a factor, the product of two factors, or a number that no column shows. The score is the
sum of the confounder, another factor, a normal error and, for members, `shift`. Clusters share
factors and half of the error. Seeds follow from the other columns.

The true AUC is in closed form. Images of one propensity have one value of the confounder, so their
scores are normal with means that differ by the shift, and with the variance of the other factor and
of the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
from scipy.special import expit, ndtr

import shared
from intervals.coverage import row
from mia_lab.evaluation import auc, auc_interval
from mia_lab.evaluation.adjusted import adjust
from mia_lab.progress import progress
from mia_lab.types import ScoreTable

SIMULATIONS = 500
N = 100
"""Members, and as many non-members."""

FACTORS, COLUMNS = 5, {"features": 20, "statistics": 10}
LOADINGS = np.random.default_rng(1).normal(size=(FACTORS, sum(COLUMNS.values()) + 1))
"""Of the columns and, last, of the difficulty; each has a normal error of variance 1 as well."""

SLOPE, OTHER = 0.7, 0.5
"""Slopes of the score in the confounder, and in a factor that does not depend on membership."""

CELLS = {
    "no confounding": ("factor", 0.0, 0.0, 1),
    "a: nothing leaks": ("factor", 1.4, 0.0, 1),
    "a: strong confounding": ("factor", 2.2, 0.0, 1),
    "a: clusters of 2": ("factor", 1.4, 0.0, 2),
    "b: the victim leaks": ("factor", 1.4, 1.0, 1),
    "c: unseen confounder": ("unseen", 1.4, 0.0, 1),
    "c: interaction": ("interaction", 1.4, 0.0, 1),
}
"""The confounder, its slope in the logit of membership, the shift, and images of a cluster."""

Row = dict[str, Any]
Audit = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def measurements() -> Iterator[shared.Measurement]:
    """A measurement a cell."""
    for name, cell in CELLS.items():
        said = dict(zip(("confounder", "slope", "shift", "cluster"), cell, strict=True))
        yield (
            {"cell": name, **said, "n": N, "simulations": SIMULATIONS},
            partial(simulated, *cell, N, SIMULATIONS),
        )


def simulated(
    confounder: str, slope: float, shift: float, cluster: int, n: int, simulations: int
) -> Iterator[Row]:
    """Coverage of each interval; alarms and counts, which the intervals share, on every row."""
    true = float(ndtr(shift / np.sqrt(2 * (1 + OTHER**2))))
    limits: dict[str, list[tuple[float, float]]] = {}
    areas: dict[str, list[float]] = {}
    alarms, pairs, sizes = [], [], []
    seed = crc32(f"{confounder} {slope} {shift} {cluster} {n}".encode())
    for number in progress(range(simulations), confounder, "simulations", is_brief=True):
        rng = np.random.default_rng([seed, number])
        features, difficulty, truth, score, codes = audit(rng, confounder, slope, shift, cluster, n)
        groups = codes.astype(str)
        table = ScoreTable("attack", "victim", np.arange(2 * n).astype(str), score)
        found = adjust([table], features, difficulty, truth, seed=number, groups=groups)
        pairs.append(found.pairs)
        sizes.append(found.effective_size)
        if found.blind is None:
            continue
        alarms.append(found.blind.differs)
        of = found.attacks["attack"]
        low, high = auc_interval(score, truth, groups=groups)
        limits.setdefault("unadjusted", []).append((low, high))
        areas.setdefault("unadjusted", []).append(auc(score, truth))
        for name, estimate in (("adjusted", of.adjusted), ("matched", of.matched)):
            limits.setdefault(name, []).append(estimate.ci95)
            areas.setdefault(name, []).append(estimate.value)
    for name, intervals in limits.items():
        yield {
            **row(name, true, np.array(intervals)),
            "mean": np.mean(areas[name]).round(4),
            "sd": np.std(areas[name], ddof=1).round(4),
            "alarms": round(float(np.mean(alarms)), 4),
            "adjustable": len(alarms) / simulations,
            "pairs": np.mean(pairs).round(1),
            "effective_size": np.mean(sizes).round(1),
        }


def audit(
    rng: np.random.Generator, confounder: str, slope: float, shift: float, cluster: int, n: int
) -> Audit:
    """Columns of the baselines, difficulty, membership, scores and clusters of n + n images."""
    units, wanted = 5 * n // cluster, n // cluster
    factors, unseen = rng.normal(size=(units, FACTORS)), rng.normal(size=units)
    cause = {
        "factor": factors[:, 0],
        "interaction": factors[:, 0] * factors[:, 1],
        "unseen": unseen,
    }[confounder]
    is_member = rng.random(units) < expit(slope * cause)
    drawn = [np.flatnonzero(side)[:wanted] for side in (is_member, ~is_member)]
    chosen = np.concatenate(drawn).repeat(cluster)
    truth, factors, cause = is_member[chosen], factors[chosen], cause[chosen]
    columns = factors @ LOADINGS + rng.normal(size=(2 * n, LOADINGS.shape[1]))
    error = rng.normal(size=2 * n)
    if cluster > 1:
        error = (error + rng.normal(size=2 * wanted).repeat(cluster)) / np.sqrt(2)
    score = SLOPE * cause + OTHER * factors[:, 2] + error + shift * truth
    parts = np.split(columns, np.cumsum([*COLUMNS.values()]), axis=1)
    features = dict(zip(COLUMNS, parts, strict=False))
    return features, columns[:, -1], truth, score, np.arange(2 * n) // cluster
