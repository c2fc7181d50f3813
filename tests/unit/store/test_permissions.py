"""Stores of several users: shared with a group whatever the umask, or refused in one line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from made_stages import MadeStage, fail_if_computed, write_number
from mia_lab.config.schema import StoreTask
from mia_lab.config.validation import validated
from mia_lab.errors import UserError
from mia_lab.store import Store
from mia_lab.store.marker import MARKER, mark
from mia_lab.store.permissions import permitted
from mia_lab.tasks import common
from mia_lab.tasks import store as task
from mia_lab.victims.answers import CachedAnswers
from support import composed
from unprivileged import BOB, IS_ROOT, acting_as, unprivileged_folder


def write_folders(folder: Path) -> None:
    write_number(folder)
    (folder / "epochs").mkdir()
    (folder / "epochs/1").write_text("1")


STAGE = MadeStage("numbers", given={"a": 1}, make=write_folders)
AGAIN = replace(STAGE, make=fail_if_computed)
LETTERS = MadeStage("letters")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def root() -> Iterator[Path]:
    """The folder of a store, not made yet; the test is run by Alice."""
    with unprivileged_folder() as folder:
        yield folder / "store"


class Echo:
    remote = True

    def translate(self, x: Tensor) -> Tensor:
        return x


def fill(root: Path) -> None:
    """Use a store in every way."""
    with Store(root) as store:
        store.folder(STAGE)
        CachedAnswers(Echo(), store.answers(LETTERS), 3).translate(torch.zeros(1, 3, 4, 4))
        paths = [root, *root.rglob("*")]
        assert len(paths) > 12


def administer(root: Path, action: str) -> str:
    keys = dict.fromkeys(("stage", "state", "older_than_days", "max_gb"))
    node = {**keys, "dry_run": False, "action": action}
    return task.administer(root, validated(StoreTask, node, "store"))


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022])
@pytest.mark.parametrize("mode", [0o2770, 0o770, 0o2775])
def test_what_is_written_has_the_permissions_of_the_group(root: Path, mask: int, mode: int) -> None:
    with umask(mask):
        root.mkdir()
        root.chmod(mode)
        with Store(root) as store:
            store.folder(LETTERS)
            fill(root)
            for path in root.rglob("*"):
                found = path.lstat()
                bits = stat.S_IMODE(found.st_mode)
                if not path.is_symlink():
                    assert bits & 0o070 == (0o070 if path.is_dir() else 0o060), path
                    assert not bits & 0o007 & mask, path
                    assert not path.is_dir() or bits & stat.S_ISGID == mode & stat.S_ISGID
                    assert found.st_gid == root.stat().st_gid


def test_what_is_written_in_a_private_store_is_private(root: Path) -> None:
    with umask(0o077):
        root.mkdir()
        root.chmod(0o755)
        fill(root)
        for path in root.rglob("*"):
            assert not path.stat().st_mode & 0o077


@pytest.mark.skipif(not IS_ROOT, reason="only root can act as two users")
def test_two_users_share_a_store(root: Path) -> None:
    with umask(0o077):
        root.mkdir()
        root.chmod(0o2770)
        fill(root)
        with acting_as(BOB):
            with Store(root) as store:
                assert (store.folder(AGAIN) / "epochs/1").read_text() == "1"
                store.folder(LETTERS)
                answers = CachedAnswers(Echo(), store.answers(LETTERS), 3)
                answers.translate(torch.zeros(1, 3, 4, 4))
                assert answers.asked == 0
                answers.translate(torch.ones(1, 3, 4, 4))
            assert "none is damaged" in administer(root, "verify")
        with Store(root) as store:
            store.folder(replace(LETTERS, make=fail_if_computed))
        with acting_as(BOB):
            assert "deleted 3 entries" in administer(root, "prune")


PRIVATE = {
    "the store": ("", 0),
    "the store's content": ("", 0o400),
    "the marker": (MARKER, 0),
    "all entries of a stage": ("numbers", 0),
    "an entry": (f"numbers/{STAGE.key}", 0),
    "a folder of an entry": (f"numbers/{STAGE.key}/epochs", 0),
    "a manifest": (f"numbers/{STAGE.key}/manifest.json", 0),
    "a file": (f"numbers/{STAGE.key}/number.txt", 0),
    "a file in a folder": (f"numbers/{STAGE.key}/epochs/1", 0),
}


@pytest.mark.parametrize("private", PRIVATE)
def test_what_may_not_be_read_is_one_line(root: Path, private: str) -> None:
    """It is not damaged, so that nobody is told to delete it."""
    fill(root)
    name, mode = PRIVATE[private]
    before = set(root.glob("numbers/**"))
    (root / name).chmod(mode)

    def run() -> None:
        config = composed(f"paths.store={root}")
        with common.started(config, root.parent, [AGAIN]) as store:
            store.folder(AGAIN)

    uses = [run, lambda: administer(root, "verify")]
    if not private.startswith("a file"):  # which can be deleted
        uses.append(lambda: administer(root, "prune"))
    for use in uses:
        with pytest.raises(UserError) as told:
            use()
        message = str(told.value)
        assert str(root / name) in message
        assert "Permission denied" in message
        assert "paths.store" in message
        assert "\n" not in message
        assert "damaged" not in message
    (root / name).chmod(0o700)
    assert set(root.glob("numbers/**")) == before


def test_an_answer_that_may_not_be_read_is_not_asked_for_again(root: Path) -> None:
    fill(root)
    (answer,) = root.glob("answers/*/*/*.npz")
    answer.chmod(0)
    with Store(root) as store:
        box = CachedAnswers(Echo(), store.answers(LETTERS), 3)
        with (
            pytest.raises(UserError, match=rf"{answer}: Permission denied; .*g\+rwX {root}"),
            permitted(root),
        ):
            box.translate(torch.zeros(1, 3, 4, 4))
        assert box.asked == 0


def test_the_sessions_of_another_user(root: Path) -> None:
    """What is stored can be read all the same."""
    fill(root)
    (root / ".sessions").chmod(0)
    with Store(root) as store:
        store.folder(AGAIN)
        with pytest.raises(UserError, match=r"paths.store=.*cannot be written \(Permission denied"):
            store.folder(LETTERS)
    with pytest.raises(UserError, match=r"\.sessions.*: Permission denied; it is in the store of"):
        administer(root, "prune")


def test_a_private_session_is_alive(root: Path) -> None:
    mark(root)
    with Store(root) as theirs:
        theirs.folder(STAGE)
        (session,) = (root / ".sessions").iterdir()
        session.chmod(0)
        with Store(root) as ours:
            assert ours._session.lives(session.name)
            ours.tidy()
        assert session.exists()
