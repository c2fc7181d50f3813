"""Batch normalisation folded into the convolution before it: the same network, with less to do.

A frozen normalisation is linear, so that the convolution can do its work. On a CPU this saves a
quarter to a third of a forward pass.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest relative difference between the maps of both networks; float32 rounding stays below."""


def folded(model: nn.Module, image: Tensor, indices: Sequence[int]) -> nn.Module:
    """A copy of a network without its frozen normalisations, or the network itself.

    Which convolution feeds which normalisation is seen in one forward pass. Whether the copy
    computes the same is checked on the same image, so that other architectures stay as they are.

    Args:
        model: a timm model in evaluation mode.
        image: float32 (1, 3, H, W), as the network receives it.
        indices: of the feature maps that are compared.
    """
    found = copy.deepcopy(model)
    pairs = _pairs(found, image)
    for conv, norm in pairs:
        found.set_submodule(conv, _joined(*map(found.get_submodule, (conv, norm))))
        found.set_submodule(norm, _rest(found.get_submodule(norm)))
    if not pairs:
        return model
    before, after = (feature_maps(network, image, indices) for network in (model, found))
    for old, new in zip(before, after, strict=True):
        if not torch.allclose(old, new, rtol=0, atol=TOLERANCE * float(old.abs().max())):
            log.debug("normalisations stay: without them, the network computes something else")
            return model
    return found


def _pairs(model: nn.Module, image: Tensor) -> list[tuple[str, str]]:
    """Names of convolutions and of the normalisations that get their outputs."""
    outputs: dict[int, tuple[str, Tensor]] = {}
    pairs: list[tuple[str, str]] = []
    hooks = []

    def leaves(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs[id(output)] = name, output  # kept, so that its id stays its own

        return hook

    def enters(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if id(inputs[0]) in outputs:
                pairs.append((outputs[id(inputs[0])][0], name))

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(leaves(name)))
        elif type(module) in (nn.BatchNorm2d, BatchNormAct2d):
            hooks.append(module.register_forward_pre_hook(enters(name)))
    with torch.inference_mode():
        model(image)
    for hook in hooks:
        hook.remove()
    once = {name for pair in pairs for name in pair if sum(name in p for p in pairs) == 1}
    return [pair for pair in pairs if once.issuperset(pair)]


def _joined(conv: Any, norm: Any) -> nn.Module:
    """The convolution that does the work of both."""
    joined: nn.Module = copy.copy(conv)
    joined._parameters = dict(conv._parameters)
    joined.weight, joined.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    joined.requires_grad_(False)
    return joined


def _rest(norm: Any) -> nn.Module:
    """What a layer does besides normalising."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()


def feature_maps(model: Any, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
    """Some feature maps of a timm model, by ascending indices."""
    with torch.inference_mode():
        found: list[Tensor] = model.forward_intermediates(
            images, indices=list(indices), intermediates_only=True, stop_early=True
        )
    return found
