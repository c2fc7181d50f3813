"""The type of every defence's configuration keys."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class NoDefense:
    """The victim's answers as they are."""

    _target_: str | None = None
    name: str = MISSING


@dataclass
class OutputNoise(NoDefense):
    """Noise on the answers."""

    sigma: float = MISSING


@dataclass
class Quantisation(NoDefense):
    """Few levels."""

    levels: int = MISSING


@dataclass
class Jpeg(NoDefense):
    """Compression."""

    quality: int = MISSING


@dataclass
class Smoothing(NoDefense):
    """Blur."""

    sigma: float = MISSING


@dataclass
class Resizing(NoDefense):
    """Reduction."""

    factor: float = MISSING


DEFENSES = {
    "none": NoDefense,
    "output_noise": OutputNoise,
    "quantisation": Quantisation,
    "jpeg": Jpeg,
    "smoothing": Smoothing,
    "resizing": Resizing,
}
