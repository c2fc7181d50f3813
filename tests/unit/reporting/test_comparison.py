"""What a comparison of finished audits leaves behind."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from audits import changed
from mia_lab.evaluation import evaluate
from mia_lab.evaluation.finished import FinishedRun, RunComparison
from mia_lab.evaluation.gate import SWAPPED
from mia_lab.evaluation.metrics_file import SCHEMA, audit_metrics
from mia_lab.evaluation.results import AuditReport, AuditResult, Estimate, Verdict
from mia_lab.reporting.comparison import words as report
from mia_lab.reporting.comparison.figures import auc_figure, draw, roc_figure
from mia_lab.reporting.frames import run_frame
from mia_lab.reporting.html import write_page
from mia_lab.tasks.compare import paired_tests

LABELS = ("common settings", "attack.alpha=<1>", "seed=1")


def finished(audit: AuditReport, label: str, seed: int) -> FinishedRun:
    """A run whose membership attack is better, the higher the seed."""
    result = audit.result
    truth = audit.split.is_member(result.scores[0].id.tolist())
    noise = np.random.default_rng(seed).normal(0, 0.01, len(truth))
    first, second = result.scores
    scores = first, dataclasses.replace(second, score=second.score + noise + 0.01 * seed * truth)
    split = audit.split
    if label == "seed=1":
        split = dataclasses.replace(split, role=split.role[::-1].copy())
    return FinishedRun(label, f"runs/{label}", audit_metrics(audit), split, scores)


@pytest.fixture
def found(audit: AuditReport) -> RunComparison:
    runs = tuple(finished(audit, label, 2 * seed) for seed, label in enumerate(LABELS))
    return RunComparison(
        name="compare",
        runs=runs,
        common="seed=0 attack.alpha=0.5",
        paired=paired_tests(runs),
        timing_s={"reading": 0.1},
        record={"numpy": "2"},
        command="python -m mia_lab task=compare",
    )


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_runs_may_report_other_rates(audit: AuditReport, result: AuditResult) -> None:
    """A column for each rate of any run; a run that did not measure it says so."""
    truth = audit.split.is_member(result.scores[0].id.tolist())
    found = [evaluate(t.attack, t.score, truth, fprs=(0.05, 0.1)) for t in result.scores]
    other = changed(audit, evaluations=tuple(found))
    runs = finished(audit, "a", 0), finished(other, "b", 0)
    both = RunComparison("x", runs, "", (), {}, {}, "")
    table = run_frame(both)
    first, second = table[table["attack"] == "membership"].to_dict("records")
    assert np.isnan(first["tpr_at_fpr_0.05"])
    assert second["tpr_at_fpr_0.05"] == found[1].tpr_at_fpr["0.05"].value
    assert first["tpr_at_fpr_0.1"] == second["tpr_at_fpr_0.1"]
    heads = report.page(both, ())["heads"]
    assert [h for h in heads if "TPR" in h] == [f"TPR at {r} % FPR" for r in (1, 5, 10)]
    assert report.page(both, ())["cells"]["a"]["membership"][2] == "not measured"


def test_files_hold_what_the_runs_measured_and_every_test(
    found: RunComparison, result: AuditResult, tmp_path: Path
) -> None:
    report.write_files(found, (), tmp_path)
    rows = table(tmp_path / "comparison.csv")
    assert [row["run"] for row in rows] == [label for label in LABELS for _ in result.scores]
    evaluation = result.evaluations[1]
    assert float(rows[1]["auc"]) == evaluation.auc
    assert float(rows[1]["auc_ci95_high"]) == evaluation.auc_ci95[1]
    rate = evaluation.tpr_at_fpr["0.1"]
    assert rate is not None
    assert float(rows[1]["tpr_at_fpr_0.1_ci95_low"]) == rate.ci95[0]
    assert rows[1]["tpr_at_fpr_0.01"] == ""  # 40 non-members don't resolve it
    assert float(rows[1]["tpr_at_fpr_0.1_realised_fpr"]) == rate.realised_fpr
    assert float(rows[1]["excess"]) == result.excess[1].difference
    assert rows[1]["blind_verdict"] == result.blind.verdict.value

    paired = table(tmp_path / "paired.csv")
    assert len(paired) == len(found.paired) == 6
    for row, pair in zip(paired, found.paired, strict=True):
        assert (row["reason"] == "") == (pair.found is not None)
        if pair.found:
            assert float(row["difference"]) == pair.found.difference
            assert float(row["holm_p_value"]) == pair.holm_p_value
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["schema"] != SCHEMA
    assert [row["reason"] for row in content["paired"]] == [row["reason"] for row in paired]


def test_words(found: RunComparison) -> None:
    text = report.text(found)
    assert "unless its label says otherwise: seed=0 attack.alpha=0.5" in text
    (told,) = [p for p in found.paired if p.found]
    assert told.attack == "membership"
    assert told.holm_p_value == told.found.p_value < 0.05 if told.found else False
    assert "membership, common settings minus attack.alpha=<1>: AUC difference -" in text
    assert "(Holm-adjusted p < 0.05): 1 of 1: membership, " in text
    assert "same order" not in text  # routine, on the page alone
    assert "Not tested (roles differ for 80 of 80 candidates): common settings and seed=1;" in text
    assert "not resolvable with 40 non-members" in text
    metrics = found.runs[0].metrics
    blind = dataclasses.replace(metrics.blind, verdict=Verdict.CONFOUNDED)
    worse = dataclasses.replace(found.runs[0], metrics=dataclasses.replace(metrics, blind=blind))
    runs = worse, *found.runs[1:]
    text = report.text(dataclasses.replace(found, runs=runs, paired=()))
    assert "where the AUC of an attack does not measure membership alone: common" in text
    assert text.index("confounded split") < text.index("Highest AUC")
    assert "No two runs could be tested against each other." in text


def test_runs_with_swapped_roles_are_named(found: RunComparison) -> None:
    attacks = found.runs[0].metrics.attacks
    low = Estimate(0.2, (0.1, 0.3))
    swapped = dataclasses.replace(
        attacks["membership"], metrics={**attacks["membership"].metrics, "auc": low}
    )
    metrics = dataclasses.replace(found.runs[0].metrics, attacks={**attacks, "membership": swapped})
    runs = dataclasses.replace(found.runs[0], metrics=metrics), *found.runs[1:]
    text = report.text(dataclasses.replace(found, runs=runs))
    expected = f"Runs with an AUC significantly below 0.5: common settings (membership); {SWAPPED}"
    assert expected in text
    assert text.index(expected) < text.index("Highest AUC")
    assert SWAPPED not in report.text(found)


def test_the_title_names_the_data_that_were_compared(found: RunComparison, tmp_path: Path) -> None:
    runs = [
        _on(run, data) for run, data in zip(found.runs, ("maps", "facades", "maps"), strict=True)
    ]
    compared = dataclasses.replace(found, runs=tuple(runs))
    assert report.title(compared) == "Comparison of 3 audits: folder maps; folder facades"
    assert report.title(found) == "Comparison of 3 audits"  # their records do not say it
    page = write_page("compare", report.page(compared, ()), tmp_path).read_text()
    assert "<h1>Comparison of 3 audits: folder maps; folder facades</h1>" in page
    assert page.count("folder facades") == 3  # in title and heading, and of its run
    same = dataclasses.replace(found, runs=tuple(_on(run, "maps") for run in found.runs))
    page = write_page("compare", report.page(same, ()), tmp_path).read_text()
    assert page.count("folder maps") == 2


def _on(run: FinishedRun, data: str) -> FinishedRun:
    record = {**run.metrics.record, "data": f"folder {data}"}
    return dataclasses.replace(run, metrics=dataclasses.replace(run.metrics, record=record))


def test_a_contrast_leaves_out_what_two_labels_share(found: RunComparison) -> None:
    pair = dataclasses.replace(found.paired[0], first="a=1 b=x y c=3", second="b=x y c=4 +2 more")
    assert report.contrast(pair) == ("a=1 c=3", "c=4 +2 more", "b=x y")
    pair = dataclasses.replace(pair, second="a=1 b=x y")
    assert report.contrast(pair) == ("a=1 b=x y c=3", "a=1 b=x y", "")


def test_many_tests_are_cut_short_in_words_alone(found: RunComparison) -> None:
    many = dataclasses.replace(found, paired=found.paired * 30)
    assert len(report.tests_of(many)) == 30
    assert "and 10 more in paired.csv" in report.text(many)
    assert any(line.endswith("; and 27 more.") for line in report.summary(many))


def test_pictures_of_few_and_of_many_runs(found: RunComparison) -> None:
    pictures = {p.name: p for p in draw(found)}
    assert list(pictures) == ["auc", "roc"]
    assert all(p.png.startswith(b"\x89PNG") for p in pictures.values())
    assert draw(found)[0].png == pictures["auc"].png
    runs = tuple(
        dataclasses.replace(found.runs[0], label=f"long={i}$, " + "setting=value, " * 9)
        for i in range(12)
    )
    figure = auc_figure(dataclasses.replace(found, runs=runs))
    figure.draw_without_rendering()
    assert len(figure.axes[0].get_yticks()) == 12 * 3
    colours = {
        str(line.get_color())
        for line in roc_figure(dataclasses.replace(found, runs=runs)).axes[0].lines
    }
    assert len(colours) == 13  # and chance


def test_the_figure_shows_each_interval(found: RunComparison) -> None:
    axes = auc_figure(found).axes[0]
    drawn = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    for run in found.runs:
        for attack in report.attacks_of(found):
            assert run.metrics.attacks[attack].auc.ci95 in drawn


def test_a_run_without_an_attack(found: RunComparison) -> None:
    """Runs need not have the same attacks."""
    run = found.runs[0]
    attacks = {"reconstruction": run.metrics.attacks["reconstruction"]}
    metrics = dataclasses.replace(run.metrics, attacks=attacks)
    alone = dataclasses.replace(run, metrics=metrics, scores=run.scores[:1])
    less = dataclasses.replace(found, runs=(alone, *found.runs[1:]))
    assert len(run_frame(less)) == 5
    assert len(draw(less)) == 2
    assert report.text(less)


def test_the_page_says_it_all_and_escapes(found: RunComparison, tmp_path: Path) -> None:
    page = write_page("compare", report.page(found, draw(found)), tmp_path).read_text()
    assert "attack.alpha=&lt;1&gt;" in page
    assert "<1>" not in page
    assert page.count("data:image/png") == 2
    assert page.index("Highest AUC") < page.index("<table")
    assert "roles differ for 80 of 80 candidates" in page
    assert "runs/seed=1" in page
    assert found.runs[0].metrics.command in page
    assert '<h2 id="time">' in page
    fast = dataclasses.replace(found, timing_s={"reading": 0.02, "paired tests": 0.01})
    quick = write_page("compare", report.page(fast, ()), tmp_path).read_text()
    assert "Seconds in this run" not in quick
