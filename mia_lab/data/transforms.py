"""From pictures to tensors, and the jitter of pix2pix training."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mia_lab.seeding import generator
from mia_lab.types import PairBatch


def resize(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize a whole picture to a square by anti-aliased bicubic interpolation.

    Returns:
        uint8 (3, size, size); 8 bits, as the published training code resizes.
    """
    small = picture.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(small, dtype=np.uint8).transpose(2, 0, 1))


def jitter(batch: PairBatch, load_size: int, flip: bool, seed: int) -> PairBatch:
    """Random crop after enlarging, and random mirroring; the same for all pictures of a pair.

    Isola et al. 2017, section 6.2: 256 x 256 is enlarged to 286 x 286 and cropped back. Labels are
    enlarged by nearest neighbour, so a boundary one pixel wide may become two.

    Args:
        batch: pairs of size (S, S), on any device.
        load_size: size to enlarge to, at least S.
        flip: mirror each pair left to right with probability one half.
        seed: of this epoch. A pair's crop and mirroring depend on it and on the pair's id alone,
            not on what else is in its batch.
    """
    size = batch.y.shape[-1]
    if load_size == size and not flip:
        return batch
    views = [_view(generator(seed, image_id), load_size - size, flip) for image_id in batch.ids]

    def moved(pictures: Tensor) -> Tensor:
        crops = [
            _cropped(picture, size, *view) for picture, view in zip(pictures, views, strict=True)
        ]
        return torch.stack(crops)

    x, y, encoded = batch.x, batch.y, batch.encoded
    if load_size > size:
        x, y = (
            F.interpolate(side, size=load_size, mode="bicubic", antialias=True).clamp(0, 1)
            for side in (x, y)
        )
        if encoded is not None:
            encoded = F.interpolate(encoded, size=load_size, mode="nearest-exact")
    return PairBatch(batch.ids, moved(x), moved(y), None if encoded is None else moved(encoded))


def _view(rng: np.random.Generator, slack: int, flip: bool) -> tuple[int, int, bool]:
    """Top and left corner of a crop, each in 0..slack, and whether it is mirrored."""
    top, left = rng.integers(0, slack + 1, 2).tolist()
    return top, left, flip and bool(rng.random() < 0.5)


def _cropped(picture: Tensor, size: int, top: int, left: int, mirrored: bool) -> Tensor:
    crop = picture[:, top : top + size, left : left + size]
    return crop.flip(-1) if mirrored else crop


CROP = 7 / 8
"""Side of an altered query's crop, as a share of the image's."""


def altered(batch: PairBatch, name: str) -> PairBatch:
    """The same pairs mirrored (``hflip``) or with one corner enlarged (``crop-0`` to ``crop-3``).

    All pictures of a pair are altered alike; labels are enlarged by nearest neighbour.

    Args:
        batch: pairs of size (S, S).
        name: of the alteration.

    Raises:
        ValueError: there is none of this name.
    """
    size = batch.y.shape[-1]
    side = round(size * CROP)
    corner = {f"crop-{n}": divmod(n, 2) for n in range(4)}

    def moved(picture: Tensor, labels: bool) -> Tensor:
        if name == "hflip":
            return picture.flip(-1)
        if name not in corner:
            raise ValueError(f"no alteration is called {name}")
        top, left = ((size - side) * place for place in corner[name])
        crop = picture[..., top : top + side, left : left + side]
        if labels:
            return F.interpolate(crop, size=size, mode="nearest-exact")
        return F.interpolate(crop, size=size, mode="bicubic", antialias=True).clamp(0, 1)

    encoded = None if batch.encoded is None else moved(batch.encoded, labels=True)
    return PairBatch(batch.ids, moved(batch.x, False), moved(batch.y, False), encoded)
