"""Signals and full disks during a training: one clear end, and the same command goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from made_stages import MadeStage
from mia_lab.data.dataset import PairDataset
from mia_lab.errors import UserError
from mia_lab.store import Store
from mia_lab.victims.files import CHECKPOINT_FILE, GENERATOR_FILE, LOSSES_FILE, snapshot_file
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.settings import TrainingSettings
from mia_lab.victims.training import train
from small_disk import SmallDisk, pages

CPU = TrainingSettings("cpu", checkpoint_every_s=0)

Build = Callable[..., Pix2Pix]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_stop_between_steps_and_training_resumes(
    tmp_path: Path, members: PairDataset, tiny: Build, number: signal.Signals
) -> None:
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"

    def warn(epoch: int, *_: object) -> None:
        if epoch == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as stop:
        train(tiny(), members, stopped, CPU, on_epoch=warn)
    assert stop.value.code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL
    seen: list[int] = []
    train(tiny(), members, stopped, CPU, on_epoch=lambda epoch, *_: seen.append(epoch))
    assert seen == [3, 4]
    train(tiny(), members, whole, CPU)
    assert equal(load_file(stopped / GENERATOR_FILE), load_file(whole / GENERATOR_FILE))


def test_a_signal_that_somebody_else_handles_is_theirs(
    tmp_path: Path, members: PairDataset, tiny: Build
) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        train(tiny(epochs=2), members, tmp_path, CPU, on_epoch=lambda *_: _warn())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1] * 2
    assert (tmp_path / GENERATOR_FILE).exists()


def _warn() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize(("keep", "stuck"), [([2], "epochs"), ([], "resume")])
def test_a_full_disk_during_training(
    small_disk: SmallDisk,
    tmp_path: Path,
    members: PairDataset,
    tiny: Build,
    keep: list[int],
    stuck: str,
) -> None:
    folder, whole = small_disk.folder / "victim", tmp_path / "whole"

    def fill_up(epoch: int, *_: object) -> None:
        if epoch == 2:
            small_disk.fill()

    def module() -> Pix2Pix:
        return tiny(width=2, discriminator_width=2, keep_epochs=keep)

    with pytest.raises(UserError, match=r"disk is full .*B needed, 0.0 kB free") as full:
        train(module(), members, folder, CPU, on_epoch=fill_up)
    assert str(full.value).startswith(str(folder / stuck))
    assert not list(folder.rglob("*.partial"))
    assert torch.load(folder / "resume" / "last.ckpt", weights_only=True)["epoch"] == 0

    small_disk.empty()
    seen: list[int] = []
    train(module(), members, folder, CPU, on_epoch=lambda epoch, *_: seen.append(epoch))
    assert seen == [2, 3, 4]
    train(module(), members, whole, CPU)
    for name in (GENERATOR_FILE, *map(snapshot_file, keep)):
        assert equal(load_file(folder / name), load_file(whole / name))


@pytest.mark.parametrize("n_written", [0, 1, 2, 3])
def test_a_full_disk_at_the_end(
    small_disk: SmallDisk, tmp_path: Path, members: PairDataset, tiny: Build, n_written: int
) -> None:
    """The checkpoint, the generator, the losses or the manifest do not fit any more."""
    settings = TrainingSettings("cpu", checkpoint_every_s=1000)

    def module() -> Pix2Pix:
        return tiny(width=2, discriminator_width=2, epochs=1)

    train(module(), members, tmp_path / "whole", settings)
    files = [CHECKPOINT_FILE, GENERATOR_FILE, LOSSES_FILE][:n_written]
    leave = pages(*(tmp_path / "whole" / name for name in files))

    def compute(folder: Path) -> None:
        train(module(), members, folder, settings, on_epoch=lambda *_: small_disk.fill(leave))

    store = Store(small_disk.folder / "store")
    stage = MadeStage("victim", make=compute, is_resumable=True)
    with pytest.raises(UserError, match="disk is full") as full:
        store.folder(stage)
    assert str(full.value).startswith(str(store.root))
    assert not store.path(stage).exists()

    small_disk.empty()
    uninterrupted = replace(stage, make=lambda folder: train(module(), members, folder, settings))
    folder = store.folder(uninterrupted)
    assert equal(load_file(folder / GENERATOR_FILE), load_file(tmp_path / "whole" / GENERATOR_FILE))
