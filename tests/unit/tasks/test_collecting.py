"""A sweep's table, means, figures and page, on folders made by hand."""

from __future__ import annotations

import csv
import json
import math
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from scipy import stats

from mia_lab.errors import UserError
from mia_lab.evaluation.gate import SWAPPED
from mia_lab.reporting.sweep import figures
from mia_lab.reporting.sweep import words as report
from mia_lab.reporting.sweep.figures import draw
from mia_lab.reporting.sweep.settings import axis_text, settings
from mia_lab.sweeps.point import State
from mia_lab.tasks.collect import collect, gather
from sweeps import STAGES, add, metrics

AREAS = (0.6, 0.7, 0.65)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Figures are made, and encoded in one test only."""
    if "heat_maps" not in request.node.name:
        monkeypatch.setattr(figures, "png", lambda figure: b"")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two subsets of layers, two penalties, three seeds."""
    folder = tmp_path / "sweeps" / "mine"
    points = product(((1,), (1, 2)), (1, "auto"), range(3))
    for number, (layers, ridge, seed) in enumerate(points):
        area = AREAS[seed] + 0.05 * len(layers) + (0.02 if ridge == "auto" else 0)
        add(folder, number, area, layers=layers, ridge=ridge, seed=seed)
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def equal(text: str, value: float | None) -> bool:
    return text == "" if value is None else float(text) == value


def test_every_number_is_that_of_metrics_json(sweep: Path) -> None:
    collect(sweep)
    rows = table(sweep / "results.csv")
    assert len(rows) == 12 * 4
    for row in rows:
        found = json.loads((Path(row["folder"]) / "metrics.json").read_text())
        assert Path(row["folder"]).name == row["point"]
        is_blind = row["blind"] == "True"
        e = (found["blind"]["baselines"] if is_blind else found["attacks"])[row["attack"]]
        assert equal(row["auc"], e["auc"])
        assert equal(row["auc_ci95_low"], e["auc_ci95"][0])
        assert equal(row["auc_ci95_high"], e["auc_ci95"][1])
        assert row["tpr_at_fpr_0.01"] == row["tpr_at_fpr_0.01_ci95_low"] == ""
        assert equal(row["tpr_at_fpr_0.1"], e["tpr_at_fpr"]["0.1"]["value"])
        assert equal(row["tpr_at_fpr_0.1_ci95_high"], e["tpr_at_fpr"]["0.1"]["ci95"][1])
        for column, key in (("excess", "excess"), ("difference", "comparisons")):
            tests = [] if is_blind else [c for c in found[key] if c["first"] == row["attack"]]
            assert equal(row[column], tests[0]["difference"] if tests else None)
            assert equal(row[f"{column}_ci95_low"], tests[0]["ci95"][0] if tests else None)
        assert (row["blind_best"], row["blind_verdict"]) == ("features", "sound")
        assert (row["n_members"], row["n_nonmembers"]) == ("40", "30")
        assert {f"seconds_{s}": row[f"seconds_{s}"] for s in STAGES} == {
            f"seconds_{stage}": str(seconds) for stage, seconds in STAGES.items()
        }


def test_columns_of_the_configuration(sweep: Path) -> None:
    found = collect(sweep)
    assert found.axes == ("seed", "layers", "ridge")
    first = table(sweep / "results.csv")[0]
    shown = {"data": "facades", "victim": "pix2pix", "seed": "0", "layers": "1", "ridge": "1"}
    shown |= {"alpha": "0.5", "backbone": "lite0", "features_from": "input"}
    assert {key: first[key] for key in shown} == shown
    assert (first["epochs"], first["epoch"]) == ("8", "")
    typed = parquet.read_table(sweep / "results.parquet")
    assert typed.num_rows == 48
    kinds = {field.name: str(field.type) for field in typed.schema}
    assert kinds["ridge"] == kinds["layers"] == "large_string"
    assert kinds["seed"] == kinds["point"] == "int64"
    assert kinds["auc"] == kinds["tpr_at_fpr_0.01"] == "double"
    assert kinds["blind"] == "bool"
    columns = typed.to_pydict()
    csv_rows = table(sweep / "results.csv")
    assert columns["auc"] == [float(row["auc"]) for row in csv_rows]


def test_means_over_seeds_are_numpys_and_students(sweep: Path) -> None:
    collect(sweep)
    means = {(r["attack"], r["layers"], r["ridge"]): r for r in table(sweep / "means.csv")}
    assert len(means) == 2 * 4
    row = means["membership", "1,2", "auto"]
    values = np.array(AREAS) + 0.12
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
    assert float(row["auc_mean"]) == pytest.approx(values.mean())
    assert float(row["auc_mean_ci95_low"]) == pytest.approx(values.mean() - half)
    assert float(row["auc_mean_ci95_high"]) == pytest.approx(values.mean() + half)
    assert float(row["difference_mean"]) == pytest.approx(0.05)
    assert (row["n"], row["points"]) == ("3", "9 10 11")
    assert means["reconstruction", "1", "1"]["difference_mean"] == ""


def test_two_seeds_have_no_interval(tmp_path: Path) -> None:
    for seed in range(2):
        add(tmp_path, seed, area=0.9 + 0.08 * seed, seed=seed)
    text = report.text(gather(tmp_path))
    assert "Mean over seeds: 0.940, too few seeds for an interval (n = 2)." in text


def test_seeds_that_change_nothing_have_no_interval(tmp_path: Path) -> None:
    for seed in range(3):
        add(tmp_path, seed, area=0.382, seed=seed)
    found = gather(tmp_path)
    text = report.text(found)
    assert "Mean over seeds: 0.382, the same value for all seeds (n = 3)." in text
    assert "0.382 [0.382, 0.382]" not in text
    (mean,) = settings(found, "membership")
    assert (mean.auc.ci95, mean.auc.n) == (None, 3)
    row = next(r for r in report.sweep_frames(found)["means"].to_dict("records"))
    assert math.isnan(row["auc_mean_ci95_low"])


def test_heat_maps_and_words(sweep: Path) -> None:
    found = collect(sweep)
    assert {p.stem for p in sweep.glob("*.png")} == {"auc-layers-ridge", "gain-layers-ridge"}
    words = " ".join(report.summary(found))
    assert "12 of 12 points are done." in words
    assert "chosen in hindsight: 0.820 [0.720, 0.870] at point 10 (seed 1; layers 1,2; ridge auto)"
    half = stats.t.ppf(0.975, 2) * np.std(AREAS, ddof=1) / math.sqrt(3)
    mean = f"0.770 [{0.77 - half:.3f}, {0.77 + half:.3f}] (n = 3) at layers 1,2; ridge auto"
    assert mean in words
    assert "The median AUC of all 12 points is 0.735 (range 0.650 to 0.820)." in words
    page = (sweep / "report.html").read_text()
    assert "12 of 12 points are done." in page
    assert page.count("data:image/png") == 2
    lines = report.text(found).splitlines()
    assert [line.split()[0] for line in lines[1:13]] == [
        str(row["point"]) for row in report.by_auc(found)
    ]
    assert len({len(line) for line in lines[:13]}) == 1


def test_only_the_first_points_are_printed(sweep: Path) -> None:
    for number in range(12, 40):
        add(sweep, number, 0.3, layers=(number,))
    lines = report.text(gather(sweep)).splitlines()
    assert lines[31] == "and 10 more in results.csv"


@pytest.mark.parametrize(
    ("axis", "values", "seeds", "bars"),
    [
        ("alpha", (0.25, 0.5, 1.0), 3, "with 95 % intervals over seeds (Student's t)"),
        ("alpha", (0.25, 0.5, 1.0), 2, "means over seeds"),
        ("seed", (3, 4, 5), 1, "with 95 % intervals of each run"),
    ],
)
def test_one_axis_is_a_curve(tmp_path: Path, axis: str, values: Any, seeds: int, bars: str) -> None:
    for number, (value, seed) in enumerate(product(values, range(seeds))):
        add(tmp_path, number, 0.7 + 0.01 * number, **{"seed": seed, axis: value})
    (picture,) = draw(gather(tmp_path))
    assert picture.name == f"auc-{axis}"
    assert picture.title == f"AUC against {axis}, {bars}"


def test_victims_by_layers_too_and_never_too_many(tmp_path: Path) -> None:
    points = product(("pix2pix", "pix2pixhd"), ((1,), (2,)), (1, 10), (0.1, 0.2, 0.3))
    for number, (victim, layers, ridge, alpha) in enumerate(points):
        add(tmp_path, number, victim=victim, layers=layers, ridge=ridge, alpha=alpha)
    found = gather(tmp_path)
    assert found.axes == ("victim", "layers", "ridge", "alpha")
    names = [picture.name for picture in draw(found)]
    assert len(names) == 16
    assert names[0] == "auc-victim-layers-1"
    assert {name.rpartition("-")[0] for name in names} == {
        f"{measure}-{pair}"
        for measure in ("auc", "gain")
        for pair in ("victim-layers", "layers-ridge")
    }


@pytest.mark.parametrize(("seeds", "width"), [(1, 0.15), (3, 0.143)])
def test_colours_are_scaled_by_the_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int, width: float
) -> None:
    """Of the points, or of the means over seeds."""
    for number, (layers, ridge, seed) in enumerate(product(((1,), (2,)), (1, 10), range(seeds))):
        add(
            tmp_path,
            number,
            0.7 + 0.001 * ridge + 0.05 * (seed == 1),
            layers=layers,
            ridge=ridge,
            seed=seed,
        )
    drawn = []
    monkeypatch.setattr(figures, "png", lambda figure: drawn.append(figure) or b"")
    auc, gain = draw(gather(tmp_path))
    low, high = drawn[0].axes[0].images[0].get_clim()
    assert high - low == pytest.approx(width, abs=0.001)
    assert f"but the median 95 % interval is {width:.3f} wide" in auc.caption
    if seeds == 1:
        assert "differ by at most 0.000, but" in gain.caption
    found = collect(tmp_path)
    assert found.done
    assert auc.caption in (tmp_path / "report.html").read_text()


def test_points_link_to_their_pages(sweep: Path) -> None:
    (sweep / "3" / "report.html").write_text("")
    collect(sweep)
    page = (sweep / "report.html").read_text()
    assert re.findall('<a href="([^"]*report.html)">(.*?)</a>', page) == [("3/report.html", "3")]


def test_a_half_finished_sweep(sweep: Path) -> None:
    add(sweep, 12, state=State.FAILED, reason="out of memory", seed=1)
    add(sweep, 13, state=State.RUNNING)
    add(sweep, 14, state=State.PLANNED)
    (add(sweep, 15) / "metrics.json").write_text("{")
    (add(sweep, 16) / "metrics.json").write_text('{"schema": "mia_lab metrics 3"}')
    add(sweep, 17, found={"schema": "mia_lab comparison 1"})
    (add(sweep, 18) / "metrics.json").unlink()
    (add(sweep, 20) / "point.json").write_text("nothing")
    (add(sweep, 21, 0.9) / "config.yaml").write_text("a: [")
    (sweep / "wandb").mkdir()
    found = collect(sweep)
    assert [p.number for p in found.done] == [*range(12), 21]
    assert found.missing == (19,)
    assert report.states(found) == (
        "13 done, 1 failed, 1 running or killed, 1 not started or interrupted, 3 damaged, "
        "2 not a finished audit, 1 missing"
    )
    page = (sweep / "report.html").read_text()
    for reason in (
        "out of memory",
        "metrics.json: damaged (Expecting property name",
        "metrics.json: damaged (name: Field required",
        "has the schema &#39;mia_lab comparison 1&#39;",
        "no metrics.json: not a finished audit",
        "point.json: damaged",
        "settings unknown",
        "no folder",
    ):
        assert reason in page
    # A point of unknown settings counts as a point, and not for a mean.
    assert max(float(row["auc"]) for row in table(sweep / "results.csv")) == 0.9
    assert all(s.auc.n == 3 for s in settings(found, "membership"))
    numbers = report.sweep_summary(found)
    assert (numbers["points"], numbers["points/done"], numbers["points/failed"]) == (22, 13, 1)
    assert numbers["auc_best/membership"] == 0.9


def test_without_notes_what_is_there_counts(sweep: Path) -> None:
    for note in sweep.glob("*/point.json"):
        note.unlink()
    (sweep / "11" / "metrics.json").unlink()
    assert report.states(gather(sweep)) == "11 done, 1 not started or interrupted"


def test_nothing_finished_is_refused(tmp_path: Path) -> None:
    add(tmp_path, 0, state=State.FAILED, reason="no")
    add(tmp_path, 1, state=State.PLANNED)
    with pytest.raises(UserError, match=r"collect\.dir=.*none of its 2 points .*1 failed, 1 not s"):
        collect(tmp_path)
    assert not list(tmp_path.glob("*.*"))


def test_confounded_points_and_the_usual_one_are_named(tmp_path: Path) -> None:
    for number, alpha in enumerate((0.5, 0.5, 0.5, 1.0)):
        verdict = "confounded" if number == 3 else "sound"
        add(tmp_path, number, found=metrics(0.58 + number / 10, verdict), alpha=alpha, seed=number)
    words = " ".join(report.summary(gather(tmp_path)))
    assert "Splits: 3 sound, 1 confounded." in words
    assert "does not measure membership alone: 3. Highest AUC" in words
    assert "most common settings, point 0 (seed 0; alpha 0.5), has 0.580 [0.480, 0.630]" in words
    assert "at 3 of 4 points" in words


def test_points_with_swapped_roles_are_named(tmp_path: Path) -> None:
    for number, area in enumerate((0.7, 0.2, 0.47)):
        add(tmp_path, number, found=metrics(area), alpha=number, seed=0)
    words = " ".join(report.summary(gather(tmp_path)))
    assert f"AUC of the membership attack is significantly below 0.5: 1; {SWAPPED} High" in words


def test_attack_lists_may_differ(tmp_path: Path) -> None:
    add(tmp_path, 0, seed=0)
    alone = metrics(0.66)
    del alone["attacks"]["membership"]
    alone |= {"comparisons": [], "timing_s": {"other": 1.0}}
    add(tmp_path, 1, found=alone, seed=1)
    found = collect(tmp_path)
    rows = table(tmp_path / "results.csv")
    assert [r["attack"] for r in rows if r["point"] == "1"] == [
        "reconstruction",
        "difficulty",
        "features",
    ]
    assert {(r["point"], r["seconds_other"]) for r in rows} == {("0", ""), ("1", "1.0")}
    assert len(report.by_auc(found)) == 1


def test_thumbnails_on_request_only(sweep: Path) -> None:
    Image.new("RGB", (900, 900)).save(sweep / "3" / "roc.png")
    collect(sweep)
    assert "Pictures of the points" not in (sweep / "report.html").read_text()
    collect(sweep, pictures=True)
    page = (sweep / "report.html").read_text()
    assert len(re.findall(r"roc of point 3", page)) == 1


def test_axis_texts() -> None:
    texts = [axis_text(value) for value in (None, 0.5, 1e-5, 10, "auto", True)]
    assert texts == ["none", "0.5", "1e-05", "10", "auto", "true"]
