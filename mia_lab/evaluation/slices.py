"""Performance of attacks on parts of the candidates: quarters of the difficulty, and groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.results import Estimate, Slice
from mia_lab.evaluation.roc import auc, equal_parts
from mia_lab.evaluation.uncertainty import auc_interval
from mia_lab.types import Floats, ScoreTable, Strings

QUARTERS = ("easiest quarter", "second quarter", "third quarter", "hardest quarter")
GROUPS = 20
"""Largest number of groups that are listed; the largest groups come first."""


def slices(
    scores: Sequence[ScoreTable],
    difficulty: Floats,
    is_member: NDArray[np.bool_],
    groups: Strings,
) -> tuple[Slice, ...]:
    """AUC of each attack in each quarter of the difficulty, and in each of the largest groups.

    Args:
        scores: scores of the N candidates, all in one order.
        difficulty: (N,), in that order; quarters are over members and non-members together. Equal
            difficulties are in the same quarter; a constant difficulty has no quarters.
        is_member: bool (N,).
        groups: (N,) names; "" for an image without a group.

    Returns:
        One slice per part and attack, part by part. Groups of a single class are left out, because
        they have no AUC. Within a group, images count as independent.
    """
    found = []
    for by, name, rows in _parts(difficulty, groups):
        truth = is_member[rows]
        members = int(np.count_nonzero(truth))
        if by == "group" and members in (0, len(rows)):
            continue
        clusters = groups[rows] if by == "difficulty" else None
        for table in scores:
            estimate = None
            if 0 < members < len(rows):
                part = table.score[rows]
                interval = auc_interval(part, truth, groups=clusters)
                estimate = Estimate(auc(part, truth), interval)
            found.append(Slice(by, name, table.attack, members, len(rows) - members, estimate))
    return tuple(found)


def _parts(difficulty: Floats, groups: Strings) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    if len(difficulty) >= len(QUARTERS) and np.ptp(difficulty) > 0:
        parts = equal_parts(difficulty, len(QUARTERS))
        for name, rows in zip(QUARTERS, parts, strict=True):
            if len(rows):
                yield "difficulty", name, rows
    names, counts = np.unique(groups[groups != ""], return_counts=True)
    for name in names[np.argsort(-counts, kind="stable")[:GROUPS]]:
        yield "group", str(name), np.flatnonzero(groups == name)
