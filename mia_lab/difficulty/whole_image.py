"""Difficulty scores of one number an image, without layers or penalties: rivals of the probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from mia_lab.types import DifficultyTable, Floats, PairBatch


@runtime_checkable
class WholeImageDifficulty(Protocol):
    """A score of whole images, which looks at nothing but the pair."""

    def score_images(self, batch: PairBatch) -> Floats:
        """One number an image, higher = harder: float64 (N,), finite."""
        ...


class NoDifficulty:
    """All images are equally hard, so that the membership error is the reconstruction error."""

    version: ClassVar[int] = 1

    def score_images(self, batch: PairBatch) -> Floats:
        return np.zeros(len(batch))


def table(ids: Sequence[str], score: ArrayLike) -> DifficultyTable:
    """One score an image as a table of one setting and one repeat."""
    n = len(ids)
    none = np.array([""])
    return DifficultyTable(
        id=np.array(ids),
        backbone=none,
        features_from=none,
        layers=none,
        ridge=none,
        score=np.asarray(score, dtype=np.float64).reshape(n, 1, 1),
        penalty=np.full((n, 1, 1), np.nan),
        rank=np.full((n, 1, 1), -1, dtype=np.int64),
        map=np.empty((n, 0, 0), dtype=np.float32),
    )
