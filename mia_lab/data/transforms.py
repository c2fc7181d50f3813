"""Resizing of pictures, the jitter of pix2pix training, and alterations of queries."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mia_lab.seeding import generator
from mia_lab.types import Floats, PairBatch

_LEVEL_ROUNDING = 255 * 2.0**-24
"""How far float32 rounding moves a pixel in [0, 1], in levels."""


def resize(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize a whole picture to a square by anti-aliased bicubic interpolation.

    Returns:
        uint8 (3, size, size); the published training code also resizes in 8 bits.
    """
    small = picture.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(small, dtype=np.uint8).transpose(2, 0, 1))


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
    levels: Floats = np.multiply(images, 255, dtype=np.float64)
    whole = np.rint(levels)
    is_whole = np.abs(levels - whole) < _LEVEL_ROUNDING
    np.copyto(levels, whole, where=is_whole)
    return levels


def jitter(batch: PairBatch, load_size: int, flip: bool, seed: int) -> PairBatch:
    """Enlarge, crop and mirror at random, in the same way for all pictures of a pair.

    Isola et al. 2017, section 6.2: 256 x 256 is enlarged to 286 x 286 and cropped back. Labels are
    enlarged by nearest neighbour, so a boundary one pixel wide may become two pixels wide.

    Args:
        batch: pairs of size (S, S), on any device.
        load_size: side of the enlarged pictures, at least S.
        flip: mirror each pair left to right with probability one half.
        seed: seed of this epoch. A pair's crop and mirroring depend only on the seed and on the
            pair's id, not on the other pairs of the batch.
    """
    size = batch.y.shape[-1]
    if load_size == size and not flip:
        return batch
    views = [_view(generator(seed, image_id), load_size - size, flip) for image_id in batch.ids]

    def cropped(pictures: Tensor) -> Tensor:
        crops = [_crop(picture, size, *view) for picture, view in zip(pictures, views, strict=True)]
        return torch.stack(crops)

    x, y, encoded = batch.x, batch.y, batch.encoded
    if load_size > size:
        x, y = (
            F.interpolate(side, size=load_size, mode="bicubic", antialias=True).clamp(0, 1)
            for side in (x, y)
        )
        if encoded is not None:
            encoded = F.interpolate(encoded, size=load_size, mode="nearest-exact")
    encoded = None if encoded is None else cropped(encoded)
    return PairBatch(batch.ids, cropped(x), cropped(y), encoded)


def _view(rng: np.random.Generator, slack: int, flip: bool) -> tuple[int, int, bool]:
    """Top and left of a crop, each in 0..slack, and whether the crop is mirrored."""
    top, left = rng.integers(0, slack + 1, 2).tolist()
    return top, left, flip and bool(rng.random() < 0.5)


def _crop(picture: Tensor, size: int, top: int, left: int, mirrored: bool) -> Tensor:
    crop = picture[:, top : top + size, left : left + size]
    return crop.flip(-1) if mirrored else crop


CROP = 7 / 8
"""Side of the crop of an altered query, relative to the image's side."""


def altered(batch: PairBatch, name: str) -> PairBatch:
    """Mirror pairs (``hflip``), or crop one corner and enlarge it (``crop-0`` to ``crop-3``).

    All pictures of a pair are altered in the same way; labels are enlarged by nearest neighbour.

    Args:
        batch: pairs of size (S, S).
        name: name of the alteration.

    Raises:
        ValueError: no alteration has this name.
    """
    size = batch.y.shape[-1]
    side = round(size * CROP)
    corner = {f"crop-{n}": divmod(n, 2) for n in range(4)}

    def alter(picture: Tensor, labels: bool) -> Tensor:
        if name == "hflip":
            return picture.flip(-1)
        if name not in corner:
            raise ValueError(f"no alteration is called {name}")
        top, left = ((size - side) * end for end in corner[name])
        crop = picture[..., top : top + side, left : left + side]
        if labels:
            return F.interpolate(crop, size=size, mode="nearest-exact")
        return F.interpolate(crop, size=size, mode="bicubic", antialias=True).clamp(0, 1)

    encoded = None if batch.encoded is None else alter(batch.encoded, labels=True)
    return PairBatch(batch.ids, alter(batch.x, False), alter(batch.y, False), encoded)
