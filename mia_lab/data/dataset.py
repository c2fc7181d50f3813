"""Pairs as tensors, decoded once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from mia_lab.data.decoded import DecodedPairs, Item
from mia_lab.data.encoding import LabelEncoding
from mia_lab.data.picture import Picture
from mia_lab.data.source import Pair, PairSource
from mia_lab.data.transforms import ResizeMode, Resizing, in_unit
from mia_lab.errors import UserError
from mia_lab.hardware import in_order
from mia_lab.seeding import derive_seed
from mia_lab.store import sha256_of
from mia_lab.store.content import file_state, is_foreign, source_sha256
from mia_lab.types import PairBatch

CACHE_BYTES = 2**33
"""Default size of the cache of decoded pairs, in bytes of a temporary file."""

WORKERS = 2
"""Default number of decoding processes of a training if the pairs do not fit in the cache."""

FileStates = tuple[tuple[int, ...], ...]
"""What changes with every write to some files."""


class PairDataset(Dataset[Item]):
    """Pairs of one source at one size.

    Args:
        source: the dataset to read from.
        ids: ids of the pairs, in the order of the dataset.
        image_size: size of the resized pictures in pixels: one side, or [width, height].
        cache_bytes: size of the cache of decoded pairs; pairs beyond it are decoded at every read.
            It is a temporary file, so that it takes no memory.
        encoding: encodes the inputs as labels; None returns the pictures only.
        resize: how other aspect ratios are resized, see :class:`Resizing`.
        prompts: the prompt of each id that has one, for victims that take one.

    Attributes:
        residuals: residual of each input encoded so far, by id; see
            :func:`mia_lab.data.encoding.nearest_colors`.

    Raises:
        UserError: while reading a pair, a picture cannot be decoded, is not a label map, or has
            other channels than that of the first pair.
    """

    def __init__(
        self,
        source: PairSource,
        ids: Sequence[str],
        image_size: int | Sequence[int],
        cache_bytes: int = CACHE_BYTES,
        encoding: LabelEncoding | None = None,
        resize: ResizeMode = "squash",
        prompts: Mapping[str, str] | None = None,
    ) -> None:
        self.source = source
        self.ids = tuple(ids)
        self.image_size = image_size
        self.cache_bytes = cache_bytes
        self.encoding = encoding
        self.resizing = Resizing.of(image_size, resize)
        self.prompts = dict(prompts or {})
        self.residuals: dict[str, float] = {}
        self._decoded = DecodedPairs(cache_bytes)
        self._fingerprint: tuple[FileStates, str] | None = None

    def subset(self, ids: Sequence[str]) -> PairDataset:
        """A dataset of some pairs of the same source; both datasets share one cache."""
        other = PairDataset(
            self.source,
            ids,
            self.image_size,
            self.cache_bytes,
            self.encoding,
            self.resizing.mode,
            self.prompts,
        )
        other.residuals, other._decoded = self.residuals, self._decoded
        return other

    def spread(self, most: int) -> PairDataset:
        """At most so many pairs, evenly spread over the dataset."""
        rows = np.unique(np.linspace(0, len(self) - 1, most).round().astype(int))
        return self.subset([self.ids[row] for row in rows])

    @property
    def in_channels(self) -> int:
        """Number of channels of the victim's input."""
        return self.encoding.channels if self.encoding else self.x_channels

    @property
    def x_channels(self) -> int:
        """Number of channels of the input pictures."""
        return len(self._first[1])

    @property
    def out_channels(self) -> int:
        """Number of channels of the targets."""
        return len(self._first[2])

    @property
    def _first(self) -> Item:
        """The first pair that was read, which the others have to be like."""
        if self._decoded.first is None:
            self._read(self.ids[0])
        assert self._decoded.first is not None
        return self._decoded.first

    @property
    def fingerprint(self) -> str:
        """Hash of the content of all pairs as stored.

        It is taken once. If the source does not check the files that it decodes (it has no method
        ``read_file``), it is taken again after one of them has changed.
        """
        states = self._file_states()
        if self._fingerprint is None or self._fingerprint[0] != states:
            self._fingerprint = states, self.source.fingerprint(self.ids)
        return self._fingerprint[1]

    def _file_states(self) -> FileStates:
        if hasattr(self.source, "read_file"):
            return ()
        return tuple(file_state(path) for image_id in self.ids for path in self.files(image_id))

    def files(self, image_id: str) -> Sequence[Path]:
        """The files of one pair; none if the source does not say."""
        files: Callable[[str], Sequence[Path]] = getattr(self.source, "files", lambda _: ())
        return files(image_id)

    def read_file(self, path: Path) -> bytes:
        """The content of a pair's file; if the source checks it, the one that was fingerprinted."""
        read: Callable[[Path], bytes] = getattr(self.source, "read_file", Path.read_bytes)
        return read(path)

    def identity(self, encoded: bool = True, prompted: bool = False) -> dict[str, Any]:
        """What decides the tensors of all pairs, as JSON values.

        Args:
            encoded: whether the labels count that victims are given, beside the pictures.
            prompted: whether the prompts count, for the answers of a victim that takes them.
        """
        identity: dict[str, Any] = {"images": self.fingerprint, "image_size": self.image_size}
        if self.resizing.mode != "squash":
            identity["resize"] = self.resizing.mode
        kind = type(self.source)
        is_ours = not is_foreign(kind)
        identity["source"] = getattr(kind, "version", 1) if is_ours else source_sha256(kind)
        if encoded and self.encoding:
            identity["encoding"] = self.encoding.identity()
        if prompted and self.prompts:
            identity["prompts"] = sha256_of([self.prompts.get(i, "") for i in self.ids])
        return identity

    def load(self, image_id: str) -> Pair:
        """Decode one pair at full size, and cache its resized form."""
        return self._read(image_id)[0]

    def _read(self, image_id: str) -> tuple[Pair, Item]:
        pair = self._load(image_id)
        if not (isinstance(pair.x, Picture) and isinstance(pair.y, Picture)):
            raise UserError(
                f"{type(self.source).__name__}.load: the pictures of {image_id} must be of the "
                "class mia_lab.data.picture.Picture; wrap those of Pillow in Picture.of()"
            )
        item = self._resized(image_id, pair)
        self._decoded.keep(item)
        return pair, item

    def _load(self, image_id: str) -> Pair:
        if not is_foreign(type(self.source)):
            return self.source.load(image_id)
        with self._decoded.lock:  # a class of a user's need not be safe for threads
            return self.source.load(image_id)

    @property
    def fits(self) -> bool:
        """Whether the cache has room for all pairs, so that each is decoded once."""
        return self._decoded.has_room(self._first, self.ids)

    def __getstate__(self) -> dict[str, Any]:
        # Each process keeps what it decodes.
        return {**self.__dict__, "residuals": {}}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Item:
        image_id = self.ids[index]
        cached = self._decoded.get(image_id)
        return self._read(image_id)[1] if cached is None else cached

    def _resized(self, image_id: str, pair: Pair) -> Item:
        labels = None
        if self.encoding:
            encoded = self.encoding.encode(image_id, pair, self.resizing.sample)
            labels, self.residuals[image_id] = encoded
        item = image_id, self.resizing(pair.x), self.resizing(pair.y), labels
        _check_channels(item, self._decoded.compared(item))
        return item

    def batches(self, batch_size: int) -> Iterator[PairBatch]:
        """All pairs in order, in batches of at most ``batch_size``; threads decode some ahead."""
        self._first  # noqa: B018 the others are compared with this one, whatever thread reads first

        def batch(start: int) -> PairBatch:
            rows = range(start, min(start + batch_size, len(self)))
            found = collate([self[row] for row in rows], self.encoding)
            if not self.prompts:
                return found
            return replace(found, prompts=tuple(self.prompts.get(i, "") for i in found.ids))

        return in_order(batch, range(0, len(self), batch_size))

    def full_size(self) -> Iterator[PairBatch]:
        """All pairs in order, one by one, as they are stored; without encoded labels."""

        def batch(image_id: str) -> PairBatch:
            pair = self._load(image_id)
            x, y = (torch.from_numpy(side.unit())[None] for side in (pair.x, pair.y))
            return PairBatch((image_id,), x, y)

        return in_order(batch, self.ids)


def _check_channels(item: Item, first: Item) -> None:
    sides = ("input", "data.input_channels"), ("target", "data.target_channels")
    for (name, key), found, expected in zip(sides, item[1:3], first[1:3], strict=True):
        if len(found) != len(expected):
            raise UserError(
                f"{item[0]}: its {name} has {len(found)} channels, that of {first[0]} has "
                f"{len(expected)}; set {key}=3 or 1 to read grey and RGB alike, or convert them"
            )


def collate(items: Sequence[Item], encoding: LabelEncoding | None = None) -> PairBatch:
    """Stack items of a :class:`PairDataset` into float32 NCHW tensors in [0, 1].

    Args:
        items: at least one item.
        encoding: the encoding of the dataset.
    """
    ids, xs, ys, labels = zip(*items, strict=True)
    x, y = in_unit(xs), in_unit(ys)
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
    """Batches in an order that depends only on (seed, epoch), so that training can resume.

    The batches of all training processes together hold the same images as the batch of a single
    process. If the number of images is not a multiple of the number of processes, some images
    appear twice in an epoch.

    Args:
        dataset: the members.
        batch_size: images per batch of this process.
        seed: seed of the order.
        workers: number of decoding processes, each with its own cache; None means `WORKERS` if the
            pairs do not fit in the cache, else 0.
        rank: rank of this training process.
        processes: number of training processes.
    """
    # DistributedSampler is the only sampler in PyTorch whose order is a function of the epoch.
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
        # Threads, such as the one that renews a lease of the store, do not survive a fork.
        multiprocessing_context="spawn" if workers else None,
    )
