"""Whether collections of images were used for the training of a victim."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mia_lab.errors import UserError
from mia_lab.evaluation.blind import SIGNIFICANCE, excess, judge_split
from mia_lab.evaluation.dataset_inference import (
    FEWEST,
    answer,
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
    Estimate,
    InferenceResult,
    UsedShare,
    Verdict,
)
from mia_lab.evaluation.stored import load_result, save_result
from mia_lab.seeding import derive_seed
from mia_lab.stages.attack import AttackScores
from mia_lab.stages.blind import blind_columns
from mia_lab.stages.correspondence import CorrespondenceStage
from mia_lab.stages.images import RunImages
from mia_lab.stages.pooled import PooledStage
from mia_lab.stages.split import CheckedSplit
from mia_lab.stages.versions import ATTACKING
from mia_lab.store import Stage, Store
from mia_lab.store.software import versions
from mia_lab.types import VICTIM, Floats, Role, ScoreTable, Split, Strings


@dataclass(frozen=True, eq=False)
class InferenceStage(Stage[InferenceResult]):
    """Tests each collection against images that were certainly not used, with and without victim.

    Attributes:
        scores: of the attacks.
        pooled: deep features, for the blind twin.
        correspondence: whether the answers belong to their targets.
        attack: whose scores are tested.
        by: the test that the answers rest on, ``scores`` or ``features``.
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
        evidence = self.scores.inputs.evidence(store)
        tables = self.scores.tables(evidence, store)
        blind = partial(blind_columns, self.scores.inputs.split, self.pooled, store)
        difficulty = evidence.difficulty.column
        tested = [
            _Collection(self, name, found, checked, tables, blind, difficulty)
            for name, found in sorted(_by_collection(images).items())
        ]
        drafts = [collection.result() for collection in tested]
        adjusted = holm([draft["p_value"] for draft in drafts]).tolist()
        result = InferenceResult(
            attack=self.attack,
            by=self.by,
            collections=tuple(
                CollectionResult(
                    **draft, holm_p=p, answer=answer(p, draft["blind"], draft["excess"].ci95)
                )
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
    blind: Callable[[Sequence[str]], Mapping[str, Floats]]
    difficulty: Callable[[Sequence[str]], Floats]

    def result(self) -> dict[str, Any]:
        """All fields of a :class:`CollectionResult` but those that depend on other collections."""
        scores = self._means(self._table.column)
        tested = mean_test(*scores, self._seed("scores"), self.stage.permutations)
        features = scorer_test(
            *self._means(self._attack_columns), self._seed("features"), self.stage.permutations
        )
        chosen = tested if self.stage.by == "scores" else features
        twin, found = self._twin()
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
            "excess": found,
            "share": self._share(twin.verdict),
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
        first, second = (
            unit_means(column(ids), self._groups(ids)) for ids in (self.ids, self._comparison)
        )
        return first, second

    def _attack_columns(self, ids: Sequence[str]) -> Floats:
        return np.column_stack([table.column(ids) for table in self.tables])

    def _twin(self) -> tuple[Blind, Estimate]:
        """The check that an audit makes of its split, and the excess of the attack over it."""
        ids = [*self.ids, *self._comparison]
        is_collection = np.arange(len(ids)) < len(self.ids)
        groups = self._groups(ids)
        twin = judge_split(
            self.difficulty(ids),
            self.blind(ids),
            np.array(ids),
            is_collection,
            seed=self.stage.seed,
            permutations=self.stage.permutations,
            groups=groups,
        )
        scores = ScoreTable(self.stage.attack, VICTIM, np.array(ids), self._table.column(ids))
        return twin, excess(scores, twin, is_collection, groups).estimate

    def _groups(self, ids: Sequence[str]) -> Strings:
        """Groups of images; copies of one pair are a group, too."""
        split = self.checked.split
        contents = dict(zip(split.id.tolist(), split.content.tolist(), strict=True))
        counts = Counter(contents[i] for i in ids)
        return np.array(
            [
                group or (f"copies {contents[i]}" if counts[contents[i]] > 1 else "")
                for i, group in zip(ids, split.groups(ids).tolist(), strict=True)
            ],
            dtype=np.str_,
        )

    def _share(self, blind: Verdict) -> UsedShare:
        split, column = self.checked.split, self._table.column
        if blind is Verdict.CONFOUNDED:
            why = "the collection differs from the comparison by itself"
            return UsedShare(None, (0.0, 1.0), False, why)
        collection, comparison = self._means(column)
        members = split.ids(Role.MEMBER)
        if members:
            known = unit_means(column(members), self._groups(members))
            return used_share(collection, comparison, known)
        both = (self.ids, self._comparison)
        groups = self._groups(both[0]), self._groups(both[1])
        return share_bound(column(both[0]), column(both[1]), self._seed("share"), groups)


def _by_collection(images: RunImages) -> dict[str, list[str]]:
    """The ids of each collection, by its name."""
    found: dict[str, list[str]] = {}
    for image_id, name in images.collections.items():
        found.setdefault(name, []).append(image_id)
    return found


def check_collections(images: RunImages, permutations: int) -> None:
    """Refuse what no test can be made of, before anything is computed.

    Raises:
        UserError: there are too few independent images, a group lies on both sides of a test, or
            the permutations are too few for so many collections.
    """
    comparison = {"the comparison (role auxiliary)": images.auxiliaries}
    comparison |= {"the known members": images.members} if images.members else {}
    collections = {f"collection {name}": ids for name, ids in _by_collection(images).items()}
    known = {
        images.groups[i]: k for k, ids in comparison.items() for i in ids if i in images.groups
    }
    for side, ids in [*collections.items(), *comparison.items()]:
        units = {images.groups.get(i) or (i,) for i in ids}
        if len(units) < FEWEST:
            what = "groups of images" if images.groups else "images"
            raise UserError(f"{side} has {len(units)} {what}; give at least {FEWEST}")
        for group in (images.groups[i] for i in ids if i in images.groups):
            if known.get(group, side) != side:
                raise UserError(
                    f"group {group} has images in {side} and in {known[group]}, which would not be "
                    "independent; move the group to one side"
                )
    needed = math.ceil(len(collections) / SIGNIFICANCE)
    if permutations + 1 <= needed:
        raise UserError(
            f"evaluation.permutations={permutations}: the p-values of {len(collections)} "
            f"collections cannot fall below {SIGNIFICANCE} after Holm's correction; give at least "
            f"{needed}"
        )


def check_overlap(split: Split, collections: Mapping[str, str]) -> None:
    """Refuse a pair that is in two collections, or in a collection and among known images.

    Raises:
        UserError: there is one.
    """
    seen: dict[str, str] = {}
    rows = split.model == VICTIM
    ids, contents = split.id[rows].tolist(), split.content[rows].tolist()
    for image_id, content in zip(ids, contents, strict=True):
        other = seen.setdefault(content, image_id)
        mine, others = collections.get(image_id, ""), collections.get(other, "")
        if mine != others:
            both = sorted(
                f"collection {name}" if name else "known images" for name in (mine, others)
            )
            raise UserError(
                f"{both[0]} and {both[1]} overlap: {other} and {image_id} are the same pair; "
                "remove it from one of them"
            )
