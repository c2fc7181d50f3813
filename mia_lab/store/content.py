"""Identity by content: hashes of files, folders and the source code of users' classes."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from mia_lab.errors import UserError


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file, or of all files in a folder with their names.

    A file is read once as long as its inode, size and times stay the same.
    """
    if path.is_file():
        return _unchanged_file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path)}\t{_unchanged_file_sha256(file)}\n".encode())
    return digest.hexdigest()


class Contents:
    """Reads files that count by their content, and refuses any that has changed in between.

    A fingerprint is taken long before a file is decoded. What is decoded later must be what the
    fingerprint is of, or a wrong result would be stored under the right key.
    """

    def __init__(self) -> None:
        self._seen: dict[Path, str] = {}

    def sha256(self, path: Path) -> str:
        """Hexadecimal sha256 of a file's content, as it was when it was first read."""
        if path not in self._seen:
            self._seen[path] = file_sha256(path)
        return self._seen[path]

    def read(self, path: Path) -> bytes:
        """The content of a file.

        Raises:
            UserError: it differs from what was read of this file before.
            OSError: the file cannot be read.
        """
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if self._seen.setdefault(path, digest) != digest:
            raise UserError(
                f"{path}: has changed since this run began, so nothing was stored that depends on "
                "it; run the command again when the files are complete"
            )
        return content


_sources: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
"""Hash of the source file of each class and function, as it was when first asked for."""


def source_sha256(kind: Callable[..., Any]) -> str | None:
    """Hexadecimal sha256 of the source file of a class or function; None where there is none.

    It is that of the code in memory: an edit counts once the file is imported again.
    """
    code = getattr(inspect.unwrap(kind), "__func__", kind)
    try:
        file = inspect.getsourcefile(code)
    except TypeError:  # built in
        return None
    if file is None:
        return None
    return _sources.setdefault(code, _unchanged_file_sha256(Path(file)))


def file_state(path: Path) -> tuple[int, ...]:
    """Inode, size and times of a file, which change with any write to it."""
    stat = path.stat()
    # Tools that copy files set the time of modification, but not that of the inode's change.
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def is_foreign(kind: Callable[..., Any]) -> bool:
    """Whether a class or function is the user's: outside this package."""
    return kind.__module__.partition(".")[0] != __name__.partition(".")[0]


def _unchanged_file_sha256(path: Path) -> str:
    return _sha256_at(path.resolve(), file_state(path))


@cache
def _sha256_at(path: Path, state: tuple[int, ...]) -> str:
    return file_sha256(path)
