"""Locks, sessions and logs that are damaged, or are something else: nobody waits for ever."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from made_stages import MadeStage
from mia_lab.errors import UserError
from mia_lab.store import Store, session
from mia_lab.store.lock import Lock
from mia_lab.store.marker import mark
from mia_lab.store.session import Session

STAGE = MadeStage("numbers", given={"a": 1})
OTHER = "0123456789ab"
"""The name of a session."""


def within(seconds: float, work: Callable[[], object]) -> None:
    """Fail a test whose work does not end; its errors are raised here."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "waits for ever"
    if raised:
        raise raised[0]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, os.mkfifo])
def test_a_lock_that_is_none(tmp_path: Path, make: Callable[[Path], object]) -> None:
    mark(tmp_path)
    (tmp_path / "numbers").mkdir()
    lock = tmp_path / f"numbers/{STAGE.key}.lock"
    make(lock)
    with pytest.raises(UserError, match=rf"{lock}: is no lock of mia_lab, .*; delete it"):
        within(5, lambda: Store(tmp_path).folder(STAGE))
    assert os.path.lexists(lock)
    with Store(tmp_path) as store, pytest.raises(UserError, match="is no lock of mia_lab"):
        within(5, store.tidy)


@pytest.mark.parametrize("target", ["..", "/", ".", "../..", "nowhere", "../.sessions/a b"])
def test_a_lock_that_leads_elsewhere_is_a_dead_owners(tmp_path: Path, target: str) -> None:
    mark(tmp_path)
    (tmp_path / "numbers").mkdir()
    (tmp_path / f"numbers/{STAGE.key}.lock").symlink_to(target)
    store = Store(tmp_path)
    within(5, lambda: store.folder(STAGE))
    assert [p.name for p in (tmp_path / "numbers").iterdir()] == [STAGE.key]


MINE = {"machine": session.machine(), "pid": 1, "started": "1", "host": "here"}
DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "garbage": b"what is this",
    "binary": bytes(range(256)),
    "nested": b"[" * 100_000,
    "zero": b"\0" * 4096,
    **{
        f"JSON {content}": json.dumps(content).encode()
        for content in (
            *(None, 3, "text", [], {}, [MINE], {"machine": session.machine()}),
            *(MINE | {"pid": "\0"}, MINE | {"pid": None}, MINE | {"started": 7}),
            *(MINE | {"machine": []},),
        )
    },
}


def test_a_damaged_session_is_dead_after_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LEASE_S", 0.3)
    mark(tmp_path)
    (tmp_path / "numbers").mkdir()
    (tmp_path / ".sessions").mkdir()
    stages = {damage: MadeStage("numbers", given={"a": damage}) for damage in DAMAGED}
    theirs = {damage: f"{number:012x}" for number, damage in enumerate(DAMAGED)}
    for damage, stage in stages.items():
        (tmp_path / ".sessions" / theirs[damage]).write_bytes(DAMAGED[damage])
        (tmp_path / f"numbers/{stage.key}.lock").symlink_to(f"../.sessions/{theirs[damage]}")
    with Store(tmp_path) as store:
        assert store.in_use() == set()
        for stage in stages.values():
            within(5, lambda: store.folder(stage))  # noqa: B023 - ends before the next one
        time.sleep(0.3)
        store.tidy()
    left = {path.name for path in (tmp_path / ".sessions").iterdir()}
    assert [damage for damage, name in theirs.items() if name in left] == []


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_session_that_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(session, "LEASE_S", 0.3)
    mark(tmp_path)
    (tmp_path / "numbers").mkdir()
    (tmp_path / ".sessions").mkdir()
    make(tmp_path / ".sessions" / OTHER)
    (tmp_path / f"numbers/{STAGE.key}.lock").symlink_to(f"../.sessions/{OTHER}")
    with Store(tmp_path) as store:
        within(5, store.in_use)
        within(5, lambda: store.folder(STAGE))
        within(5, store.tidy)


def test_a_session_of_next_year_does_not_live_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(session, "machine", lambda: "another machine")
        other = Session(tmp_path)
        other.open()
    ours = Session(tmp_path)
    ours.open()
    lock = Lock(tmp_path / "lock", other)
    assert lock.take()
    os.utime(other.path, (2 * time.time(),) * 2)
    assert not ours.lives(other.name)
    assert Lock(tmp_path / "lock", ours).take()
    for one in (other, ours):
        one.close()


def test_events_are_not_written_through_a_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    root = tmp_path / "store"
    mark(root)
    (root / "log.jsonl").symlink_to(mine)
    with caplog.at_level(logging.WARNING), Store(root) as store:
        store.folder(STAGE)
        store.folder(MadeStage("letters"))
    assert mine.read_text() == "mine"
    (line,) = caplog.messages
    assert line.startswith(f"{root / 'log.jsonl'}: is a link; remove it; ")


def test_nobody_waits_for_a_log_that_is_a_pipe(tmp_path: Path) -> None:
    mark(tmp_path)
    os.mkfifo(tmp_path / "log.jsonl")
    within(5, lambda: Store(tmp_path).folder(STAGE))
