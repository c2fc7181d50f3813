"""What the stages of the single-image difficulty share: backbone, probe and their settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

from mia_lab.backbones.backbone import Backbone
from mia_lab.config.component import Component
from mia_lab.data.dataset import PairDataset
from mia_lab.difficulty.features import check_channels
from mia_lab.difficulty.single_image import SingleImageDifficulty
from mia_lab.errors import UserError
from mia_lab.hardware import torch_device
from mia_lab.store import canonical_json
from mia_lab.store.software import version
from mia_lab.types import PairBatch

OPEN_BACKBONES = 8
"""Networks that one process keeps; a sweep uses the same ones at every point."""

_settings: dict[str, Component] = {}


def open_backbone(component: Component, accelerator: str) -> Backbone:
    """The network that a component describes, built once in each process.

    Raises:
        UserError: there is no such network, or its weights cannot be had.
    """
    key = canonical_json(component.fingerprint())
    _settings[key] = component
    return _backbone(key).to(torch_device(accelerator))


@lru_cache(OPEN_BACKBONES)
def _backbone(key: str) -> Backbone:
    component = _settings[key]
    try:
        return cast(Backbone, component.build())
    except UserError as error:
        if component.key == "backbone":
            raise
        raise UserError(f"{component.key}, {component.arguments['name']}: {error}") from error


def backbone_inputs(component: Component) -> dict[str, Any]:
    """What decides the features of a network, as JSON values."""
    return {"backbone": component.fingerprint(), "timm": version("timm")}


@dataclass(frozen=True)
class Probe:
    """A configured single-image difficulty.

    Attributes:
        component: the difficulty; its argument ``grid`` lists further ``layers`` and ``ridge``.
        backbone: the network whose features it reads.
        accelerator: where network and probe run.
    """

    component: Component
    backbone: Component
    accelerator: str

    @cached_property
    def scorer(self) -> SingleImageDifficulty:
        """The estimator.

        Raises:
            UserError: a setting or a layer is wrong, or the network cannot be had.
        """
        score = self.component.build(
            backbone=open_backbone(self.backbone, self.accelerator),
            device=torch_device(self.accelerator),
        )
        if not hasattr(score, "factors"):
            raise UserError(
                f"difficulty._target_={self.component.target}: is no difficulty; give it a method "
                "score_images(batch), or derive it from "
                "mia_lab.difficulty.single_image.SingleImageDifficulty"
            )
        return cast(SingleImageDifficulty, score)

    def check(self, images: PairDataset) -> None:
        """Refuse what cannot be scored, before anything is computed.

        Raises:
            UserError: a setting or a layer is wrong, the network cannot be had, or the images have
                channels that ``preprocess`` does not take.
        """
        scorer = self.scorer
        if scorer.preprocess == "official":
            of_input = [images.x_channels] if scorer.features_from == "input" else []
            check_channels(scorer.preprocess, *of_input, images.out_channels)

    def pairs(self, images: PairDataset) -> Iterator[PairBatch]:
        """The images, in the size and the batches that the estimator takes."""
        scorer = self.scorer
        if scorer.preprocess == "official":
            return images.full_size()
        return images.batches(scorer.batch_size)

    def feature_inputs(self) -> dict[str, Any]:
        """What decides the features that are stored; JSON values.

        All numbered blocks of a network are stored together, whichever of them are used, so that
        the stored features serve every choice of blocks.
        """
        fingerprint = self.component.fingerprint()
        arguments = fingerprint.pop("arguments")
        subsets = [arguments["layers"], *(arguments["grid"] or {}).get("layers", ())]
        layers = dict.fromkeys(layer for subset in subsets for layer in subset)
        return {
            "difficulty": fingerprint,  # class and version
            **{k: arguments[k] for k in ("features_from", "preprocess", "grid_size")},
            "all blocks": any(isinstance(layer, int) for layer in layers),
            "modules": [layer for layer in layers if isinstance(layer, str)],
            **backbone_inputs(self.backbone),
        }

    def score_inputs(self) -> dict[str, Any]:
        """What decides the scores of given features, apart from the seed; JSON values."""
        return {"difficulty": self.component.fingerprint(), **backbone_inputs(self.backbone)}
