"""Resampling of feature maps and targets of any size to the pixel grid of the probe.

Resizing is linear and separable, so it is one matrix per axis. The method is that of
``skimage.transform.resize``, which the authors' code uses: bilinear between pixel centres, with
mirrored borders, after a Gaussian with sigma (size / grid_size - 1) / 2 if the size decreases.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@lru_cache(maxsize=64)
def resampling_matrix(size: int, grid_size: int) -> NDArray[np.float64]:
    """Weights that resize one axis: float64 (grid_size, size), read-only; each row sums to 1."""
    unit = np.eye(size)
    if size > grid_size:
        sigma = (size / grid_size - 1) / 2
        radius = int(4 * sigma + 0.5)
        kernel = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
        kernel /= kernel.sum()
        padded = np.pad(unit, ((radius, radius), (0, 0)), "reflect")
        for place, weight in enumerate(kernel):
            unit = weight * padded[:size] if place == 0 else unit + weight * padded[place:][:size]
    at = (np.arange(grid_size) + 0.5) * (size / grid_size) - 0.5
    low = np.floor(at)
    share = (at - low)[:, None]
    first, second = (_mirrored(low.astype(int) + step, size) for step in (0, 1))
    matrix: NDArray[np.float64] = (1 - share) * unit[first] + share * unit[second]
    matrix.flags.writeable = False
    return matrix


def _mirrored(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Pixels of an axis whose borders are mirrors: those beyond it are the ones before it."""
    period = max(1, 2 * (size - 1))
    index = index % period
    return np.minimum(index, period - index) if size > 1 else index


def to_grid(images: Tensor, grid_size: int) -> Tensor:
    """Resize images to the pixel grid.

    Args:
        images: (..., H, W) of any size; the range [0, 1] is preserved.
        grid_size: G, side of the pixel grid.

    Returns:
        float32 (..., G, G), computed in float64.
    """
    height, width = images.shape[-2:]
    rows, columns = (
        torch.from_numpy(resampling_matrix(size, grid_size).copy()).to(images.device)
        for size in (height, width)
    )
    return (rows @ images.double() @ columns.T).float()


@dataclass(frozen=True)
class Upsampling:
    """The sparse (G * G, h * w) operator that resamples maps of h x w pixels to the grid."""

    height: int
    width: int
    grid_size: int
    dtype: torch.dtype
    device: torch.device

    def __call__(self, columns: Tensor) -> Tensor:
        """Resample (h * w, ...) on the native pixels to (G * G, ...) on the grid."""
        return columns if self.is_identity else _apply(self._forward, columns)

    def adjoint(self, columns: Tensor) -> Tensor:
        """Apply the transposed operator: (G * G, ...) to (h * w, ...)."""
        return columns if self.is_identity else _apply(self._adjoint, columns)

    @property
    def is_identity(self) -> bool:
        """Whether the maps have the resolution of the grid."""
        return self.height == self.width == self.grid_size

    @cached_property
    def _forward(self) -> Tensor:
        return self._csr(self._matrix())

    @cached_property
    def _adjoint(self) -> Tensor:
        return self._csr(self._matrix().T)

    def _matrix(self) -> Tensor:
        """The Kronecker product of the matrices of both axes: sparse COO, float64."""
        rows, columns = (
            torch.from_numpy(resampling_matrix(size, self.grid_size).copy()).to_sparse()
            for size in (self.height, self.width)
        )
        size = torch.tensor(columns.shape)[:, None, None]
        places = rows.indices()[:, :, None] * size + columns.indices()[:, None]
        values = rows.values()[:, None] * columns.values()
        shape = (self.grid_size**2, self.height * self.width)
        return torch.sparse_coo_tensor(
            places.flatten(1), values.flatten(), shape, check_invariants=False
        )

    def _csr(self, matrix: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return matrix.to_sparse_csr().to(self.device, self.dtype)


def _apply(matrix: Tensor, columns: Tensor) -> Tensor:
    flat = columns.flatten(1).contiguous()
    # Into a new tensor: a plain product would fill its result with zeros first, then copy it.
    result = flat.new_empty(matrix.shape[0], flat.shape[1]).addmm_(matrix, flat, beta=0)
    return result.reshape(matrix.shape[0], *columns.shape[1:])


@lru_cache(maxsize=64)
def upsampling(
    height: int, width: int, grid_size: int, dtype: torch.dtype, device: torch.device
) -> Upsampling:
    """The operator for maps of one size, cached."""
    return Upsampling(height, width, grid_size, dtype, device)
