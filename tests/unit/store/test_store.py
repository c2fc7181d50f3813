"""The store: computed once, atomic, checksummed, safe with several processes."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from mia_lab.errors import UserError
from mia_lab.store import Stage, Store, load_table, save_table
from mia_lab.types import DifficultyTable
from tables import difficulty_table

STAGE = Stage("numbers", 1, {"a": 1})


def write_number(folder: Path) -> None:
    (folder / "number.txt").write_text("42")


def fail_if_asked(_: Path) -> None:
    raise AssertionError("computed although it was stored")


def test_key_depends_on_name_version_and_inputs_alone() -> None:
    assert Stage("s", 1, {"a": 1, "b": 2}).key == Stage("s", 1, {"b": 2, "a": 1}).key
    others = [Stage("t", 1, {"a": 1}), Stage("numbers", 2, {"a": 1}), Stage("numbers", 1, {"a": 2})]
    assert len({STAGE.key, *(s.key for s in others)}) == 4


def test_key_is_golden() -> None:
    # A change here orphans every stored result: raise the stages' versions instead.
    text = r'{"inputs":{"a":[1,0.5,null,"\u00e9"]},"stage":"s","version":1}'
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert Stage("s", 1, {"a": [1, 0.5, None, "é"]}).key == expected


def test_key_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        _ = Stage("s", 1, {"path": tmp_path}).key
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = Stage("s", 1, {"x": float("nan")}).key


def test_computes_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = store.get(STAGE, write_number)
    assert (first / "number.txt").read_text() == "42"
    assert store.get(STAGE, fail_if_asked) == first
    manifest = json.loads((first / "manifest.json").read_text())
    assert manifest["inputs"] == {"a": 1}
    assert [p.name for p in first.parent.iterdir()] == [first.name]  # no lock, no partial


def test_the_cost_of_a_stage_is_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    needed = [Stage("needed", 1, {"a": i}) for i in range(2)]

    def slow(folder: Path) -> None:
        time.sleep(0.2)
        write_number(folder)

    def compute(folder: Path) -> None:
        for stage in needed:
            store.get(stage, slow)
        time.sleep(0.05)
        write_number(folder)

    store.get(STAGE, compute)
    mine, *others = (
        json.loads((store.path(stage) / "manifest.json").read_text())["seconds"]
        for stage in (STAGE, *needed)
    )
    assert 0.05 <= mine < 0.2
    assert min(others) >= 0.2


@pytest.mark.parametrize("name", ["number.txt", "manifest.json"])
def test_flipped_byte_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    path = store.get(STAGE, write_number) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: damaged.*delete the folder"):
        store.get(STAGE, fail_if_asked)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.get(STAGE, write_number) / "number.txt").unlink()
    with pytest.raises(UserError, match="damaged"):
        store.get(STAGE, fail_if_asked)


@pytest.mark.parametrize("resumable", [False, True])
def test_failed_computation_publishes_nothing(tmp_path: Path, resumable: bool) -> None:
    stage = Stage("numbers", 1, {}, resumable)
    store = Store(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError

    def finish(folder: Path) -> None:
        assert (folder / "half.txt").exists() == resumable
        write_number(folder)

    with pytest.raises(ZeroDivisionError):
        store.get(stage, fail)
    assert [e.state for e in store.entries()] == ["unfinished"]
    assert (store.get(stage, finish) / "number.txt").exists()


def test_unwritable_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"paths.store=.*cannot be written"):
        Store(tmp_path / "file" / "store").get(STAGE, write_number)


def test_what_is_quick_is_computed_beside_an_unwritable_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store")
    beside = store.remember(STAGE, write_number)
    assert (beside / "number.txt").read_text() == "42"
    assert store.remember(STAGE, fail_if_asked) == beside
    del store
    gc.collect()
    assert not beside.exists()


def test_a_dead_lock_in_a_read_only_store_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        store.get(STAGE, write_number)
        lock = store.path(STAGE).with_name(f"{STAGE.key}.lock")
    lock.symlink_to("../.sessions/dead")
    monkeypatch.setattr(os, "access", lambda *_: False)  # to root, nothing is read-only
    with Store(tmp_path) as store:
        assert (store.get(STAGE, fail_if_asked) / "number.txt").read_text() == "42"
    assert lock.is_symlink()


def _compute_slowly(root: Path, log: Path, seconds: float) -> None:
    def compute(folder: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        write_number(folder)

    Store(root).get(STAGE, compute)


def _start(*args: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(target=_compute_slowly, args=args)
    process.start()
    return process  # type: ignore[return-value]


def test_two_processes_compute_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [_start(tmp_path / "store", log, 1.0) for _ in range(2)]
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert len(log.read_text().split()) == 1


def test_tables_round_trip_as_memory_maps(tmp_path: Path) -> None:
    table = difficulty_table(["a", "b"], np.arange(4.0).reshape(2, 1, 2))
    save_table(tmp_path, table)
    back = load_table(tmp_path, DifficultyTable)
    assert isinstance(back.score, np.memmap)
    np.testing.assert_array_equal(back.column(["b", "a"]), [2.5, 0.5])
