"""The report's pictures. Pure functions of the results; no pyplot, hence no global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation import roc_curve
from mia_lab.measures import Evaluation, GridPoint
from mia_lab.reporting.heatmap import heatmap, panels
from mia_lab.reporting.tables import best_point, grid_axes, score_columns
from mia_lab.reporting.text import interval, verdict
from mia_lab.results import AuditResult, Gallery
from mia_lab.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

# Okabe & Ito's colours: distinct for all common forms of colour vision.
ATTACK_COLOURS = {"reconstruction": "#0072B2", "membership": "#D55E00", "difficulty": "#6E6E6E"}
_FURTHER_COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MEMBER_COLOUR, _NONMEMBER_COLOUR = "#000000", "#E69F00"
_INK, _GRID = "#222222", "#DDDDDD"
_WIDTH = 5.0  # inches: text of 9 pt stays readable where the picture is scaled to a column


@dataclass(frozen=True)
class Picture:
    """One figure of the report, drawn once and shared by the files, the page and the tracker.

    Attributes:
        name: file name without its ending.
        title: heading.
        alt: what it shows, in words.
        png: the encoded image.
    """

    name: str
    title: str
    alt: str
    png: bytes


def draw(result: AuditResult) -> tuple[Picture, ...]:
    """All pictures of a result: ``roc``; ``scatter``, ``grid`` and ``samples`` where they apply.

    The scatter needs the reconstruction attack and a difficulty; the samples need a gallery.
    """
    pictures = [
        Picture(
            "roc",
            "ROC curves",
            "True positive rate against false positive rate. " + verdict(result),
            png(roc_figure(result.evaluations, result.blind.baselines)),
        )
    ]
    columns = score_columns(result)
    if "reconstruction_error" in columns and np.isfinite(result.difficulty).all():
        error, is_member = np.array(columns["reconstruction_error"]), np.array(columns["is_member"])
        figure = scatter_figure(error, result.difficulty, is_member == 1, result.alpha)
        alt = "Each image's reconstruction error against its difficulty, members and non-members."
        pictures.append(Picture("scatter", "Error against difficulty", alt, png(figure)))
    for number, dossiers in enumerate(result.dossiers, start=1):
        shown = dossiers.gallery
        alt = "Input, target, the victim's answer and its error: " + "; ".join(
            f"{i}, {caption}" for i, caption in zip(shown.ids, shown.captions, strict=True)
        )
        picture = png(samples_figure(shown))
        pictures.append(Picture(f"dossiers-{number}", dossiers.title, alt, picture))
    return (*pictures, *grid_pictures(result.grid))


def grid_pictures(grid: Sequence[GridPoint]) -> list[Picture]:
    """The AUC of the membership error over the grid, a heat map for each pair of its longest axes.

    All share one colour scale; the configured point and the best are framed.
    """
    if not grid:
        return []
    settings = [grid_axes(point) for point in grid]
    values = np.array([point.auc for point in grid])
    best = best_point(grid)
    marks = {"configured": 0, "best, chosen in hindsight": best}
    # Never narrower than 0.1, or differences that mean nothing would look like much.
    middle, half = (values.min() + values.max()) / 2, max(np.ptp(values) / 2, 0.05)
    limits = float(middle - half), float(middle + half)
    found = []
    for number, panel in enumerate(panels(settings), start=1):
        figure = heatmap(
            panel,
            values,
            "AUC of the membership error",
            limits=limits,
            marks=marks,
        )
        title = "Other settings of the difficulty" + (f": {panel.title}" if panel.title else "")
        alt = (
            f"AUC of the membership error for each {panel.rows[0]} and {panel.columns[0]}: "
            f"{values[0]:.3f} as configured, at most {values[best]:.3f}"
        )
        found.append(Picture("grid" if number == 1 else f"grid-{number}", title, alt, png(figure)))
    return found


def roc_figure(evaluations: Sequence[Evaluation], blind: Sequence[Evaluation]) -> Figure:
    """ROC curves on linear axes; attacks as solid lines, blind baselines dashed."""
    figure = new_figure(5.8)
    axes = figure.add_subplot()
    colours = attack_colours([e.name for e in (*evaluations, *blind)])
    for e in evaluations:
        label = f"{e.name}, AUC {interval(e.auc, e.auc_ci95)}"
        # The first is wider: it shows beneath a curve that coincides with it, as at AUC 1.
        width = 3.6 if e is evaluations[0] and len(evaluations) > 1 else 1.8
        axes.plot(e.roc.fpr, e.roc.tpr, color=colours[e.name], lw=width, label=label)
    for e in blind:
        label = f"{e.name} alone (blind), AUC {interval(e.auc, e.auc_ci95)}"
        axes.plot(e.roc.fpr, e.roc.tpr, color=colours[e.name], lw=1.5, ls=(0, (5, 2)), label=label)
    axes.plot([0, 1], [0, 1], color="#AAAAAA", lw=1, ls=":", label="chance", zorder=1)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("false positive rate (share of non-members called members)")
    axes.set_ylabel("true positive rate (share of members found)")
    tidy(axes)
    # Below the axes: inside, it would cover the curves of weak attacks.
    figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    return figure


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
    figure = new_figure(4.8)
    axes = figure.add_subplot()
    tau = _hindsight_threshold(reconstruction_error - alpha * difficulty, is_member)
    style: dict[str, Any] = {"s": 22, "linewidths": 1.0}
    axes.scatter(
        difficulty[~is_member],
        reconstruction_error[~is_member],
        marker="o",
        color=_NONMEMBER_COLOUR,
        label=f"non-members ({np.count_nonzero(~is_member)})",
        **style,
    )
    axes.scatter(
        difficulty[is_member],
        reconstruction_error[is_member],
        marker="x",
        color=_MEMBER_COLOUR,
        label=f"members ({np.count_nonzero(is_member)})",
        **style,
    )
    # Fixed to the points: the line must not stretch the axes.
    limits = axes.get_xlim(), axes.get_ylim()
    label = f"membership error = {tau:.3g} (alpha {alpha:g}, best in hindsight)"
    axes.axline(
        (0, tau), slope=alpha, color=ATTACK_COLOURS["membership"], lw=1.5, ls="--", label=label
    )
    axes.set(xlim=limits[0], ylim=limits[1])
    axes.set_xlabel("difficulty (error of the probe on held-out pixels)")
    axes.set_ylabel("reconstruction error (mean absolute, 0-1)")
    tidy(axes)
    figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    return figure


def samples_figure(gallery: Gallery) -> Figure:
    """One row an image: x, y, V(x) and the absolute error, on one colour scale for all rows."""
    from matplotlib.figure import Figure

    # The mean over the channels, so that a map's mean is the reconstruction error.
    errors = np.abs(gallery.reconstruction - gallery.y).mean(axis=1)  # (N, H, W)
    brightest = max(float(errors.max()), 1e-3)  # a colour scale needs a width
    # Placed by hand, in inches: an automatic layout would widen the column under a long caption.
    margin, gap, caption, foot = 0.04, 0.04, 0.26, 0.82
    tile = (_WIDTH - 2 * margin - 3 * gap) / 4
    tile_height = tile * errors.shape[1] / errors.shape[2]
    height = len(errors) * (tile_height + caption) + foot
    figure = Figure(figsize=(_WIDTH, height))
    for row, error in enumerate(errors):
        bottom = height - (row + 1) * (tile_height + caption)
        text = f"{gallery.captions[row]}: {shortened(gallery.ids[row])}"
        baseline = (bottom + tile_height + 0.06) / height
        figure.text(margin / _WIDTH, baseline, text, fontsize=9.5, color=_INK, parse_math=False)
        pictures = (
            i[row].transpose(1, 2, 0) for i in (gallery.x, gallery.y, gallery.reconstruction)
        )
        for column, image in enumerate([*pictures, error]):
            left = margin + column * (tile + gap)
            box = left / _WIDTH, bottom / height, tile / _WIDTH, tile_height / height
            axes = figure.add_axes(box)
            axes.imshow(image, cmap="viridis", vmin=0, vmax=brightest, interpolation="nearest")
            axes.set_axis_off()
    for column, title in enumerate(("input x", "target y", "answer V(x)", "error |V(x) - y|")):
        centre = (margin + column * (tile + gap) + tile / 2) / _WIDTH
        figure.text(centre, (foot - 0.06) / height, title, ha="center", va="top", fontsize=9.5)
    # The axes drawn last hold an error map.
    box = (0.2, 0.44 / height, 0.6, 0.08 / height)
    colour_bar(figure, axes.images[0], box, "absolute error (mean over channels, 0-1)")
    return figure


def attack_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each attack: fixed for the known ones, the rest of the palette for others."""
    others = sorted(set(names) - ATTACK_COLOURS.keys())
    return ATTACK_COLOURS | {
        name: _FURTHER_COLOURS[i % len(_FURTHER_COLOURS)] for i, name in enumerate(others)
    }


def _hindsight_threshold(error: Floats, is_member: NDArray[np.bool_]) -> float:
    """The membership error below which TPR - FPR is largest, midway between its two neighbours."""
    roc = roc_curve(-error, is_member)
    best = int(np.argmax(roc.tpr - roc.fpr))
    neighbours = [t for t in -roc.threshold[best : best + 2] if np.isfinite(t)]
    return float(np.mean(neighbours))


def shortened(image_id: str, length: int = 36) -> str:
    """The end of a long id, which tells images of one folder apart."""
    return image_id if len(image_id) <= length else "..." + image_id[3 - length :]


def colour_bar(
    figure: Figure, shown: ScalarMappable, box: tuple[float, float, float, float], label: str
) -> None:
    """A horizontal colour scale; ``box`` is left, bottom, width and height as figure fractions."""
    bar = figure.colorbar(shown, cax=figure.add_axes(box), orientation="horizontal")
    bar.set_label(label, fontsize=9, color=_INK)
    bar.outline.set_visible(False)
    bar.ax.locator_params(nbins=5)
    bar.ax.tick_params(labelsize=8, colors=_INK)


def new_figure(height: float) -> Figure:
    """An empty figure with a margin; ``height`` in inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0, hspace=0)
    return Figure(figsize=(_WIDTH, height), layout=layout)


def tidy(axes: Axes) -> None:
    """The look that all diagrams share."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(labelsize=9, colors=_INK)
    axes.xaxis.label.set(fontsize=9.5, color=_INK)
    axes.yaxis.label.set(fontsize=9.5, color=_INK)
    axes.grid(color=_GRID, lw=0.6)
    axes.set_axisbelow(True)


def png(figure: Figure) -> bytes:
    """A figure as an encoded picture; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # File names in scripts that the font lacks are drawn as boxes, which is no error.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # No version stamp.
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()
