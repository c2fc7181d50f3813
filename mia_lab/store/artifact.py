"""A content-addressed store of stage results on a shared file system.

An entry is a folder ``<root>/<stage>/<key>`` with a manifest of checksums. It is created by one
atomic rename, and never changes afterwards. A process that computes or removes an entry holds
``<key>.lock``; it computes in ``<key>.<session>.partial``, a folder that no other process uses.
After the death of its owner, other processes take over a lock within half a second on the same
machine, and within `session.LEASE_S` seconds more on another.

A reader writes the entry's name to its session's file before it reads the entry. A process that
removes an entry takes the lock, reads all sessions, renames the entry, and reads the sessions
again. If a session uses the entry, the entry stays or is renamed back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from mia_lab.errors import UserError
from mia_lab.process import computing
from mia_lab.store.disk import enough_room, full_disk
from mia_lab.store.journal import note
from mia_lab.store.lock import Lock
from mia_lab.store.manifest import (
    ANSWERS,
    Entry,
    check_key,
    describe,
    fingerprint,
    is_entry,
    read_manifest,
    sync,
    verify,
    write_manifest,
)
from mia_lab.store.marker import check_root, is_store, mark
from mia_lab.store.permissions import check_removable, share
from mia_lab.store.session import Session
from mia_lab.store.software import software
from mia_lab.store.stage import Result, Stage

log = logging.getLogger(__name__)


class StoreNotWritableError(UserError):
    """A result is not stored, and the store cannot be written."""


class Store:
    """Computes every stage once, for any number of runs and processes.

    A result that was asked for is safe from removal until the store is closed: by ``with``, by
    `close`, or when the process ends, however it does.

    Args:
        root: folder of the store; made when first needed.

    Raises:
        UserError: the folder holds something else than a store.

    Attributes:
        seconds: time spent on each stage by its name, without the stages that it reads.
    """

    def __init__(self, root: Path) -> None:
        check_root(root)
        self.root = root
        self._software = software()  # of now: a long computation may see another commit at its end
        self._session = Session(root, prepare=mark)
        self.seconds: dict[str, float] = {}
        self._verified: dict[Path, Any] = {}
        self._results: dict[str, Any] = {}
        self._temporary_folders: dict[str, Path] = {}
        self._nested_s = 0.0  # spent on upstream stages by the computation that is going on
        self._closing = weakref.finalize(self, self._session.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop using entries, so that other processes may remove them."""
        self._results.clear()
        self._closing()

    def path(self, stage: Stage[Any]) -> Path:
        """Path of the result of a stage, whether it exists or not."""
        return self.root / stage.path

    def has(self, stage: Stage[Any]) -> bool:
        """Whether the result of a stage is stored."""
        return self.path(stage).is_dir()

    def missing(self, *goals: Stage[Any]) -> tuple[Stage[Any], ...]:
        """All stages that have to be computed for some results, each once."""
        found: dict[str, Stage[Any]] = {}
        waiting = [*goals]
        while waiting:
            stage = waiting.pop()
            if stage.path not in found and not self.has(stage):
                found[stage.path] = stage
                waiting.extend(stage.upstream_stages())
        return tuple(found.values())

    def software(self, stage: Stage[Any]) -> dict[str, str] | None:
        """The commit and the versions that computed a stage; None if no intact entry says it."""
        path = self.path(stage)
        if not self.has(stage):
            return None
        self._use(path)
        try:
            manifest = read_manifest(path)
            check_key(path, manifest)
        except UserError:
            return None
        found: dict[str, str] = manifest["software"]
        return found

    def answers(self, victim: Stage[Any]) -> Path:
        """Folder of the cached answers of a remote victim, one file per answer."""
        folder = self.root / ANSWERS / victim.key
        self._use(folder)
        with contextlib.suppress(OSError):  # not writable: the answers in it are still read
            if is_store(self.root):  # an unmarked folder with answers would be refused as a store
                folder.mkdir(parents=True, exist_ok=True)
                share(self.root, folder.parent, folder)
        return folder

    def result(self, stage: Stage[Result]) -> Result:
        """The result of a stage, computed now if it is not stored.

        The store keeps loaded results until it is closed, so a result is loaded once.

        Raises:
            UserError: the stored entry is damaged, or the store cannot be written or is full.
        """
        if stage.path not in self._results:
            self._results[stage.path] = stage.load(self.folder(stage))
        found: Result = self._results[stage.path]
        return found

    def folder(self, stage: Stage[Any]) -> Path:
        """Folder with the files of a stage, computed now if it is not stored.

        The checksum of every file is verified at the first call, and again if a file has changed
        since. Where the store cannot be written, a quick stage is computed in a
        temporary folder that is deleted together with this object.

        Raises:
            UserError: the stored entry is damaged, or the store cannot be written, or is full.
        """
        start, nested_s = time.perf_counter(), self._nested_s
        self._nested_s = 0.0
        try:
            return self._folder(stage)
        except StoreNotWritableError as error:
            if not stage.is_quick:
                raise
            log.debug("%s", error)
            return self._temporary(stage)
        finally:
            elapsed = time.perf_counter() - start
            own = elapsed - self._nested_s
            self.seconds[stage.name] = self.seconds.get(stage.name, 0.0) + own
            self._nested_s = nested_s + elapsed

    def _folder(self, stage: Stage[Any]) -> Path:
        final = self.path(stage)
        self._use(final)
        if self._intact(final):
            return self._touched(final)
        with enough_room(self.root), self._locked(final) as lock:
            if final.is_dir():
                self._verify(final)
                return self._touched(final)
            self._compute(stage, final, lock)
        return final

    def _temporary(self, stage: Stage[Any]) -> Path:
        if stage.path not in self._temporary_folders:
            with enough_room(Path(tempfile.gettempdir())):
                folder = Path(tempfile.mkdtemp(prefix="mia_lab-"))
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                stage.compute(folder, self)
            stage.check_unchanged()
            self._temporary_folders[stage.path] = folder
        return self._temporary_folders[stage.path]

    def _use(self, path: Path) -> None:
        try:
            self._session.use(_name(path))
        except OSError as error:
            # A store without write permission can still be read.
            log.debug("%s: not protected from removal (%s)", path, error.strerror)

    def _intact(self, final: Path) -> bool:
        """Whether the entry can be read without taking the lock."""
        if not final.is_dir():
            return False
        # Without write permission the lock of a dead process cannot be removed, so it is ignored.
        if os.path.lexists(_lock_path(final)) and os.access(final.parent, os.W_OK):
            return False
        try:
            self._verify(final)
        except (UserError, OSError):
            if not os.access(final.parent, os.W_OK):
                raise  # without write permission, retrying under the lock is not possible
            return False
        return True

    def _verify(self, final: Path) -> None:
        seen = fingerprint(final)
        if self._verified.get(final) != seen:
            verify(final)
            self._verified[final] = seen

    def _touched(self, final: Path) -> Path:
        with contextlib.suppress(OSError):
            os.utime(final)  # records the time of last use
        log.info("%s %s: from the store", final.parent.name, final.name[:12])
        return final

    def _compute(self, stage: Stage[Any], final: Path, lock: Lock) -> None:
        partial = self._partial(final, stage.is_resumable)
        log.info("%s %s: computing", stage.name, stage.key[:12])
        start = time.perf_counter()
        try:
            with computing():
                stage.compute(partial, self)
            seconds = time.perf_counter() - start - self._nested_s  # without upstream stages
            stage.check_unchanged()
            write_manifest(partial, stage, seconds, self._software)
            share(self.root, partial, *partial.rglob("*"))
        except BaseException as error:
            lost = _lost(final, partial, lock)
            if not stage.is_resumable:
                shutil.rmtree(partial, ignore_errors=True)
            if lost and isinstance(error, Exception):
                raise lost from error
            raise
        if lost := _lost(final, partial, lock):
            raise lost
        partial.rename(final)
        sync(final.parent)
        self._verified[final] = fingerprint(final)
        note(self.root, "computed", stage.name, stage.key, seconds=round(seconds, 3))

    def _partial(self, final: Path, resumable: bool) -> Path:
        """The folder to compute in; with the files of an interrupted computation if resumable."""
        partial = final.with_name(f"{final.name}.{self._session.name}.partial")
        left = sorted(final.parent.glob(f"{final.name}*.partial"), key=lambda p: p.stat().st_mtime)
        if left and resumable:
            left.pop().rename(partial)
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        partial.mkdir(exist_ok=True)
        share(self.root, partial)
        return partial

    @contextmanager
    def _locked(self, final: Path, *, wait: bool = True) -> Iterator[Lock]:
        """Hold the lock of an entry, so that no other process computes or removes it.

        Raises:
            BlockingIOError: another process holds the lock, and ``wait`` is False.
            UserError: the store cannot be written.
        """
        try:
            self._session.open()  # first, because it marks a new folder as a store
            final.parent.mkdir(exist_ok=True)
            share(self.root, final.parent)
            lock = Lock(
                _lock_path(final), self._session, lambda dead: self._note_takeover(final, dead)
            )
            taken = lock.take()
        except OSError as error:
            if full := full_disk(error, self.root):
                raise full from error
            raise StoreNotWritableError(
                f"paths.store={self.root}: cannot be written ({error.strerror}); "
                "choose another folder"
            ) from error
        if not taken:
            if not wait:
                raise BlockingIOError(f"{final}: another process holds the lock")
            name, owner = final.name[:12], self._session.process(lock.owner() or "")
            log.info("%s %s: waiting for process %s", final.parent.name, name, owner)
            lock.wait()
        try:
            yield lock
        finally:
            lock.release()

    def _note_takeover(self, final: Path, dead: str) -> None:
        owner = self._session.process(dead)
        note(self.root, "takeover", final.parent.name, final.name, owner=owner)

    def stages(self) -> list[str]:
        """Names of the stages with stored results."""
        folders = (p for p in self.root.iterdir() if p.is_dir() and not p.is_symlink())
        return sorted(p.name for p in folders if p.name[0] != ".")

    def entries(self) -> Iterator[Entry]:
        """All entries of the store, stage by stage, oldest first; other folders are left out.

        Raises:
            PermissionError: an entry may not be read.
        """
        for stage in self.stages():
            found = []
            for path in (self.root / stage).iterdir():
                try:
                    if is_entry(path):
                        found.append(describe(path))
                except PermissionError:
                    raise
                except OSError:  # another process has removed the entry
                    continue
            yield from sorted(found, key=lambda e: (e.created, e.key))

    def in_use(self) -> set[str]:
        """``stage/key`` of all entries in use by other processes or other `Store` objects."""
        return self._session.in_use()

    def remove(self, entry: Entry) -> bool:
        """Delete one entry; return False if another process uses or computes it.

        Raises:
            UserError: the store cannot be written.
            PermissionError: the entry is another user's; it stays whole.
        """
        final = entry.path.with_name(entry.key)
        whole = final == entry.path  # an unfinished entry has no readers
        try:
            with self._locked(final, wait=False):
                if whole and _name(final) in self.in_use():
                    return False
                check_removable(entry.path)
                trash = final.with_name(f"{entry.key}.{uuid.uuid4().hex}.trash")
                entry.path.rename(trash)
                if whole and _name(final) in self.in_use():
                    trash.rename(final)
                    return False
                shutil.rmtree(trash)
        except (BlockingIOError, FileNotFoundError):
            return False
        note(self.root, "removed", entry.stage, entry.key, state=entry.state)
        return True

    def tidy(self) -> None:
        """Remove the sessions and locks of dead processes."""
        self._session.open()
        for link in self.root.glob("*/*.lock*"):
            if (owner := Lock(link, self._session).owner()) and not self._session.lives(owner):
                lock = Lock(link, self._session)
                if lock.take():
                    lock.release()
        self._session.bury()


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _lock_path(final: Path) -> Path:
    return final.with_name(f"{final.name}.lock")


def _lost(final: Path, partial: Path, lock: Lock) -> UserError | None:
    """Why a computation cannot be stored: another process did it, or its folder was deleted."""
    owner = lock.owner()
    if owner == lock.session.name and partial.is_dir():
        return None
    if final.is_dir() or owner not in (None, lock.session.name):
        return UserError(
            f"{final}: another process took over while this one was paused, so nothing was stored; "
            "run the command again"
        )
    folders = [*reversed(partial.parents), partial]
    gone = next((path for path in folders if not path.is_dir()), _lock_path(final))
    return UserError(
        f"{gone}: was deleted while results were computed, so they are not stored; run the command "
        "again"
    )
