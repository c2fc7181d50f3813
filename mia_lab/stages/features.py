"""Compact features of every image, extracted once for all layers and penalties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mia_lab.data.dataset import PairDataset
from mia_lab.difficulty.factors import load_factors, save_factors
from mia_lab.difficulty.score import FactorBatch
from mia_lab.progress import progress_bar
from mia_lab.stages.probe import Probe
from mia_lab.store import Stage, Store


@dataclass(frozen=True, eq=False)
class FeaturesStage(Stage[Path]):
    """Stores what a probe needs of the features of every image."""

    name = "features"
    version = 2

    images: PairDataset
    probe: Probe

    def inputs(self) -> Mapping[str, Any]:
        return {**self.images.identity(encoded=False), **self.probe.feature_inputs()}

    def check(self) -> None:
        self.probe.check(self.images)

    def compute(self, folder: Path, store: Store) -> None:
        scorer = self.probe.scorer
        batches = self.probe.pairs(self.images)
        with progress_bar("extracting features", len(self.images)) as bar:
            factors = _with_progress(scorer.factors(batches, scorer.stored_layers), bar)
            save_factors(folder, factors, len(self.images))

    def load(self, folder: Path) -> Path:
        return folder

    def factors(self, store: Store) -> Iterator[FactorBatch]:
        """The stored features, batch by batch, of the layers that the probe uses."""
        scorer = self.probe.scorer
        return load_factors(store.result(self), scorer.wanted_layers, scorer.batch_size)

    @property
    def size(self) -> float:
        """About how many bytes the features take."""
        return len(self.images) * self.probe.scorer.bytes_per_image()


def _with_progress(batches: Iterable[FactorBatch], bar: tqdm[Any]) -> Iterator[FactorBatch]:
    for batch in batches:
        yield batch
        bar.update(len(batch.ids))
