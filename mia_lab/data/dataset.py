"""Pairs as tensors, decoded once and kept in memory while they fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from mia_lab.data.source import Pair, PairSource
from mia_lab.data.transforms import resize
from mia_lab.seeding import derive_seed
from mia_lab.types import PairBatch

CACHE_BYTES = 2 * 2**30
"""Decoded pairs kept in memory unless told otherwise."""

Item = tuple[str, NDArray[np.uint8], NDArray[np.uint8]]


class PairDataset(Dataset[Item]):
    """Pairs of one source at one size.

    Args:
        source: where the pictures come from.
        ids: which of them, in this order.
        image_size: side of the square they are resized to, in pixels.
        cache_bytes: decoded pairs kept in memory; further ones are decoded every time.
    """

    def __init__(
        self,
        source: PairSource,
        ids: Sequence[str],
        image_size: int,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.source = source
        self.ids = tuple(ids)
        self.image_size = image_size
        self.cache_bytes = cache_bytes
        self._cache: dict[str, Item] = {}

    def subset(self, ids: Sequence[str]) -> PairDataset:
        """Some of the pairs of the same source, sharing what is decoded already."""
        other = PairDataset(self.source, ids, self.image_size, self.cache_bytes)
        other._cache = self._cache
        return other

    def load(self, image_id: str) -> Pair:
        """Decode one pair in full size, and keep its resized form."""
        pair = self.source.load(image_id)
        if len(self._cache) < self.cache_bytes // (6 * self.image_size**2):
            self._cache[image_id] = self._resized(image_id, pair)
        return pair

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Item:
        image_id = self.ids[index]
        if image_id not in self._cache:
            pair = self.load(image_id)
            if image_id not in self._cache:  # no room
                return self._resized(image_id, pair)
        return self._cache[image_id]

    def _resized(self, image_id: str, pair: Pair) -> Item:
        return image_id, resize(pair.x, self.image_size), resize(pair.y, self.image_size)

    def batches(self, batch_size: int) -> Iterator[PairBatch]:
        """All pairs in order, in batches of at most ``batch_size``."""
        for start in range(0, len(self), batch_size):
            yield collate([self[i] for i in range(start, min(start + batch_size, len(self)))])


def collate(items: Sequence[Item]) -> PairBatch:
    """Stack items of a :class:`PairDataset` into float32 NCHW tensors in [0, 1]."""
    ids, xs, ys = zip(*items, strict=True)
    x, y = (torch.from_numpy(np.stack(side)).float().div_(255) for side in (xs, ys))
    return PairBatch(tuple(ids), x, y)


def training_loader(dataset: PairDataset, batch_size: int, seed: int) -> DataLoader[Item]:
    """Batches in an order that depends on (seed, epoch) alone, so that training can resume.

    The distributed sampler is the one in PyTorch whose order is a function of the epoch.
    """
    order: DistributedSampler[Item] = DistributedSampler(
        dataset, num_replicas=1, rank=0, shuffle=True, seed=derive_seed(seed, "order")
    )
    return DataLoader(dataset, batch_size, sampler=order, collate_fn=collate)
