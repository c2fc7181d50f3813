"""Errors of one answer against each twin of its target, as the attacks measure them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from mia_lab.attacks.distances import METRICS
from mia_lab.types import Floats
from mia_lab.victims.query import reconstruction_error

TwinError = Callable[[NDArray[np.floating], NDArray[np.float32]], float]
"""From an answer and a twin, both (C, H, W) in [0, 1], to the error; low = likely a member."""


def _absolute(answer: NDArray[np.floating], twin: NDArray[np.float32]) -> float:
    return float(reconstruction_error(answer[None], twin[None])[0])


def _squared(answer: NDArray[np.floating], twin: NDArray[np.float32]) -> float:
    return float(METRICS["l2"](*_tensors(answer, twin), None)[0])


def _dissimilar(answer: NDArray[np.floating], twin: NDArray[np.float32]) -> float:
    return float(METRICS["ssim"](*_tensors(answer, twin), None)[0])


def _tensors(
    answer: NDArray[np.floating], twin: NDArray[np.float32]
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(answer[None].astype(np.float32)), torch.from_numpy(twin[None])


def twin_errors(
    score: str, answer: NDArray[np.floating], twins: Iterable[NDArray[np.float32]]
) -> Floats:
    """The error of one answer against each twin.

    Args:
        score: one of :data:`TWIN_ERRORS`.
        answer: (C, H, W) in [0, 1].
        twins: N pictures (C, H, W) in [0, 1].

    Returns:
        float64 (N,); low = likely a member.

    Raises:
        ValueError: shapes differ.
    """
    error = TWIN_ERRORS[score]
    return np.array([error(answer, twin) for twin in twins])


TWIN_ERRORS: Mapping[str, TwinError] = {
    "reconstruction": _absolute,
    "l2": _squared,
    "ssim": _dissimilar,
}
"""By the value of ``canary.score``, the name of the attack."""
