"""Arrays on disk that are damaged or hostile give one line with the file's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fuzzing import hostile_npy
from mia_lab.errors import UserError
from mia_lab.store import load_table


@dataclass(frozen=True)
class Scores:
    score: np.ndarray


@pytest.mark.parametrize("content", hostile_npy().values(), ids=hostile_npy())
def test_hostile_headers(tmp_path: Path, content: bytes) -> None:
    assert_refused(tmp_path, content)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", None], ids=["empty", "archive", "missing"])
def test_other_files(tmp_path: Path, content: bytes | None) -> None:
    assert_refused(tmp_path, content)


def assert_refused(folder: Path, content: bytes | None) -> None:
    path = folder / "score.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_table(folder, Scores)
    what = "is missing" if content is None else "cannot be read as an array"
    assert str(error.value) == (
        f"{path}: {what}; delete the folder {folder} and run the same command again"
    )
