"""Frozen dataclasses of arrays on disk: one ``.npy`` file per field, read as memory maps."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mia_lab.errors import UserError

Table = TypeVar("Table")


def save_table(folder: Path, table: Any) -> None:
    """Write every field of a dataclass of arrays to ``<folder>/<field>.npy``."""
    for field in fields(table):
        path = folder / f"{field.name}.npy"
        if not path.exists():  # a field too large for memory may already be in the folder
            np.save(path, getattr(table, field.name), allow_pickle=False)


def load_table(folder: Path, kind: type[Table]) -> Table:
    """Read a dataclass of arrays; the arrays are read-only memory maps.

    Raises:
        UserError: a field has no file, or it holds no array.
    """
    return kind(**{field.name: _load(folder, field.name) for field in fields(kind)})  # type: ignore[arg-type]


def _load(folder: Path, name: str) -> Any:
    path = folder / f"{name}.npy"
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a header is an expression: Python's parser raises many types
        raise UserError(
            f"{path}: cannot be read as an array; delete the folder {folder} and run the same "
            "command again"
        ) from error
