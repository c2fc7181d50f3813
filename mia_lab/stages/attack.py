"""What attacks are given, and the stored scores of costly attacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from mia_lab.attacks import Attack, run_attack
from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.needs import Needs, needs_of
from mia_lab.config import kinds
from mia_lab.config.component import Component
from mia_lab.stages.altered import AlteredStage
from mia_lab.stages.difficulty import DifficultyStage, side_by_side
from mia_lab.stages.pooled import PooledStage
from mia_lab.stages.reconstructions import ReconstructionsStage
from mia_lab.stages.references import ReferenceTraining
from mia_lab.stages.split import SplitStage
from mia_lab.stages.versions import ATTACKING
from mia_lab.store import Stage, Store
from mia_lab.store.software import versions
from mia_lab.types import VICTIM, Floats, ScoreTable
from mia_lab.victims.denoiser import Denoiser

SCORES_FILE = "scores.json"


@dataclass(frozen=True)
class AttackInputs:
    """The stages that attacks read. Nothing of it tells them the roles of candidates.

    Attributes:
        split: gives auxiliaries, and the roles of reference models' images.
        reconstructions: the victim's answers.
        difficulty: one stage for each backbone and side, the configured one first.
        pooled: deep features.
        repeats: its further answers to the same images; empty: it is queried once.
        altered: its answers to altered queries; None: no attack sends any.
        references: the answers of reference models.
        reference_training: what they are trained on; None: there are none.
        seed: of whatever an attack draws at random.
    """

    split: SplitStage
    reconstructions: ReconstructionsStage
    repeats: tuple[ReconstructionsStage, ...]
    difficulty: tuple[DifficultyStage, ...]
    pooled: PooledStage | None
    altered: AlteredStage | None
    references: tuple[ReconstructionsStage, ...]
    reference_training: ReferenceTraining | None
    seed: int

    def narrowed(self, needs: Needs) -> AttackInputs:
        """The part that one attack reads; the difficulty of all settings stays in it."""
        return replace(
            self,
            repeats=self.repeats if needs.answers else (),
            pooled=self.pooled if needs.features else None,
            altered=self.altered if needs.altered else None,
            references=self.references if needs.references else (),
            reference_training=self.reference_training if needs.references else None,
        )

    def evidence(self, store: Store) -> Evidence:
        """The results of all stages, joined by id."""
        split = store.result(self.split).split
        known = split.without_candidates()
        if self.reference_training is not None:
            known |= self.reference_training.split(split)
        images, batch_size = self.split.images.dataset, self.reconstructions.querying.batch_size
        return Evidence(
            known,
            store.result(self.reconstructions),
            side_by_side([store.result(stage) for stage in self.difficulty]),
            lambda ids: images.subset(ids).batches(batch_size),
            repeats=tuple(store.result(stage) for stage in self.repeats),
            references=tuple(store.result(stage) for stage in self.references),
            altered=None if self.altered is None else store.result(self.altered),
            features=lambda ids: self._features(store, ids),
            seed=self.seed,
            **self._network(store),
        )

    def _network(self, store: Store) -> dict[str, Callable[[], Denoiser]]:
        """How the network inside a diffusion model is opened; empty for any other victim."""
        stage, querying = self.reconstructions.victim, self.reconstructions.querying
        if not kinds.has_denoiser(stage.component):
            return {}

        def opened() -> Denoiser:
            victim = stage.open(store, querying.accelerator, querying.mode, querying.epoch)
            denoiser: Denoiser = cast(Any, victim).denoiser
            return denoiser

        return {"denoiser": opened}

    def _features(self, store: Store, ids: Sequence[str]) -> Floats:
        assert self.pooled is not None
        return next(iter(store.result(self.pooled).sets(ids).values()))


@dataclass(frozen=True, eq=False)
class ScoresStage(Stage[ScoreTable]):
    """The scores of one costly attack on all scored images."""

    name = "scores"
    version = 1
    is_quick = True

    attack_name: str
    attack: Component
    read: AttackInputs

    def inputs(self) -> Mapping[str, Any]:
        return {
            "attack": self.attack.fingerprint(),
            "seed": self.read.seed,
            "libraries": versions(*ATTACKING),
        }

    def compute(self, folder: Path, store: Store) -> None:
        table = self.run(self.read.evidence(store))
        content = {"id": table.id.tolist(), "score": table.score.tolist()}
        (folder / SCORES_FILE).write_text(json.dumps(content))

    def load(self, folder: Path) -> ScoreTable:
        content = json.loads((folder / SCORES_FILE).read_text())
        ids, score = np.array(content["id"]), np.array(content["score"])
        return ScoreTable(self.attack_name, VICTIM, ids, score)

    def run(self, evidence: Evidence) -> ScoreTable:
        """Score all images that are scored.

        Raises:
            UserError: the attack lacks something, or a score is not finite.
        """
        attack = cast(Attack, self.attack.build())
        return run_attack(self.attack_name, attack, evidence, self.read.split.images.scored.ids)


@dataclass(frozen=True)
class AttackScores:
    """The scores of all attacks of a run, in their order.

    Attributes:
        attacks: the configured attacks by name, as items.
        inputs: the stages that attacks read.
        stored: stages of the costly attacks.
    """

    attacks: tuple[tuple[str, Component], ...]
    inputs: AttackInputs
    stored: tuple[ScoresStage, ...]

    @classmethod
    def of(cls, attacks: Mapping[str, Component], inputs: AttackInputs) -> AttackScores:
        """Attacks on some inputs; the costly ones become stages of their own."""
        needs = {name: needs_of(attack.kind, attack.arguments) for name, attack in attacks.items()}
        stored = (
            ScoresStage(name, attack, inputs.narrowed(needs[name]))
            for name, attack in attacks.items()
            if needs[name].costly
        )
        return cls(tuple(attacks.items()), inputs, tuple(stored))

    @cached_property
    def fingerprints(self) -> dict[str, Any]:
        """What each attack is, by its name; JSON values."""
        return {name: attack.fingerprint() for name, attack in self.attacks}

    def tables(self, evidence: Evidence, store: Store) -> tuple[ScoreTable, ...]:
        """The scores of each attack, on candidates and auxiliaries."""
        stored = {stage.attack_name: stage for stage in self.stored}
        return tuple(
            store.result(stored[name])
            if name in stored
            else ScoresStage(name, attack, self.inputs).run(evidence)
            for name, attack in self.attacks
        )
