"""The published architectures: sizes, key layout, receptive field."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mia_lab.victims.networks.patchgan import PatchGAN
from mia_lab.victims.networks.unet import UNet


def n_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_published_parameter_counts() -> None:
    assert n_parameters(UNet(256)) == 54_413_955  # "54.41 M" for U-Net-256, 3 -> 3 channels
    assert n_parameters(PatchGAN(6)) == 2_768_705  # "2.77 M"


@pytest.mark.parametrize("size", [32, 64, 128])
def test_unet_is_log2_deep_and_keeps_the_size(size: int) -> None:
    network = UNet(size, in_channels=4, width=4)
    halvings = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert 2 ** len(halvings) == size
    out = network(torch.randn(2, 4, size, size))
    assert out.shape == (2, 3, size, size)
    assert out.abs().max() <= 1


def test_unet_trains_on_single_images() -> None:
    """The innermost level is one pixel: batch norm there could not work with one image."""
    UNet(32, width=4).train()(torch.randn(1, 3, 32, 32)).sum().backward()


def test_unet_dropout_sits_in_three_levels_at_256() -> None:
    network = UNet(256, width=2)
    assert sum(isinstance(m, nn.Dropout) for m in network.modules()) == 3


def test_unet_key_layout_is_the_published_one() -> None:
    keys = list(UNet(256, width=2).state_dict())
    assert keys[0] == "model.model.0.weight"
    assert "model.model.1.model.3.model.3.model.3.model.3.model.3.model.3.model.1.weight" in keys
    assert keys[-2:] == ["model.model.3.weight", "model.model.3.bias"]


@pytest.mark.parametrize("size", [16, 48, 100])
def test_unet_refuses_other_sizes(size: int) -> None:
    with pytest.raises(ValueError, match="power of two, at least 32"):
        UNet(size)


def test_patchgan_sees_70_by_70_pixels() -> None:
    network = PatchGAN(6, width=4).eval()
    image = torch.randn(1, 6, 256, 256, requires_grad=True)
    logits = network(image)
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1)) > 0
    assert int(seen.any(0).sum()) == int(seen.any(1).sum()) == 70
