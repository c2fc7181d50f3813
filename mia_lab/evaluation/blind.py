"""Blind baselines: attacks that never query the victim.

If a blind baseline succeeds, members and non-members differ in ways that no model caused, and the
AUC of an attack cannot be interpreted as membership inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri
from sklearn.linear_model import LogisticRegression

from mia_lab.evaluation.clusters import cluster_codes, permuted
from mia_lab.evaluation.cross_fit import cross_fit
from mia_lab.evaluation.evaluate import compare_attacks, evaluate
from mia_lab.evaluation.results import Blind, Comparison, Estimate, Evaluation, Verdict
from mia_lab.evaluation.roc import auc, midranks, split_classes
from mia_lab.evaluation.uncertainty import Interval, auc_interval
from mia_lab.progress import progress
from mia_lab.seeding import derive_seed, generator
from mia_lab.types import VICTIM, BlindFits, Floats, ScoreTable, Strings

SIGNIFICANCE = 0.05
SOUND_BELOW = 0.60

DIFFICULTY = "difficulty"
"""Name of the baseline that is not fitted; its AUC counts on either side of 0.5."""

EXCEEDANCES = 10
"""Permuted maxima at or above the observed one after which permuting stops; see
:func:`judge_split`."""

AUC_TOLERANCE = 1e-12
"""AUCs that differ by no more than this are equal."""

_MIN_PERMUTATIONS = 40
"""Least number of permutations, so that the spread of the refitted AUCs can be estimated."""

_PENALTY_C = 0.1
_COMPONENTS = 200


def judge_split(
    difficulty: Floats,
    features: Mapping[str, Floats],
    ids: Strings,
    is_member: NDArray[np.bool_],
    *,
    seed: int,
    permutations: int,
    groups: Strings | None = None,
) -> Blind:
    """Test whether members and non-members differ without any query of the victim.

    The difficulty is a score by itself; :func:`blind_scores` turns each set of features into a
    score. The largest AUC is compared with the largest AUC under permuted labels, with the
    baselines refitted (Westfall and Young 1993), so that the error over all baselines together is
    5 %. Permuting stops early, after at least 40 permutations, when ten permuted maxima reach the
    observed one: further permutations could not bring the p-value below 0.05 (Besag and Clifford
    1991, Biometrika 78).

    The verdict is *confounded* if p < 0.05. It is *sound* if the split is not confounded and all
    AUCs are below 0.60 with 95 % confidence (Bonferroni; a fitted AUC below 0.5 counts as 0.5).
    Otherwise it is *undecidable*: there are too few images to show a relevant difference. The
    bounds hold for these classifiers, fitted on this number of images; more images or other
    classifiers may find a larger difference.

    Args:
        difficulty: (N,) difficulty of each candidate, finite.
        features: (N, F) features of each fitted baseline, by its name.
        ids: (N,) ids of the candidates.
        is_member: bool (N,).
        seed: seed of folds and permutations.
        permutations: largest number of permutations.
        groups: (N,) clusters; "" for an image without a cluster.

    Returns:
        The baselines' evaluations and the verdict. The intervals of fitted baselines are DeLong's,
        widened by the ratio between the spread of their AUC under permuted labels and that of a
        fixed score, because the fits share images. Their p-values are the adjusted ones, because
        labels cannot be permuted after a fit.

    Raises:
        ValueError: a difficulty is not finite, or one class is missing.
    """
    fits = fit_baselines(
        difficulty, features, is_member, seed=seed, permutations=permutations, groups=groups
    )
    return judge_fits(fits, ids, is_member, seed, groups)


def fit_baselines(
    difficulty: Floats,
    features: Mapping[str, Floats],
    is_member: NDArray[np.bool_],
    *,
    seed: int,
    permutations: int,
    groups: Strings | None = None,
) -> BlindFits:
    """Fit the baselines, to the labels and to permuted labels: the slow part of `judge_split`.

    Args:
        difficulty, features, is_member, seed, permutations, groups: see :func:`judge_split`.

    Returns:
        Scores of the baselines, and their AUCs under permuted labels. A baseline with too few
        images to fit is left out.

    Raises:
        ValueError: a difficulty is not finite, or one class is missing.
    """
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
    largest = max(_better_side(name, auc(s, is_member)) for name, s in scores.items())
    null = _permuted_areas(
        scores[DIFFICULTY], fitted, is_member, groups, largest, seed, permutations
    )
    return BlindFits(np.array([*scores]), np.stack([*scores.values()]), null)


def blind_scores(
    features: Floats, is_member: NDArray[np.bool_], seed: int, groups: Strings | None = None
) -> Floats | None:
    """Scores of a cross-fitted logistic regression on features of the images.

    Scores are ranks within each fold, because the classifiers of different folds do not share a
    scale.

    Args:
        features: (N, F), all columns on one scale.
        is_member: bool (N,).
        seed: seed of the folds.
        groups: (N,) clusters; the images of a cluster are all in one fold.

    Returns:
        float64 (N,) in (0, 1); None if a class has too few images or clusters to be divided.
    """
    model = LogisticRegression(C=_PENALTY_C, max_iter=500)
    found = cross_fit(model, features, is_member, seed, groups)
    if found is None:
        return None
    scores = np.empty(len(is_member))
    for fold in np.unique(found.fold):
        rows = found.fold == fold
        scores[rows] = midranks(found.decision[rows]) / (np.count_nonzero(rows) + 1)
    return scores


def judge_fits(
    fits: BlindFits,
    ids: Strings,
    is_member: NDArray[np.bool_],
    seed: int,
    groups: Strings | None = None,
) -> Blind:
    """Evaluate fitted baselines: the fast part of :func:`judge_split`.

    Args:
        fits: from :func:`fit_baselines`, on the same images in the order of ``ids``.
        ids, is_member, seed, groups: see :func:`judge_split`.
    """
    scores = dict(zip(fits.name.tolist(), np.asarray(fits.score), strict=True))
    null = np.asarray(fits.null)
    observed = {name: _better_side(name, auc(s, is_member)) for name, s in scores.items()}
    adjusted = {name: _p_value(null.max(axis=1), area) for name, area in observed.items()}
    refit = {
        name: 1.0 if name == DIFFICULTY else _refit_factor(null[:, i], is_member)
        for i, name in enumerate(scores)
    }
    best = max(observed, key=lambda name: observed[name])
    upper = _upper_bound(scores, is_member, groups, refit)
    return Blind(
        baselines=tuple(
            _baseline(evaluate(n, s, is_member, seed, groups), adjusted[n], refit[n])
            for n, s in scores.items()
        ),
        scores=tuple(ScoreTable(n, VICTIM, np.asarray(ids), s) for n, s in scores.items()),
        adjusted_p=adjusted,
        best=best,
        max=observed[best],
        p_value=adjusted[best],
        upper95=upper,
        permutations=len(null),
        refit_factor=refit,
        verdict=_verdict(adjusted[best], upper),
    )


def excess(
    scores: ScoreTable,
    blind: Blind,
    is_member: NDArray[np.bool_],
    groups: Strings | None = None,
) -> Comparison:
    """Compare an attack with the best baseline, on the same images.

    If the best baseline is the difficulty, its sign is chosen so that its AUC is at least 0.5. If
    it is a fitted baseline, the variance that refitting adds to its AUC is added to that of the
    difference.

    Args:
        scores: scores of the attack on the images of ``blind``, in any order.
        blind: from :func:`judge_split`.
        is_member: bool (N,), in the order of ``scores.id``.
        groups: (N,) clusters, in the same order.

    Raises:
        ValueError: see :func:`mia_lab.evaluation.evaluate.compare_attacks`.
    """
    best = next(table for table in blind.scores if table.attack == blind.best)
    column = best.column(scores.id.tolist())
    if blind.best == DIFFICULTY and auc(column, is_member) < 0.5:
        best = replace(best, score=-best.score)
    low, high = auc_interval(column, is_member, groups=groups)
    sampling = ((high - low) / 2 / ndtri(0.975)) ** 2
    refits = float(sampling * (blind.refit_factor[blind.best] ** 2 - 1))
    return compare_attacks(scores, best, is_member, groups, refits)


def _better_side(name: str, area: float) -> float:
    """The AUC that counts: for the difficulty, members may score high or low; a fit has a sign."""
    return max(area, 1 - area) if name == DIFFICULTY else area


def _compact(features: Floats) -> Floats:
    """Standardise columns, rotate them onto principal axes, and scale to a mean variance of 1.

    A logistic regression with a squared penalty is invariant to a rotation, and after it there are
    at most as many columns as images. The 200 largest are kept, which limits the time of many
    permutations. Constant columns are left out.
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
    codes, rng = cluster_codes(groups), generator(seed, "blind", "permutations")
    null: list[list[float]] = []
    beyond = 0
    for number in progress(range(permutations), "permuting labels", "times", is_brief=True):
        labels = permuted(is_member, codes, rng)
        areas = [_better_side(DIFFICULTY, auc(difficulty, labels))]
        for columns in fitted.values():
            scores = blind_scores(columns, labels, derive_seed(seed, "blind", number), groups)
            areas.append(0.5 if scores is None else auc(scores, labels))
        null.append(areas)
        beyond += max(areas) >= observed - AUC_TOLERANCE
        if beyond >= EXCEEDANCES and len(null) >= _MIN_PERMUTATIONS:
            break
    return np.array(null)


def _p_value(null: Floats, observed: float) -> float:
    beyond = int(np.count_nonzero(null >= observed - AUC_TOLERANCE))
    return (1 + beyond) / (1 + len(null))


def _refit_factor(null: Floats, is_member: NDArray[np.bool_]) -> float:
    """Ratio of the spreads of a refitted AUC and of a random score's AUC (at least 1)."""
    m, n = int(np.count_nonzero(is_member)), int(np.count_nonzero(~is_member))
    fixed = np.sqrt((m + n + 1) / (12 * m * n))  # Mann and Whitney 1947
    return max(1.0, float(null.std(ddof=1) / fixed))


def _baseline(found: Evaluation, adjusted_p: float, factor: float) -> Evaluation:
    """A baseline's evaluation with intervals and p-value that account for its fits."""
    return replace(
        found,
        metrics={
            **found.metrics,
            "auc": Estimate(found.auc, _widened(found.auc, found.auc_ci95, factor)),
            "p_value": adjusted_p,
        },
        auc_bootstrap_ci95=_widened(found.auc, found.auc_bootstrap_ci95, factor),
    )


def _widened(area: float, interval: Interval, factor: float) -> Interval:
    """Widen an interval of an AUC by a factor on the logit scale; ends at 0 and 1 stay."""
    if factor == 1 or area in (0.0, 1.0):
        return interval
    low, high = (float(expit(logit(area) + factor * (logit(e) - logit(area)))) for e in interval)
    return low, high


def _upper_bound(
    scores: Mapping[str, Floats],
    is_member: NDArray[np.bool_],
    groups: Strings | None,
    refit: Mapping[str, float],
) -> float:
    """Simultaneous 95 % upper bound of the AUCs."""
    sides = len(scores) + 1  # the difficulty has two sides
    bounds = []
    for name, score in scores.items():
        area = auc(score, is_member)
        interval = auc_interval(score, is_member, 1 - 2 * SIGNIFICANCE / sides, groups)
        low, high = _widened(area, interval, refit[name])
        if name == DIFFICULTY:
            bounds.append(max(high, 1 - low))
        else:
            bounds.append(max(area, 0.5) + high - area)
    return min(1.0, max(bounds))


def _verdict(p_value: float, upper: float) -> Verdict:
    if p_value < SIGNIFICANCE:
        return Verdict.CONFOUNDED
    return Verdict.SOUND if upper < SOUND_BELOW else Verdict.UNDECIDABLE
