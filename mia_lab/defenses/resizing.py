"""Answers reduced and enlarged again."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor

from mia_lab.defenses import Deterministic


class Resizing(Deterministic):
    """Reduced, and enlarged again.

    Args:
        factor: side of the small picture, as a share of the whole.
    """

    version: ClassVar[int] = 1

    def __init__(self, factor: Annotated[float, Ge(0.01), Le(1)]) -> None:
        self.factor = factor

    def expected(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        small = (max(1, round(height * self.factor)), max(1, round(width * self.factor)))
        reduced = F.interpolate(pictures, small, mode="bilinear", antialias=True)
        return F.interpolate(reduced, (height, width), mode="bilinear").clamp(0, 1)
