"""Jobs of a sweep in processes of their own: one that dies harms no other, none is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from slurm_cluster import wait_for
from support import Command

LONG = ("-m", "+experiment=tiny", "until=victim", "demo_epochs=2000", "hydra/launcher=local")


def started(process: subprocess.Popen[str], n: int) -> list[int]:
    """The processes of the first jobs."""
    assert process.stderr
    found: list[int] = []
    while len(found) < n and (line := process.stderr.readline()):
        found += map(int, re.findall(r"started, process (\d+)", line))
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow
def test_killed_job_harms_no_other(command: Command) -> None:
    process = command.popen(*LONG[:-2], "demo_epochs=2", LONG[-1], "seed=1,2,3")
    first, _ = started(process, 2)
    os.kill(first, signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "3 points: 2 done, 1 failed, 0 skipped" in out
    assert re.search(r"0 +failed .*seed=1 +killed by signal 9 \(too little memory\?\)", out), out
    assert len(list(command.folder.glob("outputs/store/victim/*/victim.safetensors"))) == 2


@pytest.mark.slow
def test_failed_job_says_why(command: Command) -> None:
    process = command.popen(*LONG[:-2], "demo_epochs=1", LONG[-1], "data.n_members=6,100000")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search(r"0 +done .*data.n_members=6", out), out
    assert re.search(r"1 +failed .*data.n_members=100000 ", out), out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_job_outlives_its_launcher(command: Command, number: int) -> None:
    process = command.popen(*LONG, "seed=1,2,3")
    jobs = started(process, 2)
    wait_for(lambda: list(command.folder.glob("outputs/store/victim/*.partial/resume/last.ckpt")))
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    end = time.monotonic() + 10
    while not all(map(gone, jobs)):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_nohup_is_obeyed(command: Command) -> None:
    """A terminal that closes ends no sweep that was told to ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = command.popen(*LONG[:-2], "demo_epochs=2", LONG[-1], "seed=1,2")
    finally:
        signal.signal(signal.SIGHUP, before)
    started(process, 1)
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "2 points: 2 done" in out


@pytest.mark.parametrize("launcher", ["slurm", "my_cluster"])
def test_slurm_needs_slurm(command: Command, launcher: str) -> None:
    command.conf = Path(__file__).parents[2] / "experiments" / "templates" / "conf"
    command.environment["PATH"] = str(command.folder)
    ran = command("-m", "seed=1,2", f"hydra/launcher={launcher}")
    assert "hydra/launcher=slurm: sbatch is not found on this machine" in ran.error
    assert not list(command.folder.glob("outputs/store/*"))


def test_at_least_one_process(command: Command) -> None:
    ran = command("-m", "+experiment=tiny", "hydra/launcher=local", "hydra.launcher.processes=0")
    assert "hydra.launcher.processes=0: must be at least 1" in ran.error
