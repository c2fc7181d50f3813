"""Measurements of the gate on the split: real splits, planted differences, and none at all."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

import shared
from mia_lab.backbones.backbone import Backbone
from mia_lab.backbones.pooling import pool
from mia_lab.data import traces
from mia_lab.data.dataset import PairDataset
from mia_lab.data.pairs import FolderPairs
from mia_lab.data.picture import Picture
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.data.source import Pair, PairSource
from mia_lab.data.splits import Counts, assign_official, assign_resplit
from mia_lab.difficulty.single_image import SingleImageDifficulty
from mia_lab.evaluation.blind import judge_split
from mia_lab.evaluation.results import Blind
from mia_lab.progress import progress
from mia_lab.stages.pooled import BASELINE

IMAGE_SIZE = 64
PERMUTATIONS = 2000
POOL = 600
"""Generated facades that draws are made from."""

REAL = {
    "facades": ("side_by_side", "BtoA", "test"),
    "maps": ("side_by_side", "BtoA", "val"),
    "cityscapes": ("two_folders", "AtoB", "test"),
}

Row = dict[str, Any]
Alter = Callable[[Image.Image], Image.Image]

View = tuple[np.ndarray, dict[str, np.ndarray]]
"""Difficulty (N,) of images, and the features (N, F) of each baseline."""


class Seen:
    """What the gate looks at, image by image: difficulty and the features of each baseline."""

    def __init__(self) -> None:
        self._backbone = Backbone("tf_efficientnet_lite0", "packaged")
        self._scorer = SingleImageDifficulty(self._backbone)

    def __call__(self, source: PairSource, ids: Sequence[str]) -> View:
        files = getattr(source, "files", lambda _: ())
        dataset = PairDataset(source, ids, IMAGE_SIZE)
        told = progress(ids, "reading", is_brief=True)
        rows = {i: traces.traces(dataset.load(i), files(i)) for i in told}
        difficulty, pooled = [], []
        for batch in progress(dataset.batches(16), "scoring", "batches", is_brief=True):
            difficulty += self._scorer.score(self._scorer.factors([batch]), 0).mean()[:, 0].tolist()
            pooled.append(np.concatenate([pool(self._backbone, b) for b in (batch.x, batch.y)], 1))
        features = {BASELINE: np.concatenate(pooled)} | traces.table(rows).sets(list(ids))
        return np.array(difficulty), features


class Altered:
    """A source whose targets were changed."""

    def __init__(self, source: PairSource, alter: Alter) -> None:
        self._source, self._alter = source, alter

    def load(self, image_id: str) -> Pair:
        pair = self._source.load(image_id)
        return Pair(pair.x, Picture.of(self._alter(pair.y.image())))


def brighter(percent: float) -> Alter:
    return lambda picture: ImageEnhance.Brightness(picture).enhance(1 + percent / 100)


def jpeg(quality: int) -> Alter:
    def alter(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return alter


def judged(view: View, truth: np.ndarray, seed: int, groups: np.ndarray | None = None) -> list[Row]:
    """What the gate says of images, of which ``truth`` are members."""
    ids = np.array([f"{i:06d}" for i in range(len(truth))])
    found: Blind = judge_split(
        *view, ids, truth, seed=seed, permutations=PERMUTATIONS, groups=groups
    )
    n = int(truth.sum())
    row = {
        "n_members": n,
        "n_nonmembers": len(truth) - n,
        "verdict": found.verdict.value,
        "p_value": round(found.p_value, 4),
        "best": found.best,
        "max": round(found.max, 4),
        "upper95": round(found.upper95, 4),
        "permutations": found.permutations,
    }
    return [row | {e.name: round(e.auc, 4) for e in found.baselines}]


def real() -> Iterator[shared.Measurement]:
    """300 + 300 images where there are as many, as published and re-drawn."""
    for name in REAL:
        for protocol in ("official", "resplit"):
            yield {"case": f"{name} {protocol}", "seed": 0}, partial(_real, name, protocol)


def _real(name: str, protocol: str) -> list[Row]:
    layout, direction, test = REAL[name]
    source = FolderPairs(str(shared.data_root() / name), layout, direction, "train", test)
    train, others = source.ids("train"), source.ids("test")
    n, half = min(300, len(others)), min(300, len(train) // 2)
    rows = (
        assign_official(train, others, Counts(n, n, 0), 0)
        if protocol == "official"
        else assign_resplit(train, Counts(half, half, 0), 0)
    )
    ids = sorted(rows)
    truth = np.array([rows[i]["role"] == "member" for i in ids])
    return judged(Seen()(source, ids), truth, 0)


@functools.cache
def _pool(alter: Alter | None = None) -> View:
    """All generated facades."""
    source = ProceduralPairs("facades", "BtoA", 0, POOL, 0)
    ids = source.ids("train")
    return Seen()(Altered(source, alter) if alter else source, ids)


def _harder(share: float) -> View:
    """With a difficulty raised by a share of its deviation."""
    difficulty, features = _pool()
    return difficulty + share * difficulty.std(), features


BRIGHTER = {percent: brighter(percent) for percent in (2, 5, 10, 20)}
JPEG = {quality: jpeg(quality) for quality in (75, 95)}

PLANTED: dict[str, Callable[[], tuple[View, View]]] = {
    **{
        f"brightness {percent} %": lambda alter=alter: (_pool(alter), _pool())
        for percent, alter in BRIGHTER.items()
    },
    "JPEG 75 against 95": lambda: (_pool(JPEG[75]), _pool(JPEG[95])),
    **{
        f"difficulty {share:g} SD": lambda share=share: (_harder(share), _pool())
        for share in (0.25, 0.5, 1.0)
    },
}
"""What sets the members apart: how members and non-members look to the gate."""


def _numbers(n: int) -> Row:
    return {"n_members": n, "n_nonmembers": n}


def power(n: int = 100, seeds: int = 10) -> Iterator[shared.Measurement]:
    """n + n generated facades; the members' targets were altered before anyone looks."""
    for case in PLANTED:
        for seed in range(seeds):
            yield {"case": case, "seed": seed, **_numbers(n)}, partial(_planted, case, seed, n)


def _planted(case: str, seed: int, n: int) -> list[Row]:
    members, others = PLANTED[case]()
    chosen = np.random.default_rng(seed).permutation(POOL)[: 2 * n]
    truth = np.arange(2 * n) < n
    features = {
        name: np.where(truth[:, None], members[1][name][chosen], others[1][name][chosen])
        for name in others[1]
    }
    return judged((np.where(truth, members[0][chosen], others[0][chosen]), features), truth, seed)


SIZE = 4
"""Images of one group."""


def null(draws: int = 400) -> Iterator[shared.Measurement]:
    """Members and non-members of one pool, drawn again and again."""
    for seed in range(draws):
        for n in (100, 12):
            yield {"case": "nothing", "seed": seed, **_numbers(n)}, partial(_unplanted, seed, n)
        asked = {"case": f"nothing, groups of {SIZE}", "seed": seed, **_numbers(100)}
        yield asked, partial(_grouped, seed, 100)


def _drawn(seed: int, n: int) -> View:
    difficulty, features = _pool()
    chosen = np.random.default_rng([1, seed]).permutation(POOL)[: 2 * n]
    return difficulty[chosen], {name: columns[chosen] for name, columns in features.items()}


def _unplanted(seed: int, n: int) -> list[Row]:
    return judged(_drawn(seed, n), np.arange(2 * n) < n, seed)


def _grouped(seed: int, n: int) -> list[Row]:
    """The images of a group share a role, and half of the variance of all that is looked at."""
    difficulty, features = _drawn(seed, n)
    codes = np.arange(2 * n) // SIZE
    rng = np.random.default_rng([2, seed])

    def alike(columns: np.ndarray) -> np.ndarray:
        shared_part = rng.normal(size=(codes[-1] + 1, *columns.shape[1:]))
        return columns + columns.std(axis=0) * shared_part[codes]

    view = alike(difficulty), {name: alike(columns) for name, columns in features.items()}
    return judged(view, np.arange(2 * n) < n, seed, np.array([f"g{c}" for c in codes]))
