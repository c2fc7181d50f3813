"""The list of all runs."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from audits import changed
from mia_lab.evaluation.results import AuditReport, Estimate, Gate
from mia_lab.reporting import index
from mia_lab.reporting.index import (
    RunNote,
    audit_facts,
    read_notes,
    update_index,
    write_note,
)

AREAS = {"reconstruction": Estimate(0.8, (0.7, 0.9)), "membership": Estimate(0.9, (0.8, 1.0))}


def add(outputs: Path, name: str, ended: float = 0.0, folder: str = "", **fields: object) -> Path:
    path = outputs / (folder or f"runs/{name}/1")
    path.mkdir(parents=True)
    note = RunNote("audit", name, ended, "report.html", "Members can be told.", **fields)  # type: ignore[arg-type]
    write_note(path, note)
    return path


def page(outputs: Path) -> str:
    return (outputs / "index.html").read_text()


def test_runs_are_listed_newest_first_with_their_findings(tmp_path: Path) -> None:
    add(tmp_path, "old", 1e9, split="sound", auc=AREAS)
    add(tmp_path, "<new> run", 2e9, gate="failed")
    add(tmp_path, "sweep", 1.5e9, folder="sweeps/sweep_1")
    assert update_index(tmp_path) == 3
    html = page(tmp_path)
    assert re.findall('<a href="(.*?)">(.*?)</a>', html) == [
        ("runs/%3Cnew%3E%20run/1/report.html", "&lt;new&gt; run"),
        ("sweeps/sweep_1/report.html", "sweep"),
        ("runs/old/1/report.html", "old"),
    ]
    assert "2001-09-0" in html
    assert '<span class="badge sound">sound</span>' in html
    assert "Gate failed" in html
    areas = html.replace("\N{NO-BREAK SPACE}", " ")
    assert "membership 0.900 [0.800, 1.000]<br>reconstruction 0.800 [0.700, 0.900]" in areas
    assert not re.search(r"@import|url\(|https?://|src=", html)
    assert not list(tmp_path.glob(".index*"))


def test_deleted_runs_vanish_and_unreadable_ones_are_skipped(tmp_path: Path) -> None:
    gone, broken = add(tmp_path, "gone"), add(tmp_path, "broken")
    other = add(tmp_path, "other")
    add(tmp_path, "kept")
    assert update_index(tmp_path) == 4
    shutil.rmtree(gone)
    (broken / "run.json").write_text("{")
    (other / "run.json").write_text('{"task": 1}')
    assert update_index(tmp_path) == 1
    shutil.rmtree(tmp_path / "runs/kept")
    assert update_index(tmp_path) == 0
    assert "<a href=" not in page(tmp_path)
    add(tmp_path, "kept")
    assert update_index(tmp_path) == 1
    assert "kept" in page(tmp_path)
    assert not {"gone", "broken", "other"} & set(re.findall(">([a-z]+)</a>", page(tmp_path)))


def test_no_list_of_no_runs(tmp_path: Path) -> None:
    assert update_index(tmp_path) == 0
    assert not list(tmp_path.iterdir())


def test_a_run_that_ends_meanwhile_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run writes note and list between the look and the page of this one."""
    add(tmp_path, "first")
    render, calls = index.render_page, []

    def slow(*args: object) -> str:
        calls.append(args)
        if len(calls) == 1:
            add(tmp_path, "second")
            update_index(tmp_path)
        return render(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(index, "render_page", slow)
    assert update_index(tmp_path) == 2
    assert "second" in page(tmp_path)


def test_many_runs_end_at_once(tmp_path: Path) -> None:
    def end(number: int) -> None:
        add(tmp_path, f"run{number}", number)
        update_index(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(24)))
    assert len(read_notes(tmp_path)) == page(tmp_path).count("<a href=") == 24


def test_facts_of_an_audit(audit: AuditReport) -> None:
    facts = audit_facts(audit)
    assert facts["finding"] == "Members can be told from non-members."
    assert facts["split"] == audit.result.blind.verdict
    assert facts["auc"]["membership"].value == audit.result.evaluations[1].auc
    assert facts["gate"] == ""
    gated = changed(audit, gate=Gate("auc/membership > 0.6", True, ()))
    assert audit_facts(gated)["gate"] == "failed"
