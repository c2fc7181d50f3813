"""Answers rounded to a few levels."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge, Le
from torch import Tensor

from mia_lab.defenses import Deterministic


class Quantisation(Deterministic):
    """Channels rounded to a few evenly spaced levels.

    Args:
        levels: number of levels of a channel; 2 is black and white.
    """

    version: ClassVar[int] = 1

    def __init__(self, levels: Annotated[int, Ge(2), Le(256)]) -> None:
        self.levels = levels

    def expected(self, pictures: Tensor) -> Tensor:
        steps = self.levels - 1
        return (pictures * steps).round() / steps
