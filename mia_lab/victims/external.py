"""Victims in files and folders that other programs wrote: exported programs, ONNX, pictures."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mia_lab.data.pictures import decode, pictures
from mia_lab.errors import UserError
from mia_lab.victims.blackbox import torch_device

LOSSY = (".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class InputShape:
    """What a program takes; None where it takes any.

    Attributes:
        batch: images at once.
        channels: of each.
        height, width: of each, in pixels.
    """

    batch: int | None
    channels: int | None
    height: int | None
    width: int | None

    @classmethod
    def of(cls, sizes: Sequence[Any], key: str) -> InputShape:
        """From the sizes that a file states, whole numbers where they are fixed.

        Raises:
            UserError: they are not four.
        """
        if len(sizes) != 4:
            raise UserError(
                f"{key}: takes inputs of {len(sizes)} dimensions; export a model that translates "
                "images (N, C, H, W) in [0, 1]"
            )
        return cls(*(size if type(size) is int else None for size in sizes))


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
        size = self._shape.batch or len(x)
        answers = []
        for start in range(0, len(x), size):
            part = x[start : start + size]
            filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
            try:
                answer = self._run(filled)
            except Exception as error:  # of whatever library runs it
                reason = next((s for s in str(error).splitlines() if s.strip()), "")
                raise UserError(
                    f"{self._key}: fails on images of shape {tuple(filled.shape)} ({reason}); "
                    "does data.image_size fit it?"
                ) from error
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
        accelerator: ``auto``, ``cpu`` or ``gpu``.

    Attributes:
        in_channels: channels of the images that it takes; None where the file does not say.

    Raises:
        UserError: the file is missing, damaged or of another kind, or was exported in training
            mode.
    """

    def __init__(self, checkpoint: str, accelerator: str = "auto") -> None:
        key, device = f"victim.checkpoint={checkpoint}", torch_device(accelerator)
        names = _archive(Path(checkpoint), key)
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
        accelerator: ``auto``, ``cpu`` or ``gpu``; a GPU needs the package onnxruntime-gpu.
        threads: of the CPU.

    Attributes:
        in_channels: channels of the images that it takes; None where the file does not say.

    Raises:
        UserError: the file is missing or damaged, keeps its weights elsewhere, or takes other
            inputs; or onnxruntime is not installed.
    """

    def __init__(self, checkpoint: str, accelerator: str = "auto", threads: int = 2) -> None:
        key = f"victim.checkpoint={checkpoint}"
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise UserError(
                f"victim=onnx: {error.name} is not installed; pip install 'mia_lab[onnx]'"
            ) from error
        if not Path(checkpoint).is_file():
            raise UserError(f"{key}: no such file")
        with _readable(key, "is it an ONNX file?"):
            _refuse_external_data(onnx.load(checkpoint, load_external_data=False), key)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.log_severity_level = 3
            providers = _providers(onnxruntime.get_available_providers(), accelerator)
            session = onnxruntime.InferenceSession(checkpoint, options, providers=providers)
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

    def translate(self, x: Tensor) -> Tensor:
        return self._program(x)


class Outputs:
    """Pictures that a model has generated already.

    The answer for id ``train/0001`` is ``train/0001.*`` below the folder, or ``0001.*`` in it.

    Args:
        folder: where they are.
        image_size: side of the squares that they must be, in pixels.

    Attributes:
        transport: how the answers travelled.

    Raises:
        UserError: there is no such folder, or it holds no pictures.
    """

    def __init__(self, folder: str, image_size: int) -> None:
        self._folder = Path(folder)
        self._size = image_size
        if not self._folder.is_dir():
            raise UserError(f"victim.folder={folder}: no such folder")
        self._files = pictures(self._folder)
        lossy = any(path.suffix.lower() in LOSSY for path in self._files.values())
        self.transport = "8-bit pictures, some of them JPEG" if lossy else "8-bit pictures"

    def check(self, ids: Sequence[str]) -> None:
        """Make sure that there is one picture for each id.

        Raises:
            UserError: some have none, or two share one.
        """
        missing = [i for i in ids if self._file(i) is None]
        if missing:
            raise UserError(
                f"victim.folder={self._folder}: has no picture {missing[0]}.* "
                f"({len(missing)} of {len(ids)} are missing); name them like the inputs"
            )
        owners: dict[Path, str] = {}
        for image_id in ids:
            path = self._path(image_id)
            if owners.setdefault(path, image_id) != image_id:
                raise UserError(
                    f"{path}: is it the answer to {owners[path]} or to {image_id}? "
                    "Keep the folders of the inputs"
                )

    def fingerprint(self, ids: Sequence[str]) -> str:
        """sha256 over the files of these ids."""
        digest = hashlib.sha256()
        for image_id in ids:
            content = hashlib.sha256(self._path(image_id).read_bytes()).hexdigest()
            digest.update(f"{image_id}\t{content}\n".encode())
        return digest.hexdigest()

    def recall(self, ids: Sequence[str]) -> Tensor:
        """The pictures of some ids: float32 (N, 3, S, S) in [0, 1].

        Raises:
            UserError: one cannot be decoded, or has another size; nothing is resized.
        """
        answers = []
        for image_id in ids:
            path = self._path(image_id)
            picture = decode(path)
            if picture.size != (self._size, self._size):
                raise UserError(
                    f"{path}: {picture.width} x {picture.height} pixels, but data.image_size="
                    f"{self._size}; set data.image_size to the side of the answers"
                )
            answers.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255)
        return torch.stack(answers)

    def _file(self, image_id: str) -> Path | None:
        return self._files.get(image_id) or self._files.get(image_id.rpartition("/")[2])

    def _path(self, image_id: str) -> Path:
        path = self._file(image_id)
        if path is None:
            raise UserError(f"victim.folder={self._folder}: has no picture {image_id}.*")
        return path


def _archive(path: Path, key: str) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such program, or cut off"
        raise UserError(f"{key}: cannot be read ({reason})") from error


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
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise UserError(
            f"{key}: cannot be read ({reason or type(error).__name__}); {remedy}"
        ) from error


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
        if str(node.target) == "aten.dropout.default" and node.args[2] is True:
            raise UserError(f"{key}: was exported in training mode; call eval() before exporting")
    if inputs[0].device.type != device.type:
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    shape = InputShape.of(inputs[0].shape, key)
    return program.module(), shape


def _refuse_external_data(model: Any, key: str) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_location == tensor.EXTERNAL:
            raise UserError(
                f"{key}: keeps its weights in another file, so it does not say by itself what it "
                "is; save it as one file (onnx.save with save_as_external_data=False)"
            )


def _providers(available: Sequence[str], accelerator: str) -> list[str]:
    gpu = [p for p in ("CUDAExecutionProvider", "ROCMExecutionProvider") if p in available]
    if accelerator == "gpu" and not gpu:
        raise UserError(
            "trainer.accelerator=gpu: onnxruntime sees no GPU (pip install onnxruntime-gpu); "
            "use trainer=cpu"
        )
    return ["CPUExecutionProvider"] if accelerator == "cpu" else [*gpu, "CPUExecutionProvider"]
