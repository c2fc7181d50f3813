"""Where the scores of members and non-members lie: histograms and the scatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mia_lab.evaluation.decision import hindsight
from mia_lab.evaluation.results import DecisionQuality
from mia_lab.reporting.canvas import (
    ATTACK_COLOURS,
    INK,
    MEMBER_COLOUR,
    NONMEMBER_COLOUR,
    legend_below,
    new_figure,
    tidy,
)
from mia_lab.reporting.numbers import percent
from mia_lab.types import Floats


@dataclass(frozen=True)
class Sample:
    """The errors of one attack.

    Attributes:
        attack: its name.
        error: float64 (N,), low means member.
        is_member: bool (N,).
        decisions: thresholds to mark.
    """

    attack: str
    error: Floats
    is_member: NDArray[np.bool_]
    decisions: DecisionQuality


def histogram_figure(samples: Sequence[Sample]) -> Figure:
    """Errors of members against non-members, one panel an attack, with the thresholds."""
    columns = 1 if len(samples) <= 4 else 2
    rows = -(-len(samples) // columns)
    figure = new_figure((2.35 if columns == 1 else 1.75) * rows + 1.05)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, sample in zip(panels, samples, strict=False):
        _panel(axes, sample)
        if columns > 1:
            axes.set_xlabel(f"{sample.attack} error", fontsize=8)
            axes.set_ylabel("images (%)", fontsize=8)
    for axes in panels[len(samples) :]:
        axes.remove()
    legend_below(figure, panels[0])
    return figure


def _panel(axes: Axes, sample: Sample) -> None:
    bins = int(np.clip(2 * np.sqrt(len(sample.error)) / 1.5, 8, 60))
    edges = np.histogram_bin_edges(sample.error, bins=bins)
    members, others = sample.error[sample.is_member], sample.error[~sample.is_member]
    styles: tuple[tuple[Floats, str, dict[str, Any]], ...] = (
        (others, "non-members", {"color": NONMEMBER_COLOUR, "alpha": 0.75}),
        (members, "members", {"histtype": "step", "color": MEMBER_COLOUR, "lw": 1.6}),
    )
    for error, label, style in styles:
        # As shares: there may be more of one kind than of the other.
        weights = np.full(len(error), 100 / len(error))
        axes.hist(
            error, bins=list(edges), weights=weights, label=f"{label} ({len(error)})", **style
        )
    fixed = {f: point for f, point in sample.decisions.fixed_threshold.items() if point is not None}
    for number, point in enumerate(fixed.values()):
        rates = ", ".join(percent(f) for f in fixed)
        label = f"threshold{'s' * (len(fixed) > 1)} from auxiliaries, FPR {rates}"
        style = {"lw": 1.2, "ls": (0, (1, 1.5))}
        axes.axvline(-point.threshold, color=INK, label="" if number else label, **style)
    best = sample.decisions.hindsight.threshold
    if best is not None:
        label = "best threshold, in hindsight"
        axes.axvline(-best, color=INK, lw=1.5, ls=(0, (5, 2)), label=label)
    axes.set_xlabel(f"{sample.attack} error (members to the left)")
    axes.set_ylabel("share of images (%)")
    tidy(axes)


def scatter_figure(
    reconstruction_error: Floats, difficulty: Floats, is_member: NDArray[np.bool_], alpha: float
) -> Figure:
    """Reconstruction error against difficulty, with a line of equal membership error.

    The line is L_rec = alpha * L_diff + tau (Eq. 3) at the threshold that maximises TPR - FPR on
    these very images: the best in hindsight, not one that an attacker could have fixed beforehand.

    Args:
        reconstruction_error: (N,) mean absolute error, in [0, 1].
        difficulty: (N,) same unit.
        is_member: bool (N,).
        alpha: weight of the difficulty.
    """
    figure = new_figure(4.9)
    axes = figure.add_subplot()
    best = hindsight(-(reconstruction_error - alpha * difficulty), is_member).threshold
    # Smaller where there are many, so that they don't merge into one blot.
    size = float(np.clip(5000 / len(is_member), 6, 24))
    style: dict[str, Any] = {"s": size, "linewidths": 0.6 + size / 50}
    axes.scatter(
        difficulty[~is_member],
        reconstruction_error[~is_member],
        marker="o",
        color=NONMEMBER_COLOUR,
        label=f"non-members ({np.count_nonzero(~is_member)})",
        **style,
    )
    axes.scatter(
        difficulty[is_member],
        reconstruction_error[is_member],
        marker="x",
        color=MEMBER_COLOUR,
        label=f"members ({np.count_nonzero(is_member)})",
        **style,
    )
    # Fixed to the points: the line must not stretch the axes.
    limits = axes.get_xlim(), axes.get_ylim()
    if best is not None:
        label = f"membership error = {-best:.4g}, best in hindsight"
        colour = ATTACK_COLOURS["membership"]
        axes.axline((0, -best), slope=alpha, color=colour, lw=1.8, ls="--", label=label)
    axes.set(xlim=limits[0], ylim=limits[1])
    axes.set_xlabel("difficulty (error of the probe on held-out pixels)")
    axes.set_ylabel("reconstruction error (mean absolute, 0-1)")
    tidy(axes)
    legend_below(figure, axes)
    return figure
