"""Membership attacks: evidence in, one score an image out; higher means more likely a member.

An attack is a function ``(evidence, ids, model) -> ScoreTable``. It is given no roles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mia_lab.attacks.evidence import Evidence
from mia_lab.errors import UserError
from mia_lab.types import VICTIM, ScoreTable


class Attack(Protocol):
    """The signature of every attack."""

    def __call__(self, evidence: Evidence, ids: Sequence[str], model: str) -> ScoreTable:
        """Score the images with the given ids as members of one model.

        Raises:
            KeyError: the evidence has no row for an id.
        """
        ...


def run_attack(name: str, attack: Attack, evidence: Evidence, ids: Sequence[str]) -> ScoreTable:
    """Scores of one attack on the victim under its configured name, in the order of the ids.

    Raises:
        UserError: it did not score each image once, or a score is not finite.
    """
    table = attack(evidence, ids, VICTIM)
    if sorted(table.id.tolist()) != sorted(ids):
        raise UserError(f"attack.available.{name}: must score each candidate once, and no other")
    score = table.column(ids)
    if not np.isfinite(score).all():
        broken = ids[int(np.flatnonzero(~np.isfinite(score))[0])]
        raise UserError(f"attack.available.{name}: its score of {broken} is not finite")
    return ScoreTable(name, VICTIM, np.array(ids), score)
