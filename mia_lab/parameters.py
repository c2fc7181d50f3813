"""What the signature of a component says of its parameters: ranges, and a part in its identity.

A component is a class or function that a ``_target_`` of the configuration names. Its parameters
carry types, ranges and defaults; :mod:`mia_lab.config.component` checks settings against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BeforeValidator


@dataclass(frozen=True)
class Marker:
    """A note on a parameter that no type can express.

    Attributes:
        name: what it says.
    """

    name: str


RUNTIME = Marker("runtime")
"""No part of a component's identity: it changes no number, or it counts in another way."""

FILE = Marker("file")
"""Names a file or a folder, which counts by its content; another word counts as it is."""


def _number_as_text(value: object) -> object:
    """The command line reads a name of digits as a number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _expand_home(path: str) -> str:
    """No shell has expanded the tilde of a configuration file."""
    return str(Path(path).expanduser()) if path.startswith("~") else path


Text = Annotated[str, BeforeValidator(_number_as_text)]
"""A name, which may consist of digits."""

PathName = Annotated[Text, AfterValidator(_expand_home)]
"""A path, ``~`` for the home folder."""

File = Annotated[PathName, FILE]
"""A path whose content is part of a component's identity."""

LARGEST = 1e12
"""No setting is larger: its square, and sums of it, stay within the range of float32."""

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
Weight = Annotated[float, Ge(-LARGEST), Le(LARGEST)]
Positive = Annotated[float, Gt(0), Le(LARGEST)]
NonNegative = Annotated[float, Ge(0), Le(LARGEST)]
UnitInterval = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
"""In [0, 1), such as a probability of dropout."""

OpenUnitInterval = Annotated[float, Gt(0), Lt(1)]

MIN_SIDE, MAX_SIDE = 16, 8192
"""Smallest and largest height and width of a picture, in pixels; stored ones may be larger."""


def _one_or_two_sides(size: object) -> object:
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(type(side) is int and MIN_SIDE <= side <= MAX_SIDE for side in sides):
        raise ValueError(
            f"must be one side, or [width, height], of {MIN_SIDE} to {MAX_SIDE} pixels"
        )
    return sides if len({*sides}) == 2 else sides[0]


ImageSize = Annotated[int | list[int], BeforeValidator(_one_or_two_sides)]
"""Size of pictures, in pixels: the side of a square, or [width, height]."""


def _colours(palette: object) -> object:
    """Their levels and their number are checked with what reads them."""
    colours: list[object] = palette if isinstance(palette, list) else [palette]
    for colour in colours:
        levels: list[object] = colour if isinstance(colour, list) else []
        if len(levels) != 3 or not all(type(level) is int for level in levels):
            raise ValueError(
                "must be a list of colours [red, green, blue], one for each class, such as "
                "[[0,0,0],[255,0,0]]"
            )
    return palette


Palette = Annotated[list[list[int]], BeforeValidator(_colours)]
"""Colours of classes: [red, green, blue] each."""


def width_height(size: int | Sequence[int]) -> tuple[int, int]:
    """Width and height of an :data:`ImageSize`."""
    width, height = (size, size) if isinstance(size, int) else size
    return width, height


def size_text(image_size: int | Sequence[int]) -> str:
    """An :data:`ImageSize` as the command line takes it, such as ``256`` or ``[512,256]``."""
    width, height = width_height(image_size)
    return str(width) if width == height else f"[{width},{height}]"


def described(size: int | Sequence[int]) -> str:
    """An :data:`ImageSize` in words, such as "64 px" or "512 x 256 px"."""
    width, height = width_height(size)
    return f"{width} px" if width == height else f"{width} x {height} px"


def _ranges(spans: Any) -> Any:
    try:
        for low, high in filter(None, both_ranges(spans)):
            if not -LARGEST <= low < high <= LARGEST:
                raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            "must be [low, high], low below high, such as [0, 255], or such a range of the input "
            "and one of the target, [[low, high], [low, high]]"
        ) from None
    return spans


ValueRanges = Annotated[list[Any], BeforeValidator(_ranges)]
"""The values that mean 0 and 1: [low, high], or one such range, or None, of the input and one of
the target."""


def both_ranges(spans: Any) -> list[tuple[float, float] | None]:
    """The range of the input and that of the target, of :data:`ValueRanges`."""
    if spans is None:
        return [None, None]
    low, high = spans
    if isinstance(low, int | float) and isinstance(high, int | float):
        return [(float(low), float(high))] * 2
    return [None if span is None else _pair(*span) for span in spans]


def _pair(low: float, high: float) -> tuple[float, float]:
    return float(low), float(high)


InputEncoding = Literal["rgb", "one_hot"]
"""What victims are given of an input: its picture, or its labels."""

QueryMode = Literal["eval", "train"]
"""The state of a network that answers; see :class:`~mia_lab.victims.blackbox.TorchBlackBox`."""

Accelerator = Annotated[Literal["auto", "cpu", "gpu"], RUNTIME]

Side = Literal["input", "target"]
"""One picture of a pair."""
