"""Template of an attack: copy it, rename it, and fill it in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia_lab.attacks.evidence import Evidence
from mia_lab.types import ScoreTable


def ratio(evidence: Evidence, ids: Sequence[str], model: str, *, floor: float) -> ScoreTable:
    """Reconstruction error divided by the difficulty.

    An attack receives tables without roles, so it cannot see who is a member. Its keyword arguments
    are the keys of ``conf/attack/my_attack.yaml``. The decorator `mia_lab.attacks.needs.attack`
    declares what else an attack needs.

    Args:
        evidence: the victim's answers and the difficulty scores, joined by id.
        ids: the images to score, in the order of the result.
        model: the model under attack.
        floor: smallest divisor.

    Returns:
        One finite score per image; higher means more likely a member.
    """
    error = evidence.reconstructions.mean_error(ids, model)
    difficulty = evidence.difficulty.column(ids)
    return ScoreTable("ratio", model, np.array(ids), -error / np.maximum(difficulty, floor))
