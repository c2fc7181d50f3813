from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from mia_lab.evaluation.results import AuditReport
from mia_lab.evaluation.summary import summary_names
from mia_lab.reporting import dashboard
from mia_lab.reporting.audit.figures import draw
from mia_lab.reporting.frames import audit_frames, roc_frame

WHERE = ("us", "audits", "https://wandb.example:8443")


@pytest.fixture
def sections() -> dict[str, list]:
    built = dashboard.workspace("us", "audits")
    assert (built.entity, built.project, built.name) == ("us", "audits", "mia_lab")
    assert built.auto_generate_panels is False
    return {section.name: section.panels for section in built.sections}


def test_sections_in_order(sections: dict[str, list]) -> None:
    assert list(sections) == ["Verdict", "Curves", "Settings", "Training", "Pictures"]
    assert all(sections.values())


def test_the_verdict_compares_numbers_that_audits_have(sections: dict[str, list]) -> None:
    shown = [metric for panel in sections["Verdict"] for metric in panel.metrics]
    assert shown == ["auc/membership", "auc/reconstruction", "excess/membership", "blind/max"]
    names = summary_names(["reconstruction", "membership"], bounded=False, files=False)
    assert set(shown) <= set(names)
    pinned = dashboard.workspace("us", "audits").runset_settings.pinned_columns
    assert {"summary:blind/verdict", "summary:auc/membership"} <= set(pinned)


def test_curves_are_drawn_from_tables_that_audits_log(
    sections: dict[str, list], audit: AuditReport
) -> None:
    logged = {**audit_frames(audit), "roc_curve_table": roc_frame(audit.result)}
    roc, *_ = sections["Curves"]
    assert roc.chart_fields == {"x": "fpr", "y": "tpr", "stroke": "attack"}
    for panel in sections["Curves"]:
        table = logged[panel.query["summaryTable"]["tableKey"]]
        assert set(panel.chart_fields.values()) <= set(table)


def test_settings_are_keys_of_the_configuration(sections: dict[str, list]) -> None:
    layers, penalty, scatter, parallel = sections["Settings"]
    assert (layers.groupby.name, penalty.groupby.name) == ("layers", "difficulty.ridge")
    assert (scatter.x.name, scatter.y.name) == ("difficulty.ridge", "auc/membership")
    assert [column.metric.name for column in parallel.columns] == [
        *("victim.name", "layers", "difficulty.ridge", "attack.alpha", "auc/membership")
    ]


def test_training_and_pictures(sections: dict[str, list], audit: AuditReport) -> None:
    l1, losses = sections["Training"]
    assert (l1.x, l1.y) == (
        "epoch",
        ["train/l1", "overfitting/members", "overfitting/nonmembers"],
    )
    assert re.match(losses.metric_regex, "train/discriminator")
    numbers, images = (set(panel.media_keys) for panel in sections["Pictures"])
    drawn = {f"report/{p.name}": p.private for p in draw(audit)}
    assert {name for name, private in drawn.items() if not private} <= numbers
    assert {name for name, private in drawn.items() if private} <= images


def test_it_can_be_written_down_without_a_server() -> None:
    """What would be sent: names of metrics as W&B's charts look them up."""
    spec = str(dashboard.workspace("us", "audits")._spec)
    for name in ("config:difficulty.value.ridge", "summary:auc/membership", "layers.value"):
        assert name in spec


class Saved:
    """Stands for the server behind ``Workspace.save``."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.count, self.error = 0, error

    def __call__(self, workspace: object) -> Saved:
        self.count += 1
        if self.error is not None:
            raise self.error
        return self

    @property
    def url(self) -> str:
        return "https://wandb.example/us/audits?nw=abc"


def patched(monkeypatch: pytest.MonkeyPatch, saved: Saved) -> Saved:
    import wandb_workspaces.workspaces as ws

    monkeypatch.setattr(ws.Workspace, "save", lambda self: saved(self))
    return saved


def test_a_project_is_given_one_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saved = patched(monkeypatch, Saved())
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            dashboard.save_once(*WHERE, tmp_path / "store")
    assert saved.count == 1
    assert [r.message for r in caplog.records] == [f"W&B dashboard: {saved.url}"]
    (marker,) = (tmp_path / "store").iterdir()
    assert marker.read_text() == saved.url
    others = [("them", *WHERE[1:]), ("us", "more", WHERE[2]), (*WHERE[:2], "https://api.wandb.ai")]
    for other in others:
        dashboard.save_once(*other, tmp_path / "store")
    assert saved.count == 4


def test_failing_to_save_warns_in_one_line_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saved = patched(monkeypatch, Saved(ValueError("no such\nproject")))
    for _ in range(2):
        dashboard.save_once(*WHERE, tmp_path)
    assert saved.count == 2
    assert {r.message for r in caplog.records} == {
        "the W&B dashboard was not saved (no such); set tracking.dashboard=false to save none"
    }
    assert not list(tmp_path.iterdir())


def test_an_interruption_is_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, Saved(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        dashboard.save_once(*WHERE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_place_for_the_note_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saved = patched(monkeypatch, Saved())
    (tmp_path / "file").write_text("")
    dashboard.save_once(*WHERE, tmp_path / "file")
    assert saved.count == 0
    assert "not saved" in caplog.text
