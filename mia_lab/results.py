"""The frozen results of the tasks: what their reports are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mia_lab.types import DifficultyTable, Floats, ScoreTable, Split


@dataclass(frozen=True)
class Roc:
    """An exact ROC curve, from (0, 0) to (1, 1), one point per distinct score.

    Attributes:
        fpr, tpr: float64 (P,), non-decreasing, in [0, 1].
        threshold: float64 (P,), non-increasing; "member" means score >= threshold; starts at +inf.
    """

    fpr: Floats
    tpr: Floats
    threshold: Floats


@dataclass(frozen=True)
class Evaluation:
    """How well one score tells members from non-members.

    Attributes:
        name: name of the attack or blind baseline.
        auc: area under the ROC curve, in [0, 1].
        auc_ci95: 95 % confidence interval of the AUC.
        tpr_at_fpr: true positive rate at each false positive rate (keys as in "0.01"); None where
            the non-members are too few to resolve that rate.
    """

    name: str
    n_members: int
    n_nonmembers: int
    auc: float
    auc_ci95: tuple[float, float]
    tpr_at_fpr: Mapping[str, float | None]
    roc: Roc


@dataclass(frozen=True)
class Comparison:
    """Paired difference of two AUCs on the same images: AUC(first) - AUC(second)."""

    first: str
    second: str
    difference: float
    ci95: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class GridPoint:
    """The membership attack under one setting of the difficulty score.

    Attributes:
        backbone, features_from, layers, ridge: the setting, see :class:`DifficultyTable`.
        alpha: weight of the difficulty.
        auc: of the membership error.
        auc_ci95: its 95 % confidence interval.
    """

    backbone: str
    features_from: str
    layers: str
    ridge: str
    alpha: float
    auc: float
    auc_ci95: tuple[float, float]


@dataclass(frozen=True)
class Gallery:
    """A few images to look at, chosen by the pipeline.

    Attributes:
        ids: N image ids.
        captions: N short texts ("member, error 0.081").
        x, y, reconstruction: float32 (N, 3, H, W) in [0, 1].
    """

    ids: tuple[str, ...]
    captions: tuple[str, ...]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    reconstruction: NDArray[np.float32]


@dataclass(frozen=True)
class Gate:
    """What became of ``fail_if``.

    Attributes:
        condition: as it was given, such as ``auc/membership > 0.6``.
        value: of its metric; None where the audit could not measure it.
        failed: whether the condition holds, or cannot be decided.
    """

    condition: str
    value: float | None
    failed: bool


@dataclass(frozen=True)
class AuditResult:
    """The verdict on one victim, and what the report needs to explain it.

    Attributes:
        name: the run's name, e.g. ``facades_pix2pix``.
        split: the roles of all images.
        scores: one table per attack; rows of all tables share ids.
        difficulty: float64 per candidate, in the order of ``scores[0].id``.
        alpha: weight of the difficulty in the membership error (Eq. 3).
        evaluations: one per attack.
        comparisons: each attack against the plain reconstruction error.
        blind: attacks that never saw the victim.
        near_duplicates: pairs of ids in different roles that look alike, with their distance.
        gallery: images to look at.
        grid: the membership attack under other settings, the configured first; empty if none.
        timing_s: seconds each stage took in this run.
        record: what was run: versions, weights, seeds, data fingerprint (plain strings).
        gate: what became of ``fail_if``; None where nothing was asked.
    """

    name: str
    split: Split
    scores: tuple[ScoreTable, ...]
    difficulty: Floats
    alpha: float
    evaluations: tuple[Evaluation, ...]
    comparisons: tuple[Comparison, ...]
    blind: tuple[Evaluation, ...]
    near_duplicates: tuple[tuple[str, str, int], ...]
    gallery: Gallery
    grid: tuple[GridPoint, ...]
    timing_s: Mapping[str, float]
    record: Mapping[str, str]
    gate: Gate | None = None


@dataclass(frozen=True)
class Decision:
    """Which candidates one attack calls members, at a false positive rate.

    Attributes:
        n_auxiliary: m, known non-members that the threshold comes from.
        attained_fpr: the rate, at most the one asked for: a multiple of 1 / (m + 1).
        fpr_upper95: with 95 % confidence over the draw of the auxiliaries, the rate of this very
            threshold is no higher.
        threshold: a candidate is called a member if its score is above.
        p_value: float64 (N,) conformal p-value of each candidate.
        is_called: bool (N,), called a member.
    """

    n_auxiliary: int
    attained_fpr: float
    fpr_upper95: float
    threshold: float
    p_value: Floats
    is_called: NDArray[np.bool_]


@dataclass(frozen=True)
class Scoring:
    """Who, of images that nobody knows, a victim was probably trained on.

    Attributes:
        name: the run's name.
        candidates: N ids, in the order of every vector here.
        auxiliaries: m ids of known non-members; may be none.
        scores: one table per attack, of candidates and auxiliaries.
        difficulty: float64 (N + m,), of the candidates, then of the auxiliaries.
        fpr: the false positive rate asked for.
        ranks: by attack, int64 (N,); 1 is the most likely member.
        decisions: by attack; empty without auxiliaries.
        near_duplicates: candidates and auxiliaries that look alike, with their distance.
        gallery: the most likely members.
        timing_s, record: as in :class:`AuditResult`.
    """

    name: str
    candidates: tuple[str, ...]
    auxiliaries: tuple[str, ...]
    scores: tuple[ScoreTable, ...]
    difficulty: Floats
    fpr: float
    ranks: Mapping[str, NDArray[np.int64]]
    decisions: Mapping[str, Decision]
    near_duplicates: tuple[tuple[str, str, int], ...]
    gallery: Gallery
    timing_s: Mapping[str, float]
    record: Mapping[str, str]


@dataclass(frozen=True)
class Reliability:
    """What remains of a score when its random part is drawn again.

    Attributes:
        n_repeats: T, draws of each image.
        within_sd: standard deviation of one image's score over the draws.
        between_sd: standard deviation of the images' true scores, 0 where the estimated variance
            is negative.
        icc_single: intraclass correlation of a single draw, ICC(1,1); 1 is perfect.
        icc_mean: of the mean of the T draws, ICC(1,k).
        rank_correlation: Spearman's, mean over pairs of draws; None where a draw has no ranking.
    """

    n_repeats: int
    within_sd: float
    between_sd: float
    icc_single: float
    icc_mean: float
    rank_correlation: float | None


@dataclass(frozen=True)
class Extremes:
    """Some images with their difficulty.

    Attributes:
        ids: K image ids.
        score: (K,) difficulty.
        x, y: float32 (K, 3, H, W) in [0, 1].
        map: float32 (K, G, G) error of each pixel, or (K, 0, 0).
    """

    ids: tuple[str, ...]
    score: Floats
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    map: NDArray[np.float32]


@dataclass(frozen=True)
class Survey:
    """How difficult the images of a folder are; no victim is involved.

    Attributes:
        name: the run's name.
        image_size: side of the squares that the pictures were resized to, in pixels.
        difficulty: of N images under S settings.
        correlation: (S, S) Spearman's between settings; NaN where a setting scores all alike.
        reliability: of the configured setting; None where it was not repeated.
        easiest, hardest: the images at either end, the extreme first.
        timing_s, record: as in :class:`AuditResult`.
    """

    name: str
    image_size: int
    difficulty: DifficultyTable
    correlation: Floats
    reliability: Reliability | None
    easiest: Extremes
    hardest: Extremes
    timing_s: Mapping[str, float]
    record: Mapping[str, str]
