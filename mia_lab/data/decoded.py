"""Decoded and resized pairs in a temporary file: each is decoded once, and none takes memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from threading import RLock
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Side = NDArray[np.uint8] | NDArray[np.float32]
"""A resized picture (C, H, W): levels of 8 bits, or float32 in [0, 1]."""

Item = tuple[str, Side, Side, NDArray[np.uint8] | None]
"""Id, x, y, and the compact form of x's labels (None without an encoding)."""

FREE_SHARE = 0.5
"""Largest share of the free disk that the file takes."""


class DecodedPairs:
    """Pairs of one source at one size; safe for threads, and empty in another process.

    Args:
        limit: most bytes of the temporary file; pairs beyond it are not kept.

    Attributes:
        first: the first pair that was seen, which the others have to be like.
        lock: held while a file without room for threads is read.
    """

    def __init__(self, limit: int) -> None:
        self.first: Item | None = None
        self.lock = RLock()
        self._limit = limit
        self._file: IO[bytes] | None = None
        self._places: dict[str, int] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _renewed, (self._limit, self.first)

    def compared(self, item: Item) -> Item:
        """The pair that another has to be like: the first, which may be this one."""
        with self.lock:
            if self.first is None:
                self.first = item
            return self.first

    def has_room(self, like: Item, ids: Sequence[str]) -> bool:
        """Whether all of some pairs can be kept, those that already are included.

        Args:
            like: one of them; all have its size.
            ids: of the pairs.
        """
        missing = sum(image_id not in self._places for image_id in ids)
        return (len(self._places) + missing) * _size(like) <= self._limit

    def keep(self, item: Item) -> None:
        """Keep a pair, if there is room, it is not there yet, and its numbers are of one type."""
        content = b"".join(array.tobytes() for array in _arrays(item))
        with self.lock:
            is_like = _types(item) == _types(self.compared(item))
            place = len(self._places) * len(content)
            if not is_like or item[0] in self._places or place + len(content) > self._limit:
                return
            if self._file is None:
                self._file = self._opened()
            try:
                written = os.pwrite(self._file.fileno(), content, place)
            except OSError:
                written = 0
            if written == len(content):
                self._places[item[0]] = place
            else:  # the disk is full: the others are decoded at every read
                self._limit = place

    def get(self, image_id: str) -> Item | None:
        """A pair, if it was kept; its arrays are read-only."""
        place = self._places.get(image_id)
        if place is None or self._file is None or self.first is None:
            return None
        content = os.pread(self._file.fileno(), _size(self.first), place)
        arrays, start = [], 0
        for like in _arrays(self.first):
            part = np.frombuffer(content, like.dtype, like.size, start)
            arrays.append(part.reshape(like.shape))
            start += like.nbytes
        x, y, *labels = arrays
        return image_id, x, y, labels[0] if labels else None

    def _opened(self) -> IO[bytes]:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        self._limit = min(self._limit, int(free * FREE_SHARE))
        # It has no name: the system removes it with the process, however that ends.
        return tempfile.TemporaryFile(prefix="mia_lab-")

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()


def _renewed(limit: int, first: Item | None) -> DecodedPairs:
    """The same without the pairs."""
    pairs = DecodedPairs(limit)
    pairs.first = first
    return pairs


def _arrays(item: Item) -> list[NDArray[Any]]:
    _, x, y, labels = item
    return [x, y, *([] if labels is None else [labels])]


def _types(item: Item) -> list[tuple[Any, ...]]:
    return [(array.dtype, array.shape) for array in _arrays(item)]


def _size(item: Item) -> int:
    return sum(array.nbytes for array in _arrays(item))
