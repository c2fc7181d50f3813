"""The plan of a generated facade: rectangles of the 12 classes of CMP Facades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from mia_lab.data.procedural.scene import SIZE, Color, Labels, chance

PALETTE: dict[str, Color] = {
    "background": (0, 0, 170),
    "facade": (0, 0, 255),
    "window": (0, 85, 255),
    "door": (0, 170, 255),
    "cornice": (0, 255, 255),
    "sill": (85, 255, 170),
    "balcony": (170, 255, 85),
    "blind": (255, 255, 0),
    "deco": (255, 170, 0),
    "molding": (255, 85, 0),
    "pillar": (255, 0, 0),
    "shop": (170, 0, 0),
}
"""The label colours of CMP Facades, in its class order."""
BACKGROUND, FACADE, WINDOW, DOOR, CORNICE, SILL = range(6)
BALCONY, BLIND, DECO, MOLDING, PILLAR, SHOP = range(6, 12)


class Box(NamedTuple):
    """A rectangle of the canvas, in pixels; right and bottom are excluded."""

    left: int
    top: int
    right: int
    bottom: int

    def part(self, left: float, top: float, right: float, bottom: float) -> Box:
        """A sub-rectangle, in fractions of this one's width and height."""
        w, h = self.right - self.left, self.bottom - self.top
        x, y = self.left, self.top
        return Box(
            round(x + left * w), round(y + top * h), round(x + right * w), round(y + bottom * h)
        )

    def of(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """The view of an array (256, 256, ...) inside this rectangle."""
        return array[max(0, self.top) : self.bottom, max(0, self.left) : self.right]


@dataclass(frozen=True)
class Layout:
    """Content of the label map: class ids, and the rectangles in painting order."""

    labels: Labels
    boxes: tuple[tuple[int, Box], ...]
    wall: Box


@dataclass(frozen=True)
class _OpeningStyle:
    """Properties that all openings of one facade share."""

    window: tuple[float, float]
    sill: bool
    head: bool
    deco: bool
    blinds: float
    balconies: float


def draw_layout(rng: np.random.Generator) -> Layout:
    """Storeys and bays of a wall, and everything that is attached to it."""
    wall = Box(
        0 if chance(rng, 0.6) else int(rng.integers(6, 46)),
        0 if chance(rng, 0.45) else int(rng.integers(8, 56)),
        SIZE - (0 if chance(rng, 0.6) else int(rng.integers(6, 46))),
        SIZE - (0 if chance(rng, 0.6) else int(rng.integers(6, 26))),
    )
    storeys, bays = int(rng.integers(2, 7)), int(rng.integers(2, 8))
    openings = _OpeningStyle(
        (rng.uniform(0.35, 0.72), rng.uniform(0.45, 0.75)),
        sill=chance(rng, 0.6),
        head=chance(rng, 0.45),
        deco=chance(rng, 0.3),
        blinds=rng.random() if chance(rng, 0.3) else 0.0,
        balconies=rng.uniform(0.2, 1) if chance(rng, 0.4) else 0.0,
    )
    floors = _edges(rng, wall.top, wall.bottom, storeys, last=rng.uniform(1, 1.5))
    columns = _edges(rng, wall.left, wall.right, bays, last=1.0)
    boxes = [(FACADE, wall), *_trims(rng, wall, floors, columns)]
    balcony_bays = rng.random(bays) < 0.6
    entrance, has_shops = int(rng.integers(bays)), chance(rng, 0.45)
    for floor in range(storeys):
        for bay in range(bays):
            cell = Box(columns[bay], floors[floor], columns[bay + 1], floors[floor + 1])
            if floor == storeys - 1 and (bay == entrance or has_shops):
                boxes += _ground_floor(rng, cell, is_door=bay == entrance)
            else:
                hangs = bool(balcony_bays[bay]) and floor > 0
                boxes += _window(rng, cell, openings, balcony=hangs)
    image = PilImage.new("L", (SIZE, SIZE), BACKGROUND)
    pen = ImageDraw.Draw(image)
    boxes = [(kind, b) for kind, b in boxes if b.right - b.left > 1 and b.bottom - b.top > 1]
    for kind, box in boxes:
        pen.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), fill=kind)
    return Layout(np.asarray(image), tuple(boxes), wall)


def _edges(rng: np.random.Generator, start: int, stop: int, parts: int, last: float) -> list[int]:
    """Edges of `parts` nearly equal intervals; the last one is `last` times as long."""
    sizes = 1 + 0.05 * rng.normal(size=parts)
    sizes[-1] *= last
    fractions = np.concatenate([[0], np.cumsum(sizes) / sizes.sum()])
    return [round(start + float(f) * (stop - start)) for f in fractions]


def _trims(
    rng: np.random.Generator, wall: Box, floors: list[int], columns: list[int]
) -> list[tuple[int, Box]]:
    """The roof's cornice, bands between storeys, pillars between bays."""
    boxes: list[tuple[int, Box]] = []
    if chance(rng, 0.3):
        half, every = int(rng.integers(2, 5)), int(rng.integers(1, 3))
        for x in columns[::every]:
            boxes.append((PILLAR, Box(x - half, wall.top, x + half, wall.bottom)))
    if chance(rng, 0.6):
        band = int(rng.integers(2, 6))
        for y in floors[1:-1]:
            if chance(rng, 0.85):
                boxes.append((MOLDING, Box(wall.left, y - band, wall.right, y)))
    if chance(rng, 0.65):
        depth = int(rng.integers(4, 12))
        boxes.append((CORNICE, Box(wall.left, wall.top, wall.right, wall.top + depth)))
    return boxes


def _window(
    rng: np.random.Generator, cell: Box, openings: _OpeningStyle, balcony: bool
) -> list[tuple[int, Box]]:
    """A window with its sill, head, blind, ornament and balcony."""
    width, height = (float(np.clip(s * rng.normal(1, 0.04), 0.2, 0.9)) for s in openings.window)
    top = 0.2 + 0.4 * (0.75 - height)
    pane = cell.part(0.5 - width / 2, top, 0.5 + width / 2, top + height)
    boxes = [(WINDOW, pane)]
    if openings.deco:
        boxes.insert(0, (DECO, pane.part(-0.25, -0.16, 1.25, 1.08)))
    if chance(rng, openings.blinds):
        boxes.append((BLIND, pane.part(0, 0, 1, rng.uniform(0.25, 0.9))))
    if openings.sill:
        low = pane.bottom
        boxes.append((SILL, Box(pane.left - 2, low, pane.right + 2, low + 2 + SIZE // 128)))
    if openings.head:
        boxes.append((CORNICE, Box(pane.left - 3, pane.top - 5, pane.right + 3, pane.top - 1)))
    if balcony and chance(rng, openings.balconies):
        boxes.append((BALCONY, pane.part(-0.2, 0.6, 1.2, 1.12)))
    return boxes


def _ground_floor(rng: np.random.Generator, cell: Box, is_door: bool) -> list[tuple[int, Box]]:
    """An entrance, or a shop front."""
    if not is_door:
        return [(SHOP, cell.part(0.05, rng.uniform(0.08, 0.2), 0.95, 1))]
    half = rng.uniform(0.16, 0.34)
    door = cell.part(0.5 - half, rng.uniform(0.15, 0.35), 0.5 + half, 1)
    return [(DOOR, door), (CORNICE, Box(door.left - 2, door.top - 4, door.right + 2, door.top))]
