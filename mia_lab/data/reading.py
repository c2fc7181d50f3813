"""Read picture files: what they hold, exactly, or one line that says why not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from mia_lab.errors import UserError
from mia_lab.store.content import unreadable

Image.init()
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)
"""Formats that are decoded. Others are rare among datasets, and some run outside programs."""

ENDINGS = frozenset(
    # MPO is a JPEG with further pictures behind the first.
    end
    for end, kind in Image.registered_extensions().items()
    if kind in (*FORMATS, "MPO")
)
"""Endings of the files that are pictures, in lower case."""

MAX_MEGAPIXELS = 100
"""Largest picture, in millions of pixels; decoding one takes about 10 bytes a pixel."""

_EIGHT_BIT_MODES = {"1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr"}

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
        UserError: the file cannot be read or decoded, is of another format than `FORMATS`, or has
            more than `MAX_MEGAPIXELS`. Whatever a decoder raises within the context becomes one.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns above a number of pixels of its own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(read(path)), formats=FORMATS)
        with picture:
            megapixels = picture.width * picture.height / 1e6
            if megapixels > MAX_MEGAPIXELS:
                raise Image.DecompressionBombError
            yield picture
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path}: has more than {MAX_MEGAPIXELS} million pixels, the most that are decoded; "
            "make it smaller"
        ) from error
    except UnidentifiedImageError as error:
        raise UserError(
            f"{path}: is no picture of the formats {', '.join(FORMATS)}; convert or remove it"
        ) from error
    except Exception as error:  # decoders raise what they like
        if isinstance(error, OSError) and error.filename:  # of the system
            raise unreadable(path, error) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be decoded ({reason}); replace or remove it") from error
