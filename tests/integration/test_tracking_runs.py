"""W&B runs of the real command, read back by W&B's own reader or by a server of ours."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
import yaml
from PIL import Image

from fake_wandb import FakeWandb, serve
from support import Command
from wandb_files import history, identity, media_table, run_folder, summary

pytestmark = [
    # wandb leaves temporary folders to the garbage collector.
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning"),
    # wandb-workspaces' own.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
]

TINY = ("+experiment=tiny", "tracking.mode=offline", "report.images=true")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for key in [k for k in os.environ if k.startswith("WANDB_") and k != "WANDB_SERVICE"]:
        monkeypatch.delenv(key)
    yield
    gc.collect()


def assert_same_numbers(numbers: dict[str, Any], metrics: dict[str, Any]) -> None:
    """A run's summary tells what ``metrics.json`` of the same run does."""
    for attack, found in metrics["attacks"].items():
        assert numbers[f"auc/{attack}"] == found["auc"]
        assert numbers[f"auc_ci95_low/{attack}"] == found["auc_ci95"][0]
    assert numbers["blind/max"] == metrics["blind"]["max"]
    assert numbers["blind/verdict"] == metrics["blind"]["verdict"]
    assert {f"excess/{c['first']}": c["difference"] for c in metrics["excess"]} == {
        k: v for k, v in numbers.items() if k.startswith("excess/")
    }
    assert {f"timing/{part}" for part in metrics["timing_s"]} == {
        k for k in numbers if k.startswith("timing/")
    }


@pytest.mark.slow
def test_offline_runs_of_one_process(command: Command) -> None:
    """A whole audit, and another twice up to its attacks: no run holds anything of another."""
    asked = [("seed=0",), ("seed=1", "until=attacks"), ("seed=1", "until=attacks")]
    ran = [command(*TINY, *overrides) for overrides in asked]
    assert [r.code for r in ran] == [0, 0, 0], [r.err for r in ran]
    folders = folders_of(command)
    read = [summary(folder) for folder in folders]
    for found, folder in zip(read, folders, strict=True):
        assert (found["exit_code"], found["state"]) == (0, "finished")
        assert_same_numbers(found["summary"], metrics_of(folder))
        resolved = yaml.safe_load((folder / "config.yaml").read_text())
        assert found["config"] == {**resolved, "layers": "1,2,3,4"}
    numbers = [found["summary"]["auc/membership"] for found in read]
    assert numbers[0] != numbers[1] == numbers[2]
    ids = [found["run_id"] for found in read]
    assert ids[0] != ids[1] == ids[2]
    assert_whole(folders[0])


def assert_whole(folder: Path) -> None:
    """The run of one audit holds everything that its files do."""
    record = identity(folder)
    assert record["tags"] == ["facades", "pix2pix", "resplit", "demo"]
    assert (record["project"], record["job_type"]) == ("mia_lab", "audit")
    assert record["run_group"] == "facades_pix2pix"
    assert [row["epoch"] for row in history(folder) if "train/l1" in row] == [1, 2]

    curve, metrics = media_table(folder, "roc_curve_table"), metrics_of(folder)
    for attack, found in metrics["attacks"].items():
        points = [
            (fpr, tpr) for name, fpr, tpr in zip(*curve.values(), strict=True) if name == attack
        ]
        assert np.trapezoid(*np.array(points).T[::-1]) == pytest.approx(found["auc"], abs=1e-12)
    scores = media_table(folder, "scores")
    assert scores["id"] == [
        line.split(",")[0] for line in (folder / "scores.csv").read_text().splitlines()[1:]
    ]
    pictures = {p.stem for p in folder.glob("*.png")}
    logged = list(run_folder(folder).glob("files/media/images/report/*.png"))
    names = {p.name.rsplit("_", 2)[0] for p in logged}
    assert names == {name for name in pictures if not name.startswith("dossiers")} >= {"roc"}
    assert "dossiers-1" in pictures  # in the folder; `wandb sync` would send what is in the run
    assert not list(run_folder(folder).glob("files/media/images/train/*.png"))
    for path in logged:
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > 5, path  # neither black nor blank


def folders_of(command: Command) -> list[Path]:
    """Of the runs, in their order."""
    return sorted(command.folder.glob("outputs/runs/*/*"), key=lambda p: p.stat().st_mtime_ns)


def metrics_of(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "metrics.json").read_text())  # JSON is YAML


BROKEN = """
def broken(evidence, ids, model):
    raise RuntimeError("boom")
"""


def test_a_failed_audit_is_marked_as_failed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command.folder / "broken_attack.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(command.folder))
    ran = command(
        *TINY,
        "attack.names=[reconstruction,broken]",
        "+attack.available.broken={_target_: broken_attack.broken, _partial_: true}",
    )
    assert ran.code == 1
    assert "boom" in ran.err
    (folder,) = folders_of(command)
    read = summary(folder)
    assert read["exit_code"] == 1
    assert "train/l1" in read["summary"]
    assert "auc/reconstruction" not in read["summary"]


@pytest.fixture
def server(command: Command) -> Iterator[FakeWandb]:
    wandb.teardown()  # a process reads the server's address once
    with serve() as fake:
        command.environment.update(fake.environment)
        yield fake
        wandb.teardown()


ONLINE = ("+experiment=tiny", "tracking.mode=online")


def test_online_runs_update_themselves_and_share_a_dashboard(
    command: Command, server: FakeWandb
) -> None:
    first, again = (command(*ONLINE, "until=attacks") for _ in range(2))
    assert (first.code, again.code) == (0, 0), first.err + again.err
    (run,) = server.streams
    assert {call["name"] for call in server.called("UpsertBucket")} == {run}
    assert not server.called("RunResumeStatus")
    assert [s["exitcode"] for s in server.streams[run] if s.get("complete")] == [0, 0]
    (numbers,) = server.lines(run, "wandb-summary.json")
    assert_same_numbers(numbers, again.metrics)
    rows = server.lines(run, "wandb-history.jsonl")
    assert [row["epoch"] for row in rows if "train/l1" in row] == [1, 2]

    assert len(server.called("UpsertView2")) == 1
    (marker,) = (command.folder / "outputs" / "store").glob("dashboard-*.url")
    assert f"W&B dashboard: {marker.read_text()}" in first.err
    assert "dashboard" not in again.err
    assert command("task=store").code == 0


def test_no_image_and_no_unwanted_dashboard_goes_online(
    command: Command, server: FakeWandb
) -> None:
    ran = command(*ONLINE, "report.images=true", "tracking.dashboard=false")
    assert ran.code == 0, ran.err
    assert (ran.folder / "outputs/latest/dossiers-1.png").exists()
    files = [name for call in server.called("CreateRunFiles") for name in call["files"]]
    assert any("report/roc" in name for name in files)
    assert not [name for name in files if "dossiers" in name or "train/samples" in name]
    assert not server.called("UpsertView2")
