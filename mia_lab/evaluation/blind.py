"""Blind baselines: attacks that never query the victim.

If a blind baseline succeeds, members and non-members differ in ways that no model caused, and the
AUC of an attack cannot be interpreted as membership inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import expit, logit, ndtri

from mia_lab.evaluation.clusters import cluster_codes, permuted
from mia_lab.evaluation.evaluate import compare_attacks, evaluate
from mia_lab.evaluation.metrics import FPRS
from mia_lab.evaluation.results import Blind, Comparison, Estimate, Evaluation, Verdict
from mia_lab.evaluation.ridge import Folds, areas, cross_fitted, fold_numbers, ranked_within
from mia_lab.evaluation.roc import auc, split_classes
from mia_lab.evaluation.uncertainty import Interval, auc_interval
from mia_lab.progress import progress
from mia_lab.seeding import derive_seed, generator
from mia_lab.types import VICTIM, BlindFits, Floats, ScoreTable, Strings

SIGNIFICANCE = 0.05
SOUND_BELOW = 0.60

DIFFICULTY = "difficulty"
"""Name of the baseline that is not fitted; its AUC counts on either side of 0.5."""

AUC_TOLERANCE = 1e-12
"""AUCs that differ by no more than this are equal."""

PENALTY = 40.0
"""Of the squared weights, for columns of a mean variance of 1."""

_COMPONENTS = 200

_RANK = 1e-13
"""Least ratio between the variances of two principal axes; below it there is rounding only."""

_VALUES = 4_000_000
"""Most values of one baseline, images times permutations, that are computed together."""


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

    The difficulty is a score by itself; :func:`fit_baselines` turns each set of features into a
    score. The largest AUC is compared with the largest AUC under permuted labels, with the
    baselines refitted (Westfall and Young 1993), so that the error over all baselines together is
    5 %.

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
        permutations: their number.
        groups: (N,) clusters; "" for an image without a cluster.

    Returns:
        The baselines' evaluations and the verdict. The intervals of fitted baselines are DeLong's,
        widened by the ratio between the spread of their AUC under permuted labels and that of a
        fixed score, because the fits share images. Their p-values are the adjusted ones, because
        labels cannot be permuted after a fit.

    Raises:
        ValueError: a difficulty is not finite, or one class is missing.
    """
    fits = fit_baselines(features, is_member, seed=seed, permutations=permutations, groups=groups)
    return judge_fits(fits, difficulty, ids, is_member, seed, groups)


def fit_baselines(
    features: Mapping[str, Floats],
    is_member: NDArray[np.bool_],
    *,
    seed: int,
    permutations: int,
    groups: Strings | None = None,
) -> BlindFits:
    """Fit the baselines, to the labels and to permuted labels: the slow part of `judge_split`.

    Each baseline is a ridge regression, cross-fitted on folds that are drawn from the seed and the
    groups alone, see :mod:`mia_lab.evaluation.ridge`. Scores are midranks within each fold.

    Args:
        features, is_member, seed, permutations, groups: see :func:`judge_split`.

    Returns:
        Scores of the baselines, and their AUCs under permuted labels; no baselines for fewer than
        two images or clusters.

    Raises:
        ValueError: one class is missing.
    """
    is_member = np.asarray(is_member)
    if is_member.all() or not is_member.any():
        raise ValueError("one class is missing")
    folds = fold_numbers(len(is_member), cluster_codes(groups), derive_seed(seed, "blind", "folds"))
    names = [] if folds is None else [*features]
    labels = permuted_labels(is_member, seed, permutations, groups)
    score, null = np.empty((len(names), len(is_member))), np.empty((permutations, len(names)))
    for row, name in enumerate(progress(names, "permuting labels", "baselines", is_brief=True)):
        assert folds is not None
        columns = compact(features[name])
        for part in np.array_split(np.arange(permutations), _parts(labels)):
            both = np.column_stack([is_member, labels[:, part]])
            scores = _scores(columns, both, folds)
            score[row], null[part, row] = scores[:, 0], areas(scores[:, 1:], both[:, 1:])
    return BlindFits(np.array(names, dtype=np.str_), score, null)


def permuted_labels(
    is_member: NDArray[np.bool_], seed: int, permutations: int, groups: Strings | None
) -> NDArray[np.bool_]:
    """The labels of all permutations of a split: bool (N, permutations)."""
    codes, rng = cluster_codes(groups), generator(seed, "blind", "permutations")
    return np.stack([permuted(is_member, codes, rng) for _ in range(permutations)], axis=1)


def _scores(columns: Floats, labels: NDArray[np.bool_], folds: Folds) -> Floats:
    """Cross-fitted scores of each column of labels: (N, P) in (0, 1)."""
    values = cross_fitted(columns, labels.astype(np.float64), folds, PENALTY)
    return ranked_within(values, folds)


def _parts(labels: NDArray[np.bool_]) -> int:
    """How many parts the permutations are computed in, which limits memory."""
    return -(-labels.size // _VALUES)


def judge_fits(
    fits: BlindFits,
    difficulty: Floats,
    ids: Strings,
    is_member: NDArray[np.bool_],
    seed: int,
    groups: Strings | None = None,
    fprs: tuple[float, ...] = FPRS,
) -> Blind:
    """Evaluate fitted baselines: the fast part of :func:`judge_split`.

    Args:
        fits: from :func:`fit_baselines`, on the same images in the order of ``ids``, with the same
            seed and groups.
        difficulty, ids, is_member, seed, groups: see :func:`judge_split`.
        fprs: false positive rates at which the true positive rate is measured.

    Raises:
        ValueError: a difficulty is not finite, or one class is missing.
    """
    scores = {DIFFICULTY: np.asarray(difficulty, dtype=np.float64)}
    try:
        split_classes(scores[DIFFICULTY], is_member)
    except ValueError as error:
        raise ValueError(f"{DIFFICULTY}: {error}") from None
    scores |= dict(zip(fits.name.tolist(), np.asarray(fits.score), strict=True))
    labels = permuted_labels(is_member, seed, len(fits.null), groups)
    own = areas(scores[DIFFICULTY][:, None], labels)
    null = np.column_stack([np.maximum(own, 1 - own), np.asarray(fits.null)])
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
            _baseline(evaluate(n, s, is_member, seed, groups, fprs), adjusted[n], refit[n])
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


def compact(features: Floats) -> Floats:
    """Standardise columns, rotate them onto principal axes, and scale to a mean variance of 1.

    A regression with a squared penalty is invariant to a rotation, and after it there are at most
    as many columns as images. The 200 largest are kept. Constant columns are left out.
    """
    features = np.asarray(features, dtype=np.float64)
    spread = features.std(axis=0)
    varying = spread > 1e-9 * np.maximum(np.abs(features).max(axis=0, initial=0), 1e-300)
    columns = (features - features.mean(axis=0))[:, varying] / spread[varying]
    if not columns.shape[1]:
        return np.zeros((len(features), 1))
    axes = _principal(columns)
    scaled: Floats = axes / np.sqrt((axes**2).sum() / axes.size)
    return scaled


def _principal(columns: Floats) -> Floats:
    """Coordinates on at most `_COMPONENTS` principal axes, by the smaller Gram matrix."""
    n, f = columns.shape
    gram = columns @ columns.T if n < f else columns.T @ columns
    first = max(0, len(gram) - _COMPONENTS)
    values, vectors = eigh(gram, subset_by_index=(first, len(gram) - 1))
    kept = values > _RANK * values[-1]
    axes = vectors[:, kept] * np.sqrt(values[kept]) if n < f else columns @ vectors[:, kept]
    return np.ascontiguousarray(axes)


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
