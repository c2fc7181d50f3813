"""The normalisations of the published networks."""

from __future__ import annotations

from torch import nn


def norm_layer(norm: str, channels: int) -> nn.Module:
    """A norm layer: ``batch`` and ``group`` have weights, ``instance`` has none.

    Groups have 8 channels, or all channels if their number is not a multiple of 8.

    Raises:
        ValueError: the norm is unknown.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)
    raise ValueError(f"norm={norm}: must be batch, instance or group")
