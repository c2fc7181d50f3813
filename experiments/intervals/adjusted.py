"""How often the intervals of adjusted AUCs hold the truth, and how often matched images alarm.

Images have five normal factors. The columns of two blind baselines and the difficulty are noisy
mixtures of the factors. Members are drawn with a probability whose logit is the `slope` times what
`confounder` names. The score is the sum of the confounder, another factor, a normal error, and a
shift of members, if the victim leaks. Seeds follow from the other columns.

Among images of one propensity the confounder is one number if it is a factor. So the scores of
members and non-members are normal there, with means that differ by the shift and with the variance
of the other factor and the error: that gives the true AUC in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
from scipy.special import expit, ndtr

import shared
from mia_lab.evaluation import auc_interval
from mia_lab.evaluation.adjusted import adjust
from mia_lab.progress import progress
from mia_lab.types import ScoreTable

SIMULATIONS = 500
N = 100
"""Members, and as many non-members."""

FACTORS = 5
OTHER = 0.5
"""Slope of the score in a factor that has nothing to do with membership."""

SLOPE = 0.7
"""Slope of the score in the confounder."""

CELLS = {
    "a: nothing leaks": ("factor", 1.4, 0.0, 1),
    "a: nothing leaks, strong confounding": ("factor", 2.2, 0.0, 1),
    "a: nothing leaks, clusters of 2": ("factor", 1.4, 0.0, 2),
    "b: the victim leaks": ("factor", 1.4, 1.0, 1),
    "c: confounder unseen": ("unseen", 1.4, 0.0, 1),
    "c: interaction of two factors": ("interaction", 1.4, 0.0, 1),
    "no confounding": ("factor", 0.0, 0.0, 1),
}
"""Confounder, its slope in the logit of membership, shift of members, images of a cluster."""

Row = dict[str, Any]


def measurements() -> Iterator[shared.Measurement]:
    """A measurement a cell."""
    for cell, (confounder, slope, shift, size) in CELLS.items():
        what = {"cell": cell, "n": N, "confounder": confounder, "slope": slope, "shift": shift}
        what |= {"cluster": size, "simulations": SIMULATIONS}
        yield what, partial(simulated, confounder, slope, shift, size, N, SIMULATIONS)


def simulated(
    confounder: str, slope: float, shift: float, size: int, n: int, simulations: int
) -> Iterator[Row]:
    """Audits of n members and n non-members in clusters of ``size``, adjusted one by one.

    Yields:
        One row for each way to compute the AUC.
    """
    rng = np.random.default_rng([crc32(confounder.encode()), *(round(10 * v) for v in (slope, shift, size))])
    true = float(ndtr(shift / np.sqrt(2 * (1 + OTHER**2))))
    found: dict[str, list[tuple[float, float, float]]] = {}
    alarms, sizes, pairs, blind = [], [], [], []
    for number in progress(range(simulations), confounder, "simulations", is_brief=True):
        features, difficulty, truth, score, groups = audit(rng, confounder, slope, shift, size, n)
        ids = np.arange(2 * n).astype(str)
        table = ScoreTable("attack", "victim", ids, score)
        result = adjust(
            [table], features, difficulty, truth, seed=number, groups=groups if size > 1 else None
        )
        sizes.append(result.effective_size)
        pairs.append(result.pairs)
        if result.blind is None:
            continue
        alarms.append(result.blind.differs)
        blind.append(result.blind.max)
        area, interval = shared_auc(score, truth), auc_interval(score, truth, groups=groups if size > 1 else None)
        ...
