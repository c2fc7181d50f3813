"""Means of deep features over each image, for blind baselines and attacks that fit a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mia_lab.backbones.backbone import fastest_batch
from mia_lab.backbones.pooling import POOLED_PIXELS, pool
from mia_lab.config.component import Component
from mia_lab.data.dataset import PairDataset
from mia_lab.hardware import on_cores
from mia_lab.progress import progress_bar
from mia_lab.stages.probe import backbone_inputs, open_backbone
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import BlindFeatures, Floats, PairBatch

POOLED_BATCHES = 4
"""Pooled images are a third as large as those of the difficulty, so that more fit in a cache."""

BASELINE = "features"
"""The blind baseline that pooled features belong to."""


@dataclass(frozen=True, eq=False)
class PooledStage(Stage[BlindFeatures]):
    """The mean of every numbered block of a backbone over input and target of each pair."""

    name = "pooled"
    version = 2

    images: PairDataset
    backbone: Component
    accelerator: str

    def inputs(self) -> Mapping[str, Any]:
        return {
            **self.images.identity(encoded=False),
            **backbone_inputs(self.backbone),
            "pixels": POOLED_PIXELS,
        }

    def check(self) -> None:
        open_backbone(self.backbone, self.accelerator)

    def compute(self, folder: Path, store: Store) -> None:
        rows: list[Floats] = []
        backbone = open_backbone(self.backbone, self.accelerator)

        def pooled(batch: PairBatch) -> Floats:
            return np.concatenate([pool(backbone, side) for side in (batch.x, batch.y)], 1)

        with progress_bar("pooling features", len(self.images)) as bar:
            batches = self.images.batches(POOLED_BATCHES * fastest_batch(backbone))
            for found in on_cores(backbone.device)(pooled, batches):
                rows.append(found)
                bar.update(len(found))
        names = [f"{side} {i}" for side in "xy" for i in range(rows[0].shape[1] // 2)]
        features = BlindFeatures(
            id=np.array(self.images.ids),
            baseline=np.array([BASELINE] * len(names)),
            name=np.array(names),
            value=np.concatenate(rows),
        )
        save_table(folder, features)

    def load(self, folder: Path) -> BlindFeatures:
        return load_table(folder, BlindFeatures)

    def pool(self, pictures: Tensor) -> Floats:
        """The same means over any pictures, float32 (N, C, H, W) in [0, 1]: float64 (N, D)."""
        return pool(open_backbone(self.backbone, self.accelerator), pictures)
