"""A multirun through the real command: done points stay done, failed ones are told and run."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path

import pytest

from mia_lab.points import Point, State, read_point, read_points
from support import Command, Ran
from wandb_files import identity, summary

TINY = ("-m", "+experiment=tiny", "until=split")
"""Points of a second."""


def folder_of(command: Command) -> Path:
    (sweep,) = (p for p in (command.folder / "outputs/sweeps").iterdir() if p.name[0] != ".")
    return sweep


def counts(ran: Ran) -> str:
    (line,) = re.findall(r"^\d+ points: (.*)", ran.out, re.MULTILINE)
    return line


def test_done_points_are_skipped(command: Command) -> None:
    first = command(*TINY, "seed=0,1")
    assert (first.code, counts(first)) == (0, "2 done, 0 failed, 0 skipped")
    sweep = folder_of(command)
    when = [(sweep / n / "point.json").stat().st_mtime_ns for n in "01"]
    again = command(*TINY, "seed=0,1")
    assert (again.code, counts(again)) == (0, "0 done, 0 failed, 2 skipped (done before)")
    assert [(sweep / n / "point.json").stat().st_mtime_ns for n in "01"] == when
    # What was stopped, or never begun, is run; a launcher makes no other sweep.
    done = read_point(sweep / "1")
    assert done is not None
    Point(done.folder, done.key, done.overrides, State.RUNNING).write()
    resumed = command(*TINY, "seed=0,1", "hydra/launcher=basic")
    assert (resumed.code, counts(resumed)) == (0, "1 done, 0 failed, 1 skipped (done before)")
    assert [p.state for p in read_points(sweep)] == [State.DONE] * 2


def test_changed_data_are_computed_again(command: Command, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "pairs" / "train").mkdir(parents=True)
    for number in range(16):
        picture = Image.effect_noise((64, 32), 50 + number).convert("RGB")
        picture.save(tmp_path / "pairs" / "train" / f"{number}.png")
    asked = (*TINY, "data=custom", f"data.root={tmp_path / 'pairs'}", "seed=0,1")
    assert counts(command(*asked)).startswith("2 done")
    assert counts(command(*asked)).endswith("2 skipped (done before)")
    Image.effect_noise((64, 32), 90).convert("RGB").save(tmp_path / "pairs" / "train" / "3.png")
    assert counts(command(*asked)) == "2 done, 0 failed, 0 skipped"


def test_a_changed_manifest_is_computed_again(command: Command) -> None:
    roles = [f"train/{n:06d},{'member' if n < 6 else 'nonmember'}" for n in range(12)]
    manifest = command.folder / "roles.csv"
    asked = (*TINY, "data.protocol=manifest", f"data.manifest={manifest}", "seed=0,1")
    for changed in (roles, [*roles[1:], "train/000020,member"]):
        manifest.write_text("\n".join(["id,role", *changed]) + "\n")
        assert counts(command(*asked)) == "2 done, 0 failed, 0 skipped"


def test_a_broken_point_harms_no_other(command: Command) -> None:
    ran = command(*TINY, "data.n_members=6,0,7,900000")
    assert ran.code == 1
    assert counts(ran) == "2 done, 2 failed, 0 skipped"
    assert "data.n_members=0: must be at least 1" in ran.out
    states = [p.state for p in read_points(folder_of(command))]
    assert states == [State.DONE, State.FAILED, State.DONE, State.FAILED]
    assert "Traceback" not in ran.err
    again = command(*TINY, "data.n_members=6,0,7,900000")
    assert counts(again) == "0 done, 2 failed, 2 skipped (done before)"


def test_a_typo_of_all_points_is_one_error(command: Command) -> None:
    ran = command(*TINY, "seed=0,1", "difficulty.rigde=3")
    assert "difficulty.rigde: unknown key; did you mean ridge?" in ran.error
    ran = command(*TINY, "seed=0,1", "data.image_size=3")
    assert "data.image_size=3: must be at least 16" in ran.error


def test_a_bug_is_told_with_its_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr("mia_lab.pipeline.write_manifest", broken)
    ran = command(*TINY, "seed=0,1")
    assert ran.code == 1
    assert "ZeroDivisionError: in the middle" in ran.out
    assert "Traceback" in (folder_of(command) / "0" / "mia_lab.log").read_text()


@pytest.mark.parametrize("number", ["0", "7"])
def test_folders_of_others_are_left_alone(command: Command, number: str) -> None:
    theirs = command.folder / "classes" / number / "cat.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    ran = command(*TINY, "seed=0,1", "hydra.sweep.dir=classes")
    assert f"classes/{number}: is no point of a sweep" in ran.error
    assert theirs.read_text() == "precious"


def test_one_command_at_a_time(command: Command) -> None:
    from mia_lab.store.lock import Lock
    from mia_lab.store.session import Session

    assert command(*TINY, "seed=0,1").code == 0
    sweep = folder_of(command)
    session = Session(sweep.parent)
    session.open()
    lock = Lock(sweep / ".lock", session)
    assert lock.take()
    assert "is at work on this sweep" in command(*TINY, "seed=0,1").error
    lock.release()
    session.close()
    assert command(*TINY, "seed=0,1").code == 0


# wandb leaves temporary folders to the garbage collector.
@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
def test_points_are_runs_of_one_group(command: Command) -> None:
    ran = command("-m", "+experiment=tiny", "attack.alpha=0,1", "tracking.mode=offline")
    assert ran.code == 0, ran.err
    sweep = folder_of(command)
    places = [sweep / "0", sweep / "1", sweep]
    runs = [identity(place) for place in places]
    assert {run["run_group"] for run in runs} == {sweep.name}
    assert len({run["run_id"] for run in runs}) == 3
    for number in (0, 1):
        found = json.loads((sweep / str(number) / "metrics.json").read_text())
        logged = summary(sweep / str(number))["summary"]
        assert logged["auc/membership"] == found["attacks"]["membership"]["auc"]
    # Numbers only: a sweep's points draw nothing unless asked to.
    assert not list((sweep / "0").glob("*.png"))
    assert (sweep / "report.html").exists()
    assert (command.folder / "outputs/latest").resolve() == sweep.resolve()
    gc.collect()


def test_a_gate_fails_its_points(command: Command) -> None:
    gates = "fail_if='auc/membership >= 0','auc/membership > 1'"
    ran = command("-m", "+experiment=tiny", gates)
    assert ran.code == 3
    assert counts(ran) == "1 done, 1 failed, 0 skipped"
    assert "fail_if: auc/membership = " in ran.out
    for number, failed in enumerate((True, False)):
        metrics = folder_of(command) / str(number) / "metrics.json"
        assert json.loads(metrics.read_text())["gate"]["failed"] is failed


def test_named_sweeps_compose(command: Command) -> None:
    from hydra import compose, initialize_config_dir

    from mia_lab.cli import CONF, prepare

    prepare()
    for file in (CONF / "sweep").glob("*.yaml"):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", [f"+sweep={file.stem}"], return_hydra_config=True)
        assert cfg.hydra.sweeper.params
