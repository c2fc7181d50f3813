"""The files that hold tensors of an ONNX model, besides its own file."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mia_lab.errors import UserError
from mia_lab.store.content import file_state

Reference = tuple[str, str, str]
"""Location, offset and length, as the model states them; "" where it does not."""


def library(name: str) -> Any:
    """The module onnx or onnxruntime.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"victim=onnx: {error.name} is not installed; pip install 'mia_lab[onnx]'"
        ) from error


def external_files(model: Path) -> dict[str, Path]:
    """The files that hold tensors of a model, by their names relative to its folder.

    It counts every tensor that the file of the model mentions: dense and sparse, in graphs, in
    attributes of nodes, in the branches of control flow, and in functions.

    Raises:
        UserError: the model cannot be read, or a file is outside of the model's folder, is missing,
            or is shorter than the model says.
    """
    key = f"victim.checkpoint={model}"
    if not model.is_file():
        raise UserError(f"{key}: no such file")
    files: dict[str, Path] = {}
    for location, offset, length in _references(model, file_state(model)):
        name = Path(location)
        file = model.parent / name
        # onnxruntime takes some names with an asterisk for addresses in memory.
        is_plain = not (name.is_absolute() or ".." in name.parts or set("*\0") & set(location))
        if not is_plain or not file.resolve().is_relative_to(model.parent.resolve()):
            raise UserError(
                f"{key}: keeps weights in '{location}', outside of its own folder; copy the file "
                "beside the model and save the model with its name (onnx.save with location=)"
            )
        if not file.is_file():
            raise UserError(
                f"{key}: keeps weights in {file}, which is no file; copy it there, beside the model"
            )
        try:
            start, size = (int(text or 0) for text in (offset, length))
        except ValueError:
            start = size = -1
        if start < 0 or size < 0 or start + size > file.stat().st_size:
            raise UserError(
                f"{key}: keeps weights at offset {offset or 0} with length {length or 0} of {file},"
                f" which has {file.stat().st_size} bytes; copy both files again"
            )
        files[str(name)] = file
    return files


@contextmanager
def loadable(model: Path) -> Iterator[Path]:
    """A model as onnxruntime may load it: a private copy, if it keeps tensors in other files.

    onnxruntime maps these files into memory. A later write to one would change the answers without
    a word, or end the process. The copy may be deleted once the model is loaded.

    Raises:
        UserError: see :func:`external_files`; or there is no room for the copy.
    """
    files = external_files(model)
    if not files:
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="mia_lab-", ignore_cleanup_errors=True) as folder:
        try:
            for name, file in {**files, model.name: model}.items():
                copy = Path(folder, name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
        except OSError as error:
            raise UserError(
                f"victim.checkpoint={model}: cannot be copied to {folder} ({error.strerror}); set "
                "TMPDIR to a folder with room for its weights"
            ) from error
        yield Path(folder, model.name)


@cache
def _references(model: Path, state: tuple[int, ...]) -> tuple[Reference, ...]:
    """What a model states of the files that hold its tensors; read once while it stays the same."""
    onnx = library("onnx")
    try:
        content = onnx.ModelProto.FromString(model.read_bytes())
    except Exception as error:  # of protobuf, whose classes depend on its version
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"victim.checkpoint={model}: cannot be read ({reason}); is it an ONNX file?"
        ) from error
    found: dict[Reference, None] = {}
    for tensor in _messages(content, onnx.TensorProto):
        if tensor.data_location == tensor.EXTERNAL:
            stated = {entry.key: entry.value for entry in tensor.external_data}
            offset, length = (stated.get(name, "") for name in ("offset", "length"))
            found[stated.get("location", ""), offset, length] = None
    return tuple(found)


def _messages(message: Any, kind: type) -> Iterator[Any]:
    """All messages of a kind inside another one, at any depth."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in [value] if hasattr(value, "ListFields") else value:
            if isinstance(part, kind):
                yield part
            else:
                yield from _messages(part, kind)
