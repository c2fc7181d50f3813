"""Identity by content: hashes of files, folders and the source code of users' classes."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file, or of all files in a folder with their names.

    A file is read once as long as its size and modification time stay the same.
    """
    if path.is_file():
        return _unchanged_file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path)}\t{_unchanged_file_sha256(file)}\n".encode())
    return digest.hexdigest()


def source_sha256(kind: Callable[..., Any]) -> str | None:
    """Hexadecimal sha256 of the source file of a class or function; None where there is none."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(kind))
    except TypeError:  # built in
        return None
    return None if file is None else _unchanged_file_sha256(Path(file))


def is_foreign(kind: Callable[..., Any]) -> bool:
    """Whether a class or function is the user's: outside this package."""
    return kind.__module__.partition(".")[0] != __name__.partition(".")[0]


def _unchanged_file_sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_at(path.resolve(), stat.st_size, stat.st_mtime_ns)


@cache
def _sha256_at(path: Path, size: int, modified_ns: int) -> str:
    return file_sha256(path)
