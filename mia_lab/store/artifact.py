"""A content-addressed store of stage results on a shared file system.

An entry is a folder ``<root>/<stage>/<key>`` that appears by one atomic rename, complete with a
manifest of checksums, and never changes afterwards. Whoever computes it holds a lease on
``<key>.lock`` and works in ``<key>.partial``. The lease is refreshed while its owner lives and is
taken over at once when the owner's process is gone, or after `LEASE_S` seconds without a sign of
life from another host.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import SoftFileLease, Timeout

from mia_lab.errors import UserError
from mia_lab.store.disk import enough_room
from mia_lab.store.key import Stage, canonical_json, file_sha256

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
ANSWERS = "answers"
LEASE_S = 60.0
POLL_S = 0.5


@dataclass(frozen=True)
class Entry:
    """One folder of the store.

    Attributes:
        path: its folder.
        stage, key: what it is the result of.
        state: ``stored``; ``damaged``, its manifest cannot be read; ``unfinished``, what an
            interrupted computation left behind, or one that is going on; ``growing``, the answers
            of a remote victim.
        size: bytes on disk.
        created: seconds since the epoch.
        seconds: what it cost to compute.
    """

    path: Path
    stage: str
    key: str
    state: str
    size: int
    created: float
    seconds: float


class Store:
    """Computes every stage once, whatever the number of runs and processes.

    Args:
        root: folder of the store; made when first needed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: Stage) -> Path:
        """Where the result of a stage is, or would be."""
        return self.root / stage.name / stage.key

    def answers(self, victim: Stage) -> Path:
        """Where the answers of a remote victim are kept, one by one as they come."""
        return self.root / ANSWERS / victim.key

    def get(self, stage: Stage, compute: Callable[[Path], None]) -> Path:
        """Folder with the result of a stage, computed now if nobody has before.

        Args:
            stage: what is wanted.
            compute: fills the (empty, or resumed) folder it is given with files.

        Raises:
            UserError: the stored entry is damaged, or the store cannot be written, or is full.
        """
        final = self.path(stage)
        if not final.is_dir():
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"paths.store={self.root}: cannot be written ({error.strerror}); "
                    "choose another folder"
                ) from error
            with enough_room(self.root), _leased(final, wait=True) as lease:
                if not final.is_dir():
                    self._compute(stage, compute, final, lease)
                    return final
        _verify(final)
        log.info("%s %s: from the store", stage.name, stage.key[:12])
        return final

    def _compute(
        self, stage: Stage, compute: Callable[[Path], None], final: Path, lease: SoftFileLease
    ) -> None:
        partial = final.with_suffix(".partial")
        if partial.exists() and not stage.resumable:
            shutil.rmtree(partial)
        partial.mkdir(exist_ok=True)
        log.info("%s %s: computing", stage.name, stage.key[:12])
        start = time.perf_counter()
        compute(partial)
        _write_manifest(partial, stage, time.perf_counter() - start)
        if lease.compromise is not None:
            raise RuntimeError(
                f"{final}: the lock was lost while computing ({lease.compromise.reason}); "
                "nothing was published, run the command again"
            )
        partial.rename(final)
        _sync(final.parent)

    def entries(self) -> Iterator[Entry]:
        """All folders of the store, stage by stage, oldest first."""
        for folder in sorted(self.root.glob("*/")):
            found = [_entry(p) for p in folder.iterdir() if p.is_dir()]
            yield from sorted(found, key=lambda e: (e.created, e.key))

    def remove(self, entry: Entry) -> bool:
        """Delete one entry; False when another process is at work on the same key."""
        try:
            with _leased(entry.path.with_name(entry.key), wait=False):
                # Readers that opened it keep their files; nobody can see half of it.
                trash = entry.path.with_suffix(f".{uuid.uuid4().hex}.trash")
                entry.path.rename(trash)
                shutil.rmtree(trash)
        except Timeout:
            return False
        return True


@contextmanager
def _leased(final: Path, *, wait: bool) -> Iterator[SoftFileLease]:
    lease = SoftFileLease(final.with_suffix(".lock"), lease_duration=LEASE_S, poll_interval=POLL_S)
    try:
        lease.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        log.info("%s %s: another process computes it, waiting", final.parent.name, final.name[:12])
        lease.acquire(timeout=-1)
    try:
        yield lease
    finally:
        lease.release()


def _write_manifest(folder: Path, stage: Stage, seconds: float) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    body = {
        "stage": stage.name,
        "version": stage.version,
        "key": stage.key,
        "inputs": dict(stage.inputs),
        "files": {str(p.relative_to(folder)): file_sha256(p) for p in files},
        "created": time.time(),
        "seconds": seconds,
    }
    body["sha256"] = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    for path in files:
        _sync(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(body, indent=1))
    _sync(manifest)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        digest = body.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(folder, MANIFEST) from error
    if digest != hashlib.sha256(canonical_json(body).encode()).hexdigest():
        raise _damaged(folder, MANIFEST)
    return body


def _verify(folder: Path) -> None:
    for name, digest in _read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != digest:
            raise _damaged(folder, name)


def _damaged(folder: Path, name: str) -> UserError:
    return UserError(
        f"{folder / name}: damaged, its checksum does not match; delete the folder {folder} "
        "and run the same command again"
    )


def _entry(folder: Path) -> Entry:
    stage, key = folder.parent.name, folder.name.partition(".")[0]
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    changed = folder.stat().st_mtime
    if stage == ANSWERS:
        changed = max([changed, *(p.stat().st_mtime for p in folder.iterdir())])
        return Entry(folder, stage, key, "growing", size, changed, 0.0)
    if folder.suffix:
        return Entry(folder, stage, key, "unfinished", size, changed, 0.0)
    try:
        body = _read_manifest(folder)
    except UserError:
        return Entry(folder, stage, key, "damaged", size, changed, 0.0)
    return Entry(folder, stage, key, "stored", size, body["created"], body["seconds"])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
