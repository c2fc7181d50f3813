"""Image backbones: feature maps of any timm model, by block number or module name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock, local
from typing import Any, ClassVar, Self

import timm
import torch
from torch import Tensor, nn

from mia_lab.backbones.folding import feature_maps, folded
from mia_lab.backbones.weights import load_model, state_sha256
from mia_lab.errors import UserError, nearest
from mia_lab.parameters import File
from mia_lab.types import Layer

STRIDES = {1: 4, 2: 8, 3: 16, 4: 32}
"""Stride of each block number, the same for every backbone."""


@dataclass(frozen=True)
class Block:
    """A numbered block: its index among timm's feature maps, its stride, channels and module."""

    index: int
    stride: int
    channels: int
    module: str


class Backbone:
    """A frozen network that turns images into feature maps; several threads may use it at once.

    Images are normalised with the mean and standard deviation of timm's configuration of the
    model, with which its weights were trained.

    Args:
        name: timm's name of the model, with or without a tag (``wide_resnet50_2.tv_in1k``).
        weights: ``packaged`` (EfficientNet-Lite0 only), ``pretrained`` (timm's, from its hub),
            ``random`` (a control) or the path of a local file (safetensors or state dict).
        seed: seed of random weights; else unused.

    Raises:
        UserError: there is no such model, it has no feature maps, or the weights cannot be had or
            do not fit.
    """

    version: ClassVar[int] = 2

    def __init__(self, name: str, weights: File, *, seed: int = 0) -> None:
        model: Any
        model, self._origin = load_model(name, weights, seed)
        if not hasattr(model, "forward_intermediates"):
            raise UserError(f"backbone.name={name}: this model has no feature maps; choose another")
        self.name = name
        # Channels last: up to twice as fast on a CPU, and the layout of tensor cores on a GPU.
        self.model = model.to(memory_format=torch.channels_last)
        self.device = torch.device("cpu")
        self._folded: nn.Module | None = None
        self._recorder, self._watched, self._lock = _Recorder(), set[str](), Lock()
        self.blocks = _blocks(model)
        self._mean = torch.tensor(model.pretrained_cfg["mean"]).reshape(1, 3, 1, 1)
        self._std = torch.tensor(model.pretrained_cfg["std"]).reshape(1, 3, 1, 1)

    def to(self, device: str | torch.device) -> Self:
        """Move the network; returns itself."""
        self.device = torch.device(device)
        self.model.to(self.device)
        if self._folded is not None:
            self._folded.to(self.device)
        return self

    def describe(self) -> dict[str, str]:
        """Name, weights, licence and version of the network, for the record of a run."""
        kind, _, digest = self._origin.fingerprint.partition(":")
        return {
            "name": self.name,
            "weights": self._origin.source,
            "sha256": state_sha256(self.model.state_dict()) if kind == "pretrained" else digest,
            "licence": self._origin.licence,
            "timm": timm.__version__,
        }

    @property
    def label(self) -> str:
        """The network and the source of its weights, for tables and figures."""
        kind, _, digest = self._origin.fingerprint.partition(":")
        source = self._origin.source
        is_file = kind == "sha256" and source != "packaged"
        return f"{self.name} ({f'{Path(source).name} {digest[:8]}' if is_file else source})"

    def fingerprint(self) -> str:
        """Identifier of architecture and weights, independent of device and path; cheap."""
        return f"{self.name}:{self._origin.fingerprint}"

    def check_layers(
        self, layers: Sequence[Layer], image_size: int = 224, key: str = "difficulty.layers"
    ) -> None:
        """Check the layers early, by a forward pass of one black image.

        Args:
            layers: block numbers or module names.
            image_size: side of the images that the model will receive, in pixels.
            key: configuration key of the layers, for the error message.

        Raises:
            UserError: the model does not have a layer, a layer does not return a feature map, or
                the model does not accept images of this size.
        """
        if not layers:
            return
        modules = dict(self.model.named_modules())
        for layer in layers:
            known = not isinstance(layer, bool) and layer in self.blocks
            if not known and not (isinstance(layer, str) and layer and layer in modules):
                raise UserError(
                    f"{key}=[{layer}]: unknown layer; choose from {self._choices()}"
                    f"{nearest(str(layer), filter(None, modules))}"
                )
        image = torch.zeros(1, 3, image_size, image_size, device=self.device)
        try:
            outputs = self._run(image, layers)
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"backbone.name={self.name}: does not accept images of {image_size} x {image_size} "
                f"pixels ({reason}); change difficulty.grid_size or the backbone"
            ) from error
        for layer in layers:
            output = outputs.get(layer)
            if not isinstance(output, Tensor) or output.ndim != 4:
                raise UserError(
                    f"{key}=[{layer}]: this module does not return a feature map "
                    f"(N, C, H, W); choose from {self._choices()}"
                )

    def features(self, images: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
        """Feature maps of images at the native resolution of each layer.

        Args:
            images: float32 (N, C, H, W) in [0, 1], on any device. Other pictures than RGB enter by
                the rule of timm for ``in_chans``, see :func:`normalised`.
            layers: block numbers or module names that :meth:`check_layers` accepts.

        Returns:
            One (N, C_k, H_k, W_k) per layer, in the order of ``layers``, on the backbone's device.
        """
        outputs = self._run(images.to(self.device), layers)
        return [outputs[layer] for layer in layers]

    def _run(self, images: Tensor, layers: Sequence[Layer]) -> dict[Layer, Tensor]:
        """Numbered blocks from the folded network, named modules through hooks of the original.

        So the maps of a block do not depend on what else is asked for.
        """
        numbers = sorted(layer for layer in layers if isinstance(layer, int))
        names = [layer for layer in layers if isinstance(layer, str)]
        given = normalised(images, self._mean.to(images), self._std.to(images))
        given = given.contiguous(memory_format=torch.channels_last)
        self._watch(names)
        found: dict[Layer, Tensor] = {}
        with self._full_float32():
            if numbers:
                indices = [self.blocks[number].index for number in numbers]
                maps = feature_maps(self._without_norms(given), given, indices)
                found.update(zip(numbers, maps, strict=True))
            if names:
                with self._recorder.of(names) as outputs, torch.inference_mode():
                    model: Any = self.model
                    model.forward_features(given)
                found.update(outputs)
        return found

    def _without_norms(self, images: Tensor) -> nn.Module:
        """The network with normalisations folded into convolutions: the same maps, sooner."""
        with self._lock:
            if self._folded is None:
                indices = [block.index for block in self.blocks.values()]
                self._folded = folded(self.model, images[:1], indices)
        return self._folded

    def _watch(self, names: Sequence[str]) -> None:
        """Hand the outputs of modules to the recorder, from now on."""
        with self._lock:
            for name in names:
                if name not in self._watched:
                    hook = partial(self._recorder.record, name)
                    self.model.get_submodule(name).register_forward_hook(hook)
                    self._watched.add(name)

    @contextmanager
    def _full_float32(self) -> Iterator[None]:
        """Without TF32, so that scores differ between GPUs only by float32 rounding."""
        if self.device.type == "cpu":
            yield
            return
        allowed = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = allowed

    def _choices(self) -> str:
        """The available layers, for error messages."""
        listed = [
            f"{n} (stride {b.stride}, {b.channels} channels, {b.module})"
            for n, b in self.blocks.items()
        ]
        convs = (n for n, m in self.model.named_modules() if isinstance(m, nn.Conv2d))
        return ", ".join([*listed, f"or a module's name, such as {next(convs)}"])


class _Recorder(local):
    """Outputs of modules, by name; each thread has its own."""

    def __init__(self) -> None:
        self._outputs: dict[Layer, Tensor] = {}
        self._names: Sequence[str] = ()

    def __deepcopy__(self, memo: object) -> Self:  # with a network, whose hooks call it
        return self

    @contextmanager
    def of(self, names: Sequence[str]) -> Iterator[dict[Layer, Tensor]]:
        """Record some modules in this thread."""
        self._outputs, self._names = {}, names
        try:
            yield self._outputs
        finally:
            self._outputs, self._names = {}, ()

    def record(self, name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        """A forward hook, after its first argument."""
        if name in self._names:
            # A copy, because the next module (such as ReLU) may modify the tensor in place.
            self._outputs[name] = output.clone() if isinstance(output, Tensor) else output


def fastest_batch(backbone: Backbone) -> int:
    """Images a forward pass: two, whose maps fit in a core's cache, and 32 on a GPU."""
    return 2 if backbone.device.type == "cpu" else 32


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """What a network for RGB is given of pictures of any number of channels.

    timm adapts the weights of the first convolution (``adapt_input_conv``): one channel gets the
    sum of those of red, green and blue; N channels get them in turn, times 3 / N. Because a
    convolution is linear, the same results from grey as all three, and from N channels summed in
    turn, times 3 / N. Mean and deviation are those of the colour whose weights a channel gets.

    Args:
        images: (N, C, H, W) in [0, 1].
        mean, std: (1, 3, 1, 1).

    Returns:
        (N, 3, H, W).
    """
    channels = images.shape[1]
    if channels in (1, 3):
        return (images.expand(-1, 3, -1, -1) - mean) / std
    given = images.new_zeros(len(images), 3, *images.shape[2:])
    for start in range(0, channels, 3):
        part = images[:, start : start + 3]
        colours = slice(part.shape[1])
        given[:, colours] += (part - mean[:, colours]) / std[:, colours]
    return given * (3 / channels)


def _blocks(model: Any) -> dict[int, Block]:
    """The numbered blocks of a model; of several maps with the same stride, the deepest."""
    info = getattr(model.feature_info, "info", model.feature_info)
    deepest = {
        entry["reduction"]: Block(i, entry["reduction"], entry["num_chs"], entry["module"])
        for i, entry in enumerate(info)
    }
    return {number: deepest[stride] for number, stride in STRIDES.items() if stride in deepest}
