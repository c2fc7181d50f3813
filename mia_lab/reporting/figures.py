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
from mia_lab.reporting.text import interval, verdict
from mia_lab.types import AuditResult, Evaluation, Floats, Gallery

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
    """All pictures of a result: ``roc``; ``scatter`` and ``samples`` where there is what to draw.

    The scatter needs the reconstruction attack and a difficulty; the samples need a gallery.
    """
    pictures = [
        Picture(
            "roc",
            "ROC curves",
            "True positive rate against false positive rate. " + verdict(result),
            _png(roc_figure(result.evaluations, result.blind)),
        )
    ]
    error = next((-t.score for t in result.scores if t.attack == "reconstruction"), None)
    if error is not None and np.isfinite(result.difficulty).all():
        is_member = result.split.is_member([str(i) for i in result.scores[0].id])
        figure = scatter_figure(error, result.difficulty, is_member, result.alpha)
        alt = "Each image's reconstruction error against its difficulty, members and non-members."
        pictures.append(Picture("scatter", "Error against difficulty", alt, _png(figure)))
    if result.gallery.ids:
        alt = "Input, target, the victim's answer and its error: " + "; ".join(
            f"{i}, {caption}"
            for i, caption in zip(result.gallery.ids, result.gallery.captions, strict=True)
        )
        pictures.append(Picture("samples", "Samples", alt, _png(samples_figure(result.gallery))))
    return tuple(pictures)


def roc_figure(evaluations: Sequence[Evaluation], blind: Sequence[Evaluation]) -> Figure:
    """ROC curves on linear axes; attacks as solid lines, blind baselines dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 5.6), layout="constrained")
    axes = figure.add_subplot()
    colours = attack_colours([e.name for e in (*evaluations, *blind)])
    for e in evaluations:
        label = f"{e.name}, AUC {interval(e.auc, e.auc_ci95)}"
        axes.plot(e.roc.fpr, e.roc.tpr, color=colours[e.name], lw=2, label=label)
    for e in blind:
        label = f"{e.name} alone (blind), AUC {interval(e.auc, e.auc_ci95)}"
        axes.plot(e.roc.fpr, e.roc.tpr, color=colours[e.name], lw=1.5, ls=(0, (5, 2)), label=label)
    axes.plot([0, 1], [0, 1], color="#AAAAAA", lw=1, ls=":", label="chance", zorder=1)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("false positive rate (share of non-members called members)")
    axes.set_ylabel("true positive rate (share of members found)")
    _tidy(axes)
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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 4.6), layout="constrained")
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
    axes.set_xlabel("difficulty (mean absolute error of the probe, 0-1)")
    axes.set_ylabel("reconstruction error (mean absolute, 0-1)")
    _tidy(axes)
    figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    return figure


def samples_figure(gallery: Gallery) -> Figure:
    """One row an image: x, y, V(x) and the absolute error, on one colour scale for all rows."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # The mean over the channels, so that a map's mean is the reconstruction error.
    errors = np.abs(gallery.reconstruction - gallery.y).mean(axis=1)  # (N, H, W)
    rows = len(gallery.ids)
    height, width = errors.shape[1:]
    tile = (_WIDTH + 1) / 4 * height / width
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    figure = Figure(figsize=(_WIDTH + 1, rows * (tile + 0.26) + 1.0), layout=layout)
    grid = figure.subplots(rows, 4, squeeze=False)
    titles = ("input x", "target y", "answer V(x)", "error |V(x) - y|")
    for row in range(rows):
        images = (gallery.x[row], gallery.y[row], gallery.reconstruction[row])
        for axes, image in zip(grid[row], images, strict=False):
            axes.imshow(np.clip(np.moveaxis(image, 0, -1), 0, 1), interpolation="nearest")
        scale = grid[row, 3].imshow(
            errors[row], cmap="viridis", vmin=0, vmax=errors.max(), interpolation="nearest"
        )
        caption = f"{gallery.ids[row]}: {gallery.captions[row]}"
        grid[row, 0].set_title(caption, loc="left", fontsize=9, color=_INK, parse_math=False, pad=3)
        # Titles don't take part in the width of a column, so a long one runs over the next.
        grid[row, 0].title.set_in_layout(False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, title in zip(grid[-1], titles, strict=True):
        axes.set_xlabel(title, fontsize=9, color=_INK)
    bar = figure.colorbar(scale, ax=grid, location="bottom", shrink=0.6, aspect=40, pad=0.01)
    bar.set_label("absolute error (mean over channels, 0-1)", fontsize=9, color=_INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=_INK)
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


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(labelsize=9, colors=_INK)
    axes.xaxis.label.set(fontsize=9.5, color=_INK)
    axes.yaxis.label.set(fontsize=9.5, color=_INK)
    axes.grid(color=_GRID, lw=0.6)
    axes.set_axisbelow(True)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # File names in scripts that the font lacks are drawn as boxes, which is no error.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # No version stamp: the same figure gives the same bytes.
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()
