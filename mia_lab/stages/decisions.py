"""Ranks of candidates, and decisions whether each of them was a member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mia_lab.evaluation.decision import decide, ranks
from mia_lab.evaluation.results import ScoringResult
from mia_lab.evaluation.stored import load_result, save_result
from mia_lab.stages.attack import AttackScores
from mia_lab.stages.correspondence import CorrespondenceStage
from mia_lab.stages.versions import ATTACKING
from mia_lab.store import Stage, Store
from mia_lab.store.software import versions
from mia_lab.types import Role


@dataclass(frozen=True, eq=False)
class DecisionsStage(Stage[ScoringResult]):
    """Ranks the candidates by each attack, and decides where known non-members allow it.

    Attributes:
        scores: of the attacks.
        correspondence: whether the answers belong to their targets.
        fpr: false positive rate of the decisions.
    """

    name = "decisions"
    version = 2
    is_quick = True

    scores: AttackScores
    correspondence: CorrespondenceStage
    fpr: float

    def inputs(self) -> Mapping[str, Any]:
        fingerprints = self.scores.fingerprints
        return {
            "attacks": fingerprints,
            "order": list(fingerprints),
            "fpr": self.fpr,
            "libraries": versions(*ATTACKING),
        }

    def compute(self, folder: Path, store: Store) -> None:
        checked = store.result(self.scores.inputs.split)
        evidence = self.scores.inputs.evidence(store)
        tables = self.scores.tables(evidence, store)
        candidates = checked.split.ids(Role.CANDIDATE)
        auxiliaries = checked.split.ids(Role.AUXILIARY)
        result = ScoringResult(
            candidates=candidates,
            auxiliaries=auxiliaries,
            scores=tables,
            difficulty=evidence.difficulty.column([*candidates, *auxiliaries]),
            fpr=self.fpr,
            ranks={table.attack: ranks(table.column(candidates)) for table in tables},
            decisions={
                table.attack: decide(table.column(candidates), table.column(auxiliaries), self.fpr)
                for table in tables
                if auxiliaries
            },
            near_duplicates=checked.near_duplicates,
            correspondence=store.result(self.correspondence),
        )
        save_result(folder, result)

    def load(self, folder: Path) -> ScoringResult:
        return load_result(folder, ScoringResult)
