from __future__ import annotations

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from audits import bounded, changed
from mia_lab.evaluation.results import AuditReport, AuditResult, Roc
from mia_lab.reporting.frames import (
    CHART_POINTS,
    audit_frames,
    grid_frame,
    records,
    roc_frame,
    score_frame,
    thinned,
)


def test_tables_hold_what_was_measured(audit: AuditReport, result: AuditResult, grid) -> None:
    tables = audit_frames(changed(audit, grid=grid))
    assert_frame_equal(tables["scores"], score_frame(audit))
    assert_frame_equal(tables["grid"], grid_frame(grid))

    attacks = {row["attack"]: row for row in records(tables["attacks"])}
    baselines = {e.name for e in result.blind.baselines}
    assert {a for a, row in attacks.items() if not row["sees_victim"]} == baselines
    for e in (*result.evaluations, *result.blind.baselines):
        row = attacks[e.name]
        assert (row["auc"], row["p_value"]) == (e.auc, e.p_value)
        assert (row["auc_ci95_low"], row["auc_ci95_high"]) == e.auc_ci95
        assert row["tpr_at_fpr_0.1"] == e.tpr_at_fpr["0.1"].value
        assert row["tpr_at_fpr_0.01"] is None  # 40 non-members do not resolve it
    over = {c.first: c for c in result.excess}
    assert {a: row["excess"] for a, row in attacks.items() if a in over} == {
        a: c.difference for a, c in over.items()
    }
    assert all(attacks[name]["excess"] is None for name in baselines)

    blind = records(tables["blind"])
    assert {r["baseline"]: r["adjusted_p_value"] for r in blind} == result.blind.adjusted_p
    assert [r["baseline"] for r in blind if r["is_best"]] == [result.blind.best]
    assert records(tables["comparisons"])[0]["difference"] == result.comparisons[0].difference
    assert records(tables["excess"])[1]["p_value"] == result.excess[1].p_value
    assert [r["auc"] for r in records(tables["slices"])] == [
        s.auc and s.auc.value for s in result.slices
    ]
    assert tables["alpha_curve"]["auc"].tolist() == result.alpha_curve.auc.tolist()
    assert tables["near_duplicates"]["distance"].tolist() == [3]


def test_decisions_are_told_of_every_attack(audit: AuditReport, result: AuditResult) -> None:
    tables = audit_frames(audit)
    attack, quality = "membership", result.decisions["membership"]
    bins = [r for r in records(tables["calibration"]) if r["attack"] == attack]
    assert [r["observed"] for r in bins] == quality.calibration.observed.tolist()
    assert sum(r["count"] for r in bins) == len(result.scores[0].id)
    (hindsight,) = (r for r in records(tables["hindsight"]) if r["attack"] == attack)
    assert hindsight["threshold"] == quality.hindsight.threshold

    decided = {r["asked_fpr"]: r for r in records(tables["decisions"]) if r["attack"] == attack}
    assert decided.keys() == {0.01, 0.1}
    point = quality.fixed_threshold["0.1"]
    assert decided[0.1]["threshold"] == point.threshold
    assert (decided[0.1]["tpr_ci95_low"], decided[0.1]["tpr_ci95_high"]) == point.tpr.ci95
    assert decided[0.1]["precision_at_0.01"] == point.precision_at_prior["0.01"].value
    assert decided[0.01]["threshold"] is None  # 20 auxiliaries are too few

    assert "epsilon" not in tables
    claims = records(audit_frames(changed(audit, decisions=bounded(result, 0.5, 1.5)))["epsilon"])
    assert [(r["attack"], r["family"], r["value"], r["guesses"]) for r in claims] == [
        (name, family, value, 50)
        for name in result.decisions
        for family, value in (("approximate_dp", 0.5), ("gaussian_dp", 1.5))
    ]


def test_tables_without_rows_are_left_out(audit: AuditReport) -> None:
    bare = changed(
        audit, comparisons=(), slices=(), alpha_curve=None, near_duplicates=(), excess=()
    )
    left = audit_frames(bare)
    assert not {"comparisons", "slices", "alpha_curve", "near_duplicates", "excess", "grid"} & set(
        left
    )
    assert left["attacks"]["excess"].isna().all()


def test_curves_of_all_attacks_are_one_table(result: AuditResult) -> None:
    points = records(roc_frame(result))
    for e in (*result.evaluations, *result.blind.baselines):
        curve = [(p["fpr"], p["tpr"]) for p in points if p["attack"] == e.name]
        assert curve == list(zip(e.roc.fpr.tolist(), e.roc.tpr.tolist(), strict=True))


@pytest.mark.parametrize("n", [2, CHART_POINTS, CHART_POINTS + 1, 5000])
def test_long_curves_are_thinned(n: int) -> None:
    line = np.linspace(0, 1, n)
    points = thinned(Roc(fpr=line, tpr=line**2, threshold=line[::-1]))
    assert len(points) == min(n, CHART_POINTS)
    points = points.tolist()
    assert (points[0], points[-1]) == ([0, 0], [1, 1])
    assert all(tpr == fpr**2 for fpr, tpr in points)
    assert points == sorted(points)
