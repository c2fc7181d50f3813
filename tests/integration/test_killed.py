"""An audit that is killed at random moments, and the same command again."""

from __future__ import annotations

import csv
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from support import Command

AUDIT = (
    *("+experiment=tiny", "attack=all", "reference.count=4"),
    *("data.n_auxiliary=20", "evaluation.utility=true"),
)
KILLS = 10


def found(folder: Path) -> tuple[dict[str, Any], list[list[str]], dict[str, bytes]]:
    """The numbers of the newest audit, and every generator that was trained."""
    metrics = json.loads((folder / "outputs/latest/metrics.json").read_text())
    with (folder / "outputs/latest/scores.csv").open(newline="") as file:
        scores = list(csv.reader(file))
    generators = folder.glob("outputs/store/victim/*/victim.safetensors")
    return (
        {name: value for name, value in metrics.items() if name != "timing_s"},
        scores,
        {path.parent.name: path.read_bytes() for path in generators},
    )


def start(command: Command) -> tuple[Any, float]:
    """Start an audit in a process of its own; and when its first stage began."""
    process = command.popen(*AUDIT)
    while not list(command.folder.glob("outputs/store/*/*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process, time.monotonic()


@pytest.mark.slow
def test_an_audit_killed_at_ten_random_moments(command: Command) -> None:
    process, begin = start(command)
    _, err = process.communicate()
    duration = time.monotonic() - begin
    assert process.returncode == 0, err
    expected = found(command.folder)
    assert len(expected[2]) == 5  # the victim and four references

    rng = random.Random(0)
    moments = [duration * (part + rng.random()) / KILLS for part in range(KILLS)]
    killed = set()  # how many stages were stored
    for number, moment in enumerate(moments):
        again = Command(command.folder / f"killed-{number}")
        again.folder.mkdir()
        process, begin = start(again)
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
        stored = sum(again.computed.values())
        if process.returncode == -signal.SIGKILL:
            killed.add(stored)
        ran = again(*AUDIT)
        assert ran.code == 0, ran.err
        assert found(again.folder) == expected
        print(f"killed after {moment:.1f} of {duration:.1f} s, with {stored} stages stored")
    assert len(killed) > 3, killed
