"""The attacks, adjusted for differences between members and non-members that no model caused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mia_lab.evaluation.adjusted import adjust
from mia_lab.evaluation.results import Adjustment
from mia_lab.evaluation.stored import load_result, save_result
from mia_lab.stages.attack import AttackScores
from mia_lab.stages.blind import blind_columns
from mia_lab.stages.pooled import PooledStage
from mia_lab.store import Stage, Store
from mia_lab.store.software import NUMERICAL, versions
from mia_lab.types import VICTIM, ScoreTable


@dataclass(frozen=True, eq=False)
class AdjustmentStage(Stage[Adjustment]):
    """Compares members with non-members that the blind baselines cannot tell from them.

    Attributes:
        scores: of the attacks.
        pooled: deep features; with those of the split, what the propensity is fitted to.
        seed: of folds, bootstrap and permutations.
    """

    name = "adjustment"
    version = 1
    is_quick = True

    scores: AttackScores
    pooled: PooledStage
    seed: int

    def inputs(self) -> Mapping[str, Any]:
        return {
            "attacks": self.scores.fingerprints,
            "seed": self.seed,
            "libraries": versions(*NUMERICAL),
        }

    def compute(self, folder: Path, store: Store) -> None:
        stage = self.scores.inputs.split
        split = store.result(stage).split
        ids = split.candidates()
        evidence = self.scores.inputs.evidence(store)
        tables = self.scores.tables(evidence, store)
        found = adjust(
            [ScoreTable(s.attack, VICTIM, np.array(ids), s.column(ids)) for s in tables],
            blind_columns(stage, self.pooled, store, ids),
            evidence.difficulty.column(ids),
            split.is_member(ids),
            seed=self.seed,
            groups=split.groups(ids),
        )
        save_result(folder, found)

    def load(self, folder: Path) -> Adjustment:
        return load_result(folder, Adjustment)
