"""Read files of weights without running code, and recognise the architecture."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mia_lab.backbones.state import archive_members, check_state
from mia_lab.errors import UserError, one_line
from mia_lab.victims.networks.local_enhancer import LocalEnhancer
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet

Generator = UNet | ResNetGenerator | LocalEnhancer
Shapes = Mapping[str, tuple[int, ...]]
Recognised = tuple[type[Generator], dict[str, Any], tuple[str, ...]]

FOREIGN = ("pix2pix", "pix2pixhd")

PUBLISHED_DROPOUT = 0.5
"""Dropout of residual blocks, a constant of the published code."""

_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


@dataclass(frozen=True)
class Checkpoint:
    """Content of a file of weights.

    Attributes:
        tensors: tensors of the network's state dict, by name.
        recipe: architecture and arguments of the network; None for a file that mia_lab did not
            write.
    """

    tensors: dict[str, Tensor]
    recipe: Mapping[str, Any] | None


def read(path: Path) -> Checkpoint:
    """Read safetensors (by the file's suffix), a state dict, or a Lightning checkpoint of mia_lab.

    Raises:
        UserError: the file is missing, damaged, or contains anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            tensors, recipe = _read_safetensors(path)
        else:
            tensors, recipe = _split(_read_pickle(path))
        check_state(tensors, path)
    except ValueError as error:
        raise UserError(f"victim.checkpoint={path}: {error}") from error
    return Checkpoint(dict(tensors), recipe)


def _split(content: Any) -> tuple[Mapping[Any, Any], Any]:
    """The tensors of a pickled file, and the recipe that a Lightning checkpoint of ours holds."""
    if not isinstance(content, Mapping):
        raise ValueError(
            f"contains a {type(content).__name__}, not a state dict; save the network's "
            "state_dict()"
        )
    if not _is_from_mia_lab(content):
        return content, None
    state, prefix = content["state_dict"], "generator."
    own = {k: v for k, v in state.items() if isinstance(k, str) and k.startswith(prefix)}
    return {k.removeprefix(prefix): v for k, v in own.items()}, content["generator"]


def _is_from_mia_lab(content: Mapping[Any, Any]) -> bool:
    """Whether the content is that of a Lightning checkpoint with a recipe of the generator."""
    recipe = content.get("generator")
    is_recipe = isinstance(recipe, Mapping) and {"architecture", "arguments"} <= recipe.keys()
    return is_recipe and isinstance(content.get("state_dict"), Mapping)


def _read_safetensors(path: Path) -> tuple[Mapping[str, Tensor], Any]:
    try:
        with safe_open(path, framework="pt") as file:
            recipe = (file.metadata() or {}).get("generator")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # of types that PyTorch or this version of the reader lacks
        raise ValueError(f"cannot be read ({one_line(str(error))})") from error
    try:
        return tensors, None if recipe is None else json.loads(recipe)
    except (ValueError, RecursionError) as error:
        reason = one_line(str(error))
        raise ValueError(
            f"its metadata 'generator' is no JSON of mia_lab ({reason}); export it again"
        ) from error


def _read_pickle(path: Path) -> Any:
    archive_members(path)
    try:
        with warnings.catch_warnings():  # torch warns about files that it then rejects
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or malicious file may raise anything
        if "TorchScript" in str(error):
            raise ValueError("is a TorchScript program; use victim=exported") from error
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"contains code besides tensors ({one_line(code[1])}), so it was not loaded; if "
                "you trust the file, save the network's state_dict() in another file"
            ) from error
        is_missing = isinstance(error, OSError) and error.filename is not None
        reason = one_line(str(error)) if is_missing else "not a file of weights"
        raise ValueError(
            f"cannot be read ({reason}); use a state dict saved by torch.save, or a .safetensors "
            "file"
        ) from error


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the traces of its training.

    Removes the prefix of DataParallel, and the running statistics of norms without weights: old
    versions of PyTorch saved them for instance norm, and the published code removes them as well.
    """
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return {
        key: value
        for key, value in tensors.items()
        if not key.endswith(_STATISTICS) or key.rpartition(".")[0] + ".weight" in tensors
    }


def recognise(tensors: Mapping[str, Tensor], dropout: float) -> Recognised:
    """Infer the architecture of a published network from its tensors.

    Args:
        tensors: tensors of a state dict, see :func:`plain`.
        dropout: dropout of a U-Net, which its tensors do not determine.

    Returns:
        The class, its arguments, and the formats (``pix2pix``, ``pix2pixhd``) that use it.

    Raises:
        ValueError: the tensors are not those of a published generator.
    """
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    if any(re.match(r"(scale\d+_layer|layer)\d+\.\d+\.weight$", key) for key in shapes):
        raise ValueError("is a discriminator of pix2pixHD; use the generator, latest_net_G.pth")
    if len(shapes.get("model.0.weight", ())) == 4 or "net.0.weight" in shapes:
        raise ValueError("is a discriminator of pix2pix; use the generator, latest_net_G.pth")
    for first, infer in (("model.model.0.weight", _unet), ("model.1.weight", _residual)):
        if len(shapes.get(first, ())) == 4:
            return infer(shapes, dropout)
    raise ValueError(
        "is not a generator of mia_lab, pix2pix or pix2pixHD (no convolution is called "
        "model.model.0 or model.1); wrap other models in a class with a translate method"
    )


def _unet(shapes: Shapes, dropout: float) -> Recognised:
    width, in_channels = shapes["model.model.0.weight"][:2]
    depth = sum(len(shape) == 4 for shape in shapes.values()) // 2
    if depth < 5:
        raise ValueError(f"is a U-Net of {depth} levels; published U-Nets have at least 5")
    arguments = {
        "image_size": 2**depth,
        "in_channels": in_channels,
        "out_channels": _side(shapes, "model.model.3.weight", axis=1),
        "width": width,
        "dropout": dropout,
        "norm": _norm(shapes, "model.model.0.bias"),
    }
    return UNet, arguments, ("pix2pix",)


def _residual(shapes: Shapes, _: float) -> Recognised:
    blocks = _numbers(shapes, r"model\.(\d+)\.conv_block\.")
    if not blocks:
        raise ValueError("has no residual blocks; use the generator, latest_net_G.pth")
    n_enhancers = len(_numbers(shapes, r"model(\d+)_1\."))
    convolutions = sum(
        len(shape) == 4 for key, shape in shapes.items() if re.fullmatch(r"model\.\d+\.weight", key)
    )
    # The first and, without enhancers, the last convolution keep the size.
    n_downsamplings = (convolutions - (1 if n_enhancers else 2)) // 2
    if n_downsamplings < 1:
        raise ValueError("has residual blocks, but no downsampling before them")
    arguments = {
        "in_channels": shapes["model.1.weight"][1],
        "width": shapes["model.1.weight"][0],
        "n_downsamplings": n_downsamplings,
        "n_blocks": len(blocks),
        "norm": _norm(shapes, "model.1.bias"),
    }
    if n_enhancers:
        return LocalEnhancer, arguments | _enhancers(shapes, n_enhancers), ("pix2pixhd",)
    # Dropout moves the second convolution of a block from index 5 to 6.
    has_dropout = len(shapes.get(f"model.{blocks[0]}.conv_block.6.weight", ())) == 4
    bias = "model.1.bias" in shapes
    arguments |= {
        "out_channels": _out_channels(shapes, "model"),
        "dropout": PUBLISHED_DROPOUT if has_dropout else 0.0,
        "bias": bias,
    }
    in_pix2pix = n_downsamplings == 2 and bias == (arguments["norm"] == "instance")
    fitting = {"pix2pix": in_pix2pix, "pix2pixhd": bias and not has_dropout}
    formats = tuple(name for name, fits in fitting.items() if fits)
    return ResNetGenerator, arguments, formats or FOREIGN


def _enhancers(shapes: Shapes, n_enhancers: int) -> dict[str, Any]:
    finest = f"model{n_enhancers}_2"
    return {
        "out_channels": _out_channels(shapes, finest),
        "width": shapes["model.1.weight"][0] // 2**n_enhancers,
        "n_enhancers": n_enhancers,
        "n_local_blocks": len(_numbers(shapes, rf"{finest}\.(\d+)\.conv_block\.")),
    }


def _norm(shapes: Shapes, first_bias: str) -> str:
    """The norm; batch norm has weights, instance norm has convolutions with biases."""
    if any(key.endswith(".weight") and len(shape) == 1 for key, shape in shapes.items()):
        return "batch"
    if first_bias in shapes:
        return "instance"
    raise ValueError(
        f"has neither norm weights nor {first_bias}: networks without norm are not supported"
    )


def _numbers(shapes: Shapes, pattern: str) -> list[int]:
    return sorted({int(match[1]) for key in shapes if (match := re.match(pattern, key))})


def _out_channels(shapes: Shapes, branch: str) -> int:
    last = max(_numbers(shapes, rf"{branch}\.(\d+)\."), default=0)
    return _side(shapes, f"{branch}.{last}.weight", axis=0)


def _side(shapes: Shapes, key: str, axis: int) -> int:
    """Channels of a last convolution; 3 if it is missing, which loading the state dict reports."""
    shape = shapes.get(key, ())
    return shape[axis] if len(shape) == 4 else 3
