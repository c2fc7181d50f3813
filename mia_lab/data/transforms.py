"""Resizing of pictures, the jitter of pix2pix training, and alterations of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mia_lab.data.picture import Picture
from mia_lab.parameters import width_height
from mia_lab.seeding import generator
from mia_lab.types import Floats, PairBatch

_LEVEL_ROUNDING = 255 * 2.0**-24
"""How far float32 rounding moves a pixel in [0, 1], in levels."""

_PIECE = 16384
"""Values that are handled at once, so that they stay in the processor's cache."""


ResizeMode = Literal["squash", "fit", "crop"]


@dataclass(frozen=True)
class Resizing:
    """How pictures of any size are brought to one size.

    Attributes:
        width, height: of the result, in pixels.
        mode: for another aspect ratio. ``squash``: the whole picture, distorted | ``fit``: the
            whole picture, between black borders, which count as pixels | ``crop``: its centre, cut
            out of the resized picture, so that pixels at the edge see their neighbours.

    Examples:
        >>> import numpy as np
        >>> picture = Picture(np.zeros((20, 40, 1), np.uint16), 0, 65535)
        >>> Resizing(16, 16, "crop")(picture).shape
        (1, 16, 16)
    """

    width: int
    height: int
    mode: ResizeMode = "squash"

    @classmethod
    def of(cls, size: int | Sequence[int], mode: ResizeMode = "squash") -> Resizing:
        """To a square of some side, or to [width, height]."""
        return cls(*width_height(size), mode)

    def __call__(self, picture: Picture) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Resize by anti-aliased bicubic interpolation.

        Returns:
            (channels, height, width): uint8 levels if the picture has 8 bits, as the published
            training code resizes; else float32 in [0, 1].
        """
        size = width, height = self._whole(picture.width, picture.height)
        if picture.is_eight_bit and picture.channels == 3:
            planes = _resized(picture.pixels, size).transpose(2, 0, 1)
        else:
            values = picture.pixels.transpose(2, 0, 1) if picture.is_eight_bit else picture.unit()
            planes = np.stack([_resized(plane, size) for plane in values])
        if planes.dtype != np.uint8:
            planes = planes.clip(0, 1)  # interpolation overshoots
        planes = planes[:, _middle(height, self.height), _middle(width, self.width)]
        left, top = (self.width - planes.shape[2]) // 2, (self.height - planes.shape[1]) // 2
        rest = self.width - planes.shape[2] - left, self.height - planes.shape[1] - top
        return np.pad(planes, ((0, 0), (top, rest[1]), (left, rest[0])))

    def sample(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Resize (H, W, ...) by nearest neighbour, at the centres of the pixels; without ``fit``.

        The result covers the same part of the picture as that of a call.
        """
        if self.mode == "fit":
            raise ValueError("borders have no value that could be sampled; use squash or crop")
        width, height = self._whole(ids.shape[1], ids.shape[0])
        rows = _nearest(ids.shape[0], height)[_middle(height, self.height)]
        columns = _nearest(ids.shape[1], width)[_middle(width, self.width)]
        sampled: NDArray[Any] = ids[rows[:, None], columns]
        return sampled

    def _whole(self, width: int, height: int) -> tuple[int, int]:
        """The size of the whole picture, before its centre is cut out or borders are added."""
        if self.mode == "squash":
            return self.width, self.height
        across, down = self.width / width, self.height / height
        if self.mode == "fit":
            scale = min(across, down)
            return max(1, round(width * scale)), max(1, round(height * scale))
        scale = max(across, down)
        return max(self.width, round(width * scale)), max(self.height, round(height * scale))


def _resized(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Pixels (H, W) or (H, W, 3) in another size, (width, height)."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _middle(size: int, kept: int) -> slice:
    """The pixels of an axis that remain where at most some of them are kept."""
    start = max(0, size - kept) // 2
    return slice(start, start + kept)


def _nearest(side: int, size: int) -> NDArray[np.int64]:
    """The pixels of an axis that lie nearest to the centres of `size` pixels over all of it."""
    return (2 * np.arange(size) + 1) * side // (2 * size)


def in_unit(pictures: Sequence[NDArray[np.uint8] | NDArray[np.float32]]) -> Tensor:
    """Pictures as :class:`Resizing` returns them as float32 (N, C, H, W) in [0, 1]."""
    if all(picture.dtype == np.uint8 for picture in pictures):
        return torch.from_numpy(np.stack(pictures)).float().div_(255)
    floats = [p / np.float32(255) if p.dtype == np.uint8 else p for p in pictures]
    return torch.from_numpy(np.stack(floats))


def in_levels(images: NDArray[np.floating]) -> Floats:
    """Pixels in levels of 8 bits, so that sums over pixels of 8-bit pictures are exact.

    In float32, 8-bit pixels divided by 255 are rounded: two pairs of pictures that differ by the
    same levels would differ by unequal amounts. Here they are whole numbers again.

    Args:
        images: (..., H, W) in [0, 1].

    Returns:
        float64 (..., H, W) in [0, 255]; whole numbers for 8-bit pixels, up to float32 rounding.

    Examples:
        >>> import numpy as np
        >>> in_levels(np.float32([[1, 200, 127.5]]) / np.float32(255)).tolist()
        [[1.0, 200.0, 127.5]]
    """
    flat = np.ravel(images)
    levels = np.empty(flat.size)
    for start in range(0, flat.size, _PIECE):
        piece = levels[start : start + _PIECE]
        np.multiply(flat[start : start + _PIECE], 255, out=piece, dtype=np.float64)
        whole = np.rint(piece)
        np.copyto(piece, whole, where=np.abs(piece - whole) < _LEVEL_ROUNDING)
    return levels.reshape(images.shape)


def jitter(batch: PairBatch, scale: float, flip: bool, seed: int) -> PairBatch:
    """Enlarge, crop and mirror at random, in the same way for all pictures of a pair.

    Isola et al. 2017, section 6.2: 256 x 256 is enlarged to 286 x 286 and cropped back. Labels are
    enlarged by nearest neighbour, so a boundary one pixel wide may become two pixels wide.

    Args:
        batch: pairs of one size, on any device.
        scale: factor by which pictures are enlarged, at least 1.
        flip: mirror each pair left to right with probability one half.
        seed: seed of this epoch. A pair's crop and mirroring depend only on the seed and on the
            pair's id, not on the other pairs of the batch.
    """
    size = batch.y.shape[-2:]
    larger = [round(side * scale) for side in size]
    slack = [after - before for after, before in zip(larger, size, strict=True)]
    if not any(slack) and not flip:
        return batch
    views = [_view(generator(seed, image_id), slack, flip) for image_id in batch.ids]

    def cropped(pictures: Tensor) -> Tensor:
        crops = [_crop(picture, size, *view) for picture, view in zip(pictures, views, strict=True)]
        return torch.stack(crops)

    x, y, encoded = batch.x, batch.y, batch.encoded
    if any(slack):
        x, y = (
            F.interpolate(side, size=larger, mode="bicubic", antialias=True).clamp(0, 1)
            for side in (x, y)
        )
        if encoded is not None:
            encoded = F.interpolate(encoded, size=larger, mode="nearest-exact")
    encoded = None if encoded is None else cropped(encoded)
    return PairBatch(batch.ids, cropped(x), cropped(y), encoded, batch.prompts)


def _view(rng: np.random.Generator, slack: Sequence[int], flip: bool) -> tuple[int, int, bool]:
    """Top and left of a crop, each from 0 to the slack, and whether the crop is mirrored."""
    top, left = rng.integers(0, np.add(slack, 1)).tolist()
    return top, left, flip and bool(rng.random() < 0.5)


def _crop(picture: Tensor, size: Sequence[int], top: int, left: int, mirrored: bool) -> Tensor:
    crop = picture[:, top : top + size[0], left : left + size[1]]
    return crop.flip(-1) if mirrored else crop


CROP = 7 / 8
"""Sides of the crop of an altered query, relative to the image's."""

BLOCK = 8
"""Side of the blocks over which a degraded input is averaged, in pixels."""

DEGRADED = "degraded"
"""The alteration that takes the fine structure from the input, and leaves the target alone."""


def altered(batch: PairBatch, name: str) -> PairBatch:
    """Pairs as an attacker alters them before the victim is queried.

    - ``hflip`` mirrors left to right; ``crop-0`` to ``crop-3`` cut out a corner and enlarge it.
      All pictures of a pair are altered alike; labels are enlarged by nearest neighbour.
    - ``degraded`` leaves the target as it is, and averages the input over blocks of 8 x 8 pixels,
      enlarged again by linear interpolation. Labels become shares of classes, which sum to one. If
      a side is no multiple of 8, it has the nearest number of blocks, and those at most one pixel
      wider overlap, as in PyTorch's adaptive pooling.

    Args:
        batch: pairs of one size.
        name: name of the alteration.

    Raises:
        ValueError: no alteration has this name.
    """
    size = batch.y.shape[-2:]
    if name == DEGRADED:
        labels = None if batch.encoded is None else _blurred(batch.encoded)
        return PairBatch(batch.ids, _blurred(batch.x), batch.y, labels, batch.prompts)
    height, width = (round(side * CROP) for side in size)
    corner = {f"crop-{n}": divmod(n, 2) for n in range(4)}

    def alter(picture: Tensor, labels: bool) -> Tensor:
        if name == "hflip":
            return picture.flip(-1)
        if name not in corner:
            raise ValueError(f"no alteration is called {name}")
        down, right = corner[name]
        top, left = (size[0] - height) * down, (size[1] - width) * right
        crop = picture[..., top : top + height, left : left + width]
        if labels:
            return F.interpolate(crop, size=size, mode="nearest-exact")
        return F.interpolate(crop, size=size, mode="bicubic", antialias=True).clamp(0, 1)

    encoded = None if batch.encoded is None else alter(batch.encoded, labels=True)
    return PairBatch(
        batch.ids, alter(batch.x, False), alter(batch.y, False), encoded, batch.prompts
    )


def _blurred(pictures: Tensor) -> Tensor:
    """Means over blocks, enlarged again: both steps are averages, so values stay in [0, 1]."""
    size = pictures.shape[-2:]
    blocks = [max(1, round(side / BLOCK)) for side in size]
    means = F.interpolate(pictures, size=blocks, mode="area")
    return F.interpolate(means, size=size, mode="bilinear").clamp(0, 1)
