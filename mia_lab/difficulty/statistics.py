"""Statistics of a picture that cost next to nothing: what a difficulty score has to beat."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import sobel

from mia_lab.parameters import Side
from mia_lab.types import Floats, PairBatch

Picture = NDArray[np.uint8]

Statistic = Literal["compressed_size", "edge_density", "total_variation", "entropy"]


class ImageStatistics:
    """One statistic of one picture of each pair; all lie in [0, 1], more for more to be seen.

    Such statistics are the usual measures of image complexity (Machado et al. 2015, "Computerized
    measures of visual complexity", Acta Psychologica 160).

    Args:
        statistic: ``compressed_size``, of a PNG, as a share of the raw bytes | ``edge_density``,
            share of pixels with a steep gradient | ``total_variation``, mean absolute difference of
            neighbours | ``entropy``, of the grey levels, as a share of 8 bits.
        of: ``target``, the picture that is to be generated, or ``input``.
    """

    version: ClassVar[int] = 1

    def __init__(self, statistic: Statistic = "compressed_size", of: Side = "target") -> None:
        self.statistic, self.of = statistic, of

    def score_images(self, batch: PairBatch) -> Floats:
        pictures = batch.y if self.of == "target" else batch.x
        levels = (pictures * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        return np.array([STATISTICS[self.statistic](picture) for picture in levels])


def compressed_size(picture: Picture) -> float:
    """Bytes of the PNG of uint8 (H, W, C), as a share of the raw bytes; at most 1.

    Other pictures than RGB are written as grey, one channel below the other.
    """
    file = io.BytesIO()
    if picture.shape[2] != 3:
        picture = np.concatenate([*picture.transpose(2, 0, 1)])
    Image.fromarray(picture).save(file, "png", optimize=True)
    return min(1.0, file.tell() / picture.size)


STEEP = 0.25
"""Sobel gradient from which a pixel is an edge's; a step from black to white has 1."""


def edge_density(picture: Picture) -> float:
    """Share of pixels of uint8 (H, W, C) whose Sobel gradient is at least :data:`STEEP`."""
    grey = _grey(picture)
    return float((np.hypot(sobel(grey, 0), sobel(grey, 1)) / 4 >= STEEP).mean())


def total_variation(picture: Picture) -> float:
    """Mean absolute difference of neighbouring pixels of uint8 (H, W, C), in [0, 1]."""
    levels = picture.astype(np.float64) / 255
    steps = (np.abs(np.diff(levels, axis=axis)).mean() for axis in (0, 1))
    return float(sum(steps) / 2)


def entropy(picture: Picture) -> float:
    """Shannon entropy of the grey levels of uint8 (H, W, C), as a share of 8 bits."""
    grey = np.rint(_grey(picture) * 255).astype(np.int64)
    share = np.bincount(grey.ravel(), minlength=256) / grey.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum() / 8)


STATISTICS: dict[Statistic, Callable[[Picture], float]] = {
    "compressed_size": compressed_size,
    "edge_density": edge_density,
    "total_variation": total_variation,
    "entropy": entropy,
}


def _grey(picture: Picture) -> Floats:
    """Luma of RGB (ITU-R BT.601), or the mean of other channels, in [0, 1]."""
    channels = picture.shape[2]
    weights = [0.299, 0.587, 0.114] if channels == 3 else np.full(channels, 1 / channels)
    grey: Floats = picture.astype(np.float64) @ weights / 255
    return grey
