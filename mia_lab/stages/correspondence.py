"""Whether the victim's answers belong to their targets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mia_lab.data.dataset import PairDataset
from mia_lab.evaluation.correspondence import correspondence
from mia_lab.evaluation.results import Correspondence
from mia_lab.seeding import generator
from mia_lab.stages.reconstructions import ReconstructionsStage
from mia_lab.stages.victim import ForeignVictim
from mia_lab.store import Stage, Store
from mia_lab.store.software import versions
from mia_lab.victims.blackbox import BlackBox
from mia_lab.victims.query import reconstruction_error

COMPARED = 64
"""Most images that are compared with each other."""

REVERSED = 16
"""Most images whose targets a victim is queried with, to see whether the direction is reversed."""

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
        return {"compared": COMPARED, "reversed": REVERSED, "libraries": versions("scipy", "torch")}

    def compute(self, folder: Path, store: Store) -> None:
        compared = self.images.spread(COMPARED)
        answers = store.result(self.reconstructions)
        targets = np.concatenate([batch.y.numpy() for batch in compared.batches(COMPARED)])
        found = correspondence(
            np.stack([answers.images[answers.row(i)] for i in compared.ids]),
            targets,
            generator(0, "correspondence"),
        )
        found = replace(found, **self._reversed(compared, store))
        (folder / FILE).write_text(json.dumps(vars(found)))

    def _reversed(self, compared: PairDataset, store: Store) -> dict[str, int]:
        """How often a foreign victim is better at translating the target to the input.

        Two pictures of a pair share what they show, so that an answer in the wrong direction may
        be nearer to its own target than to others.
        """
        stage = self.reconstructions
        if not isinstance(stage.victim, ForeignVictim):
            return {}
        victim = stage.victim.victim
        if (
            not isinstance(victim, BlackBox)
            or getattr(victim, "costly", False)
            or compared.encoding is not None
            or compared.x_channels != compared.out_channels
        ):
            return {}
        some = compared.spread(REVERSED)
        errors = store.result(stage).mean_error(some.ids)
        back = [
            reconstruction_error(victim.translate(batch.y).numpy(), batch.x.numpy())
            for batch in some.batches(stage.batch_size(store))
        ]
        nearer = int(np.count_nonzero(np.concatenate(back) < errors))
        return {"asked_reversed": len(some), "nearer_reversed": nearer}

    def load(self, folder: Path) -> Correspondence:
        return Correspondence(**json.loads((folder / FILE).read_text()))
