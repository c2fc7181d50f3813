"""A full disk at every stage of an audit: one line, and the same command completes afterwards.

The failing commands run in processes of their own, so that the death of one by a signal is seen.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from small_disk import SmallDisk, pages
from support import Command, Ran

QUICK = ("+experiment=tiny", "until=reconstructions")
WHOLE = (
    *("+experiment=tiny", "report.images=true", "attack=all", "reference.count=4"),
    *("data.n_auxiliary=20", "evaluation.utility=true"),
)
"""An audit that computes every stage."""

SESSION = 1
"""Pages that a process takes in a store for itself."""


def computed(store: Path) -> list[Path]:
    """The entries of a store in the order in which they were stored."""
    events = map(json.loads, (store / "log.jsonl").read_text().splitlines())
    return [store / e["stage"] / e["key"] for e in events if e["event"] == "computed"]


def numbers(folder: Path) -> tuple[dict[str, Any], str]:
    """What the newest audit found."""
    metrics = json.loads((folder / "outputs/latest/metrics.json").read_text())
    del metrics["timing_s"], metrics["command"]
    return metrics, (folder / "outputs/latest/scores.csv").read_text()


def check_one_line(ran: Ran, folder: Path) -> None:
    """The command failed by a full disk in a folder, and said nothing else about it."""
    assert ran.error.startswith(f"error: {folder}"), ran.error
    assert "the disk is full (" in ran.error, ran.error
    assert "B free); make room and run the same command again" in ran.error
    assert ran.code == 2
    logs = [p.read_text() for p in ran.folder.rglob("mia_lab.log")]
    assert not [text for text in (ran.out, ran.err, *logs) if "Error" in text], ran.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("audit", "stages"),
    [
        pytest.param(QUICK, ["reconstructions"], id="reconstructions"),
        pytest.param(WHOLE, None, id="every", marks=pytest.mark.slow),
    ],
)
def test_the_disk_of_the_store(
    command: Command, small_disk: SmallDisk, audit: tuple[str, ...], stages: list[str] | None
) -> None:
    whole = command(*audit)
    assert whole.code == 0, whole.err
    expected = numbers(command.folder) if audit is WHOLE else None
    store = small_disk.folder / "store"
    shutil.copytree(command.folder / "outputs/store", store)
    entries = computed(store)
    first = {entry.parent.name: n for n, entry in reversed([*enumerate(entries)])}
    assert len(first) == (13 if audit is WHOLE else 4), first
    for stage in stages or first:
        for entry in entries[first[stage] :]:
            shutil.rmtree(entry, ignore_errors=True)
        (store / "log.jsonl").unlink()
        needed = pages(command.folder / "outputs/store" / entries[first[stage]].relative_to(store))
        small_disk.fill(SESSION + needed // 2)

        failed = command.alone(*audit, f"paths.store={store}")
        check_one_line(failed, store)
        left = [p for p in store.glob("*/*") if p not in entries]
        if stage == "victim":  # goes on from its checkpoint
            (left,) = left
            assert left.parent.name == "victim"
            assert left.suffix == ".partial"
        else:
            assert not left
        assert not entries[first[stage]].exists()

        small_disk.empty()
        ran = command(*audit, f"paths.store={store}")
        assert ran.code == 0, ran.err
        assert all(entry.is_dir() for entry in entries)
        if expected is not None:
            assert numbers(command.folder) == expected
        print(f"{stage}: {failed.error}")


@pytest.mark.slow
@pytest.mark.parametrize("tracking", ["disabled", "offline"])
def test_the_disk_of_the_outputs(command: Command, small_disk: SmallDisk, tracking: str) -> None:
    audit = (*WHOLE, f"tracking.mode={tracking}")
    ran = command(*audit)
    assert ran.code == 0, ran.err
    expected = numbers(command.folder)
    needed = pages((command.folder / "outputs/latest").resolve())
    outputs = small_disk.folder / "outputs"
    elsewhere = (f"paths.outputs={outputs}", f"paths.store={command.folder}/outputs/store")
    for room in (0, 1, 2, 3, 5, 8, 30, needed // 4, needed * 9 // 10):
        shutil.rmtree(outputs, ignore_errors=True)
        small_disk.fill(room)
        failed = command.alone(*audit, *elsewhere)
        check_one_line(failed, outputs)
        assert not (outputs / "latest").exists()
        assert not [*outputs.rglob("*.partial")]
        for path in outputs.rglob("metrics.json"):
            json.loads(path.read_text())
        print(f"{room} pages of {needed}: {failed.error}")
    small_disk.empty()
    ran = command.alone(*audit, *elsewhere)
    assert ran.code == 0, ran.err
    assert numbers(small_disk.folder) == expected
