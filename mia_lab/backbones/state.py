"""What a file of weights may hold: tensors of real numbers, all of which are in the file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mia_lab.errors import one_line

LONGEST_NAME = 200
"""Characters in the name of a tensor."""

UNPACKED = 10
"""PyTorch compresses nothing but the code of programs, which is a small part of them."""


def archive_members(path: Path) -> list[str]:
    """Names of what an archive holds, after a look at every byte; none if a file is no archive.

    PyTorch takes changed bytes for weights, and a member that is too short for one that goes on
    with whatever is in memory.

    Raises:
        ValueError: the archive is damaged, or unpacks to more than `UNPACKED` times its size; the
            message continues after the file's name.
    """
    try:
        if not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            fits = size <= UNPACKED * path.stat().st_size
            damaged = archive.testzip() if fits else None
            names = archive.namelist()
    except Exception as error:  # of many types
        raise ValueError(f"is damaged ({one_line(str(error))}); copy or save it again") from error
    if not fits:
        raise ValueError(f"unpacks to {size} bytes, many more than it has; save it again")
    if damaged is not None:
        raise ValueError(
            f"is damaged ({one_line(damaged)}), or was saved without checksums "
            "(torch.serialization.set_crc32_options); copy or save it again"
        )
    return names


def check_state(state: Mapping[Any, Any], path: Path) -> None:
    """Refuse a state dict with anything else than plain tensors of real numbers.

    Args:
        state: what the file holds.
        path: path of the file, whose size bounds that of the tensors.

    Raises:
        ValueError: it holds something else, or tensors that repeat their numbers, or that are
            larger than the file; the message continues after the file's name.
    """
    for name, value in state.items():
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
            is_text = isinstance(name, str)
            kind = one_line(name) if is_text else f"something of type {type(name).__name__}"
            raise ValueError(
                f"holds {kind} where a tensor's name should be; save only the network's "
                "state_dict()"
            )
        if not isinstance(value, Tensor):
            raise ValueError(
                f"contains a {type(value).__name__} at '{name}', so it is not a state dict; save "
                "only the network's state_dict()"
            )
        if problem := _problem(value):
            raise ValueError(
                f"the tensor {name} {problem}; save the network's state_dict() on the CPU in "
                "float32"
            )
    # Tensors may share their numbers, as tied weights do.
    storages = {(s := value.untyped_storage()).data_ptr(): s.nbytes() for value in state.values()}
    size = sum(storages.values())
    if size > path.stat().st_size:
        raise ValueError(
            f"its tensors have {size} bytes, more than the file; save the network's state_dict()"
        )


def _problem(tensor: Tensor) -> str:
    """Why a tensor cannot be a weight; "" if it can."""
    if tensor.layout != torch.strided:
        return f"is sparse ({tensor.layout})"
    if tensor.is_quantized:
        return f"is quantised ({tensor.dtype})"
    if tensor.is_complex():
        return f"is complex ({tensor.dtype})"
    if tensor.device.type != "cpu":
        return f"has no values (device {tensor.device})"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "has fewer values than its shape says"
    try:
        torch.empty(1, dtype=tensor.dtype).to(torch.float32)
    except RuntimeError:
        return f"has a type that cannot be converted to float32 ({tensor.dtype})"
    return ""
