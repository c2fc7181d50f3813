"""Answers reduced and enlarged again."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mia_lab.defenses import Deterministic, check_range


class Resizing(Deterministic):
    """Reduced, and enlarged again.

    Args:
        factor: side of the small picture, as a share of the whole, in (0, 1].
    """

    def __init__(self, factor: float) -> None:
        check_range("factor", factor, 0.01, 1.0)
        self.factor = factor

    def expected(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        small = (max(1, round(height * self.factor)), max(1, round(width * self.factor)))
        reduced = F.interpolate(pictures, small, mode="bilinear", antialias=True)
        return F.interpolate(reduced, (height, width), mode="bilinear").clamp(0, 1)
