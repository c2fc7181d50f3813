"""Doubts about pairs: signs that the configured layout or range is wrong.

These are heuristics. Reports show what they find; it changes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mia_lab.data.picture import Picture
from mia_lab.data.source import Pair

HIGHEST_ID, MOST_IDS, VOID = 63, 32, 255
"""Pictures of label ids have at most 32 ids, from 0 to 63, and perhaps 255 for void pixels."""

ASPECTS = ((1, 1), (5, 4), (4, 3), (3, 2), (8, 5), (16, 9), (2, 1))
"""Usual aspect ratios of pictures, the longer side first."""

LABEL_IDS = (
    f"the input is grey with few values, all from 0 to {HIGHEST_ID} (or {VOID}), as label ids are "
    "and pictures seldom are; if they are label ids, set data.layout=image_label and data.palette"
)
HALVES = (
    "each half has an unusual aspect ratio (none of 1:1, 5:4, 4:3, 3:2, 8:5, 16:9 and 2:1), as if "
    "the two pictures did not meet in the middle; look at them, and put unequal pictures into two "
    "folders (data.layout=two_folders)"
)


def doubts(pair: Pair, files: Sequence[object]) -> tuple[str, ...]:
    """Signs that one pair is misread: :data:`LABEL_IDS`, :data:`HALVES`, unlikely ranges.

    Args:
        pair: the decoded pair.
        files: its files; a single one holds both pictures, side by side.
    """
    found = []
    if pair.labels is None and looks_like_ids(pair.x.pixels):
        found.append(LABEL_IDS)
    if len(files) == 1 and not has_usual_aspect(pair.x.height, pair.x.width):
        found.append(HALVES)
    advised = _advised_ranges(pair.x, pair.y)
    for name, picture in (("input", pair.x), ("target", pair.y)):
        if bits := unused_bits(picture):
            top = 2**bits - 1
            found.append(
                f"the {name} has no value above {top} in 16 bits; if {top} means 1, set "
                f"data.value_range={advised}"
            )
        elif is_range_too_wide(picture):
            limits = np.iinfo(picture.pixels.dtype)
            found.append(
                f"the {name} has only values from {limits.min} to {limits.max} "
                f"({picture.pixels.dtype}) of the declared range {_range(picture)}; give each side "
                f"its own range, data.value_range={advised}"
            )
    return tuple(found)


def unused_bits(picture: Picture) -> int:
    """How many bits the values of a 16-bit picture need, if it may have been taken with fewer bits.

    Returns:
        The number of bits, from 9 to 14. 0 if the picture has another type, if its range is
        declared, or if its values need fewer or more bits.
    """
    if picture.pixels.dtype != np.uint16 or picture.high != 2**16 - 1:
        return 0
    bits = int(picture.pixels.max()).bit_length()
    return bits if 8 < bits < 15 else 0


def is_range_too_wide(picture: Picture) -> bool:
    """Whether whole numbers of the picture's type cannot fill its declared range.

    It takes a picture whose values span less than a quarter of the range to say so.
    """
    if picture.pixels.dtype.kind not in "ui":
        return False
    limits = np.iinfo(picture.pixels.dtype)
    if limits.min <= picture.low and picture.high <= limits.max:
        return False
    span = float(picture.pixels.max()) - float(picture.pixels.min())
    return 4 * span < picture.high - picture.low


def _advised_ranges(x: Picture, y: Picture) -> str:
    """``data.value_range`` that gives the doubted sides other ranges, and keeps those of others."""
    ranges = [_advised_range(picture) for picture in (x, y)]
    return ranges[0] if ranges[0] == ranges[1] else f"[{ranges[0]},{ranges[1]}]"


def _advised_range(picture: Picture) -> str:
    has_natural = picture.pixels.dtype in (np.uint8, np.uint16)
    if bits := unused_bits(picture):
        return f"[0,{2**bits - 1}]"
    if is_range_too_wide(picture):
        return "null" if has_natural else "[LOW,HIGH]"
    if has_natural and (picture.low, picture.high) == (0, np.iinfo(picture.pixels.dtype).max):
        return "null"
    return _range(picture)


def _range(picture: Picture) -> str:
    return f"[{picture.low:.15g},{picture.high:.15g}]"


def looks_like_ids(picture: NDArray[Any]) -> bool:
    """Whether a picture is grey, and has 2 to 32 values from 0 to 63 and perhaps 255.

    Args:
        picture: (H, W) or (H, W, C), as stored.
    """
    planes = picture.reshape(*picture.shape[:2], -1)
    if planes.dtype.kind not in "ui" or (planes != planes[:, :, :1]).any():
        return False
    values = np.unique(planes[:, :, 0])
    ids = values[values != VOID]
    return 2 <= len(ids) <= MOST_IDS and bool(ids[-1] <= HIGHEST_ID)


def has_usual_aspect(height: int, width: int) -> bool:
    """Whether a size is one of :data:`ASPECTS`, up to the rounding of a side to whole pixels."""
    long, short = max(height, width), min(height, width)
    return any(abs(long * b - short * a) < a for a, b in ASPECTS)


def told(found: Mapping[str, Sequence[str]], n: int) -> tuple[str, ...]:
    """Doubts in sentences.

    Args:
        found: ids of the pairs with each doubt.
        n: number of all pairs.
    """
    return tuple(f"{len(ids)} of {n} pairs, such as {ids[0]}: {d}" for d, ids in found.items())
