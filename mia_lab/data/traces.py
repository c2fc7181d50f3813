"""Features of a picture that need no network: colours, sharpness, JPEG traces, file metadata.

Two folders of one dataset often differ in how their files were made. An attacker can compute each
of these numbers from a candidate without querying the victim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from mia_lab.data.picture import Picture
from mia_lab.data.reading import Reader, opened
from mia_lab.data.source import Pair
from mia_lab.errors import UserError
from mia_lab.types import BlindFeatures

STATISTICS, JPEG, FILE = "statistics", "jpeg", "file"
"""Names of the blind baselines that use the columns."""

_GRID = 8
_QUANTILES = (0.05, 0.5, 0.95)

Columns = dict[tuple[str, str], float]
"""Numbers by baseline and name."""


def traces(pair: Pair, files: Sequence[Path], read: Reader = Path.read_bytes) -> Columns:
    """All traces of one pair.

    Args:
        pair: the decoded pictures, at full size.
        files: the files of the pictures; empty for generated pictures.
        read: gives the content of a file.
    """
    found: dict[tuple[str, str], float] = {}
    for side, picture in (("x", pair.x), ("y", pair.y)):
        planes = _levels(picture)
        grey = planes.sum(axis=0) / len(planes)
        found |= {(STATISTICS, f"{side} {k}"): v for k, v in statistics(planes, grey).items()}
        found |= {(JPEG, f"{side} {k}"): v for k, v in grid_energy(grey).items()}
    for number, path in enumerate(files):
        of_file = _of_file(path, read(path))
        found |= {(kind, f"file {number} {k}"): v for (kind, k), v in of_file.items()}
    return found


def _levels(picture: Picture) -> NDArray[np.float32]:
    """Pixels in levels of 8 bits: float32 (C, H, W) in [0, 255]."""
    if picture.is_eight_bit:
        return np.ascontiguousarray(picture.pixels.transpose(2, 0, 1), np.float32)
    return picture.unit() * np.float32(255)


def _of_file(path: Path, content: bytes) -> Columns:
    """Traces of a file; only its size if Pillow cannot open it."""
    try:
        with opened(path, lambda _: content, None) as picture:
            tables = {(JPEG, k): v for k, v in quantisation(picture).items()}
            return tables | {(FILE, k): v for k, v in metadata(picture, len(content)).items()}
    except UserError:  # arrays, and TIFF files of many channels or real numbers
        return {(FILE, "log bytes"): float(np.log(len(content)))}


def statistics(planes: NDArray[np.float32], grey: NDArray[np.float32]) -> dict[str, float]:
    """Colour and sharpness, in levels of 8 bits.

    Args:
        planes: (C, H, W) in [0, 255].
        grey: (H, W), mean of the planes.
    """
    found: dict[str, float] = {}
    colours = {1: ("grey",), 3: ("red", "green", "blue")}
    names = colours.get(len(planes), [f"channel {i}" for i in range(len(planes))])
    for plane, name in zip(planes, names, strict=True):
        found[f"{name} mean"], found[f"{name} deviation"] = float(plane.mean()), float(plane.std())
    cumulative = np.bincount(grey.astype(np.uint8).ravel(), minlength=256).cumsum() / grey.size
    for q in _QUANTILES:
        found[f"brightness {q:g}"] = float(np.searchsorted(cumulative, q))
    found["saturation"] = float((planes.max(axis=0) - planes.min(axis=0)).mean())
    across, down = np.diff(grey, axis=1), np.diff(grey, axis=0)
    found["gradient"] = float(np.abs(across).mean() + np.abs(down).mean())
    laplacian = np.diff(across, axis=1)[1:-1] + np.diff(down, axis=0)[:, 1:-1]
    found["log laplacian variance"] = float(np.log(laplacian.var() + 1e-3))
    return found


def grid_energy(grey: NDArray[np.float32]) -> dict[str, float]:
    """Strength of steps at each phase of an 8 x 8 grid, relative to the mean (blocking).

    Fan and de Queiroz 2003, IEEE Transactions on Image Processing 12: JPEG leaves steps between its
    blocks, also after a crop has moved them. The third difference measures a step: edges of objects
    are smooth at this scale, edges of blocks are not.

    Args:
        grey: (H, W) in [0, 255].

    Returns:
        The logarithm of the ratio for each phase and direction; 0 in a flat picture.
    """
    steps = {"across": np.diff(grey, 3, axis=1), "down": np.diff(grey, 3, axis=0).T}
    found = {}
    for direction, step in steps.items():
        by_position = np.abs(step).mean(axis=0)
        mean = float(by_position.mean()) + 1e-3
        for phase in range(_GRID):
            energy = by_position[phase::_GRID]
            ratio = (float(energy.mean()) + 1e-3) / mean if len(energy) else 1.0
            found[f"grid {direction} {phase}"] = float(np.log(ratio))
    return found


def quantisation(picture: Image.Image) -> dict[str, float]:
    """Mean and four corner entries of each quantisation table of a JPEG; 0 for other formats."""
    tables: Mapping[int, Sequence[int]] = getattr(picture, "quantization", None) or {}
    found = {}
    for number in range(2):
        table = np.asarray(tables.get(number, np.zeros(64)), dtype=np.float64)
        found[f"table {number} mean"] = float(table.mean())
        for entry in (0, 1, 8, 63):
            found[f"table {number} entry {entry}"] = float(table[entry])
    is_jpeg = isinstance(picture, JpegImagePlugin.JpegImageFile)
    found["subsampling"] = float(JpegImagePlugin.get_sampling(picture)) if is_jpeg else -1.0
    return found


def table(rows: Mapping[str, Columns]) -> BlindFeatures:
    """The traces of images, by id, as one table; a missing value becomes 0."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    return BlindFeatures(
        id=np.array(list(rows), dtype=np.str_),
        baseline=np.array([baseline for baseline, _ in columns], dtype=np.str_),
        name=np.array([name for _, name in columns], dtype=np.str_),
        # The metadata of a file may be invalid, for example a density of 0/0.
        value=np.nan_to_num(
            [[row.get(c, 0.0) for c in columns] for row in rows.values()], posinf=0, neginf=0
        ),
    )


def metadata(picture: Image.Image, size: int) -> dict[str, float]:
    """Size, format and metadata of a file."""
    pixels = picture.width * picture.height
    return {
        "log bytes": float(np.log(size)),
        "bytes per pixel": size / pixels,
        "log pixels": float(np.log(pixels)),
        "aspect": picture.width / picture.height,
        "is JPEG": float(picture.format == "JPEG"),
        "is PNG": float(picture.format == "PNG"),
        "progressive": float(bool(picture.info.get("progressive"))),
        "is grey": float(picture.mode in ("1", "L")),
        "has EXIF": float(bool(picture.info.get("exif"))),
        "has profile": float(bool(picture.info.get("icc_profile"))),
        "has comment": float(bool(picture.info.get("comment"))),
        "has JFIF": float("jfif" in picture.info),
        "density": float(picture.info.get("dpi", (0, 0))[0]),
    }
