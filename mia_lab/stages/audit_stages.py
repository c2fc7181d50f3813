"""The costly stages of an audit, each computed once and kept in the store."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mia_lab.attacks import Attack, run_attack
from mia_lab.attacks.distances import structural_similarity
from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.needs import needs_of
from mia_lab.config import build
from mia_lab.config.load import plain
from mia_lab.data import splits
from mia_lab.evaluation.blind_fits import fit_baselines
from mia_lab.evaluation.results import Utility
from mia_lab.evaluation.utility import frechet_distance
from mia_lab.stages.difficulty_stages import read_difficulty
from mia_lab.stages.plan import backbone_identity, libraries, software
from mia_lab.stages.victim_stages import VictimStages
from mia_lab.store import Stage, load_table, save_table
from mia_lab.tasks.run import run_record, settings_line
from mia_lab.types import (
    VICTIM,
    BlindFeatures,
    BlindFits,
    DifficultyTable,
    Reconstructions,
    Role,
    ScoreTable,
    Split,
)

# PyTorch takes seconds to import, and a job that finds everything in the store does without.
if TYPE_CHECKING:
    from mia_lab.data.encoding import LabelEncoding
    from mia_lab.types import Floats

NEAR_DUPLICATES_FILE = "near_duplicates.json"
RESIDUALS_FILE = "label_residuals.json"
TRACES_FOLDER = "traces"
SCORES_FILE = "scores.json"
BLIND_VERSION = 1
UTILITY_VERSION = 1
SCORES_VERSION = 1
AUDIT_VERSION = 1
UTILITY_FILE = "utility.json"


class Stages(VictimStages):
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

    def difficulty(self) -> DifficultyTable:
        """The difficulty of all scored images, under all settings."""

        def compute(place: int, folder: Path) -> None:
            if build.is_multi_image(self.config):
                from mia_lab.difficulty.multi_image import multi_image

                save_table(folder, multi_image(self.references(), self.reference_victims.seen))
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

    @property
    def utility_stage(self) -> Stage:
        """How good the victim's answers to non-members are."""
        inputs = {
            "reconstructions": self.plan.stage("reconstructions").key,
            "nonmembers": self.source.fingerprint(self._ids(Role.NONMEMBER)),
            "pooled": self.plan.stage("pooled").key,
            "versions": {name: version(name) for name in ("torchmetrics", "timm")},
        }
        return Stage("utility", UTILITY_VERSION, inputs)

    def blind_stage(self, difficulty: Floats) -> Stage:
        """What tells members from non-members without a victim.

        Args:
            difficulty: (N,) of the candidates, which counts by its numbers: many settings give it.
        """
        inputs = {
            "split": self.split_stage.key,
            "difficulty": hashlib.sha256(difficulty.tobytes()).hexdigest(),
            "pooled": self.plan.stage("pooled").key,
            "seed": self.config.seed,
            "permutations": self.config.evaluation.permutations,
            "libraries": {name: libraries()[name] for name in ("numpy", "scipy", "scikit-learn")},
        }
        return Stage("blind", BLIND_VERSION, inputs)

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

        known = split.without_candidates()
        if self.needs_references:
            known |= self.reference_victims.split(split)
        return Evidence(
            known,
            reconstructions,
            difficulty,
            lambda ids: self.pairs.subset(ids).batches(self.config.query.batch_size),
            references=references,
            altered=altered,
            features=lambda ids: next(iter(features().sets(ids).values())),
            seed=self.config.seed,
        )

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
            "backbone": backbone_identity(plain(self.config.backbone)),
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

    @property
    def audit_stage(self) -> Stage:
        """What all numbers of an audit depend on."""
        config = self.config
        inputs = {
            **self.identity(),
            "split": self.split_stage.key,
            "alphas": build.grid_alphas(config),
            "attack": plain(config.attack),
            "evaluation": plain(config.evaluation),
            "utility": self.wants_utility,
            "seed": config.seed,
        }
        return Stage("audit", AUDIT_VERSION, inputs)

    def record(self) -> dict[str, str]:
        """What was run, as plain strings."""
        config = self.config
        attacks = {
            f"attack {name}": settings_line(config.attack.available[name]) or "no settings"
            for name in config.attack.names
        }
        labels = {"labels": self._labels_line(self.encoding)} if self.encoding else {}
        keys = (
            self.split_stage,
            self.victim_stage,
            self.plan.stage("reconstructions"),
            self.audit_stage,
        )
        return {
            "protocol": config.data.protocol.value,
            "assignment": config.data.assignment.value,
            **({"groups": config.data.group_by} if config.data.group_by else {}),
            "data fingerprint": self.source.fingerprint(self.ids),
            "victim": settings_line(self._settings),
            **labels,
            "query": settings_line(plain(config.query)),
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
