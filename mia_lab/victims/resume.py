"""The checkpoints that an interrupted training resumes from."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from mia_lab.store import file_sha256
from mia_lab.store.disk import whole_file, write_file

LAST, PREVIOUS, CHECKSUMS = "last.ckpt", "previous.ckpt", "sha256"
"""Files of the folder that an interrupted training resumes from."""

KEPT_CHECKSUMS = 60
"""Checksums kept beside a new one: more than saves that may fail one after another."""

log = logging.getLogger(__name__)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints atomically, with the recipe that rebuilds the generator.

    Beside the checkpoint to resume from it keeps the one before, and a file of checksums of both;
    see :func:`intact_checkpoint`.

    Args:
        generator: a :func:`~mia_lab.victims.files.recipe`, stored as ``generator`` beside the
            entries of Lightning.
    """

    def __init__(self, generator: Mapping[str, Any]) -> None:
        self._generator = dict(generator)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, _bytes(checkpoint)) as file:
            torch.save({**checkpoint, "generator": self._generator}, file)
            if path.name == LAST:
                file.flush()
                os.fsync(file.fileno())
                _keep_previous(path, file_sha256(Path(file.name)))


def _keep_previous(last: Path, new_sha256: str) -> None:
    """Make room for a new last checkpoint, whose checksum is known first.

    Wherever this is interrupted, each checkpoint in the folder has its checksum in the list.
    """
    listed = [*_checksums(last.parent)[-KEPT_CHECKSUMS:], new_sha256]
    write_file(last.with_name(CHECKSUMS), "".join(f"{digest}\n" for digest in listed))
    if last.exists():
        last.replace(last.with_name(PREVIOUS))


def _checksums(folder: Path) -> list[str]:
    try:
        return (folder / CHECKSUMS).read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []


def intact_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of an interrupted training whose checksum holds; None if none does.

    A damaged one would train another victim, which no later check could find. It is renamed to
    ``*.damaged``, and a warning says so.

    Args:
        folder: holds the checkpoints; may be missing.
    """
    listed, damaged = _checksums(folder), False
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            if file_sha256(path) in listed:
                return path
            reason = "its checksum does not match"
        except FileNotFoundError:
            continue
        except OSError as error:  # such as of a broken disk
            reason = str(error.strerror)
        damaged = True
        log.warning("%s: damaged, %s; it is not used", path, reason)
        path.replace(path.with_name(f"{path.name}.damaged"))
    if damaged:
        log.warning("no checkpoint is intact, so the training starts again")
    return None


def _bytes(node: Any) -> int:
    """Size of all tensors in nested containers."""
    if isinstance(node, Tensor):
        return node.nbytes
    if isinstance(node, Mapping):
        return sum(map(_bytes, node.values()))
    return sum(map(_bytes, node)) if isinstance(node, list | tuple) else 0
