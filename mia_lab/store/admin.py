"""``task=store``: what the store holds, and room made in it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from mia_lab.errors import UserError
from mia_lab.store.artifact import Entry, Store


def select(store: Store, stage: str | None, older_than_days: float | None) -> list[Entry]:
    """Entries of one stage (None: all) that are older than some days (None: of any age).

    Raises:
        UserError: there is no such stage, or no store.
    """
    if not store.root.is_dir():
        raise UserError(f"paths.store={store.root}: no such folder; nothing was stored yet")
    stages = sorted(p.name for p in store.root.iterdir() if p.is_dir())
    if stage is not None and stage not in stages:
        raise UserError(f"store.stage={stage}: unknown; the store has {', '.join(stages)}")
    limit = time.time() - (older_than_days or 0) * 86400
    return [e for e in store.entries() if stage in (None, e.stage) and e.created <= limit]


def listing(entries: Sequence[Entry]) -> str:
    """A table of entries with their total size."""
    lines = [f"{'stage':<16} {'key':<12} {'state':<10} {'MB':>9} {'computed in':>12}  created"]
    for e in entries:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(e.created))
        lines.append(
            f"{e.stage:<16} {e.key[:12]} {e.state:<10} {e.size / 1e6:>9.2f} {e.seconds:>10.1f} s"
            f"  {created}"
        )
    lines.append(f"{len(entries)} entries, {sum(e.size for e in entries) / 1e6:.2f} MB")
    return "\n".join(lines)


def prune(store: Store, entries: Sequence[Entry]) -> str:
    """Delete entries, but none that another process is at work on."""
    gone = [e for e in entries if store.remove(e)]
    kept = len(entries) - len(gone)
    busy = f", {kept} kept because they are in use" if kept else ""
    return f"deleted {len(gone)} entries, {sum(e.size for e in gone) / 1e6:.2f} MB{busy}"


def administer(root: Path, action: str, stage: str | None, older_than_days: float | None) -> str:
    """List or prune; returns what to print.

    Raises:
        UserError: pruning without saying what, or a store that is not there.
    """
    store = Store(root)
    if action == "prune" and stage is None and older_than_days is None:
        raise UserError(
            "store.action=prune: say what, store.stage=victim or store.older_than_days=30 "
            "(0 for everything)"
        )
    entries = select(store, stage, older_than_days)
    return prune(store, entries) if action == "prune" else listing(entries)
