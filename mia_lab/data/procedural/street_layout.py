"""The geometry of a generated street: the position of each thing, and the class of every pixel.

The world is a straight street along z: x to the right and y up, in metres, z ahead. Frontages are
vertical planes on both sides of it; things (cars, people, trees, poles) are drawn far to near.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from mia_lab.data.procedural.scene import (
    SIZE,
    Field,
    Labels,
    Mask,
    chance,
    fractal_noise,
    pick,
    pixel_grid,
)
from mia_lab.data.procedural.street_things import (
    BICYCLE,
    BUILDING,
    BUS,
    CAR,
    FENCE,
    FOCAL,
    INSTANCE_CLASSES,
    MOTORCYCLE,
    PERSON,
    POLE,
    RIDER,
    ROAD,
    SIDEWALK,
    SKY,
    TERRAIN,
    TRAFFIC_LIGHT,
    TRAFFIC_SIGN,
    TRAIN,
    TRUCK,
    TURNS,
    VEGETATION,
    WALL,
    Camera,
    Part,
    Thing,
    outline,
)

FAR = 90.0
"""Depth of the backdrop that closes the street, in metres."""
SKY_DEPTH = 150.0
"""Nominal depth of the sky, in metres: how much mist hides it."""
PLOTS = 64
"""Most plots on one side of the street."""
BACK = 2 * PLOTS
"""Plot number of the backdrop."""
VEHICLE_SIZES: dict[int, tuple[float, float, float]] = {
    CAR: (1.8, 1.5, 4.2),
    TRUCK: (2.4, 3.2, 7.0),
    BUS: (2.5, 3.1, 11.0),
    TRAIN: (2.5, 3.4, 24.0),
}
"""Width, height and length in metres."""
END_WALL = 14.0
"""Depth of houses behind their front, in metres."""


@dataclass(frozen=True)
class Frontage:
    """One side of the street: consecutive plots along z.

    Attributes:
        side: -1 left, 1 right.
        x: distance of the plane from the camera's axis, in metres.
        edges: (P,) far end of each plot, in metres; the last one lies beyond FAR.
        kind: (P,) class of what stands there; sky where nothing does.
        height: (P,) its height in metres.
    """

    side: int
    x: float
    edges: NDArray[np.float64]
    kind: NDArray[np.uint8]
    height: NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Content of the label map, and the geometry behind it; arrays are (256, 256).

    Attributes:
        labels: uint8 class ids.
        instances: int32, 0 or the number of a person, rider or vehicle.
        depth: float32, distance ahead in metres, things included.
        x: float32, metres to the right (ground), or along the wall (frontages).
        y: float32, metres above ground.
        plot: int64, number of the plot seen: left from 0, right from PLOTS, then the backdrop.
        ground: bool, where the ground shows (or would, but for the things).
        camera: where the picture is taken from.
        sides: the frontages, left and right.
        road: x of the left and the right kerb, in metres.
        things: from far to near.
        outlines: the parts of each thing on the canvas.
    """

    labels: Labels
    instances: NDArray[np.int32]
    depth: Field
    x: Field
    y: Field
    plot: NDArray[np.int64]
    ground: Mask
    camera: Camera
    sides: tuple[Frontage, Frontage]
    road: tuple[float, float]
    things: tuple[Thing, ...] = ()
    outlines: tuple[tuple[Part, ...], ...] = ()


def draw_layout(rng: np.random.Generator) -> Layout:
    """A street between two frontages, and the things on it."""
    camera = Camera(
        (float(np.clip(rng.normal(128, 22), 70, 186)), float(rng.uniform(96, 126))),
        float(rng.uniform(1.25, 1.7)),
    )
    lane = rng.uniform(2.7, 3.4)
    road = (-float(lane * rng.uniform(0.6, 2.4)), float(lane * rng.uniform(0.6, 1.6)))
    urban = float(rng.random())
    sides = (
        _frontage(rng, -1, -road[0] + rng.uniform(1.5, 6), urban),
        _frontage(rng, 1, road[1] + rng.uniform(1.5, 6), urban),
    )
    layout = _background(rng, camera, sides, road, urban)
    things = sorted(_populate(rng, road, sides, urban), key=lambda thing: -thing.z)
    return _place(layout, tuple(things))


def _frontage(rng: np.random.Generator, side: int, x: float, urban: float) -> Frontage:
    """Houses, green, walls, fences and gaps, one plot after the other."""
    wild = 1 - 0.8 * urban
    kinds = np.array([BUILDING, VEGETATION, WALL, FENCE, SKY], np.uint8)
    weights = np.array([0.25 + 1.2 * urban, 0.7 * wild, 0.12, 0.15 * wild, 0.2])
    widths = rng.uniform(5, 17, PLOTS)
    edges = np.cumsum(widths)
    edges[-1] = max(edges[-1], 2 * FAR)
    kind = rng.choice(kinds, PLOTS, p=weights / weights.sum())
    storeys = rng.integers(1, 4 + int(3 * urban), PLOTS) + rng.random(PLOTS)
    height = np.select(
        [kind == BUILDING, kind == VEGETATION, kind == WALL, kind == FENCE],
        [3.3 * storeys, rng.uniform(2, 13, PLOTS), rng.uniform(1.2, 3.5, PLOTS), 1.4],
        0.0,
    )
    return Frontage(side, float(x), edges, kind, height)


def _background(
    rng: np.random.Generator,
    camera: Camera,
    sides: tuple[Frontage, Frontage],
    road: tuple[float, float],
    urban: float,
) -> Layout:
    """Sky, backdrop, ground and frontages: everything but the things."""
    rows, cols = pixel_grid()
    right, down = cols - camera.vanishing[0] + 0.5, rows - camera.vanishing[1] + 0.5
    labels = np.full((SIZE, SIZE), SKY, np.uint8)
    depth = np.full((SIZE, SIZE), SKY_DEPTH, np.float32)
    x, y = right * FAR / FOCAL[0], camera.eye - down * FAR / FOCAL[1]
    plot = np.full((SIZE, SIZE), BACK, np.int64)
    ragged = fractal_noise(rng, 14, 3)
    skyline = rng.uniform(3, 16) + rng.uniform(0.5, 2.5) * np.round(1.5 * ragged[:1])
    behind = y < skyline
    labels[behind] = BUILDING if chance(rng, urban) else VEGETATION
    depth[behind] = FAR
    ground = down > camera.eye * FOCAL[1] / FAR
    distance = np.where(ground, camera.eye * FOCAL[1] / np.maximum(down, 0.1), FAR)
    depth[ground] = distance[ground]
    x, y = np.where(ground, right * distance / FOCAL[0], x), np.where(ground, 0, y)
    labels[ground] = _ground_kind(rng, x, distance, sides, road)[ground]
    for frontage in sides:
        for seen, up, kind, z, along, number in _walls(frontage, camera, right, down, ragged):
            labels[seen], depth[seen], plot[seen] = kind[seen], z[seen], number[seen]
            x[seen], y[seen] = along[seen], up[seen]
            ground &= ~seen
    instances = np.zeros((SIZE, SIZE), np.int32)
    fields = (depth.astype(np.float32), x.astype(np.float32), y.astype(np.float32))
    return Layout(labels, instances, *fields, plot, ground, camera, sides, road)


def _ground_kind(
    rng: np.random.Generator,
    x: Field,
    z: Field,
    sides: tuple[Frontage, Frontage],
    road: tuple[float, float],
) -> Labels:
    """Road, sidewalks, strips of grass along them, sometimes a crossing street."""
    kind = np.where((x > road[0]) & (x < road[1]), ROAD, SIDEWALK)
    for frontage, kerb in zip(sides, road, strict=True):
        beyond = frontage.side * x
        if chance(rng, 0.3):
            strip = abs(kerb) + rng.uniform(0.2, 0.6) * (frontage.x - abs(kerb))
            kind[(beyond > strip) & (beyond < frontage.x)] = TERRAIN
        kind[beyond > frontage.x] = TERRAIN if chance(rng, 0.7) else SIDEWALK
    if chance(rng, 0.35):
        start = rng.uniform(14, 40)
        kind[(z > start) & (z < start + rng.uniform(5, 10))] = ROAD
    return kind.astype(np.uint8)


def _walls(
    frontage: Frontage, camera: Camera, right: Field, down: Field, ragged: Field
) -> list[tuple[Mask, Field, Labels, Field, Field, NDArray[np.int64]]]:
    """End walls of houses, then the fronts that hide them.

    Returns:
        For each of the two: where it is seen, its height above ground, class, depth, position
        along the wall and plot number, all (256, 256).
    """
    outward = frontage.side * right[:1]
    z = np.where(outward > 0, frontage.x * FOCAL[0] / np.maximum(outward, 0.5), 2 * FAR)
    index = np.searchsorted(frontage.edges, z).clip(0, PLOTS - 2)
    first = 0 if frontage.side < 0 else PLOTS
    crown = 1.2 * ragged[:1] + 0.25 * ragged
    walls = []
    for number, distance in ((index + 1, frontage.edges[index]), (index, z)):
        kind, up = frontage.kind[number], camera.eye - down * distance / FOCAL[1]
        ragged_top = crown - _taper(frontage, number, distance)
        height = frontage.height[number] + np.where(kind == VEGETATION, ragged_top, 0)
        seen = (outward > 0) & (distance < FAR) & (up > 0) & (up < height) & (kind != SKY)
        along = np.asarray(outward * distance / FOCAL[0], np.float32)
        if distance is z:
            along = z
        else:
            seen &= (kind == BUILDING) & (along < frontage.x + END_WALL)
        row = (np.broadcast_to(a, (SIZE, SIZE)) for a in (kind, distance, along, number + first))
        walls.append((seen, up, *row))
    return walls


def _taper(frontage: Frontage, number: NDArray[np.int64], z: Field) -> Field:
    """How much lower greenery is towards both ends of its plot, in metres."""
    start = np.concatenate([[0], frontage.edges])[number]
    position = (z - start) / (frontage.edges[number] - start)
    return np.asarray(0.8 * frontage.height[number] * (2 * position - 1) ** 6, np.float32)


def _populate(
    rng: np.random.Generator,
    road: tuple[float, float],
    sides: tuple[Frontage, Frontage],
    urban: float,
) -> list[Thing]:
    """Traffic, parked cars, people, trees and poles."""
    things: list[Thing] = []
    for frontage, kerb in zip(sides, road, strict=True):
        pavement = (abs(kerb) + 0.3, frontage.x - 0.3)
        things += _kerbside(rng, frontage.side, abs(kerb), pavement)
        for _ in range(int(rng.poisson(1 + 4 * urban * rng.random()))):
            place = frontage.side * float(rng.uniform(*pavement))
            step = (float(rng.uniform(-1, 1)),)
            size = float(rng.normal(1.7, 0.09))
            things.append(Thing(PERSON, place, _depth(rng, 7, 45), 0.5, size, wobble=step))
    lanes = (0.5 * road[0], 0.25 * road[0] + 0.25 * road[1], 0.5 * road[1])
    for _ in range(int(rng.poisson(1.6))):
        kind = int(rng.choice([CAR, TRUCK, BUS, TRAIN, RIDER, MOTORCYCLE],
                              p=[0.66, 0.08, 0.08, 0.02, 0.12, 0.04]))  # fmt: skip
        things.append(_vehicle(rng, kind, float(pick(rng, lanes)), _depth(rng, 9, 60)))
    return things


def _depth(rng: np.random.Generator, near: float, far: float) -> float:
    """A depth in metres; near ones are as likely as far ones on the canvas, not in the world."""
    return float(1 / rng.uniform(1 / far, 1 / near))


def _vehicle(rng: np.random.Generator, kind: int, x: float, z: float) -> Thing:
    """A vehicle or rider of usual size."""
    if kind in VEHICLE_SIZES:
        width, height, length = (float(s * rng.uniform(0.93, 1.1)) for s in VEHICLE_SIZES[kind])
        return Thing(kind, x, z, width, height, length)
    turned = (float(rng.uniform(0.2, 1)),)
    return Thing(kind, x, z, 0.6, float(rng.uniform(1.5, 1.75)), wobble=turned)


def _kerbside(
    rng: np.random.Generator, side: int, kerb: float, pavement: tuple[float, float]
) -> list[Thing]:
    """Things in a row along one kerb: parked cars, trees, lamps, signs, bicycles."""
    things = []
    parked = rng.random() * chance(rng, 0.55)
    for z in np.arange(rng.uniform(5, 10), 60, 5.6):
        if chance(rng, parked):
            kind = TRUCK if chance(rng, 0.06) else CAR
            things.append(_vehicle(rng, kind, side * (kerb - 1.0), float(z)))
    spacing = rng.uniform(7, 20)
    tall = rng.uniform(4, 9)
    rows = ((VEGETATION, 0.4, spacing), (POLE, 0.7, 22.0), (TRAFFIC_SIGN, 0.5, 26.0),
            (TRAFFIC_LIGHT, 0.3, 40.0), (BICYCLE, 0.2, 9.0))  # fmt: skip
    for kind, presence, step in rows:
        if not chance(rng, presence):
            continue
        for z in np.arange(rng.uniform(7, 7 + step), 75, step * rng.uniform(0.8, 1.3)):
            place = side * float(pavement[0] + rng.uniform(0, 0.5))
            wobble = tuple(float(w) for w in rng.uniform(-1, 1, len(TURNS)))
            width, height, length = {
                VEGETATION: (rng.uniform(2, 5), tall * rng.uniform(0.8, 1.2), 0.65 * tall),
                POLE: (rng.uniform(0, 2.5), rng.uniform(5, 9), 0.0),
                TRAFFIC_LIGHT: (0.4, rng.uniform(2.6, 3.4), 0.0),
            }.get(kind, (rng.uniform(0.5, 1.4), rng.uniform(2.1, 3), 0.0))
            size = (float(width), float(height), float(length))
            things.append(Thing(kind, place, float(z), *size, wobble=wobble))
    return things


def _place(layout: Layout, things: tuple[Thing, ...]) -> Layout:
    """Draw the things over the background's classes, instances and depth."""
    image = PilImage.new("I", (SIZE, SIZE))
    pen = ImageDraw.Draw(image)
    outlines = tuple(tuple(outline(thing, layout.camera)) for thing in things)
    entries: list[tuple[int, int, float]] = [(0, 0, 0.0)]
    instance = 0
    for thing, parts in zip(things, outlines, strict=True):
        numbers: dict[int, int] = {}
        for part in parts:
            if part.kind not in numbers:
                counts = part.kind in INSTANCE_CLASSES
                instance += counts
                numbers[part.kind] = len(entries)
                entries.append((part.kind, instance if counts else 0, thing.z))
            pen.polygon(part.polygon, fill=numbers[part.kind])
    number = np.asarray(image)
    kind, instances, z = (np.array(column)[number] for column in zip(*entries, strict=True))
    return replace(
        layout,
        labels=np.where(number > 0, kind, layout.labels).astype(np.uint8),
        instances=instances.astype(np.int32),
        depth=np.where(number > 0, z, layout.depth).astype(np.float32),
        things=things,
        outlines=outlines,
    )
