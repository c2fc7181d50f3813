"""Adjusted AUCs in every rendering, and none where the images do not overlap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from audits import changed, make_adjustment
from mia_lab.evaluation import gate
from mia_lab.evaluation.finished import SweepPoint
from mia_lab.evaluation.metrics_file import json_schema, read_metrics
from mia_lab.evaluation.results import AuditReport
from mia_lab.evaluation.summary import summary, summary_names
from mia_lab.reporting.audit.words import text_table
from mia_lab.reporting.files import write_files
from mia_lab.reporting.frames import audit_frames, sweep_frame
from mia_lab.reporting.html import render

UNSEEN = "Differences that these baselines do not see remain."


def test_without_overlap_there_is_no_auc(audit: AuditReport, tmp_path: Path) -> None:
    found = changed(audit, adjustment=make_adjustment(adjustable=False))
    said = "Not adjustable, no overlap: members and non-members"
    for text in (" ".join(render(found, ()).split()), text_table(found)):
        assert said in text
        assert "worth 8 + 8 images, and 30 + 30 are needed" in text
    assert not [name for name in summary(found.result) if "adjusted_auc" in name]
    (outcome,) = gate.decide("adjusted_auc/membership > 0.6", summary(found.result)).outcomes
    assert outcome.failed
    assert outcome.value is None
    assert audit_frames(found)["adjustment"]["adjusted_auc"].isna().all()
    write_files(found, (), tmp_path)
    stored = read_metrics(tmp_path / "metrics.json").adjustment
    assert stored == found.result.adjustment


def test_the_terminal_names_both(audit: AuditReport) -> None:
    lines = text_table(changed(audit, adjustment=make_adjustment())).splitlines()
    (line,) = [line for line in lines if line.startswith("AUC adjusted for what these baselines")]
    assert "membership 0.710 [0.600, 0.800] (matched 0.700 [0.580, 0.790])" in line
    assert UNSEEN in line
    assert "adjusted for" not in text_table(audit)


def test_the_numbers_in_files_and_tables(audit: AuditReport, tmp_path: Path) -> None:
    found = changed(audit, adjustment=make_adjustment())
    write_files(found, (), tmp_path)
    content = json.loads((tmp_path / "metrics.json").read_text())
    Draft202012Validator(json_schema()).validate(content)
    assert content["adjustment"]["attacks"]["membership"]["adjusted"]["ci95"] == [0.6, 0.8]
    stored = read_metrics(tmp_path / "metrics.json")
    assert stored.adjustment == found.result.adjustment

    table = audit_frames(found)["adjustment"].set_index("attack")
    row = table.loc["membership"]
    assert row["auc"] == audit.result.evaluations[1].auc
    assert (row["adjusted_auc"], row["matched_auc_ci95_low"]) == (0.71, 0.58)
    assert (row["matched_pairs"], row["matched_blind_best"], row["matched_blind_max"]) == (
        33,
        "jpeg",
        0.56,
    )
    assert "adjustment" not in audit_frames(audit)

    rows = sweep_frame([SweepPoint(0, "done", "", (), "", {}, stored)], {}).set_index("attack")
    assert rows.loc["membership", "adjusted_auc_ci95_high"] == 0.8
    assert rows.loc["reconstruction", "matched_auc"] == 0.52
    assert rows["adjusted_auc"].isna().sum() == len(rows) - 2  # blind baselines

    numbers = summary(found.result)
    names = summary_names(
        ["reconstruction", "membership"], bounded=False, files=True, adjusted=True
    )
    wanted = [name for name in names if name.startswith(("adjusted_auc", "matched_auc"))]
    assert len(wanted) == 12
    assert {name: numbers[name] for name in wanted}["adjusted_auc_ci95_low/membership"] == 0.6
    plain = summary_names(["membership"], bounded=False, files=True)
    assert not [name for name in plain if "adjusted" in name]


@pytest.mark.parametrize(("bound", "failed"), [(0.7, True), (0.75, False)])
@pytest.mark.parametrize("name", ["adjusted_auc", "matched_auc"])
def test_a_limit_catches_swapped_roles_by_the_interval_of_its_own_auc(
    audit: AuditReport, name: str, bound: float, failed: bool
) -> None:
    numbers = summary(changed(audit, adjustment=make_adjustment()).result)
    swapped = {
        f"{name}/membership": 0.29,  # 0.71 on the other side
        f"{name}_ci95_high/membership": 0.4,
    }
    (outcome,) = gate.decide(f"{name}/membership > {bound}", numbers | swapped).outcomes
    assert outcome.failed is outcome.reversed is failed
    (outcome,) = gate.decide(f"{name}_ci95_low/membership > 0.6", numbers | swapped).outcomes
    assert not outcome.failed
    swapped[f"{name}_ci95_high/membership"] = 0.35
    numbers[f"{name}_ci95_low/membership"] = 0.2
    (outcome,) = gate.decide(f"{name}_ci95_low/membership > 0.6", numbers | swapped).outcomes
    assert outcome.reversed
