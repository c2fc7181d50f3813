"""Difficulty scores from compact factors, for any number of settings at once (Eq. 2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mia_lab.difficulty.columns import Columns, compact_factor, make_columns
from mia_lab.difficulty.probe import (
    Fit,
    Ridge,
    Unsolvable,
    fit_least_squares,
    fit_ridge,
    normal_equations,
    predict,
)
from mia_lab.difficulty.protocol import PixelProtocol, mask, pixel_order
from mia_lab.errors import UserError
from mia_lab.types import Floats, Layer

NO_RANK = -1
"""Value of the rank if the penalty is above 0, for which no rank is computed."""


@dataclass(frozen=True)
class Setting:
    """One setting of the score: the concatenated blocks, and the penalty."""

    layers: tuple[Layer, ...]
    ridge: Ridge


@dataclass(frozen=True)
class FactorBatch:
    """The data of B images that a probe needs under any setting.

    Attributes:
        ids: B image ids.
        factors: (B, h, w, r) for each layer, as ``compact_factor`` returns them.
        target: (B, T, G, G) on the pixel grid, in [0, 1].
    """

    ids: tuple[str, ...]
    factors: dict[Layer, Tensor]
    target: Tensor

    def split(self, size: int) -> Iterator[FactorBatch]:
        """The same images in batches of at most ``size``."""
        for start in range(0, len(self.ids), size):
            rows = slice(start, start + size)
            factors = {layer: factor[rows] for layer, factor in self.factors.items()}
            yield FactorBatch(self.ids[rows], factors, self.target[rows])

    def to(self, device: torch.device) -> FactorBatch:
        """The same batch on another device."""
        factors = {layer: factor.to(device) for layer, factor in self.factors.items()}
        return FactorBatch(self.ids, factors, self.target.to(device))


@dataclass(frozen=True)
class Scores:
    """Scores of B images under S settings and T repeats.

    Attributes:
        score: float64 (B, S, T), the error on held-out pixels.
        penalty: float64 (B, S, T), the penalty used; for ``auto`` the geometric mean over folds.
        rank: int64 (B, S, T), rank of the centred columns if the penalty is 0, the smallest over
            folds; else -1.
        map: float32 (B, G, G), error of each pixel under the first setting, mean over channels and
            repeats; (B, 0, 0) if maps are not requested.
    """

    score: Floats
    penalty: Floats
    rank: NDArray[np.int64]
    map: NDArray[np.float32]


def check_ridge(ridge: Any, key: str = "difficulty.ridge") -> Ridge:
    """Check a penalty, and return it as a float or ``auto``.

    Raises:
        UserError: the penalty is neither ``auto`` nor a finite number of at least 0.
    """
    if ridge == "auto":
        return "auto"
    if isinstance(ridge, list | tuple):
        raise UserError(f"{key}={ridge}: a penalty is one number; give a flat list, such as [1,10]")
    number = isinstance(ridge, int | float) and not isinstance(ridge, bool)
    if not (number and math.isfinite(ridge) and ridge >= 0):
        raise UserError(
            f"{key}={ridge}: the penalty must be a finite number of at least 0, such as 1, or auto"
        )
    return float(ridge)


def score_batch(
    batch: FactorBatch,
    settings: Sequence[Setting],
    protocol: PixelProtocol,
    seed: int,
    dtype: torch.dtype = torch.float64,
    maps: bool = False,
) -> Scores:
    """Difficulty of the images of a batch under every setting.

    Args:
        batch: the images, on any device.
        settings: at least one setting; the batch has all their layers.
        protocol: division of the pixels into training and held-out pixels.
        seed: seed of the pixel divisions.
        dtype: precision of the probe; penalty 0 is always solved in float64.
        maps: return the error of every pixel; needs a protocol that holds out every pixel.

    Raises:
        UserError: a value is not finite, or a penalty is too small for this precision.
    """
    _reuse_memory()
    _check_finite(batch)
    grid_size = batch.target.shape[-1]
    used = {layer for setting in settings for layer in setting.layers}
    factors = {layer: factor for layer, factor in batch.factors.items() if layer in used}
    columns = cache(partial(make_columns, list(factors.values()), grid_size))
    targets = batch.target.flatten(2).transpose(1, 2).to(dtype)
    totals = _Totals(batch.ids, settings, protocol, targets)
    for repeat in range(protocol.repeats):
        orders = np.stack([pixel_order(i, seed, targets.shape[1], repeat) for i in batch.ids])
        for fold in protocol.held_out(targets.shape[1]):
            held_out = mask(orders, fold).to(targets.device)
            try:
                for group, predictions, fit in _fits(
                    columns, list(factors), targets, ~held_out, settings
                ):
                    error = protocol.pixel_error(predictions, targets[:, None]).mean(dim=-1)
                    totals.add(repeat, group, error * held_out[:, None], fit)
            except Unsolvable as error:
                raise UserError(_about(batch.ids[error.image], str(error))) from error
    scores = totals.scores(grid_size if maps else 0)
    overflowed = ~np.isfinite(scores.score).all(axis=(1, 2))
    if overflowed.any():
        name = batch.ids[int(np.flatnonzero(overflowed)[0])]
        raise UserError(_about(name, f"its features or its target overflow {dtype}"))
    return scores


class _Totals:
    """Sums of errors, penalties and ranks over repeats and folds."""

    def __init__(
        self,
        ids: Sequence[str],
        settings: Sequence[Setting],
        protocol: PixelProtocol,
        targets: Tensor,
    ) -> None:
        n_pixels = targets.shape[1]
        shape = (len(ids), len(settings), protocol.repeats)
        folds = protocol.held_out(n_pixels)
        self._n_folds, self._repeats = len(folds), protocol.repeats
        self._n_held_out = sum(fold.stop - fold.start for fold in folds)
        self._error, self._penalty = np.zeros(shape), np.ones(shape)
        self._rank = np.full(shape, n_pixels)
        self._rank[:, [s.ridge != 0 for s in settings]] = NO_RANK
        self._fixed = {i: s.ridge for i, s in enumerate(settings) if s.ridge != "auto"}
        self._pixels = torch.zeros(len(ids), n_pixels, device=targets.device)

    def add(self, repeat: int, group: list[int], error: Tensor, fit: Fit) -> None:
        """Add the errors (B, L, P) of some settings, which are 0 at training pixels."""
        at = np.s_[:, group, repeat]
        self._error[at] += error.sum(dim=-1, dtype=torch.float64).cpu().numpy()
        self._penalty[at] *= fit.penalty.cpu().numpy() ** (1 / self._n_folds)
        if fit.rank is not None:
            self._rank[at] = np.minimum(self._rank[at], fit.rank[:, None].cpu().numpy())
        if group == [0]:
            self._pixels += error[:, 0] / self._repeats

    def scores(self, map_size: int) -> Scores:
        """The scores, in which each held-out pixel has the same weight in every fold."""
        n_images = len(self._pixels)
        maps = self._pixels[:, : map_size**2].reshape(n_images, map_size, map_size)
        for setting, ridge in self._fixed.items():
            self._penalty[:, setting] = ridge
        error = self._error / self._n_held_out
        return Scores(error, self._penalty, self._rank, maps.cpu().numpy())


def _fits(
    columns: Callable[[torch.dtype], Columns],
    names: Sequence[Layer],
    targets: Tensor,
    train: Tensor,
    settings: Sequence[Setting],
) -> Iterator[tuple[list[int], Tensor, Fit]]:
    """Indices of settings that share one decomposition, their predictions, and the fit."""
    equations = cache(lambda: normal_equations(columns(targets.dtype), targets, train))
    for group in _groups(settings):
        blocks = [names.index(layer) for layer in settings[group[0]].layers]
        blocks.sort()
        if settings[group[0]].ridge == 0:
            fit = fit_least_squares(columns(torch.float64), blocks, targets.double(), train)
            predictions = predict(columns(torch.float64), blocks, fit)
        else:
            slices = columns(targets.dtype).slices()
            part = equations().subset([slices[b] for b in blocks])
            fit = fit_ridge(part, [settings[s].ridge for s in group])
            predictions = predict(columns(targets.dtype), blocks, fit)
        yield group, predictions, fit


def _groups(settings: Sequence[Setting]) -> list[list[int]]:
    """Group settings of the same layers; penalty 0 has its own group, as it has its own solver.

    The first setting has its own group, so that its numbers do not depend on the other settings.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, setting in enumerate(settings):
        groups.setdefault((index == 0, setting.layers, setting.ridge == 0), []).append(index)
    return list(groups.values())


def names_key(layers: Sequence[Layer]) -> str:
    """A set of layers as one string: ``1,2,3,4``."""
    return ",".join(map(str, layers))


def difficulty_score(
    features: Sequence[NDArray[Any]],
    target: NDArray[Any],
    *,
    ridge: Ridge = 1.0,
    seed: int = 0,
    image_id: str = "",
) -> float:
    """Difficulty of one image from arrays of features.

    Args:
        features: one (C, h, w) array per block, of any resolution.
        target: (3, G, G) the image to predict, in [0, 1]; G is the pixel grid of the probe.
        ridge: penalty, at least 0 (scikit-learn's ``alpha``), or ``auto``.
        seed: seed of the pixel split.
        image_id: name of the image; the pixel split depends on it.

    Returns:
        Mean absolute error on the held-out 30 % of the pixels (Eq. 2), in the target's unit.

    Raises:
        UserError: the penalty is out of range, or an array contains NaN or infinite values.
        ValueError: an array has a wrong shape.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> blocks = [rng.random((8, 16, 16)), rng.random((32, 4, 4))]
        >>> easy = np.full((3, 16, 16), 0.5)
        >>> hard = rng.random((3, 16, 16))
        >>> round(difficulty_score(blocks, easy), 6)
        0.0
        >>> difficulty_score(blocks, hard) > 0.2
        True
    """
    if target.ndim != 3 or target.shape[1] != target.shape[2]:
        raise ValueError(f"target must be (3, G, G), not {target.shape}")
    if not features or any(f.ndim != 3 for f in features):
        raise ValueError(f"features must be (C, h, w) each, not {[f.shape for f in features]}")
    maps = [torch.from_numpy(np.array(f, dtype=np.float64))[None] for f in features]
    values = torch.from_numpy(np.array(target, dtype=np.float64))[None]
    layers = tuple(range(len(maps)))
    factors: dict[Layer, Tensor] = {k: compact_factor(maps[k]) for k in layers}
    setting = Setting(layers, check_ridge(ridge))
    batch = FactorBatch((image_id,), factors, values)
    return float(score_batch(batch, [setting], PixelProtocol(), seed).score[0, 0, 0])


@cache
def _reuse_memory() -> None:
    """Avoid page faults in reused memory, which take a third of the probe's time on Linux.

    The C library returns a large free block to the kernel at once, unless a block of that size was
    freed before: freeing a block raises the threshold to its size, up to 32 MB. The command keeps
    larger ones, too (:func:`mia_lab.process.keep_memory`); the processes of API users do not.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _check_finite(batch: FactorBatch) -> None:
    for tensor in (*batch.factors.values(), batch.target):
        if (name := first_not_finite(batch.ids, tensor)) is not None:
            raise UserError(_about(name, "NaN or infinite values in its features or its target"))


def first_not_finite(ids: Sequence[str], values: Tensor) -> str | None:
    """The id of the first image with a NaN or an infinity; None where all (N, ...) are finite."""
    flat = values.flatten(1)
    # NaN and infinities propagate to the extremes, which need no mask as large as the values.
    finite = torch.isfinite(flat.amax(dim=1) - flat.amin(dim=1)).tolist()
    return None if all(finite) else ids[finite.index(False)]


def _about(image_id: str, reason: str) -> str:
    """A message about an image, with its id if it has one."""
    return f"image {image_id!r}: {reason}" if image_id else reason
