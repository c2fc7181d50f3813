"""The answers of a model to all scored images, and their reconstruction errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mia_lab.config.component import Component
from mia_lab.data.dataset import PairDataset
from mia_lab.defenses import Defense
from mia_lab.errors import UserError
from mia_lab.stages.determinism import DeterminismStage
from mia_lab.stages.victim import ForeignVictim, VictimStage
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import Reconstructions
from mia_lab.victims.answers import CachedAnswers
from mia_lab.victims.blackbox import BlackBox, Victim
from mia_lab.victims.query import query


@dataclass(frozen=True)
class Querying:
    """How a model is queried.

    Attributes:
        mode: ``eval``, or ``train`` with dropout and batch statistics active.
        batch_size: images a query.
        seed: of answers that are drawn at random.
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        epoch: after which epoch of its training the model is queried; None: the last.
        defense: changes the answers before anyone sees them; None: nothing does.
    """

    mode: str
    batch_size: int
    seed: int
    accelerator: str
    epoch: int | None = None
    defense: Component | None = None

    @property
    def actual_batch_size(self) -> int:
        """In training mode each image is queried alone, so that each draw has its own seed."""
        return 1 if self.mode == "train" else self.batch_size

    def inputs(self, is_random: bool) -> dict[str, Any]:
        """What decides the answers besides model and images; JSON values.

        Args:
            is_random: whether the model itself may answer at random.
        """
        inputs: dict[str, Any] = {"mode": self.mode}
        if self.epoch is not None:
            inputs["epoch"] = self.epoch
        if self.defense is not None:
            inputs["defense"] = self.defense.fingerprint()
        if is_random or self.defense is not None or self.mode == "train":
            inputs |= {"seed": self.seed, "batch_size": self.actual_batch_size}
        return inputs

    def open(self, victim: VictimStage, store: Store, *, cached: bool = True) -> Victim:
        """A model, its answers kept one by one in the store if it is remote.

        Args:
            victim: the model.
            store: gives its weights, and keeps its answers.
            cached: False where each query must get an answer of its own.
        """
        opened = victim.open(store, self.accelerator, self.mode, self.epoch)
        if not (cached and getattr(opened, "remote", False)):
            return opened
        channels = cast(ForeignVictim, victim).queried.out_channels
        return CachedAnswers(cast(BlackBox, opened), store.answers(victim), channels)

    def build_defense(self) -> Defense | None:
        """The defence as an object.

        Raises:
            UserError: it lacks a method.
        """
        if self.defense is None:
            return None
        built = self.defense.build()
        if not isinstance(built, Defense):
            raise UserError(
                f"defense._target_={self.defense.target}: needs the methods apply(answers) and "
                "expected(pictures)"
            )
        return built


@dataclass(frozen=True, eq=False)
class ReconstructionsStage(Stage[Reconstructions]):
    """Queries a model once with every scored image; a remote answer is kept at once.

    Attributes:
        determinism: tells whether each image is queried alone; None: as ``querying`` says.
    """

    name = "reconstructions"
    version = 2

    victim: VictimStage
    images: PairDataset
    querying: Querying
    determinism: DeterminismStage | None = None

    def inputs(self) -> Mapping[str, Any]:
        return {**self.images.identity(), **self.querying.inputs(self.victim.is_random)}

    def check(self) -> None:
        self.querying.build_defense()

    def batch_size(self, store: Store) -> int:
        """Images a query: one where answers depend on more than the image."""
        if self.determinism is not None and store.result(self.determinism).is_random:
            return 1
        return self.querying.actual_batch_size

    def compute(self, folder: Path, store: Store) -> None:
        querying = self.querying
        found = query(
            querying.open(self.victim, store),
            self.images,
            self.batch_size(store),
            querying.seed,
            folder,
            querying.build_defense(),
        )
        save_table(folder, found)

    def load(self, folder: Path) -> Reconstructions:
        return load_table(folder, Reconstructions)
