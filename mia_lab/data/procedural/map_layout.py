"""The plan of a generated map: bent streets, land use, water and large roads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from mia_lab.data.procedural.scene import (
    SIZE,
    Color,
    Field,
    Labels,
    Mask,
    chance,
    fractal_noise,
    pixel_grid,
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


@dataclass(frozen=True)
class Layout:
    """Content of the map, and the street grid behind it.

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


def draw_layout(rng: np.random.Generator) -> Layout:
    """Blocks between bent streets, then parks, water, and the large roads across all of it."""
    density = float(rng.random() ** 1.2)
    size = rng.uniform(70, 130) * (1 - 0.55 * density)
    block = (float(size * rng.uniform(1, 2)), float(size))
    heading = float(rng.uniform(0, np.pi))
    y, x = pixel_grid()
    bend = rng.uniform(0, 22) * (1.2 - density)
    x += bend * fractal_noise(rng, 150, 2) - SIZE / 2
    y += bend * fractal_noise(rng, 150, 2) - SIZE / 2
    cos, sin = float(np.cos(heading)), float(np.sin(heading))
    u = np.asarray((x * cos + y * sin) / block[0] + rng.uniform(20, 21), np.float32)
    v = np.asarray((y * cos - x * sin) / block[1] + rng.uniform(20, 21), np.float32)
    street = float(rng.uniform(4, 7))
    labels = _land_use(rng, u, v, density)
    wet = _water(rng)
    streets, arterials = _streets(rng, u, v, block, street, density)
    labels[streets] = STREET
    labels[wet] = WATER
    labels[arterials] = ARTERIAL
    motorway = _curve(rng) if chance(rng, 0.3) else ()
    if motorway:
        labels[stroke(motorway, int(rng.integers(9, 15)))] = MOTORWAY
    return Layout(labels, u, v, block, street, heading, motorway, density)


def _land_use(rng: np.random.Generator, u: Field, v: Field, density: float) -> Labels:
    """Each block is open land, densely built or a park; woods ignore the blocks."""
    shares = [1 - 0.55 * density - 0.1, 0.55 * density, 0.1]
    table = rng.choice([LAND, BLOCK, PARK], size=(64, 64), p=shares).astype(np.uint8)
    labels: Labels = table[u.astype(int) % 64, v.astype(int) % 64]
    if chance(rng, 0.35):
        labels[fractal_noise(rng, 110, 3) > rng.uniform(0.6, 1.8)] = PARK
    return labels


def _water(rng: np.random.Generator) -> Mask:
    """A river, a lake or coast, or nothing."""
    kind = rng.random()
    if kind < 0.22:
        bank = stroke(_curve(rng), int(rng.integers(12, 46)))
        return _shake(rng, bank)
    if kind < 0.5:
        y, x = pixel_grid()
        angle = rng.uniform(0, 2 * np.pi)
        slant = (x * np.cos(angle) + y * np.sin(angle)) / SIZE
        level = fractal_noise(rng, 120, 4) + rng.uniform(0, 3) * (slant - slant.mean())
        return np.asarray(level > np.quantile(level, rng.uniform(0.3, 0.97)))
    return np.zeros((SIZE, SIZE), bool)


def _shake(rng: np.random.Generator, mask: Mask) -> Mask:
    """A mask with ragged borders, as banks of a river have."""
    y, x = pixel_grid()
    rows, cols = (
        np.clip(axis + 4 * fractal_noise(rng, 36, 3), 0, SIZE - 1).astype(int) for axis in (y, x)
    )
    ragged: Mask = mask[rows, cols]
    return ragged


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
    out = np.array([np.cos(angle), np.sin(angle)]) * 1.4 * SIZE
    middle = SIZE / 2 + rng.normal(0, 45, 2)
    start, stop = middle - out, middle + out + rng.normal(0, 60, 2)
    control = middle + rng.normal(0, 60, 2)
    t = np.linspace(0, 1, 48)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * stop
    return tuple((float(x), float(y)) for x, y in points)


def stroke(points: tuple[tuple[float, float], ...], width: int) -> Mask:
    """The pixels of a thick line."""
    image = PilImage.new("1", (SIZE, SIZE))
    ImageDraw.Draw(image).line(points, fill=1, width=width, joint="curve")
    return np.array(image)
