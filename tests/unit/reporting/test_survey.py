"""What a survey of difficulty leaves behind."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation.agreement import reliability
from mia_lab.evaluation.results import Survey
from mia_lab.reporting import survey as report
from mia_lab.reporting.html import write_survey_html


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def alone(survey: Survey) -> Survey:
    """The same survey of the configured setting alone, scored once, without maps."""
    table = survey.difficulty
    one = dataclasses.replace(
        table,
        score=table.score[:, :1, :1],
        penalty=table.penalty[:, :1, :1],
        rank=table.rank[:, :1, :1],
        map=table.map[:, :0, :0],
        **{k: getattr(table, k)[:1] for k in ("backbone", "features_from", "layers", "ridge")},
    )
    ends = [
        dataclasses.replace(end, map=end.map[:, :0, :0]) for end in (survey.easiest, survey.hardest)
    ]
    return dataclasses.replace(
        survey,
        difficulty=one,
        correlation=np.ones((1, 1)),
        reliability=None,
        easiest=ends[0],
        hardest=ends[1],
    )


def test_pictures_and_their_words(survey: Survey) -> None:
    pictures = {p.name: p for p in report.draw(survey)}
    assert list(pictures) == ["histogram", "gallery", "agreement", "agreement-all"]
    assert survey.hardest.ids[0] in pictures["gallery"].alt
    assert all(p.png.startswith(b"\x89PNG") for p in pictures.values())


@pytest.mark.parametrize(("height", "width"), [(8, 16), (24, 12)])
def test_a_gallery_has_tiles_of_the_pictures_aspect_ratio(
    survey: Survey, height: int, width: int
) -> None:
    """Also those of the error maps, whose grid is a square over the whole picture."""
    rng = np.random.default_rng(0)

    def rectangles(n: int, channels: int) -> np.ndarray:
        return rng.random((n, channels, height, width)).astype(np.float32)

    ends = [
        dataclasses.replace(end, x=rectangles(4, 4), y=rectangles(4, 2))
        for end in (survey.easiest, survey.hardest)
    ]
    figure = report.gallery_figure(*ends)
    figure.draw_without_rendering()
    tiles = [axes for axes in figure.axes if axes.images]
    assert len(tiles) == 2 * 4 * 3
    for axes in tiles:
        box = axes.get_window_extent()
        assert box.height / box.width == pytest.approx(height / width)
    note = "input: channels 1 to 3 of 4 as RGB; target: mean of 2 channels"
    assert note in [text.get_text() for text in figure.texts]
    (shown,) = report.draw(dataclasses.replace(survey, easiest=ends[0], hardest=ends[1]))[1:2]
    assert note in shown.alt


def test_one_setting_needs_no_agreement(survey: Survey, tmp_path: Path) -> None:
    single = alone(survey)
    pictures = report.draw(single)
    assert [p.name for p in pictures] == ["histogram", "gallery"]
    report.write_files(single, pictures, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "difficulty.csv", "gallery.png", "histogram.png", "metrics.json",
    }  # fmt: skip
    assert list(rows(tmp_path / "difficulty.csv")[0]) == ["id", "difficulty"]
    assert "difficulty.repeats=5" in " ".join(report.summary(single))


def test_images_come_easiest_first_with_all_settings(survey: Survey, tmp_path: Path) -> None:
    report.write_files(survey, (), tmp_path)
    found = rows(tmp_path / "difficulty.csv")
    table = survey.difficulty
    assert list(found[0]) == [
        "id", "difficulty", "repeat_sd",
        "layers 1,2,3,4 ridge 100", "layers 2 ridge 1", "layers 2 ridge 100",
    ]  # fmt: skip
    scores = [float(row["difficulty"]) for row in found]
    assert scores == sorted(scores)
    for row in found:
        i = table.id.tolist().index(row["id"])
        assert float(row["difficulty"]) == table.score[i, 0].mean()
        assert float(row["repeat_sd"]) == pytest.approx(np.std(table.score[i, 0], ddof=1))
        assert float(row["layers 2 ridge 100"]) == table.score[i, 3].mean()


@pytest.mark.parametrize(("ridge", "column"), [("auto", "penalty"), ("0", "rank")])
def test_what_the_solver_came_to_is_told(
    survey: Survey, tmp_path: Path, ridge: str, column: str
) -> None:
    table = survey.difficulty
    found = 1 + np.arange(table.score.size).reshape(table.score.shape)
    changed = dataclasses.replace(
        table,
        ridge=np.array([ridge, *table.ridge[1:]]),
        penalty=found.astype(float),
        rank=found,
    )
    report.write_files(dataclasses.replace(survey, difficulty=changed), (), tmp_path)
    row = rows(tmp_path / "difficulty.csv")[0]
    i = table.id.tolist().index(row["id"])
    wanted = stats.gmean(found[i, 0]) if ridge == "auto" else found[i, 0].min()
    assert float(row[column]) == pytest.approx(wanted)


def test_agreement_lists_every_pair_once(survey: Survey, tmp_path: Path) -> None:
    report.write_files(survey, (), tmp_path)
    found = rows(tmp_path / "agreement.csv")
    assert len(found) == 6
    assert found[0]["first"] == "layers 1,2,3,4 ridge 1"
    assert float(found[-1]["spearman"]) == survey.correlation[2, 3]


def test_metrics_are_the_numbers_and_finite(survey: Survey, tmp_path: Path) -> None:
    correlation = survey.correlation.copy()
    correlation[0, 2] = np.nan
    report.write_files(dataclasses.replace(survey, correlation=correlation), (), tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())
    score = survey.difficulty.score[:, 0].mean(axis=1)
    assert found["difficulty"]["mean"] == pytest.approx(score.mean())
    assert found["difficulty"]["quantiles"]["0.5"] == pytest.approx(np.median(score))
    assert survey.reliability is not None
    assert found["reliability"]["icc_single"] == survey.reliability.icc_single
    assert list(found["rank_correlation_with_configured"].values())[1] is None


def test_page_answers_first_and_loads_nothing(survey: Survey, tmp_path: Path) -> None:
    pictures = report.draw(survey)
    page = write_survey_html(survey, report.summary(survey), pictures, tmp_path).read_text()
    assert page.count("data:image/png;base64,") == len(pictures)
    assert "http" not in page.replace("http-equiv", "")
    assert "30 images at 64 px: median difficulty" in page
    assert "Apache-2.0" in page
    assert page.index("median difficulty") < page.index("<figure>")


def test_images_that_do_not_differ_are_said_not_to(survey: Survey) -> None:
    noise = np.random.default_rng(0).normal(0.05, 0.001, survey.difficulty.score.shape)
    noise -= noise.mean(axis=2, keepdims=True)
    table = dataclasses.replace(survey.difficulty, score=0.05 + noise)
    alike = dataclasses.replace(
        survey, difficulty=table, reliability=reliability(table.score[:, 0] + 1e-9)
    )
    assert "not measurable" in " ".join(report.summary(alike))
