"""The sessions of a store: one file per process that uses it, touched while the process lives.

The first line of ``<root>/.sessions/<name>`` identifies the process; each further line names an
entry in use. A session of this machine is dead as soon as its process has ended. A session of
another machine is dead `LEASE_S` seconds after its file was last touched. Ages are differences of
modification times from the file server, so the clocks of the machines may differ.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from mia_lab.errors import UserError
from mia_lab.store.permissions import share

log = logging.getLogger(__name__)

LEASE_S = 60.0
"""Seconds without a touch of its file after which a session of another machine is dead."""

MOST_AHEAD_S = 86400.0
"""How far the clock of another machine may be ahead."""

SESSIONS = ".sessions"

_PROCESS = {"machine": str, "pid": int, "started": str}
"""What the first line of a session's file states at least."""


@cache
def machine() -> str:
    """Identifier of the scope of process ids: host, boot, and container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)


def started(pid: int) -> str | None:
    """Start time of a process of this machine, which distinguishes processes with the same id.

    Returns:
        None if the process has ended; "" if the system does not provide the start time.
    """
    try:
        # The command's name may contain any character. After it: the state, ..., the start (20th).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return ""


class Session:
    """One user of a store, from its first use until it is closed.

    Args:
        root: folder of the store.
        prepare: called with it before the first file is written there.

    Attributes:
        name: name of the session's file.
        path: path of the session's file.
    """

    def __init__(self, root: Path, prepare: Callable[[Path], None] = lambda _: None) -> None:
        self._prepare = prepare
        self.name = uuid.uuid4().hex[:12]
        self._folder = root / SESSIONS
        self.path = self._folder / self.name
        self._used: list[str] = []
        self._pid = os.getpid()
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._heart: threading.Thread | None = None

    def open(self) -> None:
        """Create the session's file; further calls do nothing.

        Raises:
            OSError: the store cannot be written.
        """
        if self._heart is not None:
            return
        with self._writing:
            self._write()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="store-session")
        self._heart.start()

    def use(self, what: str) -> None:
        """Mark an entry as in use until the session is closed; call this before reading it.

        Raises:
            OSError: the store cannot be written.
        """
        self.open()
        with self._writing:
            if what in self._used:
                return
            self._used.append(what)
            if self.path.exists():
                _append(self.path, f"{what}\n")
            else:
                self._write()

    def close(self) -> None:
        """Stop using all entries."""
        self._closed.set()
        if self._heart is not None and self._pid == os.getpid():
            with self._writing, contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def others(self) -> Iterator[tuple[str, dict[str, Any], set[str]]]:
        """Name, process and used entries of every other living session."""
        self.open()
        # A new file in a folder invalidates a network client's cache of the folder.
        fresh = self._folder / f"{self.name}.look"
        fresh.touch()
        fresh.unlink()
        for path in self._files():
            if path.suffix == "" and path.name != self.name and self.lives(path.name):
                process, used = self._read(path.name)
                yield path.name, process, used

    def in_use(self) -> set[str]:
        """Entries that other sessions use."""
        return {what for _, _, used in self.others() for what in used}

    def lives(self, name: str) -> bool:
        """Whether a session is alive, as far as this machine can determine."""
        process, _ = self._read(name)
        if process.get("machine") == machine():
            return (self._folder / name).is_file() and started(process["pid"]) == process["started"]
        return self._is_fresh(name)  # also of a damaged file

    def process(self, name: str) -> str:
        """Host and process of a session, for messages and the log."""
        process, _ = self._read(name)
        return f"{process.get('host', 'unknown')}:{process.get('pid', '?')}"

    def bury(self) -> None:
        """Remove the files of sessions that are dead."""
        for path in self._files():
            # A file with a suffix is a temporary file of a session that starts or restarts.
            lives = self._is_fresh(path.name) if path.suffix else self.lives(path.name)
            if not lives and path.name != self.name:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """The files of all sessions; what else lies beside them is left alone."""
        return [path for path in self._folder.iterdir() if path.is_file()]

    def _is_fresh(self, name: str) -> bool:
        """Whether a session's file was touched recently.

        The clocks of machines may differ, so a time ahead counts; one that is more than a day ahead
        does not, or it would count forever.
        """
        return -MOST_AHEAD_S < self._age(name) < LEASE_S

    def _age(self, name: str) -> float:
        """Seconds since a session's file was touched, on the file server's clock.

        It is negative for a time ahead, and infinite where there is no file.
        """
        try:
            # Opening the file makes a network client refresh its cached modification time.
            with self._opened(name) as file:
                seen = os.fstat(file.fileno()).st_mtime
        except (FileNotFoundError, IsADirectoryError):
            return float("inf")
        except PermissionError:  # of another user, whose files are private
            seen = (self._folder / name).stat().st_mtime
        self._show_life()
        return self.path.stat().st_mtime - seen

    def _show_life(self) -> None:
        try:
            os.utime(self.path)
        except FileNotFoundError:  # another process removed the file during a pause of this one
            with self._writing:
                if not self._closed.is_set():
                    self._write()

    def _read(self, name: str) -> tuple[dict[str, Any], set[str]]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            with self._opened(name) as file:
                first, *used = file.read().splitlines()
            process = json.loads(first)
            if all(type(process[key]) is kind for key, kind in _PROCESS.items()):
                return process, set(used)
        return {}, set()  # removed, damaged, or in an unknown format; then its age decides

    def _opened(self, name: str) -> TextIO:
        """The file of a session. If it is a pipe, nobody waits for what comes out of it."""
        return open(
            self._folder / name,
            encoding="utf-8",
            opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK),
        )

    def _write(self) -> None:
        self._prepare(self._folder.parent)
        self._folder.mkdir(parents=True, exist_ok=True)
        pid = os.getpid()
        process = {"machine": machine(), "pid": pid, "started": started(pid)}
        process["host"] = socket.gethostname()
        new = self._folder / f"{self.name}.new"
        _append(new, "\n".join([json.dumps(process), *self._used]) + "\n")
        share(self._folder.parent, self._folder, new)
        new.replace(self.path)

    def _beat(self) -> None:
        while not self._closed.wait(LEASE_S / 3):
            try:
                self._show_life()
            except (OSError, UserError) as error:
                log.debug("%s: cannot be touched (%s)", self.path, error)


def _append(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    data = text.encode()
    try:
        while data:  # one write may be cut short on a full disk; the next one raises
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)  # so that other machines see it
    finally:
        os.close(descriptor)
