"""The difficulty of all images from those of their parts, which other jobs may have scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mia_lab.stages.difficulty import DifficultyStage
from mia_lab.store import Store, save_table
from mia_lab.types import DifficultyTable

PER_IMAGE = ("id", "score", "penalty", "rank", "map")
"""Fields of a table with a row for each image; the others describe settings."""


@dataclass(frozen=True, eq=False)
class JoinedDifficulty(DifficultyStage):
    """Scores of all images, joined from those of their parts.

    The numbers are those of all images at once, so the key is the same, and what reads the scores
    does not depend on how they were computed.

    Attributes:
        whole: the stage that would score all images at once.
        parts: the stages that score consecutive parts of them.
    """

    whole: DifficultyStage
    parts: tuple[DifficultyStage, ...]

    @property
    def undivided(self) -> DifficultyStage:
        return self.whole

    def inputs(self) -> Mapping[str, Any]:
        return self.whole.inputs()

    @cached_property
    def declaration(self) -> Mapping[str, Any]:
        return self.whole.declaration

    @cached_property
    def upstream(self) -> Mapping[str, tuple[DifficultyStage, ...]]:
        return {"parts": self.parts}

    def compute(self, folder: Path, store: Store) -> None:
        save_table(folder, one_below_other([store.result(part) for part in self.parts]))


def one_below_other(tables: Sequence[DifficultyTable]) -> DifficultyTable:
    """The images of several tables under the same settings as one table, in order."""
    joined = {name: np.concatenate([getattr(t, name) for t in tables]) for name in PER_IMAGE}
    return replace(tables[0], **joined)
