from __future__ import annotations

import pytest
import torch

from mia_lab.backbones.backbone import Backbone
from mia_lab.backbones.known import KnownBackbone, facts
from mia_lab.errors import UserError


def test_a_known_backbone_is_built_when_an_image_comes(lite0: Backbone) -> None:
    built: list[int] = []

    def build() -> Backbone:
        built.append(1)
        return lite0

    known = KnownBackbone(facts(lite0, 64), build)
    assert known.fingerprint() == lite0.fingerprint()
    assert (known.name, known.label) == (lite0.name, lite0.label)
    assert known.describe() == lite0.describe()
    assert [*known.blocks] == [*lite0.blocks]
    known.check_layers([1, 4], 64)
    assert not built
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for mine, real in zip(
        known.features(images, [1, 3]), lite0.features(images, [1, 3]), strict=True
    ):
        assert torch.equal(mine, real)
    assert len(built) == 1


@pytest.mark.parametrize("layers", [[7], ["no.such.module"]])
def test_what_is_not_known_is_looked_up(lite0: Backbone, layers: list[int | str]) -> None:
    known = KnownBackbone(facts(lite0, 64), lambda: lite0)
    with pytest.raises(UserError, match="unknown layer"):
        known.check_layers(layers, 64)
    known.check_layers(["blocks.2"], 64)
    known.check_layers([1], 96)
