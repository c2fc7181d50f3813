"""The run of one point of a sweep, with its note kept up to date."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mia_lab.config.schema import Config
from mia_lab.errors import GateFailedError, UserError
from mia_lab.sweeps.locks import point_locked, sweep_session
from mia_lab.sweeps.point import Point, State, read_point, reason_of, result_sha256
from mia_lab.tasks.goals import goal_key

log = logging.getLogger(__name__)


def run_point(
    folder: Path,
    check: Callable[[], Config],
    run: Callable[[Config], None],
) -> None:
    """Run a point and write into its note how the run goes; a point that is done does not run.

    A point of another sweeper has no note: it runs, and gets none.

    Args:
        folder: of the point.
        check: makes its checked configuration.
        run: does the work. A failed gate (`GateFailedError`) counts as done.

    Raises:
        Exception: whatever ``check`` or ``run`` raise, except a failed gate.
    """
    note = read_point(folder)
    if note is None:
        run(check())
        return
    with sweep_session(folder.parent) as session, point_locked(session, folder, note):
        before = read_point(folder) or note  # a job of an earlier command may have changed it
        point = _running(before)
        point.write()
        start = time.monotonic()
        try:
            config = check()
            # Data may have changed since the point was planned, and with them its key.
            point = replace(point, key=goal_key(config))
            if before.is_done(point.key):
                before.write()
                return
            point.write()
            run(config)
        except GateFailedError as error:
            point = replace(_done(point), reason=reason_of(error), gate_failed=True)
        except BaseException as error:
            _stopped(point, error, time.monotonic() - start).write()
            raise
        else:
            point = _done(point)
        replace(point, seconds=round(time.monotonic() - start, 3)).write()


def _running(point: Point) -> Point:
    where = f"{socket.gethostname()}:{os.getpid()}"
    if job := os.environ.get("SLURM_JOB_ID"):
        where += f", SLURM job {job}"
    return Point(point.folder, point.overrides, point.key, State.RUNNING, where=where)


def _done(point: Point) -> Point:
    return replace(point, state=State.DONE, result=result_sha256(point.folder))


def _stopped(point: Point, error: BaseException, seconds: float) -> Point:
    """A point whose run raised; one that was interrupted is planned again."""
    point = replace(point, seconds=round(seconds, 3))
    if not isinstance(error, Exception):
        return replace(point, state=State.PLANNED, reason="stopped")
    if not isinstance(error, UserError):
        log.error("point %s failed", point.number, exc_info=error)
    return replace(point, state=State.FAILED, reason=reason_of(error))
