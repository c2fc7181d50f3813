"""Calibration of scores to probabilities of membership."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mia_lab.evaluation.cross_fit import cross_fit
from mia_lab.evaluation.decision import proportion
from mia_lab.evaluation.results import Calibration
from mia_lab.evaluation.roc import equal_parts
from mia_lab.types import Floats, Strings

BINS = 8
_MIN_IN_BIN = 10


def calibrate(
    scores: Floats, is_member: NDArray[np.bool_], seed: int, groups: Strings | None = None
) -> Calibration | None:
    """Fit Platt's sigmoid with cross-fitting: each image's probability comes from other images.

    A logistic regression on the score (Platt 1999), balanced between the classes, so that the
    probabilities hold for a prior of one half.

    Args:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,).
        seed: seed of the folds.
        groups: (N,) clusters; the images of a cluster are all in one fold.

    Returns:
        None if a class has too few images or clusters to be divided.
    """
    # One slope needs no penalty, so C is large; a finite C keeps a perfect separation finite.
    slope = LogisticRegression(C=1e3, class_weight="balanced")
    model = make_pipeline(StandardScaler(), slope)
    found = cross_fit(model, np.asarray(scores)[:, None], is_member, seed, groups)
    if found is None:
        return None
    logit = np.clip(found.decision, -35, 35)
    probability = 1 / (1 + np.exp(-logit))
    n_bins = int(np.clip(len(probability) // _MIN_IN_BIN, 1, BINS))
    bins = [rows for rows in equal_parts(probability, n_bins) if len(rows)]
    # The measures use the same prior as the fit: half of all candidates are members.
    weight = np.where(is_member, 0.5 / is_member.sum(), 0.5 / (~is_member).sum())
    odds = float(np.count_nonzero(~is_member) / np.count_nonzero(is_member))
    truth = is_member.astype(np.float64)
    shares = [
        proportion(is_member[rows], None if groups is None else groups[rows]) for rows in bins
    ]
    return Calibration(
        probability=probability,
        predicted=np.array([np.average(probability[b], weights=weight[b]) for b in bins]),
        observed=np.array([_reweighed(share.value, odds) for share in shares]),
        observed_ci95=np.array([[_reweighed(end, odds) for end in s.ci95] for s in shares]),
        count=np.array([len(rows) for rows in bins]),
        brier=float(weight @ (probability - truth) ** 2),
        log_loss=float(weight @ np.logaddexp(0, np.where(is_member, -logit, logit))),
    )


def _reweighed(share: float, odds: float) -> float:
    """A share of members, reweighted to equally many members and non-members overall."""
    return share * odds / (share * odds + 1 - share)
