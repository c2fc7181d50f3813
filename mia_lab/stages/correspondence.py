"""Whether the victim's answers belong to their targets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mia_lab.data.dataset import PairDataset
from mia_lab.evaluation.correspondence import correspondence
from mia_lab.evaluation.results import Correspondence
from mia_lab.seeding import generator
from mia_lab.stages.reconstructions import ReconstructionsStage
from mia_lab.store import Stage, Store
from mia_lab.store.software import versions

COMPARED = 64
"""Most images that are compared with each other."""

FILE = "correspondence.json"


@dataclass(frozen=True, eq=False)
class CorrespondenceStage(Stage[Correspondence]):
    """Compares some answers with their own targets and with those of other images.

    Attributes:
        reconstructions: the answers.
        images: all that were queried.
    """

    name = "correspondence"
    version = 1
    is_quick = True

    reconstructions: ReconstructionsStage
    images: PairDataset

    def inputs(self) -> Mapping[str, Any]:
        return {"compared": COMPARED, "libraries": versions("scipy", "torch")}

    def compute(self, folder: Path, store: Store) -> None:
        ids = self.images.ids
        chosen = np.unique(np.linspace(0, len(ids) - 1, COMPARED).round().astype(int))
        compared = self.images.subset([ids[i] for i in chosen])
        answers = store.result(self.reconstructions)
        targets = np.concatenate([batch.y.numpy() for batch in compared.batches(COMPARED)])
        found = correspondence(
            np.stack([answers.images[answers.row(i)] for i in compared.ids]),
            targets,
            generator(0, "correspondence"),
        )
        (folder / FILE).write_text(json.dumps(vars(found)))

    def load(self, folder: Path) -> Correspondence:
        return Correspondence(**json.loads((folder / FILE).read_text()))
