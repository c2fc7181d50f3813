"""Victims in files that other programs wrote: exported programs and ONNX."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.export.graph_signature import OutputKind
from torch.export.passes import move_to_device_pass

from mia_lab.backbones.state import archive_members
from mia_lab.errors import UserError, one_line
from mia_lab.hardware import cores, torch_device
from mia_lab.parameters import RUNTIME, Accelerator, File, PositiveInt, Text, ValueRanges
from mia_lab.store.content import unreadable
from mia_lab.victims.onnx_files import external_files, is_tanh, loadable, onnx_library
from mia_lab.victims.program import (
    Format,
    InputShape,
    Layout,
    Program,
    channels_of,
    choose_output,
    declaring,
    losing,
    natural_range,
    read_layouts,
)
from mia_lab.victims.value_range import (
    CLIPS,
    SIGNED,
    UNIT,
    Operation,
    ends_in_tanh,
    intervals,
    plain_name,
)

ONNX_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(float16)": torch.float16,
    "tensor(uint8)": torch.uint8,
}
"""Types of images that onnxruntime exchanges with NumPy."""


class Exported:
    """A program of torch.export or TorchScript, as a black box. Loading may run code of the file.

    Inputs are converted to the type and the layout of the program's inputs, and answers back.

    Args:
        checkpoint: path of the file.
        accelerator: where the program computes, see ``trainer.accelerator``.
        value_range: what stands for 0 and 1: [low, high], or one range for inputs and one for
            answers; None: [0, 1] for real numbers, [0, 255] for bytes. Answers outside are
            refused, except for rounding (`ROUNDING` of :mod:`mia_lab.victims.value_range`).
        output: which output holds the images: its place, counted from 0 over all tensors that the
            program returns; None: the only one that can.
        layout: ``nchw`` or ``nhwc``; None: as the file states, and ``nchw`` for TorchScript.

    Attributes:
        in_channels, out_channels: of what it takes and gives; None where the file does not say.
        transport: type of its answers, where that loses precision.

    Raises:
        UserError: the file is missing, damaged or of another kind, takes no images, or gives
            several outputs; or its answers come from tanh, and no range is declared.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False

    def __init__(
        self,
        checkpoint: File,
        accelerator: Accelerator = "auto",
        value_range: ValueRanges | None = None,
        output: Text | None = None,
        layout: Layout | None = None,
    ) -> None:
        key, device = f"victim.checkpoint={checkpoint}", torch_device(accelerator)
        if not Path(checkpoint).is_file():
            raise UserError(f"{key}: no such file")
        try:
            names = archive_members(Path(checkpoint))
        except ValueError as error:
            raise UserError(f"{key}: {error}") from error
        if not names:
            raise UserError(f"{key}: {_other_kind(Path(checkpoint))}")
        declared = intervals(value_range)
        with _readable(key, "export it again, with the torch of this environment"):
            if any(name.endswith("/constants.pkl") for name in names):
                program: _TorchScript | _TorchExport = _TorchScript(checkpoint, device, output, key)
            elif any(name.endswith("/archive_format") for name in names):
                program = _TorchExport(checkpoint, device, output, key)
            else:
                raise UserError(
                    f"{key}: holds no program of torch.export or TorchScript; weights are read by "
                    "victim=pretrained"
                )
        if declared[1] is None and program.is_tanh:
            raise _undeclared(key, program.dtype)
        layouts = read_layouts(program.takes, program.gives, layout, key)
        shape = InputShape.of(program.takes, layouts[0], key, program.most)
        format = Format(shape, program.dtype, layouts, declared)
        self.in_channels = shape.channels
        self.out_channels = channels_of(program.gives, layouts[1])
        self.transport = losing(program.answers)
        self._program = Program(program, format, key)
        format.report(key, program.answers)

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        return self._program(x)


class Onnx:
    """A model in an ONNX file, as a black box.

    Images are converted to the type and the layout of the model's input, and answers back.

    Args:
        checkpoint: path of the file; its model has one input without a default.
        accelerator: where the model computes; a GPU needs the package onnxruntime-gpu.
        threads: CPU threads that the model computes with; None: as many as there are cores.
        value_range: see :class:`mia_lab.victims.external.Exported`.
        output: name of the output that holds the images; None: the only one that can.
        layout: see :class:`mia_lab.victims.external.Exported`.

    Attributes:
        in_channels, out_channels: of what it takes and gives; None where the file does not say.
        transport: type of its answers, where that loses precision.

    Raises:
        UserError: the file is missing or damaged, keeps weights outside of its folder, takes no
            images, or gives several outputs; or its answers come from tanh, and no range is
            declared; or onnxruntime is not installed.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False

    def __init__(
        self,
        checkpoint: File,
        accelerator: Accelerator = "auto",
        threads: Annotated[PositiveInt | None, RUNTIME] = None,
        value_range: ValueRanges | None = None,
        output: Text | None = None,
        layout: Layout | None = None,
    ) -> None:
        key = f"victim.checkpoint={checkpoint}"
        onnxruntime = onnx_library("onnxruntime")
        with _readable(key, "is it an ONNX file?"), loadable(Path(checkpoint)) as path:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads or cores()
            # A thread that waits leaves its core to other processes.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.log_severity_level = 4
            # It lists what was compiled, whether or not this machine has a GPU.
            available = onnxruntime.get_available_providers()
            if accelerator == "auto" and not torch.cuda.is_available():
                available = []
            providers = _providers(available, accelerator)
            session = onnxruntime.InferenceSession(
                path, options, providers=providers, enable_fallback=False
            )
        inputs, outputs = session.get_inputs(), {o.name: o for o in session.get_outputs()}
        if len(inputs) != 1:
            found = ", ".join(f"{one_line(i.name)} {i.type}" for i in inputs[:5])
            raise UserError(
                f"{key}: takes {found or 'nothing'}; export a model of one image batch, with a "
                "default (an initializer) for each further input"
            )
        # An output without sizes may be a number, or one that states none.
        chosen = choose_output({k: o.shape or None for k, o in outputs.items()}, output, key)
        (given,), gives = inputs, outputs[chosen]
        if unknown := {given.type, gives.type} - ONNX_TYPES.keys():
            raise UserError(
                f"{key}: takes {given.type} and gives {gives.type}; export a model whose images "
                f"are of {', '.join(ONNX_TYPES)}, not {min(unknown)}"
            )
        dtype, answers = ONNX_TYPES[given.type], ONNX_TYPES[gives.type]
        declared = intervals(value_range)
        with _readable(key, "is it an ONNX file?"):
            if declared[1] is None and is_tanh(Path(checkpoint), chosen):
                raise _undeclared(key, dtype)
        layouts = read_layouts(given.shape, gives.shape, layout, key)
        shape = InputShape.of(given.shape, layouts[0], key)
        format = Format(shape, dtype, layouts, declared)
        self.in_channels = shape.channels
        self.out_channels = channels_of(gives.shape, layouts[1])
        self.transport = losing(answers)

        def run(x: Tensor) -> Tensor:
            (answer,) = session.run([chosen], {given.name: x.contiguous().numpy()})
            return torch.from_numpy(answer)

        self._program = Program(run, format, key)
        format.report(key, answers)

    @staticmethod
    def further_files(arguments: Mapping[str, Any]) -> dict[str, Path]:
        """The files beside the model that hold weights of it."""
        checkpoint = arguments.get("checkpoint")  # none where it is passed to build()
        return external_files(Path(checkpoint)) if checkpoint else {}

    def translate(self, x: Tensor) -> Tensor:
        return self._program(x)


_PICTURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]")
"""The number of the format, and the next field of the message: how files of ONNX begin."""


def _other_kind(path: Path) -> str:
    """Say what a file is if it is not an archive, and what to do."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise unreadable(path, error) from error
    if _ONNX.match(start):
        return "is an ONNX model; set victim=onnx, which reads it"
    if kind := next((k for mark, k in _PICTURES.items() if start.startswith(mark)), None):
        return (
            f"is a {kind} picture; give the file of a program, or read pictures that a model "
            "generated with victim=outputs"
        )
    return "cannot be read (no program of torch.export or TorchScript, or cut off); copy it again"


def _undeclared(key: str, dtype: torch.dtype) -> UserError:
    own = natural_range(dtype)
    clipped = UNIT if own == UNIT else f"[{own},{UNIT}]"
    return UserError(
        f"{key}: its answers come from tanh, so they are likely in {SIGNED}; "
        f"{declaring(SIGNED, dtype)}; or {clipped} if its answers are in [0, 1]"
    )


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


class _TorchScript:
    """A module of TorchScript. It states neither the sizes nor the types of what it takes.

    Attributes:
        takes, gives: sizes of inputs and answers.
        most: images at once, where their number has a limit.
        dtype: of inputs: that of the weights.
        answers: type of the answers; None: not known.
        is_tanh: whether the answers come from tanh.
    """

    takes: tuple[Any, ...] = (None,) * 4
    gives: tuple[Any, ...] = (None,) * 4
    most: int | None = None
    answers: torch.dtype | None = None

    def __init__(self, path: str, device: torch.device, output: str | None, key: str) -> None:
        module: Any = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
        self._module = module.eval()
        self._device = device
        self._output = output
        self._key = key
        weights = (p.dtype for p in module.parameters() if p.is_floating_point())
        self.dtype = next(weights, torch.float32)
        self.is_tanh = ends_in_tanh(self._module.inlined_graph.outputs(), _script_source)

    def __call__(self, x: Tensor) -> Tensor:
        answers = {str(n): leaf for n, leaf in enumerate(_leaves(self._module(x.to(self._device))))}
        shapes = {n: getattr(leaf, "shape", ()) for n, leaf in answers.items()}
        self._output = choose_output(shapes, self._output, self._key)
        answer = answers[self._output]
        if not isinstance(answer, Tensor):
            raise UserError(
                f"{self._key}: its output {self._output} is a {type(answer).__name__}, no tensor; "
                "choose another with victim.output"
            )
        return answer.cpu()


class _TorchExport:
    """A program of torch.export; attributes as of :class:`_TorchScript`."""

    def __init__(self, path: str, device: torch.device, output: str | None, key: str) -> None:
        program = torch.export.load(path)
        nodes = {node.name: node for node in program.graph.nodes}
        inputs = [nodes[name].meta["val"] for name in program.graph_signature.user_inputs]
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            raise UserError(f"{key}: takes {len(inputs)} inputs; export a model of one image batch")
        specs = program.graph_signature.output_specs
        ends = [spec.arg for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
        found = {str(n): nodes.get(getattr(end, "name", "")) for n, end in enumerate(ends)}
        values = {n: node.meta.get("val") if node else None for n, node in found.items()}
        shapes = {n: getattr(value, "shape", ()) for n, value in values.items()}
        chosen = choose_output(shapes, output, key)
        end, value = found[chosen], values[chosen]
        if not isinstance(value, Tensor):
            raise UserError(f"{key}: its output {chosen} is no tensor; choose another one")
        self.takes, self.gives = inputs[0].shape, value.shape
        self.most = _most(program, inputs[0])
        self.dtype, self.answers = inputs[0].dtype, value.dtype
        self.is_tanh = ends_in_tanh([end], _export_source)
        if inputs[0].device.type != device.type:
            program = move_to_device_pass(program, device)
        self._module = program.module()
        self._device = device
        self._place = int(chosen)

    def __call__(self, x: Tensor) -> Tensor:
        answer: Tensor = _leaves(self._module(x.to(self._device)))[self._place]
        return answer.cpu()


def _leaves(answer: Any) -> list[Any]:
    """The values in the nested lists and dicts that a program returns."""
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if isinstance(answer, list | tuple):
        return [leaf for part in answer for leaf in _leaves(part)]
    return [answer]


def _script_source(value: Any) -> Operation[Any]:
    """The operation of TorchScript; inputs of a branch are what its blocks give."""
    node = value.node()
    inputs = [*node.inputs(), *(end for block in node.blocks() for end in block.outputs())]
    name = node.kind().rpartition("::")[2]
    return Operation(
        name, inputs, _number(inputs[1].toIValue()) if _is_clip(name, inputs) else None
    )


def _export_source(node: Any) -> Operation[Any]:
    """The operation of torch.export."""
    name = str(getattr(node.target, "__name__", node.target)).partition(".")[0]
    named = node.kwargs.get("min", node.kwargs.get("min_val"))
    least = node.args[1] if _is_clip(name, node.args) else named
    return Operation(name, node.all_input_nodes, _number(least))


def _is_clip(name: str, arguments: Sequence[Any]) -> bool:
    return plain_name(name) in CLIPS and len(arguments) > 1


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


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
