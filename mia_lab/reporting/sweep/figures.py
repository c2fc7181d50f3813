"""A sweep as pictures: heat maps of two axes, a curve of one."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mia_lab.evaluation.finished import Setting, Sweep
from mia_lab.evaluation.repeats import FEWEST_SEEDS, Mean
from mia_lab.reporting.canvas import INK, Picture, attack_colours, new_figure, png, tidy
from mia_lab.reporting.frames import records
from mia_lab.reporting.heatmap import (
    colour_limits,
    colour_note,
    heatmap,
    natural,
    panels,
    tick,
)
from mia_lab.reporting.sweep.settings import (
    attack_rows,
    attacks,
    axis_text,
    has_repeats,
    is_repeat,
    main_attack,
    setting_axes,
    settings,
)
from mia_lab.reporting.sweep.words import at
from mia_lab.types import Floats

PAIRS = (("victim", "layers"), ("layers", "ridge"))
"""Axes, rows before columns, that are worth heat maps wherever both vary."""

MOST = 4
"""Heat maps of one pair of axes and one measure."""

BAR = 32
"""Characters of a line along a colour scale."""

CROWDED = 24
"""Values beyond which an axis of words loses some of its ticks."""


WIDE = 30
"""Largest over smallest value from which an axis of numbers is logarithmic."""


@dataclass(frozen=True)
class Measure:
    """Something to draw.

    Attributes:
        name: in file names.
        words: what it is called on the page.
        value: of a setting.
        column: of the sweep's rows that holds its value at each point.
        bounds: its smallest and its largest possible value.
    """

    name: str
    words: str
    value: Callable[[Setting], Mean | None]
    column: str
    bounds: tuple[float, float]


@dataclass(frozen=True)
class Dot:
    """A place on the axis of a curve, the value there, and its interval if there is one."""

    at: str
    value: float
    ci95: tuple[float, float] | None


def draw(sweep: Sweep) -> tuple[Picture, ...]:
    """Heat maps where two axes vary, else a curve; nothing where no axis does."""
    axes = setting_axes(sweep)
    if len(axes) > 1:
        return _heatmaps(sweep, axes)
    repeats = [axis for axis in sweep.axes if is_repeat(axis)]
    axis = next(iter([*axes, *repeats]), None)
    return () if axis is None else (_curve(sweep, axis),)


def _measures(sweep: Sweep) -> list[Measure]:
    name = main_attack(sweep)
    measures = [Measure("auc", f"AUC, {name}", lambda s: s.auc, "auc", (0, 1))]
    if any(s.gain is not None for s in settings(sweep, name)):
        words = f"AUC gain, {name} over reconstruction"
        measures.append(Measure("gain", words, lambda s: s.gain, "difference", (-1, 1)))
    return measures


def _heatmaps(sweep: Sweep, axes: Sequence[str]) -> tuple[Picture, ...]:
    pairs = [pair for pair in PAIRS if set(pair) <= set(axes)] or [_longest(sweep, axes)]
    return tuple(
        picture
        for measure in _measures(sweep)
        for pair in pairs
        for picture in _pair(sweep, measure, pair)
    )


def _longest(sweep: Sweep, axes: Sequence[str]) -> tuple[str, str]:
    rows = records(sweep.rows)
    counts = {axis: len({axis_text(row[axis]) for row in rows}) for axis in axes}
    return max(combinations(axes, 2), key=lambda pair: counts[pair[0]] + counts[pair[1]])


def _pair(sweep: Sweep, measure: Measure, pair: tuple[str, str]) -> list[Picture]:
    """Heat maps of two axes, one for each combination of the other axes; the best one first."""
    means = [s for s in settings(sweep, main_attack(sweep)) if measure.value(s) is not None]
    means.sort(key=lambda s: -s.auc.value)
    known = [m for s in means if (m := measure.value(s)) is not None]
    values = np.array([mean.value for mean in known])
    notes = [f"±{m.half_width:.3f}".replace("0.", ".", 1) if m.ci95 else "" for m in known]
    laid = panels([s.at for s in means], pair)
    widths = _widths(sweep, measure, means)
    limits = colour_limits(values, widths, measure.bounds)
    caption = colour_note(values, widths, limits)
    pictures = []
    for number, panel in enumerate(laid[:MOST], start=1):
        figure = heatmap(
            panel,
            values,
            "\n".join([*textwrap.wrap(measure.words, BAR), *_repeats(known)]),
            limits=limits,
            notes=notes if any(notes) else None,
        )
        name = "-".join([measure.name, *pair, *([str(number)] if len(laid) > 1 else [])])
        where = f" at {panel.title}" if panel.title else ""
        title = f"{measure.words}: {_words(pair[0])} by {_words(pair[1])}{where}"
        alt = _alt(means, measure)
        pictures.append(Picture(name.replace(".", "_"), title, alt, png(figure), caption=caption))
    return pictures


def _widths(sweep: Sweep, measure: Measure, means: Sequence[Setting]) -> Floats:
    """Of the 95 % intervals: of a mean over seeds, or of its only point; NaN for none."""
    low, high = (f"{measure.column}_ci95_{end}" for end in ("low", "high"))
    rows = {row["point"]: row for row in attack_rows(sweep, main_attack(sweep))}
    widths = []
    for setting in means:
        mean, row = measure.value(setting), rows[setting.points[0]]
        if mean is not None and mean.n == 1:
            widths.append(row[high] - row[low])
        else:
            widths.append(np.nan if mean is None else 2 * mean.half_width)
    return np.array(widths)


def _repeats(means: Sequence[Mean]) -> list[str]:
    """How many runs are behind each value, in a line; none where it is one."""
    low, high = min(m.n for m in means), max(m.n for m in means)
    if high == 1:
        return []
    count = str(high) if low == high else f"{low} to {high}"
    if any(m.ci95 for m in means):
        spread = "± 95 % interval"
    else:
        few = high < FEWEST_SEEDS
        spread = "too few for an interval" if few else "the same value for all"
    return [f"mean of {count} seeds, {spread}"]


def _alt(means: Sequence[Setting], measure: Measure) -> str:
    known = [(s, m) for s in means if (m := measure.value(s)) is not None]
    best, high = max(known, key=lambda pair: pair[1].value)
    worst, low = min(known, key=lambda pair: pair[1].value)
    return (
        f"{measure.words}: from {low.value:.3f} ({at(worst.at)}) to {high.value:.3f} "
        f"({at(best.at)}), over {len(known)} settings."
    )


def _words(axis: str) -> str:
    return axis.replace("_", " ")


def _curve(sweep: Sweep, axis: str) -> Picture:
    lines = {name: _dots(sweep, axis, name) for name in attacks(sweep)}
    has_means = not is_repeat(axis) and has_repeats(sweep)
    figure = curve_figure(lines, axis, joined=not is_repeat(axis))
    has_bars = any(dot.ci95 is not None for dots in lines.values() for dot in dots)
    bars = "with 95 % intervals of each run"
    if has_means:
        bars = "with 95 % intervals over seeds (Student's t)" if has_bars else "means over seeds"
    ends = "; ".join(
        f"{name} from {min(d.value for d in dots):.3f} to {max(d.value for d in dots):.3f}"
        for name, dots in lines.items()
    )
    title = f"AUC against {_words(axis)}, {bars}"
    return Picture(f"auc-{axis}".replace(".", "_"), title, f"{title}: {ends}.", png(figure))


def _dots(sweep: Sweep, axis: str, attack: str) -> list[Dot]:
    """One row for each value of the axis: a mean over seeds, or one run with its interval."""
    rows = {row["point"]: row for row in attack_rows(sweep, attack)}
    if is_repeat(axis):
        each = [(axis_text(row[axis]), row) for row in rows.values() if row[axis] is not None]
        return [Dot(place, row["auc"], _own(row)) for place, row in each]
    return [
        Dot(s.at[axis], s.auc.value, s.auc.ci95 if s.auc.n > 1 else _own(rows[s.points[0]]))
        for s in settings(sweep, attack)
    ]


def _own(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["auc_ci95_low"], row["auc_ci95_high"]


def curve_figure(lines: dict[str, list[Dot]], axis: str, *, joined: bool) -> Figure:
    """Values with intervals, a line an attack.

    Args:
        lines: by attack.
        axis: what varies.
        joined: whether the values have an order that a line may follow; it does if they are
            numbers.
    """
    places = sorted({dot.at for dots in lines.values() for dot in dots}, key=natural)
    position, numeric = _positions(places)
    figure = new_figure(3.4)
    axes = figure.add_subplot()
    axes.axhline(0.5, color="#888888", lw=1, ls=":", zorder=1)
    colours = attack_colours(lines)
    gap = (max(position.values()) - min(position.values()) or 1.0) / max(len(places), 4)
    for i, (name, dots) in enumerate(lines.items()):
        shift = 0.12 * gap * (i - (len(lines) - 1) / 2)  # so that intervals don't cover each other
        _line(axes, dots, position, shift, colours[name], name, joined and numeric)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.03), min(high, 1.03))  # two seeds' interval may be wider than an AUC
    shown = places[:: -(-len(places) // CROWDED)]
    axes.set_xticks([position[place] for place in shown], [tick(place) for place in shown])
    if not numeric and max(map(len, places)) > 6:
        axes.tick_params(axis="x", rotation=40)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_xlabel(_words(axis))
    axes.set_ylabel("AUC with 95 % interval", color=INK)
    tidy(axes)
    figure.legend(loc="outside lower center", frameon=False, fontsize=9, ncols=len(lines))
    return figure


def _line(
    axes: Axes,
    dots: Sequence[Dot],
    position: dict[str, float],
    shift: float,
    colour: str,
    name: str,
    joined: bool,
) -> None:
    dots = sorted(dots, key=lambda dot: position[dot.at])
    x = [position[dot.at] + shift for dot in dots]
    for place, dot in zip(x, dots, strict=True):
        if dot.ci95 is not None:
            axes.plot([place, place], dot.ci95, color=colour, lw=1.6, solid_capstyle="butt")
    axes.plot(
        x,
        [d.value for d in dots],
        color=colour,
        marker="o",
        ms=4.5,
        lw=1.4,
        ls="-" if joined else "",
        label=name,
    )


def _positions(places: Sequence[str]) -> tuple[dict[str, float], bool]:
    """Where values lie on an axis, and whether as numbers: by size, or by their logarithms."""
    numbers = [_number(place) for place in places]
    numeric = all(math.isfinite(n) for n in numbers)
    if numeric and min(numbers) > 0 and max(numbers) >= WIDE * min(numbers):
        numbers = [math.log10(n) for n in numbers]
    return dict(
        zip(places, numbers if numeric else map(float, range(len(places))), strict=True)
    ), numeric


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
