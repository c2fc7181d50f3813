"""Generated datasets: facades, maps and streets, drawn on demand from (style, seed, index).

The input fixes the layout; the target also depends on what the input does not show (material,
weather, season, light), so that the translation is ambiguous, as it is with real photographs.

A style is a module of this package that defines ``STYLE``, a :class:`Style`. Its name is the
module's.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import numpy as np

from mia_lab.data.procedural.scene import Scene, Style, colorize
from mia_lab.errors import UserError, nearest

__all__ = ["Scene", "Style", "compose", "render", "style_named", "styles"]


@cache
def styles() -> tuple[str, ...]:
    """Names of all styles, sorted."""
    names = (module.name for module in iter_modules(__path__))
    return tuple(sorted(n for n in names if hasattr(import_module(f"{__name__}.{n}"), "STYLE")))


def style_named(name: str) -> Style:
    """A style by its name.

    Raises:
        UserError: there is no such style.
    """
    if name not in styles():
        raise UserError(
            f"data.style={name}: must be one of {', '.join(styles())}{nearest(name, styles())}"
        )
    found: Style = import_module(f"{__name__}.{name}").STYLE
    return found


def render(style: str, seed: int, index: int) -> Scene:
    """Draw one scene; the same arguments give the same bytes in any process and order.

    Args:
        style: one of :func:`styles`.
        seed: seed of the dataset, >= 0.
        index: index of the image in the dataset, >= 0.

    Raises:
        UserError: the style is unknown.
    """
    style_named(style)
    sequence = np.random.SeedSequence([zlib.crc32(style.encode()), seed, index])
    layout, appearance = (np.random.default_rng(child) for child in sequence.spawn(2))
    return compose(style, layout, appearance)


def compose(
    style: str, layout_rng: np.random.Generator, appearance_rng: np.random.Generator
) -> Scene:
    """Draw one scene: the layout from one generator, the appearance of the target from the other.

    Args:
        style: one of :func:`styles`.
        layout_rng: source of the layout, which the input shows.
        appearance_rng: source of the properties that only the target shows.
    """
    recipe = style_named(style)
    layout = recipe.draw_layout(layout_rng)
    return Scene(
        input=colorize(layout.labels, recipe.palette),
        target=recipe.photograph(layout, appearance_rng),
        labels=layout.labels,
        instances=getattr(layout, "instances", None),
    )
