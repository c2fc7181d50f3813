"""Tables made up for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mia_lab.attacks.evidence import Evidence
from mia_lab.types import (
    DifficultyTable,
    Floats,
    PairBatch,
    Reconstructions,
    Role,
    Split,
    reference,
)


def difficulty_table(
    ids: Sequence[str],
    score: ArrayLike,
    settings: Sequence[tuple[str, str]] = (("1,2,3,4", "1"),),
    side: int = 0,
    backbone: str = "lite0 (packaged)",
) -> DifficultyTable:
    """Scores (N, S, T) under settings given as (layers, ridge)."""
    score = np.asarray(score, dtype=np.float64)
    layers, ridge = zip(*settings, strict=True)
    return DifficultyTable(
        id=np.array(ids),
        backbone=np.array([backbone] * len(settings)),
        features_from=np.array(["input"] * len(settings)),
        layers=np.array(layers),
        ridge=np.array(ridge),
        score=score,
        penalty=np.ones_like(score),
        rank=np.full(score.shape, -1),
        map=np.full((len(ids), side, side), 0.1, dtype=np.float32),
    )


def answers(
    ids: Sequence[str], error: ArrayLike, images: NDArray[np.float32] | None = None
) -> Reconstructions:
    """One answer an image, with its error; black where no images are given."""
    n = len(ids)
    black = np.broadcast_to(np.float32(0), (n, 3, 64, 64))
    return Reconstructions(
        model=np.array(["victim"] * n),
        id=np.array(ids),
        transform=np.array(["identity"] * n),
        repeat=np.zeros(n, dtype=np.int64),
        error=np.asarray(error, dtype=np.float64),
        images=black if images is None else images,
    )


def no_pairs(_: Sequence[str]) -> Iterable[PairBatch]:
    raise AssertionError("nobody is to look at the images")


def made_evidence(
    candidates: Sequence[str],
    auxiliaries: Sequence[str],
    victim: Reconstructions,
    references: Sequence[Reconstructions] = (),
    members: Sequence[Sequence[str]] = (),
    pool: Sequence[str] | None = None,
    difficulty: ArrayLike | None = None,
    features: Floats | None = None,
    pairs: Callable[[Sequence[str]], Iterable[PairBatch]] = no_pairs,
    is_member: Sequence[bool] | None = None,
) -> Evidence:
    """Evidence on a victim, from numbers; what is given in rows follows the victim's.

    Args:
        candidates, auxiliaries: ids.
        victim, references: answers.
        members: of each reference, out of the pool (default: the auxiliaries).
        difficulty, features: of the victim's images, in its order.
        pairs: the images.
        is_member: of the candidates, which the evidence does not say.
    """
    truth = [i % 2 == 0 for i in range(len(candidates))] if is_member is None else is_member
    rows = [
        *(
            ("victim", i, Role.MEMBER if m else Role.NONMEMBER)
            for i, m in zip(candidates, truth, strict=True)
        ),
        *(("victim", i, Role.AUXILIARY) for i in auxiliaries),
        *(
            (reference(k), i, Role.MEMBER if i in set(inside) else Role.NONMEMBER)
            for k, inside in enumerate(members)
            for i in (auxiliaries if pool is None else pool)
        ),
    ]
    model, ids, role = (np.array([str(v) for v in column]) for column in zip(*rows, strict=True))
    empty = np.array([""] * len(rows))
    split = Split(id=ids, role=role, group=empty, model=model, content=empty)
    images = victim.id.tolist()
    place = {image: row for row, image in enumerate(images)}
    hard = np.zeros(len(images)) if difficulty is None else np.asarray(difficulty)

    def pooled(asked: Sequence[str]) -> Floats:
        assert features is not None
        return features[[place[i] for i in asked]]

    return Evidence(
        split.without_candidates(),
        victim,
        difficulty_table(images, hard.reshape(-1, 1, 1)),
        pairs,
        references=tuple(references),
        features=pooled,
    )
