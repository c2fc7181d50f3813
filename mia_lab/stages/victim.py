"""The victim: trained on the members, or loaded from what somebody else trained."""

from __future__ import annotations

import csv
import json
import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors.torch import load_file
from torch import Tensor, nn

from mia_lab.config import kinds
from mia_lab.config.component import Component
from mia_lab.data.dataset import PairDataset
from mia_lab.errors import UserError
from mia_lab.hardware import computing_with, torch_device
from mia_lab.store import Stage, Store
from mia_lab.victims.blackbox import (
    BlackBox,
    RecordedAnswers,
    Sampler,
    TorchBlackBox,
    TorchSampler,
    Victim,
    transport,
)
from mia_lab.victims.files import GENERATOR_FILE, LOSSES_FILE, snapshot_file
from mia_lab.victims.settings import EpochHook, TrainingSettings

if TYPE_CHECKING:
    import pytorch_lightning as pl

log = logging.getLogger(__name__)

TRANSPORT_FILE = "transport.json"


@dataclass(frozen=True, eq=False)
class VictimStage(Stage[Path]):
    """A model that can be queried.

    Attributes:
        component: its configured class.
    """

    name = "victim"
    version = 2

    component: Component

    @abstractmethod
    def open(self, store: Store, accelerator: str, mode: str, epoch: int | None) -> Victim:
        """The model, ready to be queried.

        Args:
            store: gives the weights.
            accelerator: ``auto``, ``cpu`` or ``gpu``.
            mode: ``eval``, or ``train`` with dropout and batch statistics active.
            epoch: after which epoch of the training; None: the last.
        """

    @property
    def is_random(self) -> bool:
        """Whether it may answer the same query differently in evaluation mode."""
        return kinds.is_stochastic(self.component)

    @property
    def is_sampler(self) -> bool:
        """Whether it draws each answer from a seed that it is given."""
        return kinds.is_sampler(self.component)


@dataclass(frozen=True, eq=False)
class TrainedVictim(VictimStage):
    """A model that this run trains: the victim, or a reference model of the attacker.

    Attributes:
        training_set: the images that it is trained on.
        training: devices and precision.
        threads: that train on a CPU; their number changes the order of sums.
        on_epoch: called after every epoch; changes no number.
        description: for the log, such as "reference model 2 of 8"; "" for the victim.
    """

    is_resumable = True

    training_set: PairDataset
    training: TrainingSettings
    threads: int
    on_epoch: EpochHook | None = None
    description: str = ""

    def inputs(self) -> Mapping[str, Any]:
        training = self.training
        fingerprint = self.component.fingerprint()
        # Which epoch of one training is audited does not change the training.
        fingerprint["arguments"].pop("epoch", None)
        inputs: dict[str, Any] = {
            "victim": fingerprint,
            **self.training_set.identity(),
            "precision": training.precision,
            "threads": self.threads,
        }
        # Each process draws its own dropout, and a compiler may round and draw differently.
        if training.devices > 1:
            inputs["devices"] = training.devices
        if training.compile:
            inputs["compiled"] = True
        return inputs

    def check(self) -> None:
        torch_device(self.training.accelerator)
        self._build().prepare_data()

    def compute(self, folder: Path, store: Store) -> None:
        from mia_lab.victims.training import train

        if self.description:
            log.info("%s", self.description)
        self._warn_of_other_precisions(store)
        with computing_with(self.threads):
            train(self._build(), self.training_set, folder, self.training, self.on_epoch)

    def load(self, folder: Path) -> Path:
        return folder

    def open(self, store: Store, accelerator: str, mode: str, epoch: int | None) -> Victim:
        weights = GENERATOR_FILE if epoch is None else snapshot_file(epoch)
        return self.with_weights(load_file(store.result(self) / weights), accelerator, mode)

    def with_weights(
        self, weights: Mapping[str, Tensor], accelerator: str, mode: str
    ) -> TorchBlackBox | TorchSampler:
        """A new network with a copy of some weights, ready to be queried."""
        module = self._build()
        cast(nn.Module, module.generator).load_state_dict(weights)
        return self._opened(module, accelerator, mode)

    def untrained(self, accelerator: str) -> TorchBlackBox | TorchSampler:
        """A network with its initial weights, which answers as slowly as a trained one."""
        return self._opened(self._build(), accelerator, "eval")

    def _opened(
        self, module: nn.Module, accelerator: str, mode: str
    ) -> TorchBlackBox | TorchSampler:
        if self.is_sampler:
            return TorchSampler(module, accelerator)
        return TorchBlackBox(module, accelerator, mode)

    def kept_epochs(self, store: Store) -> tuple[int, ...]:
        """The epochs whose weights are stored, the last one included; none if it was pruned."""
        last = [int(row["epoch"]) for row in self.losses(store)][-1:]
        asked = self.component.arguments.get("keep_epochs", ()) if last else ()
        return tuple(sorted({*asked, *last}))

    def losses(self, store: Store) -> list[dict[str, float]]:
        """Mean losses of every epoch; empty where the training was pruned from the store."""
        try:
            with (store.path(self) / LOSSES_FILE).open(newline="") as file:
                return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        except FileNotFoundError:
            return []

    def in_precision(self, precision: str) -> TrainedVictim:
        """The same training in another precision."""
        return replace(self, training=replace(self.training, precision=precision))

    def _build(self) -> pl.LightningModule:
        # Auditing other people's models needs no Lightning, which takes seconds to import.
        import pytorch_lightning as pl

        module = self.component.build()
        if not isinstance(module, pl.LightningModule):
            raise UserError(
                f"{self.component.key}._target_={self.component.target}: says that it is trained "
                "here, but is no LightningModule; see docs/extend.md"
            )
        return module

    def _warn_of_other_precisions(self, store: Store) -> None:
        for precision in ("32-true", "bf16-mixed", "16-mixed"):
            if store.has(self.in_precision(precision)):
                log.warning(
                    "the store has this victim trained in %s; trainer.precision=%s would use it, "
                    "this run trains one in %s",
                    precision,
                    precision,
                    self.training.precision,
                )


@dataclass(frozen=True, eq=False)
class ForeignVictim(VictimStage):
    """A model that somebody else trained: a file, a URL, or pictures that it generated before.

    Attributes:
        queried: the images that it will be queried with; pictures that it generated count by
            their content for these.
    """

    is_quick = True

    queried: PairDataset

    @property
    def is_recorded(self) -> bool:
        """Whether it holds answers to given queries and cannot be queried with others."""
        return kinds.is_recorded(self.component)

    def inputs(self) -> Mapping[str, Any]:
        fingerprint = self.component.fingerprint()
        inputs: dict[str, Any] = {"victim": fingerprint}
        if self.queried.encoding:
            inputs["encoding"] = self.queried.encoding.identity()
        if self.is_recorded:
            fingerprint["arguments"].pop("folder", None)  # the pictures in it count
            recorded = cast(RecordedAnswers, self.victim)
            inputs["answers"] = recorded.fingerprint(self.queried.ids)
        return inputs

    def check(self) -> None:
        _ = self.victim

    def compute(self, folder: Path, store: Store) -> None:
        record = {"answers travel as": transport(self.victim)}
        if reading := getattr(self.victim, "reading", ""):
            record["weights read as"] = reading
        (folder / TRANSPORT_FILE).write_text(json.dumps(record))

    def load(self, folder: Path) -> Path:
        return folder

    def open(self, store: Store, accelerator: str, mode: str, epoch: int | None) -> Victim:
        return self.victim

    @cached_property
    def victim(self) -> Victim:
        """The model.

        Raises:
            UserError: it has no method ``translate``, takes other inputs than the data gives, or
                lacks an answer or a prompt; or one of its files has changed since the key was
                computed.
        """
        victim = self.component.build()
        if isinstance(victim, RecordedAnswers):
            victim.check(self.queried.ids)
            return victim
        if not isinstance(victim, BlackBox | Sampler):
            raise UserError(
                f"victim._target_={self.component.target}: has no method translate(x), nor "
                "sample(x, seeds, prompts); see docs/extend.md"
            )
        if isinstance(victim, Sampler) != self.is_sampler:
            raise UserError(
                f"victim._target_={self.component.target}: makes an object with the method sample; "
                "name the class that has it instead of a function"
            )
        self._check_channels(victim)
        if check_prompts := getattr(victim, "check_prompts", None):
            check_prompts(self.queried.prompts, self.queried.ids)
        self.check_unchanged()  # it has read the files that the key is of
        return victim

    def _check_channels(self, victim: Victim) -> None:
        name, queried = self.component.name, self.queried
        wanted, found = getattr(victim, "in_channels", None), queried.in_channels
        if wanted not in (None, found):
            if queried.encoding:
                remedy = (
                    "these are the classes of data.palette, and one more where instances are known "
                    "and data.instances is true"
                )
            elif wanted == queried.out_channels:
                remedy = f"its targets have {wanted}: is data.direction reversed?"
            else:
                remedy = f"{_converted('input', wanted, found)}; or, where it takes one channel a "
                remedy += "class, set data.input_encoding=one_hot"
            raise UserError(
                f"victim={name}: takes {wanted} channels, the data's inputs have {found}; {remedy}"
            )
        answered, found = getattr(victim, "out_channels", None), queried.out_channels
        if answered not in (None, found):
            raise UserError(
                f"victim={name}: answers with {answered} channels, the data's targets have "
                f"{found}; {_converted('target', answered, found)}"
            )


def _converted(side: str, wanted: int, found: int) -> str:
    """How pictures get other channels."""
    if {wanted, found} == {1, 3}:
        return f"set data.{side}_channels={wanted}, which converts them"
    return f"give {side} pictures of {wanted} channels (data.{side}_channels={wanted})"
