"""From images to compact factors: the backbone's size, its feature maps, their fewest columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import functional as transforms

from mia_lab.difficulty.columns import compact_factor
from mia_lab.difficulty.resampling import to_grid
from mia_lab.difficulty.score import FactorBatch
from mia_lab.errors import UserError
from mia_lab.types import Layer, PairBatch

if TYPE_CHECKING:
    from mia_lab.backbones.backbone import Backbone

OFFICIAL_RESIZE = 256
OFFICIAL_CROP = 224


def input_size(preprocess: str, grid_size: int) -> int:
    """Side of the square images that the backbone sees, in pixels."""
    return 4 * grid_size if preprocess == "aligned" else OFFICIAL_CROP


def prepare(images: Tensor, preprocess: str, grid_size: int) -> Tensor:
    """Bring images to the backbone's size.

    Args:
        images: (N, C, H, W) in [0, 1], C is 1 (repeated to three) or 3.
        preprocess: ``aligned``: the whole image becomes a square of four times the pixel grid, so
            that features and target pixels cover the same places, and block 1 (stride 4) falls
            on the grid itself. ``official``: as the authors' code, the shorter side becomes 256,
            in 8 bits, and the centre 224 x 224 is kept, whatever the target shows.
        grid_size: G, side of the pixel grid.

    Returns:
        (N, 3, S, S) in [0, 1], S as :func:`input_size` states.

    Raises:
        UserError: the images have neither one channel nor three.
    """
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    if images.shape[1] != 3:
        raise UserError(
            f"difficulty.features_from: these images have {images.shape[1]} channels and a "
            "backbone takes 1 or 3; set difficulty.features_from=target"
        )
    if preprocess == "official":
        return torch.stack([_official(image) for image in images])
    size = input_size(preprocess, grid_size)
    return functional.interpolate(
        images, (size, size), mode="bilinear", align_corners=False, antialias=True
    )


def extract(
    backbone: Backbone,
    batch: PairBatch,
    layers: Sequence[Layer],
    *,
    features_from: str = "input",
    preprocess: str = "aligned",
    grid_size: int = 56,
) -> FactorBatch:
    """Compact factors of a batch of pairs, reduced as soon as the features are there.

    Args:
        backbone: the network.
        batch: the pairs.
        layers: block numbers or module names.
        features_from: whose features, the pair's ``input`` or ``target``.
        preprocess: ``aligned`` or ``official``, see :func:`prepare`.
        grid_size: G, side of the pixel grid.

    Returns:
        Factors and targets, on the backbone's device.

    Raises:
        UserError: an image holds NaN or infinite values (the message names it), or it has neither
            one channel nor three.
    """
    _check_finite(batch)
    images = batch.x if features_from == "input" else batch.y
    maps = backbone.features(prepare(images, preprocess, grid_size), layers)
    factors = {layer: compact_factor(m) for layer, m in zip(layers, maps, strict=True)}
    return FactorBatch(batch.ids, factors, to_grid(batch.y.to(backbone.device), grid_size))


def bytes_per_image(
    backbone: Backbone, layers: Sequence[Layer], preprocess: str, grid_size: int
) -> int:
    """What the factors and the target of one pair take, from those of a black one."""
    black = torch.zeros(1, 3, *[input_size(preprocess, grid_size)] * 2)
    kept = extract(
        backbone, PairBatch(("",), black, black), layers, preprocess=preprocess, grid_size=grid_size
    )
    return sum(math.prod(t.shape) * t.element_size() for t in (*kept.factors.values(), kept.target))


def _official(image: Tensor) -> Tensor:
    """Pillow's resize, in bytes: at random weights, its rounding alone moves a score by 1e-3."""
    picture = transforms.to_pil_image((image.cpu() * 255).round().clamp(0, 255).byte())
    picture = transforms.resize(picture, [OFFICIAL_RESIZE])
    cropped = transforms.center_crop(picture, [OFFICIAL_CROP, OFFICIAL_CROP])
    pixels: Tensor = transforms.pil_to_tensor(cropped)
    return pixels.float() / 255


def _check_finite(batch: PairBatch) -> None:
    for side, images in (("input", batch.x), ("target", batch.y)):
        finite = torch.isfinite(images).flatten(1).all(dim=1).tolist()
        if not all(finite):
            raise UserError(
                f"image {batch.ids[finite.index(False)]!r}: its {side} holds NaN or infinite "
                "values; repair or remove the file"
            )
