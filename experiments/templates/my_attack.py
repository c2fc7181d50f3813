"""Template of an attack. Copy it, rename it, fill it in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia_lab.attacks.evidence import Evidence
from mia_lab.types import ScoreTable


def ratio(evidence: Evidence, ids: Sequence[str], model: str, *, floor: float) -> ScoreTable:
    """Reconstruction error divided, not reduced, by the difficulty.

    An attack is given tables, never roles: it cannot peek at who is a member. Keyword arguments
    are keys of ``conf/attack/my_attack.yaml``.

    Args:
        evidence: the victim's answers and the difficulty scores, joined by id.
        ids: the images to score, in the order of the result.
        model: the model under attack.
        floor: least difficulty to divide by.

    Returns:
        One finite score an image; higher means more likely a member.
    """
    error = evidence.reconstructions.mean_error(ids, model)
    difficulty = evidence.difficulty.column(ids)
    return ScoreTable("ratio", model, np.array(ids), -error / np.maximum(difficulty, floor))
