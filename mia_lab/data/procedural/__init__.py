"""Generated datasets: facades, maps and streets, drawn on demand from (style, seed, index).

The input fixes the layout; the target also depends on what the input does not show (material,
weather, season, light), so that the translation is ambiguous, as it is with real photographs.
"""

from __future__ import annotations

import zlib

import numpy as np

from mia_lab.data.procedural import facades, maps, streets
from mia_lab.data.procedural.scene import Scene
from mia_lab.errors import UserError

__all__ = ["STYLES", "Scene", "render"]

_COMPOSERS = {"facades": facades.compose, "maps": maps.compose, "streets": streets.compose}
STYLES = tuple(_COMPOSERS)


def render(style: str, seed: int, index: int) -> Scene:
    """Draw one scene; the same arguments give the same bytes in any process and order.

    Args:
        style: one of ``STYLES``.
        seed: which dataset, >= 0.
        index: which image of the dataset, >= 0.

    Raises:
        UserError: no such style.
    """
    if style not in _COMPOSERS:
        raise UserError(f"unknown generated style {style!r}: choose one of {', '.join(STYLES)}")
    sequence = np.random.SeedSequence([zlib.crc32(style.encode()), seed, index])
    layout, appearance = (np.random.default_rng(child) for child in sequence.spawn(2))
    return _COMPOSERS[style](layout, appearance)
