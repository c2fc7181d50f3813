"""The U-Net generator of pix2pix, with the state dict keys of the published checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mia_lab.parameters import width_height
from mia_lab.victims.networks.norms import has_bias, norm_layer

SMALLEST = 32
"""Side of the smallest image: a U-Net has five levels at least."""


def n_levels(image_size: int | Sequence[int]) -> int:
    """Exponent of the largest power of two that divides both sides of an image."""
    common = math.gcd(*width_height(image_size))
    return (common & -common).bit_length() - 1


class UNet(nn.Module):
    """Encoder-decoder with skip connections (Isola et al. 2017).

    Its levels halve the image as often as both sides can be halved: a square whose side is a power
    of two down to one pixel. At 256 px and width 64 this is the published U-Net-256 with 54.4 M
    parameters.

    Args:
        image_size: side of square images, or (width, height); multiples of 32.
        in_channels, out_channels: channels of input and output.
        width: channels of the first level (``ngf``); doubled level by level up to eightfold.
        dropout: probability in the decoder levels next to the innermost (three at 256 px).
        norm: see :func:`~mia_lab.victims.networks.norms.norm_layer`.

    Attributes:
        arguments: constructor arguments that rebuild the network.
        stride: the side of an image must be a multiple of it.
        smallest: side of the smallest image.

    Raises:
        ValueError: the image size or the norm is not supported.
    """

    def __init__(
        self,
        image_size: int | Sequence[int],
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        dropout: float = 0.5,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "image_size": image_size if isinstance(image_size, int) else list(image_size),
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "dropout": dropout,
            "norm": norm,
        }
        depth = n_levels(image_size)
        if 2**depth < SMALLEST:
            raise ValueError(f"image_size={image_size}: both sides must be multiples of {SMALLEST}")
        self.stride = self.smallest = 2**depth
        block = _Level(8 * width, 8 * width, None, norm)
        for _ in range(depth - 5):
            block = _Level(8 * width, 8 * width, block, norm, dropout)
        for factor in (4, 2, 1):
            block = _Level(factor * width, 2 * factor * width, block, norm)
        self.model = _Outermost(in_channels, out_channels, width, block, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Translate (N, in_channels, H, W) in [-1, 1] to (N, out_channels, H, W) in [-1, 1]."""
        out: Tensor = self.model(x)
        return out


class _Level(nn.Module):
    """One level: halve, recurse, double; its input is concatenated to its output."""

    def __init__(
        self, outer: int, inner: int, below: nn.Module | None, norm: str, dropout: float = 0
    ) -> None:
        super().__init__()
        bias = has_bias(norm)
        down: list[nn.Module] = [nn.LeakyReLU(0.2), nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)]
        if below is None:  # the innermost level has no norm after its convolution and no skip
            middle: list[nn.Module] = []
            inner_out = inner
        else:
            middle = [norm_layer(norm, inner), below]
            inner_out = 2 * inner
        up: list[nn.Module] = [
            nn.ReLU(),
            nn.ConvTranspose2d(inner_out, outer, 4, 2, 1, bias=bias),
            norm_layer(norm, outer),
        ]
        if dropout:
            up.append(nn.Dropout(dropout))
        self.model = nn.Sequential(*down, *middle, *up)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], dim=1)


class _Outermost(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, width: int, below: nn.Module, norm: str
    ) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, 2, 1, bias=has_bias(norm)),
            below,
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, out_channels, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out
