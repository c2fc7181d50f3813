"""The verdict of an audit: everything that is measured on the scores of the attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mia_lab.attacks.calibrated import unseen_log_errors
from mia_lab.attacks.evidence import Evidence
from mia_lab.config import kinds
from mia_lab.evaluation.answers import answers_curves
from mia_lab.evaluation.blind import excess, judge_fits
from mia_lab.evaluation.calibration import calibrate
from mia_lab.evaluation.decision import hindsight, operating_point
from mia_lab.evaluation.epsilon import Guesses, no_bounds, one_run_bounds
from mia_lab.evaluation.evaluate import compare_attacks, evaluate
from mia_lab.evaluation.grid import alpha_curve, evaluate_grid
from mia_lab.evaluation.metrics import METRICS
from mia_lab.evaluation.normality import normality
from mia_lab.evaluation.results import (
    AnswersCurve,
    AuditResult,
    DecisionQuality,
    EpsilonBounds,
    Knowledge,
)
from mia_lab.evaluation.slices import slices
from mia_lab.evaluation.stored import load_result, save_result
from mia_lab.stages.adjustment import AdjustmentStage
from mia_lab.stages.attack import AttackScores
from mia_lab.stages.blind import BlindStage
from mia_lab.stages.correspondence import CorrespondenceStage
from mia_lab.stages.utility import UtilityStage
from mia_lab.stages.versions import ATTACKING
from mia_lab.store import Stage, Store
from mia_lab.store.software import versions
from mia_lab.types import VICTIM, Floats, PrivacyClaim, Role, ScoreTable, Split, Strings
from mia_lab.victims.query import reconstruction_error


@dataclass(frozen=True, eq=False)
class VerdictStage(Stage[AuditResult]):
    """Joins scores and roles by id, and measures.

    Attributes:
        scores: of the attacks.
        blind: classifiers that never see the victim.
        adjustment: the attacks, adjusted for what the blind classifiers see; None: not asked for.
        utility: how good the answers are; None: not measured.
        correspondence: whether the answers belong to their targets.
        knowledge: what each attacker has to have, by the attack's name.
        alphas: weights of the difficulty to evaluate; the first is that of the membership attack.
        fprs: false positive rates at which the true positive rate is measured.
        priors: assumed shares of members, for the precision.
        guesses: number of guesses behind the bounds of epsilon, or how it is chosen; None: neither.
        delta: of these bounds.
        no_bound: why no theorem bounds epsilon; "" where one does.
        seed: of bootstrap, folds, permutations and halves.
    """

    name = "verdict"
    version = 6
    is_quick = True

    scores: AttackScores
    blind: BlindStage
    adjustment: AdjustmentStage | None
    utility: UtilityStage | None
    correspondence: CorrespondenceStage
    knowledge: Mapping[str, Knowledge]
    alphas: tuple[float, ...]
    fprs: tuple[float, ...]
    priors: tuple[float, ...]
    guesses: Guesses | None
    delta: float
    no_bound: str
    seed: int

    def inputs(self) -> Mapping[str, Any]:
        return {
            "attacks": self.scores.fingerprints,
            "order": list(self.scores.fingerprints),
            "metrics": [metric.name for metric in METRICS],
            "knowledge": {name: asdict(known) for name, known in self.knowledge.items()},
            "alphas": list(self.alphas),
            "fprs": list(self.fprs),
            "priors": list(self.priors),
            "guesses": self.guesses,
            "delta": self.delta,
            "bound": self.no_bound,
            "seed": self.seed,
            "libraries": versions(*ATTACKING),
        }

    def load(self, folder: Path) -> AuditResult:
        return load_result(folder, AuditResult)

    def compute(self, folder: Path, store: Store) -> None:
        checked = store.result(self.scores.inputs.split)
        split, ids = checked.split, checked.split.candidates()
        truth, groups, seed = split.is_member(ids), split.groups(ids), self.seed
        evidence = self.scores.inputs.evidence(store)
        tables = self.scores.tables(evidence, store)
        scores = tuple(
            ScoreTable(s.attack, VICTIM, np.array(ids), np.asarray(s.column(ids))) for s in tables
        )
        baseline = next((s for s in scores if s.attack == "reconstruction"), None)
        difficulty = evidence.difficulty.column(ids)
        error = evidence.reconstructions.mean_error(ids, VICTIM)
        fits = store.result(self.blind)
        blind = judge_fits(fits, difficulty, np.array(ids), truth, seed, groups, self.fprs)
        result = AuditResult(
            scores=scores,
            difficulty=difficulty,
            alpha=self.alphas[0],
            evaluations=tuple(
                evaluate(s.attack, s.score, truth, seed, groups, self.fprs) for s in scores
            ),
            normality=normality(unseen_log_errors(evidence, ids)) if evidence.references else None,
            claim=self._claim(split),
            utility=None if self.utility is None else store.result(self.utility),
            knowledge=dict(self.knowledge),
            decisions={s.attack: self._decisions(s, split, truth, groups) for s in tables},
            comparisons=tuple(
                compare_attacks(s, baseline, truth, groups)
                for s in scores
                if baseline is not None and s is not baseline
            ),
            correspondence=store.result(self.correspondence),
            blind=blind,
            excess=tuple(excess(s, blind, truth, groups) for s in scores),
            slices=slices(scores, difficulty, truth, groups),
            alpha_curve=alpha_curve(error, difficulty, truth, self.alphas[0], groups),
            near_duplicates=checked.near_duplicates,
            grid=evaluate_grid(evidence.difficulty, error, ids, truth, [*self.alphas], groups),
            answers=self._answers(evidence, ids, truth, groups),
            adjustment=None if self.adjustment is None else store.result(self.adjustment),
        )
        save_result(folder, result)

    def _answers(
        self, evidence: Evidence, ids: Sequence[str], truth: NDArray[np.bool_], groups: Strings
    ) -> tuple[AnswersCurve, ...]:
        if not evidence.repeats:
            return ()
        return answers_curves(evidence.errors(ids), averaged_errors(evidence, ids), truth, groups)

    def _claim(self, split: Split) -> PrivacyClaim | None:
        victim = self.scores.inputs.reconstructions.victim.component
        return kinds.privacy_claim(victim, len(split.ids(Role.MEMBER)))

    def _decisions(
        self, scores: ScoreTable, split: Split, truth: NDArray[np.bool_], groups: Strings
    ) -> DecisionQuality:
        ids = split.candidates()
        score, auxiliary = scores.column(ids), scores.column(split.ids(Role.AUXILIARY))
        fixed = {
            str(fpr): operating_point(score, truth, auxiliary, fpr, groups, self.priors)
            for fpr in self.fprs
            if len(auxiliary)
        }
        return DecisionQuality(
            fixed_threshold=fixed,
            hindsight=hindsight(score, truth),
            calibration=calibrate(score, truth, self.seed, groups),
            epsilon=self._epsilon(scores, split, truth),
        )

    def _epsilon(self, scores: ScoreTable, split: Split, truth: NDArray[np.bool_]) -> EpsilonBounds:
        """The bounds, or which premise of their theorems does not hold."""
        ids = split.candidates()
        if self.no_bound:
            return no_bounds(self.no_bound)
        if _some_share_an_image(split, ids):
            return no_bounds(
                "no valid bound: some candidates are the same image, and so share one coin"
            )
        assert self.guesses is not None
        # The bounds of all attacks hold together (Bonferroni).
        level = 1 - 0.05 / len(self.scores.attacks)
        return one_run_bounds(scores.column(ids), truth, self.guesses, self.delta, level, self.seed)


def averaged_errors(evidence: Evidence, ids: Sequence[str]) -> Floats:
    """Errors of the mean of the first k answers to some images, k from 1: float64 (K, N)."""
    counts = np.arange(1, len(evidence.answers) + 1)[:, None, None, None, None]
    found = []
    for batch in evidence.pairs(ids):
        means = np.cumsum(evidence.drawn(batch.ids), axis=0, dtype=np.float64) / counts
        found.append([reconstruction_error(mean, batch.y.numpy()) for mean in means])
    return np.concatenate(found, axis=1)


def _some_share_an_image(split: Split, ids: Sequence[str]) -> bool:
    content = dict(zip(split.id.tolist(), split.content.tolist(), strict=True))
    return len({content[i] for i in ids}) < len(ids)
