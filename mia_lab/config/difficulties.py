"""The type of every difficulty's configuration keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Grid:
    """Further settings of the difficulty score; all combinations are evaluated in one run."""

    layers: list[Any] = field(default_factory=list)
    ridge: list[Any] = field(default_factory=list)
    alpha: list[float] = field(default_factory=list)
    features_from: list[str] = field(default_factory=list)
    backbone: list[Any] = field(default_factory=list)


@dataclass
class SingleImage:
    """The single-image difficulty score."""

    _target_: str = MISSING
    name: str = MISSING
    layers: list[Any] = MISSING
    ridge: Any = MISSING
    features_from: str = MISSING
    preprocess: str = MISSING
    grid_size: int = MISSING
    protocol: str = MISSING
    folds: int = MISSING
    repeats: int = MISSING
    error: str = MISSING
    precision: str = MISSING
    maps: bool = MISSING
    keep_gb: float = MISSING
    batch_size: int = MISSING
    grid: Grid = field(default_factory=Grid)


@dataclass
class WholeImage:
    """A difficulty of one number an image, without settings."""

    _target_: str = MISSING
    name: str = MISSING


@dataclass
class ImageStatistics(WholeImage):
    """A statistic of one picture of each pair."""

    statistic: str = MISSING
    of: str = MISSING


@dataclass
class Supervised(WholeImage):
    """A difficulty learned from labels."""

    folder: str = MISSING
    image_size: int = MISSING
    of: str = MISSING


DIFFICULTIES = {
    "single_image": SingleImage,
    "whole_image": WholeImage,
    "image_statistics": ImageStatistics,
    "supervised": Supervised,
}
