"""Training: it learns, it repeats, and it resumes bit for bit."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mia_lab.data.dataset import PairDataset
from mia_lab.errors import UserError
from mia_lab.victims.files import CHECKPOINT_FILE, GENERATOR_FILE, LOSSES_FILE, snapshot_file
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.resume import LAST, WholeCheckpoints, intact_checkpoint
from mia_lab.victims.settings import TrainingSettings
from mia_lab.victims.training import prepared, train

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
    module = tiny(width=8, epochs=60, dropout=0.0, flip=False, load_scale=1.0, learning_rate=2e-3)
    train(module, members, tmp_path, CPU)
    curve = [row["l1"] for row in losses(tmp_path)]
    assert len(curve) == 60
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


def killed(folder: Path, members: PairDataset, tiny: Build, after: int) -> None:
    """Train for some epochs."""
    folder.mkdir()

    def kill(epoch: int, *_: object) -> None:
        if epoch == after + 1:
            raise Killed

    with pytest.raises(Killed):
        train(tiny(), members, folder, CPU, on_epoch=kill)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, members: PairDataset, tiny: Build) -> Path:
    """A training that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny(), members, folder, CPU)
    return folder


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory, members: PairDataset, tiny: Build) -> Path:
    """A training that was killed in its fourth epoch; tests change copies."""
    folder = tmp_path_factory.mktemp("cut") / "3"
    killed(folder, members, tiny, 3)
    return folder


@pytest.mark.parametrize("killed_after", [1, 3])
def test_resumes_bit_for_bit(
    tmp_path: Path, members: PairDataset, tiny: Build, whole: Path, killed_after: int
) -> None:
    halved = tmp_path / "halved"
    killed(halved, members, tiny, killed_after)
    assert (halved / "resume" / "last.ckpt").exists()
    seen: list[int] = []
    train(tiny(), members, halved, CPU, on_epoch=lambda epoch, *_: seen.append(epoch))
    assert seen == list(range(killed_after + 1, 5))
    assert equal(weights(whole), weights(halved))
    assert losses(whole) == losses(halved)
    assert not (halved / "resume").exists()


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [flipped, lambda content: content[:900], lambda _: b""])
@pytest.mark.parametrize(
    ("damaged", "first"), [(["last"], 3), (["last", "previous"], 1), (["previous"], 4)]
)
def test_a_damaged_checkpoint_is_not_resumed_from(
    tmp_path: Path,
    members: PairDataset,
    tiny: Build,
    whole: Path,
    cut: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
    damaged: list[str],
    first: int,
) -> None:
    """One flipped bit would train another generator, which is then published as intact."""
    halved = Path(shutil.copytree(cut, tmp_path / "halved"))
    for name in damaged:
        path = halved / f"resume/{name}.ckpt"
        path.write_bytes(damage(path.read_bytes()))
    seen: list[int] = []
    train(tiny(), members, halved, CPU, on_epoch=lambda epoch, *_: seen.append(epoch))
    assert seen[0] == first
    named = [name for name in ("last", "previous") if f"{name}.ckpt: damaged" in caplog.text]
    assert named == (damaged if "last" in damaged else [])
    assert ("starts again" in caplog.text) is (first == 1)
    assert equal(weights(whole), weights(halved))
    assert losses(whole) == losses(halved)


@pytest.mark.parametrize("step", range(6))
def test_a_crash_while_a_checkpoint_is_written_loses_no_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Whichever change of the folder is the last one that happens."""
    writer = WholeCheckpoints({})
    last = tmp_path / LAST
    for n in (1, 2):
        writer.save_checkpoint({"n": n}, last)
    left = [step]
    replace = Path.replace

    def until_the_crash(path: Path, target: Path) -> Path:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return replace(path, target)

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(Path, "replace", until_the_crash)
        for n in (3, 4):
            writer.save_checkpoint({"n": n}, last)
    for _ in range(5):  # and again and again, wherever it was
        with monkeypatch.context() as patched, contextlib.suppress(Killed):
            left[0] = step % 3
            patched.setattr(Path, "replace", until_the_crash)
            writer.save_checkpoint({"n": 2 + step // 3}, last)
    found = intact_checkpoint(tmp_path)
    assert found is not None
    assert torch.load(found)["n"] == 2 + step // 3


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


def test_snapshots_are_the_generators_of_shorter_lives(
    tmp_path: Path, members: PairDataset, tiny: Build
) -> None:
    kept: dict[int, dict[str, torch.Tensor]] = {}

    def keep(epoch: int, _: object, module: Pix2Pix) -> None:
        kept[epoch] = {k: v.clone() for k, v in module.generator.state_dict().items()}

    train(tiny(keep_epochs=[1, 3]), members, tmp_path, CPU, on_epoch=keep)  # type: ignore[arg-type]
    assert {p.name for p in (tmp_path / "epochs").iterdir()} == {
        "0001.safetensors",
        "0003.safetensors",
    }
    for epoch in (1, 3):
        assert equal(load_file(tmp_path / snapshot_file(epoch)), kept[epoch])
    assert not equal(kept[1], kept[3])


def test_files_say_how_to_build_the_generator(
    tmp_path: Path, members: PairDataset, tiny: Build
) -> None:
    module = tiny(epochs=1, keep_epochs=[1])
    train(module, members, tmp_path, CPU)
    expected = {
        "architecture": type(module.generator).__name__,
        "arguments": module.generator.arguments,
        "input_encoding": "rgb",
    }
    for name in (GENERATOR_FILE, snapshot_file(1)):
        with safe_open(tmp_path / name, "pt") as file:
            assert json.loads(file.metadata()["generator"]) == expected
    checkpoint = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)
    assert checkpoint["generator"] == expected


def test_workers_change_nothing(tmp_path: Path, members: PairDataset, tiny: Build) -> None:
    train(tiny(epochs=2), members, tmp_path / "none", CPU)
    other = PairDataset(members.source, members.ids, members.image_size, cache_bytes=20_000)
    assert not other.fits
    train(tiny(epochs=2), other, tmp_path / "some", TrainingSettings("cpu", workers=1))
    assert equal(weights(tmp_path / "none"), weights(tmp_path / "some"))


@pytest.mark.slow
def test_compiled_networks_train_alike_under_the_same_names(
    tmp_path: Path, members: PairDataset, tiny: Build
) -> None:
    def module() -> Pix2Pix:
        return tiny(epochs=1, dropout=0.0, batch_size=3)

    train(module(), members, tmp_path / "plain", CPU)
    compiled = module()
    train(compiled, members, tmp_path / "compiled", TrainingSettings("cpu", compile=True))
    a, b = weights(tmp_path / "plain"), weights(tmp_path / "compiled")
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-4) for k in a)
    assert compiled.generator._compiled_call_impl is None


def test_flags_for_speed_are_set_back(tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    module = tiny()

    def weight() -> torch.Tensor:
        return module.discriminator.state_dict()["model.0.weight"]

    with prepared(module, TrainingSettings("gpu")):
        assert torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "high"
        assert weight().is_contiguous(memory_format=torch.channels_last)
    assert (torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()) == before
    assert weight().is_contiguous()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (TrainingSettings("cpu", devices=2), "trainer=ddp"),
        (TrainingSettings("cpu", strategy="ddp", devices=3), "victim.batch_size=2"),
    ],
)
def test_devices_that_do_not_fit(
    tmp_path: Path, members: PairDataset, tiny: Build, settings: TrainingSettings, key: str
) -> None:
    with pytest.raises(UserError, match=key):
        train(tiny(), members, tmp_path, settings)
