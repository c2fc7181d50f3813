"""The stages of an audit under their keys, and what has to be built to name and compute them.

The key of a victim knows its members, not the non-members; the key of a difficulty knows no
victim. So changing one setting repeats only what depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from mia_lab.attacks.needs import Given
from mia_lab.config import build
from mia_lab.config.checks import is_trained_by_us
from mia_lab.config.choices import QueryMode, ReferencePool, Task, Until
from mia_lab.config.load import plain
from mia_lab.config.schema import Config
from mia_lab.data import splits
from mia_lab.errors import UserError
from mia_lab.hardware import resolve_precision, torch_device
from mia_lab.stages.difficulty_stages import DifficultyStages
from mia_lab.stages.plan import Plan, difficulty_identity, remembered
from mia_lab.stages.references import References
from mia_lab.stages.roles import assign_roles
from mia_lab.store import Stage, Store
from mia_lab.types import Role

# PyTorch takes seconds to import, and a job that finds everything in the store does without.
if TYPE_CHECKING:
    import pytorch_lightning as pl

    from mia_lab.data.dataset import PairDataset
    from mia_lab.data.source import PairSource
    from mia_lab.victims.blackbox import RecordedAnswers, Victim

# Raised by hand when a stage's code changes the numbers it produces.
SPLIT_VERSION = 2
VICTIM_VERSION = 2
RECONSTRUCTIONS_VERSION = 1
MULTI_IMAGE_VERSION = 1


class PlannedStages:
    """What one configuration asks for, and under which keys.

    Building one checks everything that can be checked without decoding a picture. Networks are
    built for it only if none of the kind was before: see :mod:`mia_lab.stages.plan`.

    Args:
        config: a validated configuration.
        store: where results are kept.

    Raises:
        UserError: the data, the victim or a layer is not what the configuration says.
    """

    def __init__(self, config: Config, store: Store) -> None:
        self.config = config
        self.store = store
        self.source = build.source(config.data)
        self._rows = assign_roles(config, self.source)
        self.ids = tuple(sorted(self._rows))
        self.members = self._ids(Role.MEMBER)
        attacked = (Role.CANDIDATE,) if config.task is Task.score else splits.JUDGED
        self.candidates = self._ids(*attacked)
        # Known non-members fix thresholds.
        self.scored = self._ids(*attacked, Role.AUXILIARY)
        self.encoding = build.encoding(config.data, self.source)
        self._in_channels = self.encoding.channels if self.encoding else 3
        self.needs_difficulty = config.task is not Task.export and (
            config.until in (None, Until.difficulty, Until.attacks)
        )
        self._needs = build.needs(config)
        self.defense = build.defense(config)
        self.needs_references = config.until is Until.references or (
            self.needs_difficulty and self._needs.references
        )
        self._settings = build.resolved_victim(config, self._in_channels)
        self._is_ours = is_trained_by_us(config.victim)
        trainer = config.trainer
        self._precision = resolve_precision(trainer.precision, trainer.accelerator)
        if self.needs_difficulty:
            self._check_attacks()
            if self.wants_utility and len(self._ids(Role.NONMEMBER)) < 2:
                raise UserError(
                    "evaluation.utility: takes two non-members at least; raise data.n_nonmembers, "
                    "or set evaluation.utility=false"
                )
        self.plan = self._victim_plan() | self._difficulty_plan() | self._reference_plan()
        if self._is_ours and not (self.is_answered or self._is_stored(self.victim_stage)):
            self._module.prepare_data()

    def _is_stored(self, stage: Stage) -> bool:
        return self.store.path(stage).is_dir()

    @property
    def is_answered(self) -> bool:
        """Whether the store has the victim's answers, so that nobody needs the victim."""
        return self._is_stored(self.plan.stage("reconstructions"))

    def _victim_plan(self) -> Plan:
        """Ours is known by its settings; a foreign one has to be looked at."""

        def make() -> Plan:
            record = {}
            if not self._is_ours:
                from mia_lab.victims.blackbox import transport

                record["answers travel as"] = transport(self._foreign)
            victim = self._victim_stage()
            answers = self._reconstructions_stage(victim)
            return Plan({"victim": (victim,), "reconstructions": (answers,)}, record)

        if self._is_ours:
            return make()
        config = self.config
        inputs = {
            "victim": build.identity(self._settings),
            "scored": self.source.fingerprint(self.scored),
            "image_size": config.data.image_size,
            "query": plain(config.query),
            "seed": config.seed,
            "defense": None if self.defense is None else build.identity(config.defense),
            **self._encoded,
        }
        return remembered(self.store, inputs, make)

    def _difficulty_plan(self) -> Plan:
        if not self.needs_difficulty:
            return Plan({}, {})

        def make() -> Plan:
            scores = self.difficulties  # a wrong layer shall not wait for the training to end
            stages = {"difficulty": scores.stages(), "pooled": (scores.pooled_stage(),)}
            return Plan(stages, scores.record())

        config = self.config
        inputs = {
            **difficulty_identity(config),
            "scored": self.source.fingerprint(self.scored),
            "image_size": config.data.image_size,
            "seed": config.seed,
        }
        return remembered(self.store, inputs, make)

    def _reference_plan(self) -> Plan:
        """The reference victims, in order, and their answers.

        Raises:
            UserError: they cannot be trained.
        """
        if not self.needs_references:
            return Plan({}, {})
        ours, victims, answers = self.reference_victims, [], []
        ours.check(self._settings)
        for number, half in enumerate(ours.members):
            settings = ours.settings(self._settings, number)
            victim = self._trained_stage(settings, ours.source, half)
            victims.append(victim)
            answers.append(self._answers_stage(victim))
        self._look_at(ours.settings(self._settings, 0), victims[0], answers[0])
        stages = {"reference": tuple(victims), "reference answers": tuple(answers)}
        if build.is_multi_image(self.config):
            inputs = {"references": [stage.key for stage in answers]}
            stages["difficulty"] = (Stage("difficulty", MULTI_IMAGE_VERSION, inputs),)
        return Plan(stages, {})

    def _look_at(self, settings: dict[str, Any], trained: Stage, answers: Stage) -> None:
        """Build a reference victim once, so that wrong settings are told before a training."""
        if not (self._is_stored(answers) or self._is_stored(trained)):
            self._built(settings).prepare_data()

    def _check_attacks(self) -> None:
        """Attacks that lack something are told before any training, too."""
        count = self.config.reference.count if self.needs_references else 0
        elsewhere = self.config.reference.data is not None
        in_all = self.config.reference.pool is ReferencePool.all and not elsewhere
        given = Given(
            references=count,
            unseen=count if elsewhere else count // 2,
            seen=count // 2 if in_all else 0,
            auxiliaries=len(self._ids(Role.AUXILIARY)),
            image_size=self.config.data.image_size,
        )
        build.check_attacks(self.config, given)

    @cached_property
    def reference_victims(self) -> References:
        """What the attacker's victims are trained on."""
        groups = {i: row["group"] for i, row in self._rows.items() if "group" in row}
        auxiliaries = self._ids(Role.AUXILIARY)
        return References(self.config, self.source, self.encoding, self.scored, auxiliaries, groups)

    # What takes seconds to build, and is built when something has to be computed

    @cached_property
    def pairs(self) -> PairDataset:
        """All pairs that play a role."""
        import torch

        from mia_lab.data.dataset import PairDataset

        torch.set_num_threads(self.config.trainer.threads)
        size = self.config.data.image_size
        return PairDataset(self.source, self.ids, size, encoding=self.encoding)

    @cached_property
    def difficulties(self) -> DifficultyStages:
        """The stages that need no victim, over all images that attacks score."""
        return DifficultyStages(self.config, self.store, self.pairs.subset(self.scored))

    @cached_property
    def _module(self) -> pl.LightningModule:
        return self._built(self._settings)

    def _built(self, settings: dict[str, Any]) -> pl.LightningModule:
        """An untrained victim of ours, or of the attacker's."""
        torch_device(self.config.trainer.accelerator)  # fails where it is not there
        return build.trained_victim(settings)

    @cached_property
    def _foreign(self) -> Victim:
        from mia_lab.victims.blackbox import RecordedAnswers

        victim = build.foreign_victim(self.config, self._in_channels)
        if isinstance(victim, RecordedAnswers):
            victim.check(self.scored)
        return victim

    # What each stage depends on

    @cached_property
    def split_stage(self) -> Stage:
        inputs = {"rows": self._rows, "data": self.source.fingerprint(self.ids), **self._encoded}
        return Stage("split", SPLIT_VERSION, inputs)

    @property
    def victim_stage(self) -> Stage:
        """The victim: its settings and its members; a foreign one is what its file contains."""
        return self.plan.stage("victim")

    def _victim_stage(self, precision: str | None = None) -> Stage:
        if self._is_ours:
            return self._trained_stage(self._settings, self.source, self.members, precision)
        settings = build.identity(self._settings)
        inputs: dict[str, Any] = {"victim": settings, **self._encoded}
        if self._is_recorded:
            settings.pop("folder", None)  # counts by its pictures
            inputs["answers"] = cast("RecordedAnswers", self._foreign).fingerprint(self.scored)
        return Stage("victim", VICTIM_VERSION, inputs, resumable=True)

    def _trained_stage(
        self,
        settings: dict[str, Any],
        source: PairSource,
        members: Sequence[str],
        precision: str | None = None,
    ) -> Stage:
        """A victim of ours, or of the attacker's: its settings and its members."""
        trainer = self.config.trainer
        declared = build.identity(settings)
        declared.pop("epoch", None)  # which of its weights are audited
        inputs: dict[str, Any] = {
            "victim": declared,
            **self._encoded,
            "members": source.fingerprint(members),
            "image_size": self.config.data.image_size,
            "precision": precision or self._precision,
            "threads": trainer.threads,
        }
        # Dropout is drawn in each process, and a compiler may round and draw otherwise.
        if trainer.devices > 1:
            inputs["devices"] = trainer.devices
        if trainer.compile:
            inputs["compiled"] = True
        return Stage("victim", VICTIM_VERSION, inputs, resumable=True)

    @property
    def _is_recorded(self) -> bool:
        from mia_lab.victims.blackbox import RecordedAnswers

        return isinstance(self._foreign, RecordedAnswers)

    @property
    def _encoded(self) -> dict[str, Any]:
        return {"encoding": self.encoding.identity()} if self.encoding else {}

    def _reconstructions_stage(self, victim: Stage) -> Stage:
        inputs: dict[str, Any] = {}
        if self._is_ours and self._epoch is not None:
            inputs["epoch"] = self._epoch
        if self.defense is not None:
            inputs["defense"] = build.identity(self.config.defense)
        return self._answers_stage(victim, inputs, self._may_be_random)

    def _answers_stage(
        self, victim: Stage, more: Mapping[str, Any] | None = None, is_random: bool | None = None
    ) -> Stage:
        """What a model answers to all images that attacks score."""
        inputs: dict[str, Any] = {
            "victim": victim.key,
            "candidates": self.source.fingerprint(self.scored),
            "image_size": self.config.data.image_size,
            "mode": self.config.query.mode.value,
            **self._encoded,
            **(more or {}),
        }
        if self._is_asked_at_random if is_random is None else is_random:
            inputs |= {"seed": self.config.seed, "batch_size": self._query_batch_size}
        return Stage("reconstructions", RECONSTRUCTIONS_VERSION, inputs)

    @property
    def wants_utility(self) -> bool:
        """Whether it is measured how good the answers are; where nobody says, with a defence."""
        asked = self.config.evaluation.utility
        return self.defense is not None if asked is None else asked

    @property
    def _epoch(self) -> int | None:
        """After which epoch a victim of ours is audited; None: the last."""
        epoch: int | None = self.config.victim.get("epoch")
        return None if epoch == self.config.victim["epochs"] else epoch

    @property
    def _may_be_random(self) -> bool:
        """Ours answer at random in one mode only; of foreign ones we cannot know."""
        if self.defense is not None:
            return True
        return self._is_asked_at_random if self._is_ours else not self._is_recorded

    @property
    def _is_asked_at_random(self) -> bool:
        return self.config.query.mode is QueryMode.train

    @property
    def _query_batch_size(self) -> int:
        # Dropout and batch statistics are asked image by image, so that each draw has its seed.
        return 1 if self.config.query.mode is QueryMode.train else self.config.query.batch_size

    def _ids(self, *roles: Role) -> tuple[str, ...]:
        return tuple(i for i in self.ids if self._rows[i]["role"] in roles)
