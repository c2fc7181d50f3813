"""Code that permissions apply to, also where the tests are run by root."""

from __future__ import annotations

import codecs
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ALICE, BOB = 64_001, 64_002
"""Users of one group; only root can be them."""

GROUP = 64_000

IS_ROOT = os.geteuid() == 0

# Python remembers what it did not find, and another user may not enter the folder of root's Python.
codecs.lookup("cp437")  # of zip files


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    """Run the context as another user if root runs the tests; else as who runs them."""
    if not IS_ROOT:
        yield
        return
    users, groups, further = os.getresuid(), os.getresgid(), os.getgroups()
    _act_as((user, user, 0), (GROUP, GROUP, 0), [])
    try:
        yield
    finally:
        _act_as(users, groups, further)


def _act_as(users: tuple[int, int, int], groups: tuple[int, int, int], further: list[int]) -> None:
    os.seteuid(0)  # the saved one
    os.setgroups(further)
    os.setresgid(*groups)
    os.setresuid(*users)


@contextmanager
def unprivileged_folder() -> Iterator[Path]:
    """An empty folder of Alice, who runs the context; outside pytest's, which only root enters."""
    folder = Path(tempfile.mkdtemp(prefix="unprivileged-"))
    try:
        if IS_ROOT:
            os.chown(folder, ALICE, GROUP)
        folder.chmod(0o755)
        with acting_as(ALICE):
            yield folder
    finally:
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder)
