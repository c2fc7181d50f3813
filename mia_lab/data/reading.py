"""Read picture files: their pixels exactly as stored, or one line that says why not.

Pillow decodes pictures of 8 bits, tifffile other TIFF files, NumPy arrays in ``.npy`` files, and
imagecodecs what Pillow would reduce to 8 bits. Which pixel values mean 0 and 1 follows from the
type of the file alone, or is declared; never from the values that occur, which would depend on the
images under attack.
"""

from __future__ import annotations

import io
import logging
import math
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageColor, UnidentifiedImageError

from mia_lab.data.picture import Picture, grey
from mia_lab.errors import UserError, one_line
from mia_lab.parameters import MIN_SIDE
from mia_lab.store.content import unreadable

if TYPE_CHECKING:
    import tifffile

# Of odd metadata. Threads decode pictures, and filters belong to the process.
warnings.filterwarnings("ignore", module=r"PIL\.")

Image.init()
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)
"""Formats that Pillow decodes. Others are rare among datasets, and some run outside programs."""

ENDINGS = frozenset(
    # MPO is a JPEG with further pictures behind the first.
    end
    for end, kind in Image.registered_extensions().items()
    if kind in (*FORMATS, "MPO")
) | {".npy"}
"""Endings of the files that are pictures, in lower case."""

MAX_MEGAPIXELS = 100.0
"""Default of the largest picture, in millions of pixels; decoding takes about 10 bytes a pixel."""

REFUSE, KEEP = "refuse", "keep"
"""What is done with transparent pixels, besides a colour to lay them over."""

_MODES = {"1": "L", "L": "L", "RGB": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LA": "LA"}
_MODES |= {"RGBA": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
"""Modes of 8 bits, and the one whose bands are read."""

_NPY, _TIFF = b"\x93NUMPY", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_REDUCED, _MASK = 1, 4
"""Kinds of TIFF pages that are no pictures of their own."""

_PPM_LEVELS = re.compile(rb"P[2356](?:\s|#[^\n]*\n)+(?:\d+(?:\s|#[^\n]*\n)+){2}(\d+)\s")

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it logs is raised as well

Reader = Callable[[Path], bytes]
"""Gives the content of a file."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Reading:
    """How the pictures of one side are read.

    Attributes:
        value_range: values that mean 0 and 1; None: those of the file's type.
        channels: of the picture; grey becomes RGB, RGB grey. None: those of the file.
        alpha: ``refuse``, ``keep`` as a channel, or a colour to lay transparent pixels over.
        exif: whether a picture that is stored rotated is refused, or turned upright.
        page: of files with several pages; None: such files are refused.
        max_megapixels: largest picture, in millions of pixels.
        section: of the configuration that has these keys, for messages.

    Raises:
        UserError: there is no such colour.
    """

    value_range: Range | None = None
    channels: int | None = None
    alpha: str = REFUSE
    exif: Literal["refuse", "apply"] = "refuse"
    page: int | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    section: str = "data"

    def __post_init__(self) -> None:
        if self.alpha not in (REFUSE, KEEP):
            _colour(self)

    def identity(self) -> list[Any]:
        """What decides the pixels, as JSON values."""
        return [self.value_range, self.channels, self.alpha, self.exif, self.page]

    def declared(self, picture: Picture, path: Path) -> Picture:
        """A stored picture in the declared channels and range.

        Raises:
            UserError: it has other channels, no range, or values out of range.
        """
        return self._ranged(self._with_channels(picture, path), path)

    def _with_channels(self, picture: Picture, path: Path) -> Picture:
        found = picture.channels
        if self.channels in (None, found):
            return picture
        if (found, self.channels) == (1, 3):
            return replace(picture, pixels=np.repeat(picture.pixels, 3, axis=2))
        if (found, self.channels) == (3, 1):
            return replace(picture, pixels=grey(picture.pixels))
        raise UserError(
            f"{path}: has {found} channels, not {self.channels} (data.input_channels, "
            "data.target_channels); only grey becomes RGB, and RGB grey"
        )

    def _ranged(self, picture: Picture, path: Path) -> Picture:
        pixels = picture.pixels
        if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
            count = int((~np.isfinite(pixels)).sum())
            raise UserError(f"{path}: {count} of its values are NaN or infinite; repair them")
        if self.value_range is None:
            if np.isnan(picture.high):
                raise UserError(
                    f"{path}: holds {pixels.dtype} values, whose range the file does not say; set "
                    f"{self.section}.value_range=[LOW,HIGH] to the values that mean 0 and 1, or "
                    f"[[LOW,HIGH],[LOW,HIGH]] for input and target (this file has "
                    f"{pixels.min():g} to {pixels.max():g})"
                )
            return picture
        low, high = self.value_range
        least, most = float(pixels.min()), float(pixels.max())
        if least < low or most > high:
            raise UserError(
                f"{path}: has values from {least:g} to {most:g}, outside of {self.section}."
                f"value_range=[{low:g},{high:g}]; widen it, because nothing is clipped"
            )
        return replace(picture, low=low, high=high)


EXACT = Reading()


def decode(path: Path, read: Reader = Path.read_bytes, reading: Reading = EXACT) -> Picture:
    """Decode a picture.

    Args:
        path: path of the file.
        read: gives its content, such as :meth:`mia_lab.store.Contents.read`.
        reading: how it is read.

    Raises:
        UserError: the file cannot be decoded, or holds something else than `reading` allows.
    """
    return reading.declared(stored(path, read, reading), path)


def stored(path: Path, read: Reader = Path.read_bytes, reading: Reading = EXACT) -> Picture:
    """The picture in a file, upright, in its own channels and range.

    Raises:
        UserError: the file cannot be decoded, has several pages, is too large, is stored rotated or
            has transparent pixels.
    """
    found = _decoded(path, read(path), reading, _tiff, _pillow)
    if found.pixels.dtype.kind not in "uif" or found.pixels.dtype.itemsize > 8:
        raise UserError(f"{path}: holds {found.pixels.dtype} values; save whole or real numbers")
    found = replace(found, pixels=_upright(found, path, reading))
    low = 0.0 if found.top > 0 else float("nan")
    return Picture(_without_alpha(found, path, reading), low, found.top)


_Alpha = Literal["none", "straight", "premultiplied"]


@dataclass(frozen=True)
class _Stored:
    """What a file holds.

    Attributes:
        pixels: (H, W, C).
        alpha: whether the last channel is alpha: ``none``, ``straight``, or ``premultiplied``.
        levels: the largest value, where the file says.
        orientation: of EXIF; 1 is upright.
    """

    pixels: NDArray[Any]
    alpha: _Alpha = "none"
    levels: float | None = None
    orientation: int = 1

    @property
    def top(self) -> float:
        """The value that means 1; NaN where neither file nor type says."""
        if self.levels is not None:
            return self.levels
        dtype = self.pixels.dtype
        return float(np.iinfo(dtype).max) if dtype in (np.uint8, np.uint16) else float("nan")


_Decoder = Callable[[Path, bytes, Reading], _Stored]


def _decoded(
    path: Path, content: bytes, reading: Reading, tiff: _Decoder, pillow: _Decoder
) -> _Stored:
    """What a file holds, by the decoder of its format."""
    if content.startswith(_NPY):
        return _Stored(_array(path, content, reading))
    return (tiff if content.startswith(_TIFF) else pillow)(path, content, reading)


def _array(path: Path, content: bytes, reading: Reading) -> NDArray[Any]:
    """The array of an ``.npy`` file as (H, W, C)."""
    with _one_line(path):
        pixels = np.load(io.BytesIO(content), allow_pickle=False)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif pixels.ndim == 3:
        pixels = np.moveaxis(pixels, _channel_axis(path, pixels.shape), -1)
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise UserError(
            f"{path}: holds an array of shape {pixels.shape}; save one picture, (height, width) or "
            "(height, width, channels)"
        )
    height, width, _ = pixels.shape
    _check_pixels(path, height, width, reading.max_megapixels)
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def _channel_axis(path: Path, shape: tuple[int, ...]) -> int:
    """The first or the last axis of three: the one that is no side of a picture."""
    first, last = shape[0], shape[2]
    if (first < MIN_SIDE) != (last < MIN_SIDE):
        return 0 if first < MIN_SIDE else 2
    if last < MIN_SIDE or 2 * last < min(shape[:2]):
        return 2
    if 2 * first < min(shape[1:]):
        return 0
    raise UserError(
        f"{path}: which axis of its shape {shape} holds the channels? Save it as TIFF, which says"
    )


_WHITE_IS_ZERO = 0
_PLAIN = (_WHITE_IS_ZERO, 1, 2)
"""TIFF's photometric interpretations of grey, white or black being 0, and of RGB."""
_JPEGS = (6, 7)
"""TIFF's compressions by JPEG, the old one and the new one."""
_ALPHAS: dict[int, _Alpha] = {1: "premultiplied", 2: "straight"}
"""Kinds of alpha by TIFF's numbers of extra samples."""


def _tiff(path: Path, content: bytes, reading: Reading) -> _Stored:
    import tifffile  # most datasets hold no TIFF files

    with _one_line(path), tifffile.TiffFile(io.BytesIO(content)) as file:
        index = _tiff_page(path, file, reading)
        page: Any = file.pages[index]
        extra = tuple(int(sample) for sample in page.extrasamples)
        converted = page.photometric not in _PLAIN or page.compression in _JPEGS
        if converted and page.dtype == np.uint8:
            return _pillow(path, content, reading, index)
        if page.photometric not in _PLAIN:
            raise UserError(f"{path}: has colours of type {page.photometric.name}; save it as RGB")
        axes = {"YX": None, "YXS": 2, "SYX": 0}
        if page.axes not in axes:
            raise UserError(f"{path}: has the axes {page.axes}; save one picture a file")
        pixels, channels = _page_pixels(page), axes[page.axes]
        pixels = pixels[..., None] if channels is None else np.moveaxis(pixels, channels, -1)
        levels = None
        if pixels.dtype == np.bool_:
            pixels = pixels * np.uint8(255)
        elif pixels.dtype.kind == "u" and page.bitspersample not in (8, 16):
            levels = float(2**page.bitspersample - 1) if page.bitspersample < 16 else None
        found = _Stored(
            np.array(pixels, order="C"),
            _ALPHAS.get(extra[-1], "none") if extra else "none",
            levels,
            int(page.tags.valueof(ExifTags.Base.Orientation, default=1)),
        )
        if page.photometric == _WHITE_IS_ZERO:
            if not found.top > 0:
                raise UserError(f"{path}: its white is 0, in {pixels.dtype}; save it the other way")
            grey_levels = found.pixels[..., : page.samplesperpixel - len(extra)]
            np.subtract(pixels.dtype.type(found.top), grey_levels, out=grey_levels)
        return found


def _page_pixels(page: Any) -> NDArray[Any]:
    """The pixels of a page.

    Raises:
        ValueError: there are fewer than its header says; tifffile leaves the others undefined.
    """
    if page.planarconfig not in (1, 2):
        raise ValueError(f"its planar configuration is {int(page.planarconfig)}, not 1 or 2")
    segments = len(page.dataoffsets)
    if not segments == len(page.databytecounts) == math.prod(page.chunked):
        raise ValueError(f"it has {segments} of {math.prod(page.chunked)} strips or tiles")
    pixels = np.asarray(page.asarray(maxworkers=1))
    if pixels.shape != page.shape:
        raise ValueError("it has less data than its header says")
    return pixels


def _tiff_page(path: Path, file: tifffile.TiffFile, reading: Reading) -> int:
    """The page to read, of those that are no smaller copy or mask of another one."""
    kinds = [cast(Any, file.pages[i]).subfiletype for i in range(_count_pages(file))]
    pages = [i for i, kind in enumerate(kinds) if not kind & (_REDUCED | _MASK)]
    index = pages[_page_number(path, len(pages), reading)]
    page: Any = file.pages[index]
    _check_pixels(path, page.imagelength, page.imagewidth, reading.max_megapixels)
    slices = max(page.imagedepth, (file.imagej_metadata or {}).get("images", 1) // len(pages))
    if slices > 1:
        raise UserError(f"{path}: has {slices} slices in one page; save one picture a file")
    return index


def _count_pages(file: tifffile.TiffFile) -> int:
    """The number of pages; tifffile itself follows some damaged chains of pages for ever.

    Raises:
        ValueError: the chain of pages is a loop.
    """
    form, handle = file.tiff, file.filehandle
    offsets = [int(cast(Any, file.pages[0]).offset)]
    seen = {*offsets}
    while True:
        handle.seek(offsets[-1])
        (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
        handle.seek(offsets[-1] + form.tagnosize + tags * form.tagsize)
        (offset,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))
        if offset == 0:
            return len(offsets)
        if offset in seen:
            raise ValueError("its pages follow each other in a loop")
        offsets.append(offset)
        seen.add(offset)


def _page_number(path: Path, count: int, reading: Reading) -> int:
    if reading.page is None:
        if count > 1:
            raise UserError(f"{path}: has {count} pages; choose one with data.page=0, say")
        return 0
    if reading.page >= count:
        raise UserError(f"{path}: data.page={reading.page}, but its pages are 0 to {count - 1}")
    return reading.page


def _pillow(path: Path, content: bytes, reading: Reading, page: int | None = None) -> _Stored:
    with opened(path, lambda _: content, reading.max_megapixels) as picture:
        if page is None:
            # The pages behind the first of an MPO are previews.
            pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
            page = _page_number(path, pages, reading)
        if page > 0:
            picture.seek(page)
        orientation = int(picture.getexif().get(ExifTags.Base.Orientation, 1))
        if (deep := _deeper(path, picture, content)) is not None:
            if page > 0:
                raise UserError(f"{path}: more than 8 bits are read of the first page only")
            return replace(deep, orientation=orientation)
        if picture.format == "TIFF":
            _check_orientation(orientation, path, reading)
            orientation = 1  # Pillow turns it
        picture.load()
        if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
            if picture.has_transparency_data:
                raise UserError(f"{path}: has a transparent level of grey; flatten it first")
            pixels = np.asarray(picture).astype(np.uint16)[..., None]
            return _Stored(pixels, "none", 65535.0, orientation)
        if picture.mode == "F":
            return _Stored(np.asarray(picture)[..., None], orientation=orientation)
        if picture.mode == "P" or picture.has_transparency_data:
            transparent = picture.has_transparency_data
            is_grey = picture.mode in ("1", "L", "LA", "La")
            mode = ("LA" if is_grey else "RGBA") if transparent else "RGB"
        elif picture.mode in _MODES:
            mode = _MODES[picture.mode]
        else:
            raise UserError(f"{path}: has the pixel format {picture.mode}; convert it to RGB")
        pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        return _Stored(pixels, "straight" if mode.endswith("A") else "none", None, orientation)


def _deeper(path: Path, picture: Image.Image, content: bytes) -> _Stored | None:
    """What Pillow would reduce to 8 bits; None where it reads everything."""
    kind = str(picture.format)
    if kind == "PPM" and picture.mode == "RGB" and _ppm_levels(content) > 255:
        raise UserError(f"{path}: has more than 8 bits per channel; save it as PNG or TIFF")
    if kind not in _DEEP or (kind == "PNG" and picture.mode.startswith("I")):
        return None
    count_bits, decoder = _DEEP[kind]
    if (bits := count_bits(content)) <= 8:
        return None
    if kind == "PNG" and "transparency" in picture.info:
        raise UserError(f"{path}: has a transparent colour in 16 bits; flatten it first")
    import imagecodecs  # most datasets hold no such files

    pixels: NDArray[Any] = getattr(imagecodecs, decoder)(content)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint16:
        raise UserError(f"{path}: holds {pixels.dtype} values in {kind}; save it as TIFF")
    has_alpha = pixels.shape[2] in (2, 4)
    return _Stored(pixels, "straight" if has_alpha else "none", float(2**bits - 1))


def _ppm_levels(content: bytes, default: int = 255) -> int:
    """The largest level, from the header."""
    found = _PPM_LEVELS.match(content)
    return int(found[1]) if found else default


def _avif_bits(content: bytes) -> int:
    """Bits per channel, from the configuration of the AV1 codec (its second byte and third)."""
    start = content.find(b"av1C")
    flags = content[start + 6] if 0 <= start < len(content) - 6 else 0
    return 12 if flags & 0x20 else 10 if flags & 0x40 else 8


def _jpeg2000_bits(content: bytes) -> int:
    """Bits per channel, from the marker SIZ of the codestream."""
    start = content.find(b"\xff\x4f\xff\x51")
    place = start + 42  # of the first component, behind the sizes and their number
    return (content[place] & 0x7F) + 1 if 0 <= start < len(content) - 42 else 8


_DEEP: dict[str, tuple[Callable[[bytes], int], str]] = {
    "PNG": (lambda content: content[24], "png_decode"),
    "AVIF": (_avif_bits, "avif_decode"),
    "JPEG2000": (_jpeg2000_bits, "jpeg2k_decode"),
}
"""Formats that Pillow reduces to 8 bits: their bits per channel, and imagecodecs' decoder."""


_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p[::-1].swapaxes(0, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p[:, ::-1].swapaxes(0, 1),
}
"""How a picture of each EXIF orientation is turned upright."""


def _upright(found: _Stored, path: Path, reading: Reading) -> NDArray[Any]:
    _check_orientation(found.orientation, path, reading)
    turn = _TURNS.get(found.orientation)
    return found.pixels if turn is None else np.ascontiguousarray(turn(found.pixels))


def _check_orientation(orientation: int, path: Path, reading: Reading) -> None:
    if orientation in _TURNS and reading.exif == "refuse":
        raise UserError(
            f"{path}: is stored rotated (EXIF orientation {orientation}), and code that does not "
            "read it sees another picture; set data.exif=apply to turn it, or save it upright"
        )


def _without_alpha(found: _Stored, path: Path, reading: Reading) -> NDArray[Any]:
    setting, key = reading.alpha, f"{reading.section}.alpha"
    if found.alpha == "none" or setting == KEEP:
        return found.pixels
    colours, alpha = found.pixels[..., :-1], found.pixels[..., -1:]
    if setting == REFUSE:
        if alpha.dtype.kind != "u":
            raise UserError(
                f"{path}: its last channel is alpha, its header says; set {key}=keep to use it "
                "like the others"
            )
        if (alpha == found.top).all():
            return np.ascontiguousarray(colours)
        raise UserError(
            f"{path}: has transparent pixels; set {key} to the colour behind them, such as white, "
            "or to keep, for alpha as a channel"
        )
    if alpha.dtype.kind != "u":
        raise UserError(f"{path}: alpha of {alpha.dtype} cannot be laid over a colour; flatten it")
    behind = np.array(_colour(reading), np.float64) / 255 * found.top
    if colours.shape[2] == 1:
        behind = grey(behind[None, None])[0, 0]
    share = alpha / found.top
    weight = 1.0 if found.alpha == "premultiplied" else share
    flat = np.minimum(np.rint(colours * weight + behind * (1 - share)), found.top)
    return flat.astype(colours.dtype)


def _colour(reading: Reading) -> Sequence[int]:
    try:
        return ImageColor.getrgb(reading.alpha)[:3]
    except ValueError:
        raise UserError(
            f"{reading.section}.alpha={reading.alpha}: must be refuse, keep, or a colour, such as "
            "white or '#808080'"
        ) from None


def decode_ids(
    path: Path, read: Reader = Path.read_bytes, reading: Reading = EXACT
) -> NDArray[np.int32]:
    """Decode a map of ids, one channel of whole numbers, as int32 (H, W).

    Args:
        path, read: as of :func:`decode`.
        reading: page, EXIF and largest map; the rest does not apply to ids.

    Raises:
        UserError: the file cannot be decoded, is not one channel of whole numbers, is a JPEG, or
            has ids that 32 bits do not hold.
    """
    found = _decoded(path, read(path), reading, _tiff_ids, _pillow_ids)
    ids = _upright(found, path, reading)
    if ids.shape[2] != 1 or ids.dtype.kind not in "ui":
        raise UserError(
            f"{path}: holds {ids.dtype} values in {ids.shape[2]} channels, but a map of ids has "
            "one channel of whole numbers; for label colours set data.layout=two_folders"
        )
    if int(ids.max()) > np.iinfo(np.int32).max or int(ids.min()) < np.iinfo(np.int32).min:
        raise UserError(f"{path}: has ids up to {ids.max()}, more than 32 bits hold; number them")
    return ids[..., 0].astype(np.int32)


def _tiff_ids(path: Path, content: bytes, reading: Reading) -> _Stored:
    import tifffile

    with _one_line(path), tifffile.TiffFile(io.BytesIO(content)) as file:
        page: Any = file.pages[_tiff_page(path, file, reading)]
        if page.axes != "YX":
            raise UserError(f"{path}: has the axes {page.axes}, but a map of ids has one channel")
        if page.compression in _JPEGS:
            raise UserError(f"{path}: JPEG compression changes ids; store them as PNG")
        pixels = _page_pixels(page)
        orientation = int(page.tags.valueof(ExifTags.Base.Orientation, default=1))
        pixels = pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels
        return _Stored(pixels[..., None], orientation=orientation)


def _pillow_ids(path: Path, content: bytes, reading: Reading) -> _Stored:
    with opened(path, lambda _: content, reading.max_megapixels) as picture:
        picture.seek(_page_number(path, getattr(picture, "n_frames", 1), reading))
        orientation = int(picture.getexif().get(ExifTags.Base.Orientation, 1))
        picture.load()
        if picture.format == "JPEG":
            raise UserError(f"{path}: JPEG compression changes ids; store them as PNG")
        if picture.mode not in ("1", "L", "P") and not picture.mode.startswith("I"):
            raise UserError(
                f"{path}: has pixel format {picture.mode}, but a map of ids has one channel of "
                "whole numbers; for label colours set data.layout=two_folders"
            )
        pixels = np.asarray(picture).astype(np.int64)
        # Pillow spreads fewer bits over all levels, and the levels of a PGM.
        if picture.format == "PNG" and picture.mode == "L" and content[24] in (2, 4):
            pixels //= 255 // (2 ** content[24] - 1)
        elif picture.format == "PPM":
            whole = 65535 if picture.mode.startswith("I") else 255
            pixels = np.rint(pixels * _ppm_levels(content, whole) / whole).astype(np.int64)
        return _Stored(pixels[..., None], orientation=orientation)


@contextmanager
def opened(
    path: Path, read: Reader = Path.read_bytes, max_megapixels: float | None = MAX_MEGAPIXELS
) -> Iterator[Image.Image]:
    """Open a picture; its pixels are decoded when they are needed.

    Raises:
        UserError: the file cannot be read or decoded, is of another format than `FORMATS`, or is
            too large. Whatever a decoder raises within the context becomes one.
    """
    with (
        _one_line(path),
        _own_limit,
        Image.open(io.BytesIO(read(path)), formats=FORMATS) as picture,
    ):
        if max_megapixels is not None:
            _check_pixels(path, picture.height, picture.width, max_megapixels)
        yield picture


class _OwnLimit:
    """While any thread is within, Pillow's limit of pixels is off: we have our own.

    It is a setting of the process: the first thread changes it, and the last restores it.
    """

    def __init__(self) -> None:
        self._lock, self._within = Lock(), 0
        self._limit: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                Image.MAX_IMAGE_PIXELS = self._limit


_own_limit = _OwnLimit()


def _check_pixels(path: Path, height: int, width: int, most: float) -> None:
    if height * width > most * 1e6:
        raise UserError(
            f"{path}: has {width} x {height} pixels, more than data.max_megapixels={most:g} "
            "million; make it smaller, or raise the limit"
        )


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Whatever a decoder raises, as one line that names the file."""
    try:
        yield
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(
            f"{path}: is no picture of the formats {', '.join(FORMATS)}, npy; convert or remove it"
        ) from error
    except Exception as error:  # decoders raise what they like
        if isinstance(error, OSError) and error.filename:  # of the system
            raise unreadable(path, error) from error
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(f"{path}: cannot be decoded ({reason}); replace or remove it") from error
