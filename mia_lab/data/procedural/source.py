"""Generated datasets as a :class:`~mia_lab.data.source.PairSource`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from mia_lab.data.picture import Picture
from mia_lab.data.procedural import render, style_named
from mia_lab.data.source import Pair
from mia_lab.parameters import NonNegativeInt


class ProceduralPairs:
    """Pairs drawn on demand; the same style, seed and id give the same pair for ever.

    Args:
        style: see :func:`mia_lab.data.procedural.styles`.
        direction: as in the dataset that the style imitates: in facades and maps the photo is A,
            in streets the label map is.
        seed: of the whole dataset.
        n_train: how many pairs the train part has.
        n_test: how many pairs the test part has.

    Attributes:
        has_instances: whether pairs come with instance ids.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        style: str,
        direction: Literal["AtoB", "BtoA"],
        seed: NonNegativeInt,
        n_train: NonNegativeInt,
        n_test: NonNegativeInt,
    ) -> None:
        self.style = style
        self.direction = direction
        self.seed = seed
        self._recipe = style_named(style)
        self._reads_labels = direction == self._recipe.label_to_photo
        self.has_instances = self._recipe.has_instances and self._reads_labels
        self._starts = {"train": 0, "test": n_train}
        self._sizes = {"train": n_train, "test": n_test}

    def ids(self, subset: str) -> Sequence[str]:
        return tuple(f"{subset}/{i:06d}" for i in range(self._sizes[subset]))

    def load(self, image_id: str) -> Pair:
        subset, number = image_id.split("/")
        scene = render(self.style, self.seed, self._starts[subset] + int(number))
        label, photo = Picture.of(scene.input), Picture.of(scene.target)
        if self._reads_labels:
            known = scene.labels.astype(np.int32) if self._recipe.has_published_classes else None
            return Pair(label, photo, scene.instances, known)
        return Pair(photo, label)

    def fingerprint(self, ids: Sequence[str]) -> str:
        recipe = f"{self.version} {self.style} {self.direction} {self.seed} {self._starts['test']}"
        return hashlib.sha256("\n".join([recipe, *ids]).encode()).hexdigest()
