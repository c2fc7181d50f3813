"""Networks with the state dict keys of the published checkpoints."""

from __future__ import annotations

from torch import Tensor, nn


def translate_unit_range(network: nn.Module, x: Tensor, input_encoding: str = "rgb") -> Tensor:
    """Run a network with outputs in [-1, 1] on inputs in [0, 1].

    Args:
        network: accepts pictures in [-1, 1], or one-hot labels in {0, 1}.
        x: float (N, C, H, W) in [0, 1].
        input_encoding: ``rgb`` or ``one_hot``.

    Returns:
        float (N, 3, H, W) in [0, 1].
    """
    out: Tensor = (network(network_range(x, input_encoding)) + 1) / 2
    return out


def network_range(x: Tensor, input_encoding: str) -> Tensor:
    """Convert inputs to the range of the published networks: pictures [-1, 1], labels {0, 1}."""
    return 2 * x - 1 if input_encoding == "rgb" else x


class UnitRange(nn.Module):
    """A published network as a module from [0, 1] to [0, 1]; see :func:`translate_unit_range`."""

    def __init__(self, network: nn.Module, input_encoding: str) -> None:
        super().__init__()
        self.network = network
        self.input_encoding = input_encoding

    def forward(self, x: Tensor) -> Tensor:
        return translate_unit_range(self.network, x, self.input_encoding)
