"""Traces of files and pixels against direct computations."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.filters import laplace

from mia_lab.data.picture import Picture
from mia_lab.data.source import Pair
from mia_lab.data.traces import grid_energy, metadata, quantisation, statistics, table, traces


def picture(seed: int = 0, size: int = 64) -> Image.Image:
    """Smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(float)
    return Image.fromarray((smooth + rng.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8))


def planes_of(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    planes = np.asarray(image).transpose(2, 0, 1).astype(np.float32)
    return planes, planes.sum(axis=0) / 3


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def test_statistics_are_the_pixels() -> None:
    image = picture()
    pixels = np.asarray(image).astype(float)
    found = statistics(*planes_of(image))
    for i, name in enumerate(("red", "green", "blue")):
        assert found[f"{name} mean"] == pytest.approx(pixels[..., i].mean(), rel=1e-5)
        assert found[f"{name} deviation"] == pytest.approx(pixels[..., i].std(), rel=1e-4)
    grey = pixels.mean(axis=2)
    for q in (0.05, 0.5, 0.95):
        assert found[f"brightness {q:g}"] == pytest.approx(np.quantile(grey, q), abs=1.5)
    assert found["saturation"] == pytest.approx(np.ptp(pixels, axis=2).mean(), rel=1e-5)
    inner = laplace(grey)[1:-1, 1:-1]
    assert found["log laplacian variance"] == pytest.approx(np.log(inner.var()), abs=1e-3)


def test_blur_lowers_sharpness() -> None:
    image = picture()
    blurred = image.resize((32, 32)).resize((64, 64))
    sharp, soft = (statistics(*planes_of(i)) for i in (image, blurred))
    assert soft["log laplacian variance"] < sharp["log laplacian variance"] - 0.5
    assert soft["gradient"] < sharp["gradient"]


@pytest.mark.parametrize("shift", [0, 3])
def test_the_grid_of_jpeg_is_found_at_its_phase(shift: int) -> None:
    """Blocks begin at multiples of 8, less what was cut off."""
    coded = as_jpeg(picture(size=128), 20).convert("RGB").crop((shift, 0, 128, 128))
    found = grid_energy(planes_of(coded)[1])
    across = [found[f"grid across {phase}"] for phase in range(8)]
    # A third difference d[i] spans pixels i to i + 3; its middle is the step from i + 1 to i + 2.
    assert int(np.argmax(across)) == (8 - 2 - shift) % 8
    assert max(across) > 0.3
    plain = grid_energy(planes_of(picture(size=128))[1])
    assert max(abs(v) for v in plain.values()) < 0.25


def test_a_flat_picture_has_no_grid() -> None:
    found = grid_energy(np.full((32, 32), 80, np.float32))
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize("quality", [75, 95])
def test_tables_are_pillows(quality: int) -> None:
    coded = as_jpeg(picture(), quality)
    found = quantisation(coded)
    assert found["table 0 mean"] == pytest.approx(np.mean(coded.quantization[0]))
    assert found["table 1 entry 63"] == coded.quantization[1][63]
    assert found["subsampling"] == 2
    assert quantisation(picture())["table 0 mean"] == 0


def test_metadata_of_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0110] = "camera"
    picture().save(path, progressive=True, exif=exif, dpi=(72, 72), comment=b"hello")
    with Image.open(path) as image:
        found = metadata(image, path.stat().st_size)
    assert found["log bytes"] == pytest.approx(np.log(path.stat().st_size))
    assert found["bytes per pixel"] == path.stat().st_size / 64**2
    for flag in ("is JPEG", "progressive", "has EXIF", "has comment"):
        assert found[flag] == 1
    for flag in ("is PNG", "is grey", "has profile"):
        assert found[flag] == 0
    assert found["density"] == 72


def test_a_table_joins_what_different_files_have(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    pair = Pair(Picture.of(picture()), Picture.of(picture(1)))
    rows = {"one": traces(pair, ()), "two": traces(pair, [tmp_path / "a.png"])}
    found = table(rows)
    assert found.value.shape == (2, len(found.name))
    assert np.isfinite(found.value).all()
    sets = found.sets(["two"])
    assert set(sets) == {"statistics", "jpeg", "file"}
    assert found.sets(["one"])["file"].tolist() == [[0.0] * sets["file"].shape[1]]
    assert sets["file"][0, found.name[found.baseline == "file"] == "file 0 is PNG"] == 1
    with pytest.raises(KeyError):
        found.sets(["three"])


def test_numbers_that_are_none_are_zero() -> None:
    """A TIFF may state a resolution of 0/0."""
    rows = {"one": {("file", "density"): float("nan"), ("file", "aspect"): float("inf")}}
    assert table(rows).value.tolist() == [[0.0, 0.0]]
