"""What all pictures share: their type, colours and axes. No pyplot, hence no global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe & Ito's colours for the two attacks that are always there, Tol's for the others: distinct
# for common forms of colour vision. What never saw the victim is grey, told apart by its dashes.
ATTACK_COLOURS = {
    "reconstruction": "#0072B2",
    "membership": "#D55E00",
    "l2": "#56B4E9",
    "ssim": "#88CCEE",
    "perceptual": "#332288",
    "augmented": "#44AA99",
    "adaptive": "#117733",
    "watson": "#CC79A7",
    "lira": "#882255",
    "rmia": "#AA4499",
    "quantile": "#999933",
    "shadow": "#DDAA33",
    "learned": "#009E73",
    "mean_error": "#3366CC",
    "min_error": "#66AADD",
    "quantile_error": "#004488",
    "rediffuse": "#BB5566",
    "spread": "#886644",
    "embedding": "#663399",
    "mid_frequency": "#66CCEE",
    "condition_gap": "#228833",
    "fluctuation": "#EE7733",
    "difficulty": "#6E6E6E",
    "features": "#3D3D3D",
    "statistics": "#8A8A8A",
    "jpeg": "#555555",
    "file": "#A0A0A0",
}
_CORRECTED = "_corrected"
_FURTHER_COLOURS = ("#E69F00", "#6699CC", "#997700", "#661100")
MEMBER_COLOUR, NONMEMBER_COLOUR = "#000000", "#E69F00"
INK, QUIET, GRID = "#222222", "#6E6E6E", "#DDDDDD"
WIDTH = 4.6  # inches: text of 9 pt stays readable where the picture is as wide as a phone


@dataclass(frozen=True)
class Picture:
    """One figure of the report, drawn once and shared by the files, the page and the tracker.

    Attributes:
        name: file name without its ending.
        title: heading.
        alt: what it shows, in words.
        png: the encoded image.
        private: whether it shows images of the data, not numbers alone.
        caption: printed below it on a page; "" for none.
    """

    name: str
    title: str
    alt: str
    png: bytes
    private: bool = False
    caption: str = ""


def attack_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each attack: fixed for the known ones, the rest of the palette for others.

    A corrected attack has the colour of the plain one, see :func:`is_corrected`.
    """
    names = set(names)
    plain = {name: name.removesuffix(_CORRECTED) for name in names if is_corrected(name)}
    others = sorted(names - ATTACK_COLOURS.keys() - plain.keys())
    return (
        ATTACK_COLOURS
        | {name: ATTACK_COLOURS[like] for name, like in plain.items()}
        | {name: _FURTHER_COLOURS[i % len(_FURTHER_COLOURS)] for i, name in enumerate(others)}
    )


def is_corrected(name: str) -> bool:
    """Whether an attack is a known one that corrects for the difficulty, by its name."""
    return name.endswith(_CORRECTED) and name.removesuffix(_CORRECTED) in ATTACK_COLOURS


def shortened(image_id: str, length: int = 36) -> str:
    """The end of a long id, which tells images of one folder apart."""
    return image_id if len(image_id) <= length else "..." + image_id[3 - length :]


def shown_channels(of_input: int, of_target: int) -> str:
    """How pictures are shown that are neither grey nor RGB, in words; "" if there are none.

    See :func:`mia_lab.data.picture.visible`.

    Args:
        of_input, of_target: number of channels; answers have those of targets.
    """
    notes = {"input": _shown(of_input), "target": _shown(of_target)}
    return "; ".join(f"{side}: {note}" for side, note in notes.items() if note)


def _shown(channels: int) -> str:
    if channels == 2:
        return "mean of 2 channels"
    return f"channels 1 to 3 of {channels} as RGB" if channels > 3 else ""


def new_figure(height: float) -> Figure:
    """An empty figure with a margin; ``height`` in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0, hspace=0)
    return Figure(figsize=(WIDTH, height), layout=layout)


def tidy(axes: Axes) -> None:
    """The look that all diagrams share."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(labelsize=9, colors=INK)
    axes.xaxis.label.set(fontsize=9.5, color=INK)
    axes.yaxis.label.set(fontsize=9.5, color=INK)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)


def legend_below(figure: Figure, axes: Axes, columns: int = 1) -> None:
    """The legend of these axes below all of them: inside, it would cover what is drawn."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", frameon=False, fontsize=9, ncols=columns
    )


def colour_bar(
    figure: Figure,
    shown: ScalarMappable,
    box: tuple[float, float, float, float],
    label: str,
    extend: bool = False,
) -> None:
    """A horizontal colour scale; ``box`` is left, bottom, width and height as figure fractions.

    It ends in an arrow if it is to ``extend``: where values lie beyond it.
    """
    bar = figure.colorbar(
        shown,
        cax=figure.add_axes(box),
        orientation="horizontal",
        extend="max" if extend else "neither",
    )
    bar.set_label(label, fontsize=9, color=INK)
    bar.outline.set_visible(False)
    bar.ax.locator_params(nbins=5)
    bar.ax.tick_params(labelsize=8, colors=INK)


def png(figure: Figure, dpi: int = 200) -> bytes:
    """A figure as an encoded picture; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # File names in scripts that the font lacks are drawn as boxes, which is no error.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # No version stamp.
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
