"""Who uses a store: a file for every process at work on it, refreshed while the process lives.

``<root>/.sessions/<name>`` says in its first line which process it is, then what it uses, a line
each. A session is dead at once when its process is gone from this machine; of another machine's,
`LEASE_S` seconds after its last sign of life. Ages are differences of modification times, all
given by the server of the files: the clocks of the machines need not agree.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

LEASE_S = 60.0
"""A session of another machine is dead after so many seconds without a sign of life."""

SESSIONS = ".sessions"


@cache
def machine() -> str:
    """Where process ids mean the same: a host since it was started, and its container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)


def started(pid: int) -> str | None:
    """When a process of this machine began, so that a new one of its number is not taken for it.

    Returns:
        None where the process is gone, empty where the system does not say.
    """
    try:
        # After the command's name, which may hold anything: state, ..., and the 20th is the start.
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

    Attributes:
        name: names the session's file.
        path: of that file.
    """

    def __init__(self, root: Path) -> None:
        self.name = uuid.uuid4().hex[:12]
        self._folder = root / SESSIONS
        self.path = self._folder / self.name
        self._used: list[str] = []
        self._pid = os.getpid()
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._heart: threading.Thread | None = None

    def open(self) -> None:
        """Make the session known; once is enough.

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
        """Say that an entry is in use until the session is closed, before looking at it.

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
        """Use nothing any more."""
        self._closed.set()
        if self._heart is not None and self._pid == os.getpid():
            with self._writing, contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def others(self) -> Iterator[tuple[str, dict[str, Any], set[str]]]:
        """Name, process and used entries of every other session that lives."""
        self.open()
        # A file made in a folder renews what a network's client remembers of the folder.
        fresh = self._folder / f"{self.name}.look"
        fresh.touch()
        fresh.unlink()
        for path in self._folder.iterdir():
            if path.suffix == "" and path.name != self.name and self.lives(path.name):
                process, used = self._read(path.name)
                yield path.name, process, used

    def in_use(self) -> set[str]:
        """What other sessions use."""
        return {what for _, _, used in self.others() for what in used}

    def lives(self, name: str) -> bool:
        """Whether a session is alive, as far as this one can tell."""
        process, _ = self._read(name)
        if process.get("machine") == machine():
            return (self._folder / name).exists() and started(process["pid"]) == process["started"]
        return self._age(name) < LEASE_S

    def process(self, name: str) -> str:
        """Host and process of a session, for messages and the log."""
        process, _ = self._read(name)
        return f"{process.get('host', 'unknown')}:{process.get('pid', '?')}"

    def bury(self) -> None:
        """Remove the files of sessions that are dead."""
        for path in list(self._folder.iterdir()):
            # What has a suffix is being written by a session that is not known yet, or no more.
            gone = self._age(path.name) >= LEASE_S if path.suffix else not self.lives(path.name)
            if gone and path.name != self.name:
                path.unlink(missing_ok=True)

    def _age(self, name: str) -> float:
        """Seconds since a session's last sign of life, on the file server's clock."""
        try:
            # Opened, because a network's client looks at what it remembers otherwise.
            with (self._folder / name).open() as file:
                seen = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return float("inf")
        self._show_life()
        return self.path.stat().st_mtime - seen

    def _show_life(self) -> None:
        try:
            os.utime(self.path)
        except FileNotFoundError:  # taken for dead, after a pause of this process
            with self._writing:
                if not self._closed.is_set():
                    self._write()

    def _read(self, name: str) -> tuple[dict[str, Any], set[str]]:
        with contextlib.suppress(OSError, ValueError):
            first, *used = (self._folder / name).read_text().splitlines()
            return json.loads(first), set(used)
        return {}, set()  # gone, or from another version; then its age tells

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        pid = os.getpid()
        process = {"machine": machine(), "pid": pid, "started": started(pid)}
        process["host"] = socket.gethostname()
        new = self._folder / f"{self.name}.new"
        _append(new, "\n".join([json.dumps(process), *self._used]) + "\n")
        new.replace(self.path)

    def _beat(self) -> None:
        while not self._closed.wait(LEASE_S / 3):
            try:
                self._show_life()
            except OSError as error:
                log.debug("%s: no sign of life (%s)", self.path, error)


def _append(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)  # so that other machines see it
    finally:
        os.close(descriptor)
