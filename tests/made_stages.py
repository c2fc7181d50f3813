"""Stages made by hand, for tests of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mia_lab.store import Stage, Store


def write_number(folder: Path) -> None:
    (folder / "number.txt").write_text("42")


def fail_if_computed(_: Path) -> None:
    raise AssertionError("computed although it was stored")


@dataclass(frozen=True, eq=False)
class MadeStage(Stage[Path]):
    """A stage with a given identity, which calls a function."""

    name: str
    version: int = 1
    given: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[[Path], None] = write_number
    reads: tuple[Stage[Any], ...] = ()
    is_resumable: bool = False
    is_quick: bool = False

    def inputs(self) -> Mapping[str, Any]:
        return self.given

    def compute(self, folder: Path, store: Store) -> None:
        for stage in self.reads:
            store.result(stage)
        self.make(folder)

    def load(self, folder: Path) -> Path:
        return folder
