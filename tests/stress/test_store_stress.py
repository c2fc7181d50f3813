"""Ten processes on one store, killed at random: nothing corrupt, nothing lost, nobody stuck."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mia_lab.store import Store
from mia_lab.store.manifest import verify
from store_worker import STAGES, check

WORKERS, PRUNERS = 10, 2
WAIT_S = 5.0
"""Nobody waits longer, though owners are killed; documented is half a second more than the work."""


class Crowd:
    """Workers that are replaced when they are killed."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.store = folder, folder / "store"
        self.kills, self.started = 0, 0
        self.workers = [self._start(i) for i in range(size)]

    def _start(self, place: int) -> subprocess.Popen[str]:
        self.started += 1
        role = "prunes" if place < PRUNERS else "reads"
        notes, errors = (self.folder / f"{end}-{self.started}" for end in ("notes", "errors"))
        script = str(Path(__file__).parent.with_name("store_worker.py"))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        with errors.open("w") as file:
            return subprocess.Popen(
                [sys.executable, script, str(self.store), str(notes), role],
                stderr=file,
                text=True,
                env=environment,
            )

    def kill(self, place: int) -> None:
        worker = self.workers[place]
        assert worker.poll() is None, self.errors()
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.kills += 1

    def run(self, seconds: float, kill_every_s: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(random.uniform(0, 2 * kill_every_s))
            place = random.randrange(len(self.workers))
            self.kill(place)
            self.workers[place] = self._start(place)

    def stop(self) -> None:
        for place in range(len(self.workers)):
            self.kill(place)

    def errors(self) -> str:
        return "\n".join(p.read_text() for p in self.folder.glob("errors-*"))


def stress(folder: Path, seconds: float, size: int, kill_every_s: float) -> str:
    crowd = Crowd(folder, size)
    try:
        crowd.run(seconds, kill_every_s)
    finally:
        crowd.stop()
    assert not crowd.errors().strip()
    notes = [json.loads(line) for p in folder.glob("notes-*") for line in _whole_lines(p)]
    events = [json.loads(line) for line in _whole_lines(crowd.store / "log.jsonl")]
    waits = [wait for note in notes for _, _, wait in note["reads"]]
    assert max(waits) < WAIT_S
    counts = Counter(event["event"] for event in events)
    _all_there(crowd.store, events)
    return (
        f"{counts['computed']} computed, {len(waits)} reads, {crowd.kills} kills, "
        f"{counts['removed']} removed, {counts['takeover']} takeovers, "
        f"longest wait for an entry {max(waits):.2f} s"
    )


def _whole_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _all_there(root: Path, events: list[dict[str, str]]) -> None:
    """What was computed and never removed is there, once computed, and intact."""
    computed = Counter(
        e["key"] for e in events if e["event"] == "computed" and e["stage"] == "kept"
    )
    assert computed
    assert set(computed.values()) == {1}
    start = time.perf_counter()
    with Store(root) as store:
        for key in computed:
            verify(root / "kept" / key)
        for entry in store.entries():
            if entry.state == "stored":
                check(entry.path, entry.key, 0)
        # Locks of the dead are no obstacle.
        for link in root.glob("*/*.lock"):
            assert store._session.lives(link.readlink().name) is False
        store.tidy()
    assert not list(root.glob("*/*.lock*"))
    assert not [p for p in (root / ".sessions").iterdir() if not p.suffix]
    assert time.perf_counter() - start < 5
    assert len(STAGES) >= len(computed)


def test_killed_processes_for_some_seconds(tmp_path: Path) -> None:
    print(stress(tmp_path, 5, 5, 0.4))


@pytest.mark.slow
def test_killed_processes_for_a_minute(tmp_path: Path) -> None:
    figures = stress(tmp_path, 60, WORKERS, 0.25)
    print(figures)
