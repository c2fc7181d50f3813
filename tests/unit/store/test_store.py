"""The store: computed once, atomic, checksummed, safe with several processes."""

from __future__ import annotations

import gc
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from made_stages import MadeStage, fail_if_computed, write_number
from mia_lab.errors import UserError
from mia_lab.store import Store, load_table, save_table
from mia_lab.store.content import content_sha256
from mia_lab.store.software import software
from mia_lab.tasks.store import checked
from mia_lab.types import DifficultyTable
from tables import difficulty_table

STAGE = MadeStage("numbers", given={"a": 1})
AGAIN = replace(STAGE, make=fail_if_computed)
"""The same stage, which must not be computed."""


def test_key_depends_on_name_version_inputs_and_upstream_alone() -> None:
    assert MadeStage("s", given={"a": 1, "b": 2}).key == MadeStage("s", given={"b": 2, "a": 1}).key
    assert AGAIN.key == STAGE.key
    others = [
        MadeStage("t", given={"a": 1}),
        MadeStage("numbers", 2, {"a": 1}),
        MadeStage("numbers", given={"a": 2}),
        replace(STAGE, reads=(MadeStage("upstream"),)),
        replace(STAGE, reads=(MadeStage("upstream", 2),)),
    ]
    assert len({STAGE.key, *(s.key for s in others)}) == 6


def test_key_is_golden() -> None:
    # A change here orphans every stored result: raise the stages' versions instead.
    text = r'{"inputs":{"a":[1,0.5,null,"\u00e9"]},"stage":"s","upstream":{},"version":1}'
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert MadeStage("s", given={"a": [1, 0.5, None, "é"]}).key == expected


def test_key_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        _ = MadeStage("s", given={"path": tmp_path}).key
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = MadeStage("s", given={"x": float("nan")}).key


def test_upstream_stages_are_found_in_bundles() -> None:
    @dataclass(frozen=True)
    class Bundle:
        first: MadeStage
        others: tuple[MadeStage, ...]
        number: int = 3

    @dataclass(frozen=True, eq=False)
    class Reader(MadeStage):
        bundle: Bundle = field(default_factory=lambda: Bundle(MadeStage("a"), (MadeStage("b"),)))

    reader = Reader("reader")
    assert {*reader.upstream} == {"bundle.first", "bundle.others"}
    assert [stage.name for stage in reader.upstream_stages()] == ["a", "b"]


def test_computes_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = store.folder(STAGE)
    assert (first / "number.txt").read_text() == "42"
    assert store.folder(AGAIN) == first
    manifest = json.loads((first / "manifest.json").read_text())
    assert manifest["inputs"] == {"a": 1}
    assert [p.name for p in first.parent.iterdir()] == [first.name]  # no lock, no partial


def test_missing_stages_end_at_stored_ones(tmp_path: Path) -> None:
    below = MadeStage("below")
    middle = MadeStage("middle", reads=(below,))
    goal = MadeStage("goal", reads=(middle, below))
    with Store(tmp_path) as store:
        assert {s.name for s in store.missing(goal)} == {"goal", "middle", "below"}
        store.folder(middle)
        shutil.rmtree(store.path(below))
        assert {s.name for s in store.missing(goal)} == {"goal", "below"}
        shutil.rmtree(store.path(middle))
        store.folder(below)
        assert {s.name for s in store.missing(goal, goal)} == {"goal", "middle"}
        store.folder(goal)
        assert store.missing(goal) == ()


def test_results_are_loaded_once(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.result(STAGE) is store.result(AGAIN)


def test_the_cost_of_a_stage_is_its_own(tmp_path: Path) -> None:
    def slow(folder: Path) -> None:
        time.sleep(0.2)
        write_number(folder)

    def quick(folder: Path) -> None:
        time.sleep(0.05)
        write_number(folder)

    store = Store(tmp_path / "store")
    needed = tuple(MadeStage("needed", given={"a": i}, make=slow) for i in range(2))
    goal = MadeStage("goal", make=quick, reads=needed)
    store.folder(goal)
    mine, *others = (
        json.loads((store.path(stage) / "manifest.json").read_text())["seconds"]
        for stage in (goal, *needed)
    )
    assert 0.05 <= mine < 0.2
    assert min(others) >= 0.2
    assert 0.05 <= store.seconds["goal"] < 0.2
    assert store.seconds["needed"] >= 0.4


@pytest.mark.parametrize("name", ["number.txt", "manifest.json"])
def test_flipped_byte_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    path = store.folder(STAGE) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: damaged.*delete the folder"):
        store.folder(AGAIN)


def signed(**changes: object) -> str:
    """A manifest with other values and the checksum of them."""
    body = {
        **{"stage": "numbers", "version": 1, "inputs": {"a": 1}, "upstream": {}, "key": STAGE.key},
        **{"files": {}, "created": 1.0, "seconds": 1.0, "software": {}, **changes},
    }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return json.dumps(body | {"sha256": hashlib.sha256(text.encode()).hexdigest()})


@pytest.mark.parametrize(
    "manifest",
    [
        *("", "[]", '"text"', "null", "{}", "[" * 100_000, '{"sha256": NaN}', "\ud800", "\0"),
        *(signed(files=[]), signed(created="today"), signed(seconds=None), signed(software=7)),
        *(signed(created=float("nan")), signed(key=1), signed(files={"/dev/zero": "0"})),
        *(signed(files={"pipe": "0"}), signed(files={"\0": "0"})),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, manifest: str) -> None:
    with Store(tmp_path) as store:
        path = store.folder(STAGE) / "manifest.json"
    os.mkfifo(path.with_name("pipe"))
    path.write_text(manifest, errors="surrogatepass")
    with Store(tmp_path) as store, pytest.raises(UserError, match=r"damaged.*delete the folder"):
        store.folder(AGAIN)
    with Store(tmp_path) as store:
        (entry,) = checked(list(store.entries()))
        assert entry.state == "damaged"


def test_an_entry_at_the_place_of_another_key_is_an_error(tmp_path: Path) -> None:
    first, second = MadeStage("number", given={"a": 1}), MadeStage("number", given={"a": 2})
    with Store(tmp_path) as store:
        shutil.copytree(store.folder(first), store.path(second))
    with Store(tmp_path) as store, pytest.raises(UserError, match=f"holds .* number/{first.key}"):
        store.folder(second)
    with Store(tmp_path) as store:
        assert {e.key: e.state for e in store.entries()} == {
            first.key: "stored",
            second.key: "damaged",
        }


@dataclass(frozen=True, eq=False)
class OfFile(MadeStage):
    """Its numbers depend on a file's content."""

    file: Path = Path()

    def inputs(self) -> dict[str, object]:
        return {"model": {"checkpoint": content_sha256(self.file), "size": 1}}


@pytest.mark.parametrize("is_quick", [False, True])
def test_a_file_that_changes_meanwhile_is_an_error(tmp_path: Path, is_quick: bool) -> None:
    file = tmp_path / "weights"
    file.write_text("one")

    def change(folder: Path) -> None:
        times = file.stat()
        (folder / "answers").write_text(file.read_text())
        file.write_text("two")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    def untouched(folder: Path) -> None:
        os.utime(file)
        (folder / "answers").write_text(file.read_text())

    stage = OfFile("number", file=file, make=change, is_quick=is_quick)
    root = tmp_path / ("store" if not is_quick else "weights/store")  # cannot be written
    with Store(root) as store:
        with pytest.raises(UserError, match=r"model.checkpoint: .* has changed"):
            store.folder(stage)
        assert not store.has(stage)
    again = OfFile("number", file=file, make=untouched)
    assert again.key != stage.key
    with Store(tmp_path / "store") as store:
        assert (store.folder(again) / "answers").read_text() == "two"


def test_an_entry_names_what_computed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = MadeStage("number")
    with Store(tmp_path) as store:
        assert store.software(stage) is None
        store.folder(stage)
        assert store.software(stage) == software()
    monkeypatch.setattr("mia_lab.store.software.version", lambda name: "0.1")
    with Store(tmp_path) as store:
        store.folder(stage)
        assert software()["torch"] == "0.1"
        assert store.software(stage)["torch"] == importlib.metadata.version("torch")


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.folder(STAGE) / "number.txt").unlink()
    with pytest.raises(UserError, match="damaged"):
        store.folder(AGAIN)


@pytest.mark.parametrize("resumable", [False, True])
def test_failed_computation_publishes_nothing(tmp_path: Path, resumable: bool) -> None:
    store = Store(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError

    def finish(folder: Path) -> None:
        assert (folder / "half.txt").exists() == resumable
        write_number(folder)

    with pytest.raises(ZeroDivisionError):
        store.folder(MadeStage("numbers", make=fail, is_resumable=resumable))
    assert [e.state for e in store.entries()] == (["unfinished"] if resumable else [])
    stage = MadeStage("numbers", make=finish, is_resumable=resumable)
    assert (store.folder(stage) / "number.txt").exists()


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("pattern", "gone"),
    [("store", "store"), ("store/numbers", "numbers"), ("store/numbers/*.partial", ".partial")],
)
def test_a_folder_that_is_deleted_meanwhile_is_an_error(
    tmp_path: Path, pattern: str, gone: str, first: bool, resumable: bool
) -> None:
    """Before or after the computation has written to it."""

    def compute(folder: Path) -> None:
        if not first:
            write_number(folder)
        (deleted,) = tmp_path.glob(pattern)
        shutil.rmtree(deleted)
        if first:
            write_number(folder)

    stage = replace(STAGE, make=compute, is_resumable=resumable)
    goal = MadeStage("goal", reads=(stage,))
    for wanted in (stage, goal):
        with (
            Store(tmp_path / "store") as store,
            pytest.raises(UserError, match=rf"{gone}: was deleted while results were"),
        ):
            store.folder(wanted)
    with Store(tmp_path / "store") as store:
        assert (store.folder(replace(STAGE, is_resumable=resumable)) / "number.txt").exists()


def test_unwritable_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"paths.store=.*cannot be written"):
        Store(tmp_path / "file" / "store").folder(STAGE)


def test_what_is_quick_is_computed_beside_an_unwritable_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store")
    beside = store.folder(replace(STAGE, is_quick=True))
    assert (beside / "number.txt").read_text() == "42"
    assert store.folder(replace(AGAIN, is_quick=True)) == beside
    del store
    gc.collect()
    assert not beside.exists()


def test_a_dead_lock_in_a_read_only_store_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        store.folder(STAGE)
        lock = store.path(STAGE).with_name(f"{STAGE.key}.lock")
    lock.symlink_to("../.sessions/dead")
    monkeypatch.setattr(os, "access", lambda *_: False)  # to root, nothing is read-only
    with Store(tmp_path) as store:
        assert (store.folder(AGAIN) / "number.txt").read_text() == "42"
    assert lock.is_symlink()


def _compute_slowly(root: Path, log: Path, seconds: float) -> None:
    def compute(folder: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        write_number(folder)

    Store(root).folder(replace(STAGE, make=compute))


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


def test_stages_compute_with_one_thread_of_blas(tmp_path: Path) -> None:
    def threads() -> set[int]:
        return {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}

    found: list[set[int]] = []
    stage = MadeStage("numbers", make=lambda folder: found.append(threads()))
    with threadpool_limits(2, user_api="blas"), Store(tmp_path) as store:
        before = threads()
        store.folder(stage)
        assert threads() == before
    assert found == [{1}]
