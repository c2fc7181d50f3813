"""The manifest of an entry: its stage and inputs, and a checksum of each of its files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mia_lab.errors import UserError
from mia_lab.store.content import file_sha256, file_state, files_below
from mia_lab.store.stage import Stage, canonical_json

MANIFEST = "manifest.json"
ANSWERS = "answers"

_KEY = re.compile(r"[0-9a-f]{64}")
_SUFFIXES = ("partial", "trash")

_KINDS = {
    **dict.fromkeys(("stage", "key", "sha256"), str),
    **dict.fromkeys(("files", "software"), dict),
    **dict.fromkeys(("created", "seconds"), float),
}
"""What a manifest states at least, and of which types."""


@dataclass(frozen=True)
class Entry:
    """One folder of the store.

    Attributes:
        path: path of the folder.
        stage, key: name and key of the stage.
        state: ``stored``; ``damaged``: its manifest cannot be read, or is of another entry;
            ``unfinished``: the files of a computation or removal that runs or was interrupted;
            ``growing``: the answers of a remote victim.
        size: bytes on disk.
        created, used: times of the computation and of the last use, in seconds since the epoch.
        seconds: time of the computation, without its upstream stages.
    """

    path: Path
    stage: str
    key: str
    state: str
    size: int
    created: float
    used: float
    seconds: float


def write_manifest(
    folder: Path, stage: Stage[Any], seconds: float, software: Mapping[str, str]
) -> None:
    """Write the manifest of a folder, and flush all its files to disk.

    Args:
        folder: holds the files.
        stage: what was computed.
        seconds: time of the computation, without its upstream stages.
        software: what computed it; see :func:`mia_lab.store.software.software`.
    """
    files = files_below(folder, lambda path: path.name != MANIFEST)
    body = {
        **stage.declaration,
        "key": stage.key,
        "files": {str(p.relative_to(folder)): file_sha256(p) for p in files},
        "created": time.time(),
        "seconds": seconds,
        "software": dict(software),
    }
    body["sha256"] = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    for path in files:
        sync(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(body, indent=1))
    sync(manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an entry.

    Raises:
        UserError: the manifest is missing or modified.
        PermissionError: it may not be read.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        body: dict[str, Any] = json.loads(text)
        if not all(isinstance(body[key], kind) for key, kind in _KINDS.items()):
            raise TypeError("has values of other types")
        digest = body.pop("sha256")
        intact = digest == hashlib.sha256(canonical_json(body).encode()).hexdigest()
    except PermissionError:  # not damaged: another user's
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(folder, MANIFEST) from error
    if not intact:
        raise _damaged(folder, MANIFEST)
    return body


def verify(folder: Path) -> None:
    """Compare every byte of an entry with its checksum: about a second for a gigabyte.

    Raises:
        UserError: a file is missing or modified, or the folder holds the result of another key.
        PermissionError: a file may not be read.
    """
    body = read_manifest(folder)
    check_key(folder, body)
    for name, digest in body["files"].items():
        path = folder / name
        try:
            intact = stat.S_ISREG(path.stat().st_mode) and file_sha256(path) == digest
        except PermissionError:
            raise
        except (OSError, ValueError):  # ValueError: no name of a file
            intact = False
        if not intact:
            raise _damaged(folder, name)


def check_key(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse an entry that was copied to the place of another one.

    Raises:
        UserError: the manifest is not of the stage and key that the folder is named after.
    """
    found = f"{manifest.get('stage')}/{manifest.get('key')}"
    if found != f"{folder.parent.name}/{folder.name}":
        raise UserError(
            f"{folder}: holds the result of {found}, not of the key that the folder is named "
            "after; delete the folder and run the same command again"
        )


def is_entry(folder: Path) -> bool:
    """Whether a folder below a stage's folder has a name that this store gives."""
    key, _, suffix = folder.name.partition(".")
    if not _KEY.fullmatch(key) or folder.is_symlink() or not folder.is_dir():
        return False
    if suffix:
        return suffix.rpartition(".")[2] in _SUFFIXES
    return True


def fingerprint(folder: Path) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Names and states of an entry's files, which change with any write to them."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return tuple((str(path), file_state(path)) for path in files)


def describe(folder: Path) -> Entry:
    """Describe an entry from its folder.

    Raises:
        OSError: another process removed the folder, or it may not be read.
    """
    stage, key = folder.parent.name, folder.name.partition(".")[0]
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    used = created = folder.stat().st_mtime
    state, seconds = "unfinished" if folder.suffix else "stored", 0.0
    if stage == ANSWERS:
        state, used = "growing", max([used, *(p.stat().st_mtime for p in folder.iterdir())])
    elif state == "stored":
        try:
            body = read_manifest(folder)
            check_key(folder, body)
            created, seconds = body["created"], body["seconds"]
        except UserError:
            state = "damaged"
    return Entry(folder, stage, key, state, size, created, used, seconds)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of files, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(folder: Path, name: str) -> UserError:
    return UserError(
        f"{folder / name}: damaged, its checksum does not match; delete the folder {folder} "
        "and run the same command again"
    )
