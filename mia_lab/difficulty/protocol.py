"""Which pixels the probe is fitted on and which it is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mia_lab.seeding import derive_seed

TRAIN_FRACTION = 0.7
"""Share of the pixels that a holdout fits the probe on; the score is its error on the others."""


@dataclass(frozen=True)
class PixelProtocol:
    """How one image's pixels are divided, how often, and what counts as error.

    Attributes:
        name: ``holdout``, 70 % of the pixels to fit and 30 % to judge by (the paper's), or
            ``kfold``: every pixel is predicted once, by a probe fitted on the other folds.
        folds: number of folds of ``kfold``, at least 2.
        repeats: number of random divisions, each from the image's id.
        error: ``l1``, mean absolute error (the paper's), or ``l2``, mean squared error.
    """

    name: Literal["holdout", "kfold"] = "holdout"
    folds: int = 5
    repeats: int = 1
    error: Literal["l1", "l2"] = "l1"

    def held_out(self, n_pixels: int) -> list[slice]:
        """What is held out in turn, as slices of a random order of the pixels.

        Raises:
            ValueError: too few pixels to fit on some and judge by others.
        """
        if self.name == "holdout":
            bounds = [round(TRAIN_FRACTION * n_pixels), n_pixels]
        else:
            bounds = [round(i * n_pixels / self.folds) for i in range(self.folds + 1)]
        slices = [slice(a, b) for a, b in pairwise(bounds)]
        if any(not 0 < s.stop - s.start < n_pixels for s in slices):
            raise ValueError(f"{n_pixels} pixels are too few for {self.name}")
        return slices

    def pixel_error(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Error of every pixel and channel, in the target's unit (l1) or its square (l2)."""
        difference = predictions - targets
        return difference.abs() if self.error == "l1" else difference.square()


def pixel_order(image_id: str, seed: int, n_pixels: int, repeat: int = 0) -> NDArray[np.int64]:
    """A random order of one image's pixels.

    It depends on the arguments alone, so neither the other images nor their order matter.

    Args:
        image_id: the image.
        seed: the run's seed.
        n_pixels: number of pixels.
        repeat: index of the repetition; each has an order of its own.

    Returns:
        int64 (n_pixels,), a permutation.
    """
    key = derive_seed(seed, "difficulty", image_id, repeat)
    # Raw words and a stable sort: numpy keeps these streams from version to version, but not
    # those of permutation().
    words = np.random.Philox(key=key).random_raw(n_pixels)
    return np.argsort(words, kind="stable")


def mask(orders: NDArray[np.int64], held_out: slice) -> Tensor:
    """Which pixels are held out: orders (B, P) to bool (B, P)."""
    chosen = torch.zeros(orders.shape, dtype=torch.bool)
    return chosen.scatter_(1, torch.from_numpy(orders[:, held_out]), True)
