"""A point of a sweep: its folder, and in it a note that says how its run went."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hydra.core.utils import filter_overrides

from mia_lab.errors import UserError
from mia_lab.store.disk import write_file

NOTE = "point.json"

RESULT = "metrics.json"


class State(StrEnum):
    """How far a point has come."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Point:
    """One point of a sweep.

    Attributes:
        folder: its output folder, named by its number.
        overrides: what its configuration is composed from; its note holds those that tell it from
            the other points.
        key: of the results that its run ends in, see `mia_lab.tasks.goals`; "" for a task that
            always runs again.
        state: how far it has come; one whose process was killed stays ``running``.
        reason: why it failed, or what its ``fail_if`` found; "" otherwise.
        where: host, process and the cluster's job number of its run; "" before it starts.
        seconds: how long it ran; 0 before it ends.
        result: SHA-256 of its ``metrics.json``; "" where there is none.
        gate_failed: whether its ``fail_if`` holds; the point is done all the same.
    """

    folder: Path
    overrides: tuple[str, ...]
    key: str = ""
    state: State = State.PLANNED
    reason: str = ""
    where: str = ""
    seconds: float = 0.0
    result: str = ""
    gate_failed: bool = False

    @property
    def number(self) -> int:
        """Index of the point in the grid."""
        return int(self.folder.name)

    @property
    def has_ended(self) -> bool:
        return self.state in (State.DONE, State.FAILED)

    def is_done(self, key: str) -> bool:
        """Whether it ended under the same key, and its ``metrics.json`` is unchanged."""
        same = self.state is State.DONE and self.key == key != ""
        return same and self.result == result_sha256(self.folder)

    def write(self) -> None:
        """Write the note into the folder, whole or not at all."""
        content = {name: value for name, value in vars(self).items() if name != "folder"}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.folder / NOTE, json.dumps(content, indent=1) + "\n")

    def __str__(self) -> str:
        return f"#{self.number} {' '.join(filter_overrides(self.overrides))}".rstrip()


def reason_of(error: object) -> str:
    """An error in one line."""
    line = str(error).strip().partition("\n")[0]
    if isinstance(error, UserError):
        return line
    return ": ".join(filter(None, (type(error).__name__, line)))


def result_sha256(folder: Path) -> str:
    """SHA-256 of an audit's ``metrics.json``; "" where there is none."""
    path = folder / RESULT
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def read_point(folder: Path) -> Point | None:
    """The point that a folder's note describes; None where there is no note.

    Raises:
        UserError: the note is damaged.
    """
    path = folder / NOTE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Point(
            folder=folder,
            overrides=tuple(content["overrides"]),
            key=str(content["key"]),
            state=State(content["state"]),
            reason=str(content["reason"]),
            where=str(content["where"]),
            seconds=float(content["seconds"]),
            result=str(content["result"]),
            gate_failed=bool(content["gate_failed"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it") from error
