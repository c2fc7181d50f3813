"""The progress of a long step: a bar on a terminal, one line when the step ends elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

BRIEF_S = 2.0
"""A brief step shows nothing until it has taken this long."""

SLOW = 90
"""From this many seconds on, a duration is told in minutes; from as many minutes, in hours."""


def duration(seconds: float) -> str:
    """A duration in words.

    Example:
        >>> duration(0.2), duration(300), duration(7000)
        ('1 s', '5 min', '1.9 h')
    """
    if seconds < SLOW:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{round(minutes)} min" if minutes < SLOW else f"{minutes / 60:.1f} h"


def progress(
    steps: Iterable[T],
    name: str,
    unit: str = "images",
    *,
    total: int | None = None,
    is_brief: bool = False,
) -> tqdm[T]:
    """Iterate, and show on stderr how far that has come.

    Args:
        steps: what to iterate over.
        name: of what is done, such as "checking images".
        unit: what is counted.
        total: number of steps, where ``steps`` has no length.
        is_brief: whether it usually takes so little time that nobody needs to see it.
    """
    is_live = sys.stderr.isatty()
    delay = BRIEF_S if is_brief else 0
    leave = not (is_live and is_brief)
    kind = tqdm if is_live else _OneLine
    return kind(steps, name, total, unit=f" {unit}", delay=delay, leave=leave)


def progress_bar(name: str, total: int, unit: str = "images", **options: Any) -> tqdm[Any]:
    """The same for code that counts by itself, with ``update`` of what this returns.

    Args:
        name: of what is done.
        total: number of units.
        unit: what is counted.
        options: of tqdm.
    """
    kind = tqdm if sys.stderr.isatty() else _OneLine
    return kind(desc=name, total=total, unit=f" {unit}", **options)


class _OneLine(tqdm):  # type: ignore[type-arg]
    """Prints one line when the step ends: in a file, no cursor returns to draw a bar again."""

    monitor_interval = 0  # no thread: there is nothing to draw

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if self.disable:  # `close` has set it, and ends the line
            scaled = self.format_sizeof if self.unit_scale else str
            count = scaled(self.n)
            if self.total is not None and self.n < self.total:
                count += f" of {scaled(self.total)}"
            name, seconds = self.desc.removesuffix(": "), time.time() - self.start_t
            self.fp.write(f"{name}: {count}{self.unit} in {seconds:.1f} s")
