"""Training: it learns, it repeats, and it resumes bit for bit."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mia_lab.data.dataset import PairDataset
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.training import (
    CHECKPOINT_FILE,
    GENERATOR_FILE,
    LOSSES_FILE,
    TrainingSettings,
    train,
)

CPU = TrainingSettings("cpu", checkpoint_every_s=0)

Build = Callable[..., Pix2Pix]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / GENERATOR_FILE)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def losses(folder: Path) -> list[dict[str, float]]:
    with (folder / LOSSES_FILE).open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_overfits_one_batch(tmp_path: Path, members: PairDataset, tiny: Build) -> None:
    module = tiny(width=8, epochs=40, dropout=0.0, flip=False, load_scale=1.0, learning_rate=2e-3)
    train(module, members, tmp_path, CPU)
    curve = [row["l1"] for row in losses(tmp_path)]
    assert len(curve) == 40
    assert curve[-1] < 0.5 * curve[0]


def test_same_seed_same_weights(tmp_path: Path, members: PairDataset, tiny: Build) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        torch.manual_seed(hash(name))  # the global state must not matter
        train(tiny(seed=seed, epochs=2), members, tmp_path / name, CPU)
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


class Killed(BaseException):
    """Stands for a process that ends without a word."""


@pytest.mark.parametrize("killed_after", [1, 3])
def test_resumes_bit_for_bit(
    tmp_path: Path, members: PairDataset, tiny: Build, killed_after: int
) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    whole.mkdir()
    halved.mkdir()
    train(tiny(), members, whole, CPU)

    def kill(epoch: int, *_: object) -> None:
        if epoch == killed_after + 1:
            raise Killed

    with pytest.raises(Killed):
        train(tiny(), members, halved, CPU, on_epoch=kill)
    assert (halved / "resume" / "last.ckpt").exists()
    seen: list[int] = []
    train(tiny(), members, halved, CPU, on_epoch=lambda epoch, *_: seen.append(epoch))
    assert seen == list(range(killed_after + 1, 5))
    assert equal(weights(whole), weights(halved))
    assert losses(whole) == losses(halved)
    assert not (halved / "resume").exists()


def test_interrupt_does_not_pass_for_a_finished_training(
    tmp_path: Path, members: PairDataset, tiny: Build
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match="1"):
        train(tiny(), members, tmp_path, CPU, on_epoch=interrupt)
    assert not (tmp_path / GENERATOR_FILE).exists()


def test_lightning_checkpoint_loads(tmp_path: Path, members: PairDataset, tiny: Build) -> None:
    train(tiny(epochs=1), members, tmp_path, CPU)
    module = Pix2Pix.load_from_checkpoint(tmp_path / CHECKPOINT_FILE, map_location="cpu")
    assert equal(module.generator.state_dict(), weights(tmp_path))


def test_learning_rate_is_constant_then_falls_to_zero(tiny: Build) -> None:
    module = tiny(epochs=200)
    factors = [module.rate_factor(epoch) for epoch in range(201)]
    published = [1.0 - max(0, epoch + 1 - 100) / 101 for epoch in range(201)]
    assert factors == published
    assert math.isclose(factors[200], 0.0)


def test_initial_weights_are_normal_with_deviation_0_02(tiny: Build) -> None:
    weight = tiny(width=32).generator.state_dict()["model.model.1.model.1.weight"]
    assert abs(float(weight.std()) - 0.02) < 0.001
    assert abs(float(weight.mean())) < 0.001
