"""The discriminators of pix2pix and pix2pixHD, with the published checkpoints' state dict keys."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from mia_lab.victims.networks.norms import has_bias, norm_layer


class PatchGAN(nn.Module):
    """Classifies overlapping 70 x 70 patches as real or translated (Isola et al. 2017).

    With 6 input channels and width 64: 2.77 M parameters.

    Args:
        in_channels: channels of input and target together.
        width: channels of the first layer (``ndf``).
        norm: ``batch`` or ``instance``; with ``instance`` all convolutions have biases.

    Raises:
        ValueError: the norm is unknown.
    """

    def __init__(self, in_channels: int = 6, width: int = 64, norm: str = "batch") -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            layers += [
                nn.Conv2d(before * width, after * width, 4, stride, 1, bias=has_bias(norm)),
                norm_layer(norm, after * width),
                nn.LeakyReLU(0.2),
            ]
        self.model = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))

    def forward(self, pair: Tensor) -> Tensor:
        """Logits (N, 1, h, w), one per patch, of pairs (N, in_channels, H, W)."""
        out: Tensor = self.model(pair)
        return out


class MultiscaleDiscriminator(nn.Module):
    """PatchGANs with instance norm on an image pyramid (Wang et al. 2018).

    ``MultiscaleDiscriminator`` of pix2pixHD's code, intermediate features included. With two
    scales, 39 input channels and width 64: 5.60 M parameters.

    Args:
        in_channels: channels of input and target together.
        width: channels of the first layer (``ndf``), doubled layer by layer up to 512.
        n_discriminators: number of scales, each half the size of the one before.
        n_layers: number of convolutions with stride 2; three give patches of 70 x 70 pixels.
    """

    def __init__(
        self, in_channels: int = 39, width: int = 64, n_discriminators: int = 2, n_layers: int = 3
    ) -> None:
        super().__init__()
        self.n_discriminators = n_discriminators
        self.n_layers = n_layers
        for i in range(n_discriminators):
            for j, layer in enumerate(_patch_layers(in_channels, width, n_layers)):
                self.add_module(f"scale{i}_layer{j}", layer)
        self.downsample = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, pair: Tensor) -> list[list[Tensor]]:
        """Features of pairs (N, in_channels, H, W).

        Returns:
            For each scale, full resolution first, the outputs of all layers; the last output is
            the logits (N, 1, h, w). As in the published code, the layers with the highest number
            process the full resolution.
        """
        scales = []
        for i in reversed(range(self.n_discriminators)):
            features = [pair]
            for j in range(self.n_layers + 2):
                features.append(self.get_submodule(f"scale{i}_layer{j}")(features[-1]))
            scales.append(features[1:])
            if i:
                pair = self.downsample(pair)
        return scales


def _patch_layers(in_channels: int, width: int, n_layers: int) -> list[nn.Sequential]:
    widths = [min(width * 2**i, 512) for i in range(n_layers + 1)]
    layers = [nn.Sequential(nn.Conv2d(in_channels, width, 4, 2, 2), nn.LeakyReLU(0.2))]
    for i, (before, after) in enumerate(pairwise(widths), start=1):
        stride = 2 if i < n_layers else 1
        convolution = nn.Conv2d(before, after, 4, stride, 2)
        layers.append(nn.Sequential(convolution, norm_layer("instance", after), nn.LeakyReLU(0.2)))
    return [*layers, nn.Sequential(nn.Conv2d(widths[-1], 1, 4, 1, 2))]
