"""Template of a dataset that no folder layout describes: copy it, rename it, and fill it in.

Pictures in folders need no code, see `data=custom` in docs/guides/own_data.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image, ImageDraw

from mia_lab.data.picture import Picture
from mia_lab.data.source import Pair


class MyPairs:
    """Coloured discs: the input shows their places, the target also their colours.

    Each argument of the constructor is a key of ``conf/data/my_dataset.yaml``, below
    ``sources.mine``.
    """

    def __init__(self, n: int) -> None:
        self.n = n

    def ids(self, subset: str) -> Sequence[str]:
        """Sorted ids of the "train" or the "test" part; raises UserError if the part is empty."""
        return tuple(f"{subset}/{i:04d}" for i in range(self.n))

    def load(self, image_id: str) -> Pair:
        """One pair, input and target: of one aspect ratio, any size, any number of channels."""
        noise = hashlib.sha256(image_id.encode()).digest()
        x, y = (Image.new("RGB", (64, 64), "white") for _ in range(2))
        for k in range(4):
            left, top = noise[2 * k] % 48, noise[2 * k + 1] % 48
            box = (left, top, left + 16, top + 16)
            ImageDraw.Draw(x).ellipse(box, fill="black")
            ImageDraw.Draw(y).ellipse(box, fill=(noise[8 + k], noise[12 + k], noise[16 + k]))
        return Pair(Picture.of(x), Picture.of(y))

    def fingerprint(self, ids: Sequence[str]) -> str:
        """A hash that changes with the content of these pairs: keys of stored results contain it.

        For files, hash their content; for generated data, as here, hash a version and the ids.
        """
        return hashlib.sha256("\n".join(["my dataset, version 1", *ids]).encode()).hexdigest()
