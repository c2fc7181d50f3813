"""Identity by content: hashes of files, folders and the source code of users' classes."""

from __future__ import annotations

import errno
import hashlib
import inspect
import os
import stat
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

    Raises:
        UserError: a file cannot be read, or see :func:`files_below`.
    """
    if path.is_file():
        return _unchanged_file_sha256(path)
    digest = hashlib.sha256()
    for file in files_below(path, os.path.isfile):
        digest.update(f"{file.relative_to(path)}\t{_unchanged_file_sha256(file)}\n".encode())
    return digest.hexdigest()


def files_below(folder: Path, wanted: Callable[[Path], bool], *, hidden: bool = True) -> list[Path]:
    """The files in a folder and its sub-folders, sorted.

    A link to a folder outside is followed; one to a folder inside is not, because that is listed
    in its own place.

    Args:
        folder: the folder.
        wanted: which files are listed, by their paths.
        hidden: whether to list hidden files and what is in hidden folders, see :func:`is_hidden`.

    Raises:
        UserError: a folder cannot be read, or two links lead to the same one outside; a link that
            could be a folder or a wanted file leads nowhere; or a wanted file has a name that is
            not UTF-8, cannot be read, or is no regular file.
    """
    found: list[Path] = []
    seen: dict[str, str] = {}
    root = os.path.realpath(folder)

    def refuse(error: OSError) -> None:
        name = Path(error.filename).name
        if name != "lost+found" and not name.startswith("."):
            raise unreadable(error.filename, error)

    def is_elsewhere(path: Path) -> bool:
        """Whether a folder is listed where it is, and this link to it adds nothing."""
        return path.is_symlink() and Path(path.resolve()).is_relative_to(root)

    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if not hidden:
            folders[:], names = ([n for n in ns if not is_hidden(n)] for ns in (folders, names))
        folders[:] = sorted(name for name in folders if not is_elsewhere(Path(parent, name)))
        first = seen.setdefault(os.path.realpath(parent), parent)
        if first != parent:
            raise UserError(
                f"{parent}: is the same folder as {first}; remove the link that leads there"
            )
        for path in (Path(parent, name) for name in names):
            if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 - these never raise
                # Hidden ones are locks of editors and the like.
                if path.name.startswith(".") or (path.suffix and not wanted(path)):
                    continue
                raise UserError(
                    f"{path}: is a link to {path.readlink()}, which is not there or out of reach; "
                    "correct or remove the link"
                )
            if wanted(path):
                _check_listed(path)
                found.append(path)
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the notes of some program, which copies of pictures may be in.

    Its name begins with a dot (Jupyter's ``.ipynb_checkpoints``, macOS's ``._1.png``), or is that
    of a folder of macOS or of a network drive.
    """
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def _check_listed(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: the name is not UTF-8; rename the file or its folder") from error
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise unreadable(path, error) from error
    if not is_regular:
        raise UserError(f"{path}: is no regular file; remove it")
    if not os.access(path, os.R_OK):
        raise unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def unreadable(path: Path | str, error: OSError) -> UserError:
    """The error for a file or a folder that the system does not let us read."""
    is_gone = isinstance(error, FileNotFoundError)
    remedy = "restore it" if is_gone else "correct its permissions, or remove it"
    return UserError(f"{path}: cannot be read ({error.strerror}); {remedy}")


class Contents:
    """Reads files that count by their content, and refuses any that has changed in between.

    A fingerprint is taken long before a file is decoded. What is decoded later must be what the
    fingerprint is of, or a wrong result would be stored under the right key.
    """

    def __init__(self) -> None:
        self._seen: dict[Path, str] = {}

    def sha256(self, path: Path) -> str:
        """Hexadecimal sha256 of a file's content, as it was when it was first read.

        Raises:
            UserError: the file cannot be read.
        """
        if path not in self._seen:
            try:
                self._seen[path] = file_sha256(path)
            except OSError as error:
                raise unreadable(path, error) from error
        return self._seen[path]

    def read(self, path: Path) -> bytes:
        """The content of a file.

        Raises:
            UserError: it differs from what was read of this file before, or cannot be read.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from error
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
    try:
        return _sha256_at(path.resolve(), file_state(path))
    except OSError as error:
        raise unreadable(path, error) from error


@cache
def _sha256_at(path: Path, state: tuple[int, ...]) -> str:
    return file_sha256(path)
