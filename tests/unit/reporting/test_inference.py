"""What a test of collections leaves behind: files, sentences, a page, a W&B run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mia_lab.evaluation.results import (
    Answer,
    CollectionResult,
    Correspondence,
    Inference,
    InferenceResult,
    MeanTest,
    NeededImages,
    UsedShare,
    Verdict,
)
from mia_lab.reporting import inference as report
from mia_lab.reporting.tracking import Tracker
from mia_lab.types import ScoreTable
from wandb_files import media_table, summary

IDS = tuple(f"train/{i}" for i in range(9))


def collection(name: str, answer: Answer, blind: Verdict, is_bound: bool) -> CollectionResult:
    test = MeanTest(3, 3, 0.25, 0.011, 0.012)
    return CollectionResult(
        name=name,
        n_images=3,
        n_comparison=3,
        scores=test,
        features=None if is_bound else test,
        p_value=0.012,
        holm_p=0.024,
        blind=blind,
        blind_p=0.3,
        blind_best="jpeg",
        blind_max=0.55,
        blind_upper95=0.58,
        blind_features=test,
        answer=answer,
        share=UsedShare(0.4, (0.4, 1.0) if is_bound else (0.3, 0.5), is_bound),
        needed=NeededImages(np.array([2, 3]), np.array([0.2, 0.012]), np.array([0.1, 0.8])),
    )


@pytest.fixture
def found() -> Inference:
    scores = ScoreTable("membership", "victim", np.array(IDS), np.linspace(-0.2, 0.1, 9))
    result = InferenceResult(
        "membership",
        "scores",
        (
            collection("<mine>", Answer.USED, Verdict.SOUND, False),
            collection("yours", Answer.CANNOT_TELL, Verdict.UNDECIDABLE, True),
            collection("theirs", Answer.CANNOT_TELL, Verdict.CONFOUNDED, True),
        ),
        (scores,),
        Correspondence(64, 0.97, 0.001),
    )
    names = ["<mine>"] * 3 + ["yours"] * 2 + ["theirs"] + [""] * 3
    roles = ["candidate"] * 6 + ["auxiliary"] * 2 + ["member"]
    return Inference(
        "run",
        result,
        dict(zip(IDS, names, strict=True)),
        dict(zip(IDS, roles, strict=True)),
        {"inference": 0.5},
        {"seed": "0"},
    )


def test_files_hold_every_number(found: Inference, tmp_path: Path) -> None:
    pictures = report.draw(found)
    report.write_files(found, pictures, tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    first = metrics["collections"][0]
    assert (first["name"], first["answer"], first["holm_p"]) == ("<mine>", "used", 0.024)
    assert first["scores"]["welch_p"] == 0.011
    assert first["needed"]["median_p"] == [0.2, 0.012]
    assert metrics["collections"][1]["features"] is None
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == list(IDS)
    assert [float(row["membership_error"]) for row in rows] == (
        -found.result.scores[0].score
    ).tolist()
    assert {p.name for p in pictures} == {"scores", "needed"}


def test_each_answer_in_words(found: Inference) -> None:
    text = report.text(found)
    assert "<mine>: used. It scores higher than images that were not used (p = 0.024 after" in text
    assert "95 % upper bound 0.580" in text
    assert "yours: cannot tell. It scores higher" in text
    assert "could reach AUC 0.58" in text
    assert "theirs: cannot tell, because the collection differs from the comparison by it" in text
    assert "<mine>: 40 % of it would explain its scores (95 % interval 30 to 50 %)." in text
    assert "yours: at least 40 % of it would explain its scores (a lower bound" in text
    nothing = collection("new", Answer.NOT_SHOWN, Verdict.SOUND, True)
    assert report.sentence(nothing).startswith("new: not shown. It does not score higher")


def test_the_page_escapes_names(found: Inference, tmp_path: Path) -> None:
    page = report.write_html(found, report.draw(found), tmp_path).read_text()
    assert "&lt;mine&gt;: used." in page
    assert "<mine>" not in page
    assert page.count("<figure") == 2


def test_the_run_of_wandb(found: Inference, tmp_path: Path) -> None:
    named = {"project": "tests", "group": "g", "job_type": "x", "name": "n", "config": {}}
    with Tracker("offline", directory=tmp_path, run_id="r1", **named) as run:
        run.log_inference(found, report.draw(found))
    numbers = summary(tmp_path)["summary"]
    assert numbers["holm_p/yours"] == 0.024
    assert numbers["answer/yours"] == "cannot tell"
    assert media_table(tmp_path, "collections")["share"] == [0.4] * 3
    assert media_table(tmp_path, "needed")["median_p"] == [0.2, 0.012] * 3
