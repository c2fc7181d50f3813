"""Assignment of roles to images: seeded, recorded with content hashes, checked for duplicates."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
from tqdm import tqdm

from mia_lab.data import traces
from mia_lab.data.csv_text import defused, restored
from mia_lab.data.reading import Reader
from mia_lab.data.source import Pair
from mia_lab.errors import UserError
from mia_lab.seeding import generator
from mia_lab.store.disk import write_file
from mia_lab.types import VICTIM, BlindFeatures, Role, Split

COLUMNS = ("id", "role", "group", "model", "content")

NEAR_DUPLICATE_BITS = 6
"""Largest Hamming distance between the 64-bit perceptual hashes of a near-duplicate pair."""

CANDIDATE_ROLES = (Role.MEMBER, Role.NONMEMBER)
"""Roles of the images that an audit attacks and whose membership is known."""

NearDuplicates = tuple[tuple[str, str, int], ...]

Load = Callable[[str], Pair]
Files = Callable[[str], Sequence[Path]]

Rows = dict[str, dict[str, str]]
"""For each chosen id: its role, and its group and content hash if given."""


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


def read_manifest(path: Path, known: Sequence[str], unknown: bool = False) -> Rows:
    """Read the rows of a CSV with the columns ``id,role[,group][,model][,content]``, by id.

    Args:
        path: path of the file.
        known: ids of all images.
        unknown: whether membership is unknown. If True, the images under attack have the role
            ``candidate``, or no role; if False, they are members and non-members. In both cases the
            other rows are auxiliaries.

    Raises:
        UserError: the file is missing or malformed, or names an unknown image or role.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                {str(name): restored(field or "") for name, field in row.items() if name}
                for row in csv.DictReader(file, restval="")
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.manifest={path}: cannot be read ({error})") from error
    attacked = (Role.CANDIDATE,) if unknown else CANDIDATE_ROLES
    if not rows or not ({"id"} if unknown else {"id", "role"}) <= set(rows[0]):
        columns = "id[,role][,group]" if unknown else "id,role[,group]"
        raise UserError(f"data.manifest={path}: needs a header with the columns {columns}")
    named: Rows = {}
    existing = set(known)
    for line, row in enumerate(rows, start=2):
        if row.get("model") not in (None, "", VICTIM):
            continue
        if row["id"] not in existing:
            raise UserError(
                f"{path}:{line}: id {row['id']!r} is not in the dataset; an example of an id is "
                f"{known[0]!r}"
            )
        if row["id"] in named:
            raise UserError(f"{path}:{line}: id {row['id']!r} appears twice; keep one row")
        role = row.get("role") or (Role.CANDIDATE if unknown else "")
        if role not in (*attacked, Role.AUXILIARY):
            raise UserError(f"{path}:{line}: {_wrong_role(role, attacked)}")
        named[row["id"]] = {"role": str(role)}
        named[row["id"]] |= {k: row[k] for k in ("group", "content") if row.get(k)}
    for wanted in attacked:
        if not any(row["role"] == wanted for row in named.values()):
            raise UserError(
                f"data.manifest={path}: no row has the role {wanted}; "
                f"{'add ids to score' if unknown else 'an audit needs members and non-members'}"
            )
    return named


def _wrong_role(role: str, attacked: Sequence[Role]) -> str:
    if role == Role.CANDIDATE:
        return f"role {role}: an audit needs known roles; use task=score to score candidates"
    if role in set(Role):
        return f"role {role}: this role is known; use task=audit, or leave it empty to score the id"
    return f"unknown role {role!r}; choose from {', '.join((*attacked, Role.AUXILIARY))}"


def build_split(
    load: Load, rows: Rows, files: Files = lambda _: (), read: Reader = Path.read_bytes
) -> tuple[Split, NearDuplicates, BlindFeatures]:
    """Decode every chosen pair once, record its hash and traces, and reject duplicates.

    Rows are sorted by id, so that their order is independent of their role.

    Args:
        load: decodes the pair with a given id.
        rows: role, group and (from a saved manifest) content hash of each chosen id.
        files: returns the files of the pair with a given id; none for generated pairs.
        read: gives the content of a file.

    Returns:
        The split, the near-duplicate targets in different roles (id, id, distance), and the
        features of files and pixels for the blind baselines (see :mod:`mia_lab.data.traces`).

    Raises:
        UserError: a pair cannot be decoded, has changed since the manifest was written, or appears
            in two roles.
    """
    ids = sorted(rows)
    roles = {i: Role(rows[i]["role"]) for i in ids}
    hashes: dict[str, str] = {}
    perceptual: dict[str, int] = {}
    features: dict[str, traces.Columns] = {}
    for image_id in tqdm(ids, "checking images", unit=" images", delay=2, leave=False):
        pair = load(image_id)
        hashes[image_id] = _content_hash(pair)
        perceptual[image_id] = int(str(imagehash.phash(pair.y.image())), 16)
        features[image_id] = traces.traces(pair, files(image_id), read)
        if rows[image_id].get("content", hashes[image_id]) != hashes[image_id]:
            raise UserError(
                f"{image_id}: its content differs from data.manifest; restore the file, or remove "
                "the column content from the manifest"
            )
    _reject_duplicates(ids, roles, hashes)
    split = Split(
        id=np.array(ids),
        role=np.array([str(roles[i]) for i in ids]),
        group=np.array([rows[i].get("group", "") for i in ids]),
        model=np.array([VICTIM] * len(ids)),
        content=np.array([hashes[i] for i in ids]),
    )
    return split, _near_duplicates(ids, roles, perceptual), traces.table(features)


def write_manifest(path: Path, split: Split) -> None:
    """Save a split as CSV; ``data.protocol=manifest data.manifest=<path>`` repeats it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    columns = (map(defused, getattr(split, c).tolist()) for c in COLUMNS)
    writer.writerows(zip(*columns, strict=True))
    write_file(path, text.getvalue())


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


def _content_hash(pair: Pair) -> str:
    digest = hashlib.sha256()
    for picture in (pair.x, pair.y):
        digest.update(picture.content())
    return digest.hexdigest()


def _reject_duplicates(
    ids: Sequence[str], roles: Mapping[str, Role], hashes: Mapping[str, str]
) -> None:
    first: dict[str, str] = {}
    for image_id in ids:
        twin = first.setdefault(hashes[image_id], image_id)
        if roles[twin] != roles[image_id]:
            raise UserError(
                f"{twin} ({roles[twin]}) and {image_id} ({roles[image_id]}) are the same pair; "
                "remove one of them from the dataset"
            )


def identical_pairs(split: Split) -> tuple[tuple[str, ...], ...]:
    """Ids of images whose pairs are the same, pixel by pixel, set by set.

    They have one role, because :func:`build_split` refuses others. Sets that are one group are left
    out: intervals count a group, not its images.
    """
    alike: dict[str, list[str]] = {}
    units: dict[str, set[str]] = {}
    rows = (split.id, split.group, split.model, split.content)
    for image_id, group, model, content in zip(*(row.tolist() for row in rows), strict=True):
        if model == VICTIM:
            alike.setdefault(content, []).append(image_id)
            units.setdefault(content, set()).add(f"group {group}" if group else f"id {image_id}")
    return tuple(tuple(ids) for content, ids in alike.items() if len(units[content]) > 1)


def _near_duplicates(
    ids: Sequence[str], roles: Mapping[str, Role], hashes: Mapping[str, int]
) -> NearDuplicates:
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
