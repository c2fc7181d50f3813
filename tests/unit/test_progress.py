"""Bars on a terminal, one line for each step everywhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from mia_lab import progress as module
from mia_lab.progress import progress, progress_bar
from support import Command

STEPS = """
from mia_lab.progress import progress, progress_bar
for _ in progress(range(3), "reading", "files"): pass
with progress_bar("training", 400, "steps") as bar:
    for _ in range(4): bar.update(100)
    bar.set_description("training, epoch 2")
for _ in progress(range(3), "fast", is_brief=True): pass
"""


def test_a_file_holds_one_line_for_each_step(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        subprocess.run([sys.executable, "-c", STEPS], stderr=file, check=True)
    log = (tmp_path / "log").read_bytes()
    lines = rb"reading: 3 files in 0\.\d s\ntraining, epoch 2: 400 steps in 0\.\d s\n"
    assert re.fullmatch(lines, log), log


def test_a_terminal_shows_bars() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 100))
    subprocess.run([sys.executable, "-c", STEPS], stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000)
    os.close(ours)
    assert b"\rreading: 100%" in shown
    assert b"\rtraining, epoch 2: 100%" in shown
    assert b"fast" not in shown


def test_a_step_that_ends_early_says_how_far_it_came(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), progress_bar("asking", 5) as bar:  # noqa: PT012
        bar.update(2)
        raise ValueError("broken")
    assert capfd.readouterr().err.startswith("asking: 2 of 5 images in ")


def test_a_brief_step_is_told_where_it_takes_long(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BRIEF_S", 0.2)
    for _ in progress([1, 2], "checking", is_brief=True):
        module.time.sleep(0.2)
    assert re.fullmatch(r"checking: 2 images in 0\.[4-9] s\n", capfd.readouterr().err)


@pytest.mark.slow
def test_the_log_of_an_audit_has_no_carriage_return(command: Command) -> None:
    process = [sys.executable, "-m", "mia_lab", "--config-dir", str(command.conf)]
    with (command.folder / "log").open("wb") as file:
        subprocess.run([*process, "+experiment=tiny"], cwd=command.folder, stderr=file, check=True)
    log = (command.folder / "log").read_bytes().decode()
    assert "\r" not in log
    for step in ("training, epoch 2, l1 .*: 4 steps", "querying the victim: .* images"):
        assert len(re.findall(rf"^{step} in \d+\.\d s$", log, re.MULTILINE)) == 1
