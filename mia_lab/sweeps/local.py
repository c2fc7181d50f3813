"""Jobs of a sweep in processes of their own: what travels there, and the processes of this machine.

A job ends with a `JobReturn` whatever becomes of it, so that no job harms another.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from mia_lab.cli import prepare
from mia_lab.errors import UserError
from mia_lab.sweeps.point import reason_of

log = logging.getLogger(__name__)

POLL_S = 0.1

GRACE_S = 5.0
"""How long a job has to end on SIGTERM before it is killed."""


class JobLostError(UserError):
    """A job ended without a result: killed, cancelled, or out of time."""


@dataclass(frozen=True)
class Job:
    """One job of a sweep, complete: it runs in any process that can import the program.

    Attributes:
        number: of the point in the sweep.
        overrides: what its configuration is composed from, beside the sweep's own.
        config: the sweep's configuration.
        context, function: Hydra's, and the program itself.
        singletons: Hydra's state.
    """

    number: int
    overrides: tuple[str, ...]
    config: DictConfig
    context: HydraContext
    function: TaskFunction
    singletons: dict[Any, Any] = field(default_factory=Singleton.get_state)

    def __call__(self) -> JobReturn:
        """Compose the configuration and run it."""
        Singleton.set_state(self.singletons)
        setup_globals()
        prepare()
        config = self.context.config_loader.load_sweep_config(self.config, list(self.overrides))
        with open_dict(config.hydra.job):
            config.hydra.job.id = os.environ.get("SLURM_JOB_ID", f"job_{self.number}")
            config.hydra.job.num = self.number
        done = run_job(
            task_function=self.function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.context,
        )
        if done.status is JobStatus.FAILED:
            _report(done)
        return done

    def checkpoint(self) -> Any:
        """What a cluster is to run after an interruption: the same, which goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def lost(self, reason: str) -> JobReturn:
        """The outcome of this job if there is no result of it."""
        shown = list(filter_overrides(self.overrides))
        done = JobReturn(overrides=shown, status=JobStatus.FAILED)
        done.return_value = JobLostError(reason)
        return done

    def __str__(self) -> str:
        return f"#{self.number} {' '.join(filter_overrides(self.overrides))}".rstrip()


def _report(done: JobReturn) -> None:
    """Into the job's own log: the launcher shows one line of it."""
    error = done._return_value
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)


def announce(job: Job, done: JobReturn, place: Path) -> None:
    """One line for people who wait."""
    if done.status is JobStatus.COMPLETED:
        log.info("%s: done", job)
    else:
        log.warning("%s: failed, %s; its log: %s", job, reason_of(done._return_value), place)


def outcome(code: int) -> str:
    """What an exit code of a process or of a shell means, in words."""
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL:
        return "killed by signal 9 (too little memory?)"
    if 0 < number < signal.NSIG:
        return f"stopped by signal {number}"
    return f"ended with exit code {code}"


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, SIGTERM and a closed terminal leave as an exception, as Ctrl-C does."""

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    signals = (signal.SIGTERM, signal.SIGHUP)
    # What is ignored stays so: nohup means it.
    heard = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, leave) for number in heard]
    try:
        yield
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)


@dataclass(frozen=True)
class LocalRun:
    """A job at work in a process of this machine, the head of a session of its own."""

    job: Job
    process: subprocess.Popen[bytes]
    log: Path
    result: Path

    @classmethod
    def start(cls, job: Job, folder: Path) -> LocalRun:
        import cloudpickle

        pickled, result = (folder / f"{job.number}.{kind}" for kind in ("job", "result"))
        result.unlink(missing_ok=True)
        pickled.write_bytes(cloudpickle.dumps(job))
        output = folder / f"{job.number}.log"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "mia_lab.sweeps.local", pickled, result],
                stdin=subprocess.PIPE,  # closed when we are gone, even killed
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone
            )
        log.info("%s: started, process %d", job, process.pid)
        return cls(job, process, output, result)

    def collect(self) -> JobReturn:
        """Its outcome, once the process has ended."""
        self.signal(signal.SIGKILL)  # what it may have left behind
        if self.process.stdin:
            self.process.stdin.close()
        done = result_of(self.job, self.result) or self.job.lost(outcome(self.process.returncode))
        announce(self.job, done, self.log)
        for path in (self.result, self.result.with_suffix(".job")):
            path.unlink(missing_ok=True)
        return done

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def result_of(job: Job, path: Path) -> JobReturn | None:
    """What a job left in a file, as submitit writes it; None where it left none."""
    try:
        kind, content = pickle.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a damaged pickle, or one of another version, raises
        return job.lost(f"its result cannot be read ({error})")
    if kind != "success":  # the last line of a traceback
        return job.lost(str(content).strip().splitlines()[-1])
    assert isinstance(content, JobReturn)
    if type(content._return_value).__name__ == "UncompletedJobError":
        return job.lost("time limit, too often (hydra.launcher.timeout_min, max_num_timeout)")
    return content


def run_here(jobs: Sequence[Job], folder: Path, processes: int) -> list[JobReturn]:
    """Run jobs in processes of this machine, and leave none behind when interrupted.

    Args:
        jobs: all of them, in order.
        folder: for their logs.
        processes: how many at once.

    Raises:
        UserError: no process may run.
    """
    if processes < 1:
        raise UserError(f"hydra.launcher.processes={processes}: must be at least 1")
    folder.mkdir(parents=True, exist_ok=True)
    waiting, running = list(jobs), list[LocalRun]()
    done: dict[int, JobReturn] = {}
    with interruptible():
        try:
            while waiting or running:
                while waiting and len(running) < processes:
                    running.append(LocalRun.start(waiting.pop(0), folder))
                time.sleep(POLL_S)
                for run in [r for r in running if r.process.poll() is not None]:
                    running.remove(run)
                    done[run.job.number] = run.collect()
        finally:
            _end(running)
    return [done[job.number] for job in jobs]


def _end(running: Sequence[LocalRun]) -> None:
    for run in running:
        run.signal(signal.SIGTERM)
    end = time.monotonic() + GRACE_S
    for run in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(max(0.0, end - time.monotonic()))
        run.signal(signal.SIGKILL)
        run.process.wait()


def main() -> None:
    """The process of one job: read it, run it, write what it returned."""
    import cloudpickle

    threading.Thread(target=_end_with_launcher, daemon=True).start()
    source, target = map(Path, sys.argv[1:])
    job = pickle.loads(source.read_bytes())
    partial = target.with_suffix(".partial")
    partial.write_bytes(cloudpickle.dumps(("success", job())))
    partial.replace(target)


def _end_with_launcher() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
