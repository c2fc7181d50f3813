"""Compact factors on disk: one file per layer, written and read batch by batch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from mia_lab.difficulty.score import FactorBatch
from mia_lab.store import ArrayFile
from mia_lab.types import Layer

INDEX = "index.json"
TARGET = "target.npy"


def save_factors(folder: Path, batches: Iterable[FactorBatch], n_images: int) -> None:
    """Write factors to a folder, with one batch in memory at a time.

    Args:
        folder: an existing, empty folder.
        batches: at least one batch; all of the same layers and sizes.
        n_images: number of images in all batches together.

    Raises:
        ValueError: the batches do not hold ``n_images`` images.
    """
    ids: list[str] = []
    files: dict[str, ArrayFile] = {}
    layers: tuple[Layer, ...] = ()
    with ExitStack() as stack:
        for batch in batches:
            layers = tuple(batch.factors)
            arrays = {_file(k): t for k, t in enumerate(batch.factors.values())}
            arrays[TARGET] = batch.target
            for name, tensor in arrays.items():
                if name not in files:
                    files[name] = stack.enter_context(ArrayFile(folder / name, n_images))
                files[name].append(tensor.cpu().numpy())
            ids.extend(batch.ids)
    (folder / INDEX).write_text(json.dumps({"ids": ids, "layers": layers}))


def load_factors(folder: Path, layers: Sequence[Layer], batch_size: int) -> Iterator[FactorBatch]:
    """Read the factors of some layers, batch by batch.

    Args:
        folder: a folder written by :func:`save_factors`.
        layers: the layers to read.
        batch_size: images per batch.

    Raises:
        ValueError: a layer is not stored.
    """
    index = json.loads((folder / INDEX).read_text())
    ids, stored = index["ids"], index["layers"]
    names = {layer: _file(stored.index(layer)) for layer in layers}
    with ExitStack() as stack:
        # Open files stay readable after the removal of the folder, and unlike the pages of memory
        # maps they do not count as memory of this process.
        readers = {
            name: _reader(stack.enter_context((folder / name).open("rb")))
            for name in (*names.values(), TARGET)
        }
        for start in range(0, len(ids), batch_size):
            batch = tuple(ids[start : start + batch_size])
            read = {name: reader(len(batch)) for name, reader in readers.items()}
            factors = {layer: read[name] for layer, name in names.items()}
            yield FactorBatch(batch, factors, read[TARGET])


def _file(number: int) -> str:
    return f"layer-{number}.npy"


def _reader(file: BinaryIO) -> Callable[[int], torch.Tensor]:
    """A function that reads the next n rows of an array from its file."""
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    size = math.prod(shape[1:])
    return lambda n: torch.from_numpy(np.fromfile(file, dtype, n * size).reshape(n, *shape[1:]))
