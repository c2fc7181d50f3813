"""A lock on a shared file system that other processes take over after its owner's death.

A lock is a symbolic link to its owner's session. The creation of a link is atomic, also on network
file systems, so that only one process succeeds. To remove the lock of a dead owner, a process takes
a second lock on that lock, so that only one process at a time removes it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from mia_lab.errors import UserError
from mia_lab.store.session import Session

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.5
"""First and longest pause between two attempts of a waiting process; the pause grows."""


class Lock:
    """Exclusive among sessions of one store.

    Args:
        path: path of the link, in an existing folder.
        session: session of the process; open.
        on_takeover: called with the name of a dead owner whose lock was removed.
    """

    def __init__(
        self, path: Path, session: Session, on_takeover: Callable[[str], None] | None = None
    ) -> None:
        self.path = path
        self.session = session
        self._on_takeover = on_takeover

    def owner(self) -> str | None:
        """Name of the session that holds the lock; None if it is free.

        Raises:
            UserError: a file or a folder that is no lock has its place.
        """
        try:
            return self.path.readlink().name
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise UserError(
                    f"{self.path}: is no lock of mia_lab, but has the place of one; delete it"
                ) from error
            return None

    @property
    def ours(self) -> bool:
        return self.owner() == self.session.name

    def take(self) -> bool:
        """Take the lock if it is free or its owner is dead; return whether it was taken.

        Raises:
            UserError: see :meth:`owner`.
        """
        if self._link():
            return True
        owner = self.owner()
        if owner is None:
            return self._link()
        return not self.session.lives(owner) and self._break(owner) and self._link()

    def wait(self) -> None:
        """Wait until the lock is free, and take it."""
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
            return False  # another machine has just removed the link

    def release(self) -> None:
        """Release the lock if this session still holds it."""
        if self.ours:
            self.path.unlink(missing_ok=True)

    def _link(self) -> bool:
        """Create the link; return False if it exists."""
        target = os.path.relpath(self.session.path, self.path.parent)
        try:
            self.path.symlink_to(target)
        except FileExistsError:
            return False
        return True

    def _break(self, dead: str) -> bool:
        """Remove the lock of a dead owner; return False if another process is removing it."""
        claim = Lock(self.path.with_name(f"{self.path.name}.{dead}"), self.session)
        if not claim.take():
            return False
        try:
            if self.owner() == dead:  # no other process has removed the lock before
                self.path.unlink(missing_ok=True)
                if self._on_takeover is not None:
                    self._on_takeover(dead)
        finally:
            claim.release()
        return True
