"""Points of a sweep in processes of this machine; each process runs one point after another.

The pools of ``concurrent.futures``, joblib and loky do not fit: the death of one process breaks
the whole pool, fails every waiting point, and does not say which point the process ran. The jobs
of submitit start a process for each point, which imports torch again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

import cloudpickle
from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from mia_lab import process
from mia_lab.errors import UserError
from mia_lab.hardware import cores
from mia_lab.sweeps.course import Course, started
from mia_lab.sweeps.interruption import interruptible
from mia_lab.sweeps.point import Point
from mia_lab.sweeps.program import Program, exit_reason, lost

POLL_S = 0.5
"""Longest time until the death of a worker is seen; its results are seen at once."""

GRACE_S = 5.0
"""How long a worker has to end on SIGTERM before it is killed."""


class Worker:
    """A process that runs points, the head of a session of its own.

    Args:
        program: what it runs, pickled.
        output: folder of its logs, ``<number>.log`` for each point.
        first: the first point that it will run; the log also has what is printed before.
        threads: that it computes with.

    Attributes:
        point: the point that it runs; None if it is idle.
    """

    def __init__(self, program: bytes, output: Path, first: Point, threads: int) -> None:
        self.point: Point | None = None
        self._folder = output
        self.connection, theirs = Pipe()
        with self._log(first).open("wb") as stream, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mia_lab.sweeps.local", str(theirs.fileno())],
                stdin=subprocess.PIPE,  # closes when this process is gone, even killed
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
        with contextlib.suppress(BrokenPipeError):
            self.connection.send_bytes(program)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def is_needed(self) -> bool:
        """Whether it lives, or died with a point whose outcome nobody has asked for yet."""
        return self.point is not None or self.is_alive

    def start(self, point: Point, config: DictConfig) -> None:
        """Run a point; `ended` says when it has ended."""
        if not self._log(point).exists():
            self._log(point).touch()
        self.point = point
        started(point, f"started, process {self.process.pid}")
        with contextlib.suppress(BrokenPipeError):  # `ended` sees that the process is dead
            self.connection.send((point, config, self._log(point)))

    def ended(self) -> JobReturn | None:
        """The outcome of the point; None while it runs."""
        assert self.point is not None
        was_alive = self.is_alive  # asked first: it may send a result and then die
        try:
            if self.connection.poll():
                return self._end(self._result(self.connection.recv_bytes()))
        except (EOFError, ConnectionResetError):
            was_alive = False
        if was_alive:
            return None
        self.stop()
        return self._end(lost(self.point, exit_reason(self.process.returncode)))

    def _result(self, pickled: bytes) -> JobReturn:
        assert self.point is not None
        try:
            done: JobReturn = pickle.loads(pickled)
        except Exception as error:  # an exception class of the user's may raise anything
            return lost(self.point, f"its result cannot be read ({error})")
        return done

    def _end(self, done: JobReturn) -> JobReturn:
        self.point = None
        return done

    def _log(self, point: Point) -> Path:
        return self._folder / f"{point.number}.log"

    def signal(self, number: int) -> None:
        """Send a signal to the process and to all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Wait for the end of the process, not for long, and leave nothing of it behind."""
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_S)
        self.signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


def run_locally(
    points: Sequence[Point], program: Program, output: Path, processes: int
) -> list[JobReturn]:
    """Run points in processes of this machine, and leave none behind when interrupted.

    Args:
        points: all of them, in order.
        program: what they run.
        output: folder for their logs.
        processes: how many at once.

    Raises:
        UserError: no process may run.
    """
    if processes < 1:
        raise UserError(f"hydra.launcher.processes={processes}: must be at least 1")
    output.mkdir(parents=True, exist_ok=True)
    for point in points:
        (output / f"{point.number}.log").unlink(missing_ok=True)
    pickled = cloudpickle.dumps(program)
    threads = max(1, cores() // min(processes, len(points)))
    waiting, workers = deque(points), list[Worker]()
    returns: dict[int, JobReturn] = {}
    with interruptible():
        try:
            course = Course(len(points))
            while len(returns) < len(points):
                for worker in workers:
                    if worker.point is None and not worker.is_alive:
                        worker.stop()
                workers = [worker for worker in workers if worker.is_needed]
                while waiting and len(workers) < processes:
                    workers.append(Worker(pickled, output, waiting[0], threads))
                    workers[-1].start(waiting[0], program.compose(waiting.popleft()))
                for worker in workers:
                    if waiting and worker.point is None:
                        worker.start(waiting[0], program.compose(waiting.popleft()))
                wait([worker.connection for worker in workers if worker.point], POLL_S)
                for worker in workers:
                    running = worker.point
                    if running is not None and (done := worker.ended()) is not None:
                        returns[running.number] = done
                        course.ended(running, done, output / f"{running.number}.log")
        finally:
            for worker in workers:
                if worker.point is not None:
                    worker.signal(signal.SIGTERM)
            for worker in workers:
                worker.stop()
    return [returns[point.number] for point in points]


def main() -> None:
    """The process of a worker: run each point that the launcher sends, and send its outcome."""
    process.start()
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    launcher = Connection(int(sys.argv[1]))
    program: Program = pickle.loads(launcher.recv_bytes())
    program.enter()
    process.imported()
    while True:
        try:
            point, config, output = launcher.recv()
        except EOFError:
            return
        _print_into(output)
        launcher.send_bytes(cloudpickle.dumps(program.run(point, config)))


def _print_into(file: Path) -> None:
    """Append to a file what this process and its children print from now on."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)


def _end_with_launcher() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
