"""Town and country in the manner of the pix2pix maps: a street map, and the view from above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from mia_lab.data.procedural.scene import (
    SIZE,
    Color,
    Drawing,
    Field,
    Labels,
    Light,
    Mask,
    Scene,
    blend,
    chance,
    colorize,
    develop,
    foliage,
    fractal_noise,
    illuminate,
    pick,
    pixel_grid,
    rgb,
    tint,
)

PALETTE: dict[str, Color] = {
    "land": (236, 233, 226),
    "block": (222, 217, 208),
    "park": (201, 223, 175),
    "water": (163, 204, 255),
    "street": (255, 255, 255),
    "arterial": (255, 236, 128),
    "motorway": (250, 184, 74),
}
"""The colours of a street map."""
LAND, BLOCK, PARK, WATER, STREET, ARTERIAL, MOTORWAY = range(7)
ROADS = (STREET, ARTERIAL, MOTORWAY)

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


@dataclass(frozen=True)
class Layout:
    """What the map shows, and the street grid behind it.

    Attributes:
        labels: uint8 (256, 256) class ids.
        u, v: float32 (256, 256), position in the bent street grid, in blocks.
        block: (width, height) of a block in pixels.
        street: width of a street in pixels.
        heading: direction of increasing u, in radians.
        motorway: its middle line, in pixels; empty where there is none.
        density: 0 (countryside) to 1 (city centre).
    """

    labels: Labels
    u: Field
    v: Field
    block: tuple[float, float]
    street: float
    heading: float
    motorway: tuple[tuple[float, float], ...]
    density: float


def compose(layout_rng: np.random.Generator, appearance_rng: np.random.Generator) -> Scene:
    """One map: its roads from one generator, all that a map does not tell from the other."""
    layout = draw_layout(layout_rng)
    target = photograph(layout, appearance_rng)
    return Scene(colorize(layout.labels, PALETTE), target, layout.labels, None)


def draw_layout(rng: np.random.Generator) -> Layout:
    """Blocks between bent streets, then parks, water, and the large roads across all of it."""
    density = float(rng.random())
    size = rng.uniform(70, 130) * (1 - 0.55 * density)
    block = (float(size * rng.uniform(1, 2)), float(size))
    heading = float(rng.uniform(0, np.pi))
    y, x = pixel_grid()
    bend = rng.uniform(0, 22) * (1.2 - density)
    x = x + bend * fractal_noise(rng, 150, 2) - SIZE / 2
    y = y + bend * fractal_noise(rng, 150, 2) - SIZE / 2
    u = (x * np.cos(heading) + y * np.sin(heading)) / block[0] + rng.uniform(20, 21)
    v = (y * np.cos(heading) - x * np.sin(heading)) / block[1] + rng.uniform(20, 21)
    u, v = u.astype(np.float32), v.astype(np.float32)
    street = float(rng.uniform(4, 7))
    labels = _land_use(rng, u, v, density)
    wet = _water(rng)
    streets, arterials = _streets(rng, u, v, block, street, density)
    labels[streets] = STREET
    labels[wet] = WATER
    labels[arterials] = ARTERIAL
    motorway = _curve(rng) if chance(rng, 0.3) else ()
    if motorway:
        labels[_stroke(motorway, int(rng.integers(9, 15)))] = MOTORWAY
    return Layout(labels, u, v, block, street, heading, motorway, density)


def _land_use(rng: np.random.Generator, u: Field, v: Field, density: float) -> Labels:
    """Each block is open land, densely built or a park; woods ignore the blocks."""
    shares = [1 - 0.55 * density - 0.1, 0.55 * density, 0.1]
    table = rng.choice([LAND, BLOCK, PARK], size=(64, 64), p=shares).astype(np.uint8)
    labels = table[u.astype(int) % 64, v.astype(int) % 64]
    if chance(rng, 0.35):
        labels[fractal_noise(rng, 110, 3) > rng.uniform(0.6, 1.8)] = PARK
    return labels


def _water(rng: np.random.Generator) -> Mask:
    """A river, a lake or coast, or nothing."""
    kind = rng.random()
    if kind < 0.22:
        bank = _stroke(_curve(rng), int(rng.integers(12, 46)))
        return shake(rng, bank)
    if kind < 0.5:
        y, x = pixel_grid()
        angle = rng.uniform(0, 2 * np.pi)
        slant = (x * np.cos(angle) + y * np.sin(angle)) / SIZE
        level = fractal_noise(rng, 120, 4) + rng.uniform(0, 3) * (slant - slant.mean())
        return level > np.quantile(level, rng.uniform(0.45, 0.97))
    return np.zeros((SIZE, SIZE), bool)


def shake(rng: np.random.Generator, mask: Mask) -> Mask:
    """A mask with ragged borders, as banks of a river have."""
    y, x = pixel_grid()
    rows, cols = (
        np.clip(axis + 4 * fractal_noise(rng, 36, 3), 0, SIZE - 1).astype(int) for axis in (y, x)
    )
    return mask[rows, cols]


def _streets(
    rng: np.random.Generator,
    u: Field,
    v: Field,
    block: tuple[float, float],
    width: float,
    density: float,
) -> tuple[Mask, Mask]:
    """Streets along the lines of the grid, some segments missing; a few lines are arterials."""
    streets, arterials = np.zeros((2, SIZE, SIZE), bool)
    missing = rng.uniform(0, 0.6) * (1.1 - density)
    for along, across, size in ((v, u, block[0]), (u, v, block[1])):
        line = np.round(across).astype(int)
        distance = np.abs(across - line) * size
        kept = rng.random((64, 64)) >= missing
        major = rng.random(64) < rng.choice([0.0, 0.12, 0.25])
        streets |= (distance < width / 2) & kept[line % 64, along.astype(int) % 64]
        arterials |= (distance < width * 0.8) & major[line % 64]
    return streets, arterials


def _curve(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """A smooth curve across the canvas: 48 points (x, y)."""
    angle = rng.uniform(0, 2 * np.pi)
    out = np.array([np.cos(angle), np.sin(angle)]) * SIZE
    middle = SIZE / 2 + rng.normal(0, 45, 2)
    start, stop = middle - out, middle + out + rng.normal(0, 60, 2)
    control = middle + rng.normal(0, 60, 2)
    t = np.linspace(0, 1, 48)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * stop
    return tuple((float(x), float(y)) for x, y in points)


def _stroke(points: tuple[tuple[float, float], ...], width: int) -> Mask:
    """The pixels of a thick line."""
    image = PilImage.new("1", (SIZE, SIZE))
    ImageDraw.Draw(image).line(points, fill=1, width=width, joint="curve")
    return np.array(image)


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
        open_sky = np.where(np.isin(labels, ROADS), 0.3, 0.85) * (labels != WATER)
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
    drawing = lush + (dry - lush) * mix[..., None]
    drawing *= np.exp(rng.uniform(0.01, 0.1) * fractal_noise(rng, 3, 2))[..., None]
    if layout.density < 0.45:
        parts = rng.integers(1, 4, 2)
        field = ((layout.u * parts[0]).astype(int) % 64, (layout.v * parts[1]).astype(int) % 64)
        crops = rng.normal(0, 0.07, (64, 64, 1)) + rng.normal(0, 0.03, (64, 64, 3))
        furrows = np.sin(layout.u * layout.block[0] * rng.uniform(0.9, 2.2)) * rng.uniform(0, 0.06)
        farmed = (labels_in(layout.labels, LAND) * (0.45 - layout.density) / 0.45)[..., None]
        drawing += (farmed * (crops[field] + furrows[..., None])).astype(np.float32)
    yards = tint(rng, (150, 146, 138), 0.06) * np.exp(0.1 * fractal_noise(rng, 12, 3))[..., None]
    blend(drawing, yards, labels_in(layout.labels, BLOCK) * np.float32(rng.uniform(0.5, 1)))
    return np.clip(drawing, 0, 1).astype(np.float32)


def labels_in(labels: Labels, *kinds: int) -> Mask:
    """Pixels of any of the classes: bool (256, 256)."""
    return np.isin(labels, kinds)


def _pave(drawing: Drawing, layout: Layout, rng: np.random.Generator) -> None:
    """Asphalt or concrete, with lines on the large roads."""
    roads = labels_in(layout.labels, *ROADS)
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
        blend(drawing, median, _stroke(layout.motorway, 2) & on_road)


def _roofs(drawing: Drawing, layout: Layout, rng: np.random.Generator) -> Field:
    """Paint a house on most lots: its roof, and its height (256, 256) in pixels.

    A lot is a cell of the block's own grid; tables indexed by lot hold what differs by house.
    """
    roof_height = np.zeros((SIZE, SIZE), np.float32)
    plans = (
        (LAND, rng.uniform(11, 19), ROOF_COLORS),
        (BLOCK, rng.uniform(18, 40), FLAT_ROOF_COLORS),
    )
    for kind, lot, colors in plans:
        occupancy = rng.uniform(0.55, 1) * min(1.0, 0.08 + 2.2 * layout.density)
        a, lot_u = _lots(layout.u, layout.block[0], layout.street, lot)
        b, lot_v = _lots(layout.v, layout.block[1], layout.street, lot)
        index = (lot_u % 256) * 256 + lot_v % 256
        core = (np.maximum(np.abs(a), np.abs(b)) < 0.42).ravel()
        whole = np.bincount(index.ravel()[core], (layout.labels == kind).ravel()[core], 1 << 16)
        area = np.bincount(index.ravel()[core], minlength=1 << 16)
        taken = (whole > 0.95 * area) & (rng.random(1 << 16) < occupancy)
        half = rng.uniform(0.22, 0.42 + 0.06 * layout.density, (2, 1 << 16)).astype(np.float32)
        shift = rng.uniform(-0.08, 0.08, (2, 1 << 16)).astype(np.float32)
        along, across = np.abs(a - shift[0][index]), np.abs(b - shift[1][index])
        house = taken[index] & (along < half[0][index]) & (across < half[1][index])
        favourites = [tint(rng, pick(rng, colors), 0.05) for _ in range(int(rng.integers(2, 6)))]
        palette = np.stack([c * (1 + s) for c in favourites for s in rng.normal(0, 0.1, 16)])
        paint = palette.astype(np.float32)[rng.integers(0, len(palette), 1 << 16)][index]
        blend(drawing, np.clip(paint, 0, 1), house)
        storeys = rng.uniform(1.5, 4, 1 << 16) * (1 + 2 * layout.density * (kind == BLOCK))
        ridge = np.where((half[0] > half[1])[index], across, along)
        pitch = 5 * (0.5 - ridge) if kind == LAND else 0.0
        roof_height += np.where(house, storeys[index] + pitch, 0).astype(np.float32)
    return roof_height


def _lots(grid: Field, block: float, street: float, lot: float) -> tuple[Field, NDArray[np.int64]]:
    """Position inside a lot (-0.5 to 0.5) and the lot's number, along one axis of the grid."""
    inner = max(block - street - 2, 4)
    count = max(1, round(inner / lot))
    within = np.clip(((grid % 1) * block - (block - inner) / 2) / inner, 0, 0.9999) * count
    number = grid.astype(np.int64) * count + within.astype(np.int64)
    return (within % 1 - 0.5).astype(np.float32), number


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
    canopy *= labels_in(layout.labels, LAND, PARK, BLOCK) & (height == 0)
    leaves = (
        tint(rng, (62, 78, 46), 0.035) * (1 - dryness) + tint(rng, (92, 90, 62), 0.04) * dryness
    )
    paint = foliage(rng, leaves.astype(np.float32), rng.uniform(0.15, 0.4))
    blend(drawing, paint, (canopy > 0) * np.float32(0.92))
    return (canopy * (1 + 0.15 * fractal_noise(rng, 4, 1))).astype(np.float32)


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
    rows, cols = np.nonzero(labels_in(layout.labels, *ROADS))
    if not len(rows):
        return
    image = PilImage.fromarray((np.clip(drawing, 0, 1) * 255).astype(np.uint8))
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
    """Thin air light over everything, and now and then a wisp of cloud."""
    veil = rgb((196, 204, 212))
    blend(drawing, veil, np.float32(rng.uniform(0, 0.35) * rng.random()))
    if chance(rng, 0.1):
        wisp = np.clip(fractal_noise(rng, 100, 4) - 0.6, 0, 1) * rng.uniform(0.3, 0.9)
        blend(drawing, rgb((240, 240, 242)), wisp.astype(np.float32))
