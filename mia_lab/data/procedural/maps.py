"""Satellite images of town and country in the style of the pix2pix maps, from a street map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from mia_lab.data.procedural.map_layout import (
    ARTERIAL,
    BLOCK,
    LAND,
    MOTORWAY,
    PALETTE,
    PARK,
    ROADS,
    WATER,
    Layout,
    draw_layout,
    stroke,
)
from mia_lab.data.procedural.scene import (
    SIZE,
    Color,
    Drawing,
    Field,
    Light,
    Mask,
    Style,
    among,
    blend,
    chance,
    develop,
    foliage,
    fractal_noise,
    illuminate,
    pick,
    quantize,
    rgb,
    tint,
)

ROOF_COLORS: tuple[Color, ...] = (
    (122, 118, 114), (152, 146, 138), (96, 90, 88), (150, 96, 74),
    (172, 116, 88), (192, 188, 182), (112, 98, 84), (104, 112, 122),
)  # fmt: skip
"""Shingle, gravel, terracotta, metal."""
FLAT_ROOF_COLORS: tuple[Color, ...] = (
    (206, 204, 200),
    (166, 164, 160),
    (130, 128, 126),
    (228, 228, 226),
)
GRASS_COLORS: tuple[Color, ...] = ((92, 108, 66), (118, 122, 78), (142, 132, 96), (164, 148, 116))
"""From a wet to a dry season."""
WATER_COLORS: tuple[Color, ...] = (
    (36, 56, 62),
    (52, 74, 70),
    (70, 82, 66),
    (30, 48, 78),
    (88, 92, 74),
)
CAR_COLORS: tuple[Color, ...] = (
    (236, 236, 236),
    (30, 30, 32),
    (150, 152, 156),
    (140, 40, 36),
    (60, 80, 120),
)
SNOW: Color = (226, 230, 236)
FARMED = 0.45
"""Density above which there are no fields."""
LOTS_ACROSS = 64
"""Number of lots along each axis; lot numbers are taken modulo this, and fewer fit the canvas."""
LOTS = LOTS_ACROSS**2
"""Number of entries of the tables of properties that vary by house."""
CORE = 0.42
"""Half the side of a lot's core, in lots: it must be free for a house to be built."""


@dataclass(frozen=True)
class _Homes:
    """Building parameters of one land use.

    Attributes:
        kind: the land use.
        colors: what its roofs are made of.
        lot: side of a lot in pixels.
        share: share of the lots that are built on.
        pitch: how steep the roofs are; 0 is flat.
        storeys: height relative to a small house.
    """

    kind: int
    colors: tuple[Color, ...]
    lot: float
    share: float
    pitch: float
    storeys: float


def photograph(layout: Layout, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The same place from above: uint8 (256, 256, 3)."""
    labels = layout.labels
    dryness, snow = float(rng.random()), float(rng.random() ** 0.5) * chance(rng, 0.08)
    drawing, height = _ground(layout, rng, dryness), np.zeros((SIZE, SIZE), np.float32)
    _pave(drawing, layout, rng)
    height += _roofs(drawing, layout, rng)
    height += _trees(drawing, layout, height, rng, dryness)
    if snow:
        cover = snow * np.clip(0.9 + 0.4 * fractal_noise(rng, 10, 3), 0, 1)
        open_sky = np.where(among(labels, *ROADS), 0.3, 0.85) * (labels != WATER)
        blend(drawing, rgb(SNOW), (cover * open_sky).astype(np.float32))
    sun = rng.uniform(0, 2 * np.pi)
    light = Light(
        dx=float(np.cos(sun)),
        dy=float(np.sin(sun)),
        slope=float(rng.uniform(0.5, 1.6)),
        strength=float(rng.uniform(0.1, 0.75)),
        color=np.array([1.04, 1.0, 0.94], np.float32) ** np.float32(rng.normal(0.3, 1)),
    )
    illuminate(drawing, height, light, labels != WATER)
    _fill_water(drawing, labels == WATER, rng)
    _traffic(drawing, layout, rng)
    _haze(drawing, rng)
    return develop(drawing, rng, blur=(0.0, 0.9), grain=(0.003, 0.03), exposure=0.25)


def _ground(layout: Layout, rng: np.random.Generator, dryness: float) -> Drawing:
    """Grass, soil, fields with furrows and bare yards."""
    low, high = GRASS_COLORS[int(dryness * 3)], GRASS_COLORS[int(dryness * 3) + 1]
    lush, dry = tint(rng, low, 0.04), tint(rng, high, 0.04)
    mix = np.clip(0.5 + rng.uniform(0.1, 0.4) * fractal_noise(rng, 40, 4), 0, 1)
    drawing: Drawing = lush + (dry - lush) * mix[..., None]
    drawing *= np.exp(rng.uniform(0.01, 0.1) * fractal_noise(rng, 3, 2))[..., None]
    if layout.density < FARMED:
        _farm(drawing, layout, rng)
    yards = tint(rng, (150, 146, 138), 0.06) * np.exp(0.1 * fractal_noise(rng, 12, 3))[..., None]
    blend(drawing, yards, among(layout.labels, BLOCK) * np.float32(rng.uniform(0.5, 1)))
    return drawing


def _farm(drawing: Drawing, layout: Layout, rng: np.random.Generator) -> None:
    """Divide the open land into fields, each with its crop and furrows; fainter near towns."""
    parts = rng.integers(1, 4, 2).astype(np.float32)
    land = layout.labels == LAND
    u, v = layout.u[land], layout.v[land]
    crops = rng.normal(0, 0.07, (64, 64, 1)) + rng.normal(0, 0.03, (64, 64, 3))
    sown = crops[(u * parts[0]).astype(int) % 64, (v * parts[1]).astype(int) % 64]
    furrows = rng.uniform(0, 0.06) * np.sin(u * layout.block[0] * rng.uniform(0.9, 2.2))
    drawing[land] += (1 - layout.density / FARMED) * (sown + furrows[:, None])


def _pave(drawing: Drawing, layout: Layout, rng: np.random.Generator) -> None:
    """Asphalt or concrete, with lines on the large roads."""
    roads = among(layout.labels, *ROADS)
    asphalt = tint(rng, pick(rng, ((112, 112, 114), (140, 138, 134), (90, 90, 94))), 0.05)
    worn = np.exp(rng.uniform(0.02, 0.1) * fractal_noise(rng, 8, 3))[..., None]
    blend(drawing, asphalt * worn, roads * np.float32(0.95))
    line = rgb((214, 208, 180)) * np.float32(rng.uniform(0.75, 1.05))
    gap_u = np.abs(layout.u - np.round(layout.u)) * layout.block[0]
    gap_v = np.abs(layout.v - np.round(layout.v)) * layout.block[1]
    centre = (np.minimum(gap_u, gap_v) < 0.6) & (layout.labels == ARTERIAL)
    blend(drawing, line, centre * np.float32(rng.uniform(0.1, 0.8)))
    if layout.motorway:
        on_road = layout.labels == MOTORWAY
        blend(drawing, tint(rng, (160, 156, 150), 0.04) * worn, on_road)
        median = tint(rng, pick(rng, ((110, 116, 80), (196, 194, 188))), 0.04)
        blend(drawing, median, stroke(layout.motorway, 2) & on_road)


def _roofs(drawing: Drawing, layout: Layout, rng: np.random.Generator) -> Field:
    """Paint a house on most lots: gabled ones on land, large flat ones in dense blocks.

    Returns:
        float32 (256, 256), height of the roofs in pixels, 0 beside them.
    """
    height = np.zeros((SIZE, SIZE), np.float32)
    share = rng.uniform(0.55, 1) * min(1.0, 0.03 + 1.8 * layout.density)
    houses = _Homes(LAND, ROOF_COLORS, rng.uniform(11, 19), share, pitch=5, storeys=1)
    tall = 1.5 + 4 * layout.density
    halls = _Homes(BLOCK, FLAT_ROOF_COLORS, rng.uniform(18, 40), share, pitch=0, storeys=tall)
    for homes in (houses, halls):
        _settle(drawing, height, layout, homes, rng)
    return height


def _settle(
    drawing: Drawing, height: Field, layout: Layout, homes: _Homes, rng: np.random.Generator
) -> None:
    """Build on the lots of one land use, in place; tables of LOTS hold what differs by house."""
    where = layout.labels == homes.kind
    a, lot_u = _lots(layout.u[where], layout.block[0], layout.street, homes.lot)
    b, lot_v = _lots(layout.v[where], layout.block[1], layout.street, homes.lot)
    index = (lot_u % LOTS_ACROSS) * LOTS_ACROSS + lot_v % LOTS_ACROSS
    core = np.maximum(np.abs(a), np.abs(b)) < CORE
    free = np.bincount(index[core], minlength=LOTS) > 0.85 * _core_area(layout, homes.lot)
    half = rng.uniform(0.22, 0.42 + 0.06 * layout.density, (2, LOTS)).astype(np.float32)
    shift = rng.uniform(-0.08, 0.08, (2, LOTS)).astype(np.float32)
    taken = free & (rng.random(LOTS) < homes.share)
    along, across = np.abs(a - shift[0][index]), np.abs(b - shift[1][index])
    house = taken[index] & (along < half[0][index]) & (across < half[1][index])
    index, along, across = index[house], along[house], across[house]
    favourites = [tint(rng, pick(rng, homes.colors), 0.05) for _ in range(rng.integers(2, 6))]
    roofs = np.stack([c * np.float32(1 + s) for c in favourites for s in rng.normal(0, 0.1, 16)])
    spots = np.flatnonzero(where)[house]
    drawing.reshape(-1, 3)[spots] = np.clip(roofs[rng.integers(0, len(roofs), LOTS)[index]], 0, 1)
    ridge = np.where((half[0] > half[1])[index], across, along)
    storeys = homes.storeys * rng.uniform(1.5, 4, LOTS)[index]
    height.reshape(-1)[spots] = storeys + homes.pitch * (0.5 - ridge)


def _lots(
    grid: NDArray[np.float32], block: float, street: float, lot: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Position inside a lot (-0.5 to 0.5) and the lot's number, along one axis of the grid."""
    inner = max(block - street - 2, 4)
    count = max(1, round(inner / lot))
    within = np.clip(((grid % 1) * block - (block - inner) / 2) / inner, 0, 0.9999) * count
    number = grid.astype(np.int64) * count + within.astype(np.int64)
    return within % 1 - np.float32(0.5), number


def _core_area(layout: Layout, lot: float) -> float:
    """Pixels in the core of a lot, where the grid is not bent."""
    sides = [max(size - layout.street - 2, 4) for size in layout.block]
    return float(np.prod([2 * CORE * side / max(1, round(side / lot)) for side in sides]))


def _trees(
    drawing: Drawing, layout: Layout, height: Field, rng: np.random.Generator, dryness: float
) -> Field:
    """Paint single trees and woods; return the height of their crowns (256, 256) in pixels."""
    crowns = PilImage.new("F", (SIZE, SIZE))
    pen = ImageDraw.Draw(crowns)
    count = int(rng.uniform(20, 420) * rng.uniform(0.4, 1))
    for x, y, r in zip(*rng.uniform(0, SIZE, (2, count)), rng.uniform(1.5, 5, count), strict=True):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=1.2 + 0.8 * r)
    canopy = np.array(crowns)
    wooded = fractal_noise(rng, 70, 4) + 1.2 * (layout.labels == PARK) - 1.0 * layout.density
    canopy = np.maximum(canopy, 5.0 * (wooded > rng.uniform(0.3, 2.2)))
    canopy *= among(layout.labels, LAND, PARK, BLOCK) & (height == 0)
    leaves = (
        tint(rng, (62, 78, 46), 0.035) * (1 - dryness) + tint(rng, (92, 90, 62), 0.04) * dryness
    )
    paint = foliage(rng, leaves.astype(np.float32), rng.uniform(0.15, 0.4))
    blend(drawing, paint, (canopy > 0) * np.float32(0.92))
    return np.asarray(canopy * (1 + 0.15 * fractal_noise(rng, 4, 1)), np.float32)


def _fill_water(drawing: Drawing, wet: Mask, rng: np.random.Generator) -> None:
    """Deep or muddy, calm or rippled, with a glint of the sun."""
    tone = tint(rng, pick(rng, WATER_COLORS), 0.04)
    depth = rng.uniform(0, 0.18) * fractal_noise(rng, 80, 3)
    ripples = rng.uniform(0, 0.1) * fractal_noise(rng, rng.uniform(3, 9), 2, rng.uniform(0.5, 1))
    paint = tone * np.exp(depth + ripples)[..., None]
    glint = np.clip(fractal_noise(rng, 90, 2) - 0.8, 0, 1) * rng.uniform(0, 0.35)
    blend(paint, rgb((210, 214, 216)), glint.astype(np.float32))
    blend(drawing, paint.astype(np.float32), wet)


def _traffic(drawing: Drawing, layout: Layout, rng: np.random.Generator) -> None:
    """Cars, two pixels by four, along the nearer line of the grid."""
    rows, cols = np.nonzero(among(layout.labels, *ROADS))
    if not len(rows):
        return
    image = PilImage.fromarray(quantize(drawing))
    pen = ImageDraw.Draw(image)
    gap_u = np.abs(layout.u - np.round(layout.u)) * layout.block[0]
    gap_v = np.abs(layout.v - np.round(layout.v)) * layout.block[1]
    for spot in rng.integers(0, len(rows), int(len(rows) * rng.uniform(0, 0.012))):
        y, x = int(rows[spot]), int(cols[spot])
        angle = layout.heading + (np.pi / 2 if gap_u[y, x] < gap_v[y, x] else 0)
        dx, dy = 1.8 * np.cos(angle), 1.8 * np.sin(angle)
        pen.line((x - dx, y - dy, x + dx, y + dy), fill=pick(rng, CAR_COLORS), width=2)
    drawing[:] = np.asarray(image, np.float32) / 255


def _haze(drawing: Drawing, rng: np.random.Generator) -> None:
    """Add thin haze and, with some probability, a cloud."""
    veil = rgb((196, 204, 212))
    blend(drawing, veil, np.float32(rng.uniform(0, 0.45) * rng.random()))
    if chance(rng, 0.06):
        wisp = np.clip(fractal_noise(rng, 100, 4) - 0.6, 0, 1) * rng.uniform(0.3, 0.7)
        blend(drawing, rgb((240, 240, 242)), wisp.astype(np.float32))


STYLE = Style(PALETTE, draw_layout, photograph, label_to_photo="BtoA")
