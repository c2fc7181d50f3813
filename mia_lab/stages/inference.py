"""Whether collections of images were used for the training of a victim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mia_lab.errors import UserError
from mia_lab.evaluation.blind import judge_split
from mia_lab.evaluation.dataset_inference import (
    FEWEST,
    answer,
    feature_matrix,
    mean_test,
    needed_images,
    scorer_test,
    share_bound,
    unit_means,
    used_share,
)
from mia_lab.evaluation.multiple import holm
from mia_lab.evaluation.results import (
    Blind,
    CollectionResult,
    InferenceResult,
    MeanTest,
    UsedShare,
)
from mia_lab.evaluation.stored import load_result, save_result
from mia_lab.seeding import derive_seed
from mia_lab.stages.attack import AttackScores
from mia_lab.stages.correspondence import CorrespondenceStage
from mia_lab.stages.pooled import PooledStage
from mia_lab.stages.split import CheckedSplit
from mia_lab.stages.versions import ATTACKING
from mia_lab.store import Stage, Store
from mia_lab.store.software import versions
from mia_lab.types import VICTIM, BlindFeatures, Floats, Role, ScoreTable, Split

TESTS = ("scores", "features")
"""The tests of a collection; the answers rest on one of them."""


@dataclass(frozen=True, eq=False)
class InferenceStage(Stage[InferenceResult]):
    """Tests each collection against images that were certainly not used, with and without victim.

    Attributes:
        scores: of the attacks.
        pooled: deep features, for the blind twin.
        correspondence: whether the answers belong to their targets.
        attack: whose scores are tested.
        by: the test that the answers rest on, one of `TESTS`.
        seed: of halves, folds and permutations.
        permutations: their number.
    """

    name = "inference"
    version = 1
    is_quick = True

    scores: AttackScores
    pooled: PooledStage
    correspondence: CorrespondenceStage
    attack: str
    by: str
    seed: int
    permutations: int

    def inputs(self) -> Mapping[str, Any]:
        fingerprints = self.scores.fingerprints
        return {
            "attacks": fingerprints,
            "order": list(fingerprints),
            "collections": dict(self.scores.inputs.split.images.collections),
            "attack": self.attack,
            "by": self.by,
            "seed": self.seed,
            "permutations": self.permutations,
            "libraries": versions(*ATTACKING),
        }

    def load(self, folder: Path) -> InferenceResult:
        return load_result(folder, InferenceResult)

    def compute(self, folder: Path, store: Store) -> None:
        images, checked = self.scores.inputs.split.images, store.result(self.scores.inputs.split)
        ids: dict[str, list[str]] = {}
        for image_id, name in images.collections.items():
            ids.setdefault(name, []).append(image_id)
        _check_overlap(checked.split, images.collections)
        _check_groups(checked.split, ids, images.auxiliaries, images.members)
        evidence = self.scores.inputs.evidence(store)
        tables = self.scores.tables(evidence, store)
        blind = [store.result(self.pooled), checked.traces]
        difficulty = evidence.difficulty.column
        tested = [
            _Collection(self, name, found, checked, tables, blind, difficulty)
            for name, found in sorted(ids.items())
        ]
        drafts = [collection.result() for collection in tested]
        adjusted = holm([draft["p_value"] for draft in drafts]).tolist()
        result = InferenceResult(
            attack=self.attack,
            by=self.by,
            collections=tuple(
                CollectionResult(**draft, holm_p=p, answer=answer(p, draft["blind"]))
                for draft, p in zip(drafts, adjusted, strict=True)
            ),
            scores=tables,
            correspondence=store.result(self.correspondence),
        )
        save_result(folder, result)


@dataclass(frozen=True)
class _Collection:
    """One collection with everything that its tests read."""

    stage: InferenceStage
    name: str
    ids: Sequence[str]
    checked: CheckedSplit
    tables: Sequence[ScoreTable]
    blind: Sequence[BlindFeatures]
    difficulty: Any

    def result(self) -> dict[str, Any]:
        """All fields of a :class:`CollectionResult` but those that depend on other collections."""
        scores = self._means(self._table.column)
        tested = mean_test(*scores, self._seed("scores"), self.stage.permutations)
        features = self._scorer_test("features", self._attack_columns)
        chosen = tested if self.stage.by == "scores" else features
        if chosen is None:
            raise UserError(
                f"dataset_inference.by={self.stage.by}: the collection {self.name} and its "
                "comparison are too few to be halved; use dataset_inference.by=scores"
            )
        twin = self._twin()
        return {
            "name": self.name,
            "n_images": len(self.ids),
            "n_comparison": len(self._comparison),
            "scores": tested,
            "features": features,
            "p_value": chosen.permutation_p,
            "blind": twin.verdict,
            "blind_p": twin.p_value,
            "blind_best": twin.best,
            "blind_max": twin.max,
            "blind_upper95": twin.upper95,
            "blind_features": self._scorer_test("blind", self._blind_columns),
            "share": self._share(),
            "needed": needed_images(*scores, self._seed("needed")),
        }

    @property
    def _comparison(self) -> tuple[str, ...]:
        return self.checked.split.ids(Role.AUXILIARY)

    @property
    def _table(self) -> ScoreTable:
        return next(table for table in self.tables if table.attack == self.stage.attack)

    def _seed(self, use: str) -> int:
        return derive_seed(self.stage.seed, "dataset inference", self.name, use)

    def _means(self, column: Any) -> tuple[Floats, Floats]:
        """Of the collection and of the comparison, one value for each independent unit."""
        split = self.checked.split
        first, second = (
            unit_means(column(ids), split.groups(ids)) for ids in (self.ids, self._comparison)
        )
        return first, second

    def _scorer_test(self, use: str, columns: Any) -> MeanTest | None:
        return scorer_test(*self._means(columns), self._seed(use), self.stage.permutations)

    def _attack_columns(self, ids: Sequence[str]) -> Floats:
        return feature_matrix({table.attack: table.column(ids) for table in self.tables})

    def _blind_columns(self, ids: Sequence[str]) -> Floats:
        return feature_matrix({"difficulty": self.difficulty(ids), **self._baselines(ids)})

    def _baselines(self, ids: Sequence[str]) -> dict[str, Floats]:
        return {k: v for table in self.blind for k, v in table.sets(ids).items()}

    def _twin(self) -> Blind:
        """The check that an audit makes of its split, of this collection and its comparison."""
        ids = [*self.ids, *self._comparison]
        return judge_split(
            self.difficulty(ids),
            self._baselines(ids),
            np.array(ids),
            np.arange(len(ids)) < len(self.ids),
            seed=self.stage.seed,
            permutations=self.stage.permutations,
            groups=self.checked.split.groups(ids),
        )

    def _share(self) -> UsedShare:
        split, column = self.checked.split, self._table.column
        collection, comparison = self._means(column)
        members = split.ids(Role.MEMBER)
        if members:
            known = unit_means(column(members), split.groups(members))
            return used_share(collection, comparison, known)
        both = (self.ids, self._comparison)
        groups = split.groups(both[0]), split.groups(both[1])
        return share_bound(column(both[0]), column(both[1]), self._seed("share"), groups)


def _check_overlap(split: Split, collections: Mapping[str, str]) -> None:
    """Refuse collections that share an image."""
    seen: dict[str, str] = {}
    rows = split.model == VICTIM
    for image_id, content in zip(
        split.id[rows].tolist(), split.content[rows].tolist(), strict=True
    ):
        if image_id not in collections:
            continue
        other = seen.setdefault(content, image_id)
        if collections[other] != collections[image_id]:
            raise UserError(
                f"collections {collections[other]} and {collections[image_id]} overlap: {other} "
                f"and {image_id} are the same pair; remove it from one of them"
            )


def _check_groups(
    split: Split,
    collections: Mapping[str, Sequence[str]],
    comparison: Sequence[str],
    members: Sequence[str],
) -> None:
    """Refuse too few independent images, and groups that lie on both sides of a test."""
    sides = {f"the collection {name}": ids for name, ids in collections.items()}
    sides |= {"the comparison (role auxiliary)": comparison}
    sides |= {"the known members": members} if members else {}
    where: dict[str, str] = {}
    for side, ids in sides.items():
        groups = split.groups(ids).tolist()
        units = {name or f"image {i}" for i, name in zip(ids, groups, strict=True)}
        if len(units) < FEWEST:
            what = "groups of images" if any(groups) else "images"
            raise UserError(
                f"{side}: has {len(units)} {what}, at least {FEWEST} are needed; add more"
            )
        for name in {*groups} - {""}:
            if (other := where.setdefault(name, side)) != side:
                raise UserError(
                    f"group {name}: has images in {other} and in {side}, which would not be "
                    "independent; move the group to one side"
                )
