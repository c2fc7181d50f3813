"""Pairs of label ids and photos in folders, in the layout of pix2pixHD's code.

``<root>/<train>_label/NAME.png``  one channel of label ids (8 or 16 bits)
``<root>/<train>_img/NAME.*``      the photo
``<root>/<train>_inst/NAME.png``   instance ids (8, 16 or 32 bits); the folder may be missing

Wang et al. 2018, arXiv:1711.11585. The names of partners may differ by an ending of each folder,
such as Cityscapes' ``_gtFine_labelIds`` and ``_leftImg8bit``; see
:func:`mia_lab.data.pictures.matched`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mia_lab.data.picture import Picture
from mia_lab.data.pictures import Matches, matched
from mia_lab.data.reading import EXACT, Reader, Reading, decode, decode_ids
from mia_lab.data.source import Pair
from mia_lab.errors import UserError


def has_instances(root: Path, part: str) -> bool:
    """Whether a part has a folder of instance ids."""
    return _folder(root, part, "inst").is_dir()


def find(root: Path, part: str, match: str | None = None) -> Matches:
    """Files of every pair, by name: label ids, photo, and instance ids if the folder exists.

    Args:
        root: the dataset's folder.
        part: name of the part; "" for the root itself.
        match: see :func:`mia_lab.data.pictures.matched`.

    Raises:
        UserError: a folder is missing or empty, or a file has no partner.
    """
    kinds = ["label", "img", "inst"] if has_instances(root, part) else ["label", "img"]
    return matched([_folder(root, part, kind) for kind in kinds], match)


def load(
    files: tuple[Path, ...],
    palette: NDArray[np.uint8],
    read: Reader = Path.read_bytes,
    ignore_label: int | None = None,
    target: Reading = EXACT,
) -> Pair:
    """Decode one pair; the palette colours its input.

    Args:
        files: label ids, photo and, optionally, instance ids.
        palette: uint8 (classes, 3), see :func:`mia_lab.data.encoding.checked_palette`.
        read: gives the content of a file.
        ignore_label: label id of void pixels, whose class is the palette's last; may be negative.
        target: how the photo is read.

    Raises:
        UserError: a file cannot be decoded, or a label has no colour.
    """
    labels = decode_ids(files[0], read, target)
    void = np.zeros(labels.shape, bool) if ignore_label is None else labels == ignore_label
    n_colors = len(palette) - (ignore_label is not None)
    known = labels[~void]
    if known.size and not 0 <= known.min() <= known.max() < n_colors:
        raise UserError(
            f"{files[0]}: the label ids range from {known.min()} to {known.max()}, but "
            f"data.palette has colours for 0 to {n_colors - 1}; add colours to data.palette, or "
            "set data.ignore_label to the id of void pixels"
        )
    labels[void] = n_colors
    instances = decode_ids(files[2], read, target) if len(files) > 2 else None
    if instances is not None and instances.shape != labels.shape:
        raise UserError(f"{files[2]}: differs in size from {files[0]}; make the sizes equal")
    return Pair(Picture.of(palette[labels]), decode(files[1], read, target), instances, labels)


def _folder(root: Path, part: str, kind: str) -> Path:
    return root / (f"{part}_{kind}" if part else kind)
