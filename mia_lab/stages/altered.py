"""The victim's answers to altered queries, for attacks that send more than one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mia_lab.errors import UserError
from mia_lab.stages.reconstructions import ReconstructionsStage
from mia_lab.stages.victim import ForeignVictim
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import ADAPTIVE, Reconstructions
from mia_lab.victims.query import query_altered


@dataclass(frozen=True, eq=False)
class AlteredStage(Stage[Reconstructions]):
    """Queries the victim with altered images, or repeatedly; only the errors are kept.

    Attributes:
        reconstructions: the plain queries of the same victim.
        alterations: names, see :func:`mia_lab.data.transforms.altered`.
        averaged: answers to each image that :data:`~mia_lab.types.ADAPTIVE` averages.
    """

    name = "altered"
    version = 3

    reconstructions: ReconstructionsStage
    alterations: tuple[str, ...]
    averaged: int

    def inputs(self) -> Mapping[str, Any]:
        inputs: dict[str, Any] = {"alterations": list(self.alterations)}
        if ADAPTIVE in self.alterations:
            inputs |= {"averaged": self.averaged, "seed": self.reconstructions.querying.seed}
        return inputs

    def check(self) -> None:
        victim = self.reconstructions.victim
        if isinstance(victim, ForeignVictim) and victim.is_recorded:
            raise UserError(
                f"victim={victim.component.name}: holds answers to given queries, and attack.names "
                "has an attack that sends others; leave out augmented, adaptive, condition_gap "
                "and fluctuation"
            )

    def compute(self, folder: Path, store: Store) -> None:
        plain = self.reconstructions
        ask, size = plain.querying.open(plain.victim, store), plain.batch_size(store)
        found = query_altered(ask, plain.images, self.alterations, size, self.averaged)
        save_table(folder, found)

    def load(self, folder: Path) -> Reconstructions:
        return load_table(folder, Reconstructions)
