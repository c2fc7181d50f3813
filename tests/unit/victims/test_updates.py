"""One training step of each victim against the published update, written out in plain PyTorch."""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mia_lab.data.dataset import PairDataset
from mia_lab.errors import UserError
from mia_lab.types import PairBatch
from mia_lab.victims.files import LOSSES_FILE
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.pix2pixhd import Pix2PixHD
from mia_lab.victims.private import PrivateUNet
from mia_lab.victims.settings import TrainingSettings
from mia_lab.victims.training import train

Build = Callable[..., Pix2Pix]


def tiny_hd(**changes: object) -> Pix2PixHD:
    arguments: dict[str, Any] = {
        "image_size": 32,
        "in_channels": 3,
        "out_channels": 3,
        "width": 4,
        "discriminator_width": 4,
        "n_downsamplings": 2,
        "n_blocks": 1,
        "n_discriminators": 2,
        "perceptual": "none",
        "lambda_feature": 10.0,
        "lambda_perceptual": 10.0,
        "learning_rate": 2e-4,
        "beta1": 0.5,
        "epochs": 1,
        "decay_fraction": 0.5,
        "batch_size": 6,
        "load_scale": 1.0,
        "flip": False,
        "seed": 0,
    }
    return Pix2PixHD(**{**arguments, **changes})


def one_step(module: Any, members: PairDataset, folder: Path) -> dict[str, float]:
    """Train on all members in one batch; the logged losses."""
    train(module, members, folder, TrainingSettings("cpu"))
    with (folder / LOSSES_FILE).open() as file:
        return {k: float(v) for k, v in next(csv.DictReader(file)).items()}


def batch_of(members: PairDataset) -> tuple[Tensor, Tensor]:
    batch = next(members.batches(len(members)))
    return 2 * batch.x - 1, 2 * batch.y - 1


def step(network: nn.Module, loss: Tensor) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def assert_same_weights(found: nn.Module, wanted: nn.Module, biases: bool = True) -> None:
    for (name, a), b in zip(found.state_dict().items(), wanted.state_dict().values(), strict=True):
        if not biases and name.endswith("bias"):
            continue
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_pix2pix_step(tmp_path: Path, members: PairDataset, tiny: Build) -> None:
    module = tiny(epochs=1, batch_size=6, dropout=0.0, flip=False, load_scale=1.0)
    g, d = copy.deepcopy(module.generator), copy.deepcopy(module.discriminator)
    losses = one_step(module, members, tmp_path)

    x, y = batch_of(members)
    fake = g(x)
    as_fake, as_real = d(torch.cat([x, fake.detach()], 1)), d(torch.cat([x, y], 1))
    bce = F.binary_cross_entropy_with_logits
    loss_d = 0.5 * (
        bce(as_fake, torch.zeros_like(as_fake)) + bce(as_real, torch.ones_like(as_real))
    )
    step(d, loss_d)
    judged = d(torch.cat([x, fake], 1))
    gan, l1 = bce(judged, torch.ones_like(judged)), F.l1_loss(fake, y)
    step(g, gan + 100 * l1)

    wanted = {"discriminator": loss_d, "generator_gan": gan, "l1": l1 / 2}
    for name, loss in wanted.items():
        assert losses[name] == pytest.approx(loss.item(), rel=1e-5), name
    assert_same_weights(module.generator, g)
    assert_same_weights(module.discriminator, d)


def test_pix2pixhd_step(tmp_path: Path, members: PairDataset) -> None:
    module = tiny_hd()
    g, d = copy.deepcopy(module.generator), copy.deepcopy(module.discriminator)
    losses = one_step(module, members, tmp_path)

    x, y = batch_of(members)
    fake = g(x)
    on_fake, on_real = d(torch.cat([x, fake.detach()], 1)), d(torch.cat([x, y], 1))
    judged = d(torch.cat([x, fake], 1))
    loss_d = sum(
        0.5 * ((f[-1] ** 2).mean() + ((r[-1] - 1) ** 2).mean())
        for f, r in zip(on_fake, on_real, strict=True)
    )
    gan = sum(((j[-1] - 1) ** 2).mean() for j in judged)
    matching = sum(
        0.5 * (a - b.detach()).abs().mean()
        for j, r in zip(judged, on_real, strict=True)
        for a, b in zip(j[:-1], r[:-1], strict=True)
    )
    step(g, gan + 10 * matching)
    step(d, loss_d)

    wanted = {"discriminator": loss_d, "generator_gan": gan, "feature_matching": matching}
    for name, loss in wanted.items():
        assert losses[name] == pytest.approx(loss.item(), rel=1e-5), name
    assert losses["l1"] == pytest.approx(F.l1_loss(fake, y).item() / 2, rel=1e-5)
    # Instance norm takes a bias before it away: its gradient is rounding, and Adam scales it up.
    assert_same_weights(module.generator, g, biases=False)
    assert_same_weights(module.discriminator, d, biases=False)
    with torch.no_grad():
        torch.testing.assert_close(module.generator(x), g(x), rtol=1e-4, atol=1e-5)


def test_the_perceptual_term_is_logged_and_no_part_of_the_file(
    tmp_path: Path, members: PairDataset
) -> None:
    module = tiny_hd(perceptual="lite0")
    losses = one_step(module, members, tmp_path)
    assert losses["perceptual"] > 0
    assert not [k for k in module.state_dict() if "perceptual" in k]


def test_pix2pixhd_learning_rate_is_the_published_one() -> None:
    module = tiny_hd(epochs=8, decay_fraction=0.5)
    rate, published = 2e-4, []
    for epoch in range(1, 9):  # niter = niter_decay = 4: update_learning_rate after epochs > niter
        published.append(rate)
        if epoch > 4:
            rate -= 2e-4 / 4
    found = [2e-4 * module.rate_factor(epoch) for epoch in range(8)]
    assert found == pytest.approx(published)


def test_pix2pixhd_learns(tmp_path: Path, members: PairDataset) -> None:
    module = tiny_hd(epochs=60, width=8, batch_size=3, learning_rate=2e-3)
    rows: list[float] = []
    train(
        module,
        members,
        tmp_path,
        TrainingSettings("cpu"),
        on_epoch=lambda _e, found, _m: rows.append(found["l1"]),
    )
    assert rows[-1] < 0.6 * rows[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"generator": "resnet_6"},
        {"generator": "resnet_9", "norm": "instance"},
        {"norm": "instance"},
        {"gan_loss": "lsgan"},
        {"gan_loss": "hinge"},
    ],
)
def test_variants_of_pix2pix_learn(
    tmp_path: Path, members: PairDataset, tiny: Build, changes: dict[str, object]
) -> None:
    module = tiny(
        epochs=25, dropout=0.0, flip=False, load_scale=1.0, learning_rate=2e-3, width=6, **changes
    )
    rows: list[float] = []
    train(
        module,
        members,
        tmp_path,
        TrainingSettings("cpu"),
        on_epoch=lambda _e, found, _m: rows.append(found["l1"]),
    )
    assert rows[-1] < 0.8 * rows[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_size": 34},
            "victim.n_downsamplings=2: .*data.image_size=34; set data.image_size=32",
        ),
        ({"image_size": [48, 34]}, r"image_size=\[48,34\]; set data.image_size=\[48,32\]"),
        ({"image_size": [96, 32], "n_discriminators": 6}, r"n_discriminators=6: .*\[96,32\]"),
        ({"keep_epochs": [1, 2]}, "victim.keep_epochs=.*epochs 1 to 1"),
        ({"epochs": 3, "keep_epochs": [1], "epoch": 2}, "victim.epoch=2: is not kept"),
    ],
)
def test_pix2pixhd_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_hd(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator": "resnet_6", "image_size": 30}, "multiples of 4, .*=30; set .*=32"),
        ({"generator": "resnet_6", "image_size": [90, 8]}, r"=\[90,8\]; set .*=\[88,24\]"),
        ({"image_size": 48}, "victim.generator=unet: .*multiples of 32, .*=48; set .*=64"),
        ({"image_size": [512, 200]}, r"=\[512,200\]; set data.image_size=\[512,192\]"),
    ],
)
def test_pix2pix_refuses(tiny: Build, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(**changes)


def private(**changes: object) -> PrivateUNet:
    arguments: dict[str, Any] = {
        "image_size": 32,
        "in_channels": 3,
        "out_channels": 3,
        "width": 4,
        "learning_rate": 1e-3,
        "beta1": 0.9,
        "epochs": 1,
        "batch_size": 2,
        "epsilon": 8.0,
        "delta": 1e-5,
        "max_grad_norm": 1.0,
        "seed": 0,
    }
    return PrivateUNet(**{**arguments, **changes})


@pytest.mark.filterwarnings("ignore")  # Lightning's, see mia_lab.victims.training
@pytest.mark.parametrize(
    ("in_channels", "out_channels", "size"),
    [(1, 1, [64, 32]), (3, 1, 96), (1, 3, 32), (4, 5, [32, 96])],
)
@pytest.mark.parametrize("kind", ["unet", "resnet_6", "hd", "private"])
def test_any_channels_and_rectangles_train(
    tiny: Build, kind: str, in_channels: int, out_channels: int, size: int | list[int]
) -> None:
    shape: dict[str, Any] = {
        "image_size": size,
        "in_channels": in_channels,
        "out_channels": out_channels,
    }
    module: pl.LightningModule
    if kind == "hd":
        module = tiny_hd(perceptual="lite0" if out_channels == 1 else "none", **shape)
    elif kind == "private":
        module = private(**shape)
        module._n = 2
    else:
        module = tiny(generator=kind, flip=False, load_scale=1.0, **shape)
    width, height = (size, size) if isinstance(size, int) else size
    drawn = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, c, height, width, generator=drawn) for c in (in_channels, out_channels))
    batch = PairBatch(("a", "b"), x, y)
    loader = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
    before = copy.deepcopy(module.generator.state_dict())
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)
    assert any(not torch.equal(before[k], v) for k, v in module.generator.state_dict().items())
    out = module.eval()(x)
    assert out.shape == (2, out_channels, height, width)
