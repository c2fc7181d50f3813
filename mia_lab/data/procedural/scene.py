"""Drawing functions that all styles share: noise, relief, light, compositing and a camera.

Drawings are float32 (256, 256, 3) RGB in [0, 1] until :func:`develop` turns them into a photo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from scipy import ndimage

SIZE = 256
"""Side of every canvas, in pixels."""
MAX_SHADOW = 20
"""Longest cast shadow, in pixels."""

Field = NDArray[np.float32]
"""One value per pixel: (256, 256)."""
Drawing = NDArray[np.float32]
"""RGB in [0, 1]: (256, 256, 3)."""
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Color = tuple[int, int, int]
"""RGB, 0 to 255."""
T = TypeVar("T")


@dataclass(frozen=True)
class Scene:
    """One generated pair.

    Attributes:
        input: uint8 (256, 256, 3) RGB, label colours or map, the victim's input.
        target: uint8 (256, 256, 3) RGB, photo or satellite image.
        labels: uint8 (256, 256) class ids, indices into the style's palette.
        instances: int32 (256, 256), 0 outside instances; None if the style has no instances.
    """

    input: NDArray[np.uint8]
    target: NDArray[np.uint8]
    labels: Labels
    instances: NDArray[np.int32] | None


@dataclass(frozen=True)
class Style:
    """A kind of generated pictures.

    Attributes:
        palette: colour of each class, in the order of the class ids.
        draw_layout: draws what the input shows: an object with ``labels`` and perhaps
            ``instances``, as a :class:`Scene` has them.
        photograph: renders the target, uint8 (256, 256, 3) RGB, from a layout.
        label_to_photo: the direction of the dataset that the style imitates, in which the label
            map is the input.
        has_instances: whether layouts have instance ids.
        has_published_classes: whether its classes are those of the published dataset in the same
            order, although its colours differ.
    """

    palette: Mapping[str, Color]
    draw_layout: Callable[[np.random.Generator], Any]
    photograph: Callable[[Any, np.random.Generator], NDArray[np.uint8]]
    label_to_photo: str
    has_instances: bool = False
    has_published_classes: bool = False


@dataclass(frozen=True)
class Light:
    """A distant light over a height field.

    Attributes:
        dx, dy: unit vector on the canvas along which shadows fall.
        slope: height that a shadow loses per pixel; a high sun has a steep slope.
        strength: 0 (overcast) to 1 (black shadows).
        color: float32 (3,) gain of the red, green and blue channels.
    """

    dx: float
    dy: float
    slope: float
    strength: float
    color: NDArray[np.float32]


def pixel_grid() -> tuple[Field, Field]:
    """Pixel coordinates (y, x), each (256, 256)."""
    y, x = np.indices((SIZE, SIZE)).astype(np.float32)
    return y, x


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


def rgb(color: Color) -> NDArray[np.float32]:
    """A colour as float32 (3,) in [0, 1]."""
    return np.asarray(color, np.float32) / np.float32(255)


def tint(rng: np.random.Generator, color: Color, spread: float) -> NDArray[np.float32]:
    """A colour near the given one: shared brightness jitter plus a smaller jitter of the hue."""
    jitter = spread * (rng.normal() + 0.4 * rng.normal(size=3))
    return np.asarray(np.clip(rgb(color) + jitter, 0.02, 0.98), np.float32)


def colorize(labels: Labels, palette: Mapping[str, Color]) -> NDArray[np.uint8]:
    """Class ids (256, 256) to palette colours (256, 256, 3)."""
    return np.asarray(list(palette.values()), np.uint8)[labels]


def value_noise(rng: np.random.Generator, cell: float, aspect: float = 1.0) -> Field:
    """Smooth noise in about [0, 1]; cells are `cell` pixels wide and `aspect` times as high."""
    rows, cols = (max(2, round(SIZE / side) + 1) for side in (cell * aspect, cell))
    lattice = PilImage.fromarray(rng.random((rows, cols), dtype=np.float32))
    return np.asarray(lattice.resize((SIZE, SIZE), PilImage.Resampling.BICUBIC))


def fractal_noise(
    rng: np.random.Generator, cell: float, octaves: int = 3, aspect: float = 1.0
) -> Field:
    """Octaves of value noise, each half the size and half the weight: mean 0, deviation 1."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for octave in range(octaves):
        total += value_noise(rng, max(1.0, cell / 2**octave), aspect) / 2**octave
    total -= total.mean()
    total /= total.std() + np.float32(1e-6)
    return total


def among(labels: Labels, *kinds: int) -> Mask:
    """Pixels of any of the classes: bool (256, 256)."""
    table = np.zeros(256, bool)
    table[list(kinds)] = True
    mask: Mask = table[labels]
    return mask


def blend(
    drawing: Drawing, paint: NDArray[np.float32], alpha: Field | Mask | np.float32 | float
) -> None:
    """Composite a colour (3,) or a drawing over a drawing, in place, with opacity alpha."""
    opacity = np.asarray(alpha)[..., None]
    if opacity.dtype == bool:
        np.copyto(drawing, paint, where=opacity)
    else:
        drawing += (paint - drawing) * opacity.astype(np.float32)


def shifted(field: Field, dx: int, dy: int) -> Field:
    """The field moved by whole pixels; the border is repeated."""
    rows = np.clip(np.arange(SIZE) - dy, 0, SIZE - 1)
    cols = np.clip(np.arange(SIZE) - dx, 0, SIZE - 1)
    return field.take(rows, axis=0).take(cols, axis=1)


def cast_shadow(height: Field, light: Light) -> Field:
    """Shadow of a height field (in pixels) on itself, 0 to 1, with a penumbra of one pixel."""
    reach = min(MAX_SHADOW, int((height.max() - height.min()) / light.slope))
    horizon = height.copy()
    for step in range(1, reach + 1):
        moved = shifted(height, round(step * light.dx), round(step * light.dy))
        np.maximum(horizon, moved - step * light.slope, out=horizon)
    return np.asarray(np.clip((horizon - height) / light.slope, 0, 1), np.float32)


def relief(height: Field, light: Light) -> Field:
    """Brightness change of slopes that face the light (positive) or turn away, in [-1, 1]."""
    dy, dx = np.gradient(height)
    return np.asarray(np.clip(dx * light.dx + dy * light.dy, -1, 1), np.float32)


def illuminate(drawing: Drawing, height: Field, light: Light, where: Mask) -> None:
    """Shade a drawing in place: cast shadows, lit edges, colour of the light."""
    shade = 1 - light.strength * cast_shadow(height, light)
    shade *= 1 + 0.35 * light.strength * relief(height, light)
    drawing *= np.where(where, shade, 1)[..., None] * light.color


def foliage(rng: np.random.Generator, base: NDArray[np.float32], contrast: float) -> Drawing:
    """Leaves: clumps of light and dark around a base colour."""
    clumps = 0.6 * fractal_noise(rng, 14, 2) + 0.7 * fractal_noise(rng, 3.5, 2)
    leaves = base * np.exp(contrast * clumps)[..., None]
    leaves[..., 0] *= 1 + 0.08 * fractal_noise(rng, 24, 1)
    return np.asarray(np.clip(leaves, 0, 1), np.float32)


def sky(rng: np.random.Generator, overcast: float, horizon: float) -> Drawing:
    """A sky that pales towards the horizon row, with clouds; overcast in [0, 1]."""
    y, _ = pixel_grid()
    clear = np.array([0.30, 0.52, 0.82], np.float32) + np.float32(0.1 * rng.random())
    pale = np.array([0.86, 0.89, 0.92], np.float32)
    whiteness = np.clip(0.85 * y / max(horizon, 32), 0, 1) * 0.7 + 0.75 * overcast
    drawing: Drawing = clear + (pale - clear) * np.clip(whiteness, 0, 1)[..., None]
    clouds = np.clip(fractal_noise(rng, 110, 4, 0.45) - rng.uniform(-0.2, 1.5), 0, 1)
    blend(drawing, pale * np.float32(1.05 - 0.25 * overcast * rng.random()), 0.8 * clouds)
    return drawing


def quantize(drawing: Drawing) -> NDArray[np.uint8]:
    """A drawing as bytes; values outside [0, 1] are clipped."""
    return np.asarray(np.clip(drawing, 0, 1) * 255 + 0.5, np.uint8)


def develop(
    drawing: Drawing,
    rng: np.random.Generator,
    blur: tuple[float, float],
    grain: tuple[float, float],
    exposure: float,
) -> NDArray[np.uint8]:
    """Photograph a drawing: exposure, contrast, colour cast, lens blur, vignette, sensor noise.

    Args:
        drawing: float32 (256, 256, 3).
        rng: source of the camera's settings and of its noise.
        blur: range of the blur's standard deviation, in pixels.
        grain: range of the noise's standard deviation, in [0, 1].
        exposure: deviation of the log2 exposure.

    Returns:
        uint8 (256, 256, 3).
    """
    cast = 1 + 0.025 * rng.normal(size=3)
    gain = 2.0 ** np.clip(exposure * rng.normal() + 0.02, -0.7, 0.4)
    photo = np.clip(drawing * (gain * cast).astype(np.float32), 0, 1.4)
    photo = 0.45 + (photo - 0.45) * np.float32(rng.uniform(0.85, 1.25))
    sigma = rng.uniform(*blur)
    if sigma > 0.25:
        photo = ndimage.gaussian_filter(photo, (sigma, sigma, 0), truncate=2.5)
    y, x = pixel_grid()
    radius = ((x - SIZE / 2) ** 2 + (y - SIZE / 2) ** 2) / (SIZE / 2) ** 2
    photo *= (1 - 0.1 * rng.random() * radius)[..., None].astype(np.float32)
    noise = rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32)
    photo += np.float32(rng.uniform(*grain)) * noise
    return quantize(photo)
