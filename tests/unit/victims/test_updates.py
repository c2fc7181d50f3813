"""Updates of pix2pix against the published ones, and of all victims on any shape of pictures."""

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
BuildHD = Callable[..., Pix2PixHD]


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


def assert_same_weights(found: nn.Module, wanted: nn.Module) -> None:
    for (name, a), b in zip(found.state_dict().items(), wanted.state_dict().values(), strict=True):
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
    tiny: Build, tiny_hd: BuildHD, kind: str, in_channels: int, out_channels: int,
    size: int | list[int],
) -> None:  # fmt: skip
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
