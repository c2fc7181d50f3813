"""The files that a training writes: generators, and snapshots of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from mia_lab.store.disk import write_file

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
        input_encoding: of its inputs, see :func:`~mia_lab.victims.networks.network_range`.

    Raises:
        UserError: the disk is full.
    """
    # A single entry, because the format shuffles entries, and equal victims must be equal files.
    metadata = {"generator": json.dumps(recipe(generator, input_encoding), sort_keys=True)}
    tensors = {k: v.cpu().contiguous() for k, v in generator.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only its owner could read a file of save_file.
    write_file(path, save(tensors, metadata=metadata))
