"""The classifiers behind the blind baselines, and their AUCs under permuted labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.clusters import cluster_codes, permuted
from mia_lab.evaluation.cross_fit import cross_fit
from mia_lab.evaluation.roc import auc, midranks, split_classes
from mia_lab.seeding import derive_seed, generator
from mia_lab.types import BlindFits, Floats, Strings

DIFFICULTY = "difficulty"
"""The baseline that is fitted to nothing, and counts on either side of 0.5."""

EXCEEDANCES = 10
"""So many permuted maxima above the observed one settle the matter.

See :func:`mia_lab.evaluation.blind.judge_split`.
"""

EQUAL = 1e-12
"""AUCs that differ by no more are equal."""

_AT_LEAST = 40
"""Permutations at least, so that the spread of the refitted AUCs is known."""

_PENALTY_C = 0.1
_COMPONENTS = 200


def fit_baselines(
    difficulty: Floats,
    features: Mapping[str, Floats],
    is_member: NDArray[np.bool_],
    *,
    seed: int,
    permutations: int,
    groups: Strings | None = None,
) -> BlindFits:
    """What takes time of :func:`mia_lab.evaluation.blind.judge_split`, with its arguments."""
    scores = {DIFFICULTY: np.asarray(difficulty, dtype=np.float64)}
    try:
        split_classes(scores[DIFFICULTY], is_member)
    except ValueError as error:
        raise ValueError(f"{DIFFICULTY}: {error}") from None
    compact = {name: _compact(columns) for name, columns in features.items()}
    fit_seed = derive_seed(seed, "blind", "folds")
    for name, columns in compact.items():
        found = blind_scores(columns, is_member, fit_seed, groups)
        if found is not None:
            scores[name] = found
    fitted = {name: compact[name] for name in scores if name != DIFFICULTY}
    largest = max(folded(name, auc(s, is_member)) for name, s in scores.items())
    null = _permuted_areas(
        scores[DIFFICULTY], fitted, is_member, groups, largest, seed, permutations
    )
    return BlindFits(np.array([*scores]), np.stack([*scores.values()]), null)


def blind_scores(
    features: Floats, is_member: NDArray[np.bool_], seed: int, groups: Strings | None = None
) -> Floats | None:
    """Cross-fitted logistic regression on features of the images alone.

    Within each fold the scores are ranked: classifiers of different folds have no common scale.

    Args:
        features: (N, F), scaled alike.
        is_member: bool (N,).
        seed: of the folds.
        groups: (N,) clusters, whose images never lie on both sides.

    Returns:
        float64 (N,) in (0, 1); None where a class has too few images or clusters to be divided.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_PENALTY_C, max_iter=500)
    found = cross_fit(model, features, is_member, seed, groups)
    if found is None:
        return None
    scores = np.empty(len(is_member))
    for fold in np.unique(found.fold):
        rows = found.fold == fold
        scores[rows] = midranks(found.decision[rows]) / (np.count_nonzero(rows) + 1)
    return scores


def folded(name: str, area: float) -> float:
    """The difficulty may tell members by being low or by being high; a fit knows its side."""
    return max(area, 1 - area) if name == DIFFICULTY else area


def _compact(features: Floats) -> Floats:
    """Standardised columns, turned onto their principal axes and scaled to a mean variance of 1.

    A rotation changes nothing for a logistic regression with a squared penalty, and leaves no more
    columns than there are images; of these the largest 200 are kept, which many permutations of
    many images can afford. Constant columns say nothing and are left out.
    """
    features = np.asarray(features, dtype=np.float64)
    spread = features.std(axis=0)
    varying = spread > 1e-9 * np.maximum(np.abs(features).max(axis=0, initial=0), 1e-300)
    columns = (features - features.mean(axis=0))[:, varying] / spread[varying]
    if not columns.shape[1]:
        return np.zeros((len(features), 1))
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    rank = min(int(np.count_nonzero(values > 1e-9 * values[0])), _COMPONENTS)
    axes = (left * values)[:, :rank]
    compact: Floats = axes / np.sqrt((axes**2).sum() / axes.size)
    return compact


def _permuted_areas(
    difficulty: Floats,
    fitted: Mapping[str, Floats],
    is_member: NDArray[np.bool_],
    groups: Strings | None,
    observed: float,
    seed: int,
    permutations: int,
) -> Floats:
    """AUCs of the difficulty and of the fitted baselines under permuted labels: (P, 1 + B)."""
    from tqdm import tqdm

    codes, rng = cluster_codes(groups), generator(seed, "blind", "permutations")
    null: list[list[float]] = []
    beyond = 0
    for number in tqdm(
        range(permutations), "permuting labels", unit=" times", delay=2, leave=False
    ):
        labels = permuted(is_member, codes, rng)
        areas = [folded(DIFFICULTY, auc(difficulty, labels))]
        for columns in fitted.values():
            scores = blind_scores(columns, labels, derive_seed(seed, "blind", number), groups)
            areas.append(0.5 if scores is None else auc(scores, labels))
        null.append(areas)
        beyond += max(areas) >= observed - EQUAL
        if beyond >= EXCEEDANCES and len(null) >= _AT_LEAST:
            break
    return np.array(null)
