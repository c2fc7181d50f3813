"""The plain attack: a victim reconstructs what it was trained on better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.needs import attack
from mia_lab.types import ScoreTable


@attack()
def reconstruction(evidence: Evidence, ids: Sequence[str], model: str) -> ScoreTable:
    """Score = -L_rec (Shafran et al. 2021, arXiv:2102.07762, Eq. 1).

    Raises:
        KeyError: the model was never queried with one of the ids.
    """
    error = evidence.reconstructions.mean_error(ids, model)
    return ScoreTable("reconstruction", model, np.array(ids), -error)
