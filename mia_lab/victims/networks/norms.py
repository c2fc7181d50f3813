"""The normalisations of the published networks."""

from __future__ import annotations

from torch import nn


def norm_layer(norm: str, channels: int) -> nn.Module:
    """``batch``, ``group``: with weights; ``instance``: instance norm without any.

    Groups hold 8 channels, or all of them where they are fewer or no multiple.

    Raises:
        ValueError: another name.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)
    raise ValueError(f"norm={norm}: must be batch, instance or group")
