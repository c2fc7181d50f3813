"""The files that a training leaves: generators, snapshots of them, and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from safetensors.torch import save
from torch import Tensor, nn

from mia_lab.store.disk import whole_file


def recipe(generator: nn.Module, input_encoding: str) -> dict[str, Any]:
    """What builds a generator again: its class, its arguments, and what it is given."""
    return {
        "architecture": type(generator).__name__,
        "arguments": getattr(generator, "arguments", {}),
        "input_encoding": input_encoding,
    }


def export(generator: nn.Module, path: Path, input_encoding: str = "rgb") -> None:
    """Save a generator as safetensors, with the name and arguments that build it again.

    Args:
        generator: one of :mod:`mia_lab.victims.networks`.
        path: the file; it appears complete or not at all.
        input_encoding: what it is given, ``rgb`` or ``one_hot``.

    Raises:
        UserError: the disk is full.
    """
    # One entry only: the file format shuffles them, and equal victims shall be equal files.
    metadata = {"generator": json.dumps(recipe(generator, input_encoding), sort_keys=True)}
    tensors = {k: v.cpu().contiguous() for k, v in generator.state_dict().items()}
    content = save(tensors, metadata=metadata)  # save_file would make it private to us
    with whole_file(path, len(content)) as file:
        file.write(content)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that appear complete or not at all, and say how to build the generator.

    Args:
        generator: a :func:`recipe`, kept under that name beside Lightning's own entries.
    """

    def __init__(self, generator: Mapping[str, Any]) -> None:
        self._generator = dict(generator)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with whole_file(Path(path), _bytes(checkpoint)) as file:
            torch.save({**checkpoint, "generator": self._generator}, file)


def _bytes(node: Any) -> int:
    """Size of all tensors in nested containers."""
    if isinstance(node, Tensor):
        return node.nbytes
    if isinstance(node, Mapping):
        return sum(map(_bytes, node.values()))
    return sum(map(_bytes, node)) if isinstance(node, list | tuple) else 0
