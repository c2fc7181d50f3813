"""Pairs as tensors, decoded once and kept in memory while they fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from mia_lab.data.source import PairSource
from mia_lab.data.transforms import resize
from mia_lab.types import PairBatch

CACHE_BYTES = 2 * 2**30
"""Decoded pairs kept in memory by one dataset; further ones are decoded every time."""

Item = tuple[str, NDArray[np.uint8], NDArray[np.uint8]]


class PairDataset(Dataset[Item]):
    """Pairs of one source at one size.

    Args:
        source: where the pictures come from.
        ids: which of them, in this order.
        image_size: side of the square they are resized to, in pixels.
    """

    def __init__(self, source: PairSource, ids: Sequence[str], image_size: int) -> None:
        self.source = source
        self.ids = tuple(ids)
        self.image_size = image_size
        self._cache: dict[int, Item] = {}
        self._room = CACHE_BYTES // (6 * image_size**2)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Item:
        if index in self._cache:
            return self._cache[index]
        x, y = self.source.load(self.ids[index])
        item = (self.ids[index], resize(x, self.image_size), resize(y, self.image_size))
        if len(self._cache) < self._room:
            self._cache[index] = item
        return item

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
        dataset, num_replicas=1, rank=0, shuffle=True, seed=seed
    )
    return DataLoader(dataset, batch_size, sampler=order, collate_fn=collate)
