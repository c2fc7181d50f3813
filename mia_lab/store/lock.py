"""A lock on a shared file system that its owner's death opens.

A lock is a symbolic link to its owner's session: made in one step with its content, by no more
than one process, on network file systems too. Of a dead owner's lock one contender at a time,
itself the owner of a lock on the lock, makes way.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from mia_lab.store.session import Session

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.5
"""Waiting processes look again after the first, then less and less often, down to the second."""


class Lock:
    """Exclusive among sessions of one store.

    Args:
        path: of the link; its folder exists.
        session: who wants it; open.
        on_takeover: called with the name of a dead owner that made way.
    """

    def __init__(
        self, path: Path, session: Session, on_takeover: Callable[[str], None] | None = None
    ) -> None:
        self.path = path
        self.session = session
        self._on_takeover = on_takeover

    def owner(self) -> str | None:
        """Name of the session that holds it; None if nobody does."""
        try:
            return self.path.readlink().name
        except OSError:
            return None

    @property
    def ours(self) -> bool:
        return self.owner() == self.session.name

    def take(self) -> bool:
        """Take the lock if it is free, or its owner dead."""
        if self._link():
            return True
        owner = self.owner()
        if owner is None:
            return self._link()
        return not self.session.lives(owner) and self._make_way(owner) and self._link()

    def wait(self) -> None:
        """Take the lock as soon as it is free."""
        pause = FIRST_POLL_S
        while not self._try():
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_POLL_S)

    def _try(self) -> bool:
        try:
            return self.take()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return False  # another machine has just removed what was being looked at

    def release(self) -> None:
        """Give the lock back, if it still is ours."""
        if self.ours:
            self.path.unlink(missing_ok=True)

    def _link(self) -> bool:
        target = os.path.relpath(self.session.path, self.path.parent)
        try:
            self.path.symlink_to(target)
        except FileExistsError:
            return False
        return True

    def _make_way(self, dead: str) -> bool:
        claim = Lock(self.path.with_name(f"{self.path.name}.{dead}"), self.session)
        if not claim.take():
            return False
        try:
            if self.owner() == dead:  # nobody else has been here before
                self.path.unlink(missing_ok=True)
                if self._on_takeover is not None:
                    self._on_takeover(dead)
        finally:
            claim.release()
        return True
