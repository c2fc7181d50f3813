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
from scipy import ndimage, sparse
from torch import Tensor


@lru_cache(maxsize=64)
def resampling_matrix(size: int, grid_size: int) -> NDArray[np.float64]:
    """Weights that resize one axis: float64 (grid_size, size), read-only; each row sums to 1."""
    unit = np.eye(size)
    if size > grid_size:
        sigma = (size / grid_size - 1) / 2
        unit = ndimage.gaussian_filter1d(unit, sigma, axis=0, mode="mirror")
    zoom = (grid_size / size, 1)
    matrix: NDArray[np.float64] = ndimage.zoom(unit, zoom, order=1, mode="mirror", grid_mode=True)
    matrix.flags.writeable = False
    return matrix


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
        return self._csr(self._matrix().T.tocsr())

    def _matrix(self) -> sparse.csr_array:
        rows, columns = (
            sparse.csr_array(resampling_matrix(size, self.grid_size))
            for size in (self.height, self.width)
        )
        return sparse.csr_array(sparse.kron(rows, columns))

    def _csr(self, matrix: sparse.csr_array) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                torch.from_numpy(matrix.indptr.astype(np.int64)),
                torch.from_numpy(matrix.indices.astype(np.int64)),
                torch.from_numpy(matrix.data).to(self.dtype),
                size=matrix.shape,
                device=self.device,
                check_invariants=False,
            )


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
