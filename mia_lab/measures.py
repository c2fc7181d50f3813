"""What is measured on scores: frozen, and free of images.

Sources are named where a number is computed, in :mod:`mia_lab.evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mia_lab.types import Floats, ScoreTable


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % confidence interval."""

    value: float
    ci95: tuple[float, float]


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
class Band:
    """Pointwise 95 % confidence band of a ROC curve.

    Attributes:
        fpr: float64 (P,), increasing, in (0, 1).
        low, high: float64 (P,), limits of the true positive rate.
    """

    fpr: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Evaluation:
    """How well one score tells members from non-members.

    Attributes:
        name: name of the attack or blind baseline.
        auc: area under the ROC curve, in [0, 1].
        auc_ci95: 95 % confidence interval of the AUC, DeLong's.
        auc_bootstrap_ci95: the same by a stratified bootstrap.
        p_value: two-sided, of the hypothesis that the labels mean nothing (AUC 0.5).
        tpr_at_fpr: true positive rate at each false positive rate (keys as in "0.01"); None where
            the non-members are too few to resolve that rate.
        roc, band: the curve and its pointwise band.
    """

    name: str
    n_members: int
    n_nonmembers: int
    auc: float
    auc_ci95: tuple[float, float]
    auc_bootstrap_ci95: tuple[float, float]
    p_value: float
    tpr_at_fpr: Mapping[str, Estimate | None]
    roc: Roc
    band: Band


@dataclass(frozen=True)
class Comparison:
    """Paired difference of two AUCs on the same images: AUC(first) - AUC(second).

    Attributes:
        first, second: names of the scores.
        difference: of the AUCs, in [-1, 1].
        ci95, p_value: DeLong's.
        bootstrap_ci95, bootstrap_p_value: the same by a stratified bootstrap.
    """

    first: str
    second: str
    difference: float
    ci95: tuple[float, float]
    p_value: float
    bootstrap_ci95: tuple[float, float]
    bootstrap_p_value: float


class Verdict(StrEnum):
    """Whether members and non-members differ before any victim is asked."""

    CONFOUNDED = "confounded"
    SOUND = "sound"
    UNDECIDABLE = "undecidable"


@dataclass(frozen=True)
class Blind:
    """Attacks that never see the victim, and what they say about the split.

    Attributes:
        baselines: one a baseline, of its (cross-fitted) scores; p-values are the adjusted ones.
        scores: what was evaluated, in the order of the baselines; that of the difficulty with its
            own sign.
        adjusted_p: of each baseline, against the maximum over all of them under permuted labels.
        best: name of the baseline with the highest AUC, the difficulty's taken from its better
            side.
        max: that AUC.
        p_value: the smallest adjusted one.
        upper95: simultaneous 95 % upper bound of the baselines' AUCs.
        permutations: of the labels, through the whole fit and score.
        verdict: ``confounded`` where ``p_value`` < 0.05, else ``sound`` where ``upper95`` < 0.60.
    """

    baselines: tuple[Evaluation, ...]
    scores: tuple[ScoreTable, ...]
    adjusted_p: Mapping[str, float]
    best: str
    max: float
    p_value: float
    upper95: float
    permutations: int
    verdict: Verdict


@dataclass(frozen=True)
class Knowledge:
    """What an attacker has to have besides the query pair.

    Attributes:
        images: others of the distribution, known non-members or for training references.
        architecture: of reference victims; "" where there are none.
        queries: to the victim, an image.
        trainings: of reference victims.
    """

    images: int
    architecture: str
    queries: int
    trainings: int


@dataclass(frozen=True)
class Utility:
    """How good the victim's answers to non-members are.

    Attributes:
        n: non-members.
        l1: mean absolute error, in [0, 1].
        ssim: mean structural similarity, at most 1.
        frechet: distance of the answers' features from the targets', at least 0.
    """

    n: int
    l1: float
    ssim: float
    frechet: float


@dataclass(frozen=True)
class Normality:
    """How far log errors of reference victims are from Gaussian, image by image.

    Attributes:
        n: residuals from the images' means.
        skewness, excess_kurtosis: of them; both 0 for a Gaussian.
        p_value: Shapiro and Wilk's, as if the residuals were independent.
        expected, observed: float64 (Q,), quantiles of a Gaussian and of the residuals.
    """

    n: int
    skewness: float
    excess_kurtosis: float
    p_value: float
    expected: Floats
    observed: Floats


@dataclass(frozen=True)
class Slice:
    """One attack on some of the candidates.

    Attributes:
        by: what divides them, ``difficulty`` or ``group``.
        name: which part, such as "easiest quarter".
        attack: name of the attack.
        n_members, n_nonmembers: how many there are.
        auc: None where one class is missing.
    """

    by: str
    name: str
    attack: str
    n_members: int
    n_nonmembers: int
    auc: Estimate | None


@dataclass(frozen=True)
class AlphaCurve:
    """AUC of the membership error against the weight of the difficulty.

    Attributes:
        alpha: float64 (A,), increasing.
        auc, low, high: float64 (A,), the AUC with its 95 % interval.
    """

    alpha: Floats
    auc: Floats
    low: Floats
    high: Floats


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
