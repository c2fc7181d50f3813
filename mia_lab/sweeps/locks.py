"""Locks of a sweep's folder: one for the command, and one for each point.

They are the store's locks, not those of ``filelock``: a lock whose owner died must open on disks
that several machines share, where ``flock`` may do nothing and a soft lock stays for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mia_lab.store.lock import Lock
from mia_lab.store.session import Session
from mia_lab.sweeps.point import Point

log = logging.getLogger(__name__)

LOCKS = ".locks"

COMMAND = "command"
"""Name of the command's lock; those of the points are named by their numbers."""


@contextmanager
def sweep_session(sweep: Path) -> Iterator[Session]:
    """What a process needs to take locks of a sweep; closed in the end.

    Args:
        sweep: the sweep's folder.
    """
    (sweep / LOCKS).mkdir(parents=True, exist_ok=True)
    session = Session(sweep)
    session.open()
    try:
        yield session
    finally:
        session.close()


@contextmanager
def unlocked_at_end(session: Session, sweep: Path, name: str) -> Iterator[Lock]:
    """A lock of a sweep, not taken yet; released in the end, and when its owner dies.

    Args:
        session: of this process.
        sweep: the sweep's folder.
        name: `COMMAND`, or the number of a point.
    """
    lock = Lock(sweep / LOCKS / name, session)
    try:
        yield lock
    finally:
        lock.release()


@contextmanager
def point_locked(session: Session, folder: Path, point: Point | None) -> Iterator[None]:
    """Hold the lock of a point; waits until no other process runs it.

    Args:
        session: of this process.
        folder: of the point.
        point: its note, for the message; None where it has none.
    """
    with unlocked_at_end(session, folder.parent, folder.name) as lock:
        if not lock.take():
            where = point.where if point else ""
            log.warning("point %s: waiting for a job at work on it (%s)", folder.name, where)
            lock.wait()
        yield
