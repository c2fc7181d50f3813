"""Blurred answers."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor

from mia_lab.defenses import Deterministic


class Smoothing(Deterministic):
    """Gaussian blur, the picture reflected at its border.

    Args:
        sigma: of the kernel, in pixels; it is cut off at three.
    """

    version: ClassVar[int] = 1

    def __init__(self, sigma: Annotated[float, Ge(0.1), Le(16)]) -> None:
        self.sigma = sigma

    def expected(self, pictures: Tensor) -> Tensor:
        radius = min(int(np.ceil(3 * self.sigma)), min(pictures.shape[-2:]) - 1)
        places = torch.arange(-radius, radius + 1, dtype=pictures.dtype)
        kernel = torch.exp(-(places**2) / (2 * self.sigma**2))
        kernel = (kernel / kernel.sum()).to(pictures.device)
        padded = F.pad(pictures, (radius,) * 4, mode="reflect")
        channels = pictures.shape[1]
        across = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
        down = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
        blurred = F.conv2d(F.conv2d(padded, across, groups=channels), down, groups=channels)
        return blurred.clamp(0, 1)
