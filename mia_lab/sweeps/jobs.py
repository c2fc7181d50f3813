"""The job of one point of a sweep: what its result depends on, and its note of how it fares."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mia_lab.config import build
from mia_lab.config.choices import Task
from mia_lab.config.load import plain
from mia_lab.config.schema import Config
from mia_lab.data.source import PairSource, all_ids
from mia_lab.errors import GateFailedError, UserError
from mia_lab.stages.plan import difficulty_identity, software
from mia_lab.stages.roles import assign_roles
from mia_lab.store import canonical_json, file_sha256
from mia_lab.store.lock import Lock
from mia_lab.store.session import Session
from mia_lab.sweeps.point import Point, State, read_point, reason_of, result_sha256

log = logging.getLogger(__name__)

LOCKS = ".locks"
"""Folder of a sweep with a lock for each job at work, and for the command."""


def point_key(config: Config, source: PairSource | None = None) -> str:
    """What the result of a point depends on: settings, the content of files, code, libraries.

    What is ``auto`` counts as such: the machine that hands jobs in need not be like theirs.

    Args:
        config: of the point, checked.
        source: its images, if they were looked at before; default: looked at now.

    Returns:
        A hash; "" for a task that reads what other runs have left, and so has to run again.

    Raises:
        UserError: the data are not what the configuration says.
        OSError: a file cannot be read.
    """
    if config.task in (Task.collect, Task.compare, Task.store):
        return ""
    source = build.source(config.data) if source is None else source
    roles = {} if config.task is Task.difficulty else assign_roles(config, source)
    settings = plain(config)
    for elsewhere in ("paths", "name"):
        settings.pop(elsewhere)
    inputs = {
        "config": settings,
        "victim": build.identity(config.victim),
        "attacks": [build.identity(config.attack.available[n]) for n in config.attack.names],
        **difficulty_identity(config),
        "roles": roles,
        "data": source.fingerprint(sorted(roles) or all_ids(source)),
        "elsewhere": _elsewhere(config),
        "manifest": _content(config.data.manifest),
        **software(),
    }
    return hashlib.sha256(canonical_json(inputs).encode()).hexdigest()


def _elsewhere(config: Config) -> str | None:
    """Content of the images that only reference victims see."""
    if config.reference.data is None:
        return None
    source = build.source(config.reference.data)
    return source.fingerprint(source.ids("train"))


def _content(file: str | None) -> str | None:
    """Of a file that a key names; None where there is none, which the job will say."""
    return file_sha256(Path(file)) if file and Path(file).is_file() else None


@contextmanager
def locked(sweep: Path, name: str) -> Iterator[Lock]:
    """A lock of a sweep, for whoever takes it; it opens at the end, and when its owner dies.

    Args:
        sweep: its folder.
        name: of what is locked.
    """
    (sweep / LOCKS).mkdir(parents=True, exist_ok=True)
    session = Session(sweep)
    session.open()
    lock = Lock(sweep / LOCKS / name, session)
    try:
        yield lock
    finally:
        lock.release()
        session.close()


def wait_for(lock: Lock, planned: Point | None) -> None:
    """Take the lock of a point as soon as no other job is at work on it."""
    if lock.take():
        return
    where = planned.where if planned else ""
    log.warning("point %s: waiting for a job at work on it (%s)", lock.path.name, where)
    lock.wait()


@contextmanager
def noted(folder: Path, key: Callable[[], str]) -> Iterator[bool]:
    """Note in its folder how a job fares; nothing in a folder without a note.

    Args:
        folder: of the point.
        key: makes the key of what is about to run, which may have changed since it was asked for.

    Yields:
        Whether there is something to do: not if a job of an earlier command has done it meanwhile.
    """
    if read_point(folder) is None:
        yield True
        return
    with locked(folder.parent, folder.name) as lock:
        wait_for(lock, read_point(folder))
        planned = read_point(folder)
        assert planned is not None
        where = f"{socket.gethostname()}:{os.getpid()}"
        if job := os.environ.get("SLURM_JOB_ID"):
            where += f", SLURM job {job}"
        point = replace(planned, state=State.RUNNING, reason="", where=where, gate_failed=False)
        start = time.monotonic()

        def end(state: State, reason: str = "", gate_failed: bool = False) -> None:
            replace(
                point,
                state=state,
                reason=reason,
                seconds=round(time.monotonic() - start, 3),
                result=result_sha256(folder) if state is State.DONE else "",
                gate_failed=gate_failed,
            ).write()

        try:
            point.write()
            point = replace(point, key=key())
            if planned.is_done(point.key):
                planned.write()
                yield False
                return
            point.write()
            yield True
        except GateFailedError as error:
            end(State.DONE, reason_of(error), gate_failed=True)
        except UserError as error:
            end(State.FAILED, reason_of(error))
            raise
        except Exception as error:
            log.exception("point %s failed", folder.name)  # the way to it is in the job's log
            end(State.FAILED, reason_of(error))
            raise
        except BaseException:  # stopped: whoever runs it next goes on
            end(State.PLANNED, "stopped")
            raise
        else:
            end(State.DONE)
