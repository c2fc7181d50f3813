"""The AUC of an attack among images that blind baselines cannot tell apart.

If members and non-members differ by themselves, the AUC of an attack mixes that difference with
what the victim reveals. This module compares each member with non-members that were equally likely
to be members, as far as the columns of the blind baselines tell.

Sources:
    Rosenbaum & Rubin (1983), Biometrika 70: images of equal propensity have equal covariates.
    Janes & Pepe (2009), Biometrika 96: the covariate-adjusted AUC.
    Austin (2011), Pharmaceutical Statistics 10: the caliper of 0.2 standard deviations.
    Abadie & Imbens (2011), Journal of Business & Economic Statistics 29: matched images are
    corrected by the difference that a regression on the covariates expects of them.
    Chernozhukov et al. (2018), Econometrics Journal 21: both regressions are cross-fitted, and the
    product of their errors remains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtri, stdtrit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from mia_lab.evaluation.blind import AUC_TOLERANCE, DIFFICULTY, PENALTY, compact
from mia_lab.evaluation.clusters import Codes, cluster_codes, permuted
from mia_lab.evaluation.results import AdjustedAuc, Adjustment, Estimate, MatchedBlind
from mia_lab.evaluation.ridge import (
    DECIMALS,
    Folds,
    cross_fitted,
    cross_fitted_each,
    fold_numbers,
)
from mia_lab.evaluation.roc import auc
from mia_lab.evaluation.uncertainty import independent_units, newcombe_interval
from mia_lab.progress import progress
from mia_lab.seeding import derive_seed, generator
from mia_lab.types import Floats, ScoreTable, Strings

CALIPER = 0.2
"""Largest distance of the propensities of a pair, in standard deviations of their logit."""

NEEDED = 30
"""Least effective number of images of each class. With 30 + 30 the 95 % interval of an AUC of 0.5
is 0.35 to 0.65; a wider one does not tell the adjusted AUC from what confounding alone gives."""

DRAWS = 200
"""Bootstrap draws behind a standard error, and permutations behind a p-value."""

_FEWEST_DRAWS = 50

_DISTANCES = 4e7
"""Most distances between images, over all draws, after which there are fewer draws."""

_DISTANCES_OF_A_CORE = 4e6
"""Most distances of a matching, about 100 MB, that each core may have at the same time."""

_VARIANCE = 10.0
"""Total variance of the columns of one baseline in the propensity."""

_COLUMNS = 100
"""Principal axes of all baselines' columns together."""

_MATCHED_COLUMNS = 50
"""Principal axes of one baseline on the matched images, which are fewer."""

Rows = NDArray[np.int64]
Truth = NDArray[np.bool_]


def adjust(
    scores: Sequence[ScoreTable],
    features: Mapping[str, Floats],
    difficulty: Floats,
    is_member: Truth,
    *,
    seed: int,
    groups: Strings | None = None,
) -> Adjustment:
    """Adjust the AUC of each attack for what the blind baselines see.

    Args:
        scores: one table an attack, all on the same images in the same order.
        features: (N, F) columns of each fitted baseline, by its name.
        difficulty: (N,) of each candidate, finite.
        is_member: bool (N,).
        seed: of folds, bootstrap and permutations.
        groups: (N,) clusters; "" for an image without a cluster.

    Returns:
        The AUC adjusted for the propensity, and the AUC on matched pairs, both with intervals from
        a bootstrap that refits and rematches; no AUC where too few images are comparable.
    """
    codes = cluster_codes(groups)
    folds = fold_numbers(len(is_member), codes, derive_seed(seed, "adjusted", "folds"))
    names = [table.attack for table in scores]
    nothing = dict.fromkeys(names, AdjustedAuc(None, None))
    units = min(independent_units(is_member, codes))
    if folds is None or units < NEEDED:
        return Adjustment(nothing, 0, 0, units, None)
    data = _Data(
        columns=joint_columns(features, difficulty),
        scores=np.stack([np.asarray(table.score, dtype=np.float64) for table in scores]),
        is_member=is_member,
        folds=folds,
    )
    fitted = data.propensities(is_member[:, None])[:, 0]
    propensity = probabilities(fitted, is_member)
    pairs = matched_pairs(fitted, is_member)
    outside = int(np.count_nonzero(~_supported(fitted, is_member)))
    size = _effective_size(propensity, is_member, pairs, codes)
    if size < NEEDED:
        return Adjustment(nothing, len(pairs[0]), outside, size, None)
    draws = _draws(is_member)
    rng = generator(seed, "adjusted", "bootstrap")
    rows = [resampled(is_member, codes, rng) for _ in range(draws)]
    (adjusted, matched), *found = data.areas([np.arange(len(is_member)), *rows])
    drawn = np.stack(found)  # (D, 2, K)
    rng = generator(seed, "adjusted", "labels")
    labels = [permuted(is_member, codes, rng) for _ in range(draws)]
    return Adjustment(
        attacks={
            name: AdjustedAuc(
                adjusted=_estimate(adjusted[k], drawn[:, 0, k], size),
                matched=_estimate(matched[k], drawn[:, 1, k], size),
            )
            for k, name in enumerate(names)
        },
        pairs=len(pairs[0]),
        outside=outside,
        effective_size=size,
        blind=_judge_matched(data, features, difficulty, np.stack(labels, axis=1)),
    )


def joint_columns(features: Mapping[str, Floats], difficulty: Floats) -> Floats:
    """All baselines' columns and the difficulty on joint principal axes: (N, at most 100).

    The columns of each baseline have the same total variance. So each may explain as much of
    membership, however many columns it has, and a few columns are not lost among many.
    """
    parts = [compact(columns) for columns in (*features.values(), difficulty[:, None])]
    joined = np.column_stack([part * np.sqrt(_VARIANCE / part.shape[1]) for part in parts])
    joined -= joined.mean(axis=0)
    left, spread, _ = np.linalg.svd(joined, full_matrices=False)
    columns: Floats = (left * spread)[:, :_COLUMNS]
    return columns


def probabilities(fitted: Floats, is_member: Truth) -> Floats:
    """Calibrate a fitted value to the probability of membership, by logistic regression.

    Args:
        fitted: (N,) cross-fitted values, so that their calibration is honest: a logistic regression
            on as many columns as images would be certain of every label.
        is_member: bool (N,).

    Returns:
        float64 (N,), the propensity in (0, 1); the share of members where the values do not vary.
    """
    spread = fitted.std()
    values = (fitted - fitted.mean()) / (spread if spread > 0 else 1)
    # One slope needs no penalty, so C is large; a finite C keeps a perfect separation finite.
    model = LogisticRegression(C=1e3, tol=1e-8).fit(values[:, None], is_member)
    found: Floats = model.predict_proba(values[:, None])[:, 1]
    return found


def covariate_adjusted_auc(
    scores: Floats, covariate: Floats, is_member: Truth, weights: Floats | None = None
) -> float:
    """Mean placement of the members among non-members of the same covariate (Janes & Pepe 2009).

    The scores of non-members are a linear function of the covariate plus an error of one
    distribution. So the placement of a member is that of its residual among those of non-members.

    Args:
        scores: (N,) higher = more likely a member.
        covariate: (N,), such as the logit of the propensity; a linear function of it gives the
            same AUC.
        is_member: bool (N,), of both classes.
        weights: (N,) of the images, at least 0; None: all 1.
    """
    w = np.ones(len(scores)) if weights is None else weights
    residual = _residuals(scores[:, None], covariate, w * ~is_member)[:, 0]
    return _weighted_auc(residual, w * is_member, w * ~is_member)


def matched_pairs(value: Floats, is_member: Truth, caliper: float = CALIPER) -> tuple[Rows, Rows]:
    """Match members with non-members, one to one, without using an image twice.

    The number of pairs is the largest that the caliper allows; of all such matchings, the sum of
    the distances is the smallest.

    Args:
        value: (N,) a linear function of the logit of the propensity.
        is_member: bool (N,), of both classes.
        caliper: largest distance of a pair, in standard deviations of ``value``, pooled over the
            two classes (Austin 2011).

    Returns:
        Rows of the members and of their partners.
    """
    members, others = np.flatnonzero(is_member), np.flatnonzero(~is_member)
    limit = caliper * _spread(value, is_member)
    distance = np.abs(value[members][:, None] - value[others])
    beyond = distance > limit
    # One pair more is worth any sum of distances.
    cost = np.where(beyond, (limit + 1e-300) * 4 * len(value), distance)
    first, second = linear_sum_assignment(cost)
    kept = ~beyond[first, second]
    return members[first[kept]], others[second[kept]]


def resampled(is_member: Truth, codes: Codes | None, rng: np.random.Generator) -> Rows:
    """Rows of a bootstrap sample: images, or whole clusters, drawn with replacement.

    Members and non-members are drawn separately, and so are clusters of only members, of only
    non-members, and of both.

    Args:
        is_member: bool (N,), of both classes.
        codes: from :func:`~mia_lab.evaluation.clusters.cluster_codes`.
        rng: the source of randomness.
    """
    if codes is None:
        return np.concatenate(
            [rng.choice(rows, len(rows)) for rows in map(np.flatnonzero, (is_member, ~is_member))]
        )
    has_members = np.bincount(codes, is_member) > 0
    has_others = np.bincount(codes, ~is_member) > 0
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    kinds = (has_members & ~has_others, ~has_members & has_others, has_members & has_others)
    drawn = [rng.choice(units, len(units)) for kind in kinds if len(units := np.flatnonzero(kind))]
    return np.concatenate([rows[unit] for unit in np.concatenate(drawn)])


@dataclass(frozen=True)
class _Data:
    """What each fit is made of.

    Attributes:
        columns: (N, R).
        scores: (K, N), one row an attack.
        is_member: bool (N,).
        folds: (N,); an image that is drawn twice is in one fold.
    """

    columns: Floats
    scores: Floats
    is_member: Truth
    folds: Folds

    def propensities(self, labels: Truth) -> Floats:
        """Cross-fitted values of membership, before their calibration: (N, P) for (N, P) labels.

        The calibration is a linear function on the logit scale. Nothing but the effective size
        depends on it: the caliper is in standard deviations, and the location model is linear.
        """
        return cross_fitted(self.columns, labels.astype(np.float64), self.folds, PENALTY)

    def areas(self, samples: Sequence[Rows]) -> list[Floats]:
        """The adjusted and the matched AUC of each attack, for each sample of rows: (2, K).

        Everything is fitted to the sample, in which a row may be repeated.
        """
        n = len(self.is_member)
        w = np.stack([np.bincount(rows, minlength=n) for rows in samples]).astype(np.float64)
        labels, scores = self.is_member.astype(np.float64)[None, :, None], self.scores.T[None]
        value = cross_fitted_each(self.columns, labels, self.folds, PENALTY, w)[..., 0]
        others = w * ~self.is_member
        expected = cross_fitted_each(self.columns, scores, self.folds, PENALTY, others)

        def of_sample(d: int) -> Floats:
            return self._areas(samples[d], w[d], value[d], expected[d])

        found = _matching(self.is_member)(of_sample, range(len(samples)))
        return list(progress(found, "adjusting", "draws", total=len(samples), is_brief=True))

    def _areas(self, rows: Rows, w: Floats, value: Floats, expected: Floats) -> Floats:
        """The AUCs for one sample.

        An estimated propensity leaves some of the difference between the classes. What remains is
        estimated by the scores that a regression on non-members expects of the images, and is
        subtracted from the scores of members.
        """
        truth, scores = self.is_member, self.scores.T
        inside = np.where(truth, w, 0.0)
        inside[truth] *= _supported(value, truth, w)
        if not inside.any():  # no member of this sample is comparable: none is left out
            inside = np.where(truth, w, 0.0)
        residual, remaining = (_residuals(s, value, w * ~truth) for s in (scores, expected))
        residual[truth] -= np.average(remaining, axis=0, weights=inside)
        adjusted = [_weighted_auc(r, inside, w * ~truth) for r in residual.T]
        first, second = (rows[side] for side in matched_pairs(value[rows], truth[rows]))
        if not len(first):
            return np.array([adjusted, [0.5] * len(adjusted)])
        shift = (expected[first] - expected[second]).mean(axis=0)
        both = np.concatenate([scores[first] - shift, scores[second]])
        sides = np.arange(len(both)) < len(first)
        return np.array([adjusted, [auc(column, sides) for column in both.T]])


def _residuals(scores: Floats, covariate: Floats, w: Floats) -> Floats:
    """Deviations of (N, K) scores from their least-squares lines, fitted with weights (N,)."""
    x = covariate - np.average(covariate, weights=w)
    level = np.average(scores, axis=0, weights=w)
    square = w @ x**2
    slope = (w * x) @ (scores - level) / square if square > 0 else np.zeros(scores.shape[1])
    found: Floats = scores - level - x[:, None] * slope
    return found


def _weighted_auc(scores: Floats, members: Floats, others: Floats) -> float:
    """AUC with weights (N,) of the images as members and as non-members; ties count one half."""
    order = np.argsort(scores[others > 0])
    ranked = scores[others > 0][order]
    below = np.concatenate([[0.0], np.cumsum(others[others > 0][order])])
    of = scores[members > 0]
    wins = below[np.searchsorted(ranked, of)] + below[np.searchsorted(ranked, of, side="right")]
    return float(members[members > 0] @ wins / (2 * members.sum() * below[-1]))


def _spread(value: Floats, is_member: Truth, weights: Floats | None = None) -> float:
    """Standard deviation, from the mean of the variances of the two classes (Austin 2011)."""
    w = np.ones(len(value)) if weights is None else weights
    variances = []
    for side in (is_member, ~is_member):
        x, k = value[side], w[side]
        square = k @ (x - np.average(x, weights=k)) ** 2
        variances.append(square / max(k.sum() - 1, 1))
    return float(np.sqrt(np.mean(variances)))


def _supported(value: Floats, is_member: Truth, weights: Floats | None = None) -> Truth:
    """Whether each member has a non-member within the caliper: bool (m,)."""
    w = np.ones(len(value)) if weights is None else weights
    others = np.sort(value[~is_member & (w > 0)])
    at = np.searchsorted(others, value[is_member])
    ends = np.concatenate([[-np.inf], others, [np.inf]])
    nearest = np.minimum(value[is_member] - ends[at], ends[at + 1] - value[is_member])
    found: Truth = nearest <= CALIPER * _spread(value, is_member, w)
    return found


def _effective_size(
    propensity: Floats, is_member: Truth, pairs: tuple[Rows, Rows], codes: Codes | None
) -> float:
    """The smallest of four effective numbers of images or clusters (Kish 1965).

    They are those of the matched members and of their partners, and those of all members and of all
    non-members with overlap weights: the probability of the other class (Li, Morgan & Zaslavsky
    2018, JASA 113).
    """
    counted = [np.bincount(rows, minlength=len(is_member)) for rows in pairs]
    overlap = np.where(is_member, 1 - propensity, 0.0), np.where(is_member, 0.0, propensity)
    return min(_kish(w.astype(np.float64), codes) for w in (*counted, *overlap))


def _kish(weights: Floats, codes: Codes | None) -> float:
    """Number of images, or clusters, of equal weight that a weighted mean is worth."""
    w = weights if codes is None else np.bincount(codes, weights)
    return float(w.sum() ** 2 / (w @ w)) if w.any() else 0.0


def _draws(is_member: Truth) -> int:
    """Number of draws: the matching takes time for each distance between two images."""
    m = np.count_nonzero(is_member)
    return int(np.clip(_DISTANCES / (m * (len(is_member) - m)), _FEWEST_DRAWS, DRAWS))


def _matching(is_member: Truth) -> Callable[..., Iterator[Any]]:
    """How to apply a function that matches: on all cores, or in turn where that takes less memory.

    A matching holds several numbers for each distance.
    """
    from mia_lab.hardware import in_order  # PyTorch, which a comparison of results does without

    m = np.count_nonzero(is_member)
    return in_order if m * (len(is_member) - m) <= _DISTANCES_OF_A_CORE else map


def _estimate(area: float, drawn: Floats, size: float) -> Estimate:
    """An AUC with its 95 % interval, from the standard deviation of bootstrap draws.

    The interval is symmetric on the logit scale, with Student's quantile. Percentiles would be
    shifted: a draw has fewer distinct images, so its propensities adjust for less.
    """
    spread = drawn.std(ddof=1)
    if area in (0.0, 1.0) or not spread > 0:
        n = round(size)
        return Estimate(area, newcombe_interval(area, n, n, float(ndtri(0.975))))
    half = stdtrit(size - 1, 0.975) * spread / (area * (1 - area))
    ends = np.log(area / (1 - area)) + np.array([-half, half])
    low, high = (float(1 / (1 + np.exp(-end))) for end in ends)
    return Estimate(float(area), (low, high))


def _judge_matched(
    data: _Data, features: Mapping[str, Floats], difficulty: Floats, labels: Truth
) -> MatchedBlind:
    """Whether blind baselines, fitted again, tell the matched images apart.

    For each column of permuted labels the propensity is fitted, the images are matched, and the
    baselines are fitted, as for the true labels: matching on a fitted propensity removes chance
    differences too. Permuted labels leave more pairs, and so a smaller spread of an AUC. Therefore
    the statistic is the distance of the largest AUC from 0.5 times the root of the number of pairs.
    """
    every = np.column_stack([data.is_member, labels])
    kept = np.zeros(every.shape, dtype=np.bool_)
    propensities = data.propensities(every)
    n = every.shape[1]

    def pairs_of(column: int) -> tuple[Rows, Rows]:
        return matched_pairs(propensities[:, column], every[:, column])

    matched = _matching(data.is_member)(pairs_of, range(n))
    steps = progress(matched, "matching", "permutations", total=n, is_brief=True)
    for column, pairs in enumerate(steps):
        kept[np.concatenate(pairs), column] = True
    own = _areas_of_some(difficulty[:, None], every, kept)
    found = {DIFFICULTY: np.maximum(own, 1 - own)}
    for name, columns in features.items():
        few = compact(columns)[:, -_MATCHED_COLUMNS:]
        targets, weights = every.T[:, :, None].astype(np.float64), kept.T.astype(np.float64)
        fits = cross_fitted_each(few, targets, data.folds, PENALTY, weights)[..., 0].T
        found[name] = _areas_of_some(_ranked_some(fits, data.folds, kept), every, kept)
    best = max(found, key=lambda name: found[name][0])
    area = np.max([*found.values()], axis=0)
    observed, *null = (area - 0.5) * np.sqrt(kept.sum(axis=0) / 2)
    beyond = int(np.count_nonzero(np.array(null) >= observed - AUC_TOLERANCE))
    return MatchedBlind(best, float(area[0]), (1 + beyond) / (1 + len(null)), len(null))


def _ranked_some(values: Floats, folds: Folds, kept: Truth) -> Floats:
    """Midranks of the kept rows of each column within their folds: (N, P) in (0, 1)."""
    scores = np.zeros(values.shape)
    shown = np.where(kept, values.round(DECIMALS), np.inf)
    for number in np.unique(folds):
        rows = folds == number
        scores[rows] = rankdata(shown[rows], axis=0) / (kept[rows].sum(axis=0) + 1)
    return scores


def _areas_of_some(scores: Floats, labels: Truth, kept: Truth) -> Floats:
    """AUC of each column of (N, P) or (N, 1) scores on the kept rows; 0.5 without any: (P,)."""
    ranks = rankdata(np.where(kept, scores, np.inf), axis=0)
    pairs = kept.sum(axis=0) / 2
    wins = np.where(labels & kept, ranks, 0.0).sum(axis=0) - pairs * (pairs + 1) / 2
    found: Floats = np.where(pairs > 0, wins / np.maximum(pairs, 1) ** 2, 0.5)
    return found
