"""What every dataset is to the rest of the program: ids, pairs of pictures, a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mia_lab.errors import UserError


class MissingPart(UserError):
    """A dataset has no such part at all; a manifest can do without it."""


@dataclass(frozen=True)
class Pair:
    """One decoded pair: two RGB pictures of 8 bits and one aspect ratio.

    Attributes:
        x: picture of the input domain.
        y: picture of the output domain.
        instances: int32 (H, W) of x's size, an id for each object, and 0 (or one id a class)
            where there is none; None where nobody knows.
        labels: int32 (H, W) of x's size, classes in the order of ``data.palette``; None where x's
            colours tell them.
    """

    x: Image.Image
    y: Image.Image
    instances: NDArray[np.int32] | None = None
    labels: NDArray[np.int32] | None = None


class PairSource(Protocol):
    """A dataset of (input, target) pairs.

    Extend by writing a class with these three methods and naming it in ``data.sources``; see
    CONTRIBUTING.md. An optional attribute ``has_instances``, a bool, tells whether its pairs come
    with instance ids; a source without it has none. An optional method ``files(image_id)`` gives
    the paths of a pair's files, for the traces that they carry.
    """

    def ids(self, subset: str) -> Sequence[str]:
        """Sorted ids of the ``train`` or the ``test`` part.

        Raises:
            MissingPart: there is no such part.
            UserError: the part is empty or malformed.
        """
        ...

    def load(self, image_id: str) -> Pair:
        """Decode one pair.

        Raises:
            UserError: a file cannot be decoded, or is not what the layout promises.
        """
        ...

    def fingerprint(self, ids: Sequence[str]) -> str:
        """Hash of the named pairs as stored; equal exactly when their content is."""
        ...


def all_ids(source: PairSource) -> tuple[str, ...]:
    """Ids of both parts, or of the one there is."""
    train = source.ids("train")
    try:
        return (*train, *source.ids("test"))
    except MissingPart:
        return tuple(train)
