"""The normalisations of the published networks."""

from __future__ import annotations

from torch import nn


def norm_layer(norm: str, channels: int) -> nn.Module:
    """A norm layer: ``batch``, ``group`` and ``affine_instance`` have weights.

    ``instance`` has none, and ``none`` is the identity. Groups have 8 channels, or all channels if
    their number is not a multiple of 8.

    Raises:
        ValueError: the norm is unknown.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels)
    if norm == "affine_instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if norm == "group":
        return nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm={norm}: must be batch, instance, affine_instance, group or none")


def has_bias(norm: str) -> bool:
    """Whether pix2pix's convolutions before such a norm have biases."""
    return norm in ("instance", "affine_instance")
