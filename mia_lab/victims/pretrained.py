"""Victims that were trained elsewhere and come as a file of weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
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
    InputEncoding,
    PositiveInt,
    QueryMode,
)
from mia_lab.victims.blackbox import TorchBlackBox
from mia_lab.victims.checkpoints import Checkpoint, Generator, plain, read, recognise
from mia_lab.victims.networks import UnitRange
from mia_lab.victims.networks.local_enhancer import LocalEnhancer
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet

ARCHITECTURES: dict[str, type[Generator]] = {
    network.__name__: network for network in (UNet, ResNetGenerator, LocalEnhancer)
}
"""Networks that an exported file may name; loading a file never imports anything else."""

LARGEST_SETTING = 2**14
"""No network has more layers or channels, or takes larger images."""


class Pretrained:
    """A generator in a file of weights, as a black box. Loading never runs code of the file.

    Args:
        checkpoint: path of the file.
        image_size: side of the images it will be queried with.
        accelerator: where it computes.
        mode: see :class:`~mia_lab.victims.blackbox.TorchBlackBox`.
        format: ``mia_lab``: ``victim.safetensors`` or ``victim.ckpt`` of ours; ``pix2pix`` or
            ``pix2pixhd``: a generator's state dict as the published code saves it
            (``latest_net_G.pth``), or the same tensors as ``.safetensors``.
        input_encoding: what the generator is given.
        dropout: of a U-Net of the format ``pix2pix``, whose file does not say.

    Attributes:
        in_channels: channels of the images that it takes.
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
        image_size: PositiveInt,
        accelerator: Accelerator = "auto",
        mode: QueryMode = "eval",
        format: Literal["mia_lab", "pix2pix", "pix2pixhd"] = "mia_lab",
        input_encoding: InputEncoding = "rgb",
        dropout: BelowOne = 0.5,
    ) -> None:
        content = read(Path(checkpoint))
        try:
            if format == "mia_lab":
                network = _exported(content, image_size, input_encoding)
            else:
                network = _published(content, format, dropout)
            _check_use(network, image_size, input_encoding)
        except ValueError as error:
            raise UserError(f"victim.checkpoint={checkpoint}: {error}") from error
        self.in_channels: int = network.arguments["in_channels"]
        self.module: nn.Module = UnitRange(network, input_encoding)
        self._box = TorchBlackBox(self.module, accelerator, mode)

    def translate(self, x: Tensor) -> Tensor:
        return self._box.translate(x)


def _exported(content: Checkpoint, image_size: int, input_encoding: str) -> Generator:
    recipe = content.recipe
    if recipe is None:
        formats = recognise(plain(content.tensors), dropout=0.0)[2]
        raise ValueError(f"was not written by mia_lab; set victim.format={formats[0]}")
    try:
        kind, arguments = ARCHITECTURES[recipe["architecture"]], dict(recipe["arguments"])
        encoding = {"rgb": "rgb", "one_hot": "one_hot"}[recipe.get("input_encoding", "rgb")]
        network = _built(kind, arguments, len(content.tensors))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"is not a generator exported by mia_lab ({', '.join(ARCHITECTURES)}; "
            f"{one_line(str(error))}); wrap other models in a class with a translate method"
        ) from error
    _fill(network, content.tensors)
    trained_at = arguments.get("image_size", image_size)
    if trained_at != image_size:
        raise ValueError(
            f"was trained at {trained_at} px, but data.image_size={image_size}; "
            f"set data.image_size={trained_at}"
        )
    if encoding != input_encoding:
        raise ValueError(f"was trained on {encoding} inputs; set data.input_encoding={encoding}")
    return network


def _published(content: Checkpoint, format: str, dropout: float) -> Generator:
    if content.recipe is not None:
        raise ValueError("was written by mia_lab; set victim.format=mia_lab")
    tensors = plain(content.tensors)
    architecture, arguments, formats = recognise(tensors, dropout)
    if format not in formats:
        raise ValueError(
            f"is a {architecture.__name__} of {formats[0]}; set victim.format={formats[0]}"
        )
    network = _built(architecture, arguments, len(tensors))
    _fill(network, tensors)
    return network


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
        if isinstance(value, int) and abs(value) > LARGEST_SETTING:
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


def _check_use(network: Generator, image_size: int, input_encoding: str) -> None:
    in_channels, out_channels = (network.arguments[f"{end}_channels"] for end in ("in", "out"))
    if out_channels != 3:
        raise ValueError(f"answers with {out_channels} channels; only RGB pictures can be audited")
    if input_encoding == "rgb" and in_channels != 3:
        raise ValueError(
            f"takes {in_channels} channels, not RGB pictures; set data.input_encoding=one_hot"
        )
    if image_size % network.stride or image_size < network.smallest:
        fits = max(network.smallest, round(image_size / network.stride) * network.stride)
        raise ValueError(
            f"takes images whose side is a multiple of {network.stride}, at least "
            f"{network.smallest}, but data.image_size={image_size}; set data.image_size={fits}"
        )
