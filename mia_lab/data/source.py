"""What every dataset is to the rest of the program: ids, pairs of pictures, a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from PIL import Image


class PairSource(Protocol):
    """A dataset of (input, target) pairs.

    Extend by writing a class with these three methods and naming it in ``data.sources``; see
    CONTRIBUTING.md.
    """

    def ids(self, subset: str) -> Sequence[str]:
        """Sorted ids of the ``train`` or the ``test`` part.

        Raises:
            UserError: the part is missing, empty or malformed.
        """
        ...

    def load(self, image_id: str) -> tuple[Image.Image, Image.Image]:
        """Decode one pair: input and target, RGB, 8 bits, of one aspect ratio.

        Raises:
            UserError: a file cannot be decoded, or is not what the layout promises.
        """
        ...

    def fingerprint(self, ids: Sequence[str]) -> str:
        """Hash of the named pairs as stored; equal exactly when their content is."""
        ...
