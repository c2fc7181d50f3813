"""Recognise published networks by the names and shapes of their tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from mia_lab.victims.networks.local_enhancer import LocalEnhancer
from mia_lab.victims.networks.norms import has_bias
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet

Generator = UNet | ResNetGenerator | LocalEnhancer
Shapes = Mapping[str, tuple[int, ...]]
Recognised = tuple[type[Generator], dict[str, Any], tuple[str, ...]]

FOREIGN = ("pix2pix", "pix2pixhd")

PUBLISHED_DROPOUT = 0.5
"""Dropout of residual blocks; the published code has it as a constant."""

_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")

_WEIGHT = r"(?:parametrizations\.)?weight"
_MARKS = (
    (rf"model\.model\.0\.{_WEIGHT}", rf"model\.model\.1\.model\.1\.{_WEIGHT}"),  # U-Net
    (rf"model\.1\.{_WEIGHT}", r"model\.\d+\.conv_block\."),  # residual
)
"""Patterns of names of two tensors; a generator has both."""

ELSEWHERE = "wrap it in a class (victim=custom), or export it (victim=onnx, victim=exported)"
"""Remedy for networks that are not built here."""

_OURS = "use the generator, latest_net_G.pth"
_FAMILIES = (
    # What is said of it, what to do, and a pattern of the names of its tensors.
    ("SPADE (GauGAN)", ELSEWHERE, r"(head_0|up_\d|G_middle_\d)\.(norm_|conv_)|\.mlp_shared\."),
    ("CUT, with anti-aliased resampling", ELSEWHERE, r"model\.\d+\.filt$"),
    ("the feature network of CUT", _OURS, r"mlp_\d+\.\d\.weight$"),
    ("StyleGAN", ELSEWHERE, r"(synthesis|mapping)\.\w+|to_rgbs?\d*\.|\.modulation\.|style\.\d+\."),
    ("a diffusion U-Net", ELSEWHERE, r"(time_embed\w*|time_mlp|down_blocks|input_blocks)\."),
    (
        "a discriminator of pix2pixHD",
        _OURS,
        r"(scale\d+_layer|layer)\d+\.\d+\.weight$|discriminator_\d+\.model",
    ),
    (
        "a segmentation U-Net",
        ELSEWHERE,
        r"double_conv|maxpool_conv|segmentation_head\.|decoder\.blocks\.|(encoder|decoder)\d\.|outc\.",
    ),
    ("a discriminator of pix2pix", _OURS, rf"(model|net)\.0\.{_WEIGHT}"),
    ("a network without residual blocks", _OURS, rf"model\.1\.{_WEIGHT}"),
)


def prefixes(names: Iterable[str]) -> list[str]:
    """Find the prefixes of the names of tensors, one for each published generator among them."""
    names, found = list(names), set()
    for marks in _MARKS:
        places = [
            {match[1] for name in names if (match := re.match(rf"(|.*\.){mark}", name))}
            for mark in marks
        ]
        found |= set.intersection(*places)
    return sorted(found)


def family(names: Iterable[str]) -> str:
    """Name the kind of a network that is not built here, and the remedy; "" if it is unknown."""
    names = list(names)
    for described, remedy, pattern in _FAMILIES:
        if any(re.search(rf"(^|\.)({pattern})", name) for name in names):
            return f"is {described}; {remedy}"
    return ""


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the running statistics of norms without weights.

    Old versions of PyTorch saved them for instance norm; the published code removes them, too.
    """
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
    for first, infer in (("model.model.0.weight", _unet), ("model.1.weight", _residual)):
        if len(shapes.get(first, ())) == 4:
            return infer(shapes, dropout)
    raise ValueError(unknown(shapes))


def unknown(names: Iterable[str]) -> str:
    """Say why no network can be built from some tensors, and what to do."""
    return family(names) or (
        "is not a generator of mia_lab, pix2pix or pix2pixHD (no convolution is called "
        f"model.model.0 or model.1); {ELSEWHERE}"
    )


def _unet(shapes: Shapes, dropout: float) -> Recognised:
    width, in_channels = shapes["model.model.0.weight"][:2]
    _check_upsampling(shapes, "model.model.3", r"model\.model\.(\d+)\.weight")
    depth = sum(len(shape) == 4 for shape in shapes.values()) // 2
    if depth < 5:
        raise ValueError(f"is a U-Net of {depth} levels; published U-Nets have at least 5")
    arguments = {
        "image_size": 2**depth,
        "in_channels": in_channels,
        "out_channels": _side(shapes, "model.model.3.weight", axis=1),
        "width": width,
        "dropout": dropout,
        "norm": _norm(shapes, "model.model.0.bias" in shapes),
    }
    return UNet, arguments, ("pix2pix",)


def _residual(shapes: Shapes, _: float) -> Recognised:
    blocks = _numbers(shapes, r"model\.(\d+)\.conv_block\.")
    if not blocks:
        raise ValueError(unknown(shapes))
    n_enhancers = len(_numbers(shapes, r"model(\d+)_1\."))
    convolutions = sum(
        len(shape) == 4 for key, shape in shapes.items() if re.fullmatch(r"model\.\d+\.weight", key)
    )
    # The first and, without enhancers, the last convolution keep the size.
    n_downsamplings = (convolutions - (1 if n_enhancers else 2)) // 2
    if n_downsamplings < 1:
        raise ValueError("has residual blocks, but no downsampling before them")
    _check_upsampling(shapes, f"model.{blocks[-1] + 1}", r"model\.(\d+)\.weight")
    bias = "model.1.bias" in shapes
    norm = _norm(shapes, bias)
    arguments = {
        "in_channels": shapes["model.1.weight"][1],
        "width": shapes["model.1.weight"][0],
        "n_downsamplings": n_downsamplings,
        "n_blocks": len(blocks),
        "norm": norm,
    }
    if n_enhancers:
        return LocalEnhancer, arguments | _enhancers(shapes, n_enhancers), ("pix2pixhd",)
    # Dropout moves the second convolution of a block from index 5 to 6.
    has_dropout = len(shapes.get(f"model.{blocks[0]}.conv_block.6.weight", ())) == 4
    arguments |= {
        "out_channels": _out_channels(shapes, "model"),
        "dropout": PUBLISHED_DROPOUT if has_dropout else 0.0,
        "bias": bias,
    }
    in_pix2pix = n_downsamplings == 2 and bias == has_bias(norm)
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


def _check_upsampling(shapes: Shapes, layer: str, pattern: str) -> None:
    """Refuse a decoder whose first layer with a weight is not where the published one has it."""
    later = [n for n in _numbers(shapes, pattern) if n > int(layer.rpartition(".")[2])]
    if f"{layer}.weight" not in shapes and later:
        raise ValueError(
            f"upsamples in another way than by a transposed convolution {layer}, perhaps by "
            f"interpolation and a convolution; {ELSEWHERE}"
        )


def _norm(shapes: Shapes, bias: bool) -> str:
    """The norm: only batch norm has statistics, and only instance norm follows biases.

    Raises:
        ValueError: the norm is neither of these.
    """
    if any(key.endswith(".weight") and len(shape) == 1 for key, shape in shapes.items()):
        if any(key.endswith(".running_mean") for key in shapes):
            return "batch"
        if bias:
            return "affine_instance"
        raise ValueError(
            "has norms with weights but without statistics, after convolutions without biases: "
            "group norm, or batch norm without statistics, which no published generator has; "
            f"{ELSEWHERE}"
        )
    return "instance" if bias else "none"


def _numbers(shapes: Shapes, pattern: str) -> list[int]:
    return sorted({int(match[1]) for key in shapes if (match := re.match(pattern, key))})


def _out_channels(shapes: Shapes, branch: str) -> int:
    last = max(_numbers(shapes, rf"{branch}\.(\d+)\."), default=0)
    return _side(shapes, f"{branch}.{last}.weight", axis=0)


def _side(shapes: Shapes, key: str, axis: int) -> int:
    """Channels of a last convolution; 3 if it is missing, which loading the state dict reports."""
    shape = shapes.get(key, ())
    return shape[axis] if len(shape) == 4 else 3
