"""Atomic writes of files, and errors for a full disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mia_lab.errors import UserError

_SHORTAGES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file is larger than the file system or `ulimit -f` allows",
}

_OF_LIBRARIES = re.compile(
    r"\d+ requested and \d+ written"  # NumPy
    r"|\(os error (?P<errno>\d+)\)"  # safetensors
    r"|PytorchStreamWriter failed writing"  # PyTorch
)
"""Errors of libraries that write files themselves and do not raise the error of the system."""


def full_disk(error: BaseException, folder: Path, size: int | None = None) -> UserError | None:
    """The message for an error that a full disk or quota has caused; None for any other error.

    Args:
        error: the error; its causes count too.
        folder: where the files are, unless the error names a file.
        size: bytes that are needed, if they are known.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return None  # it says what is wrong
        if shortage := _shortage(cause):
            # Of a copy, the second name is the target.
            name = getattr(cause, "filename2", None) or getattr(cause, "filename", None)
            return _message(Path(name).parent if isinstance(name, str) else folder, shortage, size)
        cause = cause.__cause__ or cause.__context__
    return None


def _shortage(error: BaseException) -> str | None:
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _OF_LIBRARIES.search(str(error))):
        number = int(found["errno"] or errno.ENOSPC)
    return _SHORTAGES.get(number) if number is not None else None


def _message(folder: Path, shortage: str, size: int | None) -> UserError:
    needed = f"{_bytes(size)} needed, " if size else ""
    return UserError(
        f"{folder}: {shortage} ({needed}{_bytes(_free(folder))} free); make room "
        "and run the same command again, which continues from the stored results"
    )


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def enough_room(folder: Path, size: int | None = None) -> Iterator[None]:
    """Convert errors of a full disk within the context to a `UserError` about the folder.

    Args:
        folder: where the files are written.
        size: bytes that are needed, if they are known.

    Raises:
        UserError: the disk is full; other errors are raised unchanged.
    """
    try:
        yield
    except Exception as error:
        if full := full_disk(error, folder, size):
            raise full from error
        raise


@contextmanager
def whole_file(path: Path, size: int) -> Iterator[BinaryIO]:
    """Open a file for an atomic write that survives a crash of the machine.

    Args:
        path: path of the file, in an existing folder: one that was deleted is not created again.
        size: approximate size in bytes.

    Raises:
        UserError: the disk is full; an existing file is unchanged.
    """
    partial = path.with_name(f"{path.name}.partial")
    with enough_room(path.parent, size):
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_file(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file atomically, text in UTF-8; see :func:`whole_file`.

    Raises:
        UserError: the disk is full; an existing file is unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path, len(data)) as file:
        file.write(data)


def check_room(folder: Path, size: int) -> None:
    """Make sure that a large file fits, before the work on what it will hold.

    A quota may be smaller than the disk; it shows when the file is written.

    Raises:
        UserError: the disk has less than ``size`` bytes free.
    """
    usage = shutil.disk_usage(folder)
    if usage.total and usage.free < size:  # some network file systems tell 0 of everything
        raise _message(folder, _SHORTAGES[errno.ENOSPC], size)
