"""Audits made up for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mia_lab.evaluation import FPRS, compare_attacks, evaluate, judge_split
from mia_lab.evaluation.blind import excess
from mia_lab.evaluation.calibration import calibrate
from mia_lab.evaluation.decision import hindsight, operating_point
from mia_lab.evaluation.epsilon import APPROXIMATE_DP, FIXED, GAUSSIAN_DP, no_bounds
from mia_lab.evaluation.grid import alpha_curve
from mia_lab.evaluation.results import (
    AdjustedAuc,
    Adjustment,
    AuditReport,
    AuditResult,
    Correspondence,
    DecisionQuality,
    Dossiers,
    EpochMeans,
    EpsilonBound,
    EpsilonBounds,
    Estimate,
    Evaluation,
    Gallery,
    GridPoint,
    Knowledge,
    MatchedBlind,
    Overfitting,
)
from mia_lab.evaluation.slices import slices
from mia_lab.types import ScoreTable, Split


def make_audit(
    n: int = 40, ids: tuple[str, ...] | None = None, size: int = 16, groups: bool = False
) -> AuditReport:
    """An audit of n members and n non-members whose error grows with their difficulty."""
    rng = np.random.default_rng(0)
    names = np.array(ids or [f"facade-{i:04d}" for i in range(2 * n)])
    is_member = np.arange(len(names)) % 2 == 0
    difficulty = rng.uniform(0.04, 0.16, len(names))
    noise = rng.normal(0, 0.008, len(names))
    error = 0.04 + 0.5 * difficulty + np.where(is_member, 0, 0.015) + noise
    membership = error - 0.5 * difficulty
    tables = tuple(
        ScoreTable(attack, "victim", names, -values)
        for attack, values in {"reconstruction": error, "membership": membership}.items()
    )
    group = np.array([f"city-{i % 7}" if groups else "" for i in range(len(names))])
    blind = judge_split(
        difficulty,
        {"statistics": rng.normal(size=(len(names), 5))},
        names,
        is_member,
        seed=0,
        permutations=20,
        groups=group,
    )

    result = AuditResult(
        scores=tables,
        difficulty=difficulty,
        alpha=0.5,
        evaluations=tuple(evaluate(t.attack, t.score, is_member, 0, group) for t in tables),
        normality=None,
        claim=None,
        utility=None,
        correspondence=Correspondence(64, 0.97, 0.001),
        knowledge={t.attack: Knowledge(0, "", 1, 0) for t in tables},
        decisions={
            t.attack: DecisionQuality(
                {
                    str(f): operating_point(t.score, is_member, t.score[~is_member][:20] - 0.001, f)
                    for f in FPRS
                },
                hindsight(t.score, is_member),
                calibrate(t.score, is_member, 0, group),
                no_bounds("no valid bound: a fixed number of members was drawn"),
            )
            for t in tables
        },
        comparisons=(compare_attacks(tables[1], tables[0], is_member, group),),
        blind=blind,
        excess=tuple(excess(t, blind, is_member, group) for t in tables),
        slices=slices(tables, difficulty, is_member, group),
        alpha_curve=alpha_curve(error, difficulty, is_member, 0.5, group),
        near_duplicates=((str(names[0]), str(names[1]), 3),),
        grid=(),
    )
    return AuditReport(
        name="facades_pix2pix",
        result=result,
        split=Split(
            id=names,
            role=np.where(is_member, "member", "nonmember"),
            group=group,
            model=np.full(len(names), "victim"),
            content=np.array([f"{i:064x}" for i in range(len(names))]),
        ),
        dossiers=(make_dossiers(names, size),),
        overfitting=make_overfitting(),
        gate=None,
        timing_s={"victim": 61.25, "attacks": 0.5},
        record={"mia_lab": "0.1.0", "seed": "0"},
        command="python -m mia_lab +experiment=facades_pix2pix",
        config="seed: 0\n",
    )


def make_adjustment(p_value: float = 0.4, adjustable: bool = True) -> Adjustment:
    """Of the attacks of :func:`make_audit`."""
    if not adjustable:
        nothing = AdjustedAuc(None, None)
        return Adjustment({"reconstruction": nothing, "membership": nothing}, 9, 31, 7.6, None)
    attacks = {
        "reconstruction": AdjustedAuc(Estimate(0.53, (0.4, 0.66)), Estimate(0.52, (0.38, 0.65))),
        "membership": AdjustedAuc(Estimate(0.71, (0.6, 0.8)), Estimate(0.7, (0.58, 0.79))),
    }
    return Adjustment(attacks, 33, 4, 31.25, MatchedBlind("jpeg", 0.56, p_value, 200))


def make_overfitting(epochs: tuple[int, ...] = (1, 2, 4, 8)) -> Overfitting:
    """Of a training whose members are learned, and non-members are not."""
    members = {epoch: 0.12 / epoch**0.5 for epoch in epochs}
    means = tuple(
        EpochMeans(epoch, Estimate(low, (low - 0.01, low + 0.01)), Estimate(0.14, (0.12, 0.16)))
        for epoch, low in members.items()
    )
    return Overfitting(32, 30, means, np.linspace(0.2, 0.1, epochs[-1]))


def make_dossiers(names: np.ndarray, size: int) -> Dossiers:
    rng = np.random.default_rng(1)
    y = rng.uniform(size=(4, 3, 4, 4)).repeat(size // 4, axis=2).repeat(size // 4, axis=3)
    answer = np.clip(y + rng.normal(0, 0.08, y.shape), 0, 1)
    shown = Gallery(
        ids=tuple(str(i) for i in names[:4]),
        captions=("member, error 0.081", "non-member, error 0.102") * 2,
        x=(1 - y).astype(np.float32),
        y=y.astype(np.float32),
        reconstruction=answer.astype(np.float32),
    )
    maps = rng.uniform(0, 0.2, (4, 8, 8)).astype(np.float32)
    return Dossiers("Most exposed members", shown, maps)


def make_grid() -> tuple[GridPoint, ...]:
    """Two subsets, three penalties and two alphas; the configured point first."""
    points = [
        GridPoint(
            "lite0 (packaged)", "input", layers, ridge, alpha, area, (area - 0.1, area + 0.05)
        )
        for i, layers in enumerate(("1,2,3,4", "1"))
        for j, ridge in enumerate(("1", "0.01", "auto"))
        for k, alpha in enumerate((0.5, 1.0))
        for area in [0.7 + 0.05 * i + 0.02 * j + 0.04 * k]
    ]
    return tuple(points)


def changed(audit: AuditReport, **fields: Any) -> AuditReport:
    """A copy with other fields, of the report or of its result."""
    names = {field.name for field in dataclasses.fields(AuditResult)}
    measured = {name: value for name, value in fields.items() if name in names}
    rest = {name: value for name, value in fields.items() if name not in names}
    return dataclasses.replace(audit, result=dataclasses.replace(audit.result, **measured), **rest)


def bounded(result: AuditResult, *epsilons: float) -> dict[str, DecisionQuality]:
    """Its decisions with these lower bounds of epsilon under either hypothesis."""
    bounds = EpsilonBounds(
        *(
            EpsilonBound(value, found.sentence, found.theorem, FIXED, 80, 50, 40, 1e-5)
            for found, value in zip((APPROXIMATE_DP, GAUSSIAN_DP), epsilons, strict=True)
        )
    )
    return {
        name: dataclasses.replace(quality, epsilon=bounds)
        for name, quality in result.decisions.items()
    }


def with_auc(evaluation: Evaluation, value: float, ci95: tuple[float, float]) -> Evaluation:
    """A copy with another AUC."""
    measured = {**evaluation.metrics, "auc": Estimate(value, ci95)}
    return dataclasses.replace(evaluation, metrics=measured)
