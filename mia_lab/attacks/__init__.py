"""Membership attacks: evidence in, one score an image out; higher means more likely a member.

An attack is a function ``(evidence, ids, model) -> ScoreTable``. It is given no roles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mia_lab.types import Evidence, ScoreTable


class Attack(Protocol):
    """The signature of every attack."""

    def __call__(self, evidence: Evidence, ids: Sequence[str], model: str) -> ScoreTable:
        """Score the images with the given ids as members of one model.

        Raises:
            KeyError: the evidence has no row for an id.
        """
        ...
