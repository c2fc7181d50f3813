"""Attacks that never see the victim: what the choice of members and non-members gives away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.evaluate import evaluate
from mia_lab.results import Evaluation
from mia_lab.types import Floats


def difficulty_alone(difficulty: Floats, is_member: NDArray[np.bool_]) -> Evaluation:
    """The difficulty score used as if it were an attack.

    The membership error is the reconstruction error minus alpha times the difficulty, so that
    attack's score grows with the difficulty. The baseline keeps this sign: its AUC is what the
    subtraction alone contributes, before any query. Members and non-members of a fair split are
    equally difficult, AUC 0.5. Far above it, the attack owes part of its success to the images;
    far below it, the subtraction works against the attack. Either side is a confound.

    Args:
        difficulty: (N,) difficulty of each candidate, finite.
        is_member: bool (N,).

    Raises:
        ValueError: see :func:`mia_lab.evaluation.evaluate.evaluate`.
    """
    return evaluate("difficulty", difficulty, is_member)
