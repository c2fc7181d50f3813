"""What the launcher makes of the answers of squeue, which a script gives here."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from mia_lab.sweeps import slurm as cluster
from mia_lab.sweeps.local import Job

SQUEUE = """#!/bin/sh
n=$(cat {folder}/asked 2>/dev/null || echo 0)
echo $((n + 1)) > {folder}/asked
sed -n "$((n + 1))p" {folder}/answers
[ "$n" -eq 2 ] && mv {folder}/late {folder}/result 2>/dev/null
exit 0
"""


def handed(folder: Path) -> cluster.Handed:
    job = Job(0, (), OmegaConf.create({}), None, None, {})  # type: ignore[arg-type]
    return cluster.Handed(job, "7_0", folder / "result", folder / "log")


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "squeue"
    script.write_text(SQUEUE.format(folder=tmp_path))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(cluster, "POLL_S", 0.01)
    monkeypatch.setattr(cluster, "ASK_S", 0.0)
    return tmp_path / "answers"


def status(found: Sequence[JobReturn]) -> JobStatus:
    return found[0].status


def test_a_job_that_is_queued_again_is_not_lost(tmp_path: Path, answers: Path) -> None:
    answers.write_text("7_0 NODE_FAIL 0\n7_0 RUNNING 0\n7_0 NODE_FAIL 0\n")
    done = JobReturn(status=JobStatus.COMPLETED)
    (tmp_path / "late").write_bytes(pickle.dumps(("success", done)))
    assert status(cluster._results([handed(tmp_path)])) is JobStatus.COMPLETED


def test_a_job_that_ended_twice_without_a_result_is_lost(tmp_path: Path, answers: Path) -> None:
    answers.write_text("7_0 RUNNING 0\n7_0 NODE_FAIL 0\n7_0 NODE_FAIL 0\n")
    (found,) = cluster._results([handed(tmp_path)])
    assert found.status is JobStatus.FAILED
    with pytest.raises(Exception, match="its node failed"):
        _ = found.return_value


def test_an_interruption_waits_until_all_jobs_are_known() -> None:
    known = False
    with pytest.raises(KeyboardInterrupt), cluster._uninterrupted():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        known = True
    assert known
