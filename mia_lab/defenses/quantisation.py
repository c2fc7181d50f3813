"""Answers rounded to a few levels."""

from __future__ import annotations

from torch import Tensor

from mia_lab.defenses import Deterministic, check_range


class Quantisation(Deterministic):
    """Channels rounded to a few evenly spaced levels.

    Args:
        levels: how many, from 2 (black and white) to 256.
    """

    def __init__(self, levels: int) -> None:
        check_range("levels", levels, 2, 256)
        self.levels = levels

    def expected(self, pictures: Tensor) -> Tensor:
        steps = self.levels - 1
        return (pictures * steps).round() / steps
