"""Distinguishable twins of one picture: watermarks that differ, and other colours."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mia_lab.types import Floats

Pattern = Literal["smooth", "blocks"]

CELLS = 8
"""Cells of a watermark along the shorter side, so that it survives a reduction to 64 pixels."""


def watermark(
    pixels: NDArray[np.uint8], rng: np.random.Generator, pattern: Pattern, strength: float
) -> NDArray[np.uint8]:
    """A picture with a random watermark of low amplitude.

    A watermark is a random sign for each cell and channel, enlarged to the picture. To keep all
    values in range, the contrast of the picture is first reduced by 2 * strength.

    Args:
        pixels: uint8 (H, W, C).
        rng: draws the signs.
        pattern: ``smooth``: enlarged by bicubic interpolation | ``blocks``: constant cells.
        strength: largest change of a pixel by the watermark, as a share of the range; in (0, 0.5).

    Returns:
        uint8 (H, W, C).
    """
    height, width, channels = pixels.shape
    short = min(height, width)
    cells = [max(1, round(CELLS * side / short)) for side in (height, width)]
    signs = rng.choice(np.array([-1, 1], np.float32), (channels, *cells))
    kind = Image.Resampling.BICUBIC if pattern == "smooth" else Image.Resampling.NEAREST
    planes = [np.asarray(Image.fromarray(s).resize((width, height), kind)) for s in signs]
    mark = np.stack(planes, axis=2).clip(-1, 1)
    return _levels(strength + (1 - 2 * strength) * pixels / 255 + strength * mark)


def recoloured(
    pixels: NDArray[np.uint8], rng: np.random.Generator, strength: float
) -> NDArray[np.uint8]:
    """A picture in other colours: one random map of colours for all its pixels.

    Each channel gets a random gamma and a random range within [0, 1]; then the channels are mixed
    by a random matrix whose rows are shares. So all values stay in range.

    Args:
        pixels: uint8 (H, W, C).
        rng: draws the map.
        strength: how far colours may move, in (0, 0.5): gamma within exp(+-2 strength), ends of the
            range by at most strength, and a share of at most strength of other channels.

    Returns:
        uint8 (H, W, C).
    """
    channels = pixels.shape[2]
    gamma = np.exp(rng.uniform(-2 * strength, 2 * strength, channels))
    low = rng.uniform(0, strength, channels)
    high = 1 - rng.uniform(0, strength, channels)
    mixed = rng.dirichlet(np.ones(channels), channels)
    mix = (1 - strength) * np.eye(channels) + strength * mixed
    return _levels((low + (high - low) * (pixels / 255) ** gamma) @ mix.T)


def _levels(values: Floats | NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(values * 255).astype(np.uint8)
