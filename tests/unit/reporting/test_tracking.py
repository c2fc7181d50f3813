from __future__ import annotations

import gc
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from PIL import Image

from audits import changed, with_auc
from fake_wandb import ENTITY, FakeWandb, serve
from mia_lab.errors import UserError
from mia_lab.evaluation.summary import summary as numbers_of
from mia_lab.reporting.canvas import Picture
from mia_lab.reporting.frames import audit_frames, roc_frame
from mia_lab.reporting.survey import draw as draw_survey
from mia_lab.reporting.tracking import Tracker
from wandb_files import history, identity, media_table, run_folder, summary

# wandb leaves temporary folders to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")


@pytest.fixture(autouse=True, scope="module")
def _garbage():
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for key in [k for k in os.environ if k.startswith("WANDB_") and k != "WANDB_SERVICE"]:
        monkeypatch.delenv(key)


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


def png(value: int = 120) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (value, value, value)).save(file, "PNG")
    return file.getvalue()


PICTURES = (
    Picture("roc", "ROC curves", "Curves.", png()),
    Picture("dossiers-1", "Most exposed", "Members.", png(), private=True),
)


def test_offline_run_holds_the_result(audit, result, tmp_path):
    with tracker(tmp_path, tags=("maps", "", "maps", "x" * 70)) as run:
        for epoch in range(3):
            run.log_epoch(epoch, {"l1": 1 / (epoch + 1)})
        images = np.full((2, 3, 8, 8), 0.5, dtype=np.float32)
        run.log_images("train/samples", images, ["a", "b"], epoch=2)
        run.log_result(audit, PICTURES)
    read = summary(tmp_path)
    assert (read["exit_code"], read["state"], read["run_id"]) == (0, "finished", "r1")
    assert read["config"]["victim"] == {"epochs": 3}
    numbers, expected = read["summary"], numbers_of(result)
    assert {key: numbers[key] for key in expected} == expected
    assert {"auc/membership", "excess/membership", "blind/max"} <= set(expected)
    assert numbers["blind/verdict"] == result.blind.verdict.value
    assert numbers["timing/victim"] == audit.timing_s["victim"]
    rows = history(tmp_path)
    assert [r["epoch"] for r in rows if "train/l1" in r] == [0, 1, 2]
    course = [(r["epoch"], r["overfitting/nonmembers"]) for r in rows if "overfitting/members" in r]
    assert course == [(1, 0.14), (2, 0.14), (4, 0.14), (8, 0.14)]
    assert rows[-1]["auc/membership"] == numbers["auc/membership"]  # for sweeps and charts
    record = identity(tmp_path)
    assert record["tags"] == ["maps", "x" * 64]
    assert (record["run_group"], record["job_type"], record["project"]) == ("g", "audit", "tests")


def test_the_direction_of_an_attack_is_logged(audit, result, tmp_path):
    first, second = result.evaluations
    found = (with_auc(first, 0.2, (0.1, 0.3)), with_auc(second, 0.55, (0.45, 0.65)))
    with tracker(tmp_path) as run:
        run.log_result(changed(audit, evaluations=found), ())
    numbers = summary(tmp_path)["summary"]
    assert numbers[f"direction/{first.name}"] == "wrong"
    assert f"direction/{second.name}" not in numbers  # its interval holds 0.5


def test_every_table_is_logged_with_its_rows(audit, result, tmp_path):
    with tracker(tmp_path) as run:
        run.log_result(audit, ())
    numbers = summary(tmp_path)["summary"]
    logged = {k: v["nrows"] for k, v in numbers.items() if isinstance(v, dict) and "nrows" in v}
    expected = {name: len(table) for name, table in audit_frames(audit).items()}
    assert logged == expected | {"roc_curve_table": len(roc_frame(result))}
    assert media_table(tmp_path, "roc_curve_table") == roc_frame(result).to_dict("list")
    assert media_table(tmp_path, "attacks")["auc"][0] == result.evaluations[0].auc


def test_images_are_not_black(tmp_path):
    with tracker(tmp_path, log_images=True) as run:
        run.log_images("train/float", np.full((1, 3, 4, 6), 0.5), ["a"], epoch=0)
        run.log_images("train/byte", np.full((1, 1, 4, 6), 99, dtype=np.uint8), ["a"], epoch=0)
    media = run_folder(tmp_path) / "files/media/images/train"
    for name, value, mode in (("float", 128, "RGB"), ("byte", 99, "L")):
        (path,) = media.glob(f"{name}_*.png")
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((6, 4), mode)
            assert np.unique(np.asarray(image)).tolist() == [value]


def test_private_images_stay_out_unless_asked(audit, tmp_path):
    """Offline, too: `wandb sync` sends what is there."""
    with tracker(tmp_path) as run:
        assert not run.wants_images
        run.log_images("train/samples", np.zeros((1, 3, 4, 4)), ["a"], epoch=0)
        run.log_result(audit, PICTURES)
    numbers = summary(tmp_path)["summary"]
    assert "report/roc" in numbers
    assert not {"report/dossiers-1", "train/samples"} & set(numbers)
    assert not list(tmp_path.rglob("*dossiers-1*"))
    assert not list(tmp_path.rglob("*samples*"))
    assert not tracker(tmp_path, mode="online").wants_images
    assert tracker(tmp_path, mode="online", log_images=True).wants_images


def test_pictures_arrive_as_they_are(audit, tmp_path):
    with tracker(tmp_path, log_images=True) as run:
        run.log_result(audit, PICTURES)
    assert {"report/roc", "report/dossiers-1"} <= set(summary(tmp_path)["summary"])
    media = list(run_folder(tmp_path).glob("files/media/images/report/*.png"))
    assert len(media) == 2
    for path in media:
        with Image.open(path) as image:
            assert np.unique(np.asarray(image)).tolist() == [120]


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


def test_disabled_does_nothing(audit, tmp_path):
    with tracker(tmp_path, mode="disabled") as run:
        run.log_epoch(0, {"l": 1.0})
        run.log_images("k", np.zeros((0, 3, 4, 4)), [], 0)
        run.log_result(audit, ())
        assert not run.wants_images
    assert not list(tmp_path.iterdir())


@pytest.fixture
def server(monkeypatch) -> Iterator[FakeWandb]:
    wandb.teardown()  # a process reads the server's address once
    with serve() as fake:
        for key, value in fake.environment.items():
            monkeypatch.setenv(key, value)
        yield fake
        wandb.teardown()


def online(directory: Path, run_id: str = "r1", **options: Any) -> Tracker:
    directory.mkdir(exist_ok=True)
    return tracker(directory, run_id, mode="online", **options)


def test_a_rerun_replaces_its_run_on_the_server(server, tmp_path):
    """Nothing of the earlier run is asked for, and every file is written from its start."""
    for name, epochs in (("first", 3), ("second", 2)):
        with online(tmp_path / name) as run:
            for epoch in range(epochs):
                run.log_epoch(epoch, {f"only_{name}": 1.0})
    assert not server.called("RunResumeStatus")
    assert {call["name"] for call in server.called("UpsertBucket")} == {"r1"}
    rows = server.lines("r1", "wandb-history.jsonl")
    assert [(r["_step"], r["train/only_second"]) for r in rows] == [(0, 1.0), (1, 1.0)]
    (kept,) = server.lines("r1", "wandb-summary.json")
    assert {k for k in kept if k.startswith("train/")} == {"train/only_second"}


def test_images_go_online_only_when_asked(server, audit, tmp_path):
    for name, asked in (("not", False), ("asked", True)):
        with online(tmp_path / name, name, log_images=asked) as run:
            run.log_images("train/samples", np.zeros((1, 3, 4, 4)), ["a"], epoch=0)
            run.log_result(audit, PICTURES)
        (numbers,) = server.lines(name, "wandb-summary.json")
        assert "report/roc" in numbers
        shown = {"report/dossiers-1", "train/samples"} & set(numbers)
        assert len(shown) == (2 if asked else 0)


def test_the_first_audit_saves_the_dashboard_and_no_later_one(server, audit, tmp_path):
    store = tmp_path / "store"
    with online(tmp_path / "a", "a", dashboards=store) as run:
        run.log_epoch(0, {"l1": 1.0})  # no verdict, nothing to show
    failing = online(tmp_path / "b", "b", dashboards=store).__enter__()
    failing.log_result(audit, ())
    failing.__exit__(RuntimeError, RuntimeError(), None)
    with online(tmp_path / "c", "c") as run:  # not asked for
        run.log_result(audit, ())
    assert not server.called("UpsertView2")
    for name in "de":
        with online(tmp_path / name, name, dashboards=store) as run:
            run.log_result(audit, ())
    (saved,) = server.called("UpsertView2")
    assert (saved["entityName"], saved["projectName"]) == (ENTITY, "tests")
    assert "roc_curve_table" in saved["spec"]
    (marker,) = store.glob("dashboard-*.url")
    assert marker.read_text().startswith(f"{server.url}/{ENTITY}/tests?nw=")
    assert [server.exit_code(name) for name in "abcde"] == [0, 1, 0, 0, 0]


def test_a_dashboard_that_cannot_be_saved_is_a_warning(server, audit, tmp_path, caplog):
    server.refused["UpsertView2"] = "no such project"
    with online(tmp_path / "a", dashboards=tmp_path) as run:
        run.log_result(audit, ())
    (warned,) = (r.message for r in caplog.records if r.name.startswith("mia_lab"))
    assert "dashboard was not saved" in warned
    assert "no such project" in warned
    assert server.exit_code("r1") == 0
    assert not list(tmp_path.glob("dashboard-*"))  # the next run tries again


def test_a_deleted_run_names_the_remedy(server, tmp_path):
    server.refused["UpsertBucket"] = "run r1 was previously created and deleted"
    with pytest.raises(UserError, match=r"deleted.*another tracking\.project"):
        online(tmp_path).__enter__()
