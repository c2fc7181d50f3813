"""The file that marks a folder as a store.

A store deletes what it holds, when it is pruned. So a folder that is no store is never treated as
one: a mistyped path must not cost its owner any files.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from mia_lab.errors import UserError
from mia_lab.store.permissions import share

MARKER = "mia_lab-store.json"
FORMAT = 1
"""The format of entries and locks; raise it where older versions of mia_lab could harm a store."""


EARLIER = {".sessions", "log.jsonl"}
"""Files of stores that were made before they were marked."""

OF_THE_SYSTEM = {"lost+found", ".DS_Store"}
"""Files of an empty folder."""


def is_store(root: Path) -> bool:
    """Whether a folder is marked as a store.

    Raises:
        UserError: the marker is damaged, or of another format.
    """
    marker = root / MARKER
    try:
        content = json.loads(marker.read_text(encoding="utf-8"))
        found = content["format"]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(
            f"{marker}: cannot be read ({error.strerror}); correct its permissions, or set "
            "paths.store to another folder"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{marker}: is damaged; if {root} is a store of mia_lab, delete this file and "
            "write it again as "
            f"{_content().strip()}"
        ) from error
    if found != FORMAT:
        raise UserError(
            f"{marker}: the store has format {found}, this version of mia_lab reads format "
            f"{FORMAT}; set paths.store to another folder"
        )
    return True


def check_root(root: Path) -> None:
    """Refuse a folder that holds something else than a store.

    Raises:
        UserError: the folder is neither a store, nor empty, nor missing; or see :func:`is_store`.
    """
    try:
        others = _content_of(root)
    except (FileNotFoundError, NotADirectoryError):  # not there yet, or cannot be made
        return
    except OSError as error:
        raise UserError(f"paths.store={root}: {error.strerror}; choose another folder") from error
    # In this order, because another process may mark the folder and write to it in between.
    if others and not is_store(root):
        if EARLIER & set(others):
            raise UserError(
                f"paths.store={root}: is a store of an earlier version of mia_lab, whose results "
                "have other keys; delete it, or set paths.store to another folder"
            )
        raise UserError(
            f"paths.store={root}: is no store, it holds {others[0]} and has no {MARKER}; set "
            "paths.store to a new or empty folder, or to the store that you mean"
        )


def mark(root: Path) -> None:
    """Make a folder a store; do nothing if it is one.

    Raises:
        UserError: see :func:`check_root`.
        OSError: the folder cannot be written.
    """
    check_root(root)
    if is_store(root):
        return
    root.mkdir(parents=True, exist_ok=True)
    new = root / f".{MARKER}.{uuid.uuid4().hex}"  # others read the marker whole, or find none
    try:
        new.write_text(_content(), encoding="utf-8")
        share(root, new)
        new.replace(root / MARKER)
    finally:
        new.unlink(missing_ok=True)  # if the disk is full


def _content() -> str:
    return json.dumps({"store": "mia_lab", "format": FORMAT}) + "\n"


def _content_of(root: Path) -> list[str]:
    """Names in a folder, but those of processes that are marking it."""
    names = (p.name for p in root.iterdir() if not p.name.startswith(f".{MARKER}"))
    return sorted(name for name in names if name not in OF_THE_SYSTEM)
