"""Pictures of the images themselves: input, target, the victim's answer, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mia_lab.data.picture import visible
from mia_lab.evaluation.results import Dossiers, Gallery
from mia_lab.reporting.canvas import INK, Picture, colour_bar, png, shortened, shown_channels

_WIDTH = 5.0
_ANSWERS = 4
"""Answers to an image that are shown, at most."""
_QUANTILE = 0.995
"""Quantile of all pixels at which a colour scale ends; a scale up to the maximum is too dark."""


@dataclass(frozen=True)
class Scales:
    """Where the colour scales end, so that colours mean the same in several figures.

    Attributes:
        error: of the maps of |V(x) - y|, in [0, 1].
        difficulty: of the probe's error at each pixel; None where there are no maps.
    """

    error: float
    difficulty: float | None


def dossier_pictures(dossiers: Sequence[Dossiers]) -> list[Picture]:
    """One private picture for each dossier, all with the same colour scales."""
    if not dossiers:
        return []
    scales = common_scales(dossiers)
    return [
        Picture(
            f"dossiers-{number}",
            found.title,
            gallery_alt(found.gallery, found.difficulty),
            png(samples_figure(found.gallery, found.difficulty, scales), dpi=160),
            private=True,
        )
        for number, found in enumerate(dossiers, start=1)
    ]


def gallery_alt(gallery: Gallery, difficulty: NDArray[np.float32] | None = None) -> str:
    """The caption of a gallery's picture."""
    shown = "Input, target, the victim's answer and its error"
    if difficulty is not None and difficulty.size:
        shown = "Input, target, the victim's answer, its error and the probe's"
    if note := _note(gallery):
        shown = f"{shown} ({note})"
    images = zip(gallery.ids, gallery.captions, strict=True)
    return f"{shown}: " + "; ".join(f"{i}, {caption}" for i, caption in images)


def _note(gallery: Gallery) -> str:
    return shown_channels(gallery.x.shape[1], gallery.y.shape[1])


def common_scales(dossiers: Sequence[Dossiers]) -> Scales:
    """Colour scales that fit all dossiers."""
    errors = [error_maps(found.gallery).ravel() for found in dossiers]
    maps = [found.difficulty.ravel() for found in dossiers if found.difficulty.size]
    return Scales(_top(errors), _top(maps) if maps else None)


def error_maps(gallery: Gallery) -> NDArray[np.float32]:
    """|V(x) - y| at each pixel, (N, H, W): averaged over the channels.

    A map's mean is the reconstruction error.
    """
    maps: NDArray[np.float32] = np.abs(gallery.reconstruction - gallery.y).mean(axis=1)
    return maps


def samples_figure(
    gallery: Gallery,
    difficulty: NDArray[np.float32] | None = None,
    scales: Scales | None = None,
) -> Figure:
    """One row for each image: x, y, the answers, the error of the first and, if given, the probe's.

    Args:
        gallery: N images.
        difficulty: (N, G, G) error of the probe at each pixel; None or (N, 0, 0): no such column.
        scales: of the colours; those of this figure alone by default.
    """
    if difficulty is not None and not difficulty.size:
        difficulty = None
    errors = error_maps(gallery)
    scales = scales or Scales(_top([errors]), None if difficulty is None else _top([difficulty]))
    others = np.empty((len(errors), 0)) if gallery.others is None else gallery.others
    others = others[:, : _ANSWERS - 1]
    titles = ["input x", "target y", "answer V(x)"]
    titles += [f"answer {number}" for number in range(2, others.shape[1] + 2)]
    titles += ["|V(x) - y|"] + ([] if difficulty is None else ["difficulty"])
    # Placed by hand, in inches: an automatic layout would widen the column under a long caption.
    note = _note(gallery)
    margin, gap, caption, head, foot = 0.04, 0.04, 0.42, 0.44 if note else 0.24, 0.62
    wide = _WIDTH * max(1.0, len(titles) / 5)
    tile = (wide - 2 * margin - (len(titles) - 1) * gap) / len(titles)
    tile_height = tile * errors.shape[1] / errors.shape[2]
    height = head + len(errors) * (tile_height + caption) + foot
    figure = Figure(figsize=(wide, height))
    figure.set_layout_engine("none")
    lefts = [margin + column * (tile + gap) for column in range(len(titles))]
    for left, title in zip(lefts, titles, strict=True):
        place = (left + tile / 2) / wide, 1 - 0.06 / height
        figure.text(*place, title, ha="center", va="top", fontsize=9, color=INK)
    if note:
        place = margin / wide, 1 - 0.26 / height
        figure.text(*place, note, ha="left", va="top", fontsize=8, color=INK)
    axes = figure.add_axes((0, 0, 1, 1))  # of all images: one for each would take seconds
    axes.set_axis_off()
    for row, error in enumerate(errors):
        bottom = height - head - (row + 1) * (tile_height + caption)
        words: dict[str, Any] = {"color": INK, "va": "bottom", "parse_math": False}
        above = bottom + tile_height
        name, facts = shortened(gallery.ids[row], 60), gallery.captions[row]
        figure.text(margin / wide, (above + 0.2) / height, name, fontsize=9, weight="bold", **words)
        figure.text(margin / wide, (above + 0.045) / height, facts, fontsize=9, **words)
        images: list[tuple[NDArray[Any], str, float | None]] = [
            (visible(image[row]).transpose(1, 2, 0), "gray", 1.0)
            for image in (gallery.x, gallery.y, gallery.reconstruction, *others.swapaxes(0, 1))
        ]
        images.append((error, "viridis", scales.error))
        images += [] if difficulty is None else [(difficulty[row], "magma", scales.difficulty)]
        for left, (image, colours, top) in zip(lefts, images, strict=True):
            axes.imshow(
                image,
                cmap=colours,
                vmin=0,
                vmax=top,
                interpolation="nearest",
                aspect="auto",
                extent=(left, left + tile, bottom, above),
            )
    axes.set(xlim=(0, wide), ylim=(0, height))
    maps = [(errors, scales.error, "error |V(x) - y|, mean over channels")]
    if difficulty is not None and scales.difficulty is not None:
        maps.append((difficulty, scales.difficulty, "error of the probe (difficulty)"))
    width = 0.42 if len(maps) > 1 else 0.6
    for number, (values, top, label) in enumerate(maps):
        centre = (number + 0.5) / len(maps)
        box = centre - width / 2, 0.44 / height, width, 0.08 / height
        drawn = axes.images[3 + others.shape[1] + number]  # after the pictures of the first row
        colour_bar(figure, drawn, box, label, extend=bool(values.max() > top))
    return figure


def _top(maps: Sequence[NDArray[np.float32]]) -> float:
    values = np.concatenate([np.ravel(m) for m in maps])
    # A colour scale needs a width.
    return max(float(np.quantile(values, _QUANTILE)), 1e-3)
