"""A backbone that was looked at before: what a job asks that only reads its stored features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from mia_lab.types import Layer

if TYPE_CHECKING:
    from mia_lab.backbones.backbone import Backbone


def facts(network: Backbone, image_size: int) -> dict[str, Any]:
    """What there is to know about a backbone, as JSON values.

    Args:
        network: the backbone.
        image_size: side of the images that it will be given, in pixels; all numbered blocks are
            tried on one.

    Raises:
        UserError: it does not take such images.
    """
    network.check_layers([*network.blocks], image_size)
    return {
        "name": network.name,
        "label": network.label,
        "fingerprint": network.fingerprint(),
        "description": network.describe(),
        "blocks": [*network.blocks],
        "image_size": image_size,
    }


class KnownBackbone:
    """Stands for a :class:`Backbone`, which is built only if an image has to go through it.

    Importing timm and loading weights takes longer than most jobs of a sweep take.

    Args:
        known: from :func:`facts`.
        build: makes the backbone.
    """

    def __init__(self, known: Mapping[str, Any], build: Callable[[], Backbone]) -> None:
        self._known = known
        self._build = build
        self.name: str = known["name"]
        self.label: str = known["label"]
        self.device = torch.device("cpu")
        self.blocks = dict.fromkeys(known["blocks"])

    def fingerprint(self) -> str:
        found: str = self._known["fingerprint"]
        return found

    def describe(self) -> dict[str, str]:
        return dict(self._known["description"])

    def to(self, device: str | torch.device) -> Self:
        self.device = torch.device(device)
        return self

    def check_layers(
        self, layers: Sequence[Layer], image_size: int = 224, key: str = "difficulty.layers"
    ) -> None:
        tried = image_size == self._known["image_size"] and all(
            isinstance(layer, int) and layer in self.blocks for layer in layers
        )
        if not tried:
            self._network.check_layers(layers, image_size, key)

    @cached_property
    def _network(self) -> Backbone:
        return self._build().to(self.device)

    def features(self, images: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
        return self._network.features(images, layers)
