"""The mean of a network's features over an image, as one row of numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mia_lab.backbones.backbone import Backbone

POOLED_PIXELS = 128
"""Side of the squares that the backbone sees for them."""


def pool(backbone: Backbone, images: Tensor) -> np.ndarray:
    """Mean of every numbered block over each image.

    Args:
        backbone: the network, which sees the images at 128 x 128 pixels.
        images: float32 (N, 3, H, W) in [0, 1].

    Returns:
        float64 (N, D), D channels of all blocks.
    """
    size = (POOLED_PIXELS, POOLED_PIXELS)
    resized = functional.interpolate(images, size, mode="bilinear", antialias=True)
    maps = backbone.features(resized, [*backbone.blocks])
    pooled: np.ndarray = torch.cat([m.mean(dim=(2, 3)) for m in maps], 1).double().cpu().numpy()
    return pooled
