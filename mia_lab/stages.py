"""The costly stages of an audit, each computed once and kept in the store."""

from __future__ import annotations

import csv
import json
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mia_lab.attacks import Attack, run_attack
from mia_lab.attacks.distances import structural_similarity
from mia_lab.attacks.needs import needs_of
from mia_lab.config import build
from mia_lab.config.validate import PRECISIONS
from mia_lab.data import splits
from mia_lab.difficulty_stages import read_difficulty
from mia_lab.errors import UserError
from mia_lab.evaluation.blind_fits import fit_baselines
from mia_lab.evaluation.utility import frechet_distance
from mia_lab.measures import Utility
from mia_lab.plan import backbone_identity, software
from mia_lab.planned import PlannedStages
from mia_lab.run import run_record, settings_line
from mia_lab.store import Stage, load_table, save_table
from mia_lab.types import (
    ADAPTIVE,
    VICTIM,
    BlindFeatures,
    BlindFits,
    DifficultyTable,
    Evidence,
    Reconstructions,
    Role,
    ScoreTable,
    Split,
    reference,
)
from mia_lab.victims.filenames import GENERATOR_FILE, LOSSES_FILE, snapshot_file

# PyTorch takes seconds to import, and a job that finds everything in the store does without.
if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch import nn

    from mia_lab.data.encoding import LabelEncoding
    from mia_lab.types import Floats
    from mia_lab.victims.blackbox import BlackBox, Victim
    from mia_lab.victims.training import EpochHook, TrainingSettings

log = logging.getLogger(__name__)

NEAR_DUPLICATES_FILE = "near_duplicates.json"
RESIDUALS_FILE = "label_residuals.json"
TRACES_FOLDER = "traces"
SCORES_FILE = "scores.json"
SCORES_VERSION = 1
UTILITY_FILE = "utility.json"


class Stages(PlannedStages):
    """What one configuration asks for, computed or read from the store on request."""

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
            from mia_lab.reconstruction import query

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

        def learn(folder: Path) -> None:
            from mia_lab.victims.training import train

            log.info("reference victim %d of %d", number + 1, self.config.reference.count)
            pairs = self.pairs.subset(self.reference_members[number])
            module = self._built(self._reference_settings(number))
            train(module, pairs, folder, self._training())

        def compute(folder: Path) -> None:
            from mia_lab.reconstruction import query

            weights = self.store.get(trained, learn) / GENERATOR_FILE
            victim = self._black_box(self._built(self._reference_settings(number)), weights)
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
            from mia_lab.reconstruction import query_altered
            from mia_lab.victims.blackbox import BlackBox

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

    def difficulty(self) -> DifficultyTable:
        """The difficulty of all scored images, under all settings."""

        def compute(place: int, folder: Path) -> None:
            if build.is_multi_image(self.config):
                from mia_lab.difficulty.multi_image import multi_image

                save_table(folder, multi_image(self.references(), self.reference_members))
            else:
                self.difficulties.score(place, folder)

        return read_difficulty(self.store, self.plan.stages["difficulty"], compute)

    def blind(self, split: Split, difficulty: DifficultyTable) -> BlindFits:
        """What tells members from non-members without a victim."""
        ids = self.candidates
        column = difficulty.column(ids)

        def compute(folder: Path) -> None:
            fits = fit_baselines(
                column,
                self._blind_features(),
                split.is_member(ids),
                seed=self.config.seed,
                permutations=self.config.evaluation.permutations,
                groups=split.groups(ids),
            )
            save_table(folder, fits)

        return load_table(self.store.remember(self.blind_stage(column), compute), BlindFits)

    def _blind_features(self) -> dict[str, Floats]:
        """What the candidates give away by themselves: (N, F) of each blind baseline."""
        traces = load_table(self.store.path(self.split_stage) / TRACES_FOLDER, BlindFeatures)
        return {
            name: columns
            for table in (self._pooled(), traces)
            for name, columns in table.sets(self.candidates).items()
        }

    def _pooled(self) -> BlindFeatures:
        folder = self.store.get(
            self.plan.stage("pooled"), lambda folder: self.difficulties.pool(folder)
        )
        return load_table(folder, BlindFeatures)

    def utility(self, reconstructions: Reconstructions) -> Utility:
        """How good the victim's answers to non-members are."""
        ids = self._ids(Role.NONMEMBER)

        def compute(folder: Path) -> None:
            import torch

            similar: list[Floats] = []
            features: tuple[list[Floats], list[Floats]] = [], []
            for batch in self.pairs.subset(ids).batches(self.config.query.batch_size):
                rows = [reconstructions.row(i) for i in batch.ids]
                answer = torch.from_numpy(np.array(reconstructions.images[rows]))
                similar.append(structural_similarity(answer, batch.y))
                for side, pictures in zip(features, (answer, batch.y), strict=True):
                    side.append(self.difficulties.pool_images(pictures))
            measured = Utility(
                n=len(ids),
                l1=float(reconstructions.mean_error(ids).mean()),
                ssim=float(np.concatenate(similar).mean()),
                frechet=frechet_distance(*(np.concatenate(side) for side in features)),
            )
            (folder / UTILITY_FILE).write_text(json.dumps(vars(measured)))

        folder = self.store.remember(self.utility_stage, compute)
        return Utility(**json.loads((folder / UTILITY_FILE).read_text()))

    def count(self, role: Role) -> int:
        """How many images have a role; known before any is decoded."""
        return len(self._ids(role))

    def evidence(
        self,
        split: Split,
        reconstructions: Reconstructions,
        difficulty: DifficultyTable,
        altered: Reconstructions | None = None,
        references: tuple[Reconstructions, ...] = (),
    ) -> Evidence:
        """What the attacks may look at: nothing of it tells the roles of candidates."""

        @cache
        def features() -> BlindFeatures:
            return self._pooled()

        return Evidence(
            self._with_references(split.without_candidates(), split),
            reconstructions,
            difficulty,
            lambda ids: self.pairs.subset(ids).batches(self.config.query.batch_size),
            references=references,
            altered=altered,
            features=lambda ids: next(iter(features().sets(ids).values())),
            seed=self.config.seed,
        )

    def _with_references(self, known: Split, split: Split) -> Split:
        """Roles with those of the images that reference victims were, or were not, trained on."""
        if not self.needs_references:
            return known
        place = {image: row for row, image in enumerate(split.id.tolist())}
        rows = [place[image] for image in self.reference_pool]
        for number, members in enumerate(self.reference_members):
            inside = set(members)
            role = [Role.MEMBER if i in inside else Role.NONMEMBER for i in self.reference_pool]
            known |= Split(
                id=split.id[rows],
                role=np.array([str(r) for r in role]),
                group=split.group[rows],
                model=np.array([reference(number)] * len(rows)),
                content=split.content[rows],
            )
        return known

    def scores(self, name: str, attack: Attack, evidence: Evidence) -> ScoreTable:
        """Scores of one attack on all scored images; costly ones are kept.

        Raises:
            UserError: the attack is not given what it needs, or gives no number an image.
        """
        wanted, has = needs_of(attack), self.identity()
        if not wanted.costly:
            return run_attack(name, attack, evidence, self.scored)

        def compute(folder: Path) -> None:
            table = run_attack(name, attack, evidence, self.scored)
            content = {"id": table.id.tolist(), "score": table.score.tolist()}
            (folder / SCORES_FILE).write_text(json.dumps(content))

        inputs = {
            "attack": build.identity(self.config.attack.available[name]),
            "backbone": backbone_identity(build.plain(self.config.backbone)),
            "reconstructions": has["reconstructions"],
            "difficulty": has["difficulty"],
            "references": has["references"] if wanted.references else None,
            "altered": has["altered"] if wanted.altered else None,
            "pooled": self.plan.stage("pooled").key if wanted.features else None,
            "auxiliaries": list(evidence.known.ids(Role.AUXILIARY)),
            "seed": self.config.seed,
            **software(),
        }
        folder = self.store.remember(Stage("scores", SCORES_VERSION, inputs), compute)
        content = json.loads((folder / SCORES_FILE).read_text())
        return ScoreTable(name, VICTIM, np.array(content["id"]), np.array(content["score"]))

    # What a result depends on, and how it came about

    def identity(self) -> dict[str, Any]:
        """Declared inputs of everything that attacks are given."""
        scored = self.plan.stages.get("difficulty")
        identity: dict[str, Any] = {
            "reconstructions": self.plan.stage("reconstructions").key,
            "difficulty": [stage.key for stage in scored] if scored else None,
        }
        if references := self.plan.stages.get("reference answers"):
            identity["references"] = [stage.key for stage in references]
        if self._needs.altered:
            identity["altered"] = self.altered_stage.key
        return identity

    def record(self) -> dict[str, str]:
        """What was run, as plain strings."""
        config = self.config
        attacks = {
            f"attack {name}": settings_line(config.attack.available[name]) or "no settings"
            for name in config.attack.names
        }
        labels = {"labels": self._labels_line(self.encoding)} if self.encoding else {}
        keys = (self.split_stage, self.victim_stage, self.plan.stage("reconstructions"))
        return {
            "protocol": config.data.protocol.value,
            "assignment": config.data.assignment.value,
            **({"groups": config.data.group_by} if config.data.group_by else {}),
            "data fingerprint": self.source.fingerprint(self.ids),
            "victim": settings_line(self._settings),
            **labels,
            "query": settings_line(build.plain(config.query)),
            **({"defense": settings_line(config.defense)} if self.defense else {}),
            **attacks,
            **{f"stage {stage.name}": stage.key for stage in keys},
            **run_record(config),
            **self.plan.record,
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
