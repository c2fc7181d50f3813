"""Weights under spectral norm or weight norm, of which files hold the parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SPECTRAL, WEIGHT = "spectral norm", "weight norm"

_NEW = "parametrizations.weight"
_FORMS = (
    # Norm, and its tensors of a layer: the weight that it divides comes first.
    (SPECTRAL, ("weight_orig", "weight_u", "weight_v")),
    (SPECTRAL, (f"{_NEW}.original", f"{_NEW}.0._u", f"{_NEW}.0._v")),
    (WEIGHT, ("weight_v", "weight_g")),
    (WEIGHT, (f"{_NEW}.original1", f"{_NEW}.original0")),
)
"""As torch.nn.utils and torch.nn.utils.parametrizations name them."""

_OTHER = re.compile(r"\.(weight_orig|bias_orig|parametrizations\..*)$")


@dataclass(frozen=True)
class Normed:
    """A layer's weight under a norm.

    Attributes:
        norm: `SPECTRAL` or `WEIGHT`.
        parts: the tensors that the weight is computed from.
    """

    norm: str
    parts: tuple[Tensor, ...]

    def weight(self, axis: int) -> Tensor:
        """The weight that the layer uses in evaluation mode (Miyato et al. 2018, eq. 8).

        Args:
            axis: of the weight, with the layer's outputs.

        Raises:
            RuntimeError: the parts do not fit together.
        """
        first = self.parts[0]
        weight, *rest = (
            part.to(torch.promote_types(first.dtype, torch.float32)) for part in self.parts
        )
        if self.norm == WEIGHT:
            (length,) = rest
            over_all = -1
            dim = next((i for i, size in enumerate(length.shape) if size > 1), 0)
            axes = [size if i == dim else 1 for i, size in enumerate(weight.shape)]
            if length.ndim and list(length.shape) != axes:  # PyTorch does not check it
                raise RuntimeError(f"a length of shape {tuple(length.shape)}")
            return torch._weight_norm(weight, length, dim if length.ndim else over_all)
        u, v = rest
        return weight / torch.dot(u, torch.mv(weight.transpose(0, axis).flatten(1), v))


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Normed]]:
    """Name each weight as if it had no norm.

    Returns:
        The state dict, in which the weight that is to be divided stands for the layer's weight, and
        the layers whose weights :func:`fold` computes.

    Raises:
        ValueError: a weight is computed in another way.
    """
    plain, normed = dict(tensors), {}
    for norm, (first, *others) in _FORMS:
        for key in tensors:
            layer = key.removesuffix(f".{first}")
            keys = [key, *(f"{layer}.{other}" for other in others)]
            if layer != key and plain.keys() >= set(keys):
                normed[layer] = Normed(norm, tuple(plain.pop(k) for k in keys))
                plain[f"{layer}.weight"] = normed[layer].parts[0]
    if unknown := next((key for key in plain if _OTHER.search(key)), None):
        raise ValueError(
            f"the tensor {unknown} is part of a weight that is neither under spectral norm nor "
            "under weight norm; save the state_dict() after "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    return plain, normed


def fold(
    tensors: Mapping[str, Tensor], normed: Mapping[str, Normed], network: nn.Module
) -> dict[str, Tensor]:
    """The state dict of a network without norms of weights, which answers the same.

    Args:
        tensors, normed: from :func:`split`.
        network: says which layers are transposed; needs no memory.

    Raises:
        ValueError: the tensors of a layer do not fit together.
    """
    layers = dict(network.named_modules())
    folded = dict(tensors)
    for layer, weight in normed.items():
        axis = 1 if isinstance(layers.get(layer), nn.ConvTranspose2d) else 0
        try:
            folded[f"{layer}.weight"] = weight.weight(axis)
        except (RuntimeError, IndexError) as error:
            raise ValueError(
                f"the tensors of the {weight.norm} of {layer} do not fit together"
            ) from error
    return folded
