"""From images to feature maps: how an image is brought to the backbone's size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from mia_lab.difficulty.backbones import Backbone, Layer
from mia_lab.errors import UserError

PREPROCESSES = ("aligned", "official")
OFFICIAL_RESIZE = 256
OFFICIAL_CROP = 224


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, antialiased where it shrinks: (N, C, H, W) to (N, C, height, width)."""
    return functional.interpolate(
        images, (height, width), mode="bilinear", align_corners=False, antialias=True
    )


def input_size(preprocess: str, grid_size: int) -> int:
    """Side of the square images that the backbone sees, in pixels."""
    return 4 * grid_size if preprocess == "aligned" else OFFICIAL_CROP


def prepare(images: Tensor, preprocess: str, grid_size: int) -> Tensor:
    """Bring images to the backbone's size.

    Args:
        images: (N, C, H, W) in [0, 1], C is 1 (repeated to three) or 3.
        preprocess: ``aligned``: the whole image becomes a square of four times the pixel grid, so
            that features and target pixels cover the same places, and block 1 (stride 4) falls
            on the grid itself. ``official``: as the authors' code, the shorter side becomes 256
            and the centre 224 x 224 is kept, whatever the target shows.
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
    size = input_size(preprocess, grid_size)
    if preprocess == "aligned":
        return resize(images, size, size)
    height, width = images.shape[-2:]
    scale = OFFICIAL_RESIZE / min(height, width)
    # The longer side is rounded down and the crop's corner to nearest, as torchvision does.
    height, width = max(int(height * scale), size), max(int(width * scale), size)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return resize(images, height, width)[..., top : top + size, left : left + size]


def extract(
    backbone: Backbone,
    images: Tensor,
    layers: Sequence[Layer],
    *,
    preprocess: str = "aligned",
    grid_size: int = 56,
) -> list[Tensor]:
    """Feature maps of a batch of images, at their native resolution.

    Args:
        backbone: the network.
        images: float32 (N, 3, H, W) or (N, 1, H, W) in [0, 1], of any size and device.
        layers: block numbers or module names.
        preprocess: ``aligned`` or ``official``, see :func:`prepare`.
        grid_size: G, side of the pixel grid.

    Returns:
        One (N, C_k, s_k, s_k) a layer, on the backbone's device.

    Raises:
        UserError: the images have neither one channel nor three.
    """
    return backbone.features(prepare(images, preprocess, grid_size), layers)
