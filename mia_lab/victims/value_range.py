"""The values that stand for 0 and 1 in the inputs and answers of other people's programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from mia_lab.parameters import both_ranges

Value = TypeVar("Value")

ROUNDING = 1e-6
"""How far beyond its range an answer may be, as a share of the range; it is then clamped."""


@dataclass(frozen=True)
class Interval:
    """The values that stand for 0 and 1; those between are mapped linearly, in float64."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:g},{self.high:g}]"

    def scaled(self, x: Tensor) -> Tensor:
        """Images in [0, 1] in this range; float64, unchanged if the range is [0, 1]."""
        return x if self == UNIT else self.low + (self.high - self.low) * x.double()

    def unit(self, values: Tensor) -> Tensor:
        """Images of this range in [0, 1]; values up to `ROUNDING` outside of it are clamped."""
        found = values if self == UNIT else (values.double() - self.low) / (self.high - self.low)
        return found.clamp(0, 1)

    def contains(self, low: float, high: float) -> bool:
        """Whether values between two others are in this range, up to `ROUNDING`."""
        slack = ROUNDING * (self.high - self.low)
        return self.low - slack <= low and high <= self.high + slack


UNIT, SIGNED, LEVELS = Interval(0, 1), Interval(-1, 1), Interval(0, 255)


def intervals(spans: Any) -> tuple[Interval | None, Interval | None]:
    """The ranges of inputs and of answers that :data:`~mia_lab.parameters.ValueRanges` declare."""
    inputs, answers = (None if span is None else Interval(*span) for span in both_ranges(spans))
    return inputs, answers


KEEPING = {
    *("identity", "alias", "clone", "detach", "contiguous", "lift_fresh_copy", "dropout", "pad"),
    *("if", "cast", "castlike", "to", "_to_copy", "type", "float", "double", "half"),
    *("quantizelinear", "dequantizelinear", "clip", "clamp", "hardtanh", "transpose", "permute"),
    *("movedim", "reshape", "view", "flatten", "squeeze", "unsqueeze", "expand", "slice", "select"),
    *("narrow", "gather", "index", "split", "chunk", "unbind", "getitem", "concat", "cat", "flip"),
    *("roll", "tile", "repeat", "depthtospace", "spacetodepth", "pixel_shuffle", "pixel_unshuffle"),
    *("resize", "upsample", "interpolate", "upsample_nearest2d", "upsample_bilinear2d"),
    *("upsample_bicubic2d", "tupleconstruct", "tupleunpack", "tupleindex", "listconstruct"),
    *("listunpack", "dictconstruct"),
}
"""Operations of ONNX, torch.export and TorchScript that keep the range of what they are given."""


CLIPS = ("clip", "clamp", "hardtanh")
"""Those of them whose results have a lower bound."""


@dataclass(frozen=True)
class Operation(Generic[Value]):
    """The operation of a graph that gives a value.

    Attributes:
        name: of the operation.
        inputs: the values that it is given.
        least: lower bound of its results, if it is one of `CLIPS` with a constant bound; else None.
    """

    name: str
    inputs: Iterable[Value]
    least: float | None = None


def ends_in_tanh(ends: Iterable[Value], source: Callable[[Value], Operation[Value] | None]) -> bool:
    """Whether values of a graph come from tanh, with operations that keep a range at most.

    Values that are clipped from below at 0 or more are in no range of tanh.

    Args:
        ends: the values.
        source: the operation that a value comes from; None: of no operation.
    """
    waiting, seen = list(ends), set()
    while waiting:
        value = waiting.pop()
        if str(value) in seen or (found := source(value)) is None:
            continue
        seen.add(str(value))
        name = plain_name(found.name)
        if name == "tanh":
            return True
        if name in KEEPING and not (found.least is not None and found.least >= 0):
            waiting.extend(found.inputs)
    return False


def plain_name(operation: str) -> str:
    """The name of an operation without the mark of those that work in place."""
    return operation.lower().rstrip("_")
