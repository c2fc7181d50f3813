"""Generated datasets: facades, maps and streets, drawn on demand from (style, seed, index).

The input determines the layout. The target also depends on properties that the input does not show
(material, weather, season, light), so that the translation is ambiguous, as with real photographs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from mia_lab.data.procedural import (
    facade_layout,
    facades,
    map_layout,
    maps,
    street_layout,
    street_things,
    streets,
)
from mia_lab.data.procedural.scene import Scene, colorize
from mia_lab.errors import UserError

__all__ = ["STYLES", "Scene", "compose", "render"]

_RENDERERS: dict[str, tuple[Any, Callable[..., Any], Callable[..., Any]]] = {
    "facades": (facade_layout.PALETTE, facade_layout.draw_layout, facades.photograph),
    "maps": (map_layout.PALETTE, map_layout.draw_layout, maps.photograph),
    "streets": (street_things.PALETTE, street_layout.draw_layout, streets.photograph),
}
"""For each style: the colours of its labels, the function that draws the labels, and the function
that renders the photo."""

STYLES = tuple(_RENDERERS)


def render(style: str, seed: int, index: int) -> Scene:
    """Draw one scene; the same arguments give the same bytes in any process and order.

    Args:
        style: one of ``STYLES``.
        seed: seed of the dataset, >= 0.
        index: index of the image in the dataset, >= 0.

    Raises:
        UserError: the style is unknown.
    """
    if style not in _RENDERERS:
        raise UserError(f"unknown generated style {style!r}: choose one of {', '.join(STYLES)}")
    sequence = np.random.SeedSequence([zlib.crc32(style.encode()), seed, index])
    layout, appearance = (np.random.default_rng(child) for child in sequence.spawn(2))
    return compose(style, layout, appearance)


def compose(
    style: str, layout_rng: np.random.Generator, appearance_rng: np.random.Generator
) -> Scene:
    """Draw one scene: the layout from one generator, the appearance of the target from the other.

    Args:
        style: one of ``STYLES``.
        layout_rng: source of the layout, which the input shows.
        appearance_rng: source of the properties that only the target shows.
    """
    palette, draw_layout, photograph = _RENDERERS[style]
    layout = draw_layout(layout_rng)
    return Scene(
        input=colorize(layout.labels, palette),
        target=photograph(layout, appearance_rng),
        labels=layout.labels,
        instances=getattr(layout, "instances", None),
    )
