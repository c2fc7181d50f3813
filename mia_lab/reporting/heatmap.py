"""Heat maps of values over a grid of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mia_lab.types import Floats

Point = Mapping[str, str]
"""A point of a grid: a value for each axis, as in ``{"layers": "1,2", "ridge": "10"}``."""

Limits = tuple[float, float]
"""Values at the ends of a colour scale."""

INK = "#222222"
SMALL_PRINT = 7.5

READABLE_CELLS = 60
"""A heat map with more rows or columns is not enlarged, and shows no numbers."""


@dataclass(frozen=True)
class Panel:
    """One heat map: two axes of the grid vary, the others are fixed.

    Attributes:
        rows, columns: the axes' names and their values, in order.
        fixed: values of the other axes that vary between panels.
        points: (R, C) index of the point in each cell; -1 where there is none.
    """

    rows: tuple[str, tuple[str, ...]]
    columns: tuple[str, tuple[str, ...]]
    fixed: dict[str, str]
    points: np.ndarray

    @property
    def title(self) -> str:
        """The fixed axes as text; empty if there are none."""
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.fixed.items())


def panels(points: Sequence[Point], shown: tuple[str, str] | None = None) -> list[Panel]:
    """Lay a grid out in heat maps: two of its axes, once for each value of the others.

    Args:
        points: distinct ones; the panel with the first of them comes first, all with the same axes.
        shown: the axes of rows and columns; default: the two longest.
    """
    axes = {name: tuple(sorted({p[name] for p in points}, key=natural)) for name in points[0]}
    longest = sorted(axes, key=lambda name: -len(axes[name]))[:2]
    rows, columns = shown or (name for name in axes if name in longest)
    others = [name for name in axes if name not in (rows, columns) and len(axes[name]) > 1]
    place = {tuple(point.values()): i for i, point in enumerate(points)}
    if len(place) < len(points):
        raise ValueError("two points of the grid have the same name")
    found = []
    for values in product(*(axes[name] for name in others)):
        fixed = {name: values_[0] for name, values_ in axes.items()}
        fixed |= dict(zip(others, values, strict=True))
        cells = [
            [place.get(tuple((fixed | {rows: r, columns: c}).values()), -1) for c in axes[columns]]
            for r in axes[rows]
        ]
        varied = dict(zip(others, values, strict=True))
        panel = Panel((rows, axes[rows]), (columns, axes[columns]), varied, np.array(cells))
        found.append(panel)
    return sorted(found, key=lambda panel: 0 not in panel.points)


def colour_limits(values: Floats, widths: Floats, bounds: tuple[float, float]) -> Limits:
    """Ends of a colour scale: at least as far apart as the median confidence interval is wide.

    So differences that may be noise look alike.

    Args:
        values: what is drawn; finite.
        widths: of the 95 % intervals of the values; NaN where there is none.
        bounds: the smallest and the largest possible value.
    """
    middle, half = float(values.min() + values.max()) / 2, float(np.ptp(values)) / 2
    half = max(half, _typical(widths) / 2)
    return max(middle - half, bounds[0]), min(middle + half, bounds[1])


def colour_note(values: Floats, widths: Floats, limits: Limits) -> str:
    """What the colours between such limits mean, for the caption of a map."""
    spread, typical = float(np.ptp(values)), _typical(widths)
    differ = f"The values differ by at most {spread:.3f}"
    if not typical:
        return f"{differ}."
    if typical <= spread:
        return f"{differ}; the median 95 % interval is {typical:.3f} wide."
    return (
        f"{differ}, but the median 95 % interval is {typical:.3f} wide. So that noise does not "
        f"look like a pattern, the colours run from {limits[0]:.2f} to {limits[1]:.2f}."
    )


def _typical(widths: Floats) -> float:
    known = widths[np.isfinite(widths)]
    return float(np.median(known)) if len(known) else 0.0


def heatmap(
    panel: Panel,
    values: Floats,
    label: str,
    *,
    limits: tuple[float, float] | None = None,
    marks: Mapping[str, int] | None = None,
    notes: Sequence[str] | None = None,
) -> Figure:
    """A heat map with its numbers written in.

    Args:
        panel: which point goes where.
        values: of all points; NaN is drawn as an empty cell.
        label: what the values are.
        limits: of the colour scale, the same for all panels of a grid; default: of the values.
        marks: points to outline, by what to call them.
        notes: of all points, a second line below the number; "" for none.
    """
    shown = np.where(panel.points >= 0, values[panel.points], np.nan)
    finite = values[np.isfinite(values)]
    low, high = limits or ((finite.min(), finite.max()) if len(finite) else (0.0, 1.0))
    n_rows, n_columns = shown.shape
    readable = max(shown.shape) <= READABLE_CELLS
    width, height = (min(n, READABLE_CELLS) for n in (n_columns, n_rows))
    cell = (0.6, 0.42) if notes else (0.46, 0.3)  # inches
    figure = Figure(figsize=(max(4.2, 1.7 + cell[0] * width), max(2.6, 1.9 + cell[1] * height)))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shown, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    for row, column in np.argwhere(np.isfinite(shown) & readable):
        value = shown[row, column]
        shade = colormaps["cividis"]((value - low) / ((high - low) or 1.0))
        ink = "white" if np.dot(shade[:3], (0.3, 0.59, 0.11)) < 0.5 else "black"
        text = f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
        text = text.replace("0.", ".", 1) if abs(float(text)) < 1 else text
        note = notes[panel.points[row, column]] if notes else ""
        text = f"{text}\n{note}" if note else text
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=SMALL_PRINT)
    for (name, labels), axis in ((panel.rows, axes.yaxis), (panel.columns, axes.xaxis)):
        axis.set_ticks(range(len(labels)), [tick(text) for text in labels])
        axis.set_label_text(name.replace("_", " "), color=INK, fontsize=9.5)
    if max(len(tick(text)) for text in panel.columns[1]) > 6:
        axes.tick_params(axis="x", rotation=40)
        for words in axes.get_xticklabels():
            words.set(ha="right", rotation_mode="anchor")
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(panel.title.replace(", ", "\n"), fontsize=9.5, color=INK)
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05)
    bar.set_label(label, fontsize=9, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=INK)
    _outline(axes, panel, marks or {})
    if axes.patches:
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    return figure


def _outline(axes: Axes, panel: Panel, marks: Mapping[str, int]) -> None:
    """Frame each marked cell of this panel; the second frame is smaller, so both stay visible."""
    styles = (("#D55E00", "-", 0.0), ("#000000", (0, (2, 1.5)), 0.09))
    for (name, point), style in zip(marks.items(), styles[: len(marks)], strict=True):
        colour, line, inset = style
        for row, column in np.argwhere(panel.points == point):
            corner = column - 0.5 + inset, row - 0.5 + inset
            side = 1 - 2 * inset
            frame = Rectangle(corner, side, side, fill=False, ec=colour, lw=2, ls=line, label=name)
            frame.set_clip_on(False)
            axes.add_patch(frame)


def natural(value: str) -> tuple[bool, int, list[float], str]:
    """Sort key: numbers by value, lists of numbers by length, then words."""
    parts = value.split(",")
    try:
        return False, len(parts), [float(part) for part in parts], value
    except ValueError:
        return True, len(parts), [], value


def tick(text: str, length: int = 26) -> str:
    """The label of a tick: large numbers as 1e8, long words shortened."""
    try:
        number = float(text)
    except ValueError:
        return text if len(text) <= length else text[: length - 3] + "..."
    power = f"{number:.0e}".replace("e+0", "e").replace("e-0", "e-")
    return power if abs(number) >= 1e4 and float(power) == number else f"{number:g}"
