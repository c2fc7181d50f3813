"""How the errors of members and of non-members part while a victim is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mia_lab.evaluation.repeats import mean_over_repeats
from mia_lab.evaluation.results import EpochMeans, Estimate, Overfitting
from mia_lab.types import Floats

LOSS = "l1"
"""The loss of a training that has the unit of the reconstruction error."""


def overfitting(
    errors: Mapping[int, Floats], n_members: int, losses: Sequence[Mapping[str, float]]
) -> Overfitting:
    """Mean errors of both kinds of images after some epochs, and the loss of every epoch.

    Args:
        errors: by epoch, float64 (N,) reconstruction errors: of the members, then of the
            non-members.
        n_members: how many of them are of members.
        losses: mean losses of every epoch, with its number as ``epoch``.
    """
    return Overfitting(
        n_members=n_members,
        n_nonmembers=len(next(iter(errors.values()))) - n_members,
        means=tuple(
            EpochMeans(epoch, _mean(found[:n_members]), _mean(found[n_members:]))
            for epoch, found in errors.items()
        ),
        loss=np.array([row[LOSS] for row in losses if LOSS in row]),
    )


def _mean(errors: Floats) -> Estimate:
    """With Student's interval, of zero width where all errors are equal."""
    found = mean_over_repeats(errors.tolist())
    return Estimate(found.value, found.ci95 or (found.value, found.value))
