"""Streets in the manner of Cityscapes: a driver's view in 19 classes, and a photo of it.

The world is a straight street along z: x to the right and y up in metres, z ahead. Frontages are
two vertical planes beside it; things (cars, people, trees, poles) are drawn from far to near.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    Mask,
    Scene,
    blend,
    chance,
    colorize,
    develop,
    foliage,
    fractal_noise,
    pick,
    pixel_grid,
    rgb,
    sky,
    tint,
)

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

FAR = 90.0
"""Depth of the backdrop that closes the street, in metres."""
FOCAL = (230.0, 400.0)
"""Focal lengths in pixels across and up: a 2:1 picture squeezed to a square."""
VEHICLES: dict[int, tuple[float, float, float]] = {
    CAR: (1.8, 1.5, 4.2),
    TRUCK: (2.4, 3.2, 7.0),
    BUS: (2.5, 3.1, 11.0),
    TRAIN: (2.5, 3.4, 24.0),
}
"""Width, height and length in metres."""
CAR_PAINTS: tuple[Color, ...] = (
    (196, 198, 200), (28, 28, 32), (120, 124, 128), (236, 236, 234),
    (128, 24, 26), (32, 54, 104), (46, 66, 58), (160, 130, 84),
)  # fmt: skip
LIVERIES: tuple[Color, ...] = (
    (214, 176, 40),
    (190, 40, 36),
    (222, 222, 220),
    (50, 90, 150),
    (70, 120, 70),
)
CLOTHES: tuple[Color, ...] = (
    (40, 42, 50),
    (70, 80, 110),
    (140, 40, 44),
    (190, 184, 170),
    (60, 84, 60),
    (200, 120, 40),
)
FACADES: tuple[Color, ...] = (
    (186, 170, 142),
    (152, 140, 128),
    (206, 198, 182),
    (140, 92, 74),
    (168, 150, 110),
    (120, 122, 126),
)
SKIN: Color = (186, 144, 120)

Point = tuple[float, float]


@dataclass(frozen=True)
class Frontage:
    """One side of the street: consecutive plots along z.

    Attributes:
        x: distance of the plane from the middle of the road, in metres.
        edges: (P,) far end of each plot, in metres; the last one ends beyond FAR.
        kind: (P,) class of what stands there.
        height: (P,) its height in metres.
    """

    x: float
    edges: NDArray[np.float64]
    kind: NDArray[np.int64]
    height: NDArray[np.float64]


@dataclass(frozen=True)
class Thing:
    """A free-standing thing: its class, its foot in the world and its size in metres."""

    kind: int
    x: float
    z: float
    width: float
    height: float
    length: float = 0.0
    wobble: tuple[float, ...] = ()


@dataclass(frozen=True)
class Part:
    """A polygon of a thing, in pixels; parts are painted in order."""

    kind: int
    name: str
    polygon: tuple[Point, ...]


@dataclass(frozen=True)
class Layout:
    """What the label map shows, and the geometry behind it.

    Attributes:
        labels: uint8 (256, 256) class ids.
        instances: int32 (256, 256), 0 or the number of a person or vehicle.
        depth: float32 (256, 256), metres.
        x, y: float32 (256, 256), world position of ground and frontages, in metres.
        plot: int64 (256, 256), number of the plot seen (right-hand side from 32).
        vanishing: the vanishing point, in pixels.
        eye: height of the camera, in metres.
        road: half the width of the road, in metres.
        things: from far to near.
    """

    labels: Labels
    instances: NDArray[np.int32]
    depth: Field
    x: Field
    y: Field
    plot: NDArray[np.int64]
    vanishing: Point
    eye: float
    road: float
    things: tuple[Thing, ...]

    def project(self, x: float, y: float, z: float) -> Point:
        """World to canvas."""
        z = max(z, 1.0)
        return (
            self.vanishing[0] + FOCAL[0] * x / z,
            self.vanishing[1] - FOCAL[1] * (y - self.eye) / z,
        )


def compose(layout_rng: np.random.Generator, appearance_rng: np.random.Generator) -> Scene:
    """One street: its layout from one generator, all that labels do not tell from the other."""
    layout = draw_layout(layout_rng)
    target = photograph(layout, appearance_rng)
    return Scene(colorize(layout.labels, PALETTE), target, layout.labels, layout.instances)
