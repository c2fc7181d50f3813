"""Pairs of label ids and photos in folders, in the layout of pix2pixHD's code.

``<root>/<train>_label/NAME.png``  one channel of label ids (8 or 16 bits)
``<root>/<train>_img/NAME.*``      the photo
``<root>/<train>_inst/NAME.png``   instance ids (8, 16 or 32 bits); the folder may be missing

Wang et al. 2018, arXiv:1711.11585. Files are matched by their names without the endings of
Cityscapes: ``_gtFine_labelIds``, ``_gtFine_instanceIds`` and ``_leftImg8bit``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mia_lab.data.picture import Picture
from mia_lab.data.pictures import matched
from mia_lab.data.reading import EXACT, Reader, Reading, decode, decode_ids
from mia_lab.data.source import Pair
from mia_lab.errors import UserError

_ENDING = re.compile("_(gtFine_labelIds|gtFine_instanceIds|leftImg8bit)$")


def has_instances(root: Path, part: str) -> bool:
    """Whether a part has a folder of instance ids."""
    return _folder(root, part, "inst").is_dir()


def find(root: Path, part: str) -> dict[str, tuple[Path, ...]]:
    """Files of every pair, by name: label ids, photo, and instance ids if the folder exists.

    Raises:
        UserError: a folder is missing or empty, or a file has no partner.
    """
    kinds = ["label", "img", "inst"] if has_instances(root, part) else ["label", "img"]
    return matched([_folder(root, part, kind) for kind in kinds], lambda n: _ENDING.sub("", n))


def load(
    files: tuple[Path, ...],
    palette: NDArray[np.uint8],
    read: Reader = Path.read_bytes,
    target: Reading = EXACT,
) -> Pair:
    """Decode one pair; the palette colours its input.

    Args:
        files: label ids, photo and, optionally, instance ids.
        palette: uint8 (classes, 3).
        read: gives the content of a file.
        target: how the photo is read.

    Raises:
        UserError: a file cannot be decoded, or a label has no colour.
    """
    labels = decode_ids(files[0], read, target.max_megapixels)
    low, high = labels.min(), labels.max()
    if low < 0 or high >= len(palette):
        raise UserError(
            f"{files[0]}: the label ids range from {low} to {high}, but data.palette has colours "
            f"for 0 to {len(palette) - 1}; add colours to data.palette"
        )
    instances = decode_ids(files[2], read, target.max_megapixels) if len(files) > 2 else None
    if instances is not None and instances.shape != labels.shape:
        raise UserError(f"{files[2]}: differs in size from {files[0]}; make the sizes equal")
    return Pair(Picture.of(palette[labels]), decode(files[1], read, target), instances, labels)


def _folder(root: Path, part: str, kind: str) -> Path:
    return root / (f"{part}_{kind}" if part not in ("", ".") else kind)
