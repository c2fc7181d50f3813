"""The linear probe of the difficulty score, in its exact low-rank form (pure functions).

A ridge predictor sees its columns only through their Gram matrix. Bilinear upsampling is linear, so
the (s * s, C) features of a block may be replaced, before they are upsampled, by any factor of the
same Gram matrix: one of min(s * s, C) columns gives the predictions of all C columns, intercept
included, at a fraction of the cost.

Source: Shafran, Peleg, Hoshen, "Membership Inference Attacks are Easier on Difficult Problems",
ICCV 2021, arXiv:2102.07762, Eq. 2. The low-rank form is our own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mia_lab.errors import UserError
from mia_lab.seeding import derive_seed

TRAIN_FRACTION = 0.7
"""Share of the pixels that the probe is fitted on; the score is its error on the others."""


def check_ridge(ridge: float) -> float:
    """The penalty as a float.

    Raises:
        UserError: it is not a finite number above 0.
    """
    number = isinstance(ridge, int | float) and not isinstance(ridge, bool)
    if not (number and math.isfinite(ridge) and ridge > 0):
        raise UserError(
            f"difficulty.ridge={ridge}: the penalty must be a finite number above 0, for example 1"
        )
    return float(ridge)


def pixel_split(
    image_id: str,
    seed: int,
    n_pixels: int,
    fraction: float = TRAIN_FRACTION,
    repeat: int = 0,
) -> NDArray[np.bool_]:
    """Which pixels of one image the probe is fitted on.

    The split depends on the arguments alone, so neither the other images nor their order matter.

    Args:
        image_id: the image.
        seed: the run's seed.
        n_pixels: number of pixels, at least 2.
        fraction: share of training pixels, in (0, 1).
        repeat: index of the repetition; each has a split of its own.

    Returns:
        bool (n_pixels,), True for the round(fraction * n_pixels) training pixels.

    Raises:
        ValueError: no pixel would be left to train on, or none to hold out.
    """
    n_train = round(fraction * n_pixels)
    if not 0 < n_train < n_pixels:
        raise ValueError(f"{fraction} of {n_pixels} pixels leaves one side of the split empty")
    key = derive_seed(seed, "difficulty", image_id, repeat)
    # Raw words and a stable sort: numpy keeps these streams from version to version, but not
    # those of permutation().
    words = np.random.Philox(key=key).random_raw(n_pixels)
    train = np.zeros(n_pixels, dtype=np.bool_)
    train[np.argsort(words, kind="stable")[:n_train]] = True
    return train


def compact_factor(features: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """The fewest channels that have the Gram matrix of all: between pixels, at native resolution.

    Args:
        features: (C, h, w) features of one block.
        dtype: precision of the factor, and so of the probe.

    Returns:
        (min(C, h * w), h, w). Where h * w < C, with F the (C, h * w) features and F = Q R, it is R.
    """
    channels, height, width = features.shape
    features = features.to(dtype)
    if height * width >= channels:
        return features
    factor: Tensor = torch.linalg.qr(features.reshape(channels, -1), mode="r").R
    return factor.reshape(-1, height, width)


def design_matrix(factors: Sequence[Tensor], grid_size: int) -> Tensor:
    """Columns of the probe: each block upsampled bilinearly, then concatenated.

    Args:
        factors: (k, h, w) each, of one dtype, as :func:`compact_factor` returns them.
        grid_size: G, side of the pixel grid.

    Returns:
        (G * G, D), D the sum of all k; row i * G + j is pixel (i, j).
    """
    grid = (grid_size, grid_size)
    rows = [
        functional.interpolate(f[None], grid, mode="bilinear", align_corners=False)[0].flatten(1)
        for f in factors
    ]
    return torch.cat(rows).T


def fit_predict(design: Tensor, targets: Tensor, train: NDArray[np.bool_], ridge: float) -> Tensor:
    """Fit the ridge probe on the training pixels and predict all of them.

    Minimises the summed squared error plus ``ridge`` times the squared weights (scikit-learn's
    ``alpha``); the intercept is not penalised. Predictions are not clipped.

    Args:
        design: (P, D) columns.
        targets: (P, T) values to predict.
        train: bool (P,), True for training pixels.
        ridge: the penalty, above 0.

    Returns:
        (P, T) predictions, in the precision of ``design``.

    Raises:
        UserError: the penalty is not above 0, or too small to solve in this precision.
    """
    ridge = check_ridge(ridge)
    mask = torch.from_numpy(train)
    targets = targets.to(design.dtype)
    rows, values = design[mask], targets[mask]
    row_mean, value_mean = rows.mean(dim=0), values.mean(dim=0)
    rows = rows - row_mean
    normal = rows.T @ rows
    normal.diagonal().add_(ridge)
    cholesky, failed = torch.linalg.cholesky_ex(normal)
    if failed or not torch.isfinite(normal).all():
        raise UserError(
            f"difficulty.ridge={ridge:g}: too small for features of this size in {design.dtype}; "
            "raise it or scale the features down"
        )
    weights = torch.cholesky_solve(rows.T @ (values - value_mean), cholesky)
    return (design - row_mean) @ weights + value_mean


def heldout_error(predictions: Tensor, targets: Tensor, train: NDArray[np.bool_]) -> float:
    """Mean absolute error over the held-out pixels and all channels (Eq. 2).

    Args:
        predictions: (P, T).
        targets: (P, T), in [0, 1].
        train: bool (P,), True for training pixels.

    Returns:
        The difficulty score, in the unit of the targets.
    """
    heldout = torch.from_numpy(~train)
    return float((predictions - targets.to(predictions.dtype))[heldout].abs().mean())


def difficulty_score(
    features: Sequence[NDArray[Any]],
    target: NDArray[Any],
    *,
    ridge: float = 1.0,
    seed: int = 0,
    image_id: str = "",
) -> float:
    """Difficulty of one image from features of your own making: arrays in, a number out.

    Args:
        features: one (C, h, w) array a block, of any resolution.
        target: (3, G, G) the image to predict, in [0, 1]; G is the pixel grid of the probe.
        ridge: penalty, above 0 (scikit-learn's ``alpha``).
        seed: seed of the pixel split.
        image_id: name of the image; the pixel split depends on it.

    Returns:
        Mean absolute error on the held-out 30 % of the pixels (Eq. 2), in the target's unit.

    Raises:
        UserError: the penalty is not above 0, or an array holds NaN or infinite values.
        ValueError: a shape is not as above.

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
    maps = [torch.from_numpy(np.asarray(f, dtype=np.float64)) for f in features]
    values = torch.from_numpy(np.asarray(target, dtype=np.float64))
    return repeated_scores(maps, values, ridge=ridge, seed=seed, image_id=image_id)[0]


def repeated_scores(
    features: Sequence[Tensor],
    target: Tensor,
    *,
    ridge: float,
    seed: int,
    image_id: str,
    repeats: int = 1,
) -> list[float]:
    """Difficulty of one image under several pixel splits.

    Args:
        features: (C, h, w) each.
        target: (3, G, G).
        ridge: penalty, above 0.
        seed: seed of the pixel splits.
        image_id: name of the image.
        repeats: number of splits.

    Returns:
        One score per split.

    Raises:
        UserError: the penalty is not above 0, or a tensor holds NaN or infinite values.
    """
    if not all(bool(torch.isfinite(t).all()) for t in (*features, target)):
        raise UserError(f"image {image_id!r}: NaN or infinite values in its features or its target")
    design = design_matrix([compact_factor(f) for f in features], target.shape[-1])
    targets = target.to(design.dtype).flatten(1).T
    scores = []
    for repeat in range(repeats):
        train = pixel_split(image_id, seed, len(targets), repeat=repeat)
        score = heldout_error(fit_predict(design, targets, train, ridge), targets, train)
        if not math.isfinite(score):
            raise UserError(f"image {image_id!r}: its target overflows {design.dtype}")
        scores.append(score)
    return scores
