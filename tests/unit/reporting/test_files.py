from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from pyarrow import parquet

from audits import changed
from mia_lab.evaluation.metrics_file import SCHEMA
from mia_lab.reporting.audit.figures import draw
from mia_lab.reporting.files import write_files
from mia_lab.types import ScoreTable


def test_metrics_keep_full_precision(audit, result, tmp_path):
    write_files(audit, (), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["schema"] == SCHEMA
    assert (metrics["n_members"], metrics["n_nonmembers"]) == (40, 40)
    for e in result.evaluations:
        attack = metrics["attacks"][e.name]
        assert attack["auc"] == e.auc
        assert attack["auc_ci95"] == list(e.auc_ci95)
        for fpr, rate in e.tpr_at_fpr.items():
            found = attack["tpr_at_fpr"][fpr]
            assert found == (rate and vars(rate) | {"ci95": list(rate.ci95)})
        point = result.decisions[e.name].fixed_threshold["0.1"]
        assert attack["fixed_threshold"]["0.1"]["precision_at_prior"]["0.01"] == {
            "value": point.precision_at_prior["0.01"].value,
            "ci95": list(point.precision_at_prior["0.01"].ci95),
        }
        assert attack["fixed_threshold"]["0.01"] is None
        assert attack["hindsight"] == vars(result.decisions[e.name].hindsight)
        assert attack["calibration"]["brier"] == result.decisions[e.name].calibration.brier
        assert {bound["value"] for bound in attack["epsilon"].values()} == {None}
    assert metrics["attacks"]["membership"]["tpr_at_fpr"]["0.01"] is None
    (comparison,) = metrics["comparisons"]
    assert comparison == vars(result.comparisons[0]) | {
        "ci95": list(result.comparisons[0].ci95),
    }
    assert [c["difference"] for c in metrics["excess"]] == [c.difference for c in result.excess]
    blind = metrics["blind"]
    assert (blind["verdict"], blind["max"]) == (result.blind.verdict.value, result.blind.max)
    for e in result.blind.baselines:
        assert blind["baselines"][e.name]["auc_ci95"] == list(e.auc_ci95)
        assert blind["baselines"][e.name]["adjusted_p_value"] == result.blind.adjusted_p[e.name]
    assert metrics["alpha_curve"]["auc"] == result.alpha_curve.auc.tolist()
    assert metrics["slices"][0]["auc"]["value"] == result.slices[0].auc.value
    assert metrics["near_duplicates"] == 1
    assert metrics["timing_s"] == {"victim": 61.25, "attacks": 0.5}


def test_scores_round_trip(audit, result, tmp_path):
    write_files(audit, (), tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "id", "is_member", "reconstruction_error", "difficulty", "membership_error",
        "reconstruction_probability", "membership_probability",
    ]  # fmt: skip
    assert [r["id"] for r in rows] == result.scores[0].id.tolist()
    assert [r["is_member"] for r in rows] == ["1", "0"] * 40
    for column, values in {
        "reconstruction_error": -result.scores[0].score,
        "membership_error": -result.scores[1].score,
        "difficulty": result.difficulty,
        "membership_probability": result.decisions["membership"].calibration.probability,
    }.items():
        assert [float(r[column]) for r in rows] == values.tolist()


def test_further_attacks_append_and_join_by_id(audit, result, tmp_path):
    first = result.scores[0]
    extra = ScoreTable("shadow", "victim", first.id[::-1], np.arange(80.0))
    write_files(changed(audit, scores=(*result.scores, extra)), (), tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[4:6] == ["membership_error", "shadow_error"]
    assert float(rows[0]["shadow_error"]) == -79


def test_pictures_are_written_and_reproducible(audit, tmp_path):
    pictures = draw(audit)
    write_files(audit, pictures, tmp_path)
    for picture in pictures:
        assert (tmp_path / f"{picture.name}.png").read_bytes().startswith(b"\x89PNG")
    assert [p.png for p in draw(audit)] == [p.png for p in pictures]


def test_a_metric_that_is_not_finite_is_refused(audit, tmp_path):
    broken = changed(audit, timing_s={"victim": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_files(broken, (), tmp_path)


def test_grid_is_a_table_with_what_was_configured_and_what_was_best(audit, grid, tmp_path):
    with_grid = changed(audit, grid=grid)
    write_files(with_grid, (), tmp_path)
    with (tmp_path / "grid.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["layers"], r["ridge"], r["alpha"]) for r in rows] == [
        (p.layers, p.ridge, f"{p.alpha:g}") for p in grid
    ]
    assert [float(r["auc"]) for r in rows] == [p.auc for p in grid]
    notes = {i: r["note"] for i, r in enumerate(rows) if r["note"]}
    assert notes == {0: "configured", len(rows) - 1: "best, chosen in hindsight"}
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert [p["auc"] for p in metrics["grid"]] == [p.auc for p in grid]


def test_no_grid_no_table(audit, tmp_path):
    write_files(audit, (), tmp_path)
    assert not (tmp_path / "grid.csv").exists()


def test_the_configured_point_may_be_the_best(audit, grid, tmp_path):
    write_files(changed(audit, grid=grid[::-1]), (), tmp_path)
    with (tmp_path / "grid.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["note"] == "configured, best, chosen in hindsight"


def test_groups_are_a_column(grouped_audit, tmp_path):
    grouped = grouped_audit
    write_files(grouped, (), tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["group"] for r in rows] == grouped.split.group.tolist()
    table = parquet.read_table(tmp_path / "scores.parquet")
    assert table.column_names == list(rows[0])
    assert table["membership_error"].to_pylist() == (-grouped.result.scores[1].score).tolist()
    assert str(table.schema.field("is_member").type) == "int64"
