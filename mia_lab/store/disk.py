"""Atomic writes of files, and errors for a full disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mia_lab.errors import UserError


def is_full(error: BaseException | None) -> bool:
    """Whether an error or one of its causes reports a full disk or quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def enough_room(folder: Path) -> Iterator[None]:
    """Convert errors of a full disk within the context to a `UserError` about the folder.

    Raises:
        UserError: the disk is full; other errors are raised unchanged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_full(error):
            raise _full(folder) from error
        raise


@contextmanager
def whole_file(path: Path, size: int) -> Iterator[BinaryIO]:
    """Open a file for an atomic write that survives a crash of the machine; create its folder.

    Args:
        path: path of the file.
        size: approximate size in bytes.

    Raises:
        UserError: the disk is full; an existing file is unchanged.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        # PyTorch converts errors of the file system to RuntimeErrors.
        small = isinstance(error, RuntimeError) and size > _free(path.parent)
        if small or is_full(error):
            raise _full(path.parent, size) from error
        raise


def _full(folder: Path, size: int | None = None) -> UserError:
    needed = f"{size / 1e6:.1f} MB needed, " if size else ""
    return UserError(
        f"{folder}: the disk is full ({needed}{_free(folder) / 1e6:.1f} MB free); free disk space "
        "and run the same command again, which continues from the stored results"
    )


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
