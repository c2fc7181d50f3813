"""One-hot encoding of label maps, with an optional channel of instance boundaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mia_lab.data.picture import Picture
from mia_lab.data.source import Pair
from mia_lab.errors import UserError

if TYPE_CHECKING:  # configurations are checked without PyTorch
    from torch import Tensor

MAX_RESIDUAL = 7.0
"""Largest accepted residual (see :func:`nearest_colors`), the geometric mean of the two sides
measured on 256 px JPEGs: at most 4.4 on the 506 label maps of Facades and 2.8 on the 1849 of
Cityscapes; at least 11.0 on label maps with another palette, and 14.5 on photos, maps and
satellite images."""

FLAT = 4
"""Largest difference between a pixel in a flat area and its neighbours, in 8-bit levels."""

Sample = Callable[[NDArray[Any]], NDArray[Any]]
"""Resizes a map (H, W, ...) by nearest neighbour."""

BLOCK = 2048
"""Number of pixels whose classes are computed at once."""


class LabelEncoding:
    """One-hot labels, the input of the published pix2pixHD.

    Wang et al. 2018 (arXiv:1711.11585): label maps one-hot (section 3.1), and the instance boundary
    map (section 3.3).

    Args:
        palette: [red, green, blue] of every class, 0 to 255; if two classes share a colour, the
            colour encodes the first.
        boundaries: whether a channel of instance boundaries follows the classes' channels.
        ignore_label: label id of void pixels, which are one more class, the last; None: no pixel is
            void.

    Attributes:
        palette: uint8 (classes, 3), see :func:`checked_palette`.
        channels: number of channels of an encoded image.
        planes: bytes per pixel of the compact form.

    Raises:
        UserError: the palette is invalid.
    """

    def __init__(
        self,
        palette: Sequence[Sequence[int]],
        boundaries: bool,
        ignore_label: int | None = None,
    ) -> None:
        self.palette = checked_palette(palette, ignore_label)
        self.boundaries = boundaries
        self.channels = len(self.palette) + boundaries
        self.planes = 1 + boundaries

    def identity(self) -> dict[str, Any]:
        """The settings that determine an encoded image, as plain JSON."""
        return {"palette": self.palette.tolist(), "boundaries": self.boundaries}

    def encode(self, image_id: str, pair: Pair, sample: Sample) -> tuple[NDArray[np.uint8], float]:
        """Encode the labels of a pair's input.

        Args:
            image_id: its id.
            pair: the pair.
            sample: resizes maps by nearest neighbour, to (height, width).

        Returns:
            The compact form, uint8 (planes, height, width): class ids, then boundaries in {0, 1};
            and the residual of the input's colours, 0 if the source provides the labels.

        Raises:
            UserError: the colours are not those of the palette, a label is out of range, or the
                pair has no instance ids.
        """
        if pair.labels is None:
            classes, residual = nearest_colors(_colors(image_id, pair.x), self.palette, sample)
            self._check_residual(image_id, residual)
        else:
            self._check_labels(image_id, pair.labels)
            classes, residual = sample(pair.labels).astype(np.uint8), 0.0
        planes = [classes]
        if self.boundaries:
            if pair.instances is None:
                raise UserError(
                    f"{image_id}: this pair has no instance ids, but other pairs have; set "
                    "data.instances=false"
                )
            planes.append(boundary_map(sample(pair.instances)))
        return np.stack(planes), residual

    def expand(self, planes: Tensor) -> Tensor:
        """Expand the compact form, uint8 (N, planes, S, S), to float32 (N, channels, S, S)."""
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
                f"{image_id}: the labels range from {low} to {high}, but data.palette has the "
                f"classes 0 to {len(self.palette) - 1}; add colours to data.palette"
            )

    def _check_residual(self, image_id: str, residual: float) -> None:
        if residual > MAX_RESIDUAL:
            raise UserError(
                f"{image_id}: its colours differ from data.palette by {residual:.1f} levels "
                f"(at most {MAX_RESIDUAL:g}), so it is not a label map of these classes; correct "
                "data.palette or data.direction, or set data.input_encoding=rgb"
            )


def checked_palette(
    palette: Sequence[Sequence[int]] | None, ignore_label: int | None = None
) -> NDArray[np.uint8]:
    """The colours of the classes as uint8 (classes, 3).

    Args:
        palette: [red, green, blue] of every class.
        ignore_label: label id of void pixels. They are a class of their own, which follows those of
            the palette and is black.

    Raises:
        UserError: these are not 2 to 256 classes, or the palette has a colour for void pixels.
    """
    colors = [list(color) for color in palette or []]
    valid = all(len(c) == 3 and all(0 <= level <= 255 for level in c) for c in colors)
    n_void = int(ignore_label is not None)
    if not valid or not 2 - n_void <= len(colors) <= 256 - n_void:
        besides = f" besides data.ignore_label={ignore_label}" if n_void else ""
        raise UserError(
            f"data.palette: needs {2 - n_void} to {256 - n_void} colours [red, green, blue] of "
            f"levels 0 to 255, one per class{besides}; got {palette if not valid else len(colors)}"
        )
    if ignore_label is not None and 0 <= ignore_label < len(colors):
        raise UserError(
            f"data.ignore_label={ignore_label}: has a colour in data.palette, which makes it a "
            "class like any other; leave data.ignore_label out, or shorten the palette"
        )
    return np.array(colors + [[0, 0, 0]] * n_void, np.uint8)


def nearest_colors(
    picture: NDArray[np.uint8], palette: NDArray[np.uint8], sample: Sample
) -> tuple[NDArray[np.uint8], float]:
    """Classify each pixel by the nearest colour (Euclidean; ties go to the first class).

    The residual is the mean distance, in 8-bit levels, between the pixels in flat areas and their
    nearest colours. A pixel is flat if its four neighbours in the stored picture differ from it by
    at most ``FLAT`` in every channel. Without flat pixels the mean is over all pixels. JPEG blurs
    the colours along edges, over whole blocks of fine structure, but keeps them within a few levels
    in flat areas; photos have flat areas of any colour.

    Args:
        picture: uint8 (H, W, 3).
        palette: uint8 (classes, 3).
        sample: resizes maps by nearest neighbour, to (height, width).

    Returns:
        uint8 (height, width) classes, and the residual.
    """
    sampled = sample(picture)
    pixels = sampled.reshape(-1, 3).astype(np.float32)
    colors = palette.astype(np.float32)
    # The nearest colour c of a pixel p maximises 2pc - cc. Both terms are whole numbers below
    # 2**24, exact in float32. A block of pixels fits in the processor's cache.
    twice, squares = 2 * colors.T, (colors**2).sum(1)
    blocks = (pixels[i : i + BLOCK] for i in range(0, len(pixels), BLOCK))
    classes = np.concatenate([(block @ twice - squares).argmax(1) for block in blocks])
    flat = sample(_flat(picture)).ravel()
    chosen = flat if flat.any() else slice(None)
    offsets = pixels[chosen] - colors[classes[chosen]]
    residual = np.sqrt((offsets**2).sum(1)).mean(dtype=np.float64)
    return classes.astype(np.uint8).reshape(sampled.shape[:2]), float(residual)


def boundary_map(instances: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Mark pixels with a neighbour (of four) in another instance (Wang et al. 2018, section 3.3).

    Args:
        instances: (H, W) ids.

    Returns:
        uint8 (H, W) in {0, 1}; both sides of a boundary are 1, as in the published code.
    """
    across = instances[:, 1:] != instances[:, :-1]
    down = instances[1:] != instances[:-1]
    edges = np.zeros(instances.shape, bool)
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges.astype(np.uint8)


def _colors(image_id: str, picture: Picture) -> NDArray[np.uint8]:
    """The picture as uint8 (H, W, 3).

    Raises:
        UserError: it has other channels, or more than 8 bits.
    """
    if not picture.is_eight_bit or picture.channels not in (1, 3):
        raise UserError(
            f"{image_id}: its input ({picture.describe()}) is not a picture of label colours; set "
            "data.input_encoding=rgb"
        )
    return np.repeat(picture.pixels, 3 // picture.channels, axis=2)


def _flat(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels that differ from their four neighbours by at most ``FLAT``: bool (H, W)."""

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
