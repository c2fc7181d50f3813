"""The points of a sweep on disk: one folder a job, and in it a note of what became of the job."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mia_lab.errors import UserError

NOTE = "point.json"

RESULT = "metrics.json"


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
        key: what its result depends on, hashed: configuration, data, code; "" where it runs again
            whatever became of it.
        overrides: what tells it from the other points, as typed.
        state: how far it has come; one that was killed stays ``running``.
        reason: why it failed, or what its ``fail_if`` found; "" otherwise.
        where: host and process of the job, and the cluster's number; "" where it has not begun.
        seconds: how long the job took; 0 where it has not ended.
        result: hash of its ``metrics.json``; "" where there is none.
        gate_failed: whether its ``fail_if`` holds; the point is done all the same.
    """

    folder: Path
    key: str
    overrides: tuple[str, ...]
    state: State = State.PLANNED
    reason: str = ""
    where: str = ""
    seconds: float = 0.0
    result: str = ""
    gate_failed: bool = False

    @property
    def number(self) -> int:
        """Its place in the grid."""
        return int(self.folder.name)

    def is_done(self, key: str) -> bool:
        """Whether it ended under the same key, and its result is as it was left."""
        same = self.state is State.DONE and self.key == key != ""
        return same and self.result == result_sha256(self.folder)

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


def result_sha256(folder: Path) -> str:
    """Of what an audit leaves; "" where there is nothing."""
    path = folder / RESULT
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


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
            str(content["result"]),
            bool(content["gate_failed"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it") from error
