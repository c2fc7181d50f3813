"""The stages that train victims and ask them, each computed once and kept in the store."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mia_lab.config.validate import PRECISIONS
from mia_lab.errors import UserError
from mia_lab.stages.planned import PlannedStages
from mia_lab.store import Stage, load_table, save_table
from mia_lab.types import ADAPTIVE, Reconstructions
from mia_lab.victims.files import GENERATOR_FILE, LOSSES_FILE, snapshot_file

# PyTorch takes seconds to import, and a job that finds everything in the store does without.
if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch import nn

    from mia_lab.victims.blackbox import BlackBox, Victim
    from mia_lab.victims.training import EpochHook, TrainingSettings

log = logging.getLogger(__name__)

ALTERED_VERSION = 1


class VictimStages(PlannedStages):
    """Victims and their answers, computed or read from the store on request."""

    @property
    def altered_stage(self) -> Stage:
        """The victim's answers to altered queries."""
        inputs: dict[str, Any] = {
            "reconstructions": self.plan.stage("reconstructions").key,
            "alterations": list(self._needs.altered),
        }
        if ADAPTIVE in self._needs.altered:
            inputs |= {"repeats": self.config.query.repeats, "seed": self.config.seed}
        return Stage("altered", ALTERED_VERSION, inputs)

    def victim(self, on_epoch: EpochHook | None = None) -> Victim:
        """The victim, trained on the members if it is ours."""
        if not self._is_ours:
            return self._foreign
        from mia_lab.victims.training import train

        module = self._module

        def compute(folder: Path) -> None:
            self._warn_of_others()
            train(module, self.pairs.subset(self.members), folder, self._training(), on_epoch)

        folder, epoch = self.store.get(self.victim_stage, compute), self._epoch
        weights = folder / (GENERATOR_FILE if epoch is None else snapshot_file(epoch))
        return self._black_box(module, weights)

    def _black_box(self, module: pl.LightningModule, weights: Path) -> Victim:
        """A trained model of ours, or of the attacker's, to be asked."""
        from safetensors.torch import load_file

        from mia_lab.victims.blackbox import TorchBlackBox

        cast("nn.Module", module.generator).load_state_dict(load_file(weights))
        config = self.config
        return TorchBlackBox(module, config.trainer.accelerator, config.query.mode.value)

    def _warn_of_others(self) -> None:
        """A machine without a GPU trains in another precision than the one with it."""
        for precision in PRECISIONS:
            if self._is_stored(self._victim_stage(precision)):
                log.warning(
                    "the store has this victim trained in %s; trainer.precision=%s would use it, "
                    "this run trains one in %s",
                    precision,
                    precision,
                    self._precision,
                )

    def _training(self) -> TrainingSettings:
        from mia_lab.victims.training import TrainingSettings

        trainer = self.config.trainer
        return TrainingSettings(
            accelerator=trainer.accelerator,
            precision=self._precision,
            checkpoint_every_s=trainer.checkpoint_every_s,
            strategy=trainer.strategy,
            devices=trainer.devices,
            workers=trainer.workers,
            compile=trainer.compile,
        )

    def losses(self) -> list[dict[str, float]]:
        """Mean losses of every epoch of a victim of ours; empty for a foreign one."""
        if not self._is_ours:
            return []
        try:
            with (self.store.path(self.victim_stage) / LOSSES_FILE).open(newline="") as file:
                return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        except FileNotFoundError:  # pruned: its answers are there
            return []

    def reconstructions(self, victim: Victim | None = None) -> Reconstructions:
        """The victim's answers to all candidates; what a remote one answers is kept at once.

        Args:
            victim: None: :meth:`victim`, if it has to be asked.
        """

        def compute(folder: Path) -> None:
            from mia_lab.victims.query import query

            asked = self._remembering(victim or self.victim())
            dataset, size = self.pairs.subset(self.scored), self._query_batch_size
            seed = self.config.seed
            save_table(folder, query(asked, dataset, size, seed, folder, self.defense))

        stage = self.plan.stage("reconstructions")
        return load_table(self.store.get(stage, compute), Reconstructions)

    def references(self) -> tuple[Reconstructions, ...]:
        """What the reference victims answer, each trained now if it is not stored.

        With ``reference.only`` just one of them, so that several jobs train them side by side.
        """
        if not self.needs_references:
            return ()
        only, numbers = self.config.reference.only, range(self.config.reference.count)
        return tuple(self._reference(number) for number in numbers if only in (None, number))

    def _reference(self, number: int) -> Reconstructions:
        trained = self.plan.stages["reference"][number]
        settings = self.reference_victims.settings(self._settings, number)

        def learn(folder: Path) -> None:
            from mia_lab.victims.training import train

            log.info("reference victim %d of %d", number + 1, self.config.reference.count)
            pairs = self.reference_victims.pairs(number, self.pairs)
            train(self._built(settings), pairs, folder, self._training())

        def compute(folder: Path) -> None:
            from mia_lab.victims.query import query

            weights = self.store.get(trained, learn) / GENERATOR_FILE
            victim = self._black_box(self._built(settings), weights)
            dataset, size = self.pairs.subset(self.scored), self._query_batch_size
            save_table(folder, query(victim, dataset, size, self.config.seed, folder))

        answers = self.plan.stages["reference answers"][number]
        return load_table(self.store.get(answers, compute), Reconstructions)

    def altered(self, victim: Victim | None = None) -> Reconstructions | None:
        """The victim's answers to altered queries; None where no attack asks for them.

        Raises:
            UserError: it has answered before, and cannot be asked again.
        """
        if not self._needs.altered:
            return None

        def compute(folder: Path) -> None:
            from mia_lab.victims.blackbox import BlackBox
            from mia_lab.victims.query import query_altered

            asked = victim or self.victim()
            if not isinstance(asked, BlackBox):
                raise UserError(
                    f"victim={self.config.victim.get('name')}: holds answers to given queries, and "
                    "attack.names has one that asks others; leave out augmented"
                )
            if ADAPTIVE not in self._needs.altered:  # who adapts wants another answer each time
                asked = cast("BlackBox", self._remembering(asked))
            dataset, size = self.pairs.subset(self.scored), self._query_batch_size
            names, seed, repeats = self._needs.altered, self.config.seed, self.config.query.repeats
            found = query_altered(asked, dataset, names, size, seed, self.defense, repeats)
            save_table(folder, found)

        return load_table(self.store.get(self.altered_stage, compute), Reconstructions)

    def _remembering(self, victim: Victim) -> Victim:
        from mia_lab.victims.blackbox import BlackBox

        if not (isinstance(victim, BlackBox) and getattr(victim, "remote", False)):
            return victim
        from mia_lab.victims.answers import CachedAnswers

        return CachedAnswers(victim, self.store.answers(self.victim_stage))
