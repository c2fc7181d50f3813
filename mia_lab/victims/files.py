"""The files that a training writes: generators, snapshots of them, and checkpoints."""

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

GENERATOR_FILE = "victim.safetensors"
CHECKPOINT_FILE = "victim.ckpt"
LOSSES_FILE = "losses.csv"


def snapshot_file(epoch: int) -> str:
    """Path of the generator after an epoch (from 1), relative to the victim's folder."""
    return f"epochs/{epoch:04d}.safetensors"


def recipe(generator: nn.Module, input_encoding: str) -> dict[str, Any]:
    """The settings that rebuild a generator: its class, its arguments, and the input encoding."""
    return {
        "architecture": type(generator).__name__,
        "arguments": getattr(generator, "arguments", {}),
        "input_encoding": input_encoding,
    }


def export(generator: nn.Module, path: Path, input_encoding: str = "rgb") -> None:
    """Save a generator as safetensors, with the recipe that rebuilds it.

    Args:
        generator: a network of :mod:`mia_lab.victims.networks`.
        path: path of the file, which is written atomically.
        input_encoding: encoding of its inputs, ``rgb`` or ``one_hot``.

    Raises:
        UserError: the disk is full.
    """
    # A single entry, because the format shuffles entries, and equal victims must be equal files.
    metadata = {"generator": json.dumps(recipe(generator, input_encoding), sort_keys=True)}
    tensors = {k: v.cpu().contiguous() for k, v in generator.state_dict().items()}
    content = save(tensors, metadata=metadata)  # only its owner could read a file of save_file
    with whole_file(path, len(content)) as file:
        file.write(content)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints atomically, with the recipe that rebuilds the generator.

    Args:
        generator: a :func:`recipe`, stored as ``generator`` beside Lightning's own entries.
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
