"""From scores to a verdict: everything that an audit measures once the victim has answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mia_lab.attacks.calibrated import unseen_log_errors
from mia_lab.attacks.evidence import Evidence
from mia_lab.config import build
from mia_lab.config.choices import Assignment, Protocol
from mia_lab.config.load import as_yaml
from mia_lab.config.schema import Config
from mia_lab.data.splits import NearDuplicates
from mia_lab.evaluation.blind import excess, judge_fits
from mia_lab.evaluation.calibration import calibrate
from mia_lab.evaluation.decision import hindsight, operating_point
from mia_lab.evaluation.epsilon import one_run_bound
from mia_lab.evaluation.evaluate import FPRS, compare_attacks, evaluate
from mia_lab.evaluation.grid import alpha_curve, evaluate_grid
from mia_lab.evaluation.normality import normality
from mia_lab.evaluation.results import (
    AuditResult,
    Calibration,
    Dossiers,
    EpsilonBound,
    Knowledge,
    Normality,
    Practice,
)
from mia_lab.evaluation.slices import slices
from mia_lab.stages.audit_stages import Stages
from mia_lab.tasks.run import command_line, gallery, solver_record, wants_pictures
from mia_lab.types import ADAPTIVE, VICTIM, Role, ScoreTable, Split, Strings

SHOWN = 4
"""Dossiers of each kind."""


def judge(
    config: Config,
    stages: Stages,
    split: Split,
    alike: NearDuplicates,
    evidence: Evidence,
    scores: Sequence[ScoreTable],
) -> AuditResult:
    """Join scores and truth by id, and measure.

    Args:
        config: the configuration.
        stages: of the same configuration, as far as evidence is concerned complete.
        split: the roles.
        alike: near-duplicates across roles.
        evidence: what the attacks were given.
        scores: of each attack, on candidates and auxiliaries.
    """
    ids = stages.candidates
    truth, groups, seed = split.is_member(ids), split.groups(ids), config.seed
    judged = tuple(
        ScoreTable(s.attack, VICTIM, np.array(ids), np.asarray(s.column(ids))) for s in scores
    )
    difficulty = evidence.difficulty.column(ids)
    error = evidence.reconstructions.mean_error(ids, VICTIM)
    fits = stages.blind(split, evidence.difficulty)
    blind = judge_fits(fits, np.array(ids), truth, seed, groups)
    practice = {s.attack: _practice(config, s, split, truth, groups) for s in scores}
    baseline = next((s for s in judged if s.attack == "reconstruction"), None)
    alphas = build.grid_alphas(config)
    return AuditResult(
        name=config.name,
        split=split,
        scores=judged,
        difficulty=difficulty,
        alpha=config.attack.alpha,
        evaluations=tuple(evaluate(s.attack, s.score, truth, seed, groups) for s in judged),
        normality=_normality(evidence, ids),
        claim=build.privacy_claim(config, split.ids(Role.MEMBER)),
        utility=stages.utility(evidence.reconstructions) if stages.wants_utility else None,
        knowledge={s.attack: _knowledge(config, stages, s.attack) for s in scores},
        practice=practice,
        comparisons=tuple(
            compare_attacks(s, baseline, truth, seed, groups)
            for s in judged
            if baseline is not None and s is not baseline
        ),
        blind=blind,
        excess=tuple(excess(s, blind, truth, seed, groups) for s in judged),
        slices=slices(judged, difficulty, truth, groups),
        alpha_curve=alpha_curve(error, difficulty, truth, config.attack.alpha, groups),
        near_duplicates=alike,
        dossiers=_dossiers(config, stages, evidence, judged[-1], truth, practice),
        grid=evaluate_grid(evidence.difficulty, error, ids, truth, alphas, groups),
        timing_s={},
        record=stages.record() | solver_record(evidence.difficulty),
        command=command_line(),
        config=as_yaml(config),
    )


def _normality(evidence: Evidence, ids: Sequence[str]) -> Normality | None:
    """Of the log errors of references on candidates that they did not see."""
    return normality(unseen_log_errors(evidence, ids)) if evidence.references else None


def _knowledge(config: Config, stages: Stages, attack: str) -> Knowledge:
    """What an attacker has to have; the difficulty counts where the attack reads it."""
    needs = build.needs(config, [attack])
    trainings = config.reference.count if needs.references else 0
    images = len(stages.reference_victims.pool) if trainings else 0
    if needs.auxiliaries:
        images = max(images, stages.count(Role.AUXILIARY))
    given = config.reference.victim or config.victim
    architecture = str(given.get("name", "")) if trainings else ""
    queries = config.query.repeats if ADAPTIVE in needs.altered else 1 + len(needs.altered)
    return Knowledge(images, architecture, queries, trainings)


def _practice(
    config: Config,
    scores: ScoreTable,
    split: Split,
    truth: NDArray[np.bool_],
    groups: Strings,
) -> Practice:
    score = scores.column(split.candidates())
    auxiliary = scores.column(split.ids(Role.AUXILIARY))
    fixed = {
        fpr: operating_point(score, truth, auxiliary, float(fpr), groups)
        for fpr in FPRS
        if len(auxiliary)
    }
    return Practice(
        fixed=fixed,
        hindsight=hindsight(score, truth),
        calibration=calibrate(score, truth, config.seed, groups),
        epsilon=_epsilon(config, scores, split, truth),
    )


def _epsilon(
    config: Config, scores: ScoreTable, split: Split, truth: NDArray[np.bool_]
) -> EpsilonBound:
    """The bound, or which of its theorem's premises does not hold."""
    data, guesses = config.data, config.evaluation.guesses
    if data.protocol is not Protocol.resplit:
        return EpsilonBound(None, "no valid bound: members were not drawn at random by this audit")
    if data.assignment is not Assignment.bernoulli:
        return EpsilonBound(
            None,
            "no valid bound: a fixed number of members was drawn, and the theorem wants a coin for "
            "each image (data.assignment=bernoulli)",
        )
    if guesses is None:
        return EpsilonBound(
            None,
            "no valid bound: the number of guesses was not fixed beforehand (evaluation.guesses)",
        )
    ids = split.candidates()
    content = dict(zip(split.id.tolist(), split.content.tolist(), strict=True))
    if len({content[i] for i in ids}) < len(ids):
        return EpsilonBound(
            None, "no valid bound: some candidates are the same image, and so share one coin"
        )
    # All attacks' bounds hold together (Bonferroni).
    level = 1 - 0.05 / len(config.attack.names)
    delta = config.evaluation.delta
    return one_run_bound(scores.column(ids), truth, guesses, delta, level)


def _dossiers(
    config: Config,
    stages: Stages,
    evidence: Evidence,
    scores: ScoreTable,
    truth: NDArray[np.bool_],
    practice: Mapping[str, Practice],
) -> tuple[Dossiers, ...]:
    """The images that a reader asks for first, by the last attack."""
    if not config.report.images or not wants_pictures(config):
        return ()
    ids = scores.id.tolist()
    order = np.argsort(-scores.score, kind="stable")
    easy = np.argsort(evidence.difficulty.column(ids), kind="stable")
    members, strangers = order[truth[order]], order[~truth[order]]
    chosen = {
        "Most exposed members": members,
        "Members missed most": members[::-1],
        "Non-members mistaken most": strangers,
        "Easiest images": easy,
        "Hardest images": easy[::-1],
    }
    rows = {title: found[:SHOWN].tolist() for title, found in chosen.items()}
    shown = list(dict.fromkeys(i for found in rows.values() for i in found))
    maps = dict(zip(shown, stages.difficulties.maps([ids[i] for i in shown]), strict=True))
    captions = _captions(evidence, scores, truth, practice[scores.attack].calibration)
    return tuple(
        Dossiers(
            title,
            gallery(evidence, [ids[i] for i in found], [captions[i] for i in found]),
            np.stack([maps[i] for i in found]),
        )
        for title, found in rows.items()
    )


def _captions(
    evidence: Evidence,
    scores: ScoreTable,
    truth: NDArray[np.bool_],
    calibration: Calibration | None,
) -> list[str]:
    """What is known of each candidate, on one line."""
    ids = scores.id.tolist()
    error, difficulty = evidence.reconstructions.mean_error(ids), evidence.difficulty.column(ids)
    captions = []
    for i in range(len(ids)):
        parts = [
            "member" if truth[i] else "non-member",
            f"error {error[i]:.3f}",
            f"difficulty {difficulty[i]:.3f}",
        ]
        if calibration is not None:
            parts.append(f"P(member) {calibration.probability[i]:.2f}")
        captions.append(", ".join(parts))
    return captions
