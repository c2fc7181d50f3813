"""From images to compact factors: resizing, feature maps, and their reduction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import functional as transforms

from mia_lab.backbones.backbone import Backbone
from mia_lab.difficulty.columns import compact_factor
from mia_lab.difficulty.resampling import to_grid
from mia_lab.difficulty.score import FactorBatch, first_not_finite
from mia_lab.errors import UserError
from mia_lab.types import Layer, PairBatch

OFFICIAL_RESIZE = 256
OFFICIAL_CROP = 224


def input_size(preprocess: str, grid_size: int) -> int:
    """Side of the square images that the backbone receives, in pixels."""
    return 4 * grid_size if preprocess == "aligned" else OFFICIAL_CROP


def check_channels(preprocess: str, *channels: int) -> None:
    """Refuse pictures that a preprocessing does not take.

    Args:
        preprocess: ``aligned`` or ``official``.
        channels: of the pictures.

    Raises:
        UserError: ``official`` is for grey and RGB pictures, and these are others.
    """
    for count in channels:
        if preprocess == "official" and count not in (1, 3):
            raise UserError(
                f"difficulty.preprocess=official: is for grey and RGB pictures; these have {count} "
                "channels; set difficulty.preprocess=aligned"
            )


def prepare(images: Tensor, preprocess: str, grid_size: int) -> Tensor:
    """Resize images to the input size of the backbone.

    Args:
        images: (N, C, H, W) in [0, 1].
        preprocess: ``aligned`` resizes the whole image to a square of four times the pixel grid, so
            that features and target pixels cover the same area, and block 1 (stride 4) has the
            resolution of the grid. ``official`` follows the authors' code, and needs images of
            full size: the shorter side becomes 256, in 8 bits, and the centre of 224 x 224 is
            cropped, although the target is not.
        grid_size: G, side of the pixel grid.

    Returns:
        (N, C, S, S) in [0, 1]; :func:`input_size` gives S.

    Raises:
        UserError: ``official`` is for grey and RGB pictures, and these are others.
    """
    if preprocess == "official":
        return torch.stack([_official(image) for image in images])
    size = input_size(preprocess, grid_size)
    return functional.interpolate(
        images, (size, size), mode="bilinear", align_corners=False, antialias=True
    )


def target_pixels(images: Tensor, preprocess: str, grid_size: int) -> Tensor:
    """Resize targets to the pixel grid of the probe.

    Args:
        images: (N, C, H, W) in [0, 1]; of full size for ``official``.
        preprocess: ``aligned`` resizes as features are resized to the grid, see
            :mod:`~mia_lab.difficulty.resampling`. ``official`` follows the authors' code: Pillow's
            bicubic, anti-aliased, in 8 bits, whatever the aspect ratio.
        grid_size: G, side of the pixel grid.

    Returns:
        float32 (N, C, G, G) in [0, 1].
    """
    if preprocess == "aligned":
        return to_grid(images, grid_size)
    size = (grid_size, grid_size)
    small = [_as_tensor(_as_picture(image).resize(size)) for image in images]
    return torch.stack(small).to(images.device)


def extract(
    backbone: Backbone,
    batch: PairBatch,
    layers: Sequence[Layer],
    *,
    features_from: str = "input",
    preprocess: str = "aligned",
    grid_size: int = 56,
) -> FactorBatch:
    """Compute the compact factors of a batch of pairs.

    Args:
        backbone: the network.
        batch: the pairs.
        layers: block numbers or module names.
        features_from: image of the pair whose features are used, ``input`` or ``target``.
        preprocess: ``aligned`` or ``official``, see :func:`prepare`.
        grid_size: G, side of the pixel grid.

    Returns:
        Factors and targets, on the backbone's device.

    Raises:
        UserError: an image contains NaN or infinite values (the message names it), or ``official``
            is for grey and RGB pictures, and it is another.
    """
    _check_finite(batch)
    images = batch.x if features_from == "input" else batch.y
    maps = backbone.features(prepare(images, preprocess, grid_size), layers)
    factors = {layer: compact_factor(m) for layer, m in zip(layers, maps, strict=True)}
    target = target_pixels(batch.y.to(backbone.device), preprocess, grid_size)
    return FactorBatch(batch.ids, factors, target)


def bytes_per_image(
    backbone: Backbone, layers: Sequence[Layer], preprocess: str, grid_size: int
) -> int:
    """Bytes of the factors and the target of one pair, measured on a black image."""
    black = torch.zeros(1, 3, *[input_size(preprocess, grid_size)] * 2)
    factors = extract(
        backbone, PairBatch(("",), black, black), layers, preprocess=preprocess, grid_size=grid_size
    )
    return sum(
        math.prod(t.shape) * t.element_size() for t in (*factors.factors.values(), factors.target)
    )


def _official(image: Tensor) -> Tensor:
    """Resize with Pillow, in bytes; with random weights its rounding changes a score by 1e-3."""
    picture = transforms.resize(_as_picture(image), [OFFICIAL_RESIZE])
    return _as_tensor(transforms.center_crop(picture, [OFFICIAL_CROP, OFFICIAL_CROP]))


def _as_picture(image: Tensor) -> Image.Image:
    check_channels("official", len(image))
    picture: Image.Image = transforms.to_pil_image((image.cpu() * 255).round().clamp(0, 255).byte())
    return picture


def _as_tensor(picture: Image.Image) -> Tensor:
    pixels: Tensor = transforms.pil_to_tensor(picture)
    return pixels.float() / 255


def _check_finite(batch: PairBatch) -> None:
    for side, images in (("input", batch.x), ("target", batch.y)):
        if (name := first_not_finite(batch.ids, images)) is not None:
            raise UserError(
                f"image {name!r}: its {side} contains NaN or infinite values; repair or remove the "
                "file"
            )
