"""Photos of streets in the style of Cityscapes: a driver's view in 19 classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw
from scipy import ndimage

from mia_lab.data.procedural.scene import (
    SIZE,
    Color,
    Drawing,
    Field,
    Mask,
    Style,
    among,
    blend,
    chance,
    develop,
    foliage,
    fractal_noise,
    pick,
    pixel_grid,
    quantize,
    rgb,
    sky,
    tint,
)
from mia_lab.data.procedural.street_dyes import SIGNALS, own_dyes, shared_dyes
from mia_lab.data.procedural.street_layout import BACK, PLOTS, Layout, draw_layout
from mia_lab.data.procedural.street_things import (
    BUILDING,
    FENCE,
    PALETTE,
    ROAD,
    SIDEWALK,
    SKY,
    TERRAIN,
    VEGETATION,
    WALL,
    Thing,
)

FACADES: tuple[Color, ...] = (
    (186, 170, 142), (152, 140, 128), (206, 198, 182), (140, 92, 74), (168, 150, 110),
    (120, 122, 126), (196, 166, 150),
)  # fmt: skip
PANES = 997
"""Number of entries of the tables of properties that vary by window."""
NIGHT = np.array([0.30, 0.33, 0.48], np.float32)
"""Gain of the three channels at the end of dusk."""


@dataclass(frozen=True)
class Weather:
    """Properties of the day that the labels do not show.

    Attributes:
        overcast, wet, dusk: 0 (none) to 1.
        mist: extinction per metre.
        sun: -1 the left side lies in the sun, 1 the right side.
    """

    overcast: float
    wet: float
    dusk: float
    mist: float
    sun: int


def photograph(layout: Layout, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A photo of the street: uint8 (256, 256, 3)."""
    weather = _weather(rng)
    drawing = sky(rng, weather.overcast, layout.camera.vanishing[1])
    _pave(drawing, layout, rng)
    lit = _build(drawing, layout, rng, weather)
    _sunlight(drawing, layout, rng, weather)
    drawing, lamps = _paint_things(drawing, layout, rng, weather)
    _leaves(drawing, layout, rng)
    if weather.dusk:
        drawing *= 1 + weather.dusk * (NIGHT - 1)
        glow = (lamps + lit[..., None] * rgb((255, 214, 140))) * np.float32(weather.dusk)
        np.maximum(drawing, glow, out=drawing)
        drawing += 1.5 * ndimage.gaussian_filter(glow, (4, 4, 0), truncate=2.5)
    if weather.wet:
        _reflect(drawing, layout, rng, weather)
    veil = rgb((206, 210, 214)) * (1 + weather.dusk * (NIGHT - 1))
    blend(drawing, veil, 1 - np.exp(-weather.mist * layout.depth))
    return develop(drawing, rng, blur=(0.0, 0.9), grain=(0.003, 0.035), exposure=0.25)


def _weather(rng: np.random.Generator) -> Weather:
    """Draw the weather of a random day and hour with daylight."""
    return Weather(
        overcast=float(rng.random()),
        wet=float(rng.uniform(0.2, 1)) * chance(rng, 0.3),
        dusk=float(rng.uniform(0.3, 1)) * chance(rng, 0.2),
        mist=float(np.exp(rng.uniform(np.log(4e-4), np.log(0.06)))),
        sun=pick(rng, (-1, 1)),
    )


def _world_noise(rng: np.random.Generator, layout: Layout, scale: float) -> Field:
    """Noise that lies on the ground and recedes with it; `scale` pixels of noise a metre."""
    texture = fractal_noise(rng, 10, 4)
    rows, cols = (
        np.abs((axis * scale).astype(int) % (2 * SIZE) - SIZE).clip(0, SIZE - 1)
        for axis in (0.4 * layout.depth, layout.x)
    )
    lying: Field = texture[rows, cols]
    return lying


def _pave(drawing: Drawing, layout: Layout, rng: np.random.Generator) -> None:
    """Asphalt with markings and patches, slabs with a kerb, grass."""
    x, z = layout.x, layout.depth
    rough = _world_noise(rng, layout, 40)
    asphalt = tint(rng, (98, 98, 100), 0.045) * np.exp(rng.uniform(0.01, 0.08) * rough)[..., None]
    for _ in range(int(rng.integers(0, 4))):
        near, left = rng.uniform(4, 30), rng.uniform(-5, 4)
        patch = (z > near) & (z < near + rng.uniform(1, 9)) & (x > left)
        asphalt[patch & (x < left + rng.uniform(0.5, 3))] *= np.float32(rng.uniform(0.65, 1.25))
    blend(asphalt, rgb((226, 224, 214)), _markings(layout, rng))
    slabs = tint(rng, pick(rng, ((158, 152, 144), (136, 132, 130), (150, 120, 104))), 0.06)
    slab = rng.uniform(0.4, 1.4)
    joints = ((x % slab) < 0.06) | ((z % slab) < 0.12)
    paved = slabs * np.exp(0.07 * rough - rng.uniform(0, 0.3) * joints)[..., None]
    kerb = np.minimum(abs(x - layout.road[0]), abs(x - layout.road[1])) < 0.16
    paved[kerb] = tint(rng, (176, 174, 170), 0.05)
    grass = (
        tint(rng, pick(rng, ((92, 108, 58), (134, 124, 84))), 0.05)
        * np.exp(0.12 * rough)[..., None]
    )
    for kind, paint in ((ROAD, asphalt), (SIDEWALK, paved), (TERRAIN, grass)):
        blend(drawing, paint.astype(np.float32), layout.ground & _surface(layout, kind))


def _surface(layout: Layout, kind: int) -> Mask:
    """Pixels of a ground class; the road also goes on under all things."""
    hidden = (layout.labels > TERRAIN) & (kind == ROAD)
    return np.asarray((layout.labels == kind) | hidden)


def _markings(layout: Layout, rng: np.random.Generator) -> Field:
    """Opacity of lane lines and of a pedestrian crossing: (256, 256)."""
    x, z = layout.x, layout.depth
    left, right = layout.road
    lanes = max(1, round((right - left) / 3.2))
    lane = (right - left) / lanes
    position = (x - left) / lane
    line = np.abs(position - np.round(position)) * lane < 0.08
    inner = (np.round(position) > 0) & (np.round(position) < lanes)
    dashed = ((z + rng.uniform(0, 9)) % 9) < rng.uniform(3, 6)
    painted = line & np.where(inner, dashed | chance(rng, 0.15), chance(rng, 0.4))
    if chance(rng, 0.3):
        start = rng.uniform(6, 20)
        painted |= (z > start) & (z < start + 3.5) & (x % 1.0 < 0.5)
    worn = np.clip(0.8 + 0.4 * fractal_noise(rng, 12, 2), 0, 1)
    return np.asarray(painted * worn * rng.uniform(0.2, 1) * chance(rng, 0.85), np.float32)


def _build(drawing: Drawing, layout: Layout, rng: np.random.Generator, weather: Weather) -> Field:
    """Paint houses, walls, fences and greenery; return which windows are lit (256, 256)."""
    colors = np.stack([tint(rng, pick(rng, FACADES), 0.07) for _ in range(32)])
    colors = colors[rng.integers(0, 32, BACK + 1)]
    lit = _houses(drawing, layout, rng, weather, colors)
    wall = _standing(layout, WALL)
    drawing[wall] = colors[layout.plot[wall]] * np.float32(0.8)
    bars = np.where((layout.x % 0.5) < 0.2, 1.0, 0.45).astype(np.float32)
    fence = tint(rng, (110, 112, 108), 0.08) * bars[..., None]
    blend(drawing, fence, _standing(layout, FENCE))
    green = foliage(rng, _leaf_color(rng), rng.uniform(0.1, 0.32))
    blend(drawing, green, _standing(layout, VEGETATION))
    return lit


def _houses(
    drawing: Drawing,
    layout: Layout,
    rng: np.random.Generator,
    weather: Weather,
    colors: NDArray[np.float32],
) -> Field:
    """Paint fronts with rows of windows above shops; return which windows are lit."""
    front = _standing(layout, BUILDING)
    plot, along, up = layout.plot[front], layout.x[front], layout.y[front]
    storey, bay = (rng.uniform(*range_, BACK + 1)[plot] for range_ in ((2.8, 3.8), (1.6, 3.6)))
    floor, column = up / storey, along / bay
    shop = (rng.random(BACK + 1) < 0.4)[plot] & (floor < 1)
    width, height = rng.uniform(0.3, 0.8, (2, BACK + 1))[:, plot]
    window = np.abs(column % 1 - 0.5) < np.where(shop, 0.85, width) / 2
    window &= np.abs(floor % 1 - 0.5) < height / 2
    cell = (plot * 31 + floor.astype(int) * 7 + column.astype(int) * 3) % PANES
    texture = rng.uniform(0.01, 0.1) * fractal_noise(rng, 5, 3)[front]
    house = colors[plot] * np.exp(texture - 0.1 * ((up % storey) < 0.2))[:, None]
    sign = shop & (floor > 0.78) & (floor < 0.97)
    house[sign] = rng.uniform(0.1, 0.8, (PANES, 3))[cell[sign]]
    mirror = rng.uniform(0.12, 0.42, (PANES, 1)) * (1.3 - 0.3 * weather.overcast)
    house[window] = rgb((200, 212, 226)) * mirror[cell[window]]
    drawing[front] = house
    lit = np.zeros((SIZE, SIZE), np.float32)
    lit[front] = window & (rng.random(PANES) < rng.uniform(0.05, 0.5))[cell]
    return lit


def _standing(layout: Layout, kind: int) -> Mask:
    """Pixels above ground of one class."""
    return np.asarray((layout.labels == kind) & ~layout.ground)


def _leaf_color(rng: np.random.Generator) -> NDArray[np.float32]:
    """A leaf colour between spring and autumn, or that of a bare tree."""
    return tint(rng, pick(rng, ((70, 92, 42), (58, 78, 44), (120, 104, 48), (92, 82, 68))), 0.05)


def _sunlight(drawing: Drawing, layout: Layout, rng: np.random.Generator, weather: Weather) -> None:
    """Light one side of the street; the other side casts its shadow on the ground."""
    strength = 0.55 * (1 - weather.overcast) * (1 - weather.dusk)
    sunny = layout.plot // PLOTS == (0 if weather.sun < 0 else 1)
    shaded = ~sunny & (layout.plot < BACK)
    gain = 1 + strength * (0.45 * sunny - 0.7 * shaded)
    side = layout.sides[0 if weather.sun > 0 else 1]
    ground = layout.ground
    z = layout.depth[ground] + rng.uniform(-6, 6)
    height = side.height[np.searchsorted(side.edges, z).clip(0, PLOTS - 1)]
    reach = side.x - height * rng.uniform(0.3, 1.3)
    gain[ground] = 1 + strength * (0.15 - (side.side * layout.x[ground] > reach))
    gain[layout.labels == SKY] = 1
    warm = np.array([1.06, 1.0, 0.9], np.float32) ** np.float32(strength * rng.uniform(0, 2))
    drawing *= gain[..., None].astype(np.float32) * warm


def _paint_things(
    drawing: Drawing, layout: Layout, rng: np.random.Generator, weather: Weather
) -> tuple[Drawing, Drawing]:
    """Paint the things, far to near; return the drawing, and the lamps that shine."""
    image = PilImage.fromarray(quantize(drawing))
    lamps = PilImage.new("RGB", (SIZE, SIZE))
    pen, glaze, lamp_pen = (
        ImageDraw.Draw(image),
        ImageDraw.Draw(image, "RGBA"),
        ImageDraw.Draw(lamps),
    )
    shared = shared_dyes(rng)
    darkness = int(150 - 90 * weather.overcast)
    for thing, parts in zip(layout.things, layout.outlines, strict=True):
        dyes = shared | own_dyes(rng, thing.kind)
        _ground_shadow(glaze, thing, layout, darkness)
        for part in parts:
            pen.polygon(part.polygon, fill=dyes[part.name])
            if weather.dusk:
                shines = part.name == "lamp" or part.name in SIGNALS
                lamp_pen.polygon(part.polygon, fill=dyes[part.name] if shines else (0, 0, 0))
    return _as_drawing(image), _as_drawing(lamps)


def _as_drawing(image: PilImage.Image) -> Drawing:
    """RGB bytes as a drawing."""
    return np.asarray(image, np.float32) / np.float32(255)


def _ground_shadow(pen: ImageDraw.ImageDraw, thing: Thing, layout: Layout, darkness: int) -> None:
    """Draw the shadow under a vehicle, or at the foot of another thing."""
    half, back = 0.55 * thing.width, max(thing.length, 0.4)
    if thing.kind == VEGETATION:
        half, back = 0.4 * thing.width, 1.5
    corners = ((-half, -0.25), (half, -0.25), (half, back), (-half, back))
    points = [layout.camera.project(thing.x + a, 0, thing.z + b) for a, b in corners]
    pen.polygon(points, fill=(10, 10, 14, darkness))


def _leaves(drawing: Drawing, layout: Layout, rng: np.random.Generator) -> None:
    """Draw light and dark clumps on crowns, of one size at all distances."""
    clumps = rng.uniform(0.1, 0.4) * fractal_noise(rng, rng.uniform(5, 14), 3)
    leafy = layout.labels == VEGETATION
    drawing *= np.where(leafy, np.exp(clumps), 1).astype(np.float32)[..., None]


def _reflect(drawing: Drawing, layout: Layout, rng: np.random.Generator, weather: Weather) -> None:
    """Draw the reflection of the scene above the horizon on wet ground, with ripples."""
    y, x = pixel_grid()
    ripple = 3 * fractal_noise(rng, 6, 2, aspect=0.4)
    mirrored = np.clip(2 * layout.camera.vanishing[1] - y + ripple, 0, SIZE - 1).astype(int)
    puddles = np.clip(0.35 + 0.3 * _world_noise(rng, layout, 12), 0, 1) * weather.wet
    on_ground = among(layout.labels, ROAD, SIDEWALK)
    drawing[on_ground] *= np.float32(1 - 0.3 * weather.wet)
    image = drawing[mirrored, x.astype(int)]
    blend(drawing, image, (puddles * on_ground * 0.75).astype(np.float32))


STYLE = Style(PALETTE, draw_layout, photograph, label_to_photo="AtoB", has_instances=True)
