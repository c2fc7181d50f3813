"""A decoded picture of any number of channels and any type of number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LUMA = (19595, 38470, 7471)
"""Weights of red, green and blue in a grey picture, of 65536: ITU-R BT.601, as Pillow rounds it."""


@dataclass(frozen=True)
class Picture:
    """Pixels as they are stored, and the values that mean 0 and 1.

    Attributes:
        pixels: (H, W, C), integers or floats.
        low, high: the values that mean 0 and 1; both NaN where the file does not say.

    Examples:
        >>> import numpy as np
        >>> picture = Picture(np.array([[[0], [65535]]], np.uint16), 0, 65535)
        >>> picture.unit().tolist()
        [[[0.0, 1.0]]]
    """

    pixels: NDArray[Any]
    low: float = 0.0
    high: float = 255.0

    @classmethod
    def of(cls, picture: Image.Image | NDArray[np.uint8]) -> Picture:
        """From a grey or RGB picture of Pillow, or 8-bit pixels, (H, W) or (H, W, C).

        Raises:
            ValueError: it has another type.
        """
        if isinstance(picture, Image.Image) and picture.mode not in ("L", "RGB", "RGBA"):
            raise ValueError(f"a picture of mode {picture.mode} has no levels; convert it to RGB")
        pixels = np.asarray(picture)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            raise ValueError(f"{pixels.dtype} {pixels.shape} is no picture of 8 bits")
        return cls(pixels[..., None] if pixels.ndim == 2 else pixels)

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def channels(self) -> int:
        """How many numbers a pixel has."""
        return int(self.pixels.shape[2])

    @property
    def is_eight_bit(self) -> bool:
        """Whether a pixel is a level from 0 to 255."""
        return self.pixels.dtype == np.uint8 and (self.low, self.high) == (0, 255)

    def describe(self) -> str:
        """Type, channels and range, such as ``uint16, 3 channels, 0 to 65535``."""
        count = f"{self.channels} channel{'s' if self.channels > 1 else ''}"
        span = "no range" if np.isnan(self.high) else f"{self.low:g} to {self.high:g}"
        return f"{self.pixels.dtype}, {count}, {span}"

    def unit(self) -> NDArray[np.float32]:
        """The pixels in [0, 1]: float32 (C, H, W), rounded once."""
        planes = self.pixels.transpose(2, 0, 1)
        if self.is_eight_bit:
            return (planes / np.float32(255)).astype(np.float32)
        scaled = (planes.astype(np.float64) - self.low) / (self.high - self.low)
        return np.ascontiguousarray(scaled, dtype=np.float32)

    def part(self, left: int, right: int) -> Picture:
        """The columns from ``left`` to before ``right``."""
        return replace(self, pixels=self.pixels[:, left:right])

    def content(self) -> bytes:
        """Size, type and pixels as bytes, equal for equal pictures."""
        eight_bit_rgb = self.is_eight_bit and self.channels == 3
        kind = "" if eight_bit_rgb else f" {self.channels} {self.pixels.dtype.str}"
        span = "" if self.is_eight_bit else f" {self.low} {self.high}"
        size = f"{self.width}x{self.height}{kind}{span}"
        return size.encode() + np.ascontiguousarray(self.pixels).tobytes()

    def image(self) -> Image.Image:
        """The picture as people look at it: 8 bits, RGB, see :func:`visible`."""
        if self.is_eight_bit and self.channels == 3:
            return Image.fromarray(np.ascontiguousarray(self.pixels))
        levels = np.rint(visible(self.unit()) * 255).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def visible(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Three channels to look at: (..., 3, H, W) of (..., C, H, W).

    One channel is grey; two are grey, their mean; of more than three the first three are red, green
    and blue.
    """
    channels = planes.shape[-3]
    if channels == 2:
        planes = planes.mean(axis=-3, keepdims=True, dtype=np.float32)
    if channels < 3:
        return np.repeat(planes, 3, axis=-3)
    return planes[..., :3, :, :]


def grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Luma of RGB pixels (H, W, 3), of the same type: (H, W, 1); integers are rounded half up."""
    weighted = (pixels.astype(np.float64) @ (np.array(LUMA) / 2**16))[..., None]
    if np.issubdtype(pixels.dtype, np.integer):
        weighted = np.floor(weighted + 0.5)
    return weighted.astype(pixels.dtype)
