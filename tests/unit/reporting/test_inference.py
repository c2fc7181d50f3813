"""What a test of collections leaves behind: files, sentences, a page, a W&B run."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mia_lab.evaluation.results import (
    Answer,
    CollectionResult,
    Correspondence,
    Estimate,
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
        features=test,
        p_value=0.012,
        holm_p=0.024,
        blind=blind,
        blind_p=0.3,
        blind_best="jpeg",
        blind_max=0.55,
        blind_upper95=0.58,
        excess=Estimate(0.2, (-0.1, 0.5)),
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
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == list(IDS)
    assert [float(row["membership_error"]) for row in rows] == (
        -found.result.scores[0].score
    ).tolist()
    assert {p.name for p in pictures} == {"scores", "needed"}


def test_each_answer_in_words(found: Inference) -> None:
    text = report.text(found)
    assert "<mine>: used. It scores significantly higher than images that were not used" in text
    assert "(p = 0.024 after Holm's correction)" in text
    assert "95 % upper bound 0.580" in text
    assert "yours: cannot tell. It scores significantly higher" in text
    assert "could reach AUC 0.58" in text
    assert "theirs: cannot tell, because the collection differs from the comparison by it" in text
    assert "<mine>: 40 % of its images were used (95 % interval 30 to 50 %), if used" in text
    assert "yours: at least 40 % of its images were used (95 % confidence), if unused" in text
    nothing = collection("new", Answer.NOT_SHOWN, Verdict.SOUND, True)
    assert report.sentence(nothing).startswith("new: not shown. It does not score signif")
    weak = collection("new", Answer.CANNOT_TELL, Verdict.SOUND, True)
    assert "AUC difference +0.200 [-0.100, +0.500]" in report.sentence(weak)
    unknown = dataclasses.replace(weak, share=UsedShare(None, (0.0, 1.0), False, "of X"))
    assert report.share_sentence(unknown).endswith("cannot be estimated, because of X.")
    none = dataclasses.replace(weak, share=UsedShare(0.0, (0.0, 1.0), True))
    assert "no lower bound above 0" in report.share_sentence(none)


@pytest.mark.filterwarnings("error")
def test_odd_names_are_drawn(found: Inference) -> None:
    odd = dataclasses.replace(found.result.collections[0], name="$\\foo$")
    hidden = dataclasses.replace(found.result.collections[1], name="_private")
    result = dataclasses.replace(found.result, collections=(odd, hidden))
    names = {i: "$\\foo$" if k < 3 else "_private" for k, i in enumerate(IDS[:6])}
    shown = dataclasses.replace(
        found, result=result, collection_of={**dict.fromkeys(IDS, ""), **names}
    )
    figure = report.scores_figure(shown)
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert labels[-2:] == ["\\$\\foo\\$ (3)", " _private (3)"]
    assert len(report.draw(shown)) == 2


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
