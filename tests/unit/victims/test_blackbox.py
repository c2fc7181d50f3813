"""Black boxes: ours, exported ones, and the checks on what they answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mia_lab.attacks.distances import METRICS
from mia_lab.data.dataset import PairDataset
from mia_lab.errors import UserError
from mia_lab.hardware import torch_device
from mia_lab.victims.blackbox import BlackBox, TorchBlackBox
from mia_lab.victims.files import export
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.pretrained import Pretrained
from mia_lab.victims.query import Questioner, query, reconstruction_error
from mia_lab.victims.settings import TrainingSettings
from mia_lab.victims.training import train

Build = Callable[..., Pix2Pix]


def images(n: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_exported_generator_answers_like_the_module(tmp_path: Path, tiny: Build) -> None:
    module = tiny()
    module.generator.train()(images())  # move the running statistics off their start
    export(module.generator, tmp_path / "victim.safetensors")
    loaded = Pretrained(str(tmp_path / "victim.safetensors"), 32, "cpu")
    assert isinstance(loaded, BlackBox)
    answer = TorchBlackBox(module, "cpu").translate(images())
    torch.testing.assert_close(loaded.translate(images()), answer, rtol=0, atol=0)
    torch.testing.assert_close(answer, (module.eval().generator(2 * images() - 1) + 1) / 2)


def test_exported_generator_errors(tmp_path: Path, tiny: Build) -> None:
    path = tmp_path / "victim.safetensors"
    export(tiny().generator, path)
    with pytest.raises(UserError, match=r"trained at data.image_size=32, not 64; set data.i"):
        Pretrained(str(path), 64)
    with pytest.raises(UserError, match=r"nowhere: cannot be read"):
        Pretrained(str(tmp_path / "nowhere"), 32)
    export(torch.nn.Linear(2, 2), path)
    with pytest.raises(UserError, match="is not a generator exported by mia_lab"):
        Pretrained(str(path), 32)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(UserError, match="cannot be read"):
        Pretrained(str(path), 32)


def test_eval_mode_is_deterministic_and_independent_of_the_batch(tiny: Build) -> None:
    box = TorchBlackBox(tiny(), "cpu")
    together = box.translate(images())
    alone = torch.cat([box.translate(x[None]) for x in images()])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_train_mode_uses_batch_statistics_and_dropout_but_learns_nothing(tiny: Build) -> None:
    module = tiny(image_size=64)  # from 64 px on there is dropout
    before = {k: v.clone() for k, v in module.state_dict().items() if "num_batches" not in k}
    x = torch.rand(1, 3, 64, 64)
    box = TorchBlackBox(module, "cpu", mode="train")
    assert not torch.equal(box.translate(x), box.translate(x))
    after = module.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    plain = TorchBlackBox(tiny(image_size=64), "cpu").translate(x)
    assert not torch.allclose(plain, box.translate(x), atol=1e-3)


def test_gpu_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=r"trainer.accelerator=gpu: no GPU is visible"):
        torch_device("gpu")
    assert torch_device("auto").type == "cpu"


def test_reconstruction_error_is_the_mean_absolute_error() -> None:
    a, b = np.random.default_rng(0).uniform(size=(2, 5, 3, 8, 8)).astype(np.float32)
    expected = [
        np.mean([abs(float(p) - float(q)) for p, q in zip(x.flat, y.flat, strict=True)])
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(reconstruction_error(a, b), expected, rtol=1e-7)
    with pytest.raises(ValueError, match="shapes differ"):
        reconstruction_error(a, b[:3])


def levels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 200, (1, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("measure", ["l1", "l2"])
def test_pictures_that_differ_by_equal_levels_have_equal_errors(measure: str) -> None:
    """In float32, k / 255 is rounded: ten levels are not ten levels everywhere."""
    rng = np.random.default_rng(0)
    low = np.concatenate([levels(rng) for _ in range(50)])
    a, b = torch.from_numpy(low / np.float32(255)), torch.from_numpy((low + 10) / np.float32(255))
    if measure == "l1":
        found, expected = reconstruction_error(a.numpy(), b.numpy()), 10 / 255
    else:
        found, expected = METRICS["l2"](a, b, None), (10 / 255) ** 2
    assert len(np.unique(found)) == 1
    assert found[0] == pytest.approx(expected, rel=1e-14)


class Fixed:
    """Answers with what it was given at construction."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        self.translate = answer


def test_query_records_every_image(tmp_path: Path, members: PairDataset) -> None:
    table = query(Questioner(Fixed(lambda x: x), 0), members, 4, tmp_path)
    assert list(table.id) == list(members.ids)
    whole = next(members.batches(len(members)))
    np.testing.assert_array_equal(table.images, whole.x.numpy())
    np.testing.assert_allclose(
        table.error, (whole.x - whole.y).abs().double().mean((1, 2, 3)).numpy(), rtol=1e-6
    )


def test_answers_that_carry_gradients_or_doubles_are_taken(
    tmp_path: Path, members: PairDataset
) -> None:
    weight = torch.ones(1, requires_grad=True)
    table = query(Questioner(Fixed(lambda x: x.double() * weight), 0), members, 4, tmp_path)
    whole = next(members.batches(len(members)))
    np.testing.assert_array_equal(table.images, whole.x.numpy())


def test_random_victims_are_seeded_by_image(tmp_path: Path, members: PairDataset) -> None:
    def noisy(x: Tensor) -> Tensor:
        return torch.rand_like(x)

    tables = []
    for name, seed, dataset in (
        ("a", 0, members),
        ("b", 0, PairDataset(members.source, members.ids[::-1], 32)),
        ("c", 1, members),
    ):
        (tmp_path / name).mkdir()
        torch.manual_seed(seed + 7)
        tables.append(query(Questioner(Fixed(noisy), seed), dataset, 1, tmp_path / name))
    a, b, c = (t.mean_error(members.ids) for t in tables)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x[:, :1], r"answered train/000000 with shape \(4, 1, 32, 32\), expected"),
        (lambda x: x.numpy(), r"with a ndarray; an answer must be a torch.Tensor"),
        (lambda x: x * float("nan"), "is not finite"),
        (lambda x: x * 2 - 1, r"is outside \[0, 1\]"),
    ],
)
def test_bad_answers(
    tmp_path: Path, members: PairDataset, answer: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        query(Questioner(Fixed(answer), 0), members, 4, tmp_path)


def test_the_remedy_for_a_full_gpu_is_told(
    tmp_path: Path, members: PairDataset, tiny: Callable[..., Pix2Pix]
) -> None:
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"the GPU has too little memory; .* query\.batch_size"):
        query(Questioner(Fixed(full), 0), members, 4, tmp_path)
    module = tiny()
    module.generator.forward = full
    with pytest.raises(UserError, match=r"the GPU has too little memory; .* victim\.batch_size"):
        train(module, members, tmp_path, TrainingSettings("cpu"))
