"""Export of a victim for other programs, by torch.export or ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from mia_lab.errors import UserError
from mia_lab.store.disk import write_file

EXAMPLES = 2
"""Images in the example batch; the tracer takes a batch of one for a constant."""


def to_pt2(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write a module as a program of torch.export, for batches of any size.

    Args:
        module: maps float32 (N, C, H, W) to (N, C', H, W), both in [0, 1]; in evaluation mode.
        example: a batch of `EXAMPLES` images.
        path: path of the file, which is written atomically.

    Raises:
        UserError: the disk is full.
    """
    content = io.BytesIO()  # PyTorch's own writer aborts the process if the disk is full
    torch.export.save(_program(module, example), content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, content.getbuffer())


def to_onnx(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write a module as one ONNX file, for batches of any size; see :func:`to_pt2`.

    Raises:
        UserError: the packages for ONNX are not installed, or the disk is full.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"task=export: {error.name} is not installed; pip install 'mia_lab[onnx]'"
        ) from error
    with _quiet():
        program = torch.onnx.export(
            _program(module, example),
            (example,),
            input_names=["input"],
            output_names=["output"],
            dynamo=True,
            external_data=False,
        )
        assert program is not None
        content = program.model_proto.SerializeToString()
    onnx.checker.check_model(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, content)


def _program(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    return torch.export.export(module, (example,), dynamic_shapes=({0: batch},))


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's progress messages and its warnings about its own code."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
