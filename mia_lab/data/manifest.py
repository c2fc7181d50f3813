"""Manifests: CSV files that give the roles of images, and perhaps the files of their pairs."""

from __future__ import annotations

import csv
import difflib
import io
import os
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from mia_lab.data.csv_text import defused, restored
from mia_lab.errors import UserError, nearest, refuse
from mia_lab.store.disk import write_file
from mia_lab.types import VICTIM, Role, Split

COLUMNS = ("id", "role", "group", "model", "content")

FILES = ("input", "target")
"""Columns that name the files of a pair."""

PROMPT = "prompt"
"""Column of the text that a victim is given beside the input."""

COLLECTION = "collection"
"""Column of the collection that a candidate belongs to."""

CANDIDATE_ROLES = (Role.MEMBER, Role.NONMEMBER)
"""Roles of the images that an audit attacks and whose membership is known."""

NEIGHBOURS = 200
"""Ids before and after an unknown one that it is compared with."""

Rows = dict[str, dict[str, str]]
"""For each chosen id: its role, and its group, content hash, prompt and collection if given."""

Row = dict[str, str]


def read_collections(path: Path, known: Sequence[str]) -> Rows:
    """Read the collections of a manifest, the images to compare them with, and known members.

    A row with a ``collection`` is a candidate; every other row has the role ``auxiliary``, which
    is an image of the comparison, or ``member``.

    Args:
        path: path of the file.
        known: ids of all images.

    Raises:
        UserError: the file is missing or malformed, or names an unknown image, role or column; or
            it has no collection, or no image to compare one with.
    """
    named: Rows = {}
    for where, row in _of_images(path, known):
        collection, role = row.get(COLLECTION, "").strip(), row.get("role", "")
        if not (collection.isprintable()):
            refuse(f"{where}: collection {collection!r}: has unprintable characters; rename it")
            continue
        allowed = ("", Role.CANDIDATE) if collection else (Role.AUXILIARY, Role.MEMBER)
        if role not in allowed:
            rule = (
                f"is of the collection {collection!r}, so its role is candidate or empty"
                if collection
                else "is of no collection, so its role is auxiliary (an image of the comparison) "
                "or member; or fill in the column collection"
            )
            refuse(f"{where}: role {role or 'empty'!r}: the image {rule}")
            continue
        named[row["id"]] = {"role": str(role or Role.CANDIDATE), **_optional(row)}
        named[row["id"]] |= {COLLECTION: collection} if collection else {}
    if not any(COLLECTION in row for row in named.values()):
        raise UserError(
            f"data.manifest={path}: no row has a collection; fill in the column collection of the "
            "images in question"
        )
    if not any(row["role"] == Role.AUXILIARY for row in named.values()):
        raise UserError(
            f"data.manifest={path}: there is nothing to compare a collection with; add images that "
            "were certainly not used, with the role auxiliary and without a collection"
        )
    return named


def _optional(row: Row) -> Row:
    return {k: row[k] for k in ("group", "content", PROMPT) if row.get(k)}


def read_manifest(path: Path, known: Sequence[str], unknown: bool = False) -> Rows:
    """Read the roles of a manifest, by id.

    The columns are ``id,role[,group][,model][,content][,prompt]``, and ``input,target`` where the
    manifest lists files, see :func:`named_files`.

    Args:
        path: path of the file.
        known: ids of all images.
        unknown: whether membership is unknown. If True, the images under attack have the role
            ``candidate``, or no role; if False, they are members and non-members. In both cases the
            other rows are auxiliaries.

    Raises:
        UserError: the file is missing or malformed, or names an unknown image, role or column.
    """
    attacked = (Role.CANDIDATE,) if unknown else CANDIDATE_ROLES
    named: Rows = {}
    for where, row in _of_images(path, known):
        image_id = row["id"]
        if not unknown and "role" not in row:
            raise UserError(
                f"data.manifest={path}: has no column role; add it, of member, nonmember and "
                "auxiliary, or use task=score"
            )
        role = row.get("role") or (Role.CANDIDATE if unknown else "")
        if role not in (*attacked, Role.AUXILIARY):
            refuse(f"{where}: {_wrong_role(role, attacked)}")
            continue
        named[image_id] = {"role": str(role)}
        named[image_id] |= _optional(row)
    for wanted in attacked:
        if not any(row["role"] == wanted for row in named.values()):
            raise UserError(
                f"data.manifest={path}: no row has the role {wanted}; "
                f"{'add ids to score' if unknown else 'an audit needs members and non-members'}"
            )
    return named


def listed_ids(path: Path, known: Sequence[str]) -> tuple[str, ...]:
    """The ids that a manifest lists, sorted, whatever their roles.

    Args:
        path: path of the file.
        known: ids of all images.

    Raises:
        UserError: the file is missing or malformed, or names an unknown image or column.
    """
    return tuple(sorted(row["id"] for _, row in _of_images(path, known)))


def names_files(path: Path) -> bool:
    """Whether a manifest has the columns ``input`` and ``target``.

    Raises:
        UserError: the file is missing or malformed.
    """
    return any("input" in row for _, row in _rows(path))


def named_files(path: Path, root: Path | None) -> dict[str, tuple[Path, Path]]:
    """The files of each pair, by id; empty if a manifest has no columns ``input`` and ``target``.

    Args:
        path: path of the manifest.
        root: the folder where a relative path is looked for first; second is the manifest's folder.

    Raises:
        UserError: the file is missing or malformed, or a pair's file is not there.
    """
    found: dict[str, tuple[Path, Path]] = {}
    missing: dict[str, str] = {}
    folders = [folder for folder in (root, path.parent) if folder is not None]
    for where, row in _of_victim(path) if names_files(path) else ():
        files = []
        for column in FILES:
            # An absolute path stays as it is.
            places = [folder / row[column] for folder in folders]
            there = next(filter(os.path.isfile, places), None)
            if there is None:
                either = " or ".join(dict.fromkeys(map(str, places)))
                problem = f"{where}: {column} {row[column]!r}: there is no file {either}"
                missing.setdefault(row["id"], problem)
            files.append(there or places[0])
        found[row["id"]] = (files[0], files[1])
    if missing:
        problem = (
            f"{next(iter(missing.values()))} ({len(missing)} of {len(found)} pairs lack a file); "
            "give paths that are absolute, or relative to data.root or to the manifest"
        )
        if len(missing) == len(found):
            raise UserError(problem)
        refuse(problem)
    return {image_id: files for image_id, files in found.items() if image_id not in missing}


def write_manifest(
    path: Path,
    split: Split,
    files: Mapping[str, tuple[Path, Path]] | None = None,
    prompts: Mapping[str, str] | None = None,
    collections: Mapping[str, str] | None = None,
) -> None:
    """Save a split as CSV; ``data.protocol=manifest data.manifest=<path>`` repeats it.

    Args:
        path: where.
        split: the roles.
        files: input and target of each image, where the layout of folders does not tell.
        prompts: the text of each image that has one.
        collections: the collection of each image that belongs to one.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    columns: list[Iterable[str]] = [
        map(defused, getattr(split, column).tolist()) for column in COLUMNS
    ]
    if files:
        listed = [files[image_id] for image_id in split.id.tolist()]
        for side in zip(*listed, strict=True):
            columns.append(defused(str(path.absolute())) for path in side)
    texts = {name: of for name, of in ((PROMPT, prompts), (COLLECTION, collections)) if of}
    for of in texts.values():
        columns.append([defused(of.get(image_id, "")) for image_id in split.id.tolist()])
    writer.writerow([*COLUMNS, *(FILES if files else ()), *texts])
    writer.writerows(zip(*columns, strict=True))
    write_file(path, text.getvalue())


def write_roles(path: Path, rows: Rows) -> None:
    """Save roles as CSV, for ``data.protocol=manifest data.manifest=<path>``."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "role", COLLECTION])
    writer.writerows(
        [defused(image_id), row["role"], defused(row.get(COLLECTION, ""))]
        for image_id, row in rows.items()
    )
    write_file(path, text.getvalue())


def _of_images(path: Path, known: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """The rows of the model under audit whose images are known; the others are refused."""
    existing, ids = set(known), None
    for where, row in _of_victim(path):
        if row["id"] in existing:
            yield where, row
        elif "input" not in row:  # or else its files are missing
            ids = ids or _Ids(known)
            refuse(f"{where}: id {row['id']!r} is not in the dataset: {ids.fault(row['id'])}")


class _Ids:
    """The ids of a dataset, which tell what is wrong with another one.

    Args:
        ids: all of them.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._sorted = sorted(ids)
        self._all = set(self._sorted)
        parts = {image_id: _folder_and_name(image_id) for image_id in reversed(self._sorted)}
        self._folders = {folder for folder, _ in parts.values()}
        self._of_name = {name: image_id for image_id, (_, name) in parts.items()}

    def fault(self, unknown: str) -> str:
        """Which parts of an unknown id are wrong, and the id that is nearest."""
        folder, name = _folder_and_name(unknown)
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - of a text
        has_suffix = name not in self._of_name and stem in self._of_name
        name = stem if has_suffix else name
        wanted = f"{folder}/{name}" if folder else name
        faults = []
        if folder not in self._folders:
            faults.append(f"there is no folder {folder!r}" if folder else "it lacks the folder")
        if name not in self._of_name:
            faults.append(f"no image has the name {name!r}")
        elif folder in self._folders and wanted not in self._all:
            faults.append(f"the folder {folder!r} has no image {name!r}")
        if has_suffix:
            faults.append(f"the suffix {suffix!r} is no part of an id")
        near = wanted if wanted in self._all else self._of_name.get(name) or self._nearest(wanted)
        return f"{' and '.join(faults)}; the nearest id is {near!r}"

    def _nearest(self, unknown: str) -> str:
        """The id most like another one, among those that it is sorted with."""
        place = bisect(self._sorted, unknown)
        near = self._sorted[max(0, place - NEIGHBOURS) : place + NEIGHBOURS]
        return difflib.get_close_matches(unknown, near, n=1, cutoff=0)[0]


def _folder_and_name(image_id: str) -> tuple[str, str]:
    folder, _, name = image_id.rpartition("/")
    return folder, name


def _of_victim(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of the model under audit, each with its file and line, and a unique id."""
    seen: set[str] = set()
    for where, row in _rows(path):
        if row.get("model") not in (None, "", VICTIM):
            continue
        if "id" not in row:
            row["id"] = Path(row["input"]).with_suffix("").as_posix()
        for column in ("id", *FILES):
            if row.get(column) == "":
                raise UserError(f"{where}: the column {column} is empty; fill it in")
        if row["id"] in seen:
            raise UserError(f"{where}: id {row['id']!r} appears twice; keep one row")
        seen.add(row["id"])
        yield where, row


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """All rows, each with its file and line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            lines = [(f"{path}:{reader.line_num}", fields) for fields in reader if fields]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.manifest={path}: cannot be read ({error})") from error
    _check_header(path, header)
    if not lines:
        raise UserError(f"data.manifest={path}: has no rows below its header; add the images")
    for where, fields in lines:
        if any(fields[len(header) :]):
            raise UserError(
                f"{where}: has {len(fields)} fields, but the header has {len(header)} columns; "
                "quote what has a comma in it"
            )
        # A column without a name holds the numbers of the rows, as pandas writes them.
        row = {name: restored(v) for name, v in zip_longest(header, fields, fillvalue="") if name}
        yield where, row


def _check_header(path: Path, header: Sequence[str]) -> None:
    choices = (*COLUMNS, *FILES, PROMPT, COLLECTION)
    if len(header) == 1 and ({";", "\t"} & {*header[0]}):
        raise UserError(
            f"data.manifest={path}: separate the columns by commas, not as {header[0]!r}"
        )
    for name in header:
        if name and name not in choices:
            raise UserError(
                f"data.manifest={path}: unknown column {name!r}; rename or remove it, there are "
                f"{', '.join(choices)}{nearest(name, choices)}"
            )
    if len(set(header)) < len(header):
        raise UserError(f"data.manifest={path}: has a column twice; keep one")
    named = set(FILES) & set(header)
    if len(named) == 1:
        raise UserError(
            f"data.manifest={path}: has the column {named.pop()} alone; name both files of a pair, "
            "input and target"
        )
    if not named and "id" not in header:
        raise UserError(
            f"data.manifest={path}: needs a header with the columns id,role[,group], or "
            "input,target,role[,id][,group]; with task=score, role may be missing"
        )


def _wrong_role(role: str, attacked: Sequence[Role]) -> str:
    if role == Role.CANDIDATE:
        return f"role {role}: an audit needs known roles; use task=score to score candidates"
    if role in set(Role):
        return f"role {role}: this role is known; use task=audit, or leave it empty to score the id"
    return f"unknown role {role!r}; choose from {', '.join((*attacked, Role.AUXILIARY))}"
