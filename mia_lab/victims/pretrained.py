"""Victims that were trained elsewhere and come as a file of weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mia_lab.errors import UserError, one_line
from mia_lab.parameters import (
    Accelerator,
    BelowOne,
    File,
    ImageSize,
    InputEncoding,
    QueryMode,
    Text,
    size_text,
    width_height,
)
from mia_lab.victims.blackbox import TorchBlackBox
from mia_lab.victims.checkpoints import Checkpoint, read
from mia_lab.victims.layouts import ELSEWHERE, Generator, plain, recognise
from mia_lab.victims.networks import RGB_AND_EDGES, UnitRange, misfit
from mia_lab.victims.networks.local_enhancer import LocalEnhancer
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet
from mia_lab.victims.reparametrized import fold, split

ARCHITECTURES: dict[str, type[Generator]] = {
    network.__name__: network for network in (UNet, ResNetGenerator, LocalEnhancer)
}
"""Networks that an exported file may name; loading a file never imports anything else."""

log = logging.getLogger(__name__)

LARGEST_SETTING = 2**14
"""No network has more layers or channels, or takes larger images."""


class Pretrained:
    """A generator in a file of weights, as a black box. Loading never runs code of the file.

    Args:
        checkpoint: path of the file.
        image_size: of the images it will be queried with: the side of squares, or
            [width, height].
        accelerator: where the network computes, see ``trainer.accelerator``.
        mode: see :class:`~mia_lab.victims.blackbox.TorchBlackBox`.
        format: ``mia_lab``: ``victim.safetensors`` or ``victim.ckpt`` of ours; ``pix2pix`` or
            ``pix2pixhd``: a generator's state dict as the published code saves it
            (``latest_net_G.pth``), or the same tensors as ``.safetensors``, in a dict, or among
            other networks. Spectral norm and weight norm are folded into the weights.
        input_encoding: what the generator is given, see ``data.input_encoding``.
        dropout: of a U-Net of the format ``pix2pix``, whose file does not say.
        key: name of the entry, or prefix of the names of tensors, of the generator to read, where
            the file holds several.

    Attributes:
        in_channels, out_channels: channels of the images that it takes, and of its answers.
        reading: what was read of the file, in one line.
        module: the network from images in [0, 1] to images in [0, 1].

    Raises:
        UserError: the file is missing, damaged or of another kind, or does not fit the images.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False
    has_train_mode: ClassVar[bool] = True

    def __init__(
        self,
        checkpoint: File,
        image_size: ImageSize,
        accelerator: Accelerator = "auto",
        mode: QueryMode = "eval",
        format: Literal["mia_lab", "pix2pix", "pix2pixhd"] = "mia_lab",
        input_encoding: InputEncoding = "rgb",
        dropout: BelowOne = 0.5,
        key: Text | None = None,
    ) -> None:
        content = read(Path(checkpoint), key)
        try:
            if format == "mia_lab":
                network, encoding, told = _exported(content, image_size, input_encoding)
            else:
                network, encoding, told = _published(content, format, input_encoding, dropout)
            if problem := misfit(image_size, network.stride, network.smallest):
                raise ValueError(problem)
        except ValueError as error:
            raise UserError(f"victim.checkpoint={checkpoint}: {error}") from error
        self.in_channels: int = network.arguments["in_channels"]
        self.out_channels: int = network.arguments["out_channels"]
        self.reading = ", ".join(told)
        log.info("victim.checkpoint=%s: %s", checkpoint, self.reading)
        self.module: nn.Module = UnitRange(network, encoding)
        self._box = TorchBlackBox(self.module, accelerator, mode)

    def translate(self, x: Tensor) -> Tensor:
        return self._box.translate(x)


_Read = tuple[Generator, str, list[str]]
"""A network, the encoding of its inputs, and what is told of the file."""


def _exported(content: Checkpoint, image_size: int | Sequence[int], input_encoding: str) -> _Read:
    recipe = content.recipe
    if recipe is None:
        formats = recognise(split(plain(content.tensors))[0], dropout=0.0)[2]
        raise ValueError(f"was not written by mia_lab; set victim.format={formats[0]}")
    try:
        kind, arguments = ARCHITECTURES[recipe["architecture"]], dict(recipe["arguments"])
        encoding = recipe.get("input_encoding", "rgb")
        of_data = {"rgb": "rgb", "one_hot": "one_hot", RGB_AND_EDGES: "rgb"}[encoding]
        network = _built(kind, arguments, len(content.tensors))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"is not a generator exported by mia_lab ({', '.join(ARCHITECTURES)}; "
            f"{one_line(str(error))}); {ELSEWHERE}"
        ) from error
    _fill(network, content.tensors)
    trained_at = arguments.get("image_size", image_size)
    if width_height(trained_at) != width_height(image_size):
        raise ValueError(
            f"was trained at data.image_size={size_text(trained_at)}, not "
            f"{size_text(image_size)}; set data.image_size={size_text(trained_at)}"
        )
    if of_data != input_encoding:
        raise ValueError(f"was trained on {of_data} inputs; set data.input_encoding={of_data}")
    return network, encoding, [_described(network), "written by mia_lab"]


def _published(content: Checkpoint, format: str, input_encoding: str, dropout: float) -> _Read:
    if content.recipe is not None:
        raise ValueError("was written by mia_lab; set victim.format=mia_lab")
    tensors, normed = split(plain(content.tensors))
    architecture, arguments, formats = recognise(tensors, dropout)
    if format not in formats:
        raise ValueError(
            f"is a {architecture.__name__} of {formats[0]}; set victim.format={formats[0]}"
        )
    network = _built(architecture, arguments, len(tensors))
    _fill(network, fold(tensors, normed, network))
    told = [_described(network), *content.reading]
    told += [f"{norm} folded" for norm in sorted({layer.norm for layer in normed.values()})]
    if (format, input_encoding, arguments["in_channels"]) == ("pix2pixhd", "rgb", 4):
        # The published code gives no other pictures of four channels.
        told.append("the fourth channel taken for boundaries of instances in {0, 1}")
        return network, RGB_AND_EDGES, told
    return network, input_encoding, told


def _described(network: Generator) -> str:
    norm = {"none": "no", "affine_instance": "affine instance"}
    name = network.arguments["norm"]
    return f"{type(network).__name__} with {norm.get(name, name)} norm"


def _built(kind: type[Generator], arguments: Mapping[str, Any], n_tensors: int) -> Generator:
    """A network without memory.

    Args:
        kind: its class.
        arguments: what a file says of it.
        n_tensors: how many tensors the file holds; a network of twice as many is not built.

    Raises:
        ValueError: there is no such network, or it is larger than the file.
    """
    left = 2 * n_tensors  # where few are missing, their names are the better message

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"its settings need many more than its {n_tensors} tensors")

    for name, value in arguments.items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, int) and abs(number) > LARGEST_SETTING for number in numbers):
            raise ValueError(f"{one_line(name)} is above {LARGEST_SETTING}")
    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without channels, whose tensors never fit
            return kind(**arguments)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise ValueError(str(error)) from error
    finally:
        hook.remove()


def _fill(network: Generator, tensors: Mapping[str, Tensor]) -> None:
    """Give a network without memory its weights, as float32.

    Raises:
        ValueError: a tensor is missing, superfluous, of another shape or not finite.
    """
    wanted = network.state_dict()
    kind = type(network).__name__
    state: dict[str, Tensor] = {}
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise ValueError(f"holds the tensor {extra[0]}, which a {kind} does not have")
    for key, expected in wanted.items():
        if key not in tensors and key.endswith(".num_batches_tracked"):
            state[key] = torch.zeros((), dtype=torch.long)  # files older than this counter
            continue
        if key not in tensors:
            raise ValueError(f"lacks the tensor {key} of a {kind}")
        tensor = tensors[key]
        if tensor.shape != expected.shape:
            raise ValueError(
                f"the tensor {key} has shape {tuple(tensor.shape)}, "
                f"but in this {kind} it is {tuple(expected.shape)}"
            )
        state[key] = tensor.to(expected.dtype)
        if not state[key].isfinite().all():
            raise ValueError(f"the tensor {key} is not finite")
    network.load_state_dict(state, assign=True)
