"""Roles of images: drawn by a seed, recorded with content hashes, checked for duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mia_lab.data import doubts, traces
from mia_lab.data.manifest import Rows
from mia_lab.data.reading import Reader
from mia_lab.data.source import Pair
from mia_lab.errors import UserError
from mia_lab.progress import progress
from mia_lab.seeding import generator
from mia_lab.types import VICTIM, BlindFeatures, Role, Split

NEAR_DUPLICATE_BITS = 6
"""Largest Hamming distance between the 64-bit perceptual hashes of a near-duplicate pair."""

NearDuplicates = tuple[tuple[str, str, int], ...]

Load = Callable[[str], Pair]
Files = Callable[[str], Sequence[Path]]
Apply = Callable[..., Iterable[Any]]

AUXILIARIES = 100
"""Default number of auxiliaries (known non-members set aside), if enough images are left."""


@dataclass(frozen=True)
class Counts:
    """Number of images of each role.

    None for members or non-members means half of the images that the other roles leave; None for
    auxiliaries means the remaining images, at most 100.
    """

    members: int | None
    nonmembers: int | None
    auxiliary: int | None


def assign_resplit(pool: Sequence[str], counts: Counts, seed: int, *, coins: bool = False) -> Rows:
    """Draw roles at random from one pool, so that members and non-members differ only by chance.

    Args:
        pool: ids of all images.
        counts: number of images of each role.
        seed: seed of the draw.
        coins: each of the ``members + nonmembers`` images becomes a member by its own fair coin, so
            that the numbers of members and non-members are random.

    Raises:
        UserError: the pool is too small, or all coins show the same side.
    """
    members, nonmembers = _resolve(counts, len(pool))
    auxiliary = _auxiliaries(counts, len(pool) - members - nonmembers)
    total = members + nonmembers + auxiliary
    if total > len(pool):
        raise UserError(
            f"data.n_members={members} + data.n_nonmembers={nonmembers} + data.n_auxiliary="
            f"{auxiliary} = {total}, but the pool holds {len(pool)} images; ask for fewer"
        )
    if min(members, nonmembers) < 1:
        raise UserError(
            f"data.n_members={members} and data.n_nonmembers={nonmembers} (the pool holds "
            f"{len(pool)} images): both must be at least 1; ask for fewer of the others"
        )
    order = [pool[i] for i in generator(seed, "split").permutation(len(pool))[:total]]
    roles = [Role.MEMBER] * members + [Role.NONMEMBER] * nonmembers
    if coins:
        heads = generator(seed, "split", "coins").random(len(roles)) < 0.5
        roles = [Role.MEMBER if head else Role.NONMEMBER for head in heads]
        if len(set(roles)) < 2:
            raise UserError(
                f"data.assignment=bernoulli: all {len(roles)} coins show the same side; raise "
                "data.n_members and data.n_nonmembers"
            )
    roles += [Role.AUXILIARY] * auxiliary
    return {i: {"role": str(role)} for i, role in zip(order, roles, strict=True)}


def assign_official(train: Sequence[str], test: Sequence[str], counts: Counts, seed: int) -> Rows:
    """The published split: members from the train part, all other roles from the test part.

    The two parts may differ in ways that no victim caused; compare with :func:`assign_resplit`.

    Raises:
        UserError: a part is too small.
    """
    if both := set(train) & set(test):
        raise UserError(
            f"data.protocol=official: {min(both)} is in both the train and the test part; "
            "set data.train and data.test to folders that do not overlap"
        )
    members = len(train) if counts.members is None else counts.members
    left = len(test) - (counts.auxiliary or 0)
    nonmembers = left if counts.nonmembers is None else counts.nonmembers
    auxiliary = _auxiliaries(counts, left - nonmembers)
    if members > len(train):
        raise UserError(
            f"data.n_members={members}, but the train part holds {len(train)} images; ask for fewer"
        )
    if nonmembers > left or nonmembers < 1:
        raise UserError(
            f"data.n_nonmembers={nonmembers} + data.n_auxiliary={auxiliary}, but the test "
            f"part holds {len(test)} images; ask for fewer"
        )
    seen = [train[i] for i in generator(seed, "split", "train").permutation(len(train))[:members]]
    rest = [test[i] for i in generator(seed, "split", "test").permutation(len(test))]
    roles = dict.fromkeys(seen, Role.MEMBER)
    roles |= dict.fromkeys(rest[:nonmembers], Role.NONMEMBER)
    roles |= dict.fromkeys(rest[nonmembers : nonmembers + auxiliary], Role.AUXILIARY)
    return {image_id: {"role": str(role)} for image_id, role in roles.items()}


class BuiltSplit(NamedTuple):
    """Roles and properties of the chosen pairs, after all of them were decoded.

    Attributes:
        split: their roles.
        near_duplicates: targets in different roles that look alike: (id, id, distance).
        traces: features of files and pixels for the blind baselines, see
            :mod:`mia_lab.data.traces`.
        doubts: sentences on pairs that look like another layout, see :mod:`mia_lab.data.doubts`.
    """

    split: Split
    near_duplicates: NearDuplicates
    traces: BlindFeatures
    doubts: tuple[str, ...]


class _Seen(NamedTuple):
    """What is kept of one decoded pair."""

    content: str
    perceptual: int
    traces: traces.Columns
    doubts: Sequence[str]


def build_split(
    load: Load,
    rows: Rows,
    files: Files = lambda _: (),
    read: Reader = Path.read_bytes,
    *,
    keep: bool = False,
    apply: Apply = map,
) -> BuiltSplit:
    """Decode every chosen pair once, record its hash and traces, and reject duplicates.

    Rows are sorted by id, so that their order is independent of their role.

    Args:
        load: decodes the pair with a given id.
        rows: role, group and (from a saved manifest) content hash of each chosen id.
        files: returns the files of the pair with a given id; none for generated pairs.
        read: gives the content of a file.
        keep: whether identical pairs may have different roles.
        apply: applies a function to all ids, with the results in their order, such as
            :func:`mia_lab.hardware.in_order`.

    Raises:
        UserError: a pair cannot be decoded, has changed since the manifest was written, or appears
            in two roles and ``keep`` is False.
    """
    import imagehash  # SciPy, which it brings, takes a while to import

    ids = sorted(rows)
    roles = {i: Role(rows[i]["role"]) for i in ids}
    hashes: dict[str, str] = {}
    perceptual: dict[str, int] = {}
    features: dict[str, traces.Columns] = {}
    doubted: dict[str, list[str]] = {}

    def seen(image_id: str) -> _Seen:
        pair, of_pair = load(image_id), files(image_id)
        return _Seen(
            content_hash(pair),
            int(str(imagehash.phash(pair.y.image())), 16),
            traces.traces(pair, of_pair, read),
            doubts.doubts(pair, of_pair),
        )

    found = progress(apply(seen, ids), "checking images", total=len(ids), is_brief=True)
    for image_id, one in zip(ids, found, strict=True):
        hashes[image_id], perceptual[image_id] = one.content, one.perceptual
        features[image_id] = one.traces
        for doubt in one.doubts:
            doubted.setdefault(doubt, []).append(image_id)
        if rows[image_id].get("content", hashes[image_id]) != hashes[image_id]:
            raise UserError(
                f"{image_id}: its content differs from data.manifest; restore the file, or remove "
                "the column content from the manifest"
            )
    if not keep:
        _reject_duplicates(hashes, roles)
    split = Split(
        id=np.array(ids),
        role=np.array([str(roles[i]) for i in ids]),
        group=np.array([rows[i].get("group", "") for i in ids]),
        model=np.array([VICTIM] * len(ids)),
        content=np.array([hashes[i] for i in ids]),
    )
    alike = near_duplicates(ids, roles, perceptual)
    return BuiltSplit(split, alike, traces.table(features), doubts.told(doubted, len(ids)))


def _resolve(counts: Counts, pool: int) -> tuple[int, int]:
    """Numbers of members and non-members in a pool of a given size."""
    members, nonmembers = counts.members, counts.nonmembers
    room = pool - (counts.auxiliary or 0)
    if members is None and nonmembers is None:
        return room // 2, room // 2
    if members is None:
        members = room - (nonmembers or 0)
    if nonmembers is None:
        nonmembers = room - members
    return members, nonmembers


def _auxiliaries(counts: Counts, left: int) -> int:
    return max(0, min(AUXILIARIES, left)) if counts.auxiliary is None else counts.auxiliary


def content_hash(pair: Pair) -> str:
    """Hexadecimal sha256 of the pixels of a pair and their sizes."""
    digest = hashlib.sha256()
    for picture in (pair.x, pair.y):
        digest.update(picture.content())
    return digest.hexdigest()


def in_two_roles(
    hashes: Mapping[str, str], roles: Mapping[str, str]
) -> tuple[tuple[str, ...], ...]:
    """Ids of images whose pairs are the same while their roles differ, set by set.

    Args:
        hashes: content hash of each image, by id.
        roles: role of each image, by id.
    """
    alike: dict[str, list[str]] = {}
    for image_id, content in hashes.items():
        alike.setdefault(content, []).append(image_id)
    return tuple(tuple(ids) for ids in alike.values() if len({roles[i] for i in ids}) > 1)


def _reject_duplicates(hashes: Mapping[str, str], roles: Mapping[str, Role]) -> None:
    found = in_two_roles(hashes, roles)
    if not found:
        return
    one, *others = found[0]
    other = next(i for i in others if roles[i] != roles[one])
    more = f" ({len(found)} sets of pairs are alike)" if len(found) > 1 else ""
    raise UserError(
        f"{one} ({roles[one]}) and {other} ({roles[other]}) are the same pair{more}; remove one of "
        "them from the dataset, or set data.duplicates=drop to leave out both, or "
        "data.duplicates=keep"
    )


def identical_pairs(split: Split) -> tuple[tuple[str, ...], ...]:
    """Ids of images whose pairs are the same, pixel by pixel, set by set.

    Sets that are one group are left out: intervals count a group, not its images.
    """
    alike: dict[str, list[str]] = {}
    units: dict[str, set[str]] = {}
    rows = (split.id, split.group, split.model, split.content)
    for image_id, group, model, content in zip(*(row.tolist() for row in rows), strict=True):
        if model == VICTIM:
            alike.setdefault(content, []).append(image_id)
            units.setdefault(content, set()).add(f"group {group}" if group else f"id {image_id}")
    return tuple(tuple(ids) for content, ids in alike.items() if len(units[content]) > 1)


def near_duplicates(
    ids: Sequence[str], roles: Mapping[str, str], hashes: Mapping[str, int]
) -> NearDuplicates:
    """Images in different roles that look alike: id, id, and their distance in bits.

    Args:
        ids: of the images.
        roles: role of each image, by id.
        hashes: perceptual hash of 64 bits of each image, by id.
    """
    by_role = {role: [i for i in ids if roles[i] == role] for role in Role}
    found: list[tuple[str, str, int]] = []
    for one, other in combinations(Role, 2):
        right = np.array([hashes[i] for i in by_role[other]], dtype=np.uint64)
        for image_id in by_role[one]:
            distance = np.bitwise_count(right ^ np.uint64(hashes[image_id]))
            for j in np.flatnonzero(distance <= NEAR_DUPLICATE_BITS):
                found.append((image_id, by_role[other][j], int(distance[j])))
    return tuple(sorted(found, key=lambda pair: (pair[2], pair[0], pair[1])))


def halves(
    pool: Sequence[str], count: int, seed: int, groups: Mapping[str, str] | None = None
) -> tuple[tuple[str, ...], ...]:
    """Draw random halves of a pool of images, in complementary pairs.

    With an even count each image is in exactly half of them, as in the experiment matrix of
    Carlini et al. 2022 (arXiv:2112.03570).

    Args:
        pool: ids.
        count: number of halves.
        seed: a half depends on the seed, the ids, and the number of the half.
        groups: group of each image, by id. A group is drawn as a whole, so that a half may be
            larger than its complement; an image without a group is its own group.
    """
    ordered, found = sorted(pool), []
    known = groups or {}
    by_group: dict[str, list[str]] = {}
    for image in ordered:
        by_group.setdefault(known.get(image, image), []).append(image)
    names = list(by_group)
    for number in range(count):
        pair, side = divmod(number, 2)
        drawn = [names[i] for i in generator(seed, "half", pair).permutation(len(names))]
        first: list[str] = []
        for name in drawn:
            if len(first) + len(by_group[name]) > len(ordered) // 2:
                break
            first += by_group[name]
        inside = set(first)
        rows = first if side == 0 else [image for image in ordered if image not in inside]
        found.append(tuple(sorted(rows)))
    return tuple(found)
