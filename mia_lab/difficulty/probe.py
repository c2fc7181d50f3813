"""The linear probe of the difficulty score, exact and cheap (pure functions on tensors).

The probe predicts the target's pixels from all channels of all blocks, each upsampled to one pixel
grid: thousands of columns. None of them is ever formed, for two reasons.

*Upsampling adds no rank.* A ridge predictor sees its columns only through their Gram matrix, so the
(s, C) features of a block at its native resolution may be replaced by any factor of the same Gram
matrix; one of min(s, C) columns gives the predictions of all C, intercept included
(:func:`compact_factor`).

*Upsampling is sparse.* With X_k the factor of block k, U_k its upsampling and M the mask of the
training pixels, the normal matrix is made of the blocks X_k' (U_k' M U_l) X_l, which need no more
than the native resolution of the coarser of the two (:func:`normal_equations`).

Every subset of blocks is a sub-matrix of that matrix, and one eigendecomposition of it gives every
penalty at once.

Source: Shafran, Peleg, Hoshen, "Membership Inference Attacks are Easier on Difficult Problems",
ICCV 2021, arXiv:2102.07762, Eq. 2. The low-rank form is our own.

Shapes: B images of one size, P = G * G pixels, T target channels, D columns, L penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mia_lab.difficulty.grid import Upsampling, upsampling
from mia_lab.errors import UserError

Ridge = float | Literal["auto"]
"""A penalty, scikit-learn's ``alpha``; 0 is least squares, ``auto`` is chosen by the data."""

CUTOFF = 1e-6
"""Penalty 0 ignores singular values below this share of the largest."""

CHUNK = 256
"""Columns upsampled at a time: few enough to stay in a processor's cache."""

AUTO_DECADES = (2, -10)
AUTO_STEPS = 49
"""``auto`` tries so many penalties, from 100 to 1e-10 times the largest eigenvalue."""


def compact_factor(features: Tensor) -> Tensor:
    """The fewest columns that have the Gram matrix of all channels, between native pixels.

    Args:
        features: (..., C, h, w) features of one block.

    Returns:
        (..., h, w, min(C, h * w)). Where C <= h * w, the features themselves; else R' of their QR
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
    """The probe's columns, factored: block k is ``upsampling[k] @ native[k]``.

    Attributes:
        native: (h * w, B, r_k) a block, each column shifted by its mean. The shift changes no
            prediction, because the intercept takes it up, and saves digits.
        upsampling: one operator a block.
    """

    native: tuple[Tensor, ...]
    upsampling: tuple[Upsampling, ...]

    def meet_at(self, first: int, second: int) -> int:
        """The coarser of two blocks, at whose resolution their products are formed."""
        return max(first, second, key=lambda block: (-len(self.native[block]), block))

    def places(self, blocks: Sequence[int] | None = None) -> list[slice]:
        """Where the columns of the blocks lie when they are concatenated (default: all)."""
        chosen = range(len(self.native)) if blocks is None else blocks
        places, start = [], 0
        for block in chosen:
            places.append(slice(start, start + self.native[block].shape[-1]))
            start = places[-1].stop
        return places

    def to(self, dtype: torch.dtype) -> Columns:
        """The same columns in another precision."""
        native = tuple(n.to(dtype) for n in self.native)
        operators = (
            upsampling(u.height, u.width, u.grid_size, dtype, u.device) for u in self.upsampling
        )
        return Columns(native, tuple(operators))


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
        columns = factor.flatten(1, 2).transpose(0, 1).to(dtype)
        native.append((columns - columns.mean(dim=0)).contiguous())
        operators.append(upsampling(height, width, grid_size, dtype, factor.device))
    return Columns(tuple(native), tuple(operators))


def design_matrix(columns: Columns, blocks: Sequence[int]) -> Tensor:
    """The columns in full, upsampled and concatenated: (B, P, D); row i * G + j is pixel (i, j)."""
    full = []
    for block in blocks:
        full.append(columns.upsampling[block](columns.native[block]))
    return torch.cat(full, dim=-1).transpose(0, 1)


@dataclass(frozen=True)
class NormalEquations:
    """What a ridge fit needs to know of the training pixels; all sums are centred on them.

    Attributes:
        normal: (B, D, D) Gram matrix of the columns. Only its lower triangle is filled, and only
            that is read.
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

    def subset(self, places: Sequence[slice]) -> NormalEquations:
        """Those of some blocks alone, given in ascending order: no pixel is looked at again."""
        if sum(p.stop - p.start for p in places) == self.normal.shape[-1]:
            return self
        index = torch.cat([torch.arange(p.start, p.stop) for p in places]).to(self.normal.device)
        return NormalEquations(
            self.normal[:, index[:, None], index],
            self.cross[:, index],
            self.energy,
            self.column_mean[:, index],
            self.target_mean,
            self.n_train,
        )


def normal_equations(columns: Columns, targets: Tensor, train: Tensor) -> NormalEquations:
    """Sums over the training pixels, formed at native resolution.

    Args:
        columns: of B images.
        targets: (B, P, T), in the columns' precision.
        train: bool (B, P), True for training pixels; the same number in every image.
    """
    n_images, n_train = len(targets), int(train[0].sum())
    mask = train.to(targets.dtype)[..., None]
    target_mean = (targets * mask).sum(dim=1) / n_train
    residual = (targets - target_mean[:, None]).mul_(mask)
    places = columns.places()
    size = places[-1].stop
    normal = targets.new_zeros(n_images, size, size)
    sums = targets.new_empty(n_images, size, 1 + targets.shape[-1])
    observed = torch.cat([mask, residual], dim=-1).transpose(0, 1)  # (P, B, 1 + T)
    for i, (native, operator) in enumerate(zip(columns.native, columns.upsampling, strict=True)):
        sums[:, places[i]] = _products(native, operator.adjoint(observed))
        for start in range(0, native.shape[-1], CHUNK):
            chunk = native[..., start : start + CHUNK]
            stop = start + chunk.shape[-1]
            here = slice(places[i].start + start, places[i].start + stop)
            masked = operator(chunk) * mask.transpose(0, 1)
            for j in (j for j in range(len(places)) if columns.meet_at(i, j) == j):
                met = columns.upsampling[j].adjoint(masked)
                if j > i:
                    normal[:, places[j], here] = _products(columns.native[j], met)
                elif j < i:
                    normal[:, here, places[j]] = _products(met, columns.native[j])
                else:
                    before = slice(places[i].start, here.stop)
                    normal[:, here, before] = _products(met, native[..., :stop])
    column_mean = sums[..., 0] / n_train
    normal.baddbmm_(sums[..., :1], column_mean[:, None], alpha=-1)
    energy = residual.square().sum(dim=1)
    return NormalEquations(normal, sums[..., 1:], energy, column_mean, target_mean, n_train)


def ridge_weights(equations: NormalEquations, ridge: Sequence[Ridge]) -> tuple[Tensor, Tensor]:
    """Weights of the probe for positive penalties, all from one decomposition.

    Minimises the summed squared error plus ``ridge`` times the squared weights, as scikit-learn's
    ``Ridge(alpha)``; the intercept is not penalised. ``auto`` minimises the generalised
    cross-validation score n RSS / (n - df)^2 on the training pixels (Golub, Heath, Wahba 1979).

    One number is solved by Cholesky's decomposition, an eighth of the cost of the eigenvalues that
    several penalties, or ``auto``, need.

    Args:
        equations: of B images.
        ridge: L penalties, finite and above 0, or ``auto``.

    Returns:
        Weights (B, L, D, T), and the penalties used (B, L).

    Raises:
        UserError: a penalty is too small to be solved for in this precision.
    """
    if len(ridge) == 1 and ridge[0] != "auto":
        return _by_cholesky(equations, ridge[0])
    values, vectors = torch.linalg.eigh(equations.normal)
    values = values.clamp(min=0)  # what is below 0 is rounding
    rotated = vectors.mT @ equations.cross
    chosen = [
        _auto_penalty(equations, values, rotated)
        if r == "auto"
        else values.new_full((len(values),), r)
        for r in ridge
    ]
    penalty = torch.stack(chosen, dim=1)
    shrunk = rotated[:, None] / (values[:, None] + penalty[:, :, None])[..., None]
    return vectors[:, None] @ shrunk, penalty


def least_squares_weights(
    columns: Columns, blocks: Sequence[int], targets: Tensor, train: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights of least norm among those of least squared error: penalty 0, in float64.

    By the singular values of the centred training rows; those up to ``CUTOFF`` times the largest
    count as zero, as in ``scipy.linalg.lstsq(cond=CUTOFF)``. On the CPU: the normal equations
    would lose the digits that this needs, and no GPU library has the solver.

    Args:
        columns: of B images, in float64.
        blocks: indices of the blocks.
        targets: float64 (B, P, T).
        train: bool (B, P), True for training pixels; the same number in every image.

    Returns:
        Weights (B, 1, D, T), and the number of singular values used, int64 (B,).
    """
    design = design_matrix(columns, blocks)
    size = len(design), int(train[0].sum()), -1
    rows, values = design[train].reshape(size), targets[train].reshape(size)
    found = torch.linalg.lstsq(
        (rows - rows.mean(dim=1, keepdim=True)).cpu(),
        (values - values.mean(dim=1, keepdim=True)).cpu(),
        rcond=CUTOFF,
        driver="gelsd",
    )
    return found.solution[:, None].to(targets.device), found.rank.to(targets.device)


def predict(
    columns: Columns, blocks: Sequence[int], equations: NormalEquations, weights: Tensor
) -> Tensor:
    """Predictions for all pixels, training or not; they are not clipped.

    Args:
        columns: of B images.
        blocks: indices of the blocks the weights are for.
        equations: those of the same blocks.
        weights: (B, L, D, T).

    Returns:
        (B, L, P, T).
    """
    n_images, n_penalties, _, n_targets = weights.shape
    offset = equations.target_mean[:, None] - torch.einsum(
        "bd,bldt->blt", equations.column_mean, weights
    )
    values = [
        # Projected first: upsampling a few target channels is cheaper than all columns.
        columns.upsampling[block](
            torch.einsum("sbd,bldt->sblt", columns.native[block], weights[:, :, place]).flatten(2)
        )
        for block, place in zip(blocks, columns.places(blocks), strict=True)
    ]
    total = torch.stack(values).sum(dim=0).reshape(-1, n_images, n_penalties, n_targets)
    return total.permute(1, 2, 0, 3) + offset[:, :, None]


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Sums over pixels: (s, B, c) and (s, B, d) to (B, c, d)."""
    return first.permute(1, 2, 0) @ second.permute(1, 0, 2)


def _by_cholesky(equations: NormalEquations, ridge: float) -> tuple[Tensor, Tensor]:
    normal = equations.normal
    diagonal = normal.diagonal(dim1=1, dim2=2)
    kept = diagonal.clone()
    diagonal.add_(ridge)  # in place, and undone: a copy would cost as much as the factorisation
    factor, failed = torch.linalg.cholesky_ex(normal)
    diagonal.copy_(kept)
    if failed.any() or not torch.isfinite(factor).all():
        raise UserError(
            f"difficulty.ridge={ridge:g}: too small for features of this size in {normal.dtype}; "
            "raise it, use difficulty.precision=float64 or scale the features down"
        )
    weights = torch.cholesky_solve(equations.cross, factor)
    return weights[:, None], weights.new_full((len(weights), 1), ridge)


def _auto_penalty(equations: NormalEquations, values: Tensor, rotated: Tensor) -> Tensor:
    """The penalty of least generalised cross-validation score: (B,); of equals the largest."""
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
    # Where the fit interpolates, both are nothing but rounding.
    score = torch.where(free > 0.01 * n, residual / free.square(), torch.inf)
    best = score.argmin(dim=1, keepdim=True)
    return tried.gather(1, best).squeeze(1)
