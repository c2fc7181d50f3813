"""The difficulty of every image; computing it does not query the victim."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from mia_lab.config.component import Component
from mia_lab.data.dataset import PairDataset
from mia_lab.difficulty.multi_image import MultiImage
from mia_lab.difficulty.score import FactorBatch
from mia_lab.difficulty.whole_image import WholeImageDifficulty, table
from mia_lab.errors import UserError
from mia_lab.progress import progress_bar
from mia_lab.stages.features import FeaturesStage
from mia_lab.stages.probe import backbone_inputs, open_backbone
from mia_lab.stages.reconstructions import ReconstructionsStage
from mia_lab.stages.references import ReferenceTraining
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import DifficultyTable

log = logging.getLogger(__name__)

BATCH_SIZE = 32
"""Images that a score of whole images gets at once."""


@dataclass(frozen=True, eq=False)
class DifficultyStage(Stage[DifficultyTable]):
    """Scores images; the subclasses say how."""

    name = "difficulty"
    version = 2

    @property
    def undivided(self) -> DifficultyStage:
        """The stage that scores all images at once, in which the settings are."""
        return self

    def load(self, folder: Path) -> DifficultyTable:
        return load_table(folder, DifficultyTable)


@dataclass(frozen=True, eq=False)
class ProbeDifficulty(DifficultyStage):
    """Held-out errors of a linear probe, fitted to each image by itself."""

    features: FeaturesStage
    seed: int

    def inputs(self) -> Mapping[str, Any]:
        return {**self.features.probe.score_inputs(), "seed": self.seed}

    def check(self) -> None:
        self.features.check()

    def compute(self, folder: Path, store: Store) -> None:
        factors = self._factors(store)  # extracting them draws a progress bar of its own
        total = len(self.features.images)
        with progress_bar("scoring difficulty", total) as bar:
            scorer = self.features.probe.scorer
            found = scorer.score(factors, self.seed, lambda done: _advance(bar, done))
        save_table(folder, found)

    def _factors(self, store: Store) -> Iterable[FactorBatch]:
        """The features: from the store where they fit the budget, else extracted now."""
        scorer = self.features.probe.scorer
        if store.has(self.features) or self.features.size <= scorer.keep_gb * 1e9:
            return self.features.factors(store)
        log.info(
            "features of %d images take %.3g GB, more than difficulty.keep_gb=%g: only scores "
            "are stored, and another layer or penalty reads the images again",
            len(self.features.images),
            self.features.size / 1e9,
            scorer.keep_gb,
        )
        return scorer.factors(self.features.probe.pairs(self.features.images))


@dataclass(frozen=True, eq=False)
class WholeImageDifficultyStage(DifficultyStage):
    """One number an image, without layers or penalties.

    Attributes:
        images: the images.
        component: a class with the method ``score_images``.
        backbone: the network that the class reads features of; None: it reads none.
        accelerator: where the network runs.
        seed: of the run.
    """

    images: PairDataset
    component: Component
    backbone: Component | None
    accelerator: str
    seed: int

    def inputs(self) -> Mapping[str, Any]:
        return {
            **self.images.identity(encoded=False),
            "difficulty": self.component.fingerprint(),
            **(backbone_inputs(self.backbone) if self.backbone else {}),
            "seed": self.seed,
        }

    def check(self) -> None:
        self._build()

    def compute(self, folder: Path, store: Store) -> None:
        scorer = self._build()
        scores: list[np.ndarray] = []
        with progress_bar("scoring difficulty", len(self.images)) as bar:
            for batch in self.images.batches(BATCH_SIZE):
                found = np.asarray(scorer.score_images(batch), dtype=np.float64)
                if found.shape != (len(batch),) or not np.isfinite(found).all():
                    raise UserError(
                        f"difficulty: score_images must give one finite number an image, and gave "
                        f"{found.shape} for the {len(batch)} from {batch.ids[0]} on"
                    )
                scores.append(found)
                bar.update(len(batch))
        save_table(folder, table(self.images.ids, np.concatenate(scores)))

    def _build(self) -> WholeImageDifficulty:
        provided = {}
        if self.backbone is not None:
            provided["backbone"] = open_backbone(self.backbone, self.accelerator)
        return cast(WholeImageDifficulty, self.component.build(**provided))


@dataclass(frozen=True, eq=False)
class MultiImageDifficulty(DifficultyStage):
    """Mean error of the reference models that never saw the image.

    Attributes:
        component: the class that averages.
        answers: of each reference model to the scored images.
        training: what each was trained on.
    """

    component: Component
    answers: tuple[ReconstructionsStage, ...]
    training: ReferenceTraining

    def inputs(self) -> Mapping[str, Any]:
        return {
            "difficulty": self.component.fingerprint(),
            "members": [list(ids) for ids in self.training.seen],
        }

    def compute(self, folder: Path, store: Store) -> None:
        answers = [store.result(stage) for stage in self.answers]
        score = cast(MultiImage, self.component.build())
        save_table(folder, score.score_references(answers, self.training.seen))


@dataclass(frozen=True, eq=False)
class ErrorMapsStage(DifficultyStage):
    """Error of the configured probe at each pixel of some images, for people to look at.

    Each pixel is predicted by a probe that was fitted to others, in folds.
    """

    name = "maps"
    version = 2

    difficulty: ProbeDifficulty
    ids: tuple[str, ...]

    def inputs(self) -> Mapping[str, Any]:
        return {"ids": list(self.ids)}

    def compute(self, folder: Path, store: Store) -> None:
        features = self.difficulty.features
        scorer = features.probe.scorer.mapping()
        images = features.images.subset(self.ids)
        factors = scorer.factors(features.probe.pairs(images))
        save_table(folder, scorer.score(factors, self.difficulty.seed))


def side_by_side(tables: Sequence[DifficultyTable]) -> DifficultyTable:
    """The settings of several tables over the same images as one table, in order."""
    first = tables[0]
    joined: dict[str, Any] = {"id": first.id, "map": first.map}
    for field in fields(DifficultyTable):
        columns = [getattr(table, field.name) for table in tables]
        if field.name not in joined:
            joined[field.name] = np.concatenate(columns, axis=min(columns[0].ndim - 1, 1))
    return DifficultyTable(**joined)


def _advance(bar: tqdm[Any], done: int) -> None:
    bar.update(done - bar.n)
