"""Classifiers that never see the victim, fitted to tell members from non-members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mia_lab.evaluation.blind import fit_baselines
from mia_lab.stages.pooled import PooledStage
from mia_lab.stages.split import SplitStage
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.store.software import NUMERICAL, versions
from mia_lab.types import BlindFits, Floats


@dataclass(frozen=True, eq=False)
class BlindStage(Stage[BlindFits]):
    """Fits the blind baselines, and fits them again under permuted labels.

    Attributes:
        split: roles, and traces of the files.
        pooled: deep features.
        seed: of folds and permutations.
        permutations: of the labels.
    """

    name = "blind"
    version = 2
    is_quick = True

    split: SplitStage
    pooled: PooledStage
    seed: int
    permutations: int

    def inputs(self) -> Mapping[str, Any]:
        return {
            "seed": self.seed,
            "permutations": self.permutations,
            "libraries": versions(*NUMERICAL),
        }

    def compute(self, folder: Path, store: Store) -> None:
        split, ids = store.result(self.split).split, self.split.images.candidates
        fits = fit_baselines(
            blind_columns(self.split, self.pooled, store, ids),
            split.is_member(ids),
            seed=self.seed,
            permutations=self.permutations,
            groups=split.groups(ids),
        )
        save_table(folder, fits)

    def load(self, folder: Path) -> BlindFits:
        return load_table(folder, BlindFits)


def blind_columns(
    split: SplitStage, pooled: PooledStage, store: Store, ids: Sequence[str]
) -> dict[str, Floats]:
    """The columns (N, F) of each baseline that is fitted, by its name."""
    return {
        name: columns
        for table in (store.result(pooled), store.result(split).traces)
        for name, columns in table.sets(ids).items()
    }
