"""Gaussian noise on every answer."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from mia_lab.parameters import UnitInterval


class OutputNoise:
    """Gaussian noise on every channel of every pixel, clipped to [0, 1].

    Args:
        sigma: standard deviation of the noise, in units of the range of a channel.
    """

    version: ClassVar[int] = 1

    def __init__(self, sigma: UnitInterval) -> None:
        self.sigma = sigma

    def apply(self, answers: Tensor) -> Tensor:
        return (answers + self.sigma * torch.randn_like(answers)).clamp(0, 1)

    def expected(self, pictures: Tensor) -> Tensor:
        """The mean of a Gaussian clipped to [0, 1]: near its ends, not the picture itself."""
        if self.sigma == 0:
            return pictures
        low, high = -pictures.double() / self.sigma, (1 - pictures.double()) / self.sigma
        below, above = torch.special.ndtr(low), torch.special.ndtr(high)
        density = ((-(low**2) / 2).exp() - (-(high**2) / 2).exp()) / math.sqrt(2 * math.pi)
        mean = pictures * (above - below) + self.sigma * density + (1 - above)
        seen: Tensor = mean.to(pictures.dtype)
        return seen
