"""Frozen dataclasses of arrays on disk: one ``.npy`` file per field, read as memory maps."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

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
        FileNotFoundError: a field has no file.
    """
    arrays = {
        field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r", allow_pickle=False)
        for field in fields(kind)  # type: ignore[arg-type]
    }
    return kind(**arrays)
