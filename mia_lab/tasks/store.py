"""``task=store``: list, verify or prune the stored results."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mia_lab.config.choices import StoreAction, StoreState
from mia_lab.config.schema import Config, StoreTask
from mia_lab.errors import UserError, nearest
from mia_lab.progress import progress_bar
from mia_lab.store.artifact import Store
from mia_lab.store.manifest import MANIFEST, Entry, verify
from mia_lab.store.marker import MARKER, is_store
from mia_lab.store.permissions import permitted

NAMED = 5
"""Damaged entries that an error names; all are printed before it."""


def run(config: Config, folder: Path, group: str) -> None:
    """List, verify or prune the store of a configuration, and print what was done.

    Args:
        config: a validated configuration.
        folder, group: as for every task; nothing is written there.

    Raises:
        UserError: there is no store, or no such stage in it; verified entries are damaged; or a
            file may not be read.
    """
    print(administer(Path(config.paths.store), config.store))


def administer(root: Path, task: StoreTask) -> str:
    """Do what a task says; returns the text to print.

    Raises:
        UserError: there is no store, or no such stage in it; verified entries are damaged; or a
            file may not be read.
    """
    if not root.is_dir():
        raise UserError(f"paths.store={root}: no such folder; nothing was stored yet")
    if not is_store(root):
        raise UserError(
            f"paths.store={root}: is no store, it has no {MARKER}; set paths.store to a store, "
            "such as outputs/store"
        )
    with permitted(root), Store(root) as store:
        stages = store.stages()
        if task.stage is not None and task.stage not in stages:
            raise UserError(
                f"store.stage={task.stage}: unknown; the store has {', '.join(stages)}"
                f"{nearest(task.stage, stages)}"
            )
        everything = list(store.entries())
        entries = select(everything, task)
        if task.action is StoreAction.verify:
            return _verify(entries)
        if task.action is StoreAction.list:
            return listing(entries)
        excess = sum(e.size for e in everything) - (task.max_gb or 0) * 1e9
        said = prune(store, entries, None if task.max_gb is None else excess, task.dry_run)
        return "\n".join([said, *_left_out(everything, task)])


def select(entries: Iterable[Entry], task: StoreTask) -> list[Entry]:
    """Entries for which stage, state and age hold, used longest ago first.

    To find damaged entries, all checksums are compared. An entry whose manifest cannot be trusted
    is pruned only if damaged entries are asked for.
    """
    limit = time.time() - (task.older_than_days or 0) * 86400
    found = [e for e in entries if task.stage in (None, e.stage) and e.used <= limit]
    if task.state is StoreState.damaged:
        found = checked(found)
    elif task.state is None and task.action is StoreAction.prune:
        found = [e for e in found if e.state != StoreState.damaged.value]
    found = [e for e in found if task.state is None or e.state == task.state.value]
    if task.action is StoreAction.prune:  # without a manifest it may be anything
        found = [e for e in found if e.state != "damaged" or _has_manifest(e)]
    return sorted(found, key=lambda e: e.used)


def checked(entries: Sequence[Entry]) -> list[Entry]:
    """Entries with their state after comparing all checksums; those removed meanwhile left out."""
    found = []
    size = sum(e.size for e in entries)
    with progress_bar("verifying", size, "bytes", unit_scale=True) as bar:
        for entry in entries:
            if entry.state == "stored":
                try:
                    verify(entry.path)
                except UserError:
                    entry = replace(entry, state="damaged")
            if entry.path.is_dir():
                found.append(entry)
            bar.update(entry.size)
    return found


def listing(entries: Sequence[Entry]) -> str:
    """A table of entries, and one of the stages' totals."""
    lines = [
        f"{'stage':<16} {'key':<12} {'state':<10} {'MB':>9} {'computed in':>12}"
        f"  {'created':<16}  last used"
    ]
    for e in entries:
        lines.append(
            f"{e.stage:<16} {e.key[:12]:<12} {e.state:<10} {e.size / 1e6:>9.2f} "
            f"{e.seconds:>10.1f} s  {_minute(e.created)}  {_minute(e.used)}"
        )
    lines.append("")
    for stage in sorted({e.stage for e in entries}):
        of_it = [e for e in entries if e.stage == stage]
        seconds = sum(e.seconds for e in of_it)
        lines.append(
            f"{stage:<16} {len(of_it):>4} entries {_mb(of_it):>18} {seconds:>10.1f} s"
            f"  last used {_minute(max(e.used for e in of_it))}"
        )
    lines.append(f"{len(entries)} entries, {_mb(entries)}")
    return "\n".join(lines)


def prune(store: Store, entries: Sequence[Entry], excess: float | None, dry_run: bool) -> str:
    """Delete entries in their order, but none that a run uses or is at work on.

    Args:
        store: where they are.
        entries: what may go.
        excess: how many bytes are to go; None for all.
        dry_run: only say what would be deleted.
    """
    gone: list[Entry] = []
    kept: list[Entry] = []
    used = store.in_use()
    for entry in entries:
        if excess is not None and sum(e.size for e in gone) >= excess:
            break
        busy = f"{entry.stage}/{entry.key}" in used
        removed = not busy and (dry_run or store.remove(entry))
        (gone if removed else kept).append(entry)
    if not dry_run:
        store.tidy()
    word = "would delete" if dry_run else "deleted"
    busy_ones = f", {len(kept)} kept because they are in use" if kept else ""
    rows = [f"{word} {e.stage}/{e.key[:12]} ({e.state})" for e in gone]
    return "\n".join([*rows, f"{word} {len(gone)} entries, {_mb(gone)}{busy_ones}"])


def _left_out(entries: Sequence[Entry], task: StoreTask) -> list[str]:
    """What damaged entries pruning leaves alone, and how they are deleted."""
    if task.state is StoreState.damaged:
        bare = [e for e in entries if e.state == "damaged" and not _has_manifest(e)]
        return [f"kept {e.path}: has no manifest; delete it yourself" for e in bare]
    damaged = [e for e in entries if e.state == "damaged" and task.stage in (None, e.stage)]
    if task.state is not None or not damaged:
        return []
    return [f"kept {len(damaged)} damaged entries, {_mb(damaged)}; add store.state=damaged"]


def _has_manifest(entry: Entry) -> bool:
    return (entry.path / MANIFEST).is_file()


def _verify(entries: Sequence[Entry]) -> str:
    found = checked(entries)
    damaged = [f"{e.stage}/{e.key[:12]}" for e in found if e.state == "damaged"]
    if not damaged:
        return f"{len(found)} entries, {_mb(found)}: none is damaged"
    print("\n".join(f"damaged: {e.path}" for e in found if e.state == "damaged"))
    more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
    raise UserError(
        f"store.action=verify: {len(damaged)} of {len(found)} entries are damaged, "
        f"{', '.join(damaged[:NAMED])}{more}; remove them with task=store store.action=prune "
        "store.state=damaged, the runs that need them compute them again"
    )


def _mb(entries: Sequence[Entry]) -> str:
    return f"{sum(e.size for e in entries) / 1e6:.2f} MB"


def _minute(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
