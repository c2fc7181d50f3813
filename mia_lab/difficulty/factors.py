"""Compact factors on disk: one file a layer, written as they come, read as they are needed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from mia_lab.difficulty.score import FactorBatch
from mia_lab.types import Layer

INDEX = "index.json"
TARGET = "target.npy"


def save_factors(folder: Path, batches: Iterable[FactorBatch], n_images: int) -> None:
    """Write factors to a folder, holding one batch at a time.

    Args:
        folder: an existing, empty folder.
        batches: at least one; of the same layers and sizes.
        n_images: images in all batches together.
    """
    ids: list[str] = []
    files: dict[str, Any] = {}
    layers: tuple[Layer, ...] = ()
    with ExitStack() as stack:
        for batch in batches:
            layers = tuple(batch.factors)
            arrays = {_file(k): t for k, t in enumerate(batch.factors.values())}
            arrays[TARGET] = batch.target
            for name, tensor in arrays.items():
                array = tensor.cpu().contiguous().numpy()
                if name not in files:
                    files[name] = stack.enter_context((folder / name).open("wb"))
                    _write_header(files[name], array, n_images)
                # Not through a memory map, whose pages would count as this process's memory.
                array.tofile(files[name])
            ids.extend(batch.ids)
    if len(ids) != n_images:
        raise ValueError(f"{len(ids)} images came, {n_images} were announced")
    (folder / INDEX).write_text(json.dumps({"ids": ids, "layers": layers}))


def load_factors(folder: Path, layers: Sequence[Layer], batch_size: int) -> Iterator[FactorBatch]:
    """Read factors back, a batch at a time and of the wanted layers only.

    Args:
        folder: what :func:`save_factors` has filled.
        layers: some of the layers stored.
        batch_size: images a batch.

    Raises:
        ValueError: a layer is not stored.
    """
    index = json.loads((folder / INDEX).read_text())
    ids, stored = index["ids"], index["layers"]
    names = {layer: _file(stored.index(layer)) for layer in layers}
    with ExitStack() as stack:
        # Open for as long as they are read: they outlive the folder's removal, and unlike memory
        # maps they do not count as this process's memory.
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


def _write_header(file: Any, first: NDArray[Any], n_images: int) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": (n_images, *first.shape[1:]),
    }
    np.lib.format.write_array_header_2_0(file, header)


def _reader(file: BinaryIO) -> Callable[[int], torch.Tensor]:
    """Reads an array from its file, the next so many rows at a time."""
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    size = math.prod(shape[1:])
    return lambda n: torch.from_numpy(np.fromfile(file, dtype, n * size).reshape(n, *shape[1:]))
