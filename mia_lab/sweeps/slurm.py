"""Points of a sweep on a SLURM cluster: submitted by submitit, watched with squeue."""

from __future__ import annotations

import logging
import math
import os
import pickle
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig
from submitit import AutoExecutor
from submitit.core.utils import (
    DelayedSubmission,
    FailedJobError,
    FailedSubmissionError,
    UncompletedJobError,
)

from mia_lab import process
from mia_lab.errors import UserError
from mia_lab.sweeps.course import Course, started
from mia_lab.sweeps.interruption import interruptible, uninterrupted
from mia_lab.sweeps.point import Point, State, read_point
from mia_lab.sweeps.program import Program, exit_reason, lost

log = logging.getLogger(__name__)

POLL_S = 1.0
"""Between two looks for results."""

QUERY_S = 10.0
"""Between two calls of squeue. It knows of cancelled and killed jobs, which leave no result; so
does ``sacct``, but clusters without accounting have none."""

COMMON_PARAMETERS = {
    "name",
    "nodes",
    "tasks_per_node",
    "cpus_per_task",
    "gpus_per_node",
    "mem_gb",
    "timeout_min",
    "stderr_to_stdout",
}
"""Parameters that submitit has on all kinds of clusters; the other names get a prefix."""

ARRAY_TOO_LARGE = "Invalid job array specification"
"""What sbatch says to an array that is larger than the cluster allows."""

END_REASONS = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "cancelled",
    "COMPLETED": "ended without a result",
    "DEADLINE": "past its deadline",
    "FAILED": "",  # its exit code says why
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "killed, out of memory (hydra.launcher.mem_gb)",
    "TIMEOUT": "time limit (hydra.launcher.timeout_min)",
}
"""Final states of a job, with their descriptions."""

UNKNOWN_JOB = "the cluster does not know it any more"

TIME_LIMIT = "time limit, too often (hydra.launcher.timeout_min, max_num_timeout)"


@dataclass(frozen=True)
class PointsJob:
    """What one job of the cluster does: some points, one after another, in one process."""

    program: Program
    points: tuple[Point, ...]
    configs: tuple[DictConfig, ...]

    def __call__(self) -> list[JobReturn]:
        """Run the points. Those that are done already, before a requeue, do not run again."""
        process.keep_memory()
        self.program.enter()
        returns: list[JobReturn] = []
        for point, config in zip(self.points, self.configs, strict=True):
            returns.append(self.program.run(point, config))
            if isinstance(returns[-1]._return_value, UncompletedJobError):
                break  # the time of the job is over
        return returns

    def checkpoint(self) -> DelayedSubmission:
        """What runs after an interruption: the same, which goes on from the store."""
        return DelayedSubmission(self)


@dataclass
class QueuedJob:
    """A job that the cluster has accepted.

    Attributes:
        points: that it runs.
        id: the cluster's name of it.
        result: file that submitit writes when the job ends.
        output: file with what it prints.
        end_reason: why it ended, as squeue said last; "" while it runs.
    """

    points: tuple[Point, ...]
    id: str
    result: Path
    output: Path
    end_reason: str = ""

    def returns(self) -> list[JobReturn] | None:
        """The outcome of each point; None if the job has left no result."""
        try:
            kind, content = pickle.loads(self.result.read_bytes())
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged pickle, or one of another version, raises anything
            return self.lost(f"its result cannot be read ({error})")
        if kind != "success":
            return self.lost(_message_of_traceback(str(content)))
        returns: list[JobReturn] = []
        for index, point in enumerate(self.points):
            done = content[index] if index < len(content) else None
            if done is None or isinstance(done._return_value, UncompletedJobError):
                done = lost(point, TIME_LIMIT)
            returns.append(done)
        return returns

    def lost(self, reason: str) -> list[JobReturn]:
        """The outcome of each point if the job died: notes say which ones were done before."""
        return [_return_of_note(point) or lost(point, reason) for point in self.points]


def _message_of_traceback(text: str) -> str:
    """The error of a traceback, in one line: what follows the frames, without details below it."""
    lines = text.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    below = lines[frames[-1] + 1 :] if frames else lines
    return next((line for line in below if line and not line[0].isspace()), "no reason given")


def _return_of_note(point: Point) -> JobReturn | None:
    """How a point ended, as its note says; None if it has no note, or has not ended."""
    try:
        note = read_point(point.folder)
    except UserError:
        return None
    if note is None or not note.has_ended:
        return None
    if note.state is State.FAILED:
        return lost(point, note.reason)
    return JobReturn(status=JobStatus.COMPLETED)


def run_on_cluster(
    points: Sequence[Point], program: Program, parameters: Mapping[str, Any]
) -> list[JobReturn]:
    """Run points on a SLURM cluster, and wait for all of them.

    Preempted jobs and those at their time limit are queued again and go on from the store. An
    interruption cancels the jobs; a launcher that is killed leaves them alone.

    Args:
        points: all of them, in order.
        program: what they run.
        parameters: see ``conf/hydra/launcher/slurm.yaml``.

    Raises:
        UserError: this machine has no SLURM, or it refuses the jobs.
    """
    if missing := [name for name in ("sbatch", "srun", "squeue") if not shutil.which(name)]:
        raise UserError(
            f"hydra/launcher=slurm: {missing[0]} is not found on this machine; run the command on "
            "a machine from which SLURM takes jobs, or with hydra/launcher=local"
        )
    parameters = dict(parameters)
    jobs = _jobs(points, program, parameters.pop("points_per_job"))
    queued: list[QueuedJob] = []
    with interruptible():
        try:
            with uninterrupted():  # no job is submitted that nobody knows of
                _submit(jobs, parameters, queued)
            for job in queued:
                for point in job.points:
                    started(point, f"queued, job {job.id}")
            return _wait(queued)
        except BaseException:
            _cancel(queued)
            raise


def _jobs(points: Sequence[Point], program: Program, points_per_job: int) -> list[PointsJob]:
    if points_per_job < 1:
        raise UserError(f"hydra.launcher.points_per_job={points_per_job}: must be at least 1")
    parts = [
        tuple(points[start : start + points_per_job])
        for start in range(0, len(points), points_per_job)
    ]
    return [PointsJob(program, part, tuple(map(program.compose, part))) for part in parts]


def _submit(jobs: Sequence[PointsJob], parameters: dict[str, Any], queued: list[QueuedJob]) -> None:
    """Submit jobs in as few arrays as the cluster allows.

    Args:
        jobs: all of them.
        parameters: submitit's.
        queued: grows with every array, so that an error later leaves no job unknown.
    """
    parallelism = parameters.pop("array_parallelism")
    executor = AutoExecutor(
        folder=parameters.pop("submitit_folder"),
        cluster="slurm",
        slurm_max_num_timeout=parameters.pop("max_num_timeout"),
    )
    try:
        executor.update_parameters(
            **{k if k in COMMON_PARAMETERS else f"slurm_{k}": v for k, v in parameters.items()}
        )
    except (ValueError, TypeError, NameError) as error:
        raise _refused("the settings", error) from error
    limit = _array_limit()
    while len(queued) < len(jobs):
        arrays = math.ceil(len(jobs) / limit)
        executor.update_parameters(slurm_array_parallelism=max(1, parallelism // arrays))
        part = jobs[len(queued) : len(queued) + limit]
        try:
            queued += _submit_array(executor, part)
        except (FailedJobError, FailedSubmissionError) as error:
            if ARRAY_TOO_LARGE not in str(error) or len(part) == 1:
                raise _refused("the jobs", error) from error
            limit = len(part) // 2


def _submit_array(executor: AutoExecutor, jobs: Sequence[PointsJob]) -> list[QueuedJob]:
    with executor.batch():
        submitted = [executor.submit(job) for job in jobs]
    return [
        QueuedJob(job.points, s.job_id, s.paths.result_pickle, s.paths.stderr)
        for job, s in zip(jobs, submitted, strict=True)
    ]


def _array_limit() -> int:
    """How many jobs an array may have; SLURM's default where the cluster does not say."""
    found = 1001
    with_scontrol = shutil.which("scontrol")
    if with_scontrol is None:
        return found
    shown = subprocess.run([with_scontrol, "show", "config"], capture_output=True, text=True)
    for line in shown.stdout.splitlines():
        name, _, value = map(str.strip, line.partition("="))
        if name == "MaxArraySize" and value.isdecimal():
            found = int(value)
    return max(1, found)


def _refused(what: str, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
    return UserError(
        f"hydra/launcher=slurm: {what} were refused ({reason}); see hydra.launcher.partition and "
        "the keys beside it"
    )


def _wait(queued: Sequence[QueuedJob]) -> list[JobReturn]:
    """Wait until every job has left a result or has ended without one."""
    ended: dict[str, list[JobReturn]] = {}
    last_query, answers = time.monotonic(), True
    course = Course(sum(len(job.points) for job in queued))
    while waiting := [job for job in queued if job.id not in ended]:
        time.sleep(POLL_S)
        end_reasons: dict[str, str] | None = None
        if time.monotonic() - last_query > QUERY_S:
            last_query = time.monotonic()
            end_reasons = _end_reasons([job.id for job in waiting])
            if end_reasons is None and answers:
                log.warning("the cluster does not answer squeue; waiting for it")
            answers = end_reasons is not None
        for job in waiting:
            returns = job.returns()
            if returns is None and end_reasons is not None:
                # Shared disks show files late: a job is lost if it had ended the last time, too.
                before, job.end_reason = job.end_reason, end_reasons.get(job.id, UNKNOWN_JOB)
                returns = job.lost(job.end_reason) if before and job.end_reason else None
            if returns is not None:
                ended[job.id] = returns
                for point, done in zip(job.points, returns, strict=True):
                    course.ended(point, done, job.output)
    return [done for job in queued for done in ended[job.id]]


def _end_reasons(ids: Sequence[str]) -> dict[str, str] | None:
    """Why each job ended, "" for those that go on; None where the cluster does not answer."""
    arrays = ",".join(sorted({name.partition("_")[0] for name in ids}))
    query = ("--noheader", "--array", "--states=all", f"--jobs={arrays}")
    columns = "--Format=JobArrayID:40,State:24,exit_code:16"
    shown = subprocess.run(["squeue", *query, columns], capture_output=True, text=True)
    if shown.returncode:
        # The error of a cluster that has forgotten all of them, which it does after some minutes.
        return {} if "Invalid job id" in shown.stderr else None
    rows = (line.split() for line in shown.stdout.splitlines())
    return {row[0]: _end_reason(row[1], row[2]) for row in rows if len(row) == 3}


def _end_reason(state: str, code: str) -> str:
    if state != "FAILED":
        return END_REASONS.get(state, "")
    # One number as wait() has it, or two: status and signal.
    status, _, number = code.partition(":")
    if not number:
        return exit_reason(os.waitstatus_to_exitcode(int(status)))
    return exit_reason(-int(number) or int(status))


def _cancel(queued: Sequence[QueuedJob]) -> None:
    if arrays := sorted({job.id.partition("_")[0] for job in queued}):
        log.warning("cancelling jobs %s", ", ".join(arrays))
        subprocess.run(["scancel", *arrays], check=False)
