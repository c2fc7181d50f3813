"""The perceptual loss of pix2pixHD, and a variant on a network that needs no download."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models import adapt_input_conv
from torch import Tensor, nn

from mia_lab.backbones.weights import load_model
from mia_lab.errors import UserError

_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Weights of the feature maps from shallow to deep, as in the published code."""

_LITE0 = 0.1
"""Factor of the loss on EfficientNet-Lite0, which is about eight times that on VGG19.

The ratio is of one training log of the published code. Without the factor, at the published
``lambda_perceptual``, the gradient of this loss at the translated image is 40 times that of the
feature matching, and a victim over-fits much later.
"""

_VGG_TAPS = (1, 6, 11, 20, 29)
"""relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 in VGG19's sequence of layers."""


class PerceptualLoss(nn.Module):
    """Weighted L1 between feature maps of two images (Wang et al. 2018, section 3.2 and code).

    ``vgg19`` is the published loss: five maps of VGG19, whose input is in [-1, 1] as in the
    published code. ``lite0`` uses the five strides of EfficientNet-Lite0 instead, and a tenth of
    the loss, so that the published weight of the loss fits both.

    Args:
        kind: ``vgg19`` or ``lite0``.
        weights: a file with the network's weights; None: fetch VGG19's, use Lite0's package.
        channels: of the images. Where they are not 3, the weights of the first convolution are
            adapted as timm does: summed over RGB for one channel, else repeated over the channels
            and scaled by 3 / channels.

    Raises:
        UserError: the weights cannot be had.
    """

    def __init__(self, kind: str, weights: str | None = None, channels: int = 3) -> None:
        super().__init__()
        name, source = {
            "vgg19": ("vgg19.tv_in1k", "pretrained"),
            "lite0": ("tf_efficientnet_lite0", "packaged"),
        }[kind]
        try:
            model: Any
            model, _ = load_model(name, weights or source, seed=0)
        except UserError as error:
            raise UserError(
                f"victim.perceptual={kind}: its weights cannot be loaded ({error}); set "
                "victim.perceptual_weights=FILE, or choose another loss: victim.perceptual=lite0 "
                "or none"
            ) from error
        first = model.get_submodule(model.pretrained_cfg["first_conv"])
        first.weight = nn.Parameter(adapt_input_conv(channels, first.weight), requires_grad=False)
        first.in_channels = channels
        self._is_vgg = kind == "vgg19"
        self._weights = [weight if self._is_vgg else _LITE0 * weight for weight in _WEIGHTS]
        self._model: Any = model.features if self._is_vgg else model

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Distance of two batches (N, channels, H, W) in [-1, 1]; only ``fake`` has a gradient."""
        with torch.no_grad():
            wanted = self._maps(real)
        pairs = zip(self._weights, self._maps(fake), wanted, strict=True)
        return torch.stack([weight * F.l1_loss(f, r) for weight, f, r in pairs]).sum()

    def _maps(self, images: Tensor) -> list[Tensor]:
        if not self._is_vgg:  # EfficientNet-Lite0 was trained on images in [-1, 1]
            return list(
                self._model.forward_intermediates(
                    images, indices=[0, 1, 2, 3, 4], intermediates_only=True
                )
            )
        maps: list[Tensor] = []
        for i, layer in enumerate(self._model[: _VGG_TAPS[-1] + 1]):
            images = layer(images)
            if i in _VGG_TAPS:
                maps.append(images)
        return maps
