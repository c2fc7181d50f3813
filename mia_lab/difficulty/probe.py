"""The linear probe of the difficulty score, exact and cheap (pure functions on tensors).

The probe predicts the target's pixels from all channels of all blocks, upsampled to one pixel grid:
thousands of columns, which are never computed. Let X_k be the compact factor of block k (see
:mod:`~mia_lab.difficulty.columns`), U_k its sparse upsampling, and M the mask of the training
pixels. Then the normal matrix consists of the blocks X_k' (U_k' M U_l) X_l, computed at the native
resolution of the coarser of the two blocks.

The normal matrix of a subset of blocks is a sub-matrix, and one eigendecomposition gives the fits
of all penalties.

Source: Shafran, Peleg, Hoshen, "Membership Inference Attacks are Easier on Difficult Problems",
ICCV 2021, arXiv:2102.07762, Eq. 2. The low-rank form is our own.

Shapes: B images of one size, P = G * G pixels, T target channels, D columns, L penalties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from mia_lab.difficulty.columns import Columns, design_matrix
from mia_lab.errors import UserError

Ridge = float | Literal["auto"]
"""A penalty, scikit-learn's ``alpha``; 0 is least squares, ``auto`` is chosen from the data."""

CUTOFF = 1e-6
"""Penalty 0 ignores singular values below this share of the largest."""

MARGIN = 1e-3
"""Share of the cut-off that a bound on singular values leaves for its rounding errors."""

CHUNK = 128
"""Number of columns upsampled at a time; they fit in a processor's cache."""

AUTO_DECADES = (2, -10)
AUTO_STEPS = 49
"""Number of penalties that ``auto`` tries, from 100 to 1e-10 times the largest eigenvalue."""


class Unsolvable(UserError):
    """A penalty too small for one image.

    Attributes:
        image: index of the image in the batch.
    """

    def __init__(self, image: int, reason: str) -> None:
        super().__init__(reason)
        self.image = image


@dataclass(frozen=True)
class NormalEquations:
    """The sums over the training pixels that a ridge fit needs, centred on their means.

    Attributes:
        normal: (B, D, D) Gram matrix of the columns. Only its lower triangle is filled and read.
        cross: (B, D, T) products of columns and targets.
        energy: (B, T) sums of squares of the targets.
        column_mean: (B, D).
        target_mean: (B, T).
        n_train: number of training pixels, the same for every image.
    """

    normal: Tensor
    cross: Tensor
    energy: Tensor
    column_mean: Tensor
    target_mean: Tensor
    n_train: int

    def subset(self, slices: Sequence[slice]) -> NormalEquations:
        """The normal equations of some blocks, without a new sum over pixels.

        Args:
            slices: columns of the blocks, from :meth:`Columns.slices`.

        Raises:
            ValueError: the blocks are not in ascending order.
        """
        if any(a.start >= b.start for a, b in pairwise(slices)):
            raise ValueError("only the lower triangle is filled: give blocks in ascending order")
        if sum(s.stop - s.start for s in slices) == self.normal.shape[-1]:
            return self
        index = torch.cat([torch.arange(s.start, s.stop) for s in slices]).to(self.normal.device)
        return NormalEquations(
            self.normal[:, index[:, None], index],
            self.cross[:, index],
            self.energy,
            self.column_mean[:, index],
            self.target_mean,
            self.n_train,
        )


def normal_equations(columns: Columns, targets: Tensor, train: Tensor) -> NormalEquations:
    """Compute the sums over the training pixels, at native resolution.

    Args:
        columns: columns of B images.
        targets: (B, P, T), in the precision of the columns.
        train: bool (B, P), True for training pixels; the same number in every image.
    """
    n_images, n_train = len(targets), int(train[0].sum())
    mask = train.to(targets.dtype)[..., None]
    target_mean = (targets * mask).sum(dim=1) / n_train
    residual = (targets - target_mean[:, None]).mul_(mask)
    slices = columns.slices()
    size = slices[-1].stop
    normal = targets.new_zeros(n_images, size, size)
    sums = targets.new_empty(n_images, size, 1 + targets.shape[-1])
    observed = torch.cat([mask, residual], dim=-1).transpose(0, 1)  # (P, B, 1 + T)
    for i, (native, operator) in enumerate(zip(columns.native, columns.upsampling, strict=True)):
        sums[:, slices[i]] = _products(native, operator.adjoint(observed))
        for start in range(0, native.shape[-1], CHUNK):
            chunk = native[..., start : start + CHUNK]
            stop = start + chunk.shape[-1]
            here = slice(slices[i].start + start, slices[i].start + stop)
            masked = operator(chunk) * mask.transpose(0, 1)
            for j in (j for j in range(len(slices)) if columns.coarser(i, j) == j):
                coarse = columns.upsampling[j].adjoint(masked)
                if j > i:
                    normal[:, slices[j], here] = _products(columns.native[j], coarse)
                elif j < i:
                    normal[:, here, slices[j]] = _products(coarse, columns.native[j])
                else:
                    before = slice(slices[i].start, here.stop)
                    normal[:, here, before] = _products(coarse, native[..., :stop])
    column_mean = sums[..., 0] / n_train
    normal.baddbmm_(sums[..., :1], column_mean[:, None], alpha=-1)
    energy = residual.square().sum(dim=1)
    return NormalEquations(normal, sums[..., 1:], energy, column_mean, target_mean, n_train)


@dataclass(frozen=True)
class Fit:
    """Fitted probes: prediction = columns @ weights + intercept.

    Attributes:
        weights: (B, L, D, T).
        intercept: (B, L, T).
        penalty: (B, L), the penalties used.
        rank: int64 (B,), number of singular values used at penalty 0; None at other penalties.
    """

    weights: Tensor
    intercept: Tensor
    penalty: Tensor
    rank: Tensor | None = None


def fit_ridge(equations: NormalEquations, ridge: Sequence[Ridge]) -> Fit:
    """Fit probes with positive penalties, all from one decomposition.

    The fit minimises the summed squared error plus ``ridge`` times the squared weights, as
    scikit-learn's ``Ridge(alpha)``; the intercept is not penalised. ``auto`` minimises the
    generalised cross-validation score n RSS / (n - df)^2 on the training pixels (Golub, Heath,
    Wahba 1979).

    A single number is solved by a Cholesky decomposition, at an eighth of the cost of the
    eigendecomposition that several penalties, or ``auto``, need. Both use float64; only the sums
    over pixels have the precision of the equations.

    Args:
        equations: normal equations of B images.
        ridge: L penalties, finite and above 0, or ``auto``.

    Raises:
        Unsolvable: a penalty is below the rounding error of the sums of one image.
        ValueError: ``auto`` in float32, whose rounding dominates the smallest eigenvalues.
    """
    _check_penalties(equations, ridge)
    normal, cross = equations.normal.double(), equations.cross.double()
    if len(ridge) == 1 and ridge[0] != "auto":
        weights, penalty = _by_cholesky(normal, cross, ridge[0]), cross.new_tensor([[ridge[0]]])
    else:
        values, vectors = torch.linalg.eigh(normal)
        values = values.clamp(min=0)  # negative eigenvalues are rounding errors
        rotated = vectors.mT @ cross
        penalty = torch.stack(
            [
                _auto_penalty(equations, values, rotated)
                if r == "auto"
                else values.new_full((len(values),), r)
                for r in ridge
            ],
            dim=1,
        )
        sums = values[:, :, None] + penalty[:, None]  # (B, D, L)
        shrunk = rotated[:, :, None] / sums[..., None]
        # One product for all penalties; a product per penalty would copy the eigenvectors.
        weights = (vectors @ shrunk.flatten(2)).reshape(shrunk.shape).permute(0, 2, 1, 3)
    weights = weights.to(equations.normal.dtype)
    explained = torch.einsum("bd,bldt->blt", equations.column_mean, weights)
    intercept = equations.target_mean[:, None] - explained
    return Fit(weights, intercept, penalty.expand(len(weights), -1))


def fit_least_squares(
    columns: Columns, blocks: Sequence[int], targets: Tensor, train: Tensor
) -> Fit:
    """Fit probes of least norm among those of least squared error: penalty 0, in float64.

    The fit uses the singular values of the centred training rows; values up to ``CUTOFF`` times the
    largest count as zero, as in ``scipy.linalg.lstsq(cond=CUTOFF)``. The rows are reduced to a
    triangle by a QR decomposition. If a bound shows that all its singular values count, the
    solution is unique, and back substitution gives it; else the decomposition of the triangle into
    singular values does. The normal equations would not be precise enough. All runs on the CPU,
    because no GPU library has the solver.

    Args:
        columns: columns of B images, in float64.
        blocks: indices of the blocks.
        targets: float64 (B, P, T).
        train: bool (B, P), True for training pixels; the same number in every image.

    Returns:
        The fit of L = 1 penalty, with its rank.
    """
    fits = []
    for image, values in enumerate(targets):
        pixels = train[image].nonzero().squeeze(1)
        # A column of zeros has no weight in the fit of least norm.
        rows, kept = design_matrix(columns, blocks, image, pixels)
        column_mean, target_mean = rows.mean(dim=0), values[pixels].mean(dim=0)
        solution, rank = _least_norm(
            rows.sub_(column_mean).cpu(), (values[pixels] - target_mean).cpu()
        )
        weights = values.new_zeros(len(kept), values.shape[1])
        weights[kept] = solution.to(values.device)
        fits.append((weights, target_mean - column_mean @ weights[kept], rank))
    weights, intercept, rank = (torch.stack(part) for part in zip(*fits, strict=True))
    penalty = weights.new_zeros(len(weights), 1)
    return Fit(weights[:, None], intercept[:, None], penalty, rank.to(targets.device))


def predict(columns: Columns, blocks: Sequence[int], fit: Fit) -> Tensor:
    """Predictions for all pixels, training and held-out; they are not clipped.

    Args:
        columns: columns of B images.
        blocks: indices of the blocks that the probes were fitted on.
        fit: fit on those blocks.

    Returns:
        (B, L, P, T).
    """
    n_images, n_penalties, _, n_targets = fit.weights.shape
    values = [
        # Project before upsampling, because there are fewer target channels than columns.
        columns.upsampling[block](
            torch.einsum("sbd,bldt->sblt", columns.native[block], fit.weights[:, :, rows])
        )
        for block, rows in zip(blocks, columns.slices(blocks), strict=True)
    ]
    total = torch.stack(values).sum(dim=0).reshape(-1, n_images, n_penalties, n_targets)
    return total.permute(1, 2, 0, 3) + fit.intercept[:, :, None]


def _least_norm(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The least squares solution of least norm, and the rank, at the cut-off.

    Args:
        rows: (n, D).
        values: (n, T).

    Returns:
        (D, T), and int64 ().
    """
    size = rows.shape[1]
    # The decomposition of both rotates the values, too, without the rotation itself.
    factor = torch.linalg.qr(torch.cat([rows.mT, values.mT]).mT, mode="r").R
    triangle, rotated = factor[:size, :size], factor[:size, size:]
    if _all_count(triangle):
        solution = torch.linalg.solve_triangular(triangle, rotated, upper=True)
        return solution, torch.tensor(size)
    found = torch.linalg.lstsq(triangle, rotated, rcond=CUTOFF, driver="gelsd")
    return found.solution, found.rank


def _all_count(triangle: Tensor) -> bool:
    """Whether a bound shows all singular values of an upper triangle to be above the cut-off.

    The ratio of the smallest to the largest is at least 1 / (|R| |R^-1|) in Frobenius norms.
    """
    rows, size = triangle.shape
    if size == 0 or rows < size:
        return size == 0
    norm, least = triangle.norm(), triangle.diagonal().abs().min()
    if least <= CUTOFF * norm:  # 1 / least is an entry of the inverse
        return False
    inverse_norm = torch.cholesky_inverse(triangle, upper=True).trace().sqrt()
    return bool(norm * inverse_norm * CUTOFF < 1 - MARGIN)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Sums over pixels: (s, B, c) and (s, B, d) to (B, c, d)."""
    return first.permute(1, 2, 0) @ second.permute(1, 0, 2)


def _check_penalties(equations: NormalEquations, ridge: Sequence[Ridge]) -> None:
    """Raise if a penalty is below the rounding error of the sums over pixels."""
    normal = equations.normal
    if "auto" in ridge and normal.dtype != torch.float64:
        raise ValueError("auto needs equations in float64")
    largest = normal.diagonal(dim1=1, dim2=2).amax(dim=1)
    smallest = min((r for r in ridge if r != "auto"), default=math.inf)
    for image, scale in enumerate(largest.tolist()):
        rounding = torch.finfo(normal.dtype).eps * scale
        if not math.isfinite(scale):
            raise Unsolvable(image, f"its features overflow {normal.dtype}; scale them down")
        if smallest <= rounding:
            remedy = (
                "" if normal.dtype == torch.float64 else ", or use difficulty.precision=float64"
            )
            raise Unsolvable(
                image,
                f"a penalty of {smallest:g} is below the rounding error of its features in "
                f"{normal.dtype} ({rounding:.2g}); raise difficulty.ridge or difficulty.grid.ridge"
                f"{remedy}",
            )


def _by_cholesky(normal: Tensor, cross: Tensor, ridge: float) -> Tensor:
    diagonal = normal.diagonal(dim1=1, dim2=2)
    original = diagonal.clone()
    diagonal.add_(ridge)  # in place, because a copy would cost as much as the factorisation
    factor, failed = torch.linalg.cholesky_ex(normal)
    diagonal.copy_(original)
    if failed.any():
        image = int(failed.nonzero()[0, 0])
        raise Unsolvable(
            image, f"a penalty of {ridge:g} leaves its equations singular; raise difficulty.ridge"
        )
    return torch.cholesky_solve(cross, factor)[:, None]


def _auto_penalty(equations: NormalEquations, values: Tensor, rotated: Tensor) -> Tensor:
    """The penalty with the least generalised cross-validation score: (B,); ties: the largest."""
    n = equations.n_train
    powers = torch.linspace(*AUTO_DECADES, AUTO_STEPS, dtype=values.dtype, device=values.device)
    tried = torch.where(values[:, -1:] > 0, values[:, -1:], 1) * 10**powers  # (B, A)
    sums = values[:, None] + tried[..., None]  # (B, A, D)
    explained = (values[:, None] + 2 * tried[..., None]) / sums.square()
    signal = rotated.square().sum(dim=-1, keepdim=True)  # (B, D, 1)
    residual = (equations.energy.sum(dim=1, keepdim=True) - (explained @ signal).squeeze(-1)).clamp(
        min=0
    )
    free = n - 1 - (values[:, None] / sums).sum(dim=-1)
    # If the fit interpolates, both numerator and denominator are rounding errors.
    score = torch.where(free > 0.01 * n, residual / free.square(), torch.inf)
    best = score.argmin(dim=1, keepdim=True)
    return tried.gather(1, best).squeeze(1)
