"""A multirun through the real command: done points stay done, failed ones are told and run."""

from __future__ import annotations

import csv
import gc
import json
import re
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mia_lab.errors import UserError
from mia_lab.sweeps.locks import COMMAND, sweep_session, unlocked_at_end
from mia_lab.sweeps.point import State, read_point
from slurm_cluster import wait_for
from support import Command, Ran
from wandb_files import identity, summary

TINY = ("-m", "+experiment=tiny", "until=split")
"""Points of a second."""


def folder_of(command: Command) -> Path:
    (sweep,) = (p for p in (command.folder / "outputs/sweeps").iterdir() if p.name[0] != ".")
    return sweep


def states(sweep: Path) -> list[State]:
    points = [read_point(sweep / str(number)) for number in range(len(list(sweep.glob("[0-9]*"))))]
    return [point.state for point in points if point]


def counts(ran: Ran) -> str:
    (line,) = re.findall(r"^\d+ points: (.*)", ran.out, re.MULTILINE)
    return line


def test_done_points_are_skipped(command: Command) -> None:
    first = command(*TINY, "seed=0,1")
    assert (first.code, counts(first)) == (0, "2 done, 0 failed, 0 skipped")
    assert "the same command without it goes on from there" in first.out
    sweep = folder_of(command)
    when = [(sweep / n / "point.json").stat().st_mtime_ns for n in "01"]
    again = command(*TINY, "seed=0,1")
    assert (again.code, counts(again)) == (0, "0 done, 0 failed, 2 skipped (done before)")
    assert [(sweep / n / "point.json").stat().st_mtime_ns for n in "01"] == when
    # What was stopped, or never begun, is run; a launcher makes no other sweep.
    done = read_point(sweep / "1")
    assert done is not None
    replace(done, state=State.RUNNING).write()
    resumed = command(*TINY, "seed=0,1", "hydra/launcher=basic")
    assert (resumed.code, counts(resumed)) == (0, "1 done, 0 failed, 1 skipped (done before)")
    assert states(sweep) == [State.DONE] * 2


def test_equal_points_count_once(command: Command) -> None:
    ran = command(*TINY, "seed=0,0,1", "data.name='a=b, (ß).1','a=b, (ß).1'")
    assert (ran.code, counts(ran)) == (
        0,
        "2 done, 0 failed, 0 skipped; 4 more equal one of them, and count once",
    )
    assert states(folder_of(command)) == [State.DONE] * 2


def test_a_damaged_note_is_run_again(command: Command) -> None:
    assert command(*TINY, "seed=0,1").code == 0
    (folder_of(command) / "0" / "point.json").write_text('{"key": ')
    again = command(*TINY, "seed=0,1")
    assert (again.code, counts(again)) == (0, "1 done, 0 failed, 1 skipped (done before)")


def test_a_lost_result_is_computed_again(command: Command) -> None:
    asked = ("-m", "+experiment=tiny", "attack.alpha=0,1,2")
    assert command(*asked).code == 0
    sweep = folder_of(command)
    (sweep / "0" / "metrics.json").unlink()
    (sweep / "2" / "metrics.json").write_text("{}")
    again = command(*asked)
    assert (again.code, counts(again)) == (0, "2 done, 0 failed, 1 skipped (done before)")


def test_what_reads_other_runs_is_never_skipped(command: Command) -> None:
    assert command(*TINY, "seed=0").code == 0
    for _ in range(2):
        listed = command("-m", "task=store", "seed=0")
        assert (listed.code, counts(listed)) == (0, "1 done, 0 failed, 0 skipped")


def test_a_job_notes_what_it_ran(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, code or configuration may change between the command and a queued job."""
    from mia_lab.sweeps import sweeper as sweeping

    monkeypatch.setattr(sweeping, "goal_key", lambda *_: "another time's")
    assert command(*TINY, "seed=0").code == 0
    monkeypatch.undo()
    assert counts(command(*TINY, "seed=0")).endswith("1 skipped (done before)")


@pytest.mark.slow
def test_a_job_of_an_earlier_command_is_waited_for(command: Command) -> None:
    """Whoever handed it in was killed: it is neither disturbed nor run a second time."""
    assert command(*TINY, "seed=0,1").code == 0
    sweep = folder_of(command)
    done = read_point(sweep / "1")
    assert done is not None
    (sweep / "1" / "kept").touch()
    with sweep_session(sweep) as session, unlocked_at_end(session, sweep, "1") as lock:
        assert lock.take()
        replace(done, state=State.RUNNING, where="node7:1").write()

        def end() -> None:
            done.write()
            lock.release()

        timer = threading.Timer(8, end)
        timer.start()
        again = command(*TINY, "seed=0,1")
        timer.join()
    assert (again.code, counts(again)) == (0, "0 done, 0 failed, 2 skipped (done before)")
    assert "point 1: waiting for a job at work on it (node7:1)" in again.out + again.err
    assert (sweep / "1" / "kept").exists()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("seed=range(0)", "the grid has no points"),
        ("hydra.sweep.subdir=x", "hydra.sweep.subdir=x: the folders of points are named by"),
        ("hydra.sweeper.max_batch_size=2", "hydra.sweeper.max_batch_size=2: all points are handed"),
    ],
)
def test_what_would_be_ignored_is_refused(command: Command, asked: str, reason: str) -> None:
    assert reason in command(*TINY, "until=split", asked).error


def test_numbers_of_jobs_are_those_of_points(command: Command) -> None:
    assert command(*TINY, "seed=0,1").code == 0
    sweep = folder_of(command)
    shutil.rmtree(sweep / "1")
    again = command(*TINY, "seed=0,1")
    told = re.findall("^#.*", again.out + again.err, re.MULTILINE)
    assert told == ["#1 seed=1: started", "#1: done; 1 of 1 points"]


@pytest.mark.slow
def test_the_log_tells_what_differs_and_how_long_it_takes(command: Command) -> None:
    ran = command.alone(*TINY, "seed=0,1,2")
    told = re.findall("^(?:#|Launching).*", ran.err, re.MULTILINE)
    assert [re.sub(r"about \d+ s", "about some s", line) for line in told] == [
        "#0 seed=0: started",
        "#0: done; 1 of 3 points, about some s left",
        "#1 seed=1: started",
        "#1: done; 2 of 3 points, about some s left",
        "#2 seed=2: started",
        "#2: done; 3 of 3 points",
    ]
    assert "+experiment" not in ran.err


LOCAL = ("hydra/launcher=local", "hydra.launcher.processes=1")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), pytest.param(LOCAL, marks=pytest.mark.slow)])
def test_an_interrupted_sweep_shows_its_points(command: Command, launcher: tuple[str, ...]) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # or it may be ignored
    try:
        asked = ("-m", "+experiment=tiny", "until=victim", "demo_epochs=1,5000,6000", *launcher)
        process = command.popen(*asked)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stderr
    while "#1 demo_epochs=5000: started" not in (line := process.stderr.readline()):
        assert line, "the sweep ended"
    wait_for(lambda: read_point(folder_of(command) / "1").state is State.RUNNING)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert "Traceback" not in err
    assert "3 points: 1 done, 0 failed, 0 skipped, 2 not run\n" in out
    rows = re.findall(r"^ +(\d) +(\w+) .*demo_epochs=(\d+)", out, re.MULTILINE)
    assert rows == [("0", "done", "1"), ("1", "planned", "5000"), ("2", "planned", "6000")]
    assert "the same command continues: it runs the 2 points left" in out
    sweep = folder_of(command).relative_to(command.folder)
    assert f"python -m mia_lab task=collect collect.dir={sweep}\n" in out


def test_a_failing_collection_is_told(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise UserError("no room for the page")

    monkeypatch.setattr("mia_lab.sweeps.sweeper.collect", broken)
    ran = command("-m", "+experiment=tiny", "attack.alpha=0,1")
    assert (ran.code, counts(ran)) == (2, "2 done, 0 failed, 0 skipped")
    assert "no room for the page" in ran.error
    ran = command("-m", "+experiment=tiny", "data.n_members=6,0")
    assert (ran.code, counts(ran)) == (1, "1 done, 1 failed, 0 skipped")


def test_changed_data_are_computed_again(command: Command, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "pairs" / "train").mkdir(parents=True)
    for number in range(16):
        picture = Image.effect_noise((64, 32), 50 + number).convert("RGB")
        picture.save(tmp_path / "pairs" / "train" / f"{number}.png")
    asked = (*TINY, "data=custom", f"data.root={tmp_path / 'pairs'}", "seed=0")
    assert counts(command(*asked)).startswith("1 done")
    assert counts(command(*asked)).endswith("1 skipped (done before)")
    for number in range(16):  # a point counts the images it uses
        picture = Image.effect_noise((64, 32), 90 + number).convert("RGB")
        picture.save(tmp_path / "pairs" / "train" / f"{number}.png")
    assert counts(command(*asked)) == "1 done, 0 failed, 0 skipped"


def test_a_changed_manifest_is_computed_again(command: Command) -> None:
    roles = [f"train/{n:06d},{'member' if n < 6 else 'nonmember'}" for n in range(12)]
    manifest = command.folder / "roles.csv"
    asked = (*TINY, "data.protocol=manifest", f"data.manifest={manifest}", "seed=0")
    for changed in (roles, [*roles[1:], "train/000020,member"]):
        manifest.write_text("\n".join(["id,role", *changed]) + "\n")
        assert counts(command(*asked)) == "1 done, 0 failed, 0 skipped"


def test_a_broken_point_harms_no_other(command: Command) -> None:
    ran = command(*TINY, "data.n_members=0,6,900000")
    assert ran.code == 1
    assert counts(ran) == "1 done, 2 failed, 0 skipped"
    assert "data.n_members=0: must be at least 1" in ran.out
    assert states(folder_of(command)) == [State.FAILED, State.DONE, State.FAILED]
    assert "Traceback" not in ran.err
    again = command(*TINY, "data.n_members=0,6,900000")
    assert counts(again) == "0 done, 2 failed, 1 skipped (done before)"


def test_a_typo_of_all_points_is_one_error(command: Command) -> None:
    ran = command(*TINY, "seed=0,1", "difficulty.rigde=3")
    assert 'did you mean "ridge"?' in ran.error
    ran = command(*TINY, "seed=0,1", "data.image_size=3")
    assert (
        "data.image_size=3: must be one side, or [width, height], of 16 to 8192 pixels" in ran.error
    )


def test_a_bug_is_told_with_its_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr("mia_lab.tasks.common.write_manifest", broken)
    ran = command(*TINY, "seed=0")
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
    assert command(*TINY, "seed=0").code == 0
    sweep = folder_of(command)
    with sweep_session(sweep) as session, unlocked_at_end(session, sweep, COMMAND) as lock:
        assert lock.take()
        assert "is at work on this sweep" in command(*TINY, "seed=0").error
    assert not list((sweep / ".sessions").iterdir())
    assert command(*TINY, "seed=0").code == 0


# wandb leaves temporary folders to the garbage collector.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
def test_points_are_runs_of_one_group(command: Command) -> None:
    # What changes no score makes runs of their own, too.
    ran = command(
        "-m", "+experiment=tiny", "evaluation.permutations=20,21", "tracking.mode=offline"
    )
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
    assert counts(ran) == "2 done, 0 failed, 0 skipped, fail_if holds for 1"
    assert "fail_if: auc/membership = " in ran.out
    # It is judged all the same: collected, and not run again.
    with (folder_of(command) / "results.csv").open(newline="") as file:
        assert {row["point"] for row in csv.DictReader(file)} == {"0", "1"}
    for number, failed in enumerate((True, False)):
        metrics = folder_of(command) / str(number) / "metrics.json"
        assert json.loads(metrics.read_text())["gate"]["failed"] is failed
    again = command("-m", "+experiment=tiny", gates)
    assert again.code == 3
    assert counts(again) == "0 done, 0 failed, 2 skipped (done before), fail_if holds for 1"


def test_named_sweeps_compose(command: Command) -> None:
    from hydra import compose, initialize_config_dir

    from mia_lab.config.compose import CONF, register_resolvers

    register_resolvers()
    for file in (CONF / "sweep").glob("*.yaml"):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", [f"+sweep={file.stem}"], return_hydra_config=True)
        assert cfg.hydra.sweeper.params
