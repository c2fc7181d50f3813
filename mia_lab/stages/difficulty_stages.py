"""The stages that never see a victim: compact features of every image, then its difficulty.

The features of an image are extracted once, whatever layers, penalties and pixel divisions are
tried on them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from tqdm import tqdm

from mia_lab.backbones.pooling import POOLED_PIXELS, pool
from mia_lab.config import build
from mia_lab.config.schema import Config
from mia_lab.errors import UserError
from mia_lab.hardware import torch_device
from mia_lab.stages.plan import backbone_identity, software
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import BlindFeatures, DifficultyTable

# PyTorch takes seconds to import, and reading scores does without.
if TYPE_CHECKING:
    from torch import Tensor

    from mia_lab.backbones.backbone import Backbone
    from mia_lab.data.dataset import PairDataset
    from mia_lab.difficulty.score import FactorBatch
    from mia_lab.difficulty.single_image import SingleImageDifficulty
    from mia_lab.difficulty.whole_image import WholeImageDifficulty

log = logging.getLogger(__name__)

# Raised by hand when a stage's code changes the numbers it produces.
FEATURES_VERSION = 1
POOLED_VERSION = 1
DIFFICULTY_VERSION = 2
BACKBONE_VERSION = 1

FACTS_FILE = "backbone.json"


POOLED = "features"
"""The blind baseline that pooled features belong to."""

POOLED_BATCH = 32


class DifficultyStages:
    """The difficulty of some pairs under every setting that one configuration asks for.

    Args:
        config: a validated configuration.
        store: where results are kept.
        pairs: what is scored.

    Raises:
        UserError: a setting, a backbone or a layer is not what the configuration says.
    """

    def __init__(self, config: Config, store: Store, pairs: PairDataset) -> None:
        self.pairs = pairs
        self._store = store
        self._seed = config.seed
        device = torch_device(config.trainer.accelerator)
        self._backbone, self._scorers = build.difficulties(config, str(device), self._known)
        self._class = build.identity({"_target_": config.difficulty["_target_"]})
        images = pairs.source.fingerprint(pairs.ids)
        self._images = {"images": images, "image_size": pairs.image_size}

    def _known(
        self, settings: dict[str, Any], image_size: int, make: Callable[[], Backbone]
    ) -> Backbone:
        """A backbone of the settings, built only if nobody has looked at it before."""
        from mia_lab.backbones.known import KnownBackbone, facts

        made = cache(make)
        identity = backbone_identity(settings)
        inputs = {"settings": identity, "image_size": image_size, **software()}

        def compute(folder: Path) -> None:
            found = facts(made(), image_size)
            if source := identity.get("source code"):  # a class of one's own, which may change
                found["fingerprint"] = f"{found['fingerprint']} {source}"
            (folder / FACTS_FILE).write_text(json.dumps(found))

        folder = self._store.remember(Stage("backbone", BACKBONE_VERSION, inputs), compute)
        found = KnownBackbone(json.loads((folder / FACTS_FILE).read_text()), made)
        return cast("Backbone", found)

    def stages(self) -> tuple[Stage, ...]:
        """One stage a backbone and side; the configured one first."""
        return tuple(self._stage(scorer) for scorer in self._scorers)

    def record(self) -> dict[str, str]:
        """Which networks were used, with the source and the licence of their weights, and keys."""
        record: dict[str, str] = {}
        scored_by = (getattr(scorer, "backbone", self._backbone) for scorer in self._scorers)
        networks = dict.fromkeys([self._backbone, *scored_by])
        for number, network in enumerate(networks, start=1):
            name = "backbone" if number == 1 else f"backbone {number}"
            record |= {f"{name} {key}": value for key, value in network.describe().items()}
        for number, stage in enumerate(self.stages(), start=1):
            name = "stage difficulty" if number == 1 else f"stage difficulty {number}"
            record[name] = stage.key
        return record

    def table(self) -> DifficultyTable:
        """The scores: computed, or read from the store."""
        return read_difficulty(self._store, self.stages(), self.score)

    def pooled_stage(self) -> Stage:
        """The means of features that a blind baseline is fitted to."""
        inputs = {
            **self._images,
            "backbone": self._backbone.fingerprint(),
            "pixels": POOLED_PIXELS,
            "timm": version("timm"),
        }
        return Stage("pooled", POOLED_VERSION, inputs)

    def pool(self, folder: Path) -> None:
        """Write the mean of every numbered block of the configured backbone over each image."""
        backbone = self._backbone
        rows: list[np.ndarray] = []
        with _bar("pooling features", len(self.pairs)) as bar:
            for batch in self.pairs.batches(POOLED_BATCH):
                rows.append(
                    np.concatenate([pool(backbone, side) for side in (batch.x, batch.y)], 1)
                )
                bar.update(len(batch))
        names = [f"{side} {i}" for side in "xy" for i in range(rows[0].shape[1] // 2)]
        save_table(
            folder,
            BlindFeatures(
                id=np.array(self.pairs.ids),
                baseline=np.array([POOLED] * len(names)),
                name=np.array(names),
                value=np.concatenate(rows),
            ),
        )

    def pool_images(self, pictures: Tensor) -> np.ndarray:
        """The same means over pictures of one's own, float32 (N, 3, H, W) in [0, 1]."""
        return pool(self._backbone, pictures)

    def maps(self, ids: Sequence[str]) -> np.ndarray:
        """Error of the configured probe at each pixel of some pairs: float32 (len(ids), G, G).

        Each pixel is predicted by a probe that was fitted on others, in folds. Where the score is
        of whole images: (len(ids), 0, 0).
        """
        from mia_lab.difficulty.whole_image import WholeImageDifficulty

        first = next(iter(self._scorers), None)
        if first is None or isinstance(first, WholeImageDifficulty):
            return np.empty((len(ids), 0, 0), dtype=np.float32)
        scorer, pairs = first.mapping(), self.pairs.subset(ids)

        def compute(folder: Path) -> None:
            factors = scorer.factors(pairs.batches(scorer.batch_size))
            save_table(folder, scorer.score(factors, self._seed))

        whole = self._stage(scorer)
        shown = {**whole.inputs, "images": pairs.source.fingerprint(pairs.ids)}
        stage = replace(whole, name="maps", inputs=shown)
        return load_table(self._store.get(stage, compute), DifficultyTable).map

    def _stage(self, scorer: SingleImageDifficulty | WholeImageDifficulty) -> Stage:
        inputs = {
            **self._images,
            "difficulty": scorer.identity(),
            "class": self._class,
            "seed": self._seed,
        }
        return Stage("difficulty", DIFFICULTY_VERSION, inputs)

    def score(self, place: int, folder: Path) -> None:
        """Write the scores of one stage into a folder.

        Args:
            place: which of :meth:`stages`.
            folder: an empty one.
        """
        from mia_lab.difficulty.whole_image import WholeImageDifficulty

        scorer = self._scorers[place]
        if isinstance(scorer, WholeImageDifficulty):
            save_table(folder, self._whole(scorer))
            return
        # Asked for before the bar is drawn: extracting them has a bar of its own.
        factors = self._factors(scorer)
        with _bar("scoring difficulty", len(self.pairs)) as bar:
            table = scorer.score(factors, self._seed, lambda done: _advance(bar, done))
        save_table(folder, table)

    def _whole(self, scorer: WholeImageDifficulty) -> DifficultyTable:
        from mia_lab.difficulty.whole_image import table

        scores: list[np.ndarray] = []
        with _bar("scoring difficulty", len(self.pairs)) as bar:
            for batch in self.pairs.batches(POOLED_BATCH):
                found = np.asarray(scorer.score_images(batch), dtype=np.float64)
                if found.shape != (len(batch),) or not np.isfinite(found).all():
                    raise UserError(
                        f"difficulty: score_images must give one finite number an image, and gave "
                        f"{found.shape} for the {len(batch)} from {batch.ids[0]} on"
                    )
                scores.append(found)
                bar.update(len(batch))
        return table(self.pairs.ids, np.concatenate(scores))

    def _factors(self, scorer: SingleImageDifficulty) -> Iterable[FactorBatch]:
        """The pairs' factors: from the store where they fit the budget, else as they come."""
        from mia_lab.difficulty.factors import load_factors, save_factors

        stage = Stage(
            "features",
            FEATURES_VERSION,
            {**self._images, "features": scorer.factors_identity(), "class": self._class},
        )
        batches = self.pairs.batches(scorer.batch_size)
        is_stored = self._store.path(stage).is_dir()
        size = 0 if is_stored else len(self.pairs) * scorer.bytes_per_image()
        if size > scorer.keep_gb * 1e9:
            log.info(
                "features of %d images take %.3g GB, more than difficulty.keep_gb=%g: only scores "
                "are stored, and another layer or penalty reads the images again",
                len(self.pairs),
                size / 1e9,
                scorer.keep_gb,
            )
            return scorer.factors(batches)

        def compute(folder: Path) -> None:
            with _bar("extracting features", len(self.pairs)) as bar:
                counted = _counted(scorer.factors(batches, scorer.stored_layers), bar)
                save_factors(folder, counted, len(self.pairs))

        folder = self._store.get(stage, compute)
        return load_factors(folder, scorer.wanted_layers, scorer.batch_size)


def read_difficulty(
    store: Store, stages: Sequence[Stage], compute: Callable[[int, Path], None]
) -> DifficultyTable:
    """The scores of several stages over the same images, computed or from the store.

    Args:
        store: where they are kept.
        stages: of :meth:`DifficultyStages.stages`.
        compute: :meth:`DifficultyStages.score`.
    """
    folders = [store.get(stage, partial(compute, place)) for place, stage in enumerate(stages)]
    return _side_by_side([load_table(folder, DifficultyTable) for folder in folders])


def _side_by_side(tables: list[DifficultyTable]) -> DifficultyTable:
    """Settings of several tables over the same images, in order."""
    first = tables[0]
    joined: dict[str, Any] = {"id": first.id, "map": first.map}
    for field in fields(DifficultyTable):
        columns = [getattr(table, field.name) for table in tables]
        if field.name not in joined:
            joined[field.name] = np.concatenate(columns, axis=min(columns[0].ndim - 1, 1))
    return DifficultyTable(**joined)


def _bar(what: str, total: int) -> tqdm[Any]:
    return tqdm(total=total, desc=what, unit=" images")


def _advance(bar: tqdm[Any], done: int) -> None:
    bar.update(done - bar.n)


def _counted(batches: Iterable[FactorBatch], bar: tqdm[Any]) -> Iterator[FactorBatch]:
    for batch in batches:
        yield batch
        bar.update(len(batch.ids))
