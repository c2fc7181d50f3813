"""Read from the file of an ONNX model which files hold its tensors, and if its answers are tanh."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from mia_lab.errors import UserError, one_line
from mia_lab.store.content import file_state
from mia_lab.victims.extras import library
from mia_lab.victims.value_range import CLIPS, Operation, ends_in_tanh, plain_name

Reference = tuple[str, str, str]
"""Location, offset and length, as the model states them; "" where it does not."""

onnx_library = partial(library, victim="onnx", extra="onnx")
"""The modules onnx and onnxruntime."""


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
        place = one_line(location)
        if not _is_inside(model, location):
            raise UserError(
                f"{key}: keeps weights in '{place}', outside of its own folder; copy the file "
                "beside the model and save the model with its name (onnx.save with location=)"
            )
        file = model.parent / location
        if not os.path.isfile(file):  # noqa: PTH113 - Path raises for long names
            raise UserError(
                f"{key}: keeps weights in '{place}', which is no file; copy it there, beside the "
                "model"
            )
        size = file.stat().st_size
        if not _is_within(size, offset, length):
            raise UserError(
                f"{key}: keeps weights in '{place}' from byte {one_line(offset, 30) or 0}, "
                f"{one_line(length, 30) or 'all'} of them, but it has {size}; copy both files again"
            )
        files[str(Path(location))] = file
    return files


def _is_inside(model: Path, location: str) -> bool:
    """Whether a location is in the folder of a model, also after links are followed.

    If the model is a link itself, as in a cache of a model hub, links may lead to its target's
    folder.
    """
    # onnxruntime takes some names with an asterisk for addresses in memory.
    is_plain = location.isprintable() and "*" not in location and ".." not in Path(location).parts
    if not is_plain or Path(location).is_absolute():
        return False
    file = (model.parent / location).resolve()
    folders = model.parent.resolve(), model.resolve().parent
    return any(file.is_relative_to(folder) for folder in folders)


def _is_within(size: int, offset: str, length: str) -> bool:
    """Whether a file of some bytes has those that a model states."""
    try:
        start, count = int(offset or 0), int(length or 0)
    except ValueError:
        return False
    return start >= 0 and count >= 0 and start + count <= size


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


def is_tanh(model: Path, output: str) -> bool:
    """Whether the values of an output come from tanh.

    Args:
        model: path of a model that onnxruntime has loaded.
        output: its name.
    """
    content = _read(model)
    if content.functions:
        content = onnx_library("onnx.inliner").inline_local_functions(content)
    producers = {name: node for node in content.graph.node for name in node.output}

    def source(name: str) -> Operation[str] | None:
        node = producers.get(name)
        return node and Operation(node.op_type, node.input, _least(node, content.graph, producers))

    return ends_in_tanh([output], source)


def _least(node: Any, graph: Any, producers: Mapping[str, Any]) -> float | None:
    """The lower bound of a clip that is a constant of the graph; else None."""
    if plain_name(node.op_type) not in CLIPS:
        return None
    given = [a.f for a in node.attribute if a.name == "min"]  # up to opset 10
    if given or len(node.input) < 2:
        return given[0] if given else None
    name = node.input[1]
    while (source := producers.get(name)) and source.op_type in ("Cast", "CastLike", "Identity"):
        name = source.input[0]
    tensors = [t for t in graph.initializer if t.name == name]
    numbers = []
    for attribute in source.attribute if source and source.op_type == "Constant" else ():
        tensors += [attribute.t] if attribute.name == "value" else []
        numbers += [attribute.f] if attribute.name == "value_float" else []
    if tensors and tensors[0].data_location != tensors[0].EXTERNAL:
        numbers = onnx_library("onnx.numpy_helper").to_array(tensors[0]).ravel().tolist()
    return float(numbers[0]) if numbers else None


@cache
def _references(model: Path, state: tuple[int, ...]) -> tuple[Reference, ...]:
    """The files that hold tensors of a model, as it states them; read again after a change."""
    found: dict[Reference, None] = {}
    for tensor in _messages(_read(model), onnx_library("onnx").TensorProto):
        if tensor.data_location == tensor.EXTERNAL:
            stated = {entry.key: entry.value for entry in tensor.external_data}
            offset, length = (stated.get(name, "") for name in ("offset", "length"))
            found[stated.get("location", ""), offset, length] = None
    return tuple(found)


def _read(model: Path) -> Any:
    """The message in the file of a model, without tensors of other files."""
    onnx = onnx_library("onnx")
    try:
        return onnx.ModelProto.FromString(model.read_bytes())
    except Exception as error:  # of protobuf, whose classes depend on its version
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(
            f"victim.checkpoint={model}: cannot be read ({reason}); is it an ONNX file?"
        ) from error


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
