"""The answers of a model to all scored images, and their reconstruction errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from mia_lab.config import kinds
from mia_lab.config.component import Component
from mia_lab.data.dataset import PairDataset
from mia_lab.defenses import Defense
from mia_lab.errors import UserError
from mia_lab.stages.determinism import DeterminismStage
from mia_lab.stages.victim import ForeignVictim, VictimStage
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import Reconstructions
from mia_lab.victims.answers import CachedAnswers, CachedSamples
from mia_lab.victims.blackbox import BlackBox, Sampler
from mia_lab.victims.query import Questioner, query


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

    @property
    def is_random(self) -> bool:
        """Whether answers vary whatever the model is: by active dropout, or by the defence."""
        defense = self.defense
        return self.mode == "train" or (defense is not None and kinds.is_random_defense(defense))

    def inputs(self, victim: VictimStage) -> dict[str, Any]:
        """What decides the answers of a model besides its weights and the images; JSON values."""
        inputs: dict[str, Any] = {"mode": self.mode}
        if self.epoch is not None:
            inputs["epoch"] = self.epoch
        if self.defense is not None:
            inputs["defense"] = self.defense.fingerprint()
        if victim.is_random or self.defense is not None or self.mode == "train":
            inputs["seed"] = self.seed
            # A sampler draws each image from a seed of its own.
            if not victim.is_sampler or self.defense is not None:
                inputs["batch_size"] = self.actual_batch_size
        return inputs

    def open(self, victim: VictimStage, store: Store) -> Questioner:
        """A model ready to be queried; each of its answers is stored at once if it is costly.

        Args:
            victim: the model.
            store: gives its weights, and keeps its answers.
        """
        opened = victim.open(store, self.accelerator, self.mode, self.epoch)
        if getattr(opened, "costly", False):
            kind = CachedSamples if isinstance(opened, Sampler) else CachedAnswers
            channels = cast(ForeignVictim, victim).queried.out_channels
            opened = kind(cast(BlackBox | Sampler, opened), store.answers(victim), channels)
        return Questioner(opened, self.seed, self.build_defense())

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
    """Queries a model once with every scored image; a costly answer is stored at once.

    Attributes:
        determinism: tells whether each image is queried alone; None: as ``querying`` says.
        repeat: index of the answers, where the images are queried several times. Each repeat is a
            stage of its own, so that four answers and four more make eight.
    """

    name = "reconstructions"
    version = 2

    victim: VictimStage
    images: PairDataset
    querying: Querying
    determinism: DeterminismStage | None = None
    repeat: int = 0

    def inputs(self) -> Mapping[str, Any]:
        repeat = {"repeat": self.repeat} if self.repeat else {}
        images = self.images.identity(prompted=kinds.takes_prompts(self.victim.component))
        return {**images, **self.querying.inputs(self.victim), **repeat}

    def check(self) -> None:
        self.querying.build_defense()

    def batch_size(self, store: Store) -> int:
        """Images a query: one where answers depend on more than the image."""
        if self.determinism is not None and store.result(self.determinism).is_random:
            return 1
        return self.querying.actual_batch_size

    def compute(self, folder: Path, store: Store) -> None:
        ask = self.querying.open(self.victim, store)
        if self.repeat and not self._varies(ask, store):
            raise UserError(
                f"query.repeats: victim={self.victim.component.name} answers a repeated query "
                "alike, so that further answers tell nothing; set query.repeats=1"
            )
        save_table(folder, query(ask, self.images, self.batch_size(store), folder, self.repeat))

    def _varies(self, ask: Questioner, store: Store) -> bool:
        """Whether this repeat may differ from the first answers; one image tells."""
        if self.victim.is_sampler:
            return True
        if self.determinism is not None and not self.querying.is_random:
            return store.result(self.determinism).is_random
        (one,) = self.images.subset(self.images.ids[:1]).batches(1)
        return not np.array_equal(ask(one), ask(one, self.repeat))

    def load(self, folder: Path) -> Reconstructions:
        return load_table(folder, Reconstructions)
