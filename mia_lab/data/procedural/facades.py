"""Photos of building fronts in the style of CMP Facades, from rectangles of 12 classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from mia_lab.data.procedural.facade_layout import (
    BACKGROUND,
    BALCONY,
    BLIND,
    CORNICE,
    DECO,
    DOOR,
    MOLDING,
    PALETTE,
    PILLAR,
    SHOP,
    SILL,
    WINDOW,
    Box,
    Layout,
    draw_layout,
)
from mia_lab.data.procedural.scene import (
    SIZE,
    Color,
    Drawing,
    Field,
    Light,
    Style,
    among,
    blend,
    chance,
    develop,
    foliage,
    fractal_noise,
    illuminate,
    pick,
    pixel_grid,
    quantize,
    rgb,
    sky,
    tint,
)

RELIEF = np.array([-9, 0, -2.5, -3, 3.5, 2, 5, -1, 0.8, 1.4, 2.5, -2], np.float32)
"""Height of each class above the wall, in pixels."""
TRIMS = (CORNICE, SILL, DECO, MOLDING, PILLAR)
"""Classes made of one trim material."""
GLARE: Color = (198, 202, 206)
"""Stray light and mist between the camera and the wall."""
WALL_COLORS: dict[str, tuple[Color, ...]] = {
    "brick": ((150, 78, 62), (124, 66, 54), (168, 104, 78), (186, 152, 112), (112, 84, 76)),
    "plaster": (
        (216, 200, 164),
        (226, 218, 204),
        (196, 156, 118),
        (178, 186, 178),
        (204, 140, 116),
    ),
    "stone": ((176, 166, 148), (150, 144, 136), (196, 182, 156), (132, 124, 112)),
    "panels": ((166, 172, 176), (204, 204, 198), (120, 134, 144), (150, 112, 84)),
}
"""Wall materials and their usual colours."""
TRIM_COLORS: tuple[Color, ...] = ((232, 226, 212), (206, 196, 176), (150, 144, 134), (120, 84, 66))
FRAME_COLORS: tuple[Color, ...] = ((236, 234, 228), (92, 62, 44), (58, 64, 62), (150, 146, 136))
DOOR_COLORS: tuple[Color, ...] = (
    (84, 54, 38),
    (44, 66, 56),
    (62, 40, 36),
    (44, 52, 74),
    (150, 146, 140),
)
SHOP_COLORS: tuple[Color, ...] = (
    (150, 34, 36),
    (30, 70, 110),
    (36, 84, 60),
    (214, 176, 70),
    (40, 38, 40),
)


def photograph(layout: Layout, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A photo of the facade: uint8 (256, 256, 3)."""
    labels, overcast = layout.labels, float(rng.random())
    drawing = _surroundings(layout, rng, overcast)
    wall, rough = _wall_material(rng)
    blend(drawing, wall, labels != BACKGROUND)
    trim = tint(rng, pick(rng, TRIM_COLORS), 0.05)
    if chance(rng, 0.3):
        trim = trim * 0.3 + wall.mean((0, 1)) * 0.8
    grime = 0.05 * rng.random() * fractal_noise(rng, 8, 3)
    blend(drawing, trim * (1 + grime[..., None]), among(labels, *TRIMS))
    _furnish(drawing, layout, rng, overcast)
    light = Light(
        dx=float(rng.uniform(-0.8, 0.8)),
        dy=float(rng.uniform(0.4, 1.0)),
        slope=float(rng.uniform(0.35, 1.2)),
        strength=float(0.75 * (1 - overcast) + 0.12),
        color=np.array([1.05, 1.0, 0.93], np.float32) ** np.float32(rng.normal(0.2, 1)),
    )
    height = RELIEF[labels] + rough
    built = labels != BACKGROUND
    illuminate(drawing, height, light, built)
    _weather(drawing, layout, rng, light)
    _occlude(drawing, rng)
    blend(drawing, rgb(GLARE), 0.55 * rng.random() ** 2)
    return develop(_tilt(drawing, rng), rng, blur=(0.0, 1.0), grain=(0.004, 0.035), exposure=0.28)


def _wall_material(rng: np.random.Generator) -> tuple[Drawing, Field]:
    """A wall of brick, plaster, stone or panels, and its roughness (256, 256) in pixels."""
    material = pick(rng, tuple(WALL_COLORS))
    color = tint(rng, pick(rng, WALL_COLORS[material]), 0.06)
    mottle = rng.uniform(0.005, 0.06) * fractal_noise(rng, rng.uniform(10, 60), 4)
    if material == "plaster":
        fine = rng.uniform(0, 0.05) * fractal_noise(rng, 2, 1)
        return np.exp(mottle + fine)[..., None] * color, mottle
    course = {
        "brick": rng.uniform(4, 8),
        "stone": rng.uniform(9, 22),
        "panels": rng.uniform(18, 46),
    }
    height = course[material]
    width = height * rng.uniform(1.8, 3.0)
    y, x = pixel_grid()
    row = (y / height).astype(int)
    offset = 0.5 * (row % 2) if material != "panels" else 0.0
    along = x / width + offset
    tones = rng.normal(size=(SIZE, SIZE)).astype(np.float32)[row, along.astype(int)]
    joint = np.minimum(y % height, (along % 1) * width) < rng.uniform(0.8, 1.6)
    contrast = rng.uniform(0.03, 0.15) * (0.4 if material == "panels" else 1)
    wall = np.exp(contrast * tones + mottle)[..., None] * color
    mortar = color * np.float32(rng.uniform(0.6, 1.0)) + np.float32(rng.uniform(0, 0.22))
    blend(wall, mortar, joint * np.float32(rng.uniform(0.4, 0.95)))
    return wall.astype(np.float32), np.where(joint, -0.5, 0.3 * tones).astype(np.float32)


def _surroundings(layout: Layout, rng: np.random.Generator, overcast: float) -> Drawing:
    """Sky above the roof line, neighbours at the sides, pavement below."""
    y, x = pixel_grid()
    drawing = sky(rng, overcast, float(max(layout.wall.top, 64)))
    left, right = x < layout.wall.left, x >= layout.wall.right
    for beside in (side for side in (left, right) if side.any()):
        roof = layout.wall.top + int(rng.integers(-20, 70))
        if chance(rng, 0.25):
            paint = foliage(rng, tint(rng, (72, 92, 50), 0.05), 0.45)
            roof_line = roof + 6 * fractal_noise(rng, 20, 3)
            blend(drawing, paint, beside & (y > roof_line))
        else:
            paint, _ = _wall_material(rng)
            blend(drawing, paint * np.float32(rng.uniform(0.6, 1)), beside & (y > roof))
    pavement = tint(rng, (134, 130, 124), 0.06) * (1 + 0.06 * fractal_noise(rng, 12, 3))[..., None]
    blend(drawing, pavement, y >= layout.wall.bottom)
    return drawing


def _furnish(drawing: Drawing, layout: Layout, rng: np.random.Generator, overcast: float) -> None:
    """Paint windows, blinds, doors, shops and balconies, box by box."""
    frame = tint(rng, pick(rng, FRAME_COLORS), 0.05)
    glass = _glass(rng, overcast)
    door = tint(rng, pick(rng, DOOR_COLORS), 0.04)
    shop = tint(rng, pick(rng, SHOP_COLORS), 0.05)
    fabric = tint(rng, (208, 200, 180), 0.08)
    rail, solid = tint(rng, pick(rng, ((38, 38, 40), (206, 200, 190))), 0.04), chance(rng, 0.35)
    mullions, spacing = int(rng.integers(0, 4)), int(rng.integers(3, 6))
    curtains, lit = float(rng.random()), 0.12 * float(rng.random())
    for kind, box in layout.boxes:
        view = box.of(drawing)
        if kind == WINDOW:
            view[:] = box.of(glass) * np.float32(rng.uniform(0.55, 1.25))
            _dress(view, rng, fabric, curtains, lit)
            _frame(view, frame, mullions)
        elif kind == BLIND:
            view[:] = fabric * np.float32(rng.uniform(0.75, 1))
            view[::3] *= 0.82
        elif kind == DOOR:
            view[:] = door
            _frame(view, door * np.float32(0.6), 3)
        elif kind == SHOP:
            _shop_front(box, drawing, rng, glass, shop)
        elif kind == BALCONY:
            if solid:
                view[:] = rail
            else:
                view[:, ::spacing] = rail
            view[:2] = rail
            view[-3:] = rail * np.float32(0.6) + np.float32(0.15)


def _glass(rng: np.random.Generator, overcast: float) -> Drawing:
    """The reflection in all panes of a facade: sky, clouds, dark houses across the street."""
    dark = tint(rng, (40, 46, 54), 0.03)
    mirrored = np.array([0.62, 0.7, 0.78], np.float32) * np.float32(1 - 0.2 * overcast)
    amount = np.clip(rng.uniform(0, 0.55) + rng.uniform(0, 0.3) * fractal_noise(rng, 40, 4), 0, 0.9)
    return np.asarray(dark + (mirrored - dark) * amount[..., None], np.float32)


def _dress(
    view: Drawing,
    rng: np.random.Generator,
    fabric: NDArray[np.float32],
    curtains: float,
    lit: float,
) -> None:
    """Curtains, a blind, or a lamp behind one pane."""
    rows, cols = view.shape[:2]
    if chance(rng, lit):
        view[:] = np.array([0.95, 0.78, 0.45], np.float32)
    if chance(rng, curtains):
        width = max(1, int(cols * rng.uniform(0.12, 0.4)))
        view[:, :width] = view[:, :width] * 0.3 + 0.65 * fabric
        view[:, -width:] = view[:, -width:] * 0.3 + 0.65 * fabric
    if chance(rng, 0.35 * curtains):
        drop = int(rows * rng.uniform(0.15, 0.8))
        view[:drop] = fabric * np.float32(rng.uniform(0.7, 1.0))


def _frame(view: Drawing, color: NDArray[np.float32], mullions: int) -> None:
    """A frame around a pane, and bars across it: bit 0 an upright, bit 1 a transom."""
    rows, cols = view.shape[:2]
    edge = 1 + (min(rows, cols) > 24)
    view[:edge], view[-edge:], view[:, :edge], view[:, -edge:] = (color,) * 4
    if mullions & 1:
        view[:, cols // 2 - edge // 2 : cols // 2 + 1] = color
    if mullions & 2:
        view[rows // 3 : rows // 3 + edge] = color


def _shop_front(
    box: Box, drawing: Drawing, rng: np.random.Generator, glass: Drawing, color: NDArray[np.float32]
) -> None:
    """A sign or a striped awning above a display window full of goods."""
    view, sign = box.of(drawing), box.part(0, 0, 1, rng.uniform(0.14, 0.3))
    view[:] = color * np.float32(0.7)
    pane = box.part(0.06, 0.3, 0.94, 0.92)
    goods = np.repeat(_goods(rng), 4, axis=1)[:, : pane.right - pane.left]
    inside = pane.of(drawing)
    inside[:] = pane.of(glass) * 0.9
    shelf = inside[inside.shape[0] // 2 :]
    shelf += (goods[:, : shelf.shape[1]] - shelf) * np.float32(rng.uniform(0.1, 0.5))
    sign.of(drawing)[:] = color
    if chance(rng, 0.3):
        sign.of(drawing)[:, ::4] = 0.92
        sign.of(drawing)[:, 1::4] = 0.92
    _frame(inside, color * np.float32(0.55), 1)


def _goods(rng: np.random.Generator) -> NDArray[np.float32]:
    """Muted colours of what a shop displays: (1, 64, 3)."""
    colors = rng.random((1, 64, 3), dtype=np.float32)
    return np.asarray(0.4 * colors + 0.5 * colors.mean(axis=2, keepdims=True), np.float32)


def _weather(drawing: Drawing, layout: Layout, rng: np.random.Generator, light: Light) -> None:
    """Draw streaks of dirt, a darker base of the wall, and the shadow of the house opposite."""
    y, x = pixel_grid()
    streaks = np.clip(fractal_noise(rng, 7, 2, aspect=9.0), 0, 3) * rng.uniform(0, 0.1)
    foot = np.clip((y - SIZE + 60) / 60, 0, 1) * rng.uniform(0, 0.3)
    dirt = np.where(layout.labels == BACKGROUND, 0, streaks + foot)
    drawing *= np.exp(-dirt).astype(np.float32)[..., None]
    if chance(rng, 0.35):
        edge = rng.uniform(30, 220) + (x - SIZE / 2) * light.dx * rng.uniform(0.3, 1.2)
        shade = np.clip((y - edge) / 3, 0, 1) * light.strength * 0.7
        drawing *= (1 - shade).astype(np.float32)[..., None]


def _occlude(drawing: Drawing, rng: np.random.Generator) -> None:
    """Draw, with some probability, a tree or a lamp post in front of the facade."""
    y, x = pixel_grid()
    post = rng.uniform(10, SIZE - 10)
    if chance(rng, 0.18):
        middle, radius = rng.uniform(60, 200), rng.uniform(35, 80)
        distance = np.hypot(x - post, (y - middle) * 0.85) / radius
        crown = distance + 0.14 * fractal_noise(rng, 16, 3) < rng.uniform(0.55, 0.95)
        trunk = (np.abs(x - post) < rng.uniform(2, 4)) & (y > middle)
        blend(drawing, tint(rng, (70, 58, 46), 0.04), trunk)
        blend(drawing, foliage(rng, tint(rng, (70, 92, 44), 0.06), 0.38), crown * np.float32(0.95))
    elif chance(rng, 0.12):
        blend(drawing, tint(rng, (60, 62, 64), 0.04), (np.abs(x - post) < 1.6) & (y > 40))


def _tilt(drawing: Drawing, rng: np.random.Generator) -> Drawing:
    """Imitate the imperfect rectification of a photo: shear and keystone of a few pixels."""
    a, b = rng.normal(0, 0.012, 2)
    g, h = rng.normal(0, 0.0001, 2)
    c, f = -a * SIZE / 2, -b * SIZE / 2
    byte = PilImage.fromarray(quantize(drawing))
    matrix = (1 + g * SIZE / 2, a, c, b, 1 + h * SIZE / 2, f, g, h)
    warped = byte.transform(
        (SIZE, SIZE), PilImage.Transform.PERSPECTIVE, matrix, PilImage.Resampling.BILINEAR
    )
    pixels = np.asarray(warped, np.float32) / 255
    return np.where(pixels.sum(-1, keepdims=True) == 0, np.clip(drawing, 0, 1), pixels)


STYLE = Style(PALETTE, draw_layout, photograph, label_to_photo="BtoA", has_published_classes=True)
