from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mia_lab.errors import UserError
from mia_lab.measures import Roc
from mia_lab.reporting import Tracker, draw
from mia_lab.reporting.survey import draw as draw_survey
from mia_lab.reporting.tracking import _thinned

# wandb leaves temporary folders to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for key in [k for k in os.environ if k.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    yield
    gc.collect()


def tracker(directory: Path, run_id: str = "r1", **options: Any) -> Tracker:
    defaults: dict[str, Any] = {
        "mode": "offline",
        "project": "tests",
        "group": "g",
        "job_type": "audit",
        "name": "n",
        "config": {"victim": {"epochs": 3}},
    }
    return Tracker(directory=directory, run_id=run_id, **(defaults | options))


def inspect(directory: Path, *flags: str) -> str:
    (run,) = (directory / "wandb").glob("offline-run-*")
    wandb = Path(sys.executable).with_name("wandb")
    command = [str(wandb), "leet", "inspect", *flags, "--json", str(run)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def summary(directory: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(inspect(directory, "--summary"))
    return read


def history(directory: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in inspect(directory).splitlines()]
    return [r["history"]["item"] for r in records if r["type"] == "history"]


def test_offline_run_holds_the_result(result, tmp_path):
    with tracker(tmp_path) as run:
        for epoch in range(3):
            run.log_epoch(epoch, {"l1": 1 / (epoch + 1)})
        images = np.full((2, 3, 8, 8), 0.5, dtype=np.float32)
        run.log_images("train/samples", images, ["a", "b"], epoch=2)
        run.log_result(result, draw(result))
    read = summary(tmp_path)
    assert (read["exit_code"], read["state"], read["run_id"]) == (0, "finished", "r1")
    assert read["config"]["victim"] == {"epochs": 3}
    numbers = read["summary"]
    for e in result.evaluations:
        assert numbers[f"auc/{e.name}"] == e.auc
        assert numbers[f"auc_ci95_low/{e.name}"] == e.auc_ci95[0]
        assert numbers[f"auc_ci95_high/{e.name}"] == e.auc_ci95[1]
        assert numbers[f"tpr_at_fpr_0.1/{e.name}"] == e.tpr_at_fpr["0.1"]
        assert f"tpr_at_fpr_0.01/{e.name}" not in numbers
    assert numbers["blind/difficulty"] == result.blind[0].auc
    assert numbers["difference/membership"] == result.comparisons[0].difference
    assert numbers["scores"]["nrows"] == 80
    assert numbers["roc_curve_table"]["nrows"] > 80
    assert {"report/roc", "report/scatter", "report/samples"} <= set(numbers)
    rows = history(tmp_path)
    assert [r["epoch"] for r in rows if "train/l1" in r] == [0, 1, 2]


def test_images_are_not_black(tmp_path):
    with tracker(tmp_path) as run:
        run.log_images("train/float", np.full((1, 3, 4, 6), 0.5), ["a"], epoch=0)
        run.log_images("train/byte", np.full((1, 1, 4, 6), 99, dtype=np.uint8), ["a"], epoch=0)
    (media,) = (tmp_path / "wandb").glob("offline-run-*/files/media/images/train")
    for name, value, mode in (("float", 128, "RGB"), ("byte", 99, "L")):
        (path,) = media.glob(f"{name}_*.png")
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((6, 4), mode)
            assert np.unique(np.asarray(image)).tolist() == [value]


def test_private_images_stay_out_unless_asked(result, tmp_path):
    with tracker(tmp_path, log_images=False) as run:
        assert not run.wants_images
        run.log_images("train/samples", np.zeros((1, 3, 4, 4)), ["a"], epoch=0)
        run.log_result(result, draw(result))
    numbers = summary(tmp_path)["summary"]
    assert "report/roc" in numbers
    assert not {"report/samples", "train/samples"} & set(numbers)
    assert not tracker(tmp_path, mode="online").wants_images
    assert tracker(tmp_path, mode="online", log_images=True).wants_images


def test_grid_is_logged_as_a_table(result, grid, tmp_path):
    with tracker(tmp_path) as run:
        run.log_result(dataclasses.replace(result, grid=grid), ())
    assert summary(tmp_path)["summary"]["grid"]["nrows"] == len(grid)


@pytest.mark.parametrize("log_images", [True, False])
def test_survey_is_logged_without_its_images_unless_asked(survey, tmp_path, log_images):
    with tracker(tmp_path, log_images=log_images) as run:
        run.log_survey(survey, draw_survey(survey))
    numbers = summary(tmp_path)["summary"]
    score = survey.difficulty.score[:, 0].mean(axis=1)
    assert numbers["difficulty/mean"] == pytest.approx(score.mean(), rel=1e-12)
    assert numbers["difficulty/icc_single"] == survey.reliability.icc_single
    assert numbers["scores"]["nrows"] == 30
    assert "report/histogram" in numbers
    assert ("report/gallery" in numbers) == log_images


def test_failure_is_recorded(tmp_path):
    with pytest.raises(RuntimeError, match="boom"), tracker(tmp_path):
        raise RuntimeError("boom")
    assert summary(tmp_path)["exit_code"] == 1


def test_two_runs_of_one_process_do_not_bleed(tmp_path):
    before = dict(os.environ)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    for directory, value in ((first, 1.0), (second, 2.0)):
        with tracker(directory, run_id=directory.name, config={"v": value}) as run:
            run.log_epoch(0, {"only_" + directory.name: value})
            assert os.environ["WANDB_DATA_DIR"].startswith(str(directory))
    assert dict(os.environ) == before
    for directory, value in ((first, 1.0), (second, 2.0)):
        read = summary(directory)
        assert read["run_id"] == directory.name
        assert read["config"]["v"] == value
        assert {k for k in read["summary"] if k.startswith("train/")} == {
            f"train/only_{directory.name}"
        }


def test_open_runs_do_not_bleed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with tracker(tmp_path / "a", "a") as a, tracker(tmp_path / "b", "b") as b:
        b.log_epoch(0, {"b": 2.0})
        a.log_epoch(0, {"a": 1.0})
    assert [r.get("train/a") for r in history(tmp_path / "a")] == [1.0]
    assert [r.get("train/b") for r in history(tmp_path / "b")] == [2.0]


def test_a_users_own_folders_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "mine"))
    with tracker(tmp_path):
        assert os.environ["WANDB_CACHE_DIR"] == str(tmp_path / "mine")
    assert os.environ["WANDB_CACHE_DIR"] == str(tmp_path / "mine")


def test_online_without_login_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "no-such-netrc"))
    before = dict(os.environ)
    with pytest.raises(UserError, match=r"tracking\.mode=offline") as caught:
        tracker(tmp_path, mode="online").__enter__()
    assert "\n" not in str(caught.value)
    assert dict(os.environ) == before


def test_disabled_does_nothing_and_imports_nothing(tmp_path):
    code = f"""
import sys
from pathlib import Path
import mia_lab.reporting as r
with r.Tracker("disabled", directory=Path({str(tmp_path)!r}), run_id="r", project="p", group="g",
               job_type="j", name="n", config={{}}) as t:
    t.log_epoch(0, {{"l": 1.0}})
    t.log_images("k", None, [], 0)
    t.log_result(None, ())
    t.log_survey(None, ())
    assert not t.wants_images
heavy = {{"wandb", "torch", "matplotlib", "sklearn", "jinja2", "hydra"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(tmp_path.iterdir())


def test_long_curves_are_thinned_for_the_chart():
    line = np.linspace(0, 1, 5000)
    points = _thinned(Roc(fpr=line, tpr=line, threshold=line[::-1]))
    assert len(points) == 500
    assert (points[0], points[-1]) == ([0, 0], [1, 1])
