"""Normalisations folded into convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm import create_model
from torch import Tensor, nn

from mia_lab.backbones.folding import folded


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def maps(model: Any, image: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return model.forward_intermediates(image, intermediates_only=True)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet10t", 0),
        ("mobilenetv3_small_050", 0),
        ("regnety_002", 0),
        ("resnetv2_18", 9),  # normalises before it convolves: one norm has no convolution before it
        ("convnext_atto", 0),
    ],
)
def test_the_maps_stay_the_same(name: str, left: int) -> None:
    torch.manual_seed(0)
    model = create_model(name, pretrained=False).eval()
    for module in model.modules():  # those of a new network do nothing
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    before, image = norms(model), torch.rand(1, 3, 64, 64)
    found = folded(model, image, [0, 1, 2])
    assert norms(model) == before
    assert norms(found) == left or norms(found) < before / 2
    other = torch.rand(2, 3, 96, 64)
    for old, new in zip(maps(model, other), maps(found, other), strict=True):
        assert float((old - new).abs().max()) < 2e-5 * float(old.abs().max())


class Odd(nn.Module):
    """Its convolution is read twice: folding the normalisation into it would change the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y

    def forward_intermediates(self, x: Tensor, **_: Any) -> list[Tensor]:
        return [self(x)]


def test_a_network_that_would_change_stays() -> None:
    model = Odd().eval()
    assert folded(model, torch.rand(1, 3, 16, 16), [0]) is model


class Shared(Odd):
    """One normalisation for two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.norm(self.other(x))


def test_a_normalisation_used_twice_stays() -> None:
    model = Shared().eval()
    assert folded(model, torch.rand(1, 3, 16, 16), [0]) is model
