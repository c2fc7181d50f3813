"""The PatchGAN discriminator of pix2pix, in the key layout of the published checkpoints."""

from __future__ import annotations

from torch import Tensor, nn


class PatchGAN(nn.Module):
    """Classifies overlapping 70 x 70 patches as real or translated (Isola et al. 2017).

    With 6 input channels and width 64: 2.77 M parameters.

    Args:
        in_channels: channels of input and target together.
        width: channels of the first layer (``ndf``).
    """

    def __init__(self, in_channels: int = 6, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            layers += [
                nn.Conv2d(before * width, after * width, 4, stride, 1, bias=False),
                nn.BatchNorm2d(after * width),
                nn.LeakyReLU(0.2),
            ]
        self.model = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))

    def forward(self, pair: Tensor) -> Tensor:
        """Logits (N, 1, h, w), one a patch, for pairs (N, in_channels, H, W)."""
        out: Tensor = self.model(pair)
        return out
