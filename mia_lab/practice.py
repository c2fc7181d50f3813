"""What scores are good for beyond ranking: decisions, probabilities, bounds.

Sources are named where a number is computed, in :mod:`mia_lab.evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mia_lab.measures import Estimate
from mia_lab.types import Floats


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
class OperatingPoint:
    """What becomes of the candidates at a threshold that other images gave.

    Attributes:
        threshold: a candidate is called a member if its score is above.
        n_auxiliary: known non-members that it comes from.
        tpr, fpr: shares of members and of non-members called members; Clopper-Pearson intervals.
        precision: share of members among those called, were members as frequent as the key says
            ("0.01"); None where nobody is called.
    """

    threshold: float
    n_auxiliary: int
    tpr: Estimate
    fpr: Estimate
    precision: Mapping[str, Estimate | None]


@dataclass(frozen=True)
class Hindsight:
    """The threshold that is best on the very images it is judged by; nobody could have known it.

    Attributes:
        threshold: a candidate is called a member if its score is at least this; None where it is
            best to call nobody.
        tpr, fpr: shares of members and of non-members called members.
        accuracy: balanced, (TPR + 1 - FPR) / 2.
    """

    threshold: float | None
    tpr: float
    fpr: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Scores as probabilities, fitted and judged on different images.

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
    count: NDArray[np.int64]
    brier: float
    log_loss: float


@dataclass(frozen=True)
class EpsilonBound:
    """A lower bound of the privacy loss that a differentially private training could claim.

    Attributes:
        value: at 95 % confidence, for all attacks together, the training was not
            (epsilon, delta)-private for any smaller epsilon; None where no theorem gives a bound.
        why: which theorem applies, or why none does.
        guesses, correct: r and how many of them were right; 0 where there is no bound.
        delta: of the claim.
    """

    value: float | None
    why: str
    guesses: int = 0
    correct: int = 0
    delta: float = 0.0


@dataclass(frozen=True)
class Practice:
    """What one attack's scores are good for beyond ranking.

    Attributes:
        fixed: at thresholds that auxiliaries gave, by the false positive rate asked for ("0.1");
            None where the auxiliaries are too few for it. Empty where there are none.
        hindsight: the threshold that maximises TPR - FPR on these very images.
        calibration: None where the images are too few to fit one.
        epsilon: the lower bound, or why there is none.
    """

    fixed: Mapping[str, OperatingPoint | None]
    hindsight: Hindsight
    calibration: Calibration | None
    epsilon: EpsilonBound


@dataclass(frozen=True)
class PrivacyClaim:
    """What a differentially private training promises: an upper bound, where an audit's is lower.

    Attributes:
        epsilon, delta: no image changes the odds of any outcome by more than e^epsilon, but with
            probability delta.
        noise_multiplier: deviation of the noise, in units of the bound of a gradient.
        sampling_rate: probability that an image is in a batch.
        steps: batches.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    sampling_rate: float
    steps: int


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
