"""The costly stages of an audit, each stored under a key made of its declared inputs.

The key of a victim knows its members, not the non-members; the key of a difficulty knows no
victim. So changing one setting repeats only what depends on it.
"""

from __future__ import annotations

import csv
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from mia_lab.config import build
from mia_lab.config.schema import Config, Protocol, QueryMode, Until
from mia_lab.config.validate import is_trained_by_us
from mia_lab.data import splits
from mia_lab.data.dataset import PairDataset
from mia_lab.data.source import all_ids
from mia_lab.difficulty_stages import DifficultyStages
from mia_lab.reconstruction import query
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import Reconstructions, Role, Split
from mia_lab.victims.blackbox import BlackBox, TorchBlackBox, torch_device

if TYPE_CHECKING:
    from mia_lab.victims.training import EpochHook

# Raised by hand when a stage's code changes the numbers it produces.
SPLIT_VERSION = 1
VICTIM_VERSION = 1
RECONSTRUCTIONS_VERSION = 1

NEAR_DUPLICATES_FILE = "near_duplicates.json"


class Stages:
    """What one configuration asks for, computed or read from the store on request.

    Building one checks everything that can be checked without decoding a picture.

    Args:
        config: a validated configuration.
        store: where results are kept.

    Raises:
        UserError: the data, the victim or a layer is not what the configuration says.
    """

    def __init__(self, config: Config, store: Store) -> None:
        self.config = config
        self.store = store
        torch.set_num_threads(config.trainer.threads)
        torch_device(config.trainer.accelerator)
        self.source = build.source(config)
        self._rows = self._assign()
        self.ids = tuple(sorted(self._rows))
        self.members = self._ids(Role.MEMBER)
        self.candidates = self._ids(Role.MEMBER, Role.NONMEMBER)
        self.pairs = PairDataset(self.source, self.ids, config.data.image_size)
        self.needs_difficulty = config.until in (None, Until.difficulty, Until.attacks)
        if self.needs_difficulty:
            _ = self.difficulties  # a wrong layer shall not wait for the training to end
        self._module = build.trained_victim(config) if is_trained_by_us(config.victim) else None
        self._foreign = None if self._module else build.black_box(config)

    @cached_property
    def difficulties(self) -> DifficultyStages:
        """The stages that need no victim, over all candidates."""
        return DifficultyStages(self.config, self.store, self.pairs.subset(self.candidates))

    # What each stage depends on

    @cached_property
    def split_stage(self) -> Stage:
        return Stage(
            "split", SPLIT_VERSION, {"rows": self._rows, "data": self.source.fingerprint(self.ids)}
        )

    @cached_property
    def victim_stage(self) -> Stage:
        """The victim: its settings and its members; a foreign one is what its file contains."""
        trainer = self.config.trainer
        inputs: dict[str, Any] = {"victim": build.identity(self.config.victim)}
        if self._module is not None:
            inputs |= {
                "members": self.source.fingerprint(self.members),
                "image_size": self.config.data.image_size,
                "precision": trainer.precision,
                "threads": trainer.threads,
            }
        return Stage("victim", VICTIM_VERSION, inputs, resumable=True)

    @cached_property
    def reconstructions_stage(self) -> Stage:
        inputs: dict[str, Any] = {
            "victim": self.victim_stage.key,
            "candidates": self.source.fingerprint(self.candidates),
            "image_size": self.config.data.image_size,
            "mode": self.config.query.mode.value,
        }
        if self._may_be_random:
            inputs |= {"seed": self.config.seed, "batch_size": self._query_batch_size}
        return Stage("reconstructions", RECONSTRUCTIONS_VERSION, inputs)

    # The stages in order

    def split(self) -> tuple[Split, splits.NearDuplicates]:
        """The roles with their content hashes, and pairs across roles that look alike."""

        def compute(folder: Path) -> None:
            split, alike = splits.build_split(self.pairs.load, self._rows)
            save_table(folder, split)
            (folder / NEAR_DUPLICATES_FILE).write_text(json.dumps(alike))

        folder = self.store.get(self.split_stage, compute)
        alike = json.loads((folder / NEAR_DUPLICATES_FILE).read_text())
        return load_table(folder, Split), tuple((a, b, d) for a, b, d in alike)

    def victim(self, on_epoch: EpochHook | None = None) -> BlackBox:
        """The victim, trained on the members if it is ours."""
        if self._foreign is not None:
            return self._foreign
        assert self._module is not None
        from safetensors.torch import load_file

        from mia_lab.victims.training import GENERATOR_FILE, TrainingSettings, train

        module, trainer = self._module, self.config.trainer
        settings = TrainingSettings(
            trainer.accelerator,
            trainer.precision,
            trainer.checkpoint_every_s,
        )
        folder = self.store.get(
            self.victim_stage,
            lambda folder: train(
                module, self.pairs.subset(self.members), folder, settings, on_epoch
            ),
        )
        cast(nn.Module, module.generator).load_state_dict(load_file(folder / GENERATOR_FILE))
        return TorchBlackBox(module, trainer.accelerator, self.config.query.mode.value)

    def losses(self) -> list[dict[str, float]]:
        """Mean losses of every epoch of a victim of ours; empty for a foreign one."""
        if self._module is None:
            return []
        from mia_lab.victims.training import LOSSES_FILE

        with (self.store.path(self.victim_stage) / LOSSES_FILE).open(newline="") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]

    def reconstructions(self, victim: BlackBox) -> Reconstructions:
        """The victim's answers to all candidates."""

        def compute(folder: Path) -> None:
            dataset, size = self.pairs.subset(self.candidates), self._query_batch_size
            save_table(folder, query(victim, dataset, size, self.config.seed, folder))

        return load_table(self.store.get(self.reconstructions_stage, compute), Reconstructions)

    @property
    def _may_be_random(self) -> bool:
        """Ours answer at random in one mode only; of foreign ones we cannot know."""
        return self._foreign is not None or self.config.query.mode is QueryMode.train

    @property
    def _query_batch_size(self) -> int:
        # Dropout and batch statistics are asked image by image, so that each draw has its seed.
        return 1 if self.config.query.mode is QueryMode.train else self.config.query.batch_size

    def _ids(self, *roles: Role) -> tuple[str, ...]:
        return tuple(i for i in self.ids if self._rows[i]["role"] in roles)

    def _assign(self) -> splits.Rows:
        data = self.config.data
        counts = splits.Counts(data.n_members, data.n_nonmembers, data.n_auxiliary)
        if data.protocol is Protocol.manifest:
            return splits.read_manifest(Path(str(data.manifest)), all_ids(self.source))
        train = self.source.ids("train")
        if data.protocol is Protocol.official:
            return splits.assign_official(train, self.source.ids("test"), counts, self.config.seed)
        return splits.assign_resplit(train, counts, self.config.seed)
