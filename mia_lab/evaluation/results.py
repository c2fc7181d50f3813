"""The result model: every number that a task measures, once.

JSON, tables, figures, pages and W&B are renderings of these frozen dataclasses, made in
:mod:`mia_lab.reporting`. The sources of the methods are named where the numbers are computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from mia_lab.types import (
    Booleans,
    DifficultyTable,
    Floats,
    Integers,
    PrivacyClaim,
    ScoreTable,
    Split,
)

Interval = tuple[float, float]
"""Lower and upper limit."""

Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % confidence interval.

    Attributes:
        value: the estimate.
        ci95: lower and upper end of the interval.
    """

    value: float
    ci95: Interval


@dataclass(frozen=True)
class TruePositiveRate(Estimate):
    """The true positive rate at a requested false positive rate, with the counts behind it.

    Attributes:
        realised_fpr: share of the non-members that are called members, at most the requested rate.
        true_positives, false_positives: numbers of members and of non-members that are called
            members.
    """

    realised_fpr: Share
    true_positives: Count
    false_positives: Count


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


Measured = float | Estimate | Mapping[str, TruePositiveRate | None] | None
"""What a metric returns: a number, an estimate, or the true positive rate at each requested false
positive rate; None where the images do not suffice."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well one score tells members from non-members.

    Attributes:
        name: the attack or blind baseline.
        n_members, n_nonmembers: number of images.
        metrics: every metric of :data:`mia_lab.evaluation.metrics.METRICS`, by name.
        auc_bootstrap_ci95: 95 % confidence interval of the AUC by a stratified bootstrap, a check
            of DeLong's interval.
        roc, band: the ROC curve and its pointwise band.
    """

    name: str
    n_members: Count
    n_nonmembers: Count
    metrics: Mapping[str, Measured]
    auc_bootstrap_ci95: Interval
    roc: Roc
    band: Band

    @property
    def auc(self) -> float:
        """Area under the ROC curve, in [0, 1]."""
        return cast(Estimate, self.metrics["auc"]).value

    @property
    def auc_ci95(self) -> Interval:
        """DeLong's 95 % confidence interval of the AUC."""
        return cast(Estimate, self.metrics["auc"]).ci95

    @property
    def is_separating(self) -> bool:
        """Whether members score higher: the interval of the AUC lies above 0.5."""
        return self.auc_ci95[0] > 0.5

    @property
    def is_reversed(self) -> bool:
        """Whether members score lower: the interval of the AUC lies below 0.5.

        Then they are told from non-members as well, in the wrong direction.
        """
        return self.auc_ci95[1] < 0.5

    @property
    def p_value(self) -> float:
        """Two-sided, of the null hypothesis that scores and labels are independent."""
        return cast(float, self.metrics["p_value"])

    @property
    def tpr_at_fpr(self) -> Mapping[str, TruePositiveRate | None]:
        """True positive rate at each requested false positive rate (keys as in "0.01")."""
        return cast(Mapping[str, TruePositiveRate | None], self.metrics["tpr_at_fpr"])

    @property
    def tpr_at_zero_fp(self) -> Estimate:
        """Share of the members that score above every non-member, given the largest non-member."""
        return cast(Estimate, self.metrics["tpr_at_zero_fp"])


@dataclass(frozen=True)
class Comparison:
    """Paired difference of two AUCs on the same images: AUC(first) - AUC(second).

    Attributes:
        first, second: names of the scores.
        difference: of the AUCs, in [-1, 1].
        ci95, p_value: DeLong's.
    """

    first: str
    second: str
    difference: Annotated[float, Ge(-1), Le(1)]
    ci95: Interval
    p_value: Share

    @property
    def estimate(self) -> Estimate:
        """The difference with DeLong's interval."""
        return Estimate(self.difference, self.ci95)


class Verdict(StrEnum):
    """Whether members and non-members differ by themselves, without a victim."""

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
        refit_factor: of each baseline, how much wider the intervals of its AUC are than those of a
            fixed score, because its fits share images; 1: it is not fitted.
    """

    baselines: tuple[Evaluation, ...]
    scores: tuple[ScoreTable, ...]
    adjusted_p: Mapping[str, float]
    best: str
    max: Share
    p_value: Share
    upper95: Share
    permutations: Annotated[int, Ge(1)]
    verdict: Verdict
    refit_factor: Mapping[str, float]


@dataclass(frozen=True)
class AdjustedAuc:
    """The AUC of one attack, adjusted for what the blind baselines see.

    Attributes:
        adjusted: mean placement of the members among non-members of the same propensity.
        matched: AUC on pairs of a member and a non-member of nearly the same propensity.
    """

    adjusted: Estimate | None
    matched: Estimate | None


@dataclass(frozen=True)
class MatchedBlind:
    """Blind baselines, fitted to the matched images.

    Attributes:
        best: the baseline with the highest AUC.
        max: that AUC; the difficulty's from its better side.
        p_value: against permuted labels.
        permutations: of the labels, through propensity, matching and baselines.
    """

    best: str
    max: Share
    p_value: Share
    permutations: Annotated[int, Ge(1)]

    @property
    def differs(self) -> bool:
        """Whether baselines tell the matched images apart."""
        return self.p_value < 0.05


@dataclass(frozen=True)
class Adjustment:
    """The attacks, adjusted for what the blind baselines see; unseen differences remain.

    Attributes:
        attacks: the AUCs, by attack; None if too few images are comparable.
        pairs: members that have a partner of their own within the caliper.
        outside: members without any non-member within the caliper, which are left out.
        effective_size: number of images (or clusters) of each class that the comparison is worth.
        blind: the baselines on the matched images; None if there is no AUC.
    """

    attacks: Mapping[str, AdjustedAuc]
    pairs: Count
    outside: Count
    effective_size: Annotated[float, Ge(0)]
    blind: MatchedBlind | None

    @property
    def is_adjustable(self) -> bool:
        """Whether enough images are comparable; if not, there is no AUC."""
        return self.blind is not None


@dataclass(frozen=True)
class Knowledge:
    """What an attacker needs besides the query pair.

    Attributes:
        images: others of the distribution, known non-members or for training references.
        architecture: of reference victims; "" where there are none.
        queries: to the victim, an image.
        trainings: of reference victims.
        model: whether the attacker holds the model itself, and sends no queries.
    """

    images: Count
    architecture: str
    queries: Count
    trainings: Count
    model: bool = False


@dataclass(frozen=True)
class Utility:
    """Quality of the victim's outputs for non-members.

    Attributes:
        n: non-members.
        l1: mean absolute error, in [0, 1].
        ssim: mean structural similarity, at most 1.
        frechet: distance of the answers' features from the targets', at least 0.
    """

    n: Count
    l1: Share
    ssim: Annotated[float, Le(1)]
    frechet: Annotated[float, Ge(0)]


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
    n_members: Count
    n_nonmembers: Count
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
class AnswersCurve:
    """AUC of an attack against the number of answers to each image, for a victim that varies.

    Attributes:
        name: what is made of the answers, such as "mean error".
        answers: int64 (K,), from 1.
        auc, low, high: float64 (K,), the AUC with its 95 % interval.
    """

    name: str
    answers: Integers
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
    auc: Share
    auc_ci95: Interval

    @property
    def axes(self) -> dict[str, str]:
        """The setting as text, by axis of the grid."""
        return {
            "layers": self.layers,
            "ridge": self.ridge,
            "alpha": f"{self.alpha:.12g}",
            "features_from": self.features_from,
            "backbone": self.backbone,
        }


@dataclass(frozen=True)
class Reliability:
    """How reproducible a score is when its random part is drawn again.

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
    is_called: Booleans


@dataclass(frozen=True)
class OperatingPoint:
    """The decisions on the candidates at a threshold that comes from other images.

    Attributes:
        threshold: a candidate is called a member if its score is above.
        n_auxiliary: known non-members that it comes from.
        tpr, fpr: shares of members and of non-members called members; Clopper-Pearson intervals.
        precision_at_prior: share of members among the images called members, by the prior
            probability of a member ("0.01"); None where no image is called one.
    """

    threshold: float
    n_auxiliary: Annotated[int, Ge(1)]
    tpr: Estimate
    fpr: Estimate
    precision_at_prior: Mapping[str, Estimate | None]


@dataclass(frozen=True)
class Hindsight:
    """The best threshold on the evaluated images, which an attacker cannot know.

    Attributes:
        threshold: a candidate is called a member if its score is at least this; None where it is
            best to call nobody.
        tpr, fpr: shares of members and of non-members called members.
        accuracy: balanced, (TPR + 1 - FPR) / 2.
    """

    threshold: float | None
    tpr: Share
    fpr: Share
    accuracy: Share


@dataclass(frozen=True)
class Calibration:
    """Scores as probabilities, fitted and evaluated on different images.

    Attributes:
        probability: float64 (N,) of being a member, where half of all candidates are.
        predicted, observed: float64 (B,) mean probability and share of members in each bin.
        observed_ci95: float64 (B, 2), Clopper-Pearson.
        count: int64 (B,) images in each bin.
        brier: mean squared error of the probabilities; 0.25 is what 1/2 for all gives.
        log_loss: mean negative log likelihood, in nats; log 2 is what 1/2 for all gives.
    """

    probability: Floats
    predicted: Floats
    observed: Floats
    observed_ci95: Floats
    count: Integers
    brier: float
    log_loss: float


@dataclass(frozen=True)
class EpsilonBound:
    """A lower bound of the privacy loss that a differentially private training could claim.

    Attributes:
        value: the hypothesis is rejected for any smaller epsilon, at 95 % confidence for all
            attacks together; None where no theorem gives a bound.
        hypothesis: what is rejected, in words.
        why: which theorem applies, or why none does.
        chosen: how the number of guesses was chosen; "" where there is no bound.
        candidates: images that the guesses are about; 0 where there is no bound, as the next two.
        guesses, correct: r and how many of them were right.
        delta: of the claim.
    """

    value: Annotated[float, Ge(0)] | None
    hypothesis: str
    why: str
    chosen: str = ""
    candidates: Count = 0
    guesses: Count = 0
    correct: Count = 0
    delta: Share = 0.0


@dataclass(frozen=True)
class EpsilonBounds:
    """Lower bounds of the privacy loss under two hypotheses, each at 95 % confidence.

    Attributes:
        approximate_dp: of (epsilon, delta)-differential privacy.
        gaussian_dp: of Gaussian differential privacy (Dong, Roth and Su 2022), which assumes more
            of a training.
    """

    approximate_dp: EpsilonBound
    gaussian_dp: EpsilonBound

    @property
    def by_hypothesis(self) -> Mapping[str, EpsilonBound]:
        """Both, by their names here."""
        return {"approximate_dp": self.approximate_dp, "gaussian_dp": self.gaussian_dp}


@dataclass(frozen=True)
class DecisionQuality:
    """How well members can be decided on by one attack's scores.

    Attributes:
        fixed_threshold: results at thresholds that auxiliaries gave, by the requested false
            positive rate ("0.1"); None where the auxiliaries are too few for this rate. Empty
            without auxiliaries.
        hindsight: the threshold that maximises TPR - FPR on the evaluated images.
        calibration: None where the images are too few to fit one.
        epsilon: lower bounds of the privacy loss, or why there are none.
    """

    fixed_threshold: Mapping[str, OperatingPoint | None]
    hindsight: Hindsight
    calibration: Calibration | None
    epsilon: EpsilonBounds


@dataclass(frozen=True)
class Outcome:
    """The outcome of one condition of ``fail_if``.

    Attributes:
        condition: such as ``auc/membership > 0.6``.
        value: of its metric; None where the audit could not measure it.
        failed: whether the condition holds or cannot be decided, the attack is reversed, or the
            answers do not belong to their targets.
        reversed: whether the condition does not hold only because the attack tells members from
            non-members in the wrong direction: the interval of its AUC lies below 0.5.
        unrelated: whether it does not hold, but the answers do not belong to their targets.
    """

    condition: str
    value: float | None
    failed: bool
    reversed: bool = False
    unrelated: bool = False


@dataclass(frozen=True)
class Gate:
    """The outcome of ``fail_if``.

    Attributes:
        condition: as it was given: conditions joined by ``or``.
        failed: whether one of the conditions failed.
        outcomes: of each condition, in order.
    """

    condition: str
    failed: bool
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Correspondence:
    """How much nearer answers lie to their own targets than to the targets of other images.

    Attributes:
        n: number of images that were compared.
        share: of the targets of other images, those farther from an answer than its own target,
            on average; 0.5 if answers and targets have nothing to do with each other.
        p_value: of that null hypothesis.
        asked_reversed: number of images with whose targets the victim was queried as well; 0 where
            it cannot be, or every query has its price.
        nearer_reversed: of these, the images whose answer was nearer to the input than the answer
            to the input is to the target.
    """

    n: Annotated[int, Ge(1)]
    share: Share
    p_value: Share
    asked_reversed: Count = 0
    nearer_reversed: Count = 0

    @property
    def is_decidable(self) -> bool:
        """Whether there are images enough for the p-value that :attr:`holds` asks for."""
        return self.n >= FEWEST

    @property
    def holds(self) -> bool:
        """Whether the answers belong to their targets."""
        belong = self.share >= CORRESPONDING and self.p_value <= SIGNIFICANT
        return bool(belong and not self.is_reversed)

    @property
    def is_reversed(self) -> bool:
        """Whether the victim translates targets to inputs: it does so better for 7 of 8 images.

        Small generators on real data, trained for 8 epochs, do so for 0 of 32.
        """
        return self.asked_reversed >= 8 and 8 * self.nearer_reversed >= 7 * self.asked_reversed


FEWEST = 5
"""Fewest images whose answers can be shown to belong to their targets: 1 / 5! is below 0.01."""

CORRESPONDING, SIGNIFICANT = 0.6, 0.01
"""Smallest share and largest p-value of a correspondence. Small generators, trained for 8 epochs,
have 0.68 to 1.00 on real data; 0.48 to 0.51 with the direction reversed; 0.50 to 0.56 with answers
in half of the range of values."""


@dataclass(frozen=True)
class Gallery:
    """A few images to look at, chosen by the pipeline.

    Attributes:
        ids: N image ids.
        captions: N short texts ("member, error 0.081").
        x, y, reconstruction: float32 (N, C, H, W) in [0, 1].
        others: float32 (N, M, C, H, W), further answers to each image; None if there are none.
    """

    ids: tuple[str, ...]
    captions: tuple[str, ...]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    others: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Dossiers:
    """Images that the report shows with everything known about them, under one heading.

    Attributes:
        title: what they were chosen for, such as "Most exposed members".
        gallery: the images.
        difficulty: float32 (N, G, G), error of the probe at each pixel, each predicted once by a
            probe that was fitted on others; (N, 0, 0) where the score has no such map.
    """

    title: str
    gallery: Gallery
    difficulty: NDArray[np.float32]


def leading(attacks: Iterable[str]) -> str:
    """The attack that a report puts first: membership, or the last one."""
    *_, last = names = [*attacks]
    return "membership" if "membership" in names else last


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """Everything that an audit measures on one victim.

    Attributes:
        scores: one table per attack; rows of all tables share ids.
        difficulty: float64 (N,), one per candidate, in the order of ``scores[0].id``.
        alpha: weight of the difficulty in the membership attack (Eq. 3).
        evaluations: one per attack.
        normality: of the references' log errors; None if no attack compares with references.
        claim: the privacy that the victim's training claims; None if it claims none.
        utility: quality of the victim's outputs; None if it was not measured.
        knowledge: what each attacker needs, by attack.
        decisions: how well members can be decided on, by attack.
        comparisons: each attack against the plain reconstruction error.
        correspondence: whether the answers belong to their targets.
        blind: attacks that never see the victim, and the verdict on the split.
        excess: each attack against the best of them.
        slices: the attacks on parts of the candidates.
        alpha_curve: None without a reconstruction error and a difficulty.
        near_duplicates: pairs of ids in different roles that look alike, with their distance.
        grid: the membership attack under other settings, the configured first; empty if none.
        answers: what further answers to each image tell; empty if there is one answer.
        adjustment: the attacks, adjusted for what the blind baselines see; None if not asked for.
    """

    scores: tuple[ScoreTable, ...]
    difficulty: Floats
    alpha: float
    evaluations: tuple[Evaluation, ...]
    normality: Normality | None
    claim: PrivacyClaim | None
    utility: Utility | None
    knowledge: Mapping[str, Knowledge]
    decisions: Mapping[str, DecisionQuality]
    comparisons: tuple[Comparison, ...]
    correspondence: Correspondence
    blind: Blind
    excess: tuple[Comparison, ...]
    slices: tuple[Slice, ...]
    alpha_curve: AlphaCurve | None
    near_duplicates: tuple[tuple[str, str, int], ...]
    grid: tuple[GridPoint, ...]
    answers: tuple[AnswersCurve, ...] = ()
    adjustment: Adjustment | None = None

    @property
    def leading(self) -> ScoreTable:
        """The scores that order the images of a report: of membership, or of the last attack."""
        found = {table.attack: table for table in self.scores}
        return found[leading([*found])]


@dataclass(frozen=True)
class EpochMeans:
    """Mean reconstruction errors after one epoch of a training.

    Attributes:
        epoch: from 1.
        members, nonmembers: the means, with Student's intervals over images.
    """

    epoch: Annotated[int, Ge(1)]
    members: Estimate
    nonmembers: Estimate


@dataclass(frozen=True)
class Overfitting:
    """The course of a victim's training.

    Attributes:
        n_members, n_nonmembers: images that the victim was queried with, in evaluation mode.
        means: of their errors after some epochs, the last one included.
        loss: float64 (E,), mean absolute error in the training step, of every epoch; empty if the
            training does not tell it.
    """

    n_members: Count
    n_nonmembers: Count
    means: tuple[EpochMeans, ...]
    loss: Floats


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """An audit's result, with everything else that its files, page and tracker show.

    Attributes:
        name: the run's name, e.g. ``facades_pix2pix``.
        result: the measured numbers.
        split: the roles of all images.
        dossiers: images to look at; empty with ``report.images=false``.
        overfitting: the course of the victim's training; None if it was not trained here.
        gate: the outcome of ``fail_if``; None without a condition.
        timing_s: seconds that each part of this run took.
        record: what was run: versions, weights, seeds, data fingerprint (plain strings).
        command: what reproduces the run, as typed into a shell.
        config: the resolved configuration, as YAML.
    """

    name: str
    result: AuditResult
    split: Split
    dossiers: tuple[Dossiers, ...]
    overfitting: Overfitting | None
    gate: Gate | None
    timing_s: Mapping[str, float]
    record: Mapping[str, str]
    command: str
    config: str


@dataclass(frozen=True)
class ScoringResult:
    """Which images of unknown membership a victim was probably trained on.

    Attributes:
        candidates: N ids, in the order of every vector here.
        auxiliaries: m ids of known non-members; may be none.
        scores: one table per attack, of candidates and auxiliaries.
        difficulty: float64 (N + m,), of the candidates, then of the auxiliaries.
        fpr: the false positive rate asked for.
        ranks: by attack, int64 (N,); 1 is the most likely member.
        decisions: by attack; empty without auxiliaries.
        near_duplicates: candidates and auxiliaries that look alike, with their distance.
        correspondence: whether the answers belong to their targets.
    """

    candidates: tuple[str, ...]
    auxiliaries: tuple[str, ...]
    scores: tuple[ScoreTable, ...]
    difficulty: Floats
    fpr: float
    ranks: Mapping[str, Integers]
    decisions: Mapping[str, Decision]
    near_duplicates: tuple[tuple[str, str, int], ...]
    correspondence: Correspondence


@dataclass(frozen=True)
class Scoring:
    """The report of ``task=score``.

    Attributes:
        name: the run's name.
        result: ranks and decisions.
        gallery: the most likely members.
        timing_s, record: as in :class:`AuditReport`.
    """

    name: str
    result: ScoringResult
    gallery: Gallery
    timing_s: Mapping[str, float]
    record: Mapping[str, str]


class Answer(StrEnum):
    """Whether a collection was used for the training of a victim."""

    USED = "used"
    CANNOT_TELL = "cannot tell"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True)
class MeanTest:
    """Whether a collection scores higher than images that were certainly not used.

    Attributes:
        n_collection, n_comparison: independent units: images, or groups of images.
        difference: of the mean scores.
        welch_p: one-sided p-value of Welch's t-test.
        permutation_p: one-sided p-value of a permutation test of Welch's t.
    """

    n_collection: Count
    n_comparison: Count
    difference: float
    welch_p: Share
    permutation_p: Share


@dataclass(frozen=True)
class UsedShare:
    """The share of a collection that was used.

    Attributes:
        value: the estimate, or the lower bound; None where neither exists.
        ci95: its 95 % interval; the upper end of a bound is 1.
        is_bound: whether only a lower bound is known, because no members are known.
        why: why there is no estimate; "" otherwise.
    """

    value: Share | None
    ci95: Interval
    is_bound: bool
    why: str = ""


@dataclass(frozen=True)
class NeededImages:
    """How many images a test needs.

    Attributes:
        size: int64 (K,), units of the collection and of the comparison, increasing.
        median_p: float64 (K,), median of Welch's p-value over random subsets of this size.
        detected: float64 (K,), share of these subsets with p < 0.05.
    """

    size: Integers
    median_p: Floats
    detected: Floats


@dataclass(frozen=True, kw_only=True)
class CollectionResult:
    """What is known of one collection.

    Attributes:
        name: the collection's.
        n_images: of the collection.
        n_comparison: images that were certainly not used.
        scores: the test of the attack's scores.
        features: the test of the scores of all attacks together.
        p_value: of the configured test.
        holm_p: the same, adjusted for all collections.
        blind: the verdict of the blind twin on collection and comparison.
        blind_p: its p-value.
        blind_best: the best blind baseline.
        blind_max, blind_upper95: its AUC, and the simultaneous upper bound of all of them.
        excess: AUC of the attack minus that of the best blind baseline.
        answer: what all of this says.
        share: the share of the collection that was used, or a lower bound.
        needed: how many images the test needs.
    """

    name: str
    n_images: Count
    n_comparison: Count
    scores: MeanTest
    features: MeanTest
    p_value: Share
    holm_p: Share
    blind: Verdict
    blind_p: Share
    blind_best: str
    blind_max: Share
    blind_upper95: Share
    excess: Estimate
    answer: Answer
    share: UsedShare
    needed: NeededImages


@dataclass(frozen=True)
class InferenceResult:
    """Which collections were used for the training of a victim.

    Attributes:
        attack: whose scores are tested.
        by: the test that the answers rest on, ``scores`` or ``features``.
        collections: one each.
        scores: one table per attack, of all images.
        correspondence: whether the answers belong to their targets.
    """

    attack: str
    by: str
    collections: tuple[CollectionResult, ...]
    scores: tuple[ScoreTable, ...]
    correspondence: Correspondence


@dataclass(frozen=True)
class Inference:
    """The report of ``task=dataset_inference``.

    Attributes:
        name: the run's name.
        result: what was found.
        collection_of: the collection of each image; "" of the comparison and of known members.
        role_of: the role of each image.
        timing_s, record: as in :class:`AuditReport`.
    """

    name: str
    result: InferenceResult
    collection_of: Mapping[str, str]
    role_of: Mapping[str, str]
    timing_s: Mapping[str, float]
    record: Mapping[str, str]


@dataclass(frozen=True)
class Extremes:
    """Some images with their difficulty.

    Attributes:
        ids: K image ids.
        score: (K,) difficulty.
        x, y: float32 (K, C, H, W) in [0, 1].
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
        image_size: to which the pictures were resized, such as "64 px" or "512 x 256 px".
        difficulty: of N images under S settings.
        correlation: (S, S) Spearman's between settings; NaN where a setting scores all alike.
        reliability: of the configured setting; None where it was not repeated.
        easiest, hardest: the images at either end, the extreme first.
        timing_s, record: as in :class:`AuditReport`.
    """

    name: str
    image_size: str
    difficulty: DifficultyTable
    correlation: Floats
    reliability: Reliability | None
    easiest: Extremes
    hardest: Extremes
    timing_s: Mapping[str, float]
    record: Mapping[str, str]


@dataclass(frozen=True)
class Inspection:
    """What the pairs of a dataset are like.

    Attributes:
        problems: what makes pairs unusable, a line each.
        unreadable: ids of the pairs that cannot be decoded or resized.
        kinds: how many pictures there are of each size and type, by side.
        values: the smallest and the largest stored value, by side.
        doubts: signs that pairs were misread, see :mod:`mia_lab.data.doubts`.
        identical: sets of ids in several roles whose pairs are the same.
        near_duplicates: ids in different roles whose targets look alike, with their distance.
    """

    problems: tuple[str, ...]
    unreadable: tuple[str, ...]
    kinds: Mapping[str, Mapping[str, int]]
    values: Mapping[str, tuple[float, float]]
    doubts: tuple[str, ...]
    identical: tuple[tuple[str, ...], ...]
    near_duplicates: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Estimated:
    """The costs of one part of an audit.

    Attributes:
        part: ``training``, ``queries`` or ``difficulty``.
        seconds: on this machine; None where it could not be measured.
        stored: bytes in the store.
    """

    part: str
    seconds: float | None
    stored: int


@dataclass(frozen=True)
class VictimCheck:
    """What a few queries tell of a victim.

    Attributes:
        name: the victim's.
        correspondence: whether the answers belong to their targets; None for a victim that is yet
            to be trained, as for the next three.
        determinism: whether repeated queries are answered alike, in words; None if it holds
            recorded answers.
        levels: smallest, largest and mean value of the answers, and of their targets.
        gallery: some answers.
        costs: of an audit; empty if something keeps it from running.
    """

    name: str
    correspondence: Correspondence | None
    determinism: str | None
    levels: tuple[tuple[float, float, float], tuple[float, float, float]] | None
    gallery: Gallery | None
    costs: tuple[Estimated, ...]


@dataclass(frozen=True, kw_only=True)
class Check:
    """The report of ``task=check``.

    Attributes:
        name: the run's name.
        problems: what keeps an audit from running, a line each.
        roles: number of images of each role; empty if roles could not be assigned.
        groups: number of groups of images; 0 if they are unknown.
        dropped: ids that ``data.duplicates=drop`` leaves out.
        inspection: what the pairs are like.
        passed_over: files that are no pictures, by the reason.
        matched_by: what the names of partners have in common; "" if they are equal.
        duplicates: ``data.duplicates``.
        victim: None if it cannot be queried.
        timing_s, record: as in :class:`AuditReport`.
    """

    name: str
    problems: tuple[str, ...]
    roles: Mapping[str, int]
    groups: int
    dropped: tuple[str, ...]
    inspection: Inspection
    passed_over: Mapping[str, tuple[Path, ...]]
    matched_by: str
    duplicates: str
    victim: VictimCheck | None
    timing_s: Mapping[str, float]
    record: Mapping[str, str]

    @property
    def obstacles(self) -> int:
        """Problems, and identical pairs in two roles where these are refused."""
        refused = self.inspection.identical if self.duplicates == "error" else ()
        return len(self.problems) + len(refused)


@dataclass(frozen=True)
class CanaryScores:
    """The twins of one canary, as a victim's answer ranks them.

    Attributes:
        name: of the canary, by its folder.
        sha256: its commitment.
        date: of the draw, by the owner's clock.
        kind: how the twins were made, in words.
        choice: index of the published twin.
        error: float64 (k + 1,), of the victim's answer against each twin.
        p_value: share of the twins with an error at most that of the published one.
    """

    name: str
    sha256: str
    date: str
    kind: str
    choice: int
    error: Floats
    p_value: float

    @property
    def rank(self) -> int:
        """Number of twins with an error at most that of the published one, itself included."""
        return int(np.count_nonzero(self.error <= self.error[self.choice]))


@dataclass(frozen=True, kw_only=True)
class CanaryReport:
    """Whether a victim was trained on published canaries: the report of ``canary.action=test``.

    Attributes:
        name: the run's name.
        victim: the victim's name.
        canaries: those that were tested.
        planned: how many the owner committed to test together.
        combine: how their p-values become one; of no effect for one canary.
        p_value: of all canaries; a planned one that is missing counts as 1.
        queries: answers of the victim that were used.
        settings: the committed settings, by key.
        gallery: inputs with their published targets and the answers.
        timing_s, record: as in :class:`AuditReport`.
    """

    name: str
    victim: str
    canaries: tuple[CanaryScores, ...]
    planned: int
    combine: str
    p_value: float
    queries: int
    settings: Mapping[str, object]
    gallery: Gallery
    timing_s: Mapping[str, float]
    record: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class DrawnCanary:
    """A new canary: the report of ``canary.action=draw``, without what must stay secret.

    Attributes:
        name: the run's name.
        folder: of the canary.
        sha256: its commitment.
        date: of the draw.
        kind: how the twins differ, in words.
        k: number of twins besides the published one.
        settings: what was committed to besides the choice, by key.
        command: that tests a victim with it, without the victim.
        pair: what is to be published.
        timing_s, record: as in :class:`AuditReport`.
    """

    name: str
    folder: Path
    sha256: str
    date: str
    kind: str
    k: int
    settings: Mapping[str, object]
    command: str
    pair: Gallery
    timing_s: Mapping[str, float]
    record: Mapping[str, str]
