"""Sweeps on a real SLURM of two nodes: whatever happens to a job, the results stay the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import slurm_cluster
from slurm_cluster import Cluster, running_cluster, wait_for
from support import Command

if reason := slurm_cluster.missing():
    pytest.skip(reason, allow_module_level=True)

# Signals come before the limit: so early that a limit of one minute is over at once.
SLURM = ("hydra/launcher=slurm", "hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=9")
FOLDER = "hydra.sweep.dir=sweep"
DIFFERING = {"timing_s", "record", "command"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def on_cluster(command: Command, cluster: Cluster) -> Iterator[Command]:
    command.environment.update(cluster.environment)
    yield command
    cluster.cancel_all()  # else the next test meets the jobs of one that failed


def results(sweep: Path, n: int) -> list[dict[str, Any]]:
    """What the points have found, all but what tells one run from another."""
    found = [json.loads((sweep / str(i) / "metrics.json").read_text()) for i in range(n)]
    return [{k: v for k, v in one.items() if k not in DIFFERING} for one in found]


def weights(store: Path) -> dict[str, bytes]:
    """The trained victims, by key."""
    return {p.parent.name: p.read_bytes() for p in store.glob("victim/*/victim.safetensors")}


def states(sweep: Path) -> set[str]:
    """Those of the points that keep a note."""
    return {json.loads(p.read_text())["state"] for p in sweep.glob("*/point.json")}


def note(point: Path) -> dict[str, Any]:
    return json.loads((point / "point.json").read_text())


def training(folder: Path) -> int:
    """How many trainings could go on from a checkpoint."""
    return len(list(folder.glob("outputs/store/victim/*.partial/resume/last.ckpt")))


def finish(process: subprocess.Popen[str], timeout: float = 300) -> str:
    out, err = process.communicate(timeout=timeout)
    return out + err


def by_array(cluster: Cluster, n: int) -> list[str]:
    """The newest jobs in the order of their points, once they are queued."""
    wait_for(lambda: len([s for s in cluster.jobs().values() if s in slurm_cluster.LIVE]) == n)
    live = [job for job, state in cluster.jobs().items() if state in slurm_cluster.LIVE]
    return sorted(live, key=lambda job: int(job.partition("_")[2] or 0))


CI_ONLY = pytest.mark.skipif(not os.environ.get("CI"), reason="starts SLURM: with CI set only")


@CI_ONLY
def test_killed_job_is_made_up_for(on_cluster: Command, cluster: Cluster, tmp_path: Path) -> None:
    tiny = ("+experiment=tiny", "demo_epochs=60", "until=victim")
    sweep = ("-m", *tiny, "seed=1,2", FOLDER, *SLURM)
    sweep = (*sweep, "hydra.launcher.cpus_per_task=1")
    process = on_cluster.popen(*sweep)
    victim = by_array(cluster, 2)[1]
    wait_for(lambda: training(tmp_path) == 2)
    os.kill(cluster.process(victim), signal.SIGKILL)
    shown = finish(process)
    assert process.returncode != 0 or states(tmp_path / "sweep") == {"done", "running"}
    assert "killed by signal 9" in shown
    assert shown.count(": done") == 1, shown
    again = on_cluster.alone(*sweep)
    assert again.code == 0, again.err
    assert states(tmp_path / "sweep") <= {"done"}
    alone = on_cluster(*tiny, "seed=2", "paths.outputs=alone")
    assert alone.code == 0, alone.err
    undisturbed = weights(tmp_path / "alone/store")
    assert len(undisturbed) == 1
    assert undisturbed.items() <= weights(tmp_path / "outputs/store").items()


@CI_ONLY
def test_more_points_than_an_array_may_have(on_cluster: Command, tmp_path: Path) -> None:
    grid = ("-m", "+experiment=tiny", "until=split", "seed=range(6)", FOLDER, *SLURM)
    ran = on_cluster.alone(*grid, "hydra.launcher.cpus_per_task=1")
    assert ran.code == 0, ran.err
    assert "6 points: 6 done" in ran.out
    arrays = {p.name.partition("_")[0] for p in (tmp_path / "sweep/jobs").glob("[0-9]*")}
    assert len(arrays) == 2


@CI_ONLY
def test_points_of_a_job_that_dies(on_cluster: Command, cluster: Cluster, tmp_path: Path) -> None:
    """Points before the one at work are done; that one and those after it are lost."""
    grid = ("-m", "+experiment=tiny", "until=victim", "demo_epochs=1,3000,2,3,4,5", FOLDER)
    grid = (*grid, *SLURM, "hydra.launcher.cpus_per_task=1", "hydra.launcher.points_per_job=3")
    process = on_cluster.popen(*grid)
    job = by_array(cluster, 2)[0]
    wait_for(lambda: note(tmp_path / "sweep/1")["state"] == "running", 120)
    wait_for(lambda: training(tmp_path) >= 1)
    os.kill(cluster.process(job), signal.SIGKILL)
    shown = finish(process)
    assert process.returncode == 1, shown
    notes = [note(tmp_path / "sweep" / str(number)) for number in range(6)]
    assert [n["state"] for n in notes] == ["done", "failed", "failed", "done", "done", "done"]
    assert {n["reason"] for n in notes[1:3]} == {"killed by signal 9 (too little memory?)"}
    # One process ran the points of a job.
    assert notes[0]["where"] == notes[1]["where"]
    assert len({n["where"] for n in notes[3:]}) == 1
    assert notes[0]["where"] != notes[3]["where"]


@CI_ONLY
def test_interrupted_command_cancels_its_jobs(on_cluster: Command, cluster: Cluster) -> None:
    one_cpu = "hydra.launcher.cpus_per_task=1"
    process = on_cluster.popen("-m", "+experiment=tiny", "seed=3,4", *SLURM, one_cpu)
    jobs = by_array(cluster, 2)
    process.send_signal(signal.SIGINT)
    assert "interrupted" in finish(process)
    wait_for(lambda: {cluster.jobs()[job] for job in jobs} == {"CANCELLED"})


@pytest.mark.slurm
def test_interruptions_change_no_result(
    on_cluster: Command, cluster: Cluster, tmp_path: Path
) -> None:
    """One job preempted, one killed, one at its time limit, one driven from a drained node."""
    sweep = ("-m", "+experiment=tiny", "demo_epochs=1500", "seed=1,2,3,4")
    sweep = (*sweep, "trainer.checkpoint_every_s=1")
    reference = on_cluster.alone(
        *sweep, "hydra/launcher=local", "paths.outputs=ref", "hydra.sweep.dir=undisturbed"
    )
    assert reference.code == 0, reference.err
    # One job a node; at its limit of a minute a job is warned at once.
    sweep = (*sweep, FOLDER, *SLURM, "hydra.launcher.cpus_per_task=2")
    sweep = (*sweep, "hydra.launcher.signal_delay_s=50")
    process = on_cluster.popen(*sweep)
    preempted, killed, late, driven = by_array(cluster, 4)

    wait_for(lambda: training(tmp_path) == 2)
    node = cluster.node(preempted)
    cluster.ask(
        *("sbatch", "--partition=high", f"--nodelist={node}", "--cpus-per-task=2"),
        *("--output=/dev/null", "--wrap=sleep 1"),
    )
    wait_for(lambda: cluster.jobs()[preempted] == "PENDING")
    os.kill(cluster.process(killed), signal.SIGKILL)

    for job in (late, driven):
        wait_for(lambda job=job: cluster.jobs()[job] == "RUNNING")  # type: ignore[misc]
    wait_for(lambda: training(tmp_path) == 4)  # those of two jobs that have been stopped, too
    cluster.ask("scontrol", "update", f"JobId={late}", "TimeLimit=1")
    node = cluster.node(driven)
    cluster.ask("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    cluster.ask("scontrol", "requeue", driven)
    wait_for(lambda: cluster.jobs()[late] == "PENDING", 90)
    cluster.ask("scontrol", "update", f"JobId={late}", "TimeLimit=9")
    for job in (preempted, late, driven):
        cluster.release(job)

    shown = finish(process)
    cluster.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert shown.count(": done") == 3, shown
    assert shown.count("killed by signal 9") >= 1, shown
    logs = "".join(p.read_text() for p in (tmp_path / "sweep").glob("jobs/*/*.err"))
    assert logs.count("training resumes after epoch") == 3, logs
    again = on_cluster.alone(*sweep)
    assert again.code == 0, again.err
    assert states(tmp_path / "sweep") <= {"done"}
    assert results(tmp_path / "sweep", 4) == results(tmp_path / "undisturbed", 4)
    assert weights(tmp_path / "outputs/store") == weights(tmp_path / "ref/store")


@pytest.mark.slurm
def test_two_training_processes_in_a_job(
    on_cluster: Command, cluster: Cluster, tmp_path: Path
) -> None:
    """A warned job ends with its processes, is queued again and goes on."""
    tiny = ("+experiment=tiny", "demo_epochs=60", "until=victim", "seed=1")
    tiny = (*tiny, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
    assert on_cluster.alone(*tiny, "paths.outputs=ref").code == 0
    process = on_cluster.popen("-m", *tiny, FOLDER, *SLURM, "hydra.launcher.cpus_per_task=2")
    (job,) = by_array(cluster, 1)
    wait_for(lambda: training(tmp_path) == 1)
    cluster.ask("scancel", "--signal=USR2", job)
    cluster.release(job)
    shown = finish(process)
    assert process.returncode == 0, shown
    (log,) = (tmp_path / "sweep/jobs").glob("*/*_log.err")
    assert "training in 2 processes" in log.read_text()
    assert "training resumes after epoch" in log.read_text()
    assert weights(tmp_path / "outputs/store") == weights(tmp_path / "ref/store")
