"""Plain networks, in the key layouts of the published checkpoints."""

from __future__ import annotations

from torch import Tensor, nn


def translate_unit_range(network: nn.Module, x: Tensor) -> Tensor:
    """Run a network that works on [-1, 1] on images in [0, 1]."""
    out: Tensor = (network(2 * x - 1) + 1) / 2
    return out
