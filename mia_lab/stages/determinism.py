"""Whether a model answers the same query in the same way; found by repeated queries."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from mia_lab.data.dataset import PairDataset
from mia_lab.stages.victim import ForeignVictim
from mia_lab.store import Stage, Store
from mia_lab.types import Determinism
from mia_lab.victims.blackbox import BlackBox
from mia_lab.victims.query import repeat_queries

log = logging.getLogger(__name__)

IMAGES = 4
"""Images that are queried together. Two of them are also queried alone, twice: 8 answers in all."""

RESULT_FILE = "determinism.json"


@dataclass(frozen=True, eq=False)
class DeterminismStage(Stage[Determinism]):
    """Queries a foreign model with a few images again; no answer comes from the cache.

    Attributes:
        victim: the model.
        images: at most `IMAGES` of those that it is queried with.
    """

    name = "determinism"
    version = 1

    victim: ForeignVictim
    images: PairDataset

    def inputs(self) -> Mapping[str, Any]:
        return self.images.identity()

    def compute(self, folder: Path, store: Store) -> None:
        found = repeat_queries(cast(BlackBox, self.victim.victim), self.images)
        if found.is_random:
            log.warning(
                "victim=%s: %s; its images are queried one by one. PyTorch's random numbers are "
                "seeded, but those of onnxruntime or of a server are not, so another run may "
                "measure something else",
                self.victim.component.name,
                found,
            )
        (folder / RESULT_FILE).write_text(json.dumps(asdict(found)))

    def load(self, folder: Path) -> Determinism:
        return Determinism(**json.loads((folder / RESULT_FILE).read_text()))


def determinism_stage(victim: ForeignVictim) -> DeterminismStage | None:
    """The stage that asks a model again; None for recorded answers, and for a sampler.

    A sampler states that its answers vary, and that each has a seed of its own.
    """
    if victim.is_recorded or victim.is_sampler:
        return None
    images = victim.queried
    return DeterminismStage(victim, images.subset(images.ids[:IMAGES]))
