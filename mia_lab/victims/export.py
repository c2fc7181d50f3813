"""Writing a victim for other programs: torch.export and ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from mia_lab.errors import UserError

EXAMPLES = 2
"""Images of the batch that is traced; a batch of one would be taken for a constant."""


def to_pt2(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write a module as a program of torch.export, for batches of any size.

    Args:
        module: from float32 (N, C, H, W) to (N, 3, H, W), both in [0, 1]; in evaluation mode.
        example: some images, as many as `EXAMPLES`.
        path: the file; it appears complete or not at all.
    """
    with _whole(path) as partial:
        torch.export.save(_program(module, example), partial)


def to_onnx(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write a module as one ONNX file, for batches of any size; see :func:`to_pt2`.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"task=export: {error.name} is not installed; pip install 'mia_lab[onnx]'"
        ) from error
    with _whole(path) as partial, _quiet():
        program = torch.onnx.export(
            _program(module, example),
            (example,),
            input_names=["input"],
            output_names=["output"],
            dynamo=True,
            external_data=False,
        )
        assert program is not None
        program.save(str(partial), external_data=False)
        onnx.checker.check_model(str(partial))


def _program(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    return torch.export.export(module, (example,), dynamic_shapes=({0: batch},))


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder:
        partial = Path(folder) / path.name
        yield partial
        partial.replace(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns of what it does to its own code."""
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
