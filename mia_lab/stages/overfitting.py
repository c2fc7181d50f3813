"""Reconstruction errors of members and of non-members in the course of a victim's training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mia_lab.data.dataset import PairDataset
from mia_lab.errors import UserError
from mia_lab.evaluation.overfitting import overfitting
from mia_lab.evaluation.results import Overfitting
from mia_lab.stages.images import RunImages
from mia_lab.stages.victim import TrainedVictim
from mia_lab.store import Stage, Store
from mia_lab.types import Floats
from mia_lab.victims.blackbox import Victim
from mia_lab.victims.query import Questioner, errors_of
from mia_lab.victims.settings import EpochHook

if TYPE_CHECKING:
    import pytorch_lightning as pl

log = logging.getLogger(__name__)

MEASURED = 32
"""Most members, and most non-members, that are queried after an epoch."""

ERRORS_FILE = "errors.npy"


@dataclass(frozen=True, eq=False)
class EpochErrors(Stage[Floats]):
    """The errors of some images after one epoch of a training, in evaluation mode.

    The weights are those that the training kept, or those of the training while it runs, which are
    the same. So the training does not depend on these images.

    Attributes:
        images: what the victim is queried with.
        epoch: from 1.
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        batch_size: images a query.
        measured: the errors, where the training ran in this process; None: from kept weights.
    """

    name = "overfitting"
    version = 1
    is_quick = True

    victim: TrainedVictim
    images: PairDataset
    epoch: int
    accelerator: str
    batch_size: int
    measured: Floats | None = None

    def inputs(self) -> Mapping[str, Any]:
        return {**self.images.identity(), "epoch": self.epoch}

    def compute(self, folder: Path, store: Store) -> None:
        errors = self.measured
        if errors is None:
            epoch = None if self.epoch == self.victim.kept_epochs(store)[-1] else self.epoch
            errors = self.measure(self.victim.open(store, self.accelerator, "eval", epoch))
        np.save(folder / ERRORS_FILE, errors)

    def measure(self, victim: Victim) -> Floats:
        """The errors of all images, each of the same random answer after every epoch."""
        return errors_of(Questioner(victim, seed=0), self.images, self.batch_size)

    def load(self, folder: Path) -> Floats:
        errors: Floats = np.load(folder / ERRORS_FILE, allow_pickle=False)
        return errors


@dataclass(frozen=True)
class Course:
    """The course of a training: measures it while it runs, and reads what is known of it.

    Attributes:
        victim: the training.
        members, nonmembers: the images that are queried.
        accelerator, batch_size: of the queries.
    """

    victim: TrainedVictim
    members: PairDataset
    nonmembers: PairDataset
    accelerator: str
    batch_size: int
    _measured: dict[int, Floats] = field(default_factory=dict)

    @classmethod
    def of(
        cls, victim: TrainedVictim, images: RunImages, accelerator: str, batch_size: int
    ) -> Course:
        """The course of the training of a run's victim."""
        members, nonmembers = (
            images.dataset.subset(ids).spread(MEASURED)
            for ids in (images.members, images.nonmembers)
        )
        return cls(victim, members, nonmembers, accelerator, batch_size)

    @cached_property
    def images(self) -> PairDataset:
        """Members, then non-members."""
        return self.members.subset([*self.members.ids, *self.nonmembers.ids])

    def at(self, epoch: int) -> EpochErrors:
        """The errors of all images after an epoch."""
        return EpochErrors(self.victim, self.images, epoch, self.accelerator, self.batch_size)

    def measure(self, epoch: int, module: pl.LightningModule) -> None:
        """Measure after an epoch of a running training, if it is a power of two.

        A copy of the generator is queried: the networks, their modes, their statistics and the
        states of all random generators stay as they are.
        """
        from pytorch_lightning.utilities.seed import isolate_rng

        if epoch & (epoch - 1):
            return
        with isolate_rng():
            copy = self.victim.with_weights(
                module.generator.state_dict(),  # type: ignore[union-attr]
                self.accelerator,
                "eval",
            )
            try:
                self._measured[epoch] = self.at(epoch).measure(copy)
            except UserError as error:  # a network that is hardly trained may answer anything
                log.debug("epoch %d: %s", epoch, error)

    def train(
        self, store: Store, goals: Iterable[Stage[Any]], on_epoch: EpochHook | None = None
    ) -> None:
        """Train the victim if a goal needs it, and store what is measured after its epochs.

        Args:
            store: gets the training and the errors.
            goals: what will be computed.
            on_epoch: called after every epoch, before its errors are measured.
        """
        if self.victim.path not in {stage.path for stage in store.missing(*goals)}:
            return

        def hook(epoch: int, losses: Mapping[str, float], module: pl.LightningModule) -> None:
            if on_epoch is not None:
                on_epoch(epoch, losses, module)
            self.measure(epoch, module)

        try:
            store.folder(replace(self.victim, on_epoch=hook))
        finally:  # a training that resumes does not come back to these epochs
            while self._measured:
                epoch, errors = self._measured.popitem()
                store.folder(replace(self.at(epoch), measured=errors))

    def result(self, store: Store) -> Overfitting | None:
        """What is known of the course; None if the training is not stored."""
        kept = self.victim.kept_epochs(store)
        if not kept:
            return None
        powers = [2**k for k in range(kept[-1].bit_length())]
        stages = {epoch: self.at(epoch) for epoch in sorted({*powers, *kept})}
        errors = {}
        for epoch, stage in stages.items():
            if epoch in kept or store.has(stage):
                try:
                    errors[epoch] = store.result(stage)
                except UserError as error:  # as in `measure`
                    log.debug("epoch %d: %s", epoch, error)
        return overfitting(errors, len(self.members), self.victim.losses(store))
