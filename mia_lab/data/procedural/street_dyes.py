"""Colours of the parts of cars, people and street furniture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.data.procedural.scene import Color, chance, pick, rgb, tint
from mia_lab.data.procedural.street_things import VEGETATION

CAR_PAINTS: tuple[Color, ...] = (
    (196, 198, 200), (28, 28, 32), (120, 124, 128), (236, 236, 234),
    (128, 24, 26), (32, 54, 104), (46, 66, 58), (190, 160, 60),
)  # fmt: skip
CLOTHES: tuple[Color, ...] = (
    (40, 42, 50), (70, 80, 110), (140, 40, 44), (190, 184, 170), (60, 84, 60), (200, 120, 40),
)  # fmt: skip
SKIN: Color = (186, 144, 120)
BOARDS: tuple[Color, ...] = ((36, 76, 160), (226, 196, 60), (230, 230, 228))
HEADLIGHT: Color = (250, 244, 220)
TAILLIGHT: Color = (210, 30, 24)
SIGNALS: dict[str, tuple[Color, Color]] = {
    "red": ((60, 16, 14), (255, 50, 36)),
    "amber": ((66, 46, 12), (255, 180, 40)),
    "green": ((14, 54, 28), (60, 255, 140)),
}
"""Lamps of a traffic light, off and on."""


def shared_dyes(rng: np.random.Generator) -> dict[str, Color]:
    """The colours that all things of one scene share: part name to colour."""
    signal = pick(rng, tuple(SIGNALS))
    dyes = {name: dark for name, (dark, _) in SIGNALS.items()} | {signal: SIGNALS[signal][1]}
    return dyes | {
        "wheel": (22, 22, 24),
        "spokes": (98, 98, 98),
        "plate": (214, 214, 206),
        "case": (34, 36, 34),
        "rim": (190, 30, 32),
        "face": (236, 234, 230),
        "pole": _byte_color(tint(rng, (104, 106, 106), 0.08)),
        "trunk": _byte_color(tint(rng, (78, 66, 54), 0.04)),
        "glass": _byte_color(tint(rng, (52, 60, 68), 0.05)),
    }


def own_dyes(rng: np.random.Generator, kind: int) -> dict[str, Color]:
    """The colours of one thing: part name to colour."""
    if kind == VEGETATION:
        return {"crown": _byte_color(tint(rng, (78, 88, 48), 0.04))}
    paint, cloth, legs = (tint(rng, pick(rng, c), 0.05) for c in (CAR_PAINTS, CLOTHES, CLOTHES))
    shades = {
        "body": paint,
        "flank": paint * np.float32(0.72),
        "deck": paint * np.float32(1.15),
        "legs": legs * np.float32(0.7),
        "coat": cloth,
        "frame": cloth * np.float32(0.6),
        "head": tint(rng, SKIN, 0.1),
        "board": rgb(pick(rng, BOARDS)),
        "lamp": rgb(HEADLIGHT if chance(rng, 0.3) else TAILLIGHT),
    }
    return {name: _byte_color(shade) for name, shade in shades.items()}


def _byte_color(color: NDArray[np.float32]) -> Color:
    """A colour in [0, 1] as bytes, clipped."""
    red, green, blue = (min(255, max(0, round(255 * c))) for c in color.tolist())
    return red, green, blue
