"""Files on a full disk: one line, nothing half-written, and large arrays without memory maps."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from made_stages import MadeStage, write_number
from mia_lab.errors import UserError
from mia_lab.store import ArrayFile, Store
from mia_lab.store.disk import enough_room, full_disk, write_file
from small_disk import SmallDisk

LARGE = np.ones((100, 1000), dtype=np.float32)


def save_by_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save(torch.from_numpy(LARGE), file)


WRITERS: dict[str, Callable[[Path], object]] = {
    "python": lambda path: path.write_bytes(LARGE.tobytes()),
    "npy": lambda path: np.save(path, LARGE),
    "npz": lambda path: np.savez(path, LARGE),
    "safetensors": lambda path: save_file({"x": torch.from_numpy(LARGE)}, path),
    "parquet": lambda path: pd.DataFrame(LARGE).to_parquet(path),
    "torch": save_by_torch,
}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Refuse files above a size, as ``ulimit -f`` does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_the_error_of_every_library_says_that_the_disk_is_full(
    small_disk: SmallDisk, name: str
) -> None:
    small_disk.fill(pages=2)
    with pytest.raises(UserError) as full, enough_room(small_disk.folder):
        WRITERS[name](small_disk.folder / "file.npz")
    assert str(full.value).startswith(f"{small_disk.folder}: the disk is full (")
    assert "\n" not in str(full.value)


@pytest.mark.parametrize("name", WRITERS)
def test_so_does_that_of_a_limit_of_sizes(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(UserError) as full,
        enough_room(tmp_path),
        largest_file(10_000),
    ):
        WRITERS[name](tmp_path / "file.npz")
    of_numpy = "the disk is full"  # it does not say why a write was cut short
    assert "a file is larger than the file system" in str(full.value) or (
        name == "npy" and of_numpy in str(full.value)
    )


def test_a_message_names_the_file_that_the_error_names(tmp_path: Path) -> None:
    error = OSError(errno.EDQUOT, "Disk quota exceeded", "source", None, str(tmp_path / "a/b"))
    assert str(full_disk(error, Path("/"))).startswith(f"{tmp_path / 'a'}: the disk quota is used")
    error = OSError(errno.ENOSPC, "No space left on device")
    assert str(full_disk(error, tmp_path, 2_000_000)).startswith(
        f"{tmp_path}: the disk is full (2.0 MB needed, "
    )


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), RuntimeError("x"), UserError("x")]
)
def test_other_errors_pass(tmp_path: Path, error: Exception) -> None:
    assert full_disk(error, tmp_path) is None
    with pytest.raises(type(error)) as raised, enough_room(tmp_path):
        raise error
    assert raised.value is error


def test_a_file_is_written_whole_or_not_at_all(small_disk: SmallDisk) -> None:
    path = small_disk.folder / "results" / "metrics.json"
    path.parent.mkdir()
    write_file(path, "é\r\n")
    small_disk.fill(pages=3)
    with pytest.raises(UserError, match=r"results: the disk is full \(0.4 MB needed, 12.3 kB free"):
        write_file(path, LARGE.tobytes())
    assert path.read_bytes() == "é\r\n".encode()
    assert list(path.parent.iterdir()) == [path]


def parts(path: Path, n_rows: int, sizes: tuple[int, ...]) -> None:
    rows = iter(LARGE)
    with ArrayFile(path, n_rows) as file:
        for size in sizes:
            file.append(np.stack([next(rows) for _ in range(size)]))


def test_an_array_is_written_in_parts(tmp_path: Path) -> None:
    parts(tmp_path / "x.npy", 6, (1, 3, 2))
    found = np.load(tmp_path / "x.npy", mmap_mode="r", allow_pickle=False)
    np.testing.assert_array_equal(found, LARGE[:6])
    assert found.dtype == LARGE.dtype

    with ArrayFile(tmp_path / "wide.npy", 2) as file:  # no row has a pixel
        file.append(np.empty((2, 3, 0, 0), dtype=np.float32))
    assert np.load(tmp_path / "wide.npy").shape == (2, 3, 0, 0)

    with ArrayFile(tmp_path / "slanted.npy", 3) as file:
        file.append(LARGE[:4, :3].T)
    np.testing.assert_array_equal(np.load(tmp_path / "slanted.npy"), LARGE[:4, :3].T)


@pytest.mark.parametrize("n_rows", [5, 7])
def test_a_wrong_number_of_rows_is_an_error(tmp_path: Path, n_rows: int) -> None:
    with pytest.raises(ValueError, match=f"x.npy: 6 rows were written, expected {n_rows}"):
        parts(tmp_path / "x.npy", n_rows, (4, 2))


def test_an_array_that_does_not_fit_is_refused_at_its_first_row(small_disk: SmallDisk) -> None:
    small_disk.fill(pages=10)
    with pytest.raises(UserError, match=r"disk is full \(0.4 MB needed, 41.0 kB free"):
        parts(small_disk.folder / "x.npy", 100, (1,))


def test_a_disk_that_fills_up_between_two_parts(small_disk: SmallDisk) -> None:
    """As where space cannot be claimed: here the rows are more than announced."""
    small_disk.fill(pages=10)
    with pytest.raises(UserError, match="the disk is full"), enough_room(small_disk.folder):
        parts(small_disk.folder / "x.npy", 5, (5, 5, 5))


@pytest.mark.parametrize("room", [0, 1, 2], ids=["session", "result", "manifest"])
def test_a_store_on_a_full_disk(small_disk: SmallDisk, room: int) -> None:
    root = small_disk.folder / "store"
    inner = MadeStage("inner")
    stage = MadeStage("outer", reads=(inner,))
    with Store(root) as store:
        store.folder(MadeStage("first"))
    small_disk.fill(room)
    with Store(root) as store:
        with pytest.raises(UserError, match="the disk is full") as full:
            store.folder(stage)
        assert str(full.value).startswith(str(root))
        assert [e.stage for e in store.entries()] == ["first"]  # and nothing unfinished
        assert not list(root.glob("*/*.lock"))

        small_disk.empty()
        store.folder(replace(stage, make=write_number))
        assert [e.state for e in store.entries()] == ["stored"] * 3


def test_a_new_store_on_a_full_disk(small_disk: SmallDisk) -> None:
    root = small_disk.folder / "store"
    small_disk.fill()
    with Store(root) as store, pytest.raises(UserError, match="the disk is full"):
        store.folder(MadeStage("first"))
    small_disk.empty()
    with Store(root) as store:
        store.folder(MadeStage("first"))
    assert not list(root.glob(".mia_lab*"))
