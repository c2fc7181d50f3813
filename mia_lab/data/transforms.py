"""From pictures to tensors, and the jitter of pix2pix training."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mia_lab.types import PairBatch


def resize(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize a whole picture to a square by anti-aliased bicubic interpolation.

    Returns:
        uint8 (3, size, size); 8 bits, as the published training code resizes.
    """
    small = picture.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(small, dtype=np.uint8).transpose(2, 0, 1))


def jitter(batch: PairBatch, load_size: int, flip: bool, generator: torch.Generator) -> PairBatch:
    """Random crop after enlarging, and random mirroring; the same for both pictures of a pair.

    Isola et al. 2017, section 6.2: 256 x 256 is enlarged to 286 x 286 and cropped back.

    Args:
        batch: pairs of size (S, S).
        load_size: size to enlarge to, at least S.
        flip: mirror each pair left to right with probability one half.
        generator: source of the random offsets, on the CPU.
    """
    size = batch.y.shape[-1]
    channels = batch.x.shape[1]
    pairs = torch.cat([batch.x, batch.y], dim=1)
    if load_size > size:
        pairs = F.interpolate(pairs, size=load_size, mode="bicubic", antialias=True).clamp(0, 1)
    offsets = torch.randint(load_size - size + 1, (len(batch), 2), generator=generator).tolist()
    mirrored = (torch.rand(len(batch), generator=generator) < 0.5).tolist()
    crops: list[Tensor] = []
    for pair, (top, left), mirror in zip(pairs, offsets, mirrored, strict=True):
        crop = pair[:, top : top + size, left : left + size]
        crops.append(crop.flip(-1) if mirror and flip else crop)
    out = torch.stack(crops)
    return PairBatch(batch.ids, out[:, :channels], out[:, channels:])
