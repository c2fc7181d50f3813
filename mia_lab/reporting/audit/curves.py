"""ROC curves, the AUC against the weight of the difficulty, and reliability diagrams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from mia_lab.evaluation.results import (
    AlphaCurve,
    AnswersCurve,
    Calibration,
    Evaluation,
    Normality,
    Overfitting,
    Roc,
)
from mia_lab.reporting.canvas import (
    ATTACK_COLOURS,
    INK,
    MEMBER_COLOUR,
    NONMEMBER_COLOUR,
    QUIET,
    attack_colours,
    is_corrected,
    legend_below,
    new_figure,
    tidy,
)
from mia_lab.reporting.numbers import interval, percent
from mia_lab.types import Floats

DASHES = ((5, 2), (1, 1.4), (6, 2, 1, 2), (9, 3), (3, 1, 1, 1, 1, 1))
"""Dash patterns of the blind baselines; their greys alone are too similar."""

_MARKERS = "osD^v"
BANDS = 4
"""At most this many attacks are drawn with confidence bands; more bands would overlap."""
_MANY_EPOCHS = 16
"""Epochs beyond which their axis is logarithmic, because errors were measured at powers of two."""
_BELOW = 2.5
"""How far logarithmic axes extend below the lowest resolvable rate, as a factor."""


def roc_figure(evaluations: Sequence[Evaluation], blind: Sequence[Evaluation]) -> Figure:
    """ROC curves on linear axes; attacks solid with their bands, blind baselines dashed."""
    figure, axes = _roc_axes(len(evaluations) + len(blind))
    _bands(axes, evaluations)
    for e, style in _styles(evaluations, blind):
        axes.plot(e.roc.fpr, e.roc.tpr, **style)
    _chance(axes, 0, len(evaluations) <= BANDS)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    legend_below(figure, axes)
    return figure


def roc_log_figure(evaluations: Sequence[Evaluation], blind: Sequence[Evaluation]) -> Figure:
    """The same on logarithmic axes, where the few non-members at the left decide.

    With n non-members no false positive rate between 0 and 1 / n can be measured: that region is
    shaded, and no curve is drawn there.
    """
    figure, axes = _roc_axes(len(evaluations) + len(blind))
    resolved = 1 / evaluations[0].n_nonmembers
    lowest = resolved / _BELOW
    _bands(axes, evaluations)
    for e, style in _styles(evaluations, blind):
        fpr, tpr = on_log_axes(e.roc, resolved)
        axes.plot(fpr, np.maximum(tpr, lowest / 10), **style)
    _chance(axes, lowest, len(evaluations) <= BANDS)
    axes.axvspan(lowest, resolved, color="#EEEEEE", lw=0, zorder=0)
    axes.text(
        np.sqrt(lowest * resolved),
        0.5,
        f"below 1/{evaluations[0].n_nonmembers}: not resolvable",
        transform=axes.get_xaxis_transform(),
        rotation=90,
        ha="center",
        va="center",
        fontsize=8.5,
        color=QUIET,
    )
    axes.set(xscale="log", yscale="log", xlim=(lowest, 1.03), ylim=(lowest, 1.03), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        _percent_ticks(axis, lowest)
    axes.set_xlabel("false positive rate, logarithmic")
    axes.set_ylabel("true positive rate, logarithmic")
    legend_below(figure, axes)
    return figure


def on_log_axes(roc: Roc, lowest: float) -> tuple[Floats, Floats]:
    """Points of a curve from a false positive rate of ``lowest`` upwards, for logarithmic axes.

    Ties make slanted lines, which are straight on linear axes only: they are drawn as many.

    Returns:
        fpr, tpr: float64, in [lowest, 1] and in [0, 1].
    """
    # The way along the curve, first right or up: grows from point to point.
    way = roc.fpr + roc.tpr
    steps = np.union1d(way, np.geomspace(min(lowest, 1) / 10, 2, 400))
    fpr, tpr = np.interp(steps, way, roc.fpr), np.interp(steps, way, roc.tpr)
    at_start = float(tpr[fpr <= lowest].max(initial=0))
    right = fpr > lowest
    return np.append(lowest, fpr[right]), np.append(at_start, tpr[right])


def alpha_figure(curve: AlphaCurve, alpha: float) -> Figure:
    """AUC of the membership error against the weight of the difficulty, with its 95 % band."""
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    colours = ATTACK_COLOURS
    axes.fill_between(
        curve.alpha,
        curve.low,
        curve.high,
        color=colours["membership"],
        alpha=0.15,
        lw=0,
        label="95 % interval at each weight",
    )
    axes.plot(curve.alpha, curve.auc, color=colours["membership"], lw=1.8, label="membership AUC")
    at = int(np.argmin(np.abs(curve.alpha - alpha)))
    axes.axvline(alpha, color=INK, lw=1, ls=":")
    for x, i, marker, colour, label in (
        (curve.alpha[0], 0, "s", colours["reconstruction"], "alpha 0: reconstruction error alone"),
        (alpha, at, "o", INK, f"configured, alpha {alpha:g}: AUC {curve.auc[at]:.3f}"),
    ):
        axes.plot([x], [curve.auc[i]], marker, ms=6, color=colour, label=label, zorder=4)
    low, high = float(curve.low.min()), float(curve.high.max())
    # Never narrower than 0.1, or differences that mean nothing would look like much.
    middle, half = (low + high) / 2, max((high - low) / 2 * 1.08, 0.05)
    if low < 0.52:
        axes.axhline(0.5, color="#AAAAAA", lw=1, ls=":", label="chance", zorder=1)
    axes.set(ylim=(middle - half, middle + half))
    axes.margins(x=0.02)
    axes.set_xlabel("alpha, the weight of the difficulty")
    axes.set_ylabel("AUC of the membership error")
    tidy(axes)
    legend_below(figure, axes)
    return figure


def answers_figure(curves: Sequence[AnswersCurve]) -> Figure:
    """AUC of what is made of the answers against their number, with 95 % intervals."""
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    colours = attack_colours([curve.name for curve in curves])
    for number, (curve, marker) in enumerate(zip(curves, _MARKERS, strict=False)):
        shift = 0.08 * (number - 1)  # else intervals would hide each other
        axes.errorbar(
            curve.answers + shift,
            curve.auc,
            yerr=[curve.auc - curve.low, curve.high - curve.auc],
            color=colours[curve.name],
            marker=marker,
            ms=5,
            lw=1.5,
            elinewidth=1,
            capsize=2,
            label=curve.name,
        )
    axes.axhline(0.5, color="#AAAAAA", lw=1, ls=":", label="chance", zorder=1)
    axes.set_xlabel("answers to each image")
    axes.set_ylabel("AUC")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes)
    legend_below(figure, axes)
    return figure


def overfitting_figure(found: Overfitting) -> Figure:
    """Mean errors of members and of non-members after some epochs, and the loss of every epoch."""
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    if len(found.loss):
        epochs = np.arange(1, len(found.loss) + 1)
        label = "training loss (L1)"
        axes.plot(epochs, found.loss, color=QUIET, lw=1.3, ls="--", label=label)
    at = [mean.epoch for mean in found.means]
    for name, n, means, marker, colour in (
        (
            "non-members",
            found.n_nonmembers,
            [mean.nonmembers for mean in found.means],
            "o",
            NONMEMBER_COLOUR,
        ),
        ("members", found.n_members, [mean.members for mean in found.means], "s", MEMBER_COLOUR),
    ):
        values = np.array([mean.value for mean in means])
        low, high = np.array([mean.ci95 for mean in means]).T
        axes.errorbar(
            at,
            values,
            (values - low, high - values),
            fmt=f"{marker}-",
            ms=5,
            lw=1.6,
            elinewidth=1.2,
            capsize=2.5,
            color=colour,
            label=f"error of {n} {name}",
        )
    if at[-1] > _MANY_EPOCHS:
        axes.set_xscale("log")
        axes.set_xticks(at, [str(epoch) for epoch in at])
        axes.minorticks_off()
    else:
        axes.set_xticks(range(1, at[-1] + 1))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch" + (", logarithmic" if at[-1] > _MANY_EPOCHS else ""))
    axes.set_ylabel("mean absolute error (0-1)")
    tidy(axes)
    legend_below(figure, axes)
    return figure


def reliability_figure(calibrations: Mapping[str, Calibration]) -> Figure:
    """Share of members against predicted probability by bin, of few with their intervals.

    Args:
        calibrations: by attack.
    """
    figure = new_figure(4.6 + 0.2 * (len(calibrations) + 1))
    axes = figure.add_subplot()
    colours = attack_colours(calibrations)
    is_legible = len(calibrations) <= BANDS  # bars of more hide each other
    for number, (name, found) in enumerate(calibrations.items()):
        low, high = found.observed_ci95.T
        # Beside each other where two attacks predict the same.
        shift = 0.006 * (number - (len(calibrations) - 1) / 2)
        axes.errorbar(
            found.predicted + shift,
            found.observed,
            (np.maximum(found.observed - low, 0), np.maximum(high - found.observed, 0)),
            fmt=_MARKERS[number % len(_MARKERS)],
            ls="-",
            ms=5.5,
            lw=1,
            elinewidth=1.2 if is_legible else 0,
            capsize=2.5 if is_legible else 0,
            color=colours[name],
            label=f"{name}, Brier score {found.brier:.3f}",
        )
    axes.plot([0, 1], [0, 1], color="#AAAAAA", lw=1, ls=":", label="perfectly calibrated", zorder=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xlabel("predicted probability of being a member")
    axes.set_ylabel("share of members among these images")
    tidy(axes)
    legend_below(figure, axes)
    return figure


def normality_figure(found: Normality) -> Figure:
    """Quantiles of the references' standardised log errors against those of a Gaussian."""
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    ends = [min(found.expected[0], found.observed[0]), max(found.expected[-1], found.observed[-1])]
    axes.plot(ends, ends, color="#AAAAAA", lw=1, ls=":", label="Gaussian", zorder=1)
    label = f"{found.n} log errors"
    axes.plot(found.expected, found.observed, ".", ms=4, color=INK, label=label)
    axes.set_xlabel("quantile of a Gaussian (standard deviations)")
    axes.set_ylabel("quantile of the residuals")
    axes.set_aspect("equal")
    tidy(axes)
    legend_below(figure, axes)
    return figure


def _roc_axes(n_curves: int) -> tuple[Figure, Axes]:
    figure = new_figure(4.6 + 0.18 * (n_curves + 2))
    axes = figure.add_subplot()
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    tidy(axes)
    return figure, axes


def _bands(axes: Axes, evaluations: Sequence[Evaluation]) -> None:
    """Of so few attacks that each can be told from the others."""
    colours = attack_colours(e.name for e in evaluations)
    for e in evaluations if len(evaluations) <= BANDS else ():
        band = e.band
        axes.fill_between(band.fpr, band.low, band.high, color=colours[e.name], alpha=0.13, lw=0)


def _chance(axes: Axes, lowest: float, has_bands: bool) -> None:
    """The diagonal, and what the bands are, as the last entries of the legend."""
    axes.plot([lowest, 1], [lowest, 1], color="#AAAAAA", lw=1, ls=":", label="chance", zorder=1)
    if has_bands:
        axes.fill_between([], [], [], color=QUIET, alpha=0.3, lw=0, label="95 % band at each rate")


def _styles(
    evaluations: Sequence[Evaluation], blind: Sequence[Evaluation]
) -> list[tuple[Evaluation, dict[str, Any]]]:
    colours = attack_colours(e.name for e in (*evaluations, *blind))
    found: list[tuple[Evaluation, dict[str, Any]]] = []
    # Beneath the attacks, whose curves matter more, but after them in the legend.
    for e in evaluations:
        # The first is wider: it shows beneath a curve that coincides with it, as at AUC 1.
        width = 3.4 if e is evaluations[0] and len(evaluations) > 1 else 1.8
        label = f"{e.name}, AUC {interval(e.auc, e.auc_ci95)}"
        line = "-." if is_corrected(e.name) else "-"
        style = {"color": colours[e.name], "lw": width, "ls": line, "label": label, "zorder": 3}
        found.append((e, style))
    for number, e in enumerate(blind):
        label = f"{e.name} (blind), AUC {interval(e.auc, e.auc_ci95)}"
        dash = (0, DASHES[number % len(DASHES)])
        style = {"color": colours[e.name], "lw": 1.1, "ls": dash, "label": label, "zorder": 2}
        found.append((e, style))
    return found


def _percent_ticks(axis: object, lowest: float) -> None:
    assert isinstance(axis, Axis)
    decades = [10.0**k for k in range(int(np.ceil(np.log10(lowest) - 1e-9)), 1)]
    # Of few images there is hardly a decade: label its steps as well.
    ticks = decades if len(decades) > 2 else [d * m for d in (0.01, 0.1, 1.0) for m in (1, 2, 5)]
    axis.set_major_locator(FixedLocator([t for t in ticks if lowest <= t <= 1]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: percent(f"{value:.3g}")))
    axis.set_minor_formatter(NullFormatter())
