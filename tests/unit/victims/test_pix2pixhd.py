"""pix2pixHD's training against the published one, written out in plain PyTorch, in float64."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from mia_lab.data.dataset import PairDataset, training_loader
from mia_lab.data.encoding import LabelEncoding
from mia_lab.data.procedural.facade_layout import PALETTE
from mia_lab.errors import UserError
from mia_lab.types import PairBatch
from mia_lab.victims.files import LOSSES_FILE
from mia_lab.victims.pix2pixhd import Pix2PixHD
from mia_lab.victims.settings import TrainingSettings
from mia_lab.victims.training import train
from published import State
from published_hd import LAMBDA_FEAT, PublishedTraining, lite0

Build = Callable[..., Pix2PixHD]

LAMBDA_LITE0 = 100.0
"""With it, a tenth of the distance in Lite0's features has the published weight."""


def in_double(batch: PairBatch, _: int = 0) -> PairBatch:
    encoded = None if batch.encoded is None else batch.encoded.double()
    return replace(batch, x=batch.x.double(), y=batch.y.double(), encoded=encoded)


def network_pair(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """What the published networks are given."""
    batch = in_double(batch)
    return 2 * batch.x - 1 if batch.encoded is None else batch.encoded, 2 * batch.y - 1


def as_logged(terms: dict[str, float]) -> dict[str, float]:
    """The published terms as the victim names and weighs them."""
    losses = {
        "l1": terms["L1"] / 2,
        "generator_gan": terms["G_GAN"],
        "feature_matching": terms["G_GAN_Feat"] / LAMBDA_FEAT,
        "discriminator": (terms["D_fake"] + terms["D_real"]) * 0.5,
    }
    return losses | ({"perceptual": terms["G_VGG"] / LAMBDA_LITE0} if "G_VGG" in terms else {})


def assert_same_network(found: nn.Module, wanted: State) -> None:
    """Equal gradients of the last step, and equal weights."""
    parameters = dict(found.named_parameters())
    assert list(parameters) == list(found.state_dict()) == list(wanted)
    for name, parameter in parameters.items():
        weight = wanted[name]
        assert parameter.grad is not None
        assert weight.grad is not None
        torch.testing.assert_close(parameter.grad, weight.grad, rtol=1e-9, atol=1e-12)
        # An instance norm takes a bias before it away: the gradient is rounding, which Adam
        # divides by little more than its epsilon of 1e-8.
        without_effect = name.endswith("bias") and weight.grad.abs().max() < 1e-12
        atol = 1e-8 if without_effect else 1e-12
        torch.testing.assert_close(parameter, weight, rtol=1e-9, atol=atol)


@pytest.mark.parametrize(
    ("perceptual", "encoding", "scales", "n_members", "batch_size", "niter", "niter_decay"),
    [
        ("none", "rgb", 2, 6, 6, 1, 0),  # a single step
        ("none", "one_hot", 3, 6, 2, 2, 3),
        ("lite0", "rgb", 2, 4, 2, 1, 2),
    ],
)
def test_training_is_the_published_one(
    tmp_path: Path, members: PairDataset, tiny_hd: Build, perceptual: str, encoding: str,
    scales: int, n_members: int, batch_size: int, niter: int, niter_decay: int,
) -> None:  # fmt: skip
    """Losses of every epoch, gradients and weights at the end, in float64."""
    colors = LabelEncoding([list(color) for color in PALETTE.values()], boundaries=False)
    labels = colors if encoding == "one_hot" else None
    members = PairDataset(members.source, members.ids[:n_members], 32, encoding=labels)
    epochs = niter + niter_decay
    module = tiny_hd(
        in_channels=members.in_channels, input_encoding=encoding, n_discriminators=scales,
        perceptual=perceptual, epochs=epochs, decay_fraction=niter_decay / epochs,
        batch_size=batch_size, lambda_perceptual=LAMBDA_LITE0,
    )  # fmt: skip
    module.prepare_data()
    for part in (module, *module._perceptual):
        part.double()
    module.on_before_batch_transfer = in_double  # type: ignore[assignment]
    initial = module.generator.state_dict(), module.discriminator.state_dict()
    features = lite0().double() if perceptual == "lite0" else None
    published = PublishedTraining(*initial, 2, 1, features, niter, niter_decay)

    train(module, members, tmp_path, TrainingSettings("cpu"))
    with (tmp_path / LOSSES_FILE).open() as file:
        found = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert len(found) == epochs
    loader = training_loader(members, batch_size, seed=0)
    for epoch, losses in enumerate(found, start=1):
        cast(Any, loader.sampler).set_epoch(epoch - 1)
        batches = list(cast(Iterable[PairBatch], loader))
        assert sorted(i for batch in batches for i in batch.ids) == sorted(members.ids)
        steps = [as_logged(published.step(*network_pair(batch))) for batch in batches]
        published.end_epoch(epoch)
        means = {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}
        assert losses == pytest.approx({"epoch": epoch, **means}, rel=1e-12)
    assert_same_network(module.generator, published.generator.tensors)
    assert_same_network(module.discriminator, published.discriminator.tensors)
    x, _ = network_pair(next(members.batches(n_members)))
    torch.testing.assert_close(module.generator(x), published.translate(x), rtol=0, atol=1e-12)
    assert not [key for key in module.state_dict() if "perceptual" in key]


def test_only_kernels_have_published_initial_weights(tiny_hd: Build) -> None:
    """pix2pixHD's code draws the kernels and leaves PyTorch's biases."""
    module = tiny_hd()
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    kernels = torch.cat([layer.weight.flatten() for layer in layers])
    assert kernels.std().item() == pytest.approx(0.02, rel=0.02)
    biases = torch.cat(
        [
            layer.bias * cast(int, nn.init._calculate_fan_in_and_fan_out(layer.weight)[0]) ** 0.5
            for layer in layers
            if layer.bias is not None
        ]
    )
    assert biases.abs().max() <= 1
    assert biases.std().item() == pytest.approx(3**-0.5, rel=0.1)


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
def test_pix2pixhd_refuses(tiny_hd: Build, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_hd(**changes)
