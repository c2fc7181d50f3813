"""Permissions of a store that several users share.

A store is shared if its folder may be written by the folder's group (``chmod g+w``, best with
``g+s``). Whatever is written there then has the permissions of the folder's group, whatever the
umask of the user is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mia_lab.errors import UserError


def share(root: Path, *paths: Path) -> None:
    """Give files and folders to the group that a store is shared with.

    Those of other users stay as they are. If the store is not shared, nothing is changed.

    Args:
        root: folder of the store.
        paths: in the store.
    """
    folder = root.stat()
    if not folder.st_mode & stat.S_IWGRP:
        return
    for path in paths:
        with contextlib.suppress(OSError):
            own = path.lstat().st_mode
            if stat.S_ISLNK(own):
                continue
            given = folder.st_mode & (stat.S_IRGRP | stat.S_IWGRP)
            if stat.S_ISDIR(own):
                given = folder.st_mode & (stat.S_IRWXG | stat.S_ISGID)
            os.chown(path, -1, folder.st_gid)
            path.chmod(stat.S_IMODE(own) | given)


@contextmanager
def permitted(root: Path) -> Iterator[None]:
    """Convert a permission that is missing in a store to a `UserError` that names the file.

    Args:
        root: folder of the store.

    Raises:
        UserError: the context raises `PermissionError` for a path of the store; errors for other
            paths are raised unchanged.
    """
    try:
        yield
    except PermissionError as error:
        path = Path(error.filename or root)
        if not path.is_relative_to(root):
            raise
        raise UserError(
            f"{path}: {error.strerror}; it is in the store of another user, who can share it by "
            f"'chmod -R g+rwX {root}'; or set paths.store to another folder"
        ) from error


def check_removable(folder: Path) -> None:
    """Make sure that a folder can be deleted with all that it holds.

    Raises:
        PermissionError: one of its folders cannot be written.
    """
    needed = os.R_OK | os.W_OK | os.X_OK
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink() and not os.access(path, needed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
