"""The log file of a run: a full disk ends the log, not the run."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mia_lab.tasks.run_log import RunLog


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("mia_lab", logging.INFO, "file", 1, message, arguments, None)


def test_a_full_disk_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog("/dev/full")
    for _ in range(3):
        log.handle(record("a line"))
    log.flush()
    assert capsys.readouterr().err == "/dev/full: the log ends here (No space left on device)\n"
    with pytest.raises(OSError, match="No space left"):
        log.close()  # as logging.shutdown expects


def test_a_file_that_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(tmp_path / "folder" / "run.log", delay=True)
    log.handle(record("a line"))
    log.handle(record("a line"))
    assert capsys.readouterr().err.endswith(
        "run.log: the log ends here (No such file or directory)\n"
    )
    log.close()


def test_lines_are_written_and_mistakes_in_them_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RunLog(tmp_path / "run.log")
    log.handle(record("a line"))
    log.handle(record("%d", "no number"))
    log.close()
    assert (tmp_path / "run.log").read_text() == "a line\n"
    assert "TypeError" in capsys.readouterr().err
