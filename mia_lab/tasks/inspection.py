"""One pass over all pairs of a dataset that collects all problems, not only the first."""

from __future__ import annotations

from collections import Counter

import imagehash

from mia_lab.data import doubts
from mia_lab.data.dataset import PairDataset
from mia_lab.data.manifest import Rows
from mia_lab.data.picture import Picture
from mia_lab.data.splits import content_hash, in_two_roles, near_duplicates
from mia_lab.errors import UserError
from mia_lab.evaluation.results import Inspection
from mia_lab.progress import progress

SIDES = ("input", "target")


def inspect(dataset: PairDataset, rows: Rows) -> Inspection:
    """Decode every pair once, and resize it as a run would.

    Args:
        dataset: the pairs.
        rows: role of each image, and its content hash if a manifest gives one, by id; images
            without a row are not compared.
    """
    roles = {image_id: row["role"] for image_id, row in rows.items()}
    problems: list[str] = []
    unreadable: list[str] = []
    kinds: dict[str, Counter[str]] = {side: Counter() for side in SIDES}
    values: dict[str, tuple[float, float]] = {}
    doubted: dict[str, list[str]] = {}
    hashes: dict[str, str] = {}
    perceptual: dict[str, int] = {}
    for image_id in progress(dataset.ids, "checking images", is_brief=True):
        try:
            pair = dataset.load(image_id)
        except UserError as error:
            problems.append(str(error))
            unreadable.append(image_id)
            continue
        for side, picture in zip(SIDES, (pair.x, pair.y), strict=True):
            kinds[side][f"{picture.width} x {picture.height} px, {picture.describe()}"] += 1
            values[side] = _widened(values.get(side), picture)
        told = [*doubts.doubts(pair, dataset.files(image_id)), *_squashed(dataset, pair.x)]
        for doubt in told:
            doubted.setdefault(doubt, []).append(image_id)
        if image_id in roles:
            hashes[image_id] = content_hash(pair)
            if rows[image_id].get("content", hashes[image_id]) != hashes[image_id]:
                problems.append(f"{image_id}: its content differs from data.manifest")
            perceptual[image_id] = int(str(imagehash.phash(pair.y.image())), 16)
    return Inspection(
        problems=tuple(problems),
        unreadable=tuple(unreadable),
        kinds={side: dict(found.most_common()) for side, found in kinds.items()},
        values=values,
        doubts=doubts.told(doubted, len(dataset)),
        identical=in_two_roles(hashes, roles),
        near_duplicates=near_duplicates([*perceptual], roles, perceptual),
    )


def _squashed(dataset: PairDataset, picture: Picture) -> list[str]:
    """That a picture is distorted, if it is."""
    to = dataset.resizing
    gap = abs(picture.width * to.height - picture.height * to.width)
    if to.mode != "squash" or gap <= max(picture.width, picture.height, to.width, to.height):
        return []
    return [
        f"pictures are distorted from {picture.width} x {picture.height} to {to.width} x "
        f"{to.height} px; data.image_size=[width,height], or data.resize=crop or fit, keeps their "
        "shape"
    ]


def _widened(span: tuple[float, float] | None, picture: Picture) -> tuple[float, float]:
    low, high = float(picture.pixels.min()), float(picture.pixels.max())
    return (low, high) if span is None else (min(low, span[0]), max(high, span[1]))
