"""Several audits side by side, as pictures."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mia_lab.evaluation.finished import FinishedRun, RunComparison
from mia_lab.evaluation.results import Estimate
from mia_lab.evaluation.roc import roc_curve
from mia_lab.reporting.canvas import INK, QUIET, Picture, attack_colours, new_figure, png, tidy
from mia_lab.reporting.comparison.words import attacks_of, summary
from mia_lab.reporting.numbers import interval

# Okabe & Ito's, without those that stand for an attack.
_RUN_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7")
_LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))
_MARKERS = "osD^vP"
_ROW = 0.23  # inches
_WRAP = 66  # characters of 9 pt on the width of a figure


def draw(found: RunComparison) -> tuple[Picture, ...]:
    """The pictures ``auc`` and ``roc``."""
    runs = "; ".join(run.label for run in found.runs)
    return (
        Picture(
            "auc",
            "AUC of every run and attack",
            "AUC with 95 % intervals. " + " ".join(summary(found)),
            png(auc_figure(found)),
        ),
        Picture(
            "roc",
            "ROC curves",
            f"True positive rate against false positive rate, one line a run: {runs}.",
            png(roc_figure(found)),
        ),
    )


def auc_figure(found: RunComparison) -> Figure:
    """A forest plot: run by run, each attack's AUC with its interval, and the best blind one."""
    attacks = attacks_of(found)
    colours, markers = attack_colours(attacks), _cycled(attacks, _MARKERS)
    heads = [textwrap.wrap(run.label, _WRAP) for run in found.runs]
    rows = sum(len(run.metrics.attacks) + 1 for run in found.runs)
    figure = new_figure(_ROW * (rows + sum(0.75 * len(head) + 0.5 for head in heads)) + 0.6)
    axes = figure.add_subplot()
    axes.axvline(0.5, color="#888888", lw=1, ls=":", zorder=1)
    names: dict[float, str] = {}
    y = 0.0
    for run, head in zip(found.runs, heads, strict=True):
        _heading(axes, y, "\n".join(head))
        y += 0.75 * len(head) + 0.25
        for attack in run.metrics.attacks:
            _point(axes, y, run.metrics.attacks[attack].auc, colours[attack], markers[attack])
            names[y] = attack
            y += 1
        _point(axes, y, _blind(run), QUIET, "x")
        names[y] = f"blind: {run.metrics.blind.best}"
        y += 1.25
    axes.set_ylim(y - 0.5, -0.35)
    axes.set_yticks(list(names), list(names.values()))
    axes.set_xlabel("AUC with 95 % interval (0.5: guessing)")
    tidy(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure


def _heading(axes: Axes, y: float, text: str) -> None:
    """From the figure's left edge over everything, however long it is."""
    axes.annotate(
        text,
        (0.02, y - 0.1),
        xycoords=("figure fraction", "data"),
        va="top",
        fontsize=9,
        fontweight="bold",
        color=INK,
        parse_math=False,
        annotation_clip=False,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _point(axes: Axes, y: float, area: Estimate, colour: str, marker: str) -> None:
    low, high = area.ci95
    axes.plot([low, high], [y, y], color=colour, lw=1.8, solid_capstyle="butt")
    axes.plot([area.value], [y], color=colour, marker=marker, ms=5.5, ls="", mew=1.5)
    axes.text(
        1.02,
        y,
        interval(area.value, area.ci95),
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=8.5,
        color=colour,
    )


def _blind(run: FinishedRun) -> Estimate:
    """The best blind baseline; the difficulty's AUC is taken from its better side."""
    blind = run.metrics.blind
    area = blind.baselines[blind.best].auc
    low, high = area.ci95
    if area.value < 0.5 < blind.max:
        low, high = 1 - high, 1 - low
    return Estimate(blind.max, (low, high))


def roc_figure(found: RunComparison) -> Figure:
    """ROC curves on linear axes: a panel an attack, a line a run."""
    attacks = attacks_of(found)
    labels = [textwrap.fill(run.label, _WRAP) for run in found.runs]
    legend = 0.19 * (sum(label.count("\n") + 1 for label in labels) + 1)
    figure = new_figure(4.1 * len(attacks) + legend + 0.2)
    panels = figure.subplots(len(attacks), squeeze=False)[:, 0]
    colours = _run_colours(len(found.runs))
    for axes, attack in zip(panels, attacks, strict=True):
        for number, run in enumerate(found.runs):
            _curve(axes, run, attack, colours[number], number, labels[number])
        axes.plot([0, 1], [0, 1], color="#AAAAAA", lw=1, ls=":", label="chance", zorder=1)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set_title(attack, fontsize=10, loc="left")
        axes.set_ylabel("true positive rate")
        tidy(axes)
    panels[-1].set_xlabel("false positive rate")
    lines = {
        label: h
        for axes in panels
        for h, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(lines.values()), list(lines), loc="outside lower left", frameon=False, fontsize=8.5
    )
    return figure


def _curve(axes: Axes, run: FinishedRun, attack: str, colour: str, number: int, label: str) -> None:
    scores = next((table for table in run.scores if table.attack == attack), None)
    if scores is None:
        return
    roc = roc_curve(scores.score, run.split.is_member(scores.id.tolist()))
    # Wider below narrower: a curve shows beneath one that coincides with it.
    width = max(1.3, 3.0 - 0.6 * number)
    axes.plot(
        roc.fpr, roc.tpr, color=colour, lw=width, ls=_LINES[number % len(_LINES)], label=label
    )


def _run_colours(count: int) -> list[str]:
    """Distinct colours; of many runs, along a scale in the order in which they were named."""
    if count <= len(_RUN_COLOURS):
        return list(_RUN_COLOURS[:count])

    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 0.92, count))]


def _cycled(names: list[str], values: str) -> dict[str, str]:
    return {name: values[i % len(values)] for i, name in enumerate(names)}
