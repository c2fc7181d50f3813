"""Find picture files in folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mia_lab.data.reading import ENDINGS
from mia_lab.data.source import MissingPart
from mia_lab.errors import UserError
from mia_lab.store import files_below


def matched(
    folders: Sequence[Path], strip: Callable[[str], str] = str
) -> dict[str, tuple[Path, ...]]:
    """The files of each name, one per folder.

    Args:
        folders: at least one folder.
        strip: maps a file's name without its extension to the name used for matching.

    Raises:
        UserError: a name is missing in one of the folders.
    """
    found = [pictures(folder, strip) for folder in folders]
    for files in found:
        for other, folder in zip(found, folders, strict=True):
            for name in sorted(files.keys() - other.keys()):
                raise UserError(
                    f"{files[name]}: has no partner {name}.* in {folder}; "
                    "add the partner, or remove this file"
                )
    return {name: tuple(files[name] for files in found) for name in found[0]}


def pictures(folder: Path, strip: Callable[[str], str] = str) -> dict[str, Path]:
    """All pictures below a folder, by name without extension; see :func:`matched`.

    Raises:
        UserError: there are none, two have one name, or see :func:`mia_lab.store.files_below`.
    """
    if not folder.is_dir():
        raise MissingPart(
            f"{folder}: no such folder; set data.root, data.layout, data.train and data.test "
            "to match your files"
        )
    found: dict[str, Path] = {}
    for path in files_below(folder, lambda p: p.name[0] != "." and p.suffix.lower() in ENDINGS):
        name = strip(path.relative_to(folder).with_suffix("").as_posix())
        if name in found:
            raise UserError(f"{path}: two pictures named {name} ({found[name].name}); remove one")
        found[name] = path
    if not found:
        raise UserError(f"{folder}: contains no pictures; put the pairs there or set data.root")
    return found
