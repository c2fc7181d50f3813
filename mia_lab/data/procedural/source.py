"""Generated datasets behind the interface of stored ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image

from mia_lab.data.procedural import render
from mia_lab.errors import UserError

CODE_VERSION = 1
"""Raised by hand whenever the generators draw other pictures."""


class ProceduralPairs:
    """Pairs drawn on demand; the same style, seed and id give the same pair for ever.

    Args:
        style: see :data:`mia_lab.data.procedural.STYLES`.
        seed: of the whole dataset.
        n_train, n_test: how many ids the two parts have.
    """

    def __init__(self, style: str, seed: int, n_train: int, n_test: int) -> None:
        if min(n_train, n_test) < 0:
            raise UserError(
                f"data.sources.procedural: n_train={n_train}, n_test={n_test}; "
                "neither may be negative"
            )
        self.style = style
        self.seed = seed
        self._starts = {"train": 0, "test": n_train}
        self._sizes = {"train": n_train, "test": n_test}

    def ids(self, subset: str) -> Sequence[str]:
        return tuple(f"{subset}/{i:06d}" for i in range(self._sizes[subset]))

    def load(self, image_id: str) -> tuple[Image.Image, Image.Image]:
        subset, number = image_id.split("/")
        scene = render(self.style, self.seed, self._starts[subset] + int(number))
        return Image.fromarray(scene.input), Image.fromarray(scene.target)

    def fingerprint(self, ids: Sequence[str]) -> str:
        recipe = f"{CODE_VERSION} {self.style} {self.seed} {self._starts['test']}"
        return hashlib.sha256("\n".join([recipe, *ids]).encode()).hexdigest()
