"""Folders that change under a run, or may not be entered: one line that names them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from mia_lab.stages.split import SplitStage
from mia_lab.store import Store
from mia_lab.tasks import audit
from support import Command

TINY = "+experiment=tiny"
STARTED_AGAIN = "run the command again"


def delete(command: Command, pattern: str) -> None:
    (folder,) = command.folder.glob(pattern)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("outputs", "outputs: was deleted while"),
        ("outputs/runs", "the run's folder was deleted while the run was going"),
    ],
)
def test_a_folder_that_is_deleted_while_a_run_uses_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, pattern: str, named: str
) -> None:
    compute = SplitStage.compute

    def deleting(stage: SplitStage, folder: Path, store: Store) -> None:
        delete(command, pattern)
        compute(stage, folder, store)

    monkeypatch.setattr(SplitStage, "compute", deleting)
    error = command(TINY, "until=split").error
    assert named in error
    assert STARTED_AGAIN in error


def test_the_runs_folder_is_deleted_before_the_report(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = audit.audit_report

    def deleting(*arguments: object) -> object:
        delete(command, "outputs/runs/*/*")
        return report(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(audit, "audit_report", deleting)
    error = command(TINY, "report.pictures=false").error
    assert "outputs/runs/facades_pix2pix/" in error
    assert "the run's folder was deleted while the run was going" in error
    computed = command.computed
    monkeypatch.undo()
    assert command(TINY, "report.pictures=false").code == 0
    assert command.computed == computed


def test_a_permission_that_is_missing_anywhere(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/mine")

    monkeypatch.setattr(SplitStage, "compute", refused)
    expected = "error: /data/mine: Permission denied; correct its permissions"
    assert command(TINY, "until=split").error.startswith(expected)
