"""How good the victim's answers to non-members are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mia_lab.attacks.distances import structural_similarity
from mia_lab.data.dataset import PairDataset
from mia_lab.evaluation.results import Utility
from mia_lab.evaluation.utility import frechet_distance
from mia_lab.stages.pooled import PooledStage
from mia_lab.stages.reconstructions import ReconstructionsStage
from mia_lab.store import Stage, Store
from mia_lab.store.software import versions
from mia_lab.types import Floats

UTILITY_FILE = "utility.json"


@dataclass(frozen=True, eq=False)
class UtilityStage(Stage[Utility]):
    """L1 error, structural similarity and Frechet distance of the answers to non-members."""

    name = "utility"
    version = 2
    is_quick = True

    reconstructions: ReconstructionsStage
    pooled: PooledStage
    nonmembers: PairDataset

    def inputs(self) -> Mapping[str, Any]:
        return {
            "nonmembers": self.nonmembers.identity(encoded=False),
            "versions": versions("torchmetrics", "timm"),
        }

    def check(self) -> None:
        self.pooled.check()

    def compute(self, folder: Path, store: Store) -> None:
        answers = store.result(self.reconstructions)
        similar: list[Floats] = []
        features: tuple[list[Floats], list[Floats]] = [], []
        for batch in self.nonmembers.batches(self.reconstructions.querying.batch_size):
            rows = [answers.row(i) for i in batch.ids]
            answer = torch.from_numpy(np.array(answers.images[rows]))
            similar.append(structural_similarity(answer, batch.y))
            for side, pictures in zip(features, (answer, batch.y), strict=True):
                side.append(self.pooled.pool(pictures))
        measured = Utility(
            n=len(self.nonmembers),
            l1=float(answers.mean_error(self.nonmembers.ids).mean()),
            ssim=float(np.concatenate(similar).mean()),
            frechet=frechet_distance(*(np.concatenate(side) for side in features)),
        )
        (folder / UTILITY_FILE).write_text(json.dumps(vars(measured)))

    def load(self, folder: Path) -> Utility:
        return Utility(**json.loads((folder / UTILITY_FILE).read_text()))
