"""pix2pixHD's coarse-to-fine generator, with the state dict keys of the published checkpoints."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mia_lab.victims.networks.resnet import ResidualBlock, down, head, picture, trunk, up


class LocalEnhancer(nn.Module):
    """A global generator on the downsampled image, refined scale by scale (Wang et al. 2018).

    ``LocalEnhancer`` of pix2pixHD's code. Every enhancer halves the image once more.

    Args:
        in_channels, out_channels: channels of input and output.
        width: channels of the finest scale (``ngf``), doubled at every coarser scale.
        n_downsamplings, n_blocks: downsamplings and residual blocks of the global generator.
        n_enhancers: number of scales besides the coarsest, at least 1.
        n_local_blocks: residual blocks of each enhancer.
        norm: see :func:`~mia_lab.victims.networks.norms.norm_layer`.

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
        width: int = 32,
        n_downsamplings: int = 4,
        n_blocks: int = 9,
        n_enhancers: int = 1,
        n_local_blocks: int = 3,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "n_downsamplings": n_downsamplings,
            "n_blocks": n_blocks,
            "n_enhancers": n_enhancers,
            "n_local_blocks": n_local_blocks,
            "norm": norm,
        }
        self.stride = 2 ** (n_downsamplings + n_enhancers)
        self.smallest = 2 * self.stride
        coarsest = width * 2**n_enhancers
        self.model = nn.Sequential(
            *trunk(in_channels, coarsest, n_downsamplings, n_blocks, norm, dropout=0, bias=True)
        )
        for n in range(1, n_enhancers + 1):
            fine = coarsest // 2**n
            blocks = [ResidualBlock(2 * fine, norm, 0, True) for _ in range(n_local_blocks)]
            last = picture(width, out_channels) if n == n_enhancers else []
            before = nn.Sequential(
                *head(in_channels, fine, norm, True), *down(fine, 2 * fine, norm, True)
            )
            after = nn.Sequential(*blocks, *up(2 * fine, fine, norm, True), *last)
            self.add_module(f"model{n}_1", before)
            self.add_module(f"model{n}_2", after)
        self.downsample = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Translate (N, in_channels, H, W) to (N, out_channels, H, W) in [-1, 1]."""
        pyramid = [x]  # finest first
        for _ in range(self.arguments["n_enhancers"]):
            pyramid.append(self.downsample(pyramid[-1]))
        out: Tensor = self.model(pyramid.pop())
        for n, image in enumerate(reversed(pyramid), start=1):
            before, after = self.get_submodule(f"model{n}_1"), self.get_submodule(f"model{n}_2")
            out = after(before(image) + out)
        return out
