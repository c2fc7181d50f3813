from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest

from mia_lab.reporting import draw, write_files
from mia_lab.types import ScoreTable


def test_metrics_keep_full_precision(result, tmp_path):
    write_files(result, (), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {
        "name", "n_members", "n_nonmembers", "attacks", "comparisons", "blind",
        "grid", "near_duplicates", "timing_s", "record",
    }  # fmt: skip
    assert (metrics["n_members"], metrics["n_nonmembers"]) == (40, 40)
    for e in result.evaluations:
        attack = metrics["attacks"][e.name]
        assert attack["auc"] == e.auc
        assert attack["auc_ci95"] == list(e.auc_ci95)
        assert attack["tpr_at_fpr"] == e.tpr_at_fpr
    assert metrics["attacks"]["membership"]["tpr_at_fpr"]["0.01"] is None
    (comparison,) = metrics["comparisons"]
    assert comparison["ci95"] == list(result.comparisons[0].ci95)
    assert comparison["difference"] == result.comparisons[0].difference
    assert metrics["blind"]["difficulty"]["auc_ci95"] == list(result.blind[0].auc_ci95)
    assert metrics["near_duplicates"] == 1
    assert metrics["timing_s"] == {"victim": 61.25, "attacks": 0.5}


def test_scores_round_trip(result, tmp_path):
    write_files(result, (), tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "id", "is_member", "reconstruction_error", "difficulty", "membership_error",
    ]  # fmt: skip
    assert [r["id"] for r in rows] == result.scores[0].id.tolist()
    assert [r["is_member"] for r in rows] == ["1", "0"] * 40
    for column, values in {
        "reconstruction_error": -result.scores[0].score,
        "membership_error": -result.scores[1].score,
        "difficulty": result.difficulty,
    }.items():
        assert [float(r[column]) for r in rows] == values.tolist()


def test_further_attacks_append_and_join_by_id(result, tmp_path):
    first = result.scores[0]
    extra = ScoreTable("shadow", "victim", first.id[::-1], np.arange(80.0))
    write_files(dataclasses.replace(result, scores=(*result.scores, extra)), (), tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == ["membership_error", "shadow_error"]
    assert float(rows[0]["shadow_error"]) == -79


def test_pictures_are_written_and_reproducible(result, tmp_path):
    pictures = draw(result)
    write_files(result, pictures, tmp_path)
    for picture in pictures:
        assert (tmp_path / f"{picture.name}.png").read_bytes().startswith(b"\x89PNG")
    assert [p.png for p in draw(result)] == [p.png for p in pictures]


def test_a_metric_that_is_not_finite_is_refused(result, tmp_path):
    broken = dataclasses.replace(result, timing_s={"victim": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_files(broken, (), tmp_path)


def test_grid_is_a_table_with_what_was_configured_and_what_was_best(result, grid, tmp_path):
    with_grid = dataclasses.replace(result, grid=grid)
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


def test_no_grid_no_table(result, tmp_path):
    write_files(result, (), tmp_path)
    assert not (tmp_path / "grid.csv").exists()


def test_the_configured_point_may_be_the_best(result, grid, tmp_path):
    write_files(dataclasses.replace(result, grid=grid[::-1]), (), tmp_path)
    with (tmp_path / "grid.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["note"] == "configured, best, chosen in hindsight"
