"""The points of a sweep on disk: one folder a job, and in it a note of what became of the job."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from mia_lab.errors import UserError

log = logging.getLogger(__name__)

NOTE = "point.json"


class State(StrEnum):
    """What became of a job."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Point:
    """One job of a sweep.

    Attributes:
        folder: its output folder, named by its number.
        key: what its result depends on, hashed: configuration, data, code.
        overrides: what tells it from the other points, as typed.
        state: how far it has come; one that was killed stays ``running``.
        reason: why it failed; "" otherwise.
        where: host and process of the job; "" where it has not begun.
        seconds: how long the job took; 0 where it has not ended.
    """

    folder: Path
    key: str
    overrides: tuple[str, ...]
    state: State = State.PLANNED
    reason: str = ""
    where: str = ""
    seconds: float = 0.0

    @property
    def number(self) -> int:
        """Its place in the grid."""
        return int(self.folder.name)

    def write(self) -> None:
        """Note it in its folder, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {name: value for name, value in vars(self).items() if name != "folder"}
        partial = self.folder / f".{NOTE}.{os.getpid()}"
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.folder / NOTE)


def reason_of(error: object) -> str:
    """Why a job failed, in one line."""
    line = str(error).strip().partition("\n")[0]
    if isinstance(error, UserError):
        return line
    return ": ".join(filter(None, (type(error).__name__, line)))


@contextmanager
def noted(folder: Path) -> Iterator[None]:
    """Note in its folder how a job fares; does nothing in a folder without a note."""
    planned = read_point(folder)
    if planned is None:
        yield
        return
    running = replace(
        planned, state=State.RUNNING, reason="", where=f"{socket.gethostname()}:{os.getpid()}"
    )
    running.write()
    start = time.monotonic()

    def end(state: State, reason: str = "") -> None:
        seconds = round(time.monotonic() - start, 3)
        replace(running, state=state, reason=reason, seconds=seconds).write()

    try:
        yield
    except UserError as error:
        end(State.FAILED, reason_of(error))
        raise
    except Exception as error:
        log.exception("point %s failed", folder.name)  # the way to it is in the job's log
        end(State.FAILED, reason_of(error))
        raise
    except BaseException:  # stopped: whoever runs it next goes on
        end(State.PLANNED, "stopped")
        raise
    end(State.DONE)


def read_point(folder: Path) -> Point | None:
    """What a folder's note says; None where it has none.

    Raises:
        UserError: the note is damaged.
    """
    path = folder / NOTE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Point(
            folder,
            str(content["key"]),
            tuple(content["overrides"]),
            State(content["state"]),
            str(content["reason"]),
            str(content["where"]),
            float(content["seconds"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it") from error


def read_points(sweep: Path) -> list[Point]:
    """All points of a sweep in the order of their numbers.

    Raises:
        UserError: a note is damaged.
    """
    folders = sorted(
        (p for p in sweep.iterdir() if p.is_dir() and p.name.isdecimal()), key=lambda p: int(p.name)
    )
    return [point for folder in folders if (point := read_point(folder))]
