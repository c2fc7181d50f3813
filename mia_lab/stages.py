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
from mia_lab.config.schema import Config, QueryMode, Task, Until
from mia_lab.config.validate import is_trained_by_us
from mia_lab.data import splits
from mia_lab.data.dataset import PairDataset
from mia_lab.difficulty_stages import DifficultyStages
from mia_lab.reconstruction import query
from mia_lab.roles import assign_roles
from mia_lab.run import run_record, settings_line
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import (
    BlindFeatures,
    DifficultyTable,
    Evidence,
    Floats,
    Reconstructions,
    Role,
    Split,
)
from mia_lab.victims.blackbox import (
    BlackBox,
    RecordedAnswers,
    TorchBlackBox,
    Victim,
    resolve_precision,
    torch_device,
    transport,
)

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from mia_lab.data.encoding import LabelEncoding
    from mia_lab.victims.training import EpochHook, TrainingSettings

# Raised by hand when a stage's code changes the numbers it produces.
SPLIT_VERSION = 2
VICTIM_VERSION = 2
RECONSTRUCTIONS_VERSION = 1

NEAR_DUPLICATES_FILE = "near_duplicates.json"
RESIDUALS_FILE = "label_residuals.json"
TRACES_FOLDER = "traces"


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
        self._rows = assign_roles(config, self.source)
        self.ids = tuple(sorted(self._rows))
        self.members = self._ids(Role.MEMBER)
        attacked = (Role.CANDIDATE,) if config.task is Task.score else splits.JUDGED
        self.candidates = self._ids(*attacked)
        # Known non-members fix thresholds.
        self.scored = self._ids(*attacked, Role.AUXILIARY)
        self.encoding = build.encoding(config, self.source)
        self.pairs = PairDataset(
            self.source, self.ids, config.data.image_size, encoding=self.encoding
        )
        self.needs_difficulty = config.task is not Task.export and (
            config.until in (None, Until.difficulty, Until.attacks)
        )
        if self.needs_difficulty:
            _ = self.difficulties  # a wrong layer shall not wait for the training to end
        self._module: pl.LightningModule | None = None
        self._foreign: Victim | None = None
        self._settings = build.resolved_victim(config, self.pairs.in_channels)
        if is_trained_by_us(config.victim):
            self._module = build.trained_victim(self._settings)
            if not self.store.path(self.victim_stage).is_dir():
                self._module.prepare_data()
        else:
            self._foreign = build.foreign_victim(config, self.pairs.in_channels)
            if isinstance(self._foreign, RecordedAnswers):
                self._foreign.check(self.scored)

    @cached_property
    def difficulties(self) -> DifficultyStages:
        """The stages that need no victim, over all images that attacks score."""
        return DifficultyStages(self.config, self.store, self.pairs.subset(self.scored))

    # What each stage depends on

    @cached_property
    def split_stage(self) -> Stage:
        inputs = {"rows": self._rows, "data": self.source.fingerprint(self.ids), **self._encoded}
        return Stage("split", SPLIT_VERSION, inputs)

    @cached_property
    def victim_stage(self) -> Stage:
        """The victim: its settings and its members; a foreign one is what its file contains."""
        trainer = self.config.trainer
        settings = build.identity(self._settings)
        if self._module is not None:
            settings.pop("epoch", None)  # which of its weights are audited
        if isinstance(self._foreign, RecordedAnswers):
            settings.pop("folder", None)  # counts by its pictures
        inputs: dict[str, Any] = {"victim": settings, **self._encoded}
        if self._module is not None:
            inputs |= {
                "members": self.source.fingerprint(self.members),
                "image_size": self.config.data.image_size,
                "precision": resolve_precision(trainer.precision, trainer.accelerator),
                "threads": trainer.threads,
            }
            # Dropout is drawn in each process, and a compiler may round and draw otherwise.
            if trainer.devices > 1:
                inputs["devices"] = trainer.devices
            if trainer.compile:
                inputs["compiled"] = True
        if isinstance(self._foreign, RecordedAnswers):
            inputs["answers"] = self._foreign.fingerprint(self.scored)
        return Stage("victim", VICTIM_VERSION, inputs, resumable=True)

    @property
    def _encoded(self) -> dict[str, Any]:
        return {"encoding": self.encoding.identity()} if self.encoding else {}

    @cached_property
    def reconstructions_stage(self) -> Stage:
        inputs: dict[str, Any] = {
            "victim": self.victim_stage.key,
            "candidates": self.source.fingerprint(self.scored),
            "image_size": self.config.data.image_size,
            "mode": self.config.query.mode.value,
            **self._encoded,
        }
        if self._module is not None and self._epoch is not None:
            inputs["epoch"] = self._epoch
        if self._may_be_random:
            inputs |= {"seed": self.config.seed, "batch_size": self._query_batch_size}
        return Stage("reconstructions", RECONSTRUCTIONS_VERSION, inputs)

    # The stages in order

    def split(self) -> tuple[Split, splits.NearDuplicates]:
        """The roles with their content hashes, and pairs across roles that look alike."""

        def compute(folder: Path) -> None:
            files = getattr(self.source, "files", lambda _: ())
            split, alike, traces = splits.build_split(self.pairs.load, self._rows, files)
            save_table(folder, split)
            (folder / TRACES_FOLDER).mkdir()
            save_table(folder / TRACES_FOLDER, traces)
            (folder / NEAR_DUPLICATES_FILE).write_text(json.dumps(alike))
            (folder / RESIDUALS_FILE).write_text(json.dumps(self.pairs.residuals))

        folder = self.store.get(self.split_stage, compute)
        alike = json.loads((folder / NEAR_DUPLICATES_FILE).read_text())
        return load_table(folder, Split), tuple((a, b, d) for a, b, d in alike)

    def blind_features(self) -> dict[str, Floats]:
        """What the candidates give away by themselves: (N, F) of each blind baseline."""
        traces = load_table(self.store.path(self.split_stage) / TRACES_FOLDER, BlindFeatures)
        tables = (self.difficulties.pooled(), traces)
        return {
            name: columns
            for table in tables
            for name, columns in table.sets(self.candidates).items()
        }

    def victim(self, on_epoch: EpochHook | None = None) -> Victim:
        """The victim, trained on the members if it is ours."""
        if self._foreign is not None:
            return self._foreign
        assert self._module is not None
        from safetensors.torch import load_file

        from mia_lab.victims.training import GENERATOR_FILE, snapshot_file, train

        module, trainer = self._module, self.config.trainer
        folder = self.store.get(
            self.victim_stage,
            lambda folder: train(
                module, self.pairs.subset(self.members), folder, self._training(), on_epoch
            ),
        )
        epoch = self._epoch
        weights = folder / (GENERATOR_FILE if epoch is None else snapshot_file(epoch))
        cast(nn.Module, module.generator).load_state_dict(load_file(weights))
        return TorchBlackBox(module, trainer.accelerator, self.config.query.mode.value)

    @property
    def _epoch(self) -> int | None:
        """After which epoch a victim of ours is audited; None: the last."""
        epoch: int | None = self.config.victim.get("epoch")
        return None if epoch == self.config.victim["epochs"] else epoch

    def _training(self) -> TrainingSettings:
        from mia_lab.victims.training import TrainingSettings

        trainer = self.config.trainer
        return TrainingSettings(
            accelerator=trainer.accelerator,
            precision=resolve_precision(trainer.precision, trainer.accelerator),
            checkpoint_every_s=trainer.checkpoint_every_s,
            strategy=trainer.strategy,
            devices=trainer.devices,
            workers=trainer.workers,
            compile=trainer.compile,
        )

    def losses(self) -> list[dict[str, float]]:
        """Mean losses of every epoch of a victim of ours; empty for a foreign one."""
        if self._module is None:
            return []
        from mia_lab.victims.training import LOSSES_FILE

        with (self.store.path(self.victim_stage) / LOSSES_FILE).open(newline="") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]

    def reconstructions(self, victim: Victim) -> Reconstructions:
        """The victim's answers to all candidates; what a remote one answers is kept at once."""
        if isinstance(victim, BlackBox) and getattr(victim, "remote", False):
            from mia_lab.victims.answers import CachedAnswers

            victim = CachedAnswers(victim, self.store.answers(self.victim_stage))

        def compute(folder: Path) -> None:
            dataset, size = self.pairs.subset(self.scored), self._query_batch_size
            save_table(folder, query(victim, dataset, size, self.config.seed, folder))

        return load_table(self.store.get(self.reconstructions_stage, compute), Reconstructions)

    def count(self, role: Role) -> int:
        """How many images have a role; known before any is decoded."""
        return len(self._ids(role))

    def evidence(
        self, split: Split, reconstructions: Reconstructions, difficulty: DifficultyTable
    ) -> Evidence:
        """What the attacks may look at: nothing of it tells the roles of candidates."""
        return Evidence(
            split.without_candidates(),
            reconstructions,
            difficulty,
            lambda ids: self.pairs.subset(ids).batches(self.config.query.batch_size),
        )

    # What a result depends on, and how it came about

    def identity(self) -> dict[str, Any]:
        """Declared inputs of everything that attacks are given."""
        scored = self.needs_difficulty
        return {
            "reconstructions": self.reconstructions_stage.key,
            "difficulty": [s.key for s in self.difficulties.stages()] if scored else None,
        }

    def record(self) -> dict[str, str]:
        """What was run, as plain strings."""
        config = self.config
        attacks = {
            f"attack {name}": settings_line(config.attack.available[name]) or "no settings"
            for name in config.attack.names
        }
        answers = {"answers travel as": transport(self._foreign)} if self._foreign else {}
        if self.encoding:
            answers["labels"] = self._labels_line(self.encoding)
        keys = (self.split_stage, self.victim_stage, self.reconstructions_stage)
        return {
            "protocol": config.data.protocol.value,
            "assignment": config.data.assignment.value,
            **({"groups": config.data.group_by} if config.data.group_by else {}),
            "data fingerprint": self.source.fingerprint(self.ids),
            "victim": settings_line(self._settings),
            **answers,
            "query": settings_line(build.plain(config.query)),
            **attacks,
            **{f"stage {stage.name}": stage.key for stage in keys},
            **run_record(config),
            **self.difficulties.record(),
        }

    def _labels_line(self, encoding: LabelEncoding) -> str:
        """How the labels were made, and how far the pictures' colours were from the palette's."""
        boundaries = "with" if encoding.boundaries else "without"
        line = f"one-hot, {len(encoding.palette)} classes, {boundaries} boundaries of instances"
        path = self.store.path(self.split_stage) / RESIDUALS_FILE
        off = list(json.loads(path.read_text()).values())
        if not any(off):
            return f"{line}; classes known, or of exactly the palette's colours"
        mean = sum(off) / len(off)
        return f"{line}; colours {mean:.2f} levels from the palette's, at most {max(off):.2f}"

    @property
    def _may_be_random(self) -> bool:
        """Ours answer at random in one mode only; of foreign ones we cannot know."""
        recorded = isinstance(self._foreign, RecordedAnswers)
        foreign = self._foreign is not None and not recorded
        return foreign or self.config.query.mode is QueryMode.train

    @property
    def _query_batch_size(self) -> int:
        # Dropout and batch statistics are asked image by image, so that each draw has its seed.
        return 1 if self.config.query.mode is QueryMode.train else self.config.query.batch_size

    def _ids(self, *roles: Role) -> tuple[str, ...]:
        return tuple(i for i in self.ids if self._rows[i]["role"] in roles)
