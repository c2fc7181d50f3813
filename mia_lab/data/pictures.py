"""Find picture files in folders, and decode them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from mia_lab.data.source import MissingPart
from mia_lab.errors import UserError

_EIGHT_BIT_MODES = {"1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr"}


def matched(
    folders: Sequence[Path], strip: Callable[[str], str] = str
) -> dict[str, tuple[Path, ...]]:
    """The files of each name, one per folder.

    Args:
        folders: at least one folder.
        strip: maps a file's name without its extension to the name used for matching.

    Raises:
        UserError: a name is missing in one of the folders.
    """
    found = [pictures(folder, strip) for folder in folders]
    for files in found:
        for other, folder in zip(found, folders, strict=True):
            for name in sorted(files.keys() - other.keys()):
                raise UserError(
                    f"{files[name]}: has no partner {name}.* in {folder}; "
                    "add the partner, or remove this file"
                )
    return {name: tuple(files[name] for files in found) for name in found[0]}


def pictures(folder: Path, strip: Callable[[str], str] = str) -> dict[str, Path]:
    """All pictures below a folder, by name without extension; see :func:`matched`."""
    if not folder.is_dir():
        raise MissingPart(
            f"{folder}: no such folder; set data.root, data.layout, data.train and data.test "
            "to match your files"
        )
    endings = Image.registered_extensions()
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        hidden = path.name.startswith(".")
        if hidden or path.suffix.lower() not in endings or not path.is_file():
            continue
        name = strip(path.relative_to(folder).with_suffix("").as_posix())
        if name in found:
            raise UserError(f"{path}: two pictures named {name} ({found[name].name}); remove one")
        found[name] = path
    if not found:
        raise UserError(f"{folder}: contains no pictures; put the pairs there or set data.root")
    return found


Reader = Callable[[Path], bytes]
"""Gives the content of a file."""


def decode(path: Path, read: Reader = Path.read_bytes) -> Image.Image:
    """Decode an upright, opaque picture of 8 bits per channel as RGB.

    Args:
        path: path of the file.
        read: gives its content, such as :meth:`mia_lab.store.Contents.read`.

    Raises:
        UserError: the file cannot be decoded, has more than 8 bits per channel, has transparent
            pixels, or is stored rotated.
    """
    with opened(path, read) as picture:
        picture.load()
        if picture.mode not in _EIGHT_BIT_MODES:
            raise UserError(
                f"{path}: pixel format {picture.mode} has more than 8 bits per channel; "
                "convert the dataset to 8 bits"
            )
        if picture.has_transparency_data:
            alpha = picture.convert("RGBA").getchannel("A")
            if alpha.getextrema() != (255, 255):
                raise UserError(f"{path}: has transparent pixels; flatten it first")
        if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            raise UserError(
                f"{path}: is stored rotated (EXIF orientation) and does not match its partner; "
                "save it upright"
            )
        return picture.convert("RGB")


def decode_ids(path: Path, read: Reader = Path.read_bytes) -> NDArray[np.int32]:
    """Decode a map of ids, one channel of 8, 16 or 32 bits, as int32 (H, W).

    Args:
        path, read: as of :func:`decode`.

    Raises:
        UserError: the file cannot be decoded, is not one channel of whole numbers, or is a JPEG.
    """
    with opened(path, read) as picture:
        picture.load()
        if picture.mode not in ("L", "P") and not picture.mode.startswith("I"):
            raise UserError(
                f"{path}: has pixel format {picture.mode}, but a map of ids has one channel of "
                "whole numbers; for label colours set data.layout=two_folders"
            )
        if picture.format == "JPEG":
            raise UserError(f"{path}: JPEG compression changes ids; store them as PNG")
        return np.asarray(picture).astype(np.int32)


@contextmanager
def opened(path: Path, read: Reader = Path.read_bytes) -> Iterator[Image.Image]:
    """Open a picture; its pixels are decoded when they are needed.

    Raises:
        UserError: the file cannot be read or decoded, also later within the context.
    """
    try:
        with Image.open(io.BytesIO(read(path))) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be decoded ({error}); replace or remove it") from error
