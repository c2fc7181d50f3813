"""What a file of weights may hold: tensors of real numbers, all of which are in the file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LONGEST_NAME = 200
"""Characters in the name of a tensor."""


def check_archive(path: Path) -> None:
    """Refuse a file that takes more memory when it is read than it has bytes.

    PyTorch writes archives without compression, but reads others, too.

    Raises:
        ValueError: it is such an archive, or a damaged one; the message continues after the file's
            name.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except Exception as error:  # of many types
        raise ValueError(f"cannot be read ({shown(str(error))}); copy it again") from error
    if size > path.stat().st_size:
        raise ValueError(f"unpacks to {size} bytes, more than it has; save it with torch.save")


def check_state(state: Mapping[Any, Any], path: Path) -> None:
    """Refuse a state dict with anything else than plain tensors of real numbers.

    Args:
        state: what the file holds.
        path: path of the file, whose size bounds that of the tensors.

    Raises:
        ValueError: it holds something else, or tensors that repeat few numbers; the message
            continues after the file's name.
    """
    for name, value in state.items():
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
            raise ValueError(
                f"holds {shown(name)} where a tensor's name should be; save only the network's "
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
    size = sum(value.numel() * value.element_size() for value in state.values())
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
        return f"has no numbers (device {tensor.device})"
    try:
        torch.empty(1, dtype=tensor.dtype).to(torch.float32)
    except RuntimeError:
        return f"holds no numbers that PyTorch converts ({tensor.dtype})"
    return ""


def shown(found: object, longest: int = LONGEST_NAME) -> str:
    """A text as one line of limited length; of another object its type."""
    if not isinstance(found, str):
        return f"a {type(found).__name__}"
    line = " ".join(found.split()).encode("unicode_escape").decode()
    return line if len(line) <= longest else f"{line[:longest]}..."
