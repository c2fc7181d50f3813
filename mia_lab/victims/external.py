"""Victims in files that other programs wrote: exported programs and ONNX."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from mia_lab.backbones.state import archive_members
from mia_lab.errors import UserError, one_line
from mia_lab.hardware import torch_device
from mia_lab.parameters import RUNTIME, Accelerator, File, PositiveInt
from mia_lab.victims.onnx_files import external_files, library, loadable

LARGEST_SIDE = 2**14
"""No program takes more images at once, larger ones, or ones of more channels."""

_TRAINING = {"aten.dropout.default": 2, "aten.batch_norm.default": 5}
"""Which argument of an operation says that it is training."""


@dataclass(frozen=True)
class InputShape:
    """What a program takes; None where it takes any.

    Attributes:
        batch: images at once.
        channels: of each.
        height, width: of each, in pixels.
        most: images at once, where their number has a limit.
    """

    batch: int | None
    channels: int | None
    height: int | None
    width: int | None
    most: int | None = None

    @classmethod
    def of(cls, sizes: Sequence[Any], key: str, most: int | None = None) -> InputShape:
        """From the sizes that a file states, whole numbers where they are fixed.

        Raises:
            UserError: they are not four, or out of range.
        """
        if len(sizes) != 4:
            raise UserError(
                f"{key}: takes inputs of {len(sizes)} dimensions; export a model that translates "
                "images (N, C, H, W) in [0, 1]"
            )
        batch, channels, height, width = (s if type(s) is int else None for s in sizes)
        stated = [s for s in (batch, channels, height, width) if s is not None]
        if any(not 1 <= s <= LARGEST_SIDE for s in stated):
            raise UserError(
                f"{key}: takes inputs of shape {tuple(sizes)}; export a model whose sizes are from "
                f"1 to {LARGEST_SIDE}"
            )
        return cls(batch, channels, height, width, most)


class Program:
    """A function of image batches behind the black-box protocol, whatever batches it takes.

    Args:
        run: from float32 (N, C, H, W) to (N, 3, H, W), both in [0, 1], on the CPU.
        shape: what it takes. Where the batch size is fixed, batches are cut and filled up.
        key: what to call it in errors.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], shape: InputShape, key: str) -> None:
        self._run = run
        self._shape = shape
        self._key = key

    def __call__(self, x: Tensor) -> Tensor:
        self._check(x)
        size = self._shape.batch or min(len(x), self._shape.most or len(x))
        answers = []
        for start in range(0, len(x), size):
            part = x[start : start + size]
            filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
            wanted = (len(filled), 3, *filled.shape[2:])
            try:
                answer = self._run(filled)
            except Exception as error:  # of whatever library runs it
                lines = [s.strip() for s in str(error).splitlines() if s.strip()] or [""]
                # TorchScript begins with where it happened, and ends with what.
                reason = lines[-1 if lines[0].startswith("The following operation") else 0]
                reason = one_line(reason, 500)
                raise UserError(
                    f"{self._key}: fails on images of shape {tuple(filled.shape)} ({reason}); "
                    "does data.image_size fit it?"
                ) from error
            if answer.shape != wanted:
                raise UserError(
                    f"{self._key}: answers images of shape {tuple(filled.shape)} with shape "
                    f"{tuple(answer.shape)}, expected {wanted}; export a model that translates "
                    "images (N, C, H, W) to (N, 3, H, W)"
                )
            answers.append(answer[: len(part)])
        return torch.cat(answers)

    def _check(self, x: Tensor) -> None:
        for name, wanted in (("height", self._shape.height), ("width", self._shape.width)):
            found = x.shape[2 if name == "height" else 3]
            if wanted not in (None, found):
                raise UserError(
                    f"{self._key}: takes images of {name} {wanted}, but data.image_size={found}; "
                    f"set data.image_size={wanted}"
                )


class Exported:
    """A program of torch.export or TorchScript, as a black box. Loading may run code of the file.

    Args:
        checkpoint: path of the file; its program maps [0, 1] to [0, 1].
        accelerator: where it computes.

    Attributes:
        in_channels: channels of the images that it takes; None where the file does not say.

    Raises:
        UserError: the file is missing, damaged or of another kind, or was exported in training
            mode.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False

    def __init__(self, checkpoint: File, accelerator: Accelerator = "auto") -> None:
        key, device = f"victim.checkpoint={checkpoint}", torch_device(accelerator)
        if not Path(checkpoint).is_file():
            raise UserError(f"{key}: no such file")
        try:
            names = archive_members(Path(checkpoint))
        except ValueError as error:
            raise UserError(f"{key}: {error}") from error
        if not names:
            raise UserError(f"{key}: cannot be read (no such program, or cut off); copy it again")
        with _readable(key, "export it again, with the torch of this environment"):
            if any(name.endswith("/constants.pkl") for name in names):
                run, shape = _torchscript(checkpoint, device)
            elif any(name.endswith("/archive_format") for name in names):
                run, shape = _torch_export(checkpoint, device, key)
            else:
                raise UserError(
                    f"{key}: holds no program of torch.export or TorchScript; weights are read by "
                    "victim=pretrained"
                )
        self.in_channels = shape.channels
        self._program = Program(lambda x: run(x.to(device)).float().cpu(), shape, key)

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        return self._program(x)


class Onnx:
    """A model in an ONNX file, as a black box.

    Args:
        checkpoint: path of the file; its model maps one float32 input in [0, 1] to [0, 1].
        accelerator: where it computes; a GPU needs the package onnxruntime-gpu.
        threads: of the CPU.

    Attributes:
        in_channels: channels of the images that it takes; None where the file does not say.

    Raises:
        UserError: the file is missing or damaged, keeps weights outside of its folder, or takes
            other inputs; or onnxruntime is not installed.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False

    def __init__(
        self,
        checkpoint: File,
        accelerator: Accelerator = "auto",
        threads: Annotated[PositiveInt, RUNTIME] = 2,
    ) -> None:
        key = f"victim.checkpoint={checkpoint}"
        onnxruntime = library("onnxruntime")
        with _readable(key, "is it an ONNX file?"), loadable(Path(checkpoint)) as path:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.log_severity_level = 4
            # It lists what was compiled, whether or not this machine has a GPU.
            available = onnxruntime.get_available_providers()
            if accelerator == "auto" and not torch.cuda.is_available():
                available = []
            providers = _providers(available, accelerator)
            session = onnxruntime.InferenceSession(
                path, options, providers=providers, enable_fallback=False
            )
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{i.name} {i.type}" for i in inputs)
            raise UserError(
                f"{key}: takes {found or 'nothing'} and gives {len(outputs)} outputs; export a "
                "model of one float32 input and one output"
            )
        shape = InputShape.of(inputs[0].shape, key)
        self.in_channels = shape.channels

        def run(x: Tensor) -> Tensor:
            (answer,) = session.run(None, {inputs[0].name: x.contiguous().numpy()})
            return torch.from_numpy(np.asarray(answer, dtype=np.float32))

        self._program = Program(run, shape, key)

    @staticmethod
    def further_files(arguments: Mapping[str, Any]) -> dict[str, Path]:
        """The files beside the model that hold weights of it."""
        checkpoint = arguments.get("checkpoint")  # none where it is passed to build()
        return external_files(Path(checkpoint)) if checkpoint else {}

    def translate(self, x: Tensor) -> Tensor:
        return self._program(x)


@contextmanager
def _readable(key: str, remedy: str) -> Iterator[None]:
    """Whatever a library says of a file it cannot read, as one line."""
    try:
        with warnings.catch_warnings():  # TorchScript is deprecated, and we only read it
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    except UserError:
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        reason = one_line(reason, 500) or type(error).__name__
        raise UserError(f"{key}: cannot be read ({reason}); {remedy}") from error


def _torchscript(path: str, device: torch.device) -> tuple[Callable[[Tensor], Tensor], InputShape]:
    module: Any = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
    return module.eval(), InputShape(None, None, None, None)


def _torch_export(
    path: str, device: torch.device, key: str
) -> tuple[Callable[[Tensor], Tensor], InputShape]:
    program = torch.export.load(path)
    inputs = [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
        raise UserError(f"{key}: takes {len(inputs)} inputs; export a model of one image batch")
    for node in program.graph.nodes:
        if node.args[_TRAINING.get(str(node.target), 0) :][:1] == (True,):
            raise UserError(f"{key}: was exported in training mode; call eval() before exporting")
    if inputs[0].device.type != device.type:
        program = move_to_device_pass(program, device)
    shape = InputShape.of(inputs[0].shape, key, _most(program, inputs[0]))
    return program.module(), shape


def _most(program: torch.export.ExportedProgram, batch: Tensor) -> int | None:
    """How many images at once a program takes at most; None: any number, or a fixed one."""
    size: Any = batch.shape[0] if batch.ndim else 0
    if type(size) is int:
        return None
    allowed = program.range_constraints.get(size.node.expr)
    return int(allowed.upper) if allowed is not None and allowed.upper < sys.maxsize else None


def _providers(available: Sequence[str], accelerator: str) -> list[str]:
    gpu = [p for p in ("CUDAExecutionProvider", "ROCMExecutionProvider") if p in available]
    if accelerator == "gpu" and not gpu:
        raise UserError(
            "trainer.accelerator=gpu: onnxruntime sees no GPU (pip install onnxruntime-gpu); "
            "use trainer=cpu"
        )
    return ["CPUExecutionProvider"] if accelerator == "cpu" else [*gpu, "CPUExecutionProvider"]
