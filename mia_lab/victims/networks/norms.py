"""The normalisations of the published networks."""

from __future__ import annotations

from torch import nn


def norm_layer(norm: str, channels: int) -> nn.Module:
    """``batch``: batch norm with weights; ``instance``: instance norm without any.

    Raises:
        ValueError: another name.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels)
    raise ValueError(f"norm={norm}: must be batch or instance")
