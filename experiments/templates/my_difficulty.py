"""Template of a difficulty: how colourful the target is."""

from __future__ import annotations

import numpy as np

from mia_lab.types import PairBatch


class Colourfulness:
    """Every argument is a key of ``conf/difficulty/my_difficulty.yaml``."""

    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def score_images(self, batch: PairBatch) -> np.ndarray:
        """One finite number per image, higher = harder: float64 (N,)."""
        spread = batch.y.double().std(dim=1).mean(dim=(1, 2)).numpy()
        return np.asarray(spread**self.power)
