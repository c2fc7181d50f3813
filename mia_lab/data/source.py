"""The protocol of a dataset: ids, pairs of pictures, and a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mia_lab.data.picture import Picture
from mia_lab.errors import UserError


class MissingPart(UserError):
    """The dataset lacks a part; a split by manifest does not need both parts."""


@dataclass(frozen=True)
class Pair:
    """One decoded pair: two pictures of one aspect ratio.

    Attributes:
        x: picture of the input domain.
        y: picture of the output domain.
        instances: int32 (H, W) of x's size, one id per object, and 0 (or one id per class)
            outside objects; None if the dataset has no instance ids.
        labels: int32 (H, W) of x's size, classes in the order of ``data.palette``; None if the
            classes must be read from x's colours.
    """

    x: Picture
    y: Picture
    instances: NDArray[np.int32] | None = None
    labels: NDArray[np.int32] | None = None


class PairSource(Protocol):
    """A dataset of (input, target) pairs.

    To add a dataset, write a class with these three methods and name it in ``data.sources``; see
    docs/extend.md. The optional attribute ``has_instances``, a bool, states whether the pairs have
    instance ids; the default is False. The optional method ``files(image_id)`` returns the paths of
    a pair's files, from which :mod:`mia_lab.data.traces` reads metadata. The optional method
    ``read_file(path)`` returns the content of such a file, and raises a :class:`UserError` if it is
    not the content that the fingerprint is of; :class:`mia_lab.store.Contents` does both.
    """

    def ids(self, subset: str) -> Sequence[str]:
        """Sorted ids of the ``train`` or the ``test`` part.

        Raises:
            MissingPart: the dataset has no such part.
            UserError: the part is empty or malformed.
        """
        ...

    def load(self, image_id: str) -> Pair:
        """Decode one pair.

        Raises:
            UserError: a file cannot be decoded or does not match the layout.
        """
        ...

    def fingerprint(self, ids: Sequence[str]) -> str:
        """Hash of the named pairs as stored; two hashes are equal if and only if the content is."""
        ...


def all_ids(source: PairSource) -> tuple[str, ...]:
    """Ids of both parts, or of the train part if there is no test part."""
    train = source.ids("train")
    try:
        return (*train, *source.ids("test"))
    except MissingPart:
        return tuple(train)
