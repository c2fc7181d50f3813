"""What a victim's owner may do to its answers before anyone sees them.

A defence changes no weight: the stored victim is the same with and without. Each knows what it does
to a picture on average (``expected``), and so does the attacker who adapts: who asks again and
again and averages, and compares with the target as the defence would have shown it.
"""

from __future__ import annotations

import io
import math
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mia_lab.errors import UserError


@runtime_checkable
class Defense(Protocol):
    """Changes answers; both methods take and return float32 (N, 3, H, W) in [0, 1]."""

    def apply(self, answers: Tensor) -> Tensor:
        """What is shown; randomness comes from PyTorch's global generator."""
        ...

    def expected(self, pictures: Tensor) -> Tensor:
        """What would be shown of these pictures, without what is random."""
        ...


class OutputNoise:
    """Gaussian noise on every channel of every pixel, clipped to [0, 1].

    Args:
        sigma: its standard deviation, in units of the range of a channel.
    """

    def __init__(self, sigma: float) -> None:
        _check("sigma", sigma, 0.0, 1.0)
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


class _Deterministic:
    """Does the same to the same picture."""

    def apply(self, answers: Tensor) -> Tensor:
        return self.expected(answers)

    def expected(self, pictures: Tensor) -> Tensor:
        raise NotImplementedError


class Quantisation(_Deterministic):
    """Channels rounded to a few evenly spaced levels.

    Args:
        levels: how many, from 2 (black and white) to 256.
    """

    def __init__(self, levels: int) -> None:
        _check("levels", levels, 2, 256)
        self.levels = levels

    def expected(self, pictures: Tensor) -> Tensor:
        steps = self.levels - 1
        return (pictures * steps).round() / steps


class Jpeg(_Deterministic):
    """Compression and decompression.

    Args:
        quality: Pillow's, 1 to 95.
    """

    def __init__(self, quality: int) -> None:
        _check("quality", quality, 1, 95)
        self.quality = quality

    def expected(self, pictures: Tensor) -> Tensor:
        levels = (pictures * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        shown = np.stack([self._through_file(picture) for picture in levels])
        return torch.from_numpy(shown).permute(0, 3, 1, 2).float().div(255).to(pictures.device)

    def _through_file(self, picture: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "jpeg", quality=self.quality)
        return np.asarray(Image.open(file).convert("RGB"))


class Smoothing(_Deterministic):
    """Gaussian blur, the picture reflected at its border.

    Args:
        sigma: of the kernel, in pixels; it is cut off at three.
    """

    def __init__(self, sigma: float) -> None:
        _check("sigma", sigma, 0.1, 16.0)
        self.sigma = sigma

    def expected(self, pictures: Tensor) -> Tensor:
        radius = min(int(np.ceil(3 * self.sigma)), min(pictures.shape[-2:]) - 1)
        places = torch.arange(-radius, radius + 1, dtype=pictures.dtype)
        kernel = torch.exp(-(places**2) / (2 * self.sigma**2))
        kernel = (kernel / kernel.sum()).to(pictures.device)
        padded = F.pad(pictures, (radius,) * 4, mode="reflect")
        across = kernel.view(1, 1, 1, -1).expand(3, 1, 1, -1)
        down = kernel.view(1, 1, -1, 1).expand(3, 1, -1, 1)
        return F.conv2d(F.conv2d(padded, across, groups=3), down, groups=3).clamp(0, 1)


class Resizing(_Deterministic):
    """Reduced, and enlarged again.

    Args:
        factor: side of the small picture, as a share of the whole, in (0, 1].
    """

    def __init__(self, factor: float) -> None:
        _check("factor", factor, 0.01, 1.0)
        self.factor = factor

    def expected(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        small = (max(1, round(height * self.factor)), max(1, round(width * self.factor)))
        reduced = F.interpolate(pictures, small, mode="bilinear", antialias=True)
        return F.interpolate(reduced, (height, width), mode="bilinear").clamp(0, 1)


def _check(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"defense.{key}={value}: must lie between {low:g} and {high:g}")
