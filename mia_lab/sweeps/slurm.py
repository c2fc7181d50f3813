"""Jobs of a sweep on a SLURM cluster: handed in by submitit, watched by squeue."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from mia_lab.errors import UserError
from mia_lab.sweeps.local import Job, announce, interruptible, outcome, result_of

log = logging.getLogger(__name__)

POLL_S = 1.0
"""Between two looks for results."""

ASK_S = 10.0
"""Between two questions to the cluster. It knows of cancelled and killed jobs, which leave no
result; so does ``sacct``, but clusters without accounting have none."""

COMMON = {
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

GONE = "GONE"

ENDS = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "cancelled",
    "COMPLETED": "ended without a result",
    "DEADLINE": "past its deadline",
    "FAILED": "",  # its exit code tells
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "killed, out of memory (hydra.launcher.mem_gb)",
    "TIMEOUT": "time limit (hydra.launcher.timeout_min)",
    GONE: "the cluster does not know it any more",
}
"""The states that a job does not leave, in words."""


@dataclass
class Handed:
    """A job in the cluster's hands.

    Attributes:
        id: the cluster's name of it.
        result, log: its files.
        ended: why it ended, as the cluster said when last asked; "" where it had not ended.
    """

    job: Job
    id: str
    result: Path
    log: Path
    ended: str = ""


def run_there(jobs: Sequence[Job], parameters: Mapping[str, Any]) -> list[JobReturn]:
    """Run jobs on a SLURM cluster, in an array, and wait for all of them.

    Preempted jobs and those at their time limit are queued again and go on from the store. An
    interruption cancels the jobs; a launcher that is killed leaves them alone.

    Args:
        jobs: all of them, in order.
        parameters: submitit's, see ``conf/hydra/launcher/slurm.yaml``.

    Raises:
        UserError: this machine has no SLURM, or it refuses the jobs.
    """
    if missing := [name for name in ("sbatch", "srun", "squeue") if not shutil.which(name)]:
        raise UserError(
            f"hydra/launcher=slurm: {missing[0]} is not found on this machine; run the command on "
            "a machine from which SLURM takes jobs, or with hydra/launcher=local"
        )
    handed: list[Handed] = []
    with interruptible():
        try:
            with _uninterrupted():  # what arrives in here is raised when it is left
                handed += _hand_in(jobs, dict(parameters))
            for one in handed:
                log.info("%s: queued, job %s", one.job, one.id)
            return _results(handed)
        except BaseException:
            _cancel(handed)
            raise


def _hand_in(jobs: Sequence[Job], parameters: dict[str, Any]) -> list[Handed]:
    from submitit import AutoExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = AutoExecutor(
        folder=parameters.pop("submitit_folder"),
        cluster="slurm",
        slurm_max_num_timeout=parameters.pop("max_num_timeout"),
    )
    try:
        executor.update_parameters(
            **{k if k in COMMON else f"slurm_{k}": v for k, v in parameters.items()}
        )
    except (ValueError, TypeError, NameError) as error:
        raise _refused("the settings", error) from error
    try:
        with executor.batch():
            queued = [executor.submit(job) for job in jobs]
    except (FailedJobError, FailedSubmissionError) as error:
        raise _refused("the jobs", error) from error
    return [
        Handed(job, q.job_id, q.paths.result_pickle, q.paths.stderr)
        for job, q in zip(jobs, queued, strict=True)
    ]


def _refused(what: str, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
    return UserError(
        f"hydra/launcher=slurm: {what} were refused ({reason}); see hydra.launcher.partition and "
        "the keys beside it"
    )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Within, Ctrl-C and its like wait, so that no job is handed in that nobody knows of."""
    arrived: list[int] = []
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {n: h for n in asked if (h := signal.getsignal(n)) is not signal.SIG_IGN}
    for number in handlers:
        signal.signal(number, lambda number, _: arrived.append(number))
    # Blocked, too: sbatch inherits it, and finishes what it has begun.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, asked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in dict.fromkeys(arrived):
            signal.raise_signal(late)


def _results(handed: Sequence[Handed]) -> list[JobReturn]:
    done: dict[str, JobReturn] = {}
    asked, silent = time.monotonic(), False
    while waiting := [one for one in handed if one.id not in done]:
        time.sleep(POLL_S)
        ask = time.monotonic() - asked > ASK_S
        if ask:
            asked = time.monotonic()
            states = _states([one.id for one in waiting])
            if states is None and silent is False:
                log.warning("the cluster does not answer squeue; waiting for it")
            silent = states is None
        for one in waiting:
            result = result_of(one.job, one.result)
            if ask and states is not None and result is None:
                # Shared disks show files late: a lost job is one that had ended the last time, too.
                before, one.ended = one.ended, states.get(one.id, ENDS[GONE])
                result = one.job.lost(one.ended) if before and one.ended else None
            if result is not None:
                done[one.id] = result
                announce(one.job, result, one.log)
    return [done[one.id] for one in handed]


def _states(ids: Sequence[str]) -> dict[str, str] | None:
    """Why each job ended, "" for those that go on; None where the cluster does not answer."""
    arrays = ",".join(sorted({name.partition("_")[0] for name in ids}))
    query = ("--noheader", "--array", "--states=all", f"--jobs={arrays}")
    columns = "--Format=JobArrayID:40,State:24,exit_code:16"
    asked = subprocess.run(["squeue", *query, columns], capture_output=True, text=True)
    if asked.returncode:
        # So it answers when it has forgotten all of them, which it does after some minutes.
        return {} if "Invalid job id" in asked.stderr else None
    rows = (line.split() for line in asked.stdout.splitlines())
    return {row[0]: _why(row[1], row[2]) for row in rows if len(row) == 3}


def _why(state: str, code: str) -> str:
    if state != "FAILED":
        return ENDS.get(state, "")
    # One number as wait() has it, or two: status and signal.
    status, _, number = code.partition(":")
    if not number:
        return outcome(os.waitstatus_to_exitcode(int(status)))
    return outcome(-int(number) or int(status))


def _cancel(handed: Sequence[Handed]) -> None:
    if arrays := sorted({one.id.partition("_")[0] for one in handed}):
        log.warning("cancelling jobs %s", ", ".join(arrays))
        subprocess.run(["scancel", *arrays], check=False)
