"""Files that are damaged, hostile or huge give one line with the file's name, or a picture."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from fuzzing import fuzz
from mia_lab.data import reading
from mia_lab.data.pairs import FolderPairs
from mia_lab.data.picture import Picture
from mia_lab.data.reading import FORMATS, decode, decode_ids, stored
from mia_lab.errors import UserError

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def encoded(kind: str, size: int = 48) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    smooth = Image.fromarray(noise).resize((8, 8)).resize((size, size))
    file = io.BytesIO()
    smooth.save(file, kind)
    return file.getvalue()


def deep() -> dict[str, bytes]:
    """Files of more than 8 bits or of other types."""
    pixels = np.random.default_rng(0).integers(0, 4096, (48, 40, 4), dtype=np.uint16)
    array, ct, bands = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(array, pixels)
    tifffile.imwrite(ct, pixels[..., 0].astype(np.int16) - 1024, compression="lzw")
    tifffile.imwrite(bands, pixels / np.float32(4095), photometric="minisblack", compression="zlib")
    grey = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(grey, "PNG")
    return {
        "deep.npy": array.getvalue(),
        "ct.tif": ct.getvalue(),
        "bands.tif": bands.getvalue(),
        "deep.png": imagecodecs.png_encode(np.ascontiguousarray(pixels[..., :3])),
        "grey.png": grey.getvalue(),
    }


def check(path: Path, content: bytes) -> None:
    """A damaged file gives what the reference reader of its format gives, or a clear line."""
    path.write_bytes(content)
    for read, reference in ((stored, reference_picture), (decode_ids, reference_ids)):
        told = ""
        try:
            found = read(path)  # type: ignore[operator]
        except UserError as error:
            told = str(error)
        if told:
            assert told.startswith(f"{path}: ")
            assert "\n" not in told
            continue
        found = found.pixels if isinstance(found, Picture) else found
        np.testing.assert_array_equal(found, reference(path, found))


def reference_picture(path: Path, found: NDArray[Any]) -> NDArray[Any]:
    content = path.read_bytes()
    channels = found.shape[2]
    if content.startswith(b"\x93NUMPY"):
        array = np.load(path, allow_pickle=False)
        if array.ndim == 3 and array.shape != found.shape:
            array = array.transpose(1, 2, 0)
        return array.reshape(found.shape)
    if content[:4] in TIFF:
        array = reference_tiff(path)
        # libtiff, which converts other colours, leaves memory as it was where data are missing.
        return found if array is None else array.reshape((*found.shape[:2], -1))[..., :channels]
    if found.dtype == np.uint16 and channels > 1:
        return np.asarray(imagecodecs.png_decode(content))[..., :channels]
    with Image.open(path, formats=FORMATS) as picture:
        shown = picture if found.dtype != np.uint8 else picture.convert(["L", "RGB"][channels > 2])
        return np.asarray(shown).reshape(found.shape)


def reference_tiff(path: Path, colours: bool = True) -> NDArray[Any] | None:
    """What tifffile reads; None where it is no TIFF, or one whose colours are converted."""
    if path.read_bytes()[:4] not in TIFF:
        return None
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        is_white = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        plain = is_white or page.photometric in (1, 2)
        if colours and (not plain or page.compression in (6, 7)):
            return None
        array = page.asarray()
        array = np.moveaxis(array, 0, -1) if page.axes == "SYX" else array
        if array.dtype == bool:
            array = array * np.uint8(255 if colours else 1)
        if colours and is_white:
            bits = 8 if page.bitspersample == 1 else min(page.bitspersample, 16)
            array = 2**bits - 1 - array
    return np.asarray(array)


def reference_ids(path: Path, found: NDArray[Any]) -> NDArray[Any]:
    if path.read_bytes().startswith(b"\x93NUMPY"):
        return np.asarray(np.load(path, allow_pickle=False)).reshape(found.shape)
    if (array := reference_tiff(path, colours=False)) is not None:
        return array.reshape(found.shape)
    with Image.open(path, formats=FORMATS) as picture:
        ids = np.asarray(picture)
        bits = path.read_bytes()[24] if picture.format == "PNG" and picture.mode == "L" else 8
        return ids // (255 // (2**bits - 1)) if bits in (2, 4) else ids


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    endings = {"JPEG": "jpg", "JPEG2000": "jp2"}
    kinds = [kind for kind in FORMATS if kind != "PPM"]
    return {f"1.{endings.get(kind, kind.lower())}": encoded(kind) for kind in kinds} | deep()


@pytest.mark.filterwarnings("ignore")  # of the reference readers
def test_damaged_files(tmp_path: Path, whole: dict[str, bytes]) -> None:
    fuzz(whole, 300, lambda name, content: check(tmp_path / name, content))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_damaged_files(tmp_path: Path, whole: dict[str, bytes]) -> None:
    fuzz(whole, 5000, lambda name, content: check(tmp_path / name, content))


def png(width: int, height: int) -> bytes:
    """A few kilobytes that unpack to as many pixels as the header says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    rows = zlib.compress(b"\0" * (width + 1) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [11_000, 20_000])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png(side, side))
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from mia_lab.data.reading import decode\n"
        "from mia_lab.errors import UserError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: decode(Path(sys.argv[1]))\n"
        "except UserError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    told, kilobytes = ran.stdout.splitlines()
    assert told.startswith(f"{path}: ")
    assert "more than data.max_megapixels=100 million" in told
    assert int(kilobytes) < 50_000


def test_formats_that_run_programs_are_no_pictures(tmp_path: Path) -> None:
    """Pillow decodes PostScript by Ghostscript."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 32\n%%EndComments\nshowpage\n"
    (tmp_path / "train").mkdir()
    (tmp_path / "train/1.eps").write_bytes(script)
    (tmp_path / "train/2.png").write_bytes(script)
    Image.new("RGB", (64, 32)).save(tmp_path / "train/3.png")
    pairs = FolderPairs(tmp_path, "side_by_side", "AtoB")
    assert pairs.ids("train") == ("train/2", "train/3")
    with pytest.raises(UserError, match=r"2\.png: is no picture of the formats PNG, JPEG, "):
        pairs.load("train/2")


@pytest.mark.parametrize(
    "error", [RuntimeError, NotImplementedError, MemoryError, ZeroDivisionError]
)
def test_whatever_a_decoder_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(encoded("PNG"))

    def fail(*_: object) -> None:
        raise error("of the\ndecoder")

    monkeypatch.setattr(reading.Image.Image, "load", fail)
    with pytest.raises(UserError, match=r"1\.png: cannot be decoded \(of the decoder\)"):
        decode(path)
