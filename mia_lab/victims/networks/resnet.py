"""The residual generators of pix2pix and pix2pixHD, with their checkpoints' state dict keys."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from mia_lab.victims.networks.norms import has_bias, norm_layer


class ResNetGenerator(nn.Module):
    """Downsampling, residual blocks, and upsampling (Johnson et al. 2016).

    The defaults are pix2pix's ``resnet_9blocks`` (``ResnetGenerator`` of its code). With four
    downsamplings and ``norm="instance"`` it is pix2pixHD's global generator (Wang et al. 2018,
    ``GlobalGenerator``), 182.55 M parameters for 36 input channels.

    Args:
        in_channels, out_channels: channels of input and output.
        width: channels of the first convolution (``ngf``), doubled by every downsampling.
        n_downsamplings: number of downsamplings by two.
        n_blocks: number of residual blocks.
        norm: see :func:`~mia_lab.victims.networks.norms.norm_layer`.
        dropout: probability in the residual blocks; 0 omits the layer, which changes the keys.
        bias: whether convolutions before a norm have biases; None means as in pix2pix.

    Attributes:
        arguments: constructor arguments that rebuild the network.
        stride: the side of an image must be a multiple of it.
        smallest: side of the smallest image; reflection needs two pixels in the blocks.

    Raises:
        ValueError: the norm is unknown.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        n_downsamplings: int = 2,
        n_blocks: int = 9,
        norm: str = "batch",
        dropout: float = 0.0,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        bias = has_bias(norm) if bias is None else bias
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "n_downsamplings": n_downsamplings,
            "n_blocks": n_blocks,
            "norm": norm,
            "dropout": dropout,
            "bias": bias,
        }
        self.stride = 2**n_downsamplings
        self.smallest = 2 * self.stride
        self.model = nn.Sequential(
            *trunk(in_channels, width, n_downsamplings, n_blocks, norm, dropout, bias),
            *picture(width, out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Translate (N, in_channels, H, W) to (N, out_channels, H, W) in [-1, 1]."""
        out: Tensor = self.model(x)
        return out


def trunk(
    in_channels: int,
    width: int,
    n_downsamplings: int,
    n_blocks: int,
    norm: str,
    dropout: float,
    bias: bool,
) -> list[nn.Module]:
    """The layers of a residual generator before the output layers of `picture`."""
    layers = head(in_channels, width, norm, bias)
    widths = [width * 2**i for i in range(n_downsamplings + 1)]
    for before, after in pairwise(widths):
        layers += down(before, after, norm, bias)
    layers += [ResidualBlock(widths[-1], norm, dropout, bias) for _ in range(n_blocks)]
    for before, after in pairwise(reversed(widths)):
        layers += up(before, after, norm, bias)
    return layers


def head(in_channels: int, width: int, norm: str, bias: bool) -> list[nn.Module]:
    """The layers from the input to the first features."""
    convolution = nn.Conv2d(in_channels, width, 7, bias=bias)
    return [nn.ReflectionPad2d(3), convolution, norm_layer(norm, width), nn.ReLU(inplace=True)]


def down(before: int, after: int, norm: str, bias: bool) -> list[nn.Module]:
    """Layers that halve height and width."""
    convolution = nn.Conv2d(before, after, 3, 2, 1, bias=bias)
    return [convolution, norm_layer(norm, after), nn.ReLU(inplace=True)]


def up(before: int, after: int, norm: str, bias: bool) -> list[nn.Module]:
    """Layers that double height and width."""
    convolution = nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1, bias=bias)
    return [convolution, norm_layer(norm, after), nn.ReLU(inplace=True)]


def picture(width: int, out_channels: int) -> list[nn.Module]:
    """The layers from the last features to a picture in [-1, 1]."""
    return [nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions whose output is added to their input."""

    def __init__(self, width: int, norm: str, dropout: float, bias: bool) -> None:
        super().__init__()

        def convolution() -> list[nn.Module]:
            layer = nn.Conv2d(width, width, 3, bias=bias)
            return [nn.ReflectionPad2d(1), layer, norm_layer(norm, width)]

        between: list[nn.Module] = [nn.ReLU(inplace=True)]
        if dropout:
            between.append(nn.Dropout(dropout))
        self.conv_block = nn.Sequential(*convolution(), *between, *convolution())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv_block(x)
        return out
