"""Pairs as tensors, decoded once and kept in memory while they fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from mia_lab.data.encoding import LabelEncoding
from mia_lab.data.source import Pair, PairSource
from mia_lab.data.transforms import resize
from mia_lab.seeding import derive_seed
from mia_lab.types import PairBatch

CACHE_BYTES = 2 * 2**30
"""Decoded pairs kept in memory unless told otherwise."""

WORKERS = 2
"""Processes that decode pairs which do not fit."""

Item = tuple[str, NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]
"""Id, x, y and, with an encoding, the compact form of x's labels."""


class PairDataset(Dataset[Item]):
    """Pairs of one source at one size.

    Args:
        source: where the pictures come from.
        ids: which of them, in this order.
        image_size: side of the square they are resized to, in pixels.
        cache_bytes: decoded pairs kept in memory; further ones are decoded every time.
        encoding: makes labels of the inputs as well; None: pictures alone.

    Attributes:
        in_channels: of what a victim is given.
        residuals: of each input encoded so far by its id, see
            :func:`mia_lab.data.encoding.nearest_colors`.

    Raises:
        UserError: on reading a pair, a picture cannot be decoded or is no label map.
    """

    def __init__(
        self,
        source: PairSource,
        ids: Sequence[str],
        image_size: int,
        cache_bytes: int = CACHE_BYTES,
        encoding: LabelEncoding | None = None,
    ) -> None:
        self.source = source
        self.ids = tuple(ids)
        self.image_size = image_size
        self.cache_bytes = cache_bytes
        self.encoding = encoding
        self.in_channels = encoding.channels if encoding else 3
        self.residuals: dict[str, float] = {}
        self._cache: dict[str, Item] = {}

    def subset(self, ids: Sequence[str]) -> PairDataset:
        """Some of the pairs of the same source, sharing what is decoded already."""
        other = PairDataset(self.source, ids, self.image_size, self.cache_bytes, self.encoding)
        other._cache = self._cache
        other.residuals = self.residuals
        return other

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content of all pairs as stored."""
        return self.source.fingerprint(self.ids)

    def identity(self, encoded: bool = True) -> dict[str, Any]:
        """What decides the tensors of all pairs, as JSON values.

        Args:
            encoded: whether the labels of the inputs count, for what reads them.
        """
        identity: dict[str, Any] = {"images": self.fingerprint, "image_size": self.image_size}
        if encoded and self.encoding:
            identity["encoding"] = self.encoding.identity()
        return identity

    def load(self, image_id: str) -> Pair:
        """Decode one pair in full size, and keep its resized form."""
        return self._read(image_id)[0]

    def _read(self, image_id: str) -> tuple[Pair, Item]:
        pair = self.source.load(image_id)
        item = self._resized(image_id, pair)
        if len(self._cache) < self._room:
            self._cache[image_id] = item
        return pair, item

    @property
    def fits(self) -> bool:
        """Whether no pair will have to be decoded twice."""
        missing = sum(image_id not in self._cache for image_id in self.ids)
        return missing <= self._room - len(self._cache)

    def __getstate__(self) -> dict[str, Any]:
        # Another process decodes what it needs: copies of the cache would take memory for nothing.
        return {**self.__dict__, "_cache": {}, "residuals": {}}

    @property
    def _room(self) -> int:
        planes = 6 + (self.encoding.planes if self.encoding else 0)
        return self.cache_bytes // (planes * self.image_size**2)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Item:
        image_id = self.ids[index]
        kept = self._cache.get(image_id)
        return self._read(image_id)[1] if kept is None else kept

    def _resized(self, image_id: str, pair: Pair) -> Item:
        size, labels = self.image_size, None
        if self.encoding:
            labels, self.residuals[image_id] = self.encoding.encode(image_id, pair, size)
        return image_id, resize(pair.x, size), resize(pair.y, size), labels

    def batches(self, batch_size: int) -> Iterator[PairBatch]:
        """All pairs in order, in batches of at most ``batch_size``."""
        for start in range(0, len(self), batch_size):
            items = [self[i] for i in range(start, min(start + batch_size, len(self)))]
            yield collate(items, self.encoding)


def collate(items: Sequence[Item], encoding: LabelEncoding | None = None) -> PairBatch:
    """Stack items of a :class:`PairDataset` into float32 NCHW tensors in [0, 1].

    Args:
        items: at least one.
        encoding: that of the dataset.
    """
    ids, xs, ys, labels = zip(*items, strict=True)
    x, y = (torch.from_numpy(np.stack(side)).float().div_(255) for side in (xs, ys))
    encoded = encoding.expand(torch.from_numpy(np.stack(labels))) if encoding else None
    return PairBatch(tuple(ids), x, y, encoded)


def training_loader(
    dataset: PairDataset,
    batch_size: int,
    seed: int,
    workers: int | None = None,
    rank: int = 0,
    processes: int = 1,
) -> DataLoader[Item]:
    """Batches in an order that depends on (seed, epoch) alone, so that training can resume.

    Together the batches of all training processes hold the images of one process's batch. Where
    the number of images is no multiple of that of the processes, some images come twice an epoch.

    Args:
        dataset: the members.
        batch_size: images of a batch of this process.
        seed: decides the order.
        workers: processes that decode, each with a cache of its own; None: `WORKERS` where the
            pairs do not fit in memory, else none.
        rank: of this training process.
        processes: how many of them train.
    """
    # The distributed sampler is the one in PyTorch whose order is a function of the epoch.
    order: DistributedSampler[Item] = DistributedSampler(
        dataset, processes, rank, shuffle=True, seed=derive_seed(seed, "order")
    )
    if workers is None:
        workers = 0 if dataset.fits else WORKERS
    return DataLoader(
        dataset,
        batch_size,
        sampler=order,
        collate_fn=partial(collate, encoding=dataset.encoding),
        num_workers=workers,
        persistent_workers=workers > 0,
        # Threads, such as those of a lease, do not survive a fork.
        multiprocessing_context="spawn" if workers else None,
    )
