"""One store, many processes: who waits, who takes over, and what may be removed."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest

from made_stages import MadeStage
from mia_lab.config.schema import StoreTask
from mia_lab.config.validation import validated
from mia_lab.errors import UserError
from mia_lab.store import Store, session
from mia_lab.store.marker import MARKER, mark
from mia_lab.tasks import store as task


def write(folder: Path) -> None:
    np.save(folder / "n.npy", np.arange(1000))


STAGE = MadeStage("numbers", given={"a": 1}, make=write)
LETTERS = MadeStage("letters", make=write)


def administer(root: Path, action: str, **chosen: object) -> str:
    """``task=store`` with the given keys below ``store``."""
    keys = dict.fromkeys(("stage", "state", "older_than_days", "max_gb"))
    node = {**keys, "dry_run": False, "action": action, **chosen}
    return task.administer(root, validated(StoreTask, node, "store"))


def sleep_for_ever(_: Path) -> None:
    time.sleep(600)


def fill(root: Path, *stages: MadeStage) -> None:
    with Store(root) as store:
        for stage in stages:
            store.folder(stage)


def events(root: Path, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def _own(root: Path) -> None:
    Store(root).folder(replace(STAGE, make=sleep_for_ever))


def _wait(root: Path, found: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    Store(root).folder(STAGE)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    Path(found).write_text(f"{cpu} {time.time()}")


def start(target: object, *args: object) -> SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)  # type: ignore[arg-type]
    process.start()
    return process


def owned(root: Path) -> SpawnProcess:
    """A process that computes for ever."""
    owner = start(_own, root)
    while not list(root.glob("numbers/*.partial")):
        time.sleep(0.02)
    return owner


def kill(process: SpawnProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)  # and not waited for: a zombie is dead enough


def test_waiting_is_cheap_and_a_killed_owner_is_succeeded_once(tmp_path: Path) -> None:
    owner = owned(tmp_path)
    waiting = [start(_wait, tmp_path, str(tmp_path / f"found-{i}")) for i in range(2)]
    time.sleep(3.5)
    killed = time.time()
    kill(owner)
    for process in waiting:
        process.join(20)
    for i in range(2):
        cpu, done = map(float, (tmp_path / f"found-{i}").read_text().split())
        assert cpu < 0.3
        assert done - killed < 2  # half a second, and a busy machine
    assert len(events(tmp_path, "computed")) == len(events(tmp_path, "takeover")) == 1
    owner.join()


def test_owner_on_another_machine_is_succeeded_after_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = owned(tmp_path)
    (known,) = (tmp_path / ".sessions").iterdir()
    known.write_text(known.read_text().replace(session.machine(), "elsewhere"))
    kill(owner)
    owner.join()
    monkeypatch.setattr(session, "LEASE_S", 1.0)
    os.utime(known)
    start = time.monotonic()
    Store(tmp_path).folder(STAGE)
    assert 0.9 < time.monotonic() - start < 2.5


def test_live_session_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LEASE_S", 0.3)
    with Store(tmp_path) as store:
        store.folder(STAGE)
        (known,) = (tmp_path / ".sessions").iterdir()
        known.unlink()  # taken for dead
        time.sleep(0.5)
        assert f"numbers/{STAGE.key}" in known.read_text()
    assert not known.exists()


def test_who_was_taken_for_dead_takes_nobody_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, ours = session.Session(tmp_path), session.Session(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(session, "machine", lambda: "another machine")
        other.open()
    ours.open()
    ours.path.unlink()
    assert ours.lives(other.name)
    assert ours.path.exists()
    for one in (other, ours):
        one.close()


def test_what_is_read_is_not_removed(tmp_path: Path) -> None:
    with Store(tmp_path) as reader:
        seen = np.load(reader.folder(STAGE) / "n.npy", mmap_mode="r")
        fill(tmp_path, LETTERS)
        assert "deleted 1 entries" in administer(tmp_path, "prune", older_than_days=0)
        np.testing.assert_array_equal(seen, np.arange(1000))
        assert reader.path(STAGE).is_dir()
    assert "deleted 1 entries" in administer(tmp_path, "prune", older_than_days=0)


def test_a_reader_that_comes_while_removing_brings_the_entry_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, STAGE)
    with Store(tmp_path) as pruner:
        answers = iter([set(), {f"numbers/{STAGE.key}"}])
        monkeypatch.setattr(pruner, "in_use", lambda: next(answers))
        (entry,) = pruner.entries()
        assert not pruner.remove(entry)
        assert [e.state for e in pruner.entries()] == ["stored"]


def test_readers_and_pruners_at_once(tmp_path: Path) -> None:
    end = time.monotonic() + 1.5

    def prune() -> None:
        while time.monotonic() < end:
            administer(tmp_path, "prune", older_than_days=0)

    fill(tmp_path, STAGE)
    pruner = threading.Thread(target=prune)
    pruner.start()
    while time.monotonic() < end:
        with Store(tmp_path) as store:
            folder = store.folder(STAGE)
            for _ in range(5):
                np.testing.assert_array_equal(np.load(folder / "n.npy"), np.arange(1000))
    pruner.join()


def test_log_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    mark(tmp_path)
    (tmp_path / "log.jsonl").mkdir()
    assert (Store(tmp_path).folder(STAGE) / "n.npy").exists()


def test_choice_by_size_age_and_state(tmp_path: Path) -> None:
    fill(tmp_path, STAGE, LETTERS)
    with Store(tmp_path) as store:
        os.utime(store.path(STAGE), (0, 0))
        (tmp_path / "numbers" / f"{64 * 'a'}.partial").mkdir()
        assert "numbers             2 entries" in administer(tmp_path, "list")
        assert "would delete 1" in administer(tmp_path, "prune", max_gb=1e-5, dry_run=True)
        assert "deleted 1" in administer(tmp_path, "prune", older_than_days=1)
        assert not store.path(STAGE).exists()
        assert "deleted 1" in administer(tmp_path, "prune", state="unfinished")
        assert "deleted 0" in administer(tmp_path, "prune", max_gb=1.0)
        assert "deleted 1" in administer(tmp_path, "prune", max_gb=0.0)


def files(root: Path) -> set[str]:
    """All files below a folder, but the store's own notes of processes and events."""
    found = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    return {name for name in found if not name.startswith((".sessions", "log.jsonl"))}


@pytest.mark.parametrize("inside", ["outputs", "pictures", ""])
def test_a_folder_that_is_no_store_is_refused(tmp_path: Path, inside: str) -> None:
    """A mistyped path: the folder above the store, a folder of pictures, one with a file."""
    root = tmp_path / inside
    fill(tmp_path / "outputs" / "store", STAGE)
    (tmp_path / "outputs" / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "outputs" / "runs" / "mine" / "report.html").write_text("mine")
    (tmp_path / "pictures" / "train").mkdir(parents=True)
    (tmp_path / "pictures" / "train" / "1.png").write_text("mine")
    before = files(tmp_path)
    for action in ("prune", "list", "verify"):
        with pytest.raises(UserError, match=f"paths.store={root}: is no store"):
            administer(root, action)
    with pytest.raises(UserError, match=f"paths.store={root}: is no store, it holds "):
        Store(root)
    assert files(tmp_path) == before


def test_a_marked_folder_that_is_another_format_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, STAGE)
    (tmp_path / MARKER).write_text('{"store": "mia_lab", "format": 2}')
    with pytest.raises(UserError, match="has format 2, this version of mia_lab reads format 1"):
        Store(tmp_path)
    (tmp_path / MARKER).write_text("{")
    with pytest.raises(UserError, match=f"{MARKER}: is damaged"):
        administer(tmp_path, "list")


def test_processes_may_mark_at_once(tmp_path: Path) -> None:
    threads = [threading.Thread(target=mark, args=(tmp_path / "store",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.name for p in (tmp_path / "store").iterdir()] == [MARKER]


def test_only_entries_are_pruned(tmp_path: Path) -> None:
    """Not what a user has put beside them, whatever its name is."""
    fill(tmp_path, STAGE, LETTERS)
    theirs = [
        *("pictures/2024/1.png", "numbers/mine/1.png", "numbers/notes.partial/1.txt"),
        *(f"numbers/{64 * 'b'}/1.png", f"pictures/{64 * 'c'}/1.png", f"numbers/{64 * 'd'}.old/1"),
    ]
    for name in theirs:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    fill(outside, STAGE)
    (tmp_path / "linked").symlink_to(outside / "numbers")
    (tmp_path / "letters" / STAGE.key).symlink_to(outside / "numbers" / STAGE.key)
    kept = files(outside)
    assert "deleted 2 entries" in administer(tmp_path, "prune")
    pruned = administer(tmp_path, "prune", state="damaged")
    assert "deleted 0 entries" in pruned
    assert f"kept {tmp_path / 'numbers' / (64 * 'b')}: has no manifest; delete it your" in pruned
    assert files(tmp_path) == {*theirs, MARKER}
    assert files(outside) == kept


def test_dry_run_lists_exactly_what_goes(tmp_path: Path) -> None:
    others = [replace(STAGE, given={"a": n}) for n in range(2, 9)]
    fill(tmp_path, STAGE, LETTERS, *others)
    (tmp_path / "numbers" / others[0].key / "manifest.json").write_text("{}")
    (tmp_path / "numbers" / others[1].key).rename(tmp_path / f"numbers/{others[1].key}.x.partial")
    with Store(tmp_path) as user:
        user.folder(others[2])
        for chosen in ({"max_gb": 4e-5}, {"state": "unfinished"}, {"stage": "letters"}, {}):
            before = files(tmp_path)
            said = administer(tmp_path, "prune", dry_run=True, **chosen)
            assert files(tmp_path) == before
            done = administer(tmp_path, "prune", **chosen)
            assert done == said.replace("would delete", "deleted")
            gone = {Path(name).parent.name.partition(".")[0] for name in before - files(tmp_path)}
            lines = [line for line in done.splitlines() if line.startswith("deleted ")]
            named = {line.split()[1].partition("/")[2] for line in lines[:-1]}
            assert {key[:12] for key in gone} == named
    # What the user reads, and what cannot be trusted: it has to be asked for.
    assert {Path(n).parent.name for n in files(tmp_path)} - {""} == {s.key for s in others[::2][:2]}
    assert "deleted 1 entries" in administer(tmp_path, "prune", state="damaged")


def test_verify_names_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, STAGE, LETTERS)
    assert "2 entries, " in administer(tmp_path, "verify")
    path = tmp_path / "numbers" / STAGE.key / "n.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=rf"1 of 2 .* numbers/{STAGE.key[:12]};.*state=damaged"):
        administer(tmp_path, "verify")
    assert str(path.parent) in capsys.readouterr().out
    assert "deleted 1" in administer(tmp_path, "prune", state="damaged")
    assert "none is damaged" in administer(tmp_path, "verify")


def test_unknown_stage_and_no_store(tmp_path: Path) -> None:
    fill(tmp_path, STAGE)
    with pytest.raises(UserError, match=r"store.stage=colours: unknown; the store has numbers"):
        administer(tmp_path, "list", stage="colours")
    with pytest.raises(UserError, match="no such folder"):
        administer(tmp_path / "nowhere", "list")
