"""Features of a network, averaged over each image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mia_lab.backbones.backbone import Backbone

POOLED_PIXELS = 128
"""Side of the squares to which images are resized before pooling."""


def pool(backbone: Backbone, images: Tensor) -> NDArray[np.float64]:
    """Mean of every channel of every numbered block over each image.

    Args:
        backbone: the network; it receives the images resized to 128 x 128 pixels.
        images: float32 (N, C, H, W) in [0, 1].

    Returns:
        float64 (N, D), one column per channel of each block.
    """
    size = (POOLED_PIXELS, POOLED_PIXELS)
    resized = functional.interpolate(images, size, mode="bilinear", antialias=True)
    maps = backbone.features(resized, [*backbone.blocks])
    pooled: NDArray[np.float64] = (
        torch.cat([m.mean(dim=(2, 3)) for m in maps], 1).double().cpu().numpy()
    )
    return pooled
