"""What the scores of candidates leave behind."""

from __future__ import annotations

import csv
import dataclasses
import gc
import json
from pathlib import Path

import numpy as np
import pytest

from mia_lab.evaluation.decision import decide, ranks
from mia_lab.evaluation.results import Correspondence, Gallery, Scoring, ScoringResult
from mia_lab.evaluation.stored import load_result, save_result
from mia_lab.reporting import scores as report
from mia_lab.reporting.html import write_scores_html
from mia_lab.reporting.tracking import Tracker
from mia_lab.types import ScoreTable
from wandb_files import summary

N, M = 30, 39


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def found() -> Scoring:
    """A third of the candidates stand out; the tables list all images in another order."""
    rng = np.random.default_rng(0)
    candidates = tuple(f"candidate/{i}" for i in range(N))
    auxiliaries = tuple(f"known/<{i}>" for i in range(M))
    ids = np.array([*auxiliaries, *candidates])
    tables = []
    for name in ("reconstruction", "membership"):
        error = rng.uniform(0.12, 0.2, N + M)
        error[:2] = 0.101, 0.102  # what the threshold at 2 of 39 + 1 hangs on
        error[M : M + N // 3] -= 0.1
        tables.append(ScoreTable(name, "victim", ids, -error))
    picture = rng.random((3, 3, 8, 8)).astype(np.float32)
    result = ScoringResult(
        candidates=candidates,
        auxiliaries=auxiliaries,
        scores=tuple(tables),
        difficulty=np.arange(N + M) / 1000,
        fpr=0.05,
        ranks={t.attack: ranks(t.column(candidates)) for t in tables},
        decisions={
            t.attack: decide(t.column(candidates), t.column(auxiliaries), 0.05) for t in tables
        },
        near_duplicates=((candidates[0], auxiliaries[0], 2),),
        correspondence=Correspondence(64, 0.97, 0.001),
    )
    return Scoring(
        name="facades_score",
        result=result,
        gallery=Gallery(candidates[:3], ("rank 1",) * 3, picture, picture, 1 - picture),
        timing_s={"difficulty": 1.5},
        record={"backbone licence": "Apache-2.0"},
    )


@pytest.fixture
def undecided(found: Scoring) -> Scoring:
    result = dataclasses.replace(found.result, auxiliaries=(), decisions={}, near_duplicates=())
    return dataclasses.replace(found, result=result)


def test_every_candidate_has_its_row_the_likeliest_member_first(
    found: Scoring, tmp_path: Path
) -> None:
    report.write_files(found, (), tmp_path)
    table = rows(tmp_path / "scores.csv")
    assert list(table[0]) == [
        "id", "role", "reconstruction_error", "difficulty", "membership_error",
        "reconstruction_rank", "reconstruction_p_value", "reconstruction_decision",
        "membership_rank", "membership_p_value", "membership_decision",
    ]  # fmt: skip
    assert [row["role"] for row in table] == ["candidate"] * N + ["auxiliary"] * M
    assert [int(row["membership_rank"]) for row in table[:N]] == list(range(1, N + 1))
    everyone = [*found.result.candidates, *found.result.auxiliaries]
    for row in table:
        assert float(row["difficulty"]) == everyone.index(row["id"]) / 1000
        for scores in found.result.scores:
            error = float(row[f"{scores.attack}_error"])
            assert error == -scores.column([row["id"]])[0]
            if row["role"] == "auxiliary":
                assert {row[f"{scores.attack}_{k}"] for k in ("rank", "p_value", "decision")} == {
                    ""
                }
                continue
            known = -scores.column(found.result.auxiliaries)
            p_value = (1 + sum(known <= error)) / (M + 1)
            assert float(row[f"{scores.attack}_p_value"]) == p_value
            called = "member" if p_value <= 0.05 else "not shown to be a member"
            assert row[f"{scores.attack}_decision"] == called
            better = sum(-scores.column(found.result.candidates) < error)
            assert int(row[f"{scores.attack}_rank"]) == 1 + better


def test_metrics_are_the_decisions(found: Scoring, tmp_path: Path) -> None:
    report.write_files(found, (), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["n_candidates"], metrics["n_auxiliary"], metrics["fpr"]) == (N, M, 0.05)
    assert metrics["near_duplicates"] == 1
    table = rows(tmp_path / "scores.csv")
    for name, numbers in metrics["attacks"].items():
        called = [row for row in table if row[f"{name}_decision"] == "member"]
        assert numbers["n_called_members"] == len(called) == N // 3
        below = [r for r in table[:N] if float(r[f"{name}_error"]) < numbers["threshold_error"]]
        assert below == called
        assert numbers["expected_false_alarms"] == pytest.approx(N * 0.05)
        assert 0.05 == numbers["attained_fpr"] < numbers["fpr_upper95"]


def test_findings_come_with_what_they_assume(found: Scoring) -> None:
    words = " ".join(report.summary(found))
    assert "The membership attack calls 10 of 30 candidates members" in words
    assert "1.5 of 30 are still called members on average" in words
    assert "same distribution" in words
    assert "a candidate and an auxiliary that look alike: 1." in words
    printed = report.text(found)
    assert len(printed[printed.index("Most likely") :].splitlines()) == 2 + report.PRINTED
    assert printed.count("reconstruction, membership") == 10


def test_without_auxiliaries_there_are_ranks_and_no_decisions(
    undecided: Scoring, tmp_path: Path
) -> None:
    report.write_files(undecided, report.draw(undecided), tmp_path)
    table = rows(tmp_path / "scores.csv")
    assert list(table[0])[-2:] == ["reconstruction_rank", "membership_rank"]
    assert json.loads((tmp_path / "metrics.json").read_text())["attacks"] == {}
    assert "No candidate is called a member" in report.text(undecided)
    page = write_scores_html(undecided, (), tmp_path).read_text()
    assert "No candidate is called a member" in page
    assert "upper bound" not in page
    assert "same distribution" not in page


@pytest.mark.parametrize("scale", [1.0, 1e-9, 0.0])
def test_histogram_shows_every_image_and_no_bar_crosses_the_threshold(
    found: Scoring, scale: float
) -> None:
    tables = tuple(dataclasses.replace(t, score=t.score * scale - 0.1) for t in found.result.scores)
    decisions = {
        t.attack: decide(
            t.column(found.result.candidates), t.column(found.result.auxiliaries), 0.05
        )
        for t in tables
    }
    changed = dataclasses.replace(
        found, result=dataclasses.replace(found.result, scores=tables, decisions=decisions)
    )
    for axes, table in zip(report.histogram_figure(changed).axes, tables, strict=True):
        threshold = -decisions[table.attack].threshold
        edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches[:-1]]
        heights = sum(bar.get_height() for bar in axes.patches[:-1])
        assert heights == pytest.approx(100)
        crossing = [e for e in edges if e[0] < threshold - 1e-12 and e[1] > threshold + 1e-12]
        assert not crossing


def test_pictures_and_page(found: Scoring, tmp_path: Path) -> None:
    pictures = report.draw(found)
    assert [p.name for p in pictures] == ["histogram", "gallery"]
    assert "membership attack: 10 below the threshold" in pictures[0].alt
    page = write_scores_html(found, pictures, tmp_path).read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert page.index("calls 10 of 30") < page.index("<figure>") < page.index("Apache-2.0")
    assert "10 of 30</td>" in page


def test_ids_are_escaped(found: Scoring, tmp_path: Path) -> None:
    odd = dataclasses.replace(
        found, name="<b>", result=dataclasses.replace(found.result, near_duplicates=())
    )
    assert "<b>" not in write_scores_html(odd, (), tmp_path).read_text()


@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
@pytest.mark.parametrize("images", [True, False])
def test_tracker_keeps_pictures_of_images_private(
    found: Scoring, tmp_path: Path, images: bool
) -> None:
    with Tracker(
        "offline", directory=tmp_path, run_id="abc", project="p", group="g", job_type="score",
        name="n", config={}, log_images=images,
    ) as tracker:  # fmt: skip
        tracker.log_scoring(found, report.draw(found))
    numbers = summary(tmp_path)["summary"]
    assert numbers["n_called_members/membership"] == N // 3
    assert numbers["scores"]["nrows"] == N + M
    assert "report/histogram" in numbers
    assert ("report/gallery" in numbers) == images
    gc.collect()  # wandb leaves temporary folders to it


def test_decisions_are_stored_exactly(found: Scoring, tmp_path: Path) -> None:
    save_result(tmp_path, found.result)
    back = load_result(tmp_path, ScoringResult)
    np.testing.assert_equal(dataclasses.asdict(back), dataclasses.asdict(found.result))
