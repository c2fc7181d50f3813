"""Arrays on disk in ``.npy`` files: written part by part, or as a dataclass of arrays.

No file is written through a memory map: on a full disk, a write to a map ends the process by
SIGBUS, without a message. Its pages would also count as memory of the process.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mia_lab.errors import UserError
from mia_lab.store.disk import check_room

Table = TypeVar("Table")


class ArrayFile:
    """Writes a large array to a file, with one part in memory at a time; a context manager.

    Args:
        path: path of the file, in an existing folder.
        n_rows: number of rows of the whole array.
    """

    def __init__(self, path: Path, n_rows: int) -> None:
        self._path = path
        self._n_rows = n_rows
        self._written = 0
        self._row: tuple[np.dtype[Any], tuple[int, ...]] | None = None

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def append(self, rows: NDArray[Any]) -> None:
        """Write the next rows, at least one; before the first ones, check the room for the whole.

        Args:
            rows: (n, ...), with the same type and the same sizes but the first in every call.

        Raises:
            UserError: the disk has no room for the whole array.
            OSError: the rows cannot be written.
            ValueError: they are of another type or size than the rows before.
        """
        row = rows.dtype, rows.shape[1:]
        if self._row is None:
            self._start(rows)
            self._row = row
        if row != self._row:
            raise ValueError(f"{self._path}: rows of {row} follow rows of {self._row}")
        self._file.write(np.ascontiguousarray(rows).data)
        self._written += len(rows)

    def _start(self, rows: NDArray[Any]) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(rows.dtype),
            "fortran_order": False,
            "shape": (self._n_rows, *rows.shape[1:]),
        }
        np.lib.format.write_array_header_2_0(self._file, header)
        size = self._file.tell() + self._n_rows * rows[0].nbytes
        check_room(self._path.parent, size)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file.

        Raises:
            ValueError: the parts do not hold ``n_rows`` rows.
        """
        self._file.close()
        if kind is None and self._written != self._n_rows:
            raise ValueError(
                f"{self._path}: {self._written} rows were written, expected {self._n_rows}"
            )


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
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: is missing; delete the folder {folder} and run the same command again"
        ) from error
    except OSError:  # of the system, not of the file
        raise
    except Exception as error:  # a header is an expression: Python's parser raises many types
        raise UserError(
            f"{path}: cannot be read as an array; delete the folder {folder} and run the same "
            "command again"
        ) from error
