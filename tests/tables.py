"""Tables made up for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mia_lab.types import DifficultyTable


def difficulty_table(
    ids: Sequence[str],
    score: ArrayLike,
    settings: Sequence[tuple[str, str]] = (("1,2,3,4", "1"),),
    side: int = 0,
    backbone: str = "lite0 (packaged)",
) -> DifficultyTable:
    """Scores (N, S, T) under settings given as (layers, ridge)."""
    score = np.asarray(score, dtype=np.float64)
    layers, ridge = zip(*settings, strict=True)
    return DifficultyTable(
        id=np.array(ids),
        backbone=np.array([backbone] * len(settings)),
        features_from=np.array(["input"] * len(settings)),
        layers=np.array(layers),
        ridge=np.array(ridge),
        score=score,
        penalty=np.ones_like(score),
        rank=np.full(score.shape, -1),
        map=np.full((len(ids), side, side), 0.1, dtype=np.float32),
    )
