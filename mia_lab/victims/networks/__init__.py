"""Networks with the state dict keys of the published checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mia_lab.parameters import size_text, width_height

RGB_AND_EDGES = "rgb_edges"
"""Encoding of pix2pixHD's pictures with instances: RGB, then their boundaries in {0, 1}."""


def translate_unit_range(network: nn.Module, x: Tensor, input_encoding: str = "rgb") -> Tensor:
    """Run a network with outputs in [-1, 1] on inputs in [0, 1].

    Args:
        network: accepts what :func:`network_range` returns.
        x: float (N, in_channels, H, W) in [0, 1].
        input_encoding: ``rgb``, ``one_hot`` or `RGB_AND_EDGES`.

    Returns:
        float (N, out_channels, H, W) in [0, 1].
    """
    out: Tensor = (network(network_range(x, input_encoding)) + 1) / 2
    return out


def network_range(x: Tensor, input_encoding: str) -> Tensor:
    """Convert inputs to the range of the published networks: pictures [-1, 1], labels {0, 1}.

    Args:
        x: float (N, C, H, W) in [0, 1].
        input_encoding: ``rgb`` (pictures of any channels), ``one_hot``, or `RGB_AND_EDGES`.
    """
    if input_encoding == RGB_AND_EDGES:
        return torch.cat([2 * x[:, :3] - 1, x[:, 3:]], dim=1)
    return 2 * x - 1 if input_encoding == "rgb" else x


def misfit(image_size: int | Sequence[int], stride: int, smallest: int) -> str:
    """Why a network cannot take images of some size, with the nearest size; "" if it can.

    Args:
        image_size: of the images.
        stride: both sides must be multiples of it.
        smallest: smallest side, a multiple of the stride.
    """
    sides = width_height(image_size)
    fits = tuple(max(smallest, round(side / stride) * stride) for side in sides)
    if fits == sides:
        return ""
    return (
        f"takes images whose sides are multiples of {stride}, at least {smallest}, but "
        f"data.image_size={size_text(image_size)}; set data.image_size={size_text(fits)}"
    )


class UnitRange(nn.Module):
    """A published network as a module from [0, 1] to [0, 1]; see :func:`translate_unit_range`."""

    def __init__(self, network: nn.Module, input_encoding: str) -> None:
        super().__init__()
        self.network = network
        self.input_encoding = input_encoding

    def forward(self, x: Tensor) -> Tensor:
        return translate_unit_range(self.network, x, self.input_encoding)
