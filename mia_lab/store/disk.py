"""Writing whole files, and a full disk as an error that the user can mend."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mia_lab.errors import UserError


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or the one it came from, says that a disk or a quota is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def enough_room(folder: Path) -> Iterator[None]:
    """Say in one line that the disk of a folder is full, whatever wrote to it.

    Raises:
        UserError: the disk is full; other errors pass.
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
    """A file that appears complete or not at all, and its folder with it.

    Args:
        path: where it appears.
        size: about how many bytes it will have.

    Raises:
        UserError: the disk is full; what was there before is still there.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        # PyTorch makes RuntimeErrors of what the file system says.
        small = isinstance(error, RuntimeError) and size > _free(path.parent)
        if small or is_full(error):
            raise _full(path.parent, size) from error
        raise


def _full(folder: Path, size: int | None = None) -> UserError:
    needed = f"{size / 1e6:.1f} MB needed, " if size else ""
    return UserError(
        f"{folder}: the disk is full ({needed}{_free(folder) / 1e6:.1f} MB free); make room and "
        "run the same command again, it goes on from what is stored"
    )


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
