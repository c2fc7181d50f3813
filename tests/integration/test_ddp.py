"""Several training processes: the numbers of one, one line when they fail, and no orphans."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from support import Command, Ran

ALIKE = ("+experiment=tiny", "until=victim", "victim.dropout=0")
TWO = ("trainer=ddp", "trainer.devices=2")


def losses(folder: Path) -> list[dict[str, float]]:
    (path,) = folder.glob("victim/*/losses.csv")
    with path.open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(command: Command) -> None:
    training = (*ALIKE, "demo_epochs=3", "victim.keep_epochs=[2]")
    one = command(*training, "paths.store=one")
    two = command(*training, *TWO, "paths.store=two")
    assert one.code == 0, one.err
    assert two.code == 0, two.err
    rows = zip(losses(command.folder / "one"), losses(command.folder / "two"), strict=True)
    for mine, theirs in rows:
        assert mine == pytest.approx(theirs, abs=1e-4, rel=0)
    for name in ("victim.safetensors", "epochs/0002.safetensors"):
        a, b = (weights(command.folder / store, name) for store in ("one", "two"))
        for key in a:
            assert (a[key] - b[key]).abs().max() < 1e-3, key


def weights(store: Path, name: str) -> dict[str, torch.Tensor]:
    (path,) = store.glob(f"victim/*/{name}")
    return load_file(path)


def children(pid: int) -> list[int]:
    """The training processes that a command has started."""
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True
    )
    lines = [line.split(maxsplit=1) for line in found.stdout.splitlines()]
    return [int(number) for number, command in lines if "spawn_main" in command]


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def training_in_two(command: Command, beyond: int = -1) -> tuple[subprocess.Popen[str], list[int]]:
    """A command whose checkpoint is beyond an epoch, and its training processes."""
    process = command.popen(*ALIKE, *TWO, "demo_epochs=10000")
    while epoch(command.folder) <= beyond:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    team = children(process.pid)
    assert len(team) == 2
    return process, team


def epoch(folder: Path) -> int:
    """That of the checkpoint, from 0."""
    for path in folder.glob("outputs/store/victim/*.partial/resume/last.ckpt"):
        return int(torch.load(path, weights_only=True)["epoch"])
    return -1


def all_gone(pids: list[int]) -> bool:
    end = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.mark.slow
def test_training_processes_end_with_a_killed_command(command: Command) -> None:
    process, team = training_in_two(command)
    process.kill()
    process.communicate(timeout=60)
    assert all_gone(team)


@pytest.mark.slow
def test_a_killed_training_process_is_named_and_the_command_resumes(command: Command) -> None:
    process, team = training_in_two(command)
    os.kill(team[1], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    ran = Ran(process.returncode, out, err, command.folder)
    assert "training process 1 was killed by signal 9" in ran.error
    assert all_gone(team)
    reached = epoch(command.folder)

    process, team = training_in_two(command, beyond=reached)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"training resumes after epoch {reached + 1}" in err
    assert "Traceback" not in err
    assert all_gone(team)


def test_a_batch_that_cannot_be_divided(command: Command) -> None:
    ran = command(*ALIKE, "trainer=ddp", "trainer.devices=3")
    assert "trainer.devices=3" in ran.error
