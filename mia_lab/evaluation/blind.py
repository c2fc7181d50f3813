"""Attacks that never see the victim: what the choice of members and non-members gives away.

If one of them succeeds, members and non-members differ before any model is asked, and no attack's
AUC can be read as membership.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.blind_fits import DIFFICULTY, EQUAL, fit_baselines, folded
from mia_lab.evaluation.evaluate import compare_attacks, evaluate
from mia_lab.evaluation.results import Blind, Comparison, Estimate, Evaluation, Verdict
from mia_lab.evaluation.roc import auc
from mia_lab.evaluation.uncertainty import Interval, auc_interval
from mia_lab.types import VICTIM, BlindFits, Floats, ScoreTable, Strings

SIGNIFICANCE = 0.05
SOUND_BELOW = 0.60


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
    """Do members and non-members differ to anyone who never asks the victim?

    Each set of features is scored by :func:`blind_scores`, the difficulty as it is. The largest AUC
    is held against the largest under permuted labels, the fits included (Westfall and Young 1993),
    so that the error over all baselines together is 5 %. Permuting stops early, though not before
    forty times, once ten permuted maxima reach the observed one: then no more of them could bring
    the p-value below 0.05 (Besag and Clifford 1991, Biometrika 78).

    *confounded*: p < 0.05. *sound*: not confounded, and all AUCs are below 0.60 with 95 %
    confidence (Bonferroni; a fitted AUC below 0.5 counts as 0.5). Else *undecidable*: so few images
    would not show a difference that matters. A bound is about these classifiers, fitted on so many
    images; with more of them, or another classifier, more might be told.

    Args:
        difficulty: (N,) of each candidate, finite.
        features: (N, F) of each baseline that is fitted.
        ids: (N,) of the candidates.
        is_member: bool (N,).
        seed: of folds and permutations.
        permutations: at most so many.
        groups: (N,) clusters; "" for an image that belongs to none.

    Returns:
        What was found. Intervals of fitted baselines are DeLong's, widened by how much more their
        AUC varies under permuted labels than that of a fixed score: the fits share images. Their
        p-values are the adjusted ones, since labels that were fitted cannot be permuted afterwards.

    Raises:
        ValueError: a difficulty is not finite, or one class is missing.
    """
    fits = fit_baselines(
        difficulty, features, is_member, seed=seed, permutations=permutations, groups=groups
    )
    return judge_fits(fits, ids, is_member, seed, groups)


def judge_fits(
    fits: BlindFits,
    ids: Strings,
    is_member: NDArray[np.bool_],
    seed: int,
    groups: Strings | None = None,
) -> Blind:
    """The part of :func:`judge_split` that takes none.

    Args:
        fits: of the same images, in the order of ``ids``.
        ids, is_member, seed, groups: see there.
    """
    scores = dict(zip(fits.name.tolist(), np.asarray(fits.score), strict=True))
    null = np.asarray(fits.null)
    observed = {name: folded(name, auc(s, is_member)) for name, s in scores.items()}
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
        verdict=_verdict(adjusted[best], upper),
    )


def excess(
    scores: ScoreTable,
    blind: Blind,
    is_member: NDArray[np.bool_],
    seed: int,
    groups: Strings | None = None,
) -> Comparison:
    """How much better an attack is than the best baseline, on the same images.

    Args:
        scores: of the attack, on the images that ``blind`` is about, in any order.
        blind: from :func:`judge_split`; the difficulty is taken from its better side. Of a fitted
            baseline, the difference is as much wider as that baseline's own interval is.
        is_member: bool (N,), in the order of ``scores.id``.
        seed: of the bootstrap.
        groups: (N,) clusters, in the same order.

    Raises:
        ValueError: see :func:`mia_lab.evaluation.evaluate.compare_attacks`.
    """
    names = [table.attack for table in blind.scores]
    place = names.index(blind.best)
    best, baseline = blind.scores[place], blind.baselines[place]
    if blind.best == DIFFICULTY:
        if baseline.auc < 0.5:
            best = ScoreTable(best.attack, best.model, best.id, -best.score)
        return compare_attacks(scores, best, is_member, seed, groups)
    found = compare_attacks(scores, best, is_member, seed, groups)
    fixed = auc_interval(best.column(scores.id.tolist()), is_member, groups=groups)
    return _wider(found, _half(baseline.auc_ci95) ** 2 - _half(fixed) ** 2)


def _p_value(null: Floats, observed: float) -> float:
    beyond = int(np.count_nonzero(null >= observed - EQUAL))
    return (1 + beyond) / (1 + len(null))


def _refit_factor(null: Floats, is_member: NDArray[np.bool_]) -> float:
    """How much more a refitted AUC varies than that of a score that means nothing (at least 1)."""
    m, n = int(np.count_nonzero(is_member)), int(np.count_nonzero(~is_member))
    fixed = np.sqrt((m + n + 1) / (12 * m * n))  # Mann and Whitney 1947
    return max(1.0, float(null.std(ddof=1) / fixed))


def _baseline(found: Evaluation, adjusted_p: float, factor: float) -> Evaluation:
    """A baseline's evaluation with intervals and p-value that allow for its fits."""
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
    """An interval about an AUC, so much wider on the logit scale; ends at 0 and 1 stay."""
    from scipy.special import expit, logit

    if factor == 1 or area in (0.0, 1.0):
        return interval
    low, high = (float(expit(logit(area) + factor * (logit(e) - logit(area)))) for e in interval)
    return low, high


def _wider(found: Comparison, extra: float) -> Comparison:
    """A paired difference with more variance: ``extra`` in squared half widths of the interval."""
    from scipy.special import ndtr, ndtri

    z = float(ndtri(0.975))

    def wider(interval: Interval) -> tuple[Interval, float]:
        half = float(np.sqrt(_half(interval) ** 2 + max(extra, 0.0)))
        low, high = found.difference - half, found.difference + half
        p_value = 2 * float(ndtr(-abs(found.difference) * z / half)) if half else 1.0
        return (max(-1.0, low), min(1.0, high)), p_value

    (ci95, p_value), (bootstrap, bootstrap_p) = map(wider, (found.ci95, found.bootstrap_ci95))
    return replace(
        found,
        ci95=ci95,
        p_value=p_value,
        bootstrap_ci95=bootstrap,
        bootstrap_p_value=bootstrap_p,
    )


def _half(interval: Interval) -> float:
    return (interval[1] - interval[0]) / 2


def _upper_bound(
    scores: Mapping[str, Floats],
    is_member: NDArray[np.bool_],
    groups: Strings | None,
    refit: Mapping[str, float],
) -> float:
    """Simultaneous 95 % upper bound of the AUCs."""
    sides = len(scores) + 1  # the difficulty has two
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
