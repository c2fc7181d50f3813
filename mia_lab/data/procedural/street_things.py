"""Free-standing things of a street (vehicles, people, trees, poles) as outlines in perspective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mia_lab.data.procedural.scene import Color

PALETTE: dict[str, Color] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
"""The 19 training classes of Cityscapes and their colours."""
ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN = range(8)
VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = range(8, 19)
INSTANCE_CLASSES = (PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE)

FOCAL = (230.0, 400.0)
"""Focal lengths in pixels across and up: a 2:1 picture squeezed to a square."""
SILL = 0.2
"""Height of a vehicle's lower edge, in metres."""
TURNS = [(float(np.cos(t)), float(np.sin(t))) for t in np.linspace(0, 2 * np.pi, 11)[:-1]]
"""Corners of a disc: ten directions."""
NEAREST = 1.0
"""Depth in metres in front of which nothing is drawn."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """The driver's view: vanishing point in pixels, and height of the eyes in metres."""

    vanishing: Point
    eye: float

    def project(self, x: float, y: float, z: float) -> Point:
        """World (metres) to canvas (pixels)."""
        z = max(z, NEAREST)
        return (
            self.vanishing[0] + FOCAL[0] * x / z,
            self.vanishing[1] - FOCAL[1] * (y - self.eye) / z,
        )


@dataclass(frozen=True)
class Thing:
    """Something that stands on the ground.

    Attributes:
        kind: its class; a rider comes with a bicycle, a traffic light or sign with a pole.
        x, z: its foot, in metres.
        width, height, length: its size in metres.
        wobble: its irregularity, numbers in [-1, 1].
    """

    kind: int
    x: float
    z: float
    width: float
    height: float
    length: float = 0.0
    wobble: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class Part:
    """A polygon of a thing, in pixels; parts are painted in order."""

    kind: int
    name: str
    polygon: tuple[Point, ...]


def outline(thing: Thing, camera: Camera) -> list[Part]:
    """The parts of a thing as seen by the camera."""
    if thing.kind in (CAR, TRUCK, BUS, TRAIN):
        return list(_vehicle(thing, camera))
    if thing.kind == VEGETATION:
        return list(_tree(thing, camera))
    if thing.kind in (POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN):
        return list(_pole(thing, camera))
    if thing.kind in (RIDER, BICYCLE, MOTORCYCLE):
        return list(_two_wheeler(thing, camera))
    return list(_person(thing, camera, foot=0.0))


def _quad(
    camera: Camera, xs: tuple[float, float], ys: tuple[float, float], z: float
) -> tuple[Point, ...]:
    """An upright rectangle that faces the camera."""
    (left, right), (low, high) = xs, ys
    corners = ((left, low), (right, low), (right, high), (left, high))
    return tuple(camera.project(x, y, z) for x, y in corners)


def _flank(
    camera: Camera, x: float, ys: tuple[float, float], zs: tuple[float, float]
) -> tuple[Point, ...]:
    """An upright rectangle along the street."""
    (low, high), (near, far) = ys, zs
    corners = ((low, near), (low, far), (high, far), (high, near))
    return tuple(camera.project(x, y, z) for y, z in corners)


def _disc(
    camera: Camera, x: float, y: float, z: float, radius: float, rise: float | None = None
) -> tuple[Point, ...]:
    """A disc or, given its upward radius too, an ellipse that faces the camera."""
    rise = radius if rise is None else rise
    return tuple(camera.project(x + radius * cos, y + rise * sin, z) for cos, sin in TURNS)


def _vehicle(thing: Thing, camera: Camera) -> Iterator[Part]:
    """A body on wheels, far faces first."""
    kind, half, near, far = thing.kind, thing.width / 2, thing.z, thing.z + thing.length
    left, right = thing.x - half, thing.x + half
    flank = left if thing.x > 0 else right
    belt = 0.6 * thing.height if kind == CAR else thing.height
    for x in (left, right - 0.22):
        yield Part(kind, "wheel", _quad(camera, (x, x + 0.22), (0, 0.3), near + 0.2))
    yield Part(kind, "flank", _flank(camera, flank, (SILL, belt), (near, far)))
    for z in (near + 0.2 * thing.length, far - 0.2 * thing.length):
        yield Part(kind, "wheel", _flank(camera, flank, (0, 0.6), (z - 0.32, z + 0.32)))
    if kind == CAR:
        yield from _cabin(thing, camera, belt)
    elif kind != TRUCK:
        strip = (0.5 * belt, 0.85 * belt)
        yield Part(kind, "glass", _flank(camera, flank, strip, (near + 0.3, far - 0.3)))
    yield Part(kind, "body", _quad(camera, (left, right), (SILL, belt), near))
    if kind in (BUS, TRAIN):
        window = (0.5 * belt, 0.86 * belt)
        yield Part(kind, "glass", _quad(camera, (left + 0.2, right - 0.2), window, near))
    low = 0.64 * belt if kind == CAR else 0.9
    for x in (left + 0.05, right - 0.4):
        yield Part(kind, "lamp", _quad(camera, (x, x + 0.35), (low, low + 0.16), near))
    bumper = (left + 0.1, right - 0.1)
    yield Part(kind, "wheel", _quad(camera, bumper, (SILL, SILL + 0.12), near))
    plate = (thing.x - 0.26, thing.x + 0.26)
    yield Part(kind, "plate", _quad(camera, plate, (0.42, 0.54), near))


def _cabin(thing: Thing, camera: Camera, belt: float) -> Iterator[Part]:
    """The upper half of a car: windows that lean inwards, and a roof."""
    x, half, near, far = thing.x, thing.width / 2, thing.z, thing.z + thing.length
    low, high, top = half - 0.06, half - 0.26, thing.height
    rear, front = near + 0.75, far - 1.9
    side = -1 if x > 0 else 1

    def face(name: str, *corners: tuple[float, float, float]) -> Part:
        return Part(thing.kind, name, tuple(camera.project(*corner) for corner in corners))

    def ends(reach: float, y: float, z: float) -> list[tuple[float, float, float]]:
        return [(x - reach, y, z), (x + reach, y, z)]

    yield face("deck", *ends(half, belt, near), *ends(half, belt, far)[::-1])
    sill = ((x + side * low, belt, near + 0.2), (x + side * low, belt, far - 1.0))
    yield face("glass", *sill, (x + side * high, top, front), (x + side * high, top, rear))
    yield face("glass", *ends(low, belt, near + 0.2), *ends(high, top, rear)[::-1])
    yield face("body", *ends(high, top, rear), *ends(high, top, front)[::-1])
    yield Part(thing.kind, "body", _quad(camera, (x - high, x + high), (top - 0.1, top), rear))


def _tree(thing: Thing, camera: Camera) -> Iterator[Part]:
    """A trunk under a crown of clumps."""
    trunk = 0.03 * thing.height
    middle = thing.height - 0.5 * thing.length
    low = _quad(camera, (thing.x - trunk, thing.x + trunk), (0, middle), thing.z)
    yield Part(VEGETATION, "trunk", low)
    clumps = [(0.0, 0.0, 0.72)]
    for (cos, sin), wobble in zip(TURNS, thing.wobble, strict=True):
        clumps.append((0.66 * cos, 0.66 * sin, 0.36 + 0.16 * wobble))
    for right, up, radius in clumps:
        x, y = thing.x + 0.5 * thing.width * right, middle + 0.5 * thing.length * up
        reach = (0.5 * thing.width * radius, 0.5 * thing.length * radius)
        yield Part(VEGETATION, "crown", _disc(camera, x, y, thing.z, *reach))


def _pole(thing: Thing, camera: Camera) -> Iterator[Part]:
    """A pole, alone or with a traffic light or a sign."""
    x, z, top = thing.x, thing.z, thing.height
    yield Part(POLE, "pole", _quad(camera, (x - 0.07, x + 0.07), (0, top), z))
    if thing.kind == TRAFFIC_LIGHT:
        yield Part(thing.kind, "case", _quad(camera, (x - 0.2, x + 0.2), (top - 0.2, top + 0.8), z))
        for name, y in (("green", 0.0), ("amber", 0.3), ("red", 0.6)):
            yield Part(thing.kind, name, _disc(camera, x, top + y, z, 0.11))
    elif thing.kind == TRAFFIC_SIGN:
        if thing.wobble[0] > 0:
            yield Part(thing.kind, "rim", _disc(camera, x, top, z, 0.4))
            yield Part(thing.kind, "face", _disc(camera, x, top, z, 0.28))
        else:
            board = (x - thing.width / 2, x + thing.width / 2)
            yield Part(thing.kind, "board", _quad(camera, board, (top - 0.4, top + 0.4), z))
    elif thing.width > 1:
        arm = (x, x - np.sign(x) * thing.width)
        yield Part(POLE, "pole", _quad(camera, arm, (top - 0.12, top), z))


def _person(thing: Thing, camera: Camera, foot: float) -> Iterator[Part]:
    """Legs, trunk, arms and head; the feet may be off the ground."""
    kind, x, z, h = thing.kind, thing.x, thing.z, thing.height
    stride = 0.12 * h * abs(thing.wobble[0])
    hip, neck, half = foot + 0.48 * h, foot + 0.84 * h, 0.13 * h
    for side in (-1, 1):
        ankle = x + side * (0.04 * h + stride)
        thigh = x + side * 0.06 * h
        corners = [(ankle + s * 0.04 * h, foot) for s in (-1, 1)]
        corners += [(thigh + s * 0.06 * h, hip) for s in (1, -1)]
        yield Part(kind, "legs", tuple(camera.project(a, b, z) for a, b in corners))
    yield Part(kind, "coat", _quad(camera, (x - half, x + half), (hip - 0.05 * h, neck), z))
    yield Part(kind, "head", _disc(camera, x, foot + 0.92 * h, z, 0.075 * h))


def _two_wheeler(thing: Thing, camera: Camera) -> Iterator[Part]:
    """A bicycle or motorcycle, with its rider if the thing is one."""
    machine = MOTORCYCLE if thing.kind == MOTORCYCLE else BICYCLE
    x, z, reach = thing.x, thing.z, 0.3 + 0.2 * abs(thing.wobble[0])
    for name, radius in (("wheel", 0.34), ("spokes", 0.25)):
        for dx in (-reach, reach):
            yield Part(machine, name, _disc(camera, x + dx, 0.34, z, radius))
    corners = ((x - reach, 0.3), (x + reach, 0.3), (x + 0.8 * reach, 0.95), (x - 0.3 * reach, 0.8))
    yield Part(machine, "frame", tuple(camera.project(a, b, z) for a, b in corners))
    if thing.kind == RIDER:
        yield from _person(thing, camera, foot=0.3)
