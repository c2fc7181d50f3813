"""Code that permissions apply to, also where the tests are run by root."""

from __future__ import annotations

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


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    """Run the context as another user if root runs the tests; else as who runs them."""
    if not IS_ROOT:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(GROUP, GROUP, 0)
    os.setresuid(user, user, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


@contextmanager
def unprivileged_folder() -> Iterator[Path]:
    """An empty folder of Alice, who runs the context; outside pytest's, which only root enters."""
    folder = Path(tempfile.mkdtemp(prefix="unprivileged-"))
    try:
        if IS_ROOT:
            os.chown(folder, ALICE, GROUP)
        with acting_as(ALICE):
            yield folder
    finally:
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder)
