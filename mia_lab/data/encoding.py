"""Label maps as one channel a class, and the boundaries between instances as one more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mia_lab.data.source import Pair
from mia_lab.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MAX_RESIDUAL = 7.0
"""Largest accepted residual (see :func:`nearest_colors`), the geometric middle of what was measured
on 256 px JPEGs: at most 4.4 on the 506 label maps of Facades and 2.8 on the 1849 of Cityscapes; at
least 11.0 on label maps with another palette, and 14.5 on photos, maps and satellite images."""

FLAT = 4
"""Largest difference between neighbours, in 8-bit levels, of a pixel that no edge has touched."""

BLOCK = 2048
"""Pixels whose classes are looked up at once."""


class LabelEncoding:
    """One-hot labels, as the published pix2pixHD takes them.

    Wang et al. 2018 (arXiv:1711.11585): label maps one-hot (section 3.1), and the instance boundary
    map (section 3.3).

    Args:
        palette: [red, green, blue] of every class, 0 to 255; of classes of one colour the first is
            meant.
        boundaries: whether a channel of instance boundaries follows those of the classes.

    Attributes:
        channels: of an encoded image.
        planes: bytes a pixel of its compact form.

    Raises:
        UserError: the palette is none.
    """

    def __init__(self, palette: Sequence[Sequence[int]], boundaries: bool) -> None:
        self.palette = checked_palette(palette)
        self.boundaries = boundaries
        self.channels = len(self.palette) + boundaries
        self.planes = 1 + boundaries

    def identity(self) -> dict[str, Any]:
        """What decides the numbers of an encoded image, as plain JSON."""
        return {"palette": self.palette.tolist(), "boundaries": self.boundaries}

    def encode(self, image_id: str, pair: Pair, size: int) -> tuple[NDArray[np.uint8], float]:
        """The labels of a pair's input, resized to a square by nearest neighbour.

        Returns:
            The compact form, uint8 (planes, size, size): class ids, then boundaries in {0, 1}; and
            the residual of its colours, 0 where the source knows the classes.

        Raises:
            UserError: the colours are not those of the palette, a label is not among its classes,
                or instances are unknown.
        """
        if pair.labels is None:
            classes, residual = nearest_colors(np.asarray(pair.x), self.palette, size)
            self._check_residual(image_id, residual)
        else:
            self._check_labels(image_id, pair.labels)
            classes, residual = sample(pair.labels, size).astype(np.uint8), 0.0
        planes = [classes]
        if self.boundaries:
            if pair.instances is None:
                raise UserError(
                    f"{image_id}: has no instance ids, but others have; set data.instances=false"
                )
            planes.append(boundary_map(sample(pair.instances, size)))
        return np.stack(planes), residual

    def expand(self, planes: Tensor) -> Tensor:
        """From the compact form, uint8 (N, planes, S, S), to float32 (N, channels, S, S)."""
        n, _, height, width = planes.shape
        encoded = planes.new_zeros((n, self.channels, height, width)).float()
        encoded.scatter_(1, planes[:, :1].long(), 1.0)
        if self.boundaries:
            encoded[:, -1] = planes[:, 1]
        return encoded

    def _check_labels(self, image_id: str, labels: NDArray[np.int32]) -> None:
        low, high = labels.min(), labels.max()
        if low < 0 or high >= len(self.palette):
            raise UserError(
                f"{image_id}: labels {low} to {high}, but data.palette has the classes "
                f"0 to {len(self.palette) - 1}; add colours to it"
            )

    def _check_residual(self, image_id: str, residual: float) -> None:
        if residual > MAX_RESIDUAL:
            raise UserError(
                f"{image_id}: its colours are {residual:.1f} levels from those of data.palette "
                f"(at most {MAX_RESIDUAL:g}), so it is no label map of these classes; mend "
                "data.palette or data.direction, or set data.input_encoding=rgb"
            )


def checked_palette(palette: Sequence[Sequence[int]] | None) -> NDArray[np.uint8]:
    """Colours of classes as uint8 (classes, 3).

    Raises:
        UserError: they are no list of 2 to 255 colours.
    """
    colors = [list(color) for color in palette or []]
    right = all(len(c) == 3 and all(0 <= level <= 255 for level in c) for c in colors)
    if not right or not 2 <= len(colors) <= 255:
        raise UserError(
            f"data.palette: needs 2 to 255 colours [red, green, blue] of levels 0 to 255, "
            f"one a class; got {palette if not right else len(colors)}"
        )
    return np.array(colors, np.uint8)


def nearest_colors(
    picture: NDArray[np.uint8], palette: NDArray[np.uint8], size: int
) -> tuple[NDArray[np.uint8], float]:
    """The class of the nearest colour (Euclidean, the first of equals), and how far colours are.

    The residual is the mean distance, in 8-bit levels, of the pixels in flat places: those whose
    four neighbours in the stored picture differ by at most ``FLAT`` in every channel; of all pixels
    where no place is flat. JPEG blurs the colours along edges, over whole blocks of fine structure,
    but leaves them within a few levels in flat places; photos have flat places of any colour.

    Args:
        picture: uint8 (H, W, 3).
        palette: uint8 (classes, 3).
        size: of the square of pixels that are looked at, see :func:`sample`.

    Returns:
        uint8 (size, size) classes, and the residual.
    """
    pixels = sample(picture, size).reshape(-1, 3).astype(np.float32)
    colors = palette.astype(np.float32)
    # The nearest colour c of a pixel p has the largest 2pc - cc: whole numbers below 2**24, exact
    # in float32. Blocks of pixels stay in the processor's cache.
    twice, squares = 2 * colors.T, (colors**2).sum(1)
    blocks = (pixels[i : i + BLOCK] for i in range(0, len(pixels), BLOCK))
    classes = np.concatenate([(block @ twice - squares).argmax(1) for block in blocks])
    flat = sample(_flat(picture), size).ravel()
    chosen = flat if flat.any() else slice(None)
    offsets = pixels[chosen] - colors[classes[chosen]]
    residual = np.sqrt((offsets**2).sum(1)).mean(dtype=np.float64)
    return classes.astype(np.uint8).reshape(size, size), float(residual)


def boundary_map(instances: NDArray[np.int32]) -> NDArray[np.uint8]:
    """1 where any of the four neighbours belongs to another instance (Wang et al. 2018, 3.3).

    Args:
        instances: (H, W) ids.

    Returns:
        uint8 (H, W) in {0, 1}; both sides of a boundary are marked, as by the published code.
    """
    across = instances[:, 1:] != instances[:, :-1]
    down = instances[1:] != instances[:-1]
    edges = np.zeros(instances.shape, bool)
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges.astype(np.uint8)


def sample(picture: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize (H, W, ...) to (size, size, ...) by nearest neighbour, at the centres of the pixels.

    It covers the whole picture, as :func:`mia_lab.data.transforms.resize` does.
    """
    rows, columns = ((2 * np.arange(size) + 1) * side // (2 * size) for side in picture.shape[:2])
    sampled: NDArray[Any] = picture[rows[:, None], columns]
    return sampled


def _flat(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    def similar(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.bool_]:
        difference = np.maximum(a, b) - np.minimum(a, b)
        alike: NDArray[np.bool_] = difference.max(-1) <= FLAT
        return alike

    across = similar(picture[:, 1:], picture[:, :-1])
    down = similar(picture[1:], picture[:-1])
    flat = np.ones(picture.shape[:2], bool)
    flat[:, 1:] &= across
    flat[:, :-1] &= across
    flat[1:] &= down
    flat[:-1] &= down
    return flat
