"""The columns of the probe, reduced and at the native resolution of each block.

Upsampling adds no rank, and a ridge predictor depends on its columns only through their Gram
matrix. So any factor with the same Gram matrix may replace the (s, C) features of a block before
they are upsampled. A factor of min(s, C) columns gives the same predictions as all C columns,
intercept included.

Shapes: B images of one size, P = G * G pixels, D columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mia_lab.difficulty.resampling import Upsampling, upsampling

ROUNDING = 100
"""Differences up to this multiple of the precision's epsilon count as rounding."""


def compact_factor(features: Tensor) -> Tensor:
    """The smallest set of columns with the same Gram matrix (over native pixels) as all channels.

    Args:
        features: (..., C, h, w) features of one block.

    Returns:
        (..., h, w, min(C, h * w)). If C <= h * w, the features themselves; else R' of their QR
        decomposition F = Q R, with F (C, h * w), in float64.
    """
    *batch, channels, height, width = features.shape
    if channels <= height * width:
        return features.movedim(-3, -1)
    flat = features.reshape(*batch, channels, height * width)
    factor: Tensor = torch.linalg.qr(flat.double(), mode="r").R
    return factor.mT.reshape(*batch, height, width, -1)


@dataclass(frozen=True)
class Columns:
    """The columns of the probe in factored form: block k is ``upsampling[k] @ native[k]``.

    Attributes:
        native: (h * w, B, r_k) per block, each column shifted by its mean. The shift improves the
            precision, and changes no prediction, because the intercept absorbs it. r_k < h * w,
            as a shifted column has one degree of freedom less; 1 if the block has one pixel.
        upsampling: one operator per block.
    """

    native: tuple[Tensor, ...]
    upsampling: tuple[Upsampling, ...]

    def coarser(self, first: int, second: int) -> int:
        """The coarser of two blocks, at whose resolution their products are computed."""
        return max(first, second, key=lambda block: (-len(self.native[block]), block))

    def slices(self, blocks: Sequence[int] | None = None) -> list[slice]:
        """Positions of the columns of each block in their concatenation (default: all blocks)."""
        chosen = range(len(self.native)) if blocks is None else blocks
        slices, start = [], 0
        for block in chosen:
            slices.append(slice(start, start + self.native[block].shape[-1]))
            start = slices[-1].stop
        return slices


def make_columns(factors: Sequence[Tensor], grid_size: int, dtype: torch.dtype) -> Columns:
    """Columns of B images.

    Args:
        factors: (B, h, w, r_k) each, as :func:`compact_factor` returns them.
        grid_size: G, side of the pixel grid.
        dtype: precision of the probe, float64 or float32.
    """
    native, operators = [], []
    for factor in factors:
        _, height, width, _ = factor.shape
        low, high = factor.amin(dim=(1, 2)), factor.amax(dim=(1, 2))  # (B, r)
        rounding = ROUNDING * torch.finfo(dtype).eps * torch.maximum(high, -low)
        varies = high - low > rounding.amax(dim=1, keepdim=True)
        columns = factor.flatten(1, 2).transpose(0, 1).to(dtype)
        columns = (columns - columns.mean(dim=0)).contiguous()
        if not varies.all():
            # A constant column holds only rounding errors, which penalty 0 would fit.
            columns *= varies
        native.append(_without_null(columns) if columns.shape[-1] == len(columns) > 1 else columns)
        operators.append(upsampling(height, width, grid_size, dtype, factor.device))
    return Columns(tuple(native), tuple(operators))


def design_matrix(
    columns: Columns, blocks: Sequence[int], image: int, pixels: Tensor
) -> tuple[Tensor, Tensor]:
    """The upsampled and concatenated columns of one image at some pixels, without columns of zeros.

    Args:
        columns: columns of B images.
        blocks: indices of the blocks.
        image: index of the image.
        pixels: int64 (n,); pixel i * G + j is in row i and column j of the grid.

    Returns:
        (n, D'), contiguous by column as LAPACK reads it, and which columns it has: bool (D,).
    """
    rows, kept = [], []
    for block in blocks:
        native = columns.native[block][:, image]
        kept.append(native.any(dim=0))
        rows.append(columns.upsampling[block](native[:, kept[-1]])[pixels].mT)
    return torch.cat(rows).mT, torch.cat(kept)


def _without_null(columns: Tensor) -> Tensor:
    """As many centred columns as pixels, (s, B, s), as s - 1 columns with the same Gram matrix.

    Centred columns sum to zero, so that one combination of s of them vanishes.
    """
    factor: Tensor = torch.linalg.qr(columns.permute(1, 2, 0), mode="r").R
    return factor[:, :-1].permute(2, 0, 1).contiguous()
