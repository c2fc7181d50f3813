"""The calibrated attack: reconstruction error minus what the image's difficulty explains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.needs import attack
from mia_lab.parameters import Weight
from mia_lab.types import Floats, ScoreTable


def membership_error(
    reconstruction_error: ArrayLike, difficulty: ArrayLike, alpha: float = 1.0
) -> Floats:
    """L_mem = L_rec - alpha * L_diff (Shafran et al. 2021, arXiv:2102.07762, Eq. 3).

    Args:
        reconstruction_error: (N,) mean absolute errors of the victim, in [0, 1].
        difficulty: (N,) difficulty scores of the same images, in the same unit.
        alpha: weight of the difficulty; 0.5 in the paper, 1 in its authors' code.

    Returns:
        float64 (N,); lower means more likely a member.

    Examples:
        >>> membership_error([0.10, 0.10], [0.04, 0.12], alpha=0.5)
        array([0.08, 0.04])
    """
    error = np.asarray(reconstruction_error, dtype=np.float64)
    membership: Floats = error - alpha * np.asarray(difficulty, dtype=np.float64)
    return membership


@attack(difficulty=True)
def membership(evidence: Evidence, ids: Sequence[str], model: str, *, alpha: Weight) -> ScoreTable:
    """Score = -L_mem, see :func:`membership_error`.

    Raises:
        KeyError: the evidence has no row for one of the ids.
    """
    errors = evidence.reconstructions.mean_error(ids, model)
    score = -membership_error(errors, evidence.difficulty.column(ids), alpha)
    return ScoreTable("membership", model, np.array(ids), score)
