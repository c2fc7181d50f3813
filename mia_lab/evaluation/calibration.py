"""Scores as probabilities of membership."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.cross_fit import cross_fit
from mia_lab.evaluation.decision import proportion_interval
from mia_lab.measures import Calibration
from mia_lab.types import Floats, Strings

BINS = 8
_MIN_IN_BIN = 10


def calibrate(
    scores: Floats, is_member: NDArray[np.bool_], seed: int, groups: Strings | None = None
) -> Calibration | None:
    """Platt's sigmoid, cross-fitted: each image's probability comes from the others.

    A logistic regression on the score (Platt 1999), balanced between the classes, so that the
    probabilities are those of a candidate as likely a member as not.

    Args:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,).
        seed: of the folds.
        groups: (N,) clusters, whose images never lie on both sides.

    Returns:
        None where a class has too few images or clusters to be divided.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # C is large: one slope needs no penalty, and a finite one keeps perfect separation finite.
    slope = LogisticRegression(C=1e3, class_weight="balanced")
    model = make_pipeline(StandardScaler(), slope)
    found = cross_fit(model, np.asarray(scores)[:, None], is_member, seed, groups)
    if found is None:
        return None
    logit = np.clip(found.decision, -35, 35)
    probability = 1 / (1 + np.exp(-logit))
    order = np.argsort(probability, kind="stable")
    n_bins = int(np.clip(len(order) // _MIN_IN_BIN, 1, BINS))
    bins = np.array_split(order, n_bins)
    hits = [int(np.count_nonzero(is_member[rows])) for rows in bins]
    truth = is_member.astype(np.float64)
    return Calibration(
        probability=probability,
        predicted=np.array([probability[rows].mean() for rows in bins]),
        observed=np.array([truth[rows].mean() for rows in bins]),
        observed_ci95=np.array(
            [proportion_interval(h, len(rows)) for h, rows in zip(hits, bins, strict=True)]
        ),
        count=np.array([len(rows) for rows in bins]),
        brier=float(((probability - truth) ** 2).mean()),
        log_loss=float(np.logaddexp(0, np.where(is_member, -logit, logit)).mean()),
    )
