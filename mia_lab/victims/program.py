"""A program that other software wrote, as a function from images in [0, 1] to images in [0, 1]."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mia_lab.errors import UserError, listed, one_line
from mia_lab.parameters import MIN_SIDE, size_text
from mia_lab.victims.value_range import LEVELS, SIGNED, UNIT, Interval

log = logging.getLogger(__name__)

LARGEST_SIDE = 2**14
"""Largest size that a file may state: of images at once, of channels, of height, and of width."""

Layout = Literal["nchw", "nhwc"]
"""Whether the channels of a batch come before height and width, or last."""

Sizes = Sequence[Any]
"""Sizes of a batch as a file states them; those that are whole numbers are fixed."""


@dataclass(frozen=True)
class InputShape:
    """Sizes of the batches that a program takes; None where it takes any.

    Attributes:
        batch: images at once.
        channels: of each.
        height, width: of each, in pixels.
        most: images at once, where their number has a limit.
    """

    batch: int | None = None
    channels: int | None = None
    height: int | None = None
    width: int | None = None
    most: int | None = None

    @classmethod
    def of(cls, sizes: Sizes, layout: Layout, key: str, most: int | None = None) -> InputShape:
        """From the sizes that a file states.

        Raises:
            UserError: they are not four, or out of range.
        """
        if len(sizes) != 4:
            raise UserError(
                f"{key}: takes inputs of {len(sizes)} dimensions; export a model that translates "
                "images (N, C, H, W) or (N, H, W, C)"
            )
        fixed = [s if type(s) is int else None for s in sizes]
        if any(s is not None and not 1 <= s <= LARGEST_SIDE for s in fixed):
            raise UserError(
                f"{key}: takes inputs of shape {shown(sizes)}; export a model whose sizes are from "
                f"1 to {LARGEST_SIDE}"
            )
        batch, *rest = fixed
        channels, height, width = rest if layout == "nchw" else (rest[2], *rest[:2])
        return cls(batch, channels, height, width, most)


@dataclass(frozen=True)
class Format:
    """How a program takes and gives images.

    Attributes:
        shape: of what it takes.
        dtype: type of its inputs; whole numbers are rounded to the nearest level.
        layouts: of inputs and answers.
        declared: ranges of inputs and answers; None: [0, 1] for real numbers, [0, 255] for bytes.
    """

    shape: InputShape
    dtype: torch.dtype
    layouts: tuple[Layout, Layout]
    declared: tuple[Interval | None, Interval | None]

    def taken(self, key: str) -> Interval:
        """The range of the inputs.

        Raises:
            UserError: inputs of this type are not images, or cannot hold this range.
        """
        natural = natural_range(self.dtype)
        if natural is None:
            raise UserError(
                f"{key}: takes {_name(self.dtype)}; export a model of float32, float64, float16 or "
                "uint8"
            )
        declared, answers = self.declared
        if declared is None:
            return natural
        if natural == LEVELS and not LEVELS.contains(declared.low, declared.high):
            raise UserError(
                f"victim.value_range: {key} takes uint8, which cannot be {declared}; set "
                f"victim.value_range=[[0,255],{answers or 'null'}]"
            )
        return declared

    def report(self, key: str, answers: torch.dtype | None) -> None:
        """Log how images are converted, if they are.

        Args:
            key: what to call the program.
            answers: type of its answers; None: not known.
        """
        given = self.declared[1] or (natural_range(answers) if answers else None)
        takes = self.dtype, self.layouts[0], self.taken(key)
        gives = answers, self.layouts[1], given
        plain = (torch.float32, "nchw", UNIT)
        if takes != plain or gives not in (plain, (None, "nchw", None)):
            log.info("%s: takes %s and gives %s", key, _described(*takes), _described(*gives))


class Program:
    """A black box that calls a function of image batches.

    Args:
        run: on the CPU, takes and gives batches of the format.
        format: where the batch size is fixed, batches are cut and filled up.
        key: what to call it in errors.

    Raises:
        UserError: inputs of the format's type are not images, or cannot hold its range.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], format: Format, key: str) -> None:
        self._run = run
        self._format = format
        self._taken = format.taken(key)
        self._key = key

    def __call__(self, x: Tensor) -> Tensor:
        """Translate a batch.

        Args:
            x: float32 (N, C, H, W) in [0, 1].

        Returns:
            float32 (N, C', H, W) in [0, 1], of as many channels as the program gives.

        Raises:
            UserError: the program fails, or gives something else than images of this size within
                its range.
        """
        shape = self._format.shape
        self._check(x)
        size = shape.batch or min(len(x), shape.most or len(x))
        answers = []
        for start in range(0, len(x), size):
            part = x[start : start + size]
            filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
            answers.append(self._answer(filled)[: len(part)])
        return torch.cat(answers)

    def _answer(self, x: Tensor) -> Tensor:
        layout, other_layout = self._format.layouts
        values = self._taken.scaled(x)
        if not self._format.dtype.is_floating_point:
            values = values.round()
        values = values.to(self._format.dtype)
        if layout == "nhwc":
            values = values.permute(0, 2, 3, 1).contiguous()
        try:
            answer = self._run(values)
        except UserError:
            raise
        except Exception as error:  # of whatever library runs it
            lines = [s.strip() for s in str(error).splitlines() if s.strip()] or [""]
            # TorchScript begins with where it happened, and ends with what.
            reason = lines[-1 if lines[0].startswith("The following operation") else 0]
            reason = one_line(reason, 500)
            raise UserError(
                f"{self._key}: fails on images of shape {tuple(x.shape)} ({reason}); "
                "does data.image_size fit it?"
            ) from error
        images = answer
        if other_layout == "nhwc" and answer.ndim == 4:
            images = answer.permute(0, 3, 1, 2).contiguous()
        n, _, height, width = x.shape
        if images.shape != (n, *images.shape[1:2], height, width) or not images.shape[1]:
            raise UserError(
                f"{self._key}: answers images of shape {tuple(x.shape)} with shape "
                f"{tuple(images.shape)}, expected ({n}, C, {height}, {width}); export a model that "
                "translates images to images of the same size"
            )
        return self._unit(images)

    def _unit(self, images: Tensor) -> Tensor:
        """Answers as float32 in [0, 1]."""
        declared, natural = self._format.declared[1], natural_range(images.dtype)
        if natural is None:
            raise UserError(
                f"{self._key}: answers with {_name(images.dtype)}; export a model of float32, "
                "float64, float16 or uint8"
            )
        expected = declared or natural
        numbers = images.double()  # not all devices know the extremes of other types
        low, high = numbers.min().item(), numbers.max().item()
        # The caller refuses answers that are not finite.
        if not math.isnan(low) and not expected.contains(low, high):
            name = f"victim.value_range, {expected}" if declared else str(expected)
            remedy = "declare what the model gives" if declared else self._remedy(low, high)
            raise UserError(
                f"{self._key}: answers with values from {low:.6g} to {high:.6g}, outside {name}; "
                f"{remedy}"
            )
        return expected.unit(images).float()

    def _remedy(self, low: float, high: float) -> str:
        for likely in (SIGNED, LEVELS):
            if likely.contains(low, high) and (likely == SIGNED or high > 2):
                return declaring(likely, self._format.dtype)
        return "declare its range with victim.value_range=[low,high]"

    def _check(self, x: Tensor) -> None:
        shape, (height, width) = self._format.shape, x.shape[2:]
        wanted = [shape.width or width, shape.height or height]
        if wanted != [width, height]:
            raise UserError(
                f"{self._key}: takes images of width {wanted[0]} and height {wanted[1]}, but "
                f"data.image_size={size_text([width, height])}; set data.image_size="
                f"{size_text(wanted)}"
            )


def natural_range(dtype: torch.dtype) -> Interval | None:
    """The undeclared range of images of a type; None: numbers of this type are not images."""
    if dtype.is_floating_point:
        return UNIT
    return LEVELS if dtype == torch.uint8 else None


def declaring(answers: Interval, inputs: torch.dtype) -> str:
    """Say how to declare the range of answers, as the remedy of an error."""
    own = natural_range(inputs)
    if own == answers:
        return f"set victim.value_range={answers}"
    if own == LEVELS:
        return f"set victim.value_range=[{own},{answers}]"
    return (
        f"set victim.value_range={answers}, or [{UNIT},{answers}] if its inputs are in [0, 1] "
        "nevertheless"
    )


def losing(dtype: torch.dtype | None) -> str | None:
    """Name the type of answers, such as ``float16 numbers``, if it may round float32; else None."""
    is_exact = dtype in (None, torch.float32, torch.float64)
    return None if is_exact else f"{_name(dtype)} numbers"


def choose_output(shapes: Mapping[str, Sizes | None], output: str | None, key: str) -> str:
    """Name of the output that holds the images.

    Args:
        shapes: sizes of each output by its name; None: not known.
        output: the name that is asked for; None: the only output that can hold images.
        key: what to call the program in errors.

    Raises:
        UserError: there is no such output, or several can hold images.
    """
    given = listed(
        one_line(name) if sizes is None else f"{one_line(name)} {shown(sizes)}"
        for name, sizes in shapes.items()
    )
    if output is not None:
        if output not in shapes:
            raise UserError(
                f"{key}: gives no victim.output={output}; choose one of {given or 'none'}"
            )
        return output
    images = [name for name, sizes in shapes.items() if sizes is None or len(sizes) == 4]
    if len(images) != 1 and len(shapes) != 1:
        remedy = f"choose one with victim.output={one_line((images or [*shapes])[0])}"
        raise UserError(
            f"{key}: gives {given or 'nothing'}; "
            f"{remedy if shapes else 'export a model that gives images'}"
        )
    (found,) = shapes if len(shapes) == 1 else images
    if len(shapes) > 1:
        log.info("%s: gives %s; %s is the only one that can hold images", key, given, found)
    return found


def read_layouts(
    inputs: Sizes, answers: Sizes, declared: Layout | None, key: str
) -> tuple[Layout, Layout]:
    """The layouts of inputs and answers, from the sizes that a file states.

    The channels are the one of the second and the last size that is fixed, or that is below
    `MIN_SIDE`, or that differs from the two others. If the sizes of one side do not decide it,
    those of the other side do; if no size is fixed, channels come second.

    Raises:
        UserError: the sizes leave it open, or do not fit the declared layout.
    """
    if declared is not None:
        for sizes, what in ((inputs, "takes inputs"), (answers, "gives answers")):
            sides = sizes[2:] if declared == "nchw" else sizes[1:3]
            if len(sizes) == 4 and any(type(s) is int and 1 <= s < MIN_SIDE for s in sides):
                raise UserError(
                    f"{key}: {what} of shape {shown(sizes)}, which victim.layout={declared} does "
                    f"not fit: height and width would be {' and '.join(map(str, sides))}, and "
                    f"images have at least {MIN_SIDE} x {MIN_SIDE} pixels; leave it out"
                )
        return declared, declared
    found = _layout(inputs), _layout(answers)
    takes = found[0] or found[1]
    if takes is None:
        if len(inputs) == 4 and any(type(inputs[place]) is int for place in (1, 3)):
            raise UserError(
                f"{key}: takes inputs of shape {shown(inputs)}, of which the second size or the "
                "last may be the channels; set victim.layout=nchw or nhwc"
            )
        takes = "nchw"
    return takes, found[1] or takes


def _layout(sizes: Sizes) -> Layout | None:
    if len(sizes) != 4:
        return None
    _, second, third, last = (s if type(s) is int else None for s in sizes)
    if last is None:
        return None if second is None else "nchw"
    if second is None:
        return "nhwc" if last < MIN_SIDE else None
    if (second < MIN_SIDE) != (last < MIN_SIDE):
        return "nchw" if second < MIN_SIDE else "nhwc"
    if second != last and third in (second, last):
        return "nchw" if third == last else "nhwc"
    return None


def channels_of(sizes: Sizes, layout: Layout) -> int | None:
    """Channels of a batch of some sizes; None where they are not fixed."""
    if len(sizes) != 4:
        return None
    channels = sizes[1 if layout == "nchw" else 3]
    return channels if type(channels) is int else None


def shown(sizes: Sizes) -> str:
    """Sizes in a message."""
    texts = [one_line(str(s), 30) if s is not None else "?" for s in sizes]
    return f"({', '.join(text or '?' for text in texts)})"


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


def _described(dtype: torch.dtype | None, layout: Layout, values: Interval | None) -> str:
    kind = _name(dtype) if dtype else "numbers"
    return f"{kind} {layout.upper()}" + (f" in {values}" if values else "")
