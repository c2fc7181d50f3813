"""Pictures of any type are read exactly, or refused in one line that names the remedy."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mia_lab.data.picture import Picture, visible
from mia_lab.data.reading import Reading, decode, decode_ids
from mia_lab.errors import UserError

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 4096, (24, 32, 4), dtype=np.uint16)
SIGNED = RNG.integers(-1024, 3072, (24, 32), dtype=np.int16)
FLOATS = RNG.random((24, 32, 4), dtype=np.float32)


def png(path: Path, pixels: NDArray[Any]) -> None:
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))


def tiff(path: Path, pixels: NDArray[Any], **more: Any) -> None:
    tifffile.imwrite(path, pixels, photometric=more.pop("photometric", "minisblack"), **more)


Write = Callable[[Path], None]

EXACT: dict[str, tuple[Write, NDArray[Any], Reading]] = {
    "grey16.png": (lambda p: png(p, DEEP[..., 0]), DEEP[..., :1], Reading()),
    "rgb16.png": (lambda p: png(p, DEEP[..., :3]), DEEP[..., :3], Reading()),
    "rgba16.png": (lambda p: png(p, DEEP), DEEP, Reading(alpha="keep")),
    "rgb16.tif": (
        lambda p: tiff(p, DEEP[..., :3], photometric="rgb", compression="lzw"),
        DEEP[..., :3],
        Reading(),
    ),
    "signed.tif": (lambda p: tiff(p, SIGNED), SIGNED[..., None], Reading((-1024, 3071))),
    "bands.tif": (lambda p: tiff(p, FLOATS, planarconfig="contig"), FLOATS, Reading((0, 1))),
    "planar.tif": (
        lambda p: tiff(p, FLOATS.transpose(2, 0, 1), planarconfig="separate"),
        FLOATS,
        Reading((0, 1)),
    ),
    "alpha.tif": (
        lambda p: tiff(p, FLOATS, photometric="rgb"),
        FLOATS,
        Reading((0, 1), alpha="keep"),
    ),
    "array.npy": (lambda p: np.save(p, DEEP), DEEP, Reading()),
    "channels_first.npy": (
        lambda p: np.save(p, FLOATS.transpose(2, 0, 1)),
        FLOATS,
        Reading((0, 1)),
    ),
    "big_endian.npy": (
        lambda p: np.save(p, SIGNED.astype(">i2")),
        SIGNED[..., None],
        Reading((-1024, 3071)),
    ),
    "lossless.jp2": (
        lambda p: (
            p.write_bytes(
                imagecodecs.jpeg2k_encode(
                    np.ascontiguousarray(DEEP[..., :3]), level=0, bitspersample=12, reversible=True
                )
            )
            and None
        ),
        DEEP[..., :3],
        Reading(),
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_pixels_are_those_of_the_file(tmp_path: Path, name: str) -> None:
    write, expected, reading = EXACT[name]
    write(tmp_path / name)
    found = decode(tmp_path / name, reading=reading)
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.pixels.dtype == expected.dtype.newbyteorder("=")
    low, high = reading.value_range or (0, 4095 if name.endswith("jp2") else 65535)
    assert (found.low, found.high) == (low, high)
    exact = (expected.astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(found.unit(), exact.transpose(2, 0, 1), rtol=1e-7, atol=1e-7)


def test_the_range_follows_from_the_type_alone(tmp_path: Path) -> None:
    """Two files with other values, as of other candidates, mean the same by the same number."""
    for name, most in (("dark", 10), ("bright", 4000)):
        png(tmp_path / f"{name}.png", DEEP[..., :3] % most)
        assert decode(tmp_path / f"{name}.png").high == 65535
        declared = decode(tmp_path / f"{name}.png", reading=Reading((0, 4095)))
        assert (declared.low, declared.high) == (0, 4095)
    Image.new("1", (32, 32), 1).save(tmp_path / "bits.png")
    assert decode(tmp_path / "bits.png").unit().max() == 1


def test_channels_of_eight_bits(tmp_path: Path) -> None:
    rgb = Image.fromarray((DEEP[..., :3] // 16).astype(np.uint8))
    wanted = {"L": 1, "RGB": 3, "P": 3, "CMYK": 3, "1": 1}
    for mode, channels in wanted.items():
        path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
        rgb.convert(mode).save(path)
        assert decode(path).channels == channels
    rgb.save(tmp_path / "rgb.png")
    grey = decode(tmp_path / "rgb.png", reading=Reading(channels=1))
    np.testing.assert_array_equal(grey.pixels[..., 0], np.asarray(rgb.convert("L")))
    rgb.convert("L").save(tmp_path / "grey.png")
    colour = decode(tmp_path / "grey.png", reading=Reading(channels=3))
    np.testing.assert_array_equal(colour.pixels, np.asarray(rgb.convert("L").convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_pictures_are_turned(tmp_path: Path, orientation: int) -> None:
    picture, exif = Image.fromarray((DEEP[..., :3] // 16).astype(np.uint8)), Image.Exif()
    exif[274] = orientation
    picture.save(tmp_path / "1.png", exif=exif)
    with Image.open(tmp_path / "1.png") as file:
        expected = np.asarray(ImageOps.exif_transpose(file))
    found = decode(tmp_path / "1.png", reading=Reading(exif="apply"))
    np.testing.assert_array_equal(found.pixels, expected)
    if orientation > 1:
        with pytest.raises(UserError, match=r"set data\.exif=apply"):
            decode(tmp_path / "1.png")


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_pixels(tmp_path: Path, depth: int) -> None:
    top = 2**depth - 1
    pixels = (DEEP.astype(np.int64) * top // 4095).astype(f"u{depth // 8}")
    png(tmp_path / "1.png", pixels)
    with pytest.raises(UserError, match=r"1\.png: has transparent pixels; set data\.alpha"):
        decode(tmp_path / "1.png")
    over = decode(tmp_path / "1.png", reading=Reading(alpha="#ff8000"))
    share = pixels[..., 3:] / top
    expected = pixels[..., :3] * share + np.array([255, 128, 0]) / 255 * top * (1 - share)
    np.testing.assert_allclose(over.pixels, expected, atol=0.51)
    pixels[..., 3] = top
    png(tmp_path / "1.png", pixels)
    np.testing.assert_array_equal(decode(tmp_path / "1.png").pixels, pixels[..., :3])


REFUSED: dict[str, tuple[Write, Reading, str]] = {
    "stack.tif": (
        lambda p: tifffile.imwrite(p, np.zeros((5, 24, 32), np.uint16)),
        Reading(),
        r"has 5 pages; choose one with data\.page=0",
    ),
    "short.tif": (
        lambda p: tifffile.imwrite(p, np.zeros((5, 24, 32), np.uint8)),
        Reading(page=5),
        r"data\.page=5, but its pages are 0 to 4",
    ),
    "moving.gif": (
        lambda p: Image.new("L", (32, 32)).save(
            p, save_all=True, append_images=[Image.new("L", (32, 32), 9)]
        ),
        Reading(),
        "has 2 pages",
    ),
    "float.npy": (
        lambda p: np.save(p, FLOATS),
        Reading(),
        r"holds float32 values, whose range the file does not say; set data\.value_range=",
    ),
    "signed.tif": (
        lambda p: tiff(p, SIGNED),
        Reading(),
        r"holds int16 values, .* data\.value_range",
    ),
    "wide.tif": (
        lambda p: tiff(p, SIGNED),
        Reading((0, 255)),
        r"has values from -\d+ to \d+, outside of data\.value_range=\[0,255\]; widen it",
    ),
    "nan.npy": (
        lambda p: np.save(p, np.full((24, 32), np.nan)),
        Reading((0, 1)),
        "768 of its values are NaN or infinite",
    ),
    "complex.npy": (lambda p: np.save(p, FLOATS.astype(complex)), Reading(), "holds complex128"),
    "objects.npy": (
        lambda p: np.save(p, np.array([[{}]]), allow_pickle=True),
        Reading(),
        "cannot be decoded",
    ),
    "one.npy": (lambda p: np.save(p, np.zeros(9)), Reading(), r"holds an array of shape \(9,\)"),
    "bands.npy": (
        lambda p: np.save(p, DEEP),
        Reading(channels=3),
        r"has 4 channels, not 3 \(data\.input_channels, data\.target_channels\)",
    ),
    "deep.ppm": (
        lambda p: p.write_bytes(b"P6 32 24 65535\n" + bytes(24 * 32 * 6)) and None,
        Reading(),
        "has more than 8 bits per channel; save it as PNG or TIFF",
    ),
    "volume.tif": (
        lambda p: tiff(p, np.zeros((4, 32, 32), np.uint16), volumetric=True, tile=(4, 16, 16)),
        Reading(),
        "has 4 slices in one page",
    ),
    "alpha.tif": (
        lambda p: tiff(p, FLOATS, photometric="rgb"),
        Reading((0, 1)),
        r"its last channel is alpha, its header says; set data\.alpha=keep",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_names_the_remedy(tmp_path: Path, name: str) -> None:
    write, reading, message = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(UserError, match=f"^{tmp_path / name}: {message}") as refused:
        decode(tmp_path / name, reading=reading)
    assert "\n" not in str(refused.value)


def test_a_page_is_chosen(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        pages = np.arange(5 * 24 * 32).reshape(5, 24, 32).astype(dtype)
        tifffile.imwrite(tmp_path / "1.tif", pages)
        found = decode(tmp_path / "1.tif", reading=Reading(page=3))
        np.testing.assert_array_equal(found.pixels[..., 0], pages[3])


def test_smaller_copies_are_no_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "1.tif") as file:
        file.write(DEEP[..., 0])
        file.write(DEEP[::2, ::2, 0], subfiletype=1)
    np.testing.assert_array_equal(decode(tmp_path / "1.tif").pixels, DEEP[..., :1])


def test_a_large_picture_names_the_key(tmp_path: Path) -> None:
    Image.new("L", (300, 200)).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"has 300 x 200 pixels, .* data\.max_megapixels=0.05"):
        decode(tmp_path / "1.png", reading=Reading(max_megapixels=0.05))


def test_a_colour_that_is_none() -> None:
    with pytest.raises(UserError, match=r"data\.alpha=whitish: must be refuse, keep, or a colour"):
        Reading(alpha="whitish")


def test_what_people_see_of_channels() -> None:
    planes = RNG.random((2, 5, 8, 8), dtype=np.float32)
    np.testing.assert_array_equal(visible(planes), planes[:, :3])
    np.testing.assert_array_equal(visible(planes[:, :1])[:, 2], planes[:, 0])
    np.testing.assert_allclose(visible(planes[:, :2])[:, 0], planes[:, :2].mean(1), rtol=1e-6)
    assert Picture(FLOATS, 0, 1).image().mode == "RGB"


def test_pages_in_a_loop_end(tmp_path: Path) -> None:
    """The next page of the last page is the first."""
    tifffile.imwrite(tmp_path / "1.tif", np.zeros((3, 24, 32), np.uint16), photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "1.tif") as file:
        last = file.pages[2]
        place = last.offset + 2 + 12 * len(last.tags)  # type: ignore[union-attr]
        first = file.pages[0].offset
    content = bytearray((tmp_path / "1.tif").read_bytes())
    content[place : place + 4] = int(first).to_bytes(4, "little")
    (tmp_path / "1.tif").write_bytes(content)
    with pytest.raises(UserError, match=r"1\.tif: cannot be decoded \(its pages follow each other"):
        decode(tmp_path / "1.tif")


def write_turned(path: Path, pixels: NDArray[Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    if path.suffix == ".tif":
        photometric = "rgb" if pixels.shape[-1] == 3 else "minisblack"
        more: dict[str, Any] = {"extratags": [(274, "H", 1, orientation, True)]}
        tifffile.imwrite(path, pixels.squeeze(), photometric=photometric, **more)
    elif path.suffix == ".png" and pixels.dtype == np.uint16:
        Image.fromarray(pixels[..., 0]).save(path, exif=exif)
    else:
        Image.fromarray(pixels).save(path, exif=exif, lossless=True)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("8.tif", (DEEP[..., :3] // 16).astype(np.uint8)),
        ("16.tif", DEEP[..., :3]),
        ("16.png", DEEP[..., :1]),
        ("8.webp", (DEEP[..., :3] // 16).astype(np.uint8)),
    ],
)
def test_every_format_is_turned_once(
    tmp_path: Path, name: str, pixels: NDArray[Any], orientation: int
) -> None:
    write_turned(tmp_path / name, pixels, orientation)
    marks = np.arange(24 * 32, dtype=np.int32).reshape(24, 32)
    carrier, exif = Image.fromarray(marks), Image.Exif()
    exif[274] = orientation
    carrier.info["exif"] = exif.tobytes()
    places = np.asarray(ImageOps.exif_transpose(carrier))
    expected = pixels.reshape(-1, pixels.shape[2])[places]
    found = decode(tmp_path / name, reading=Reading(exif="apply"))
    np.testing.assert_array_equal(found.pixels, expected)
    with pytest.raises(UserError, match=r"set data\.exif=apply"):
        decode(tmp_path / name)


def test_tiff_of_8_bits_is_read_as_it_is_stored(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (24, 32, 4), dtype=np.uint8)
    path = tmp_path / "1.tif"
    for kind in ("assocalpha", "unassalpha", "unspecified"):
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=[kind])
        np.testing.assert_array_equal(decode(path, reading=Reading(alpha="keep")).pixels, pixels)
    two = pixels[..., :2]
    tifffile.imwrite(
        path, two, photometric="miniswhite", planarconfig="contig", extrasamples=["unassalpha"]
    )
    white = decode(path, reading=Reading(alpha="keep")).pixels
    np.testing.assert_array_equal(white[..., 0], 255 - two[..., 0])
    np.testing.assert_array_equal(white[..., 1], two[..., 1])
    tifffile.imwrite(
        path,
        pixels[..., :3],
        photometric="rgb",
        compression="webp",
        compressionargs={"lossless": True},
    )
    np.testing.assert_array_equal(decode(path).pixels, pixels[..., :3])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 24, 32), (24, 32, 4)),
        ((24, 32, 4), (24, 32, 4)),
        ((31, 64, 64), (64, 64, 31)),
        ((64, 64, 31), (64, 64, 31)),
        ((20, 64, 31), None),
        ((64, 64, 64), None),
    ],
)
def test_which_axis_of_an_array_holds_the_channels(
    tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "1.npy", array)
    if expected is None:
        with pytest.raises(UserError, match="which axis of its shape"):
            decode(tmp_path / "1.npy")
        return
    found = decode(tmp_path / "1.npy").pixels
    assert found.shape == expected
    moved = array if shape == expected else np.moveaxis(array, 0, -1)
    np.testing.assert_array_equal(found, moved)


def test_a_page_of_a_deep_animation_is_refused(tmp_path: Path) -> None:
    frames = [np.ascontiguousarray(DEEP[..., :3]), np.ascontiguousarray(DEEP[::-1, :, :3])]
    (tmp_path / "1.png").write_bytes(imagecodecs.apng_encode(np.stack(frames)))
    with pytest.raises(UserError, match="are read of the first page only"):
        decode(tmp_path / "1.png", reading=Reading(page=1))


IDS = RNG.integers(0, 4, (24, 32), dtype=np.uint8)


def grey_png(path: Path, ids: NDArray[np.uint8], bits: int) -> None:
    """A grey PNG of fewer than 8 bits a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    flags = (ids[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8)) & 1
    rows = np.packbits(flags.reshape(len(ids), -1), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n"
    path.write_bytes(start + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


BIG = (IDS * np.uint16(1300)).astype(">u2")
MAPS: dict[str, tuple[Callable[[Path], object], NDArray[Any]]] = {
    "1.png": (lambda p: grey_png(p, IDS % 2, 1), IDS % 2),
    "2.png": (lambda p: grey_png(p, IDS, 2), IDS),
    "4.png": (lambda p: grey_png(p, IDS * 5, 4), IDS * 5),
    "8.png": (lambda p: Image.fromarray(IDS).save(p), IDS),
    "16.png": (lambda p: Image.fromarray(IDS.astype(np.uint16) * 300).save(p), IDS * np.int32(300)),
    "palette.png": (lambda p: _paletted(IDS).save(p), IDS),
    "3.pgm": (lambda p: p.write_bytes(b"P5 32 24 3\n" + IDS.tobytes()), IDS),
    "4095.pgm": (
        lambda p: p.write_bytes(
            b"P5 32 24 4095\n" + (IDS * np.uint16(1300)).astype(">u2").tobytes()
        ),
        IDS * np.int32(1300),
    ),
    "white.tif": (lambda p: tiff(p, IDS, photometric="miniswhite"), IDS),
    "signed.tif": (lambda p: tiff(p, IDS.astype(np.int8) - 1), IDS.astype(np.int32) - 1),
    "32.tif": (lambda p: tiff(p, IDS.astype(np.int32) * 26001), IDS * np.int32(26001)),
    "ids.npy": (lambda p: np.save(p, IDS.astype(np.int16) - 1), IDS.astype(np.int32) - 1),
}


def _paletted(ids: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(ids, "L").convert("P")
    picture.putdata(ids.ravel().tolist())
    return picture


@pytest.mark.parametrize("name", MAPS)
def test_ids_are_those_of_the_file(tmp_path: Path, name: str) -> None:
    write, expected = MAPS[name]
    write(tmp_path / name)
    np.testing.assert_array_equal(decode_ids(tmp_path / name), expected)


def test_a_stack_of_ids_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "1.tif", np.zeros((4, 24, 32), np.uint8), photometric="minisblack")
    with pytest.raises(UserError, match="has 4 pages"):
        decode_ids(tmp_path / "1.tif")
    assert decode_ids(tmp_path / "1.tif", reading=Reading(page=2)).shape == (24, 32)


@pytest.mark.parametrize("array", [np.zeros((24, 32, 3), np.uint8), np.zeros((24, 32))])
def test_what_is_no_map_of_ids(tmp_path: Path, array: NDArray[Any]) -> None:
    np.save(tmp_path / "1.npy", array)
    with pytest.raises(UserError, match="but a map of ids has one channel of whole numbers"):
        decode_ids(tmp_path / "1.npy")


def test_channels_of_no_known_arrangement_are_refused(tmp_path: Path) -> None:
    """tifffile takes them for planes, and leaves planes that are missing undefined."""
    path = tmp_path / "1.tif"
    tifffile.imwrite(path, DEEP[..., :3], photometric="rgb")
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags["PlanarConfiguration"].valueoffset  # type: ignore[union-attr]
    content = bytearray(path.read_bytes())
    content[place] = 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"its planar configuration is 255, not 1 or 2"):
        decode(path)
