"""Finding picture files in folders, and decoding them."""

from __future__ import annotations

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
    """The pictures of one name in all folders, by that name.

    Args:
        folders: at least one.
        strip: from a file's name without the ending to the name it is matched by.

    Raises:
        UserError: a name is missing in one of the folders.
    """
    found = [pictures(folder, strip) for folder in folders]
    for mine in found:
        for other, folder in zip(found, folders, strict=True):
            for name in sorted(mine.keys() - other.keys()):
                raise UserError(
                    f"{mine[name]}: has no partner {name}.* in {folder}; "
                    "add it, or remove this file"
                )
    return {name: tuple(files[name] for files in found) for name in found[0]}


def pictures(folder: Path, strip: Callable[[str], str] = str) -> dict[str, Path]:
    """Every picture below a folder by its name without the ending; see :func:`matched`."""
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
        raise UserError(f"{folder}: holds no pictures; put the pairs there or set data.root")
    return found


def decode(path: Path) -> Image.Image:
    """An upright, opaque picture of 8 bits as RGB.

    Raises:
        UserError: the file is none.
    """
    with _opened(path) as picture:
        if picture.mode not in _EIGHT_BIT_MODES:
            raise UserError(
                f"{path}: pixel format {picture.mode} has more than 8 bits a channel; "
                "convert the dataset to 8 bits"
            )
        if picture.has_transparency_data:
            alpha = picture.convert("RGBA").getchannel("A")
            if alpha.getextrema() != (255, 255):
                raise UserError(f"{path}: has transparent pixels; flatten it first")
        if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            raise UserError(
                f"{path}: is stored rotated (EXIF orientation), so it would not match its "
                "partner; save it upright"
            )
        return picture.convert("RGB")


def decode_ids(path: Path) -> NDArray[np.int32]:
    """A map of ids, one channel of 8, 16 or 32 bits, as int32 (H, W).

    Raises:
        UserError: the file is none.
    """
    with _opened(path) as picture:
        if picture.mode not in ("L", "P") and not picture.mode.startswith("I"):
            raise UserError(
                f"{path}: pixel format {picture.mode}, but a map of ids has one channel of whole "
                "numbers; for label colours set data.layout=two_folders"
            )
        if picture.format == "JPEG":
            raise UserError(f"{path}: JPEG changes ids; store them as PNG")
        return np.asarray(picture).astype(np.int32)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            picture.load()
            yield picture
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be decoded ({error}); replace or remove it") from error
