"""Resizing against Pillow, for pictures of any type and any aspect ratio; jitter of rectangles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from mia_lab.data.picture import Picture
from mia_lab.data.transforms import Resizing, altered, jitter
from mia_lab.types import PairBatch

sides = st.integers(16, 90)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=50, deadline=None)


def levels(seed: int, width: int, height: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pillow's bicubic, channel by channel: (C, H, W)."""
    planes = [Image.fromarray(np.ascontiguousarray(p)) for p in pixels.transpose(2, 0, 1)]
    return np.stack([np.asarray(p.resize(size, Image.Resampling.BICUBIC)) for p in planes])


@few
@given(seeds, sides, sides, sides, sides)
def test_squashed_rgb_is_pillows_byte_for_byte(
    seed: int, width: int, height: int, to_width: int, to_height: int
) -> None:
    pixels = levels(seed, width, height)
    found = Resizing(to_width, to_height)(Picture.of(pixels))
    wanted = Image.fromarray(pixels).resize((to_width, to_height), Image.Resampling.BICUBIC)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.asarray(wanted).transpose(2, 0, 1))


@few
@given(seeds, sides, sides, sides, sides, st.sampled_from([1, 2, 4, 5]))
def test_levels_of_any_channels_are_resized_one_by_one(
    seed: int, width: int, height: int, to_width: int, to_height: int, channels: int
) -> None:
    pixels = levels(seed, width, height, channels)
    found = Resizing(to_width, to_height)(Picture(pixels))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, resized(pixels, (to_width, to_height)))


@few
@given(seeds, sides, sides, sides, sides, st.sampled_from(["uint16", "int16", "float32", "int64"]))
def test_other_numbers_are_resized_as_real_numbers(
    seed: int, width: int, height: int, to_width: int, to_height: int, dtype: str
) -> None:
    """Bicubic interpolation overshoots, so the result is cut off at 0 and 1."""
    rng = np.random.default_rng(seed)
    low, high = (0, 60000) if dtype == "uint16" else (-1024, 3071)
    picture = Picture(rng.uniform(low, high, (height, width, 2)).astype(dtype), low, high)
    found = Resizing(to_width, to_height)(picture)
    assert found.dtype == np.float32
    unit = ((picture.pixels.astype(np.float64) - low) / (high - low)).astype(np.float32)
    wanted = resized(unit, (to_width, to_height))
    np.testing.assert_array_equal(found, wanted.clip(0, 1))


@few
@given(seeds, sides, sides, st.integers(1, 4), st.integers(0, 20), st.booleans())
@example(0, 16, 37, 2, 1, True)  # a part alone would be resized in another order of the axes
def test_a_crop_is_the_centre_of_the_whole_picture_resized(
    seed: int, width: int, height: int, factor: int, further: int, is_wide: bool
) -> None:
    """Where whole pixels are cut off on both sides. So a pixel at the border sees its neighbours
    beyond it, which it would not if the centre were cut out first."""
    more = (2 * further, 0) if is_wide else (0, 2 * further)
    whole = width + more[0], height + more[1]
    pixels = levels(seed, whole[0] * factor, whole[1] * factor)
    found = Resizing(width, height, "crop")(Picture.of(pixels)).transpose(1, 2, 0)
    left, top = more[0] // 2, more[1] // 2
    box = left, top, left + width, top + height
    image = Image.fromarray(pixels)
    wanted = np.asarray(image.resize(whole, Image.Resampling.BICUBIC).crop(box))
    np.testing.assert_array_equal(found, wanted)
    if factor == 1:
        centre = pixels[top : top + height, left : left + width]
        np.testing.assert_array_equal(found, centre)


@few
@given(seeds, st.integers(16, 300), st.integers(16, 300), sides, sides)
def test_fit_keeps_the_aspect_ratio_between_black_borders(
    seed: int, width: int, height: int, to_width: int, to_height: int
) -> None:
    pixels = levels(seed, width, height)
    found = Resizing(to_width, to_height, "fit")(Picture.of(pixels)).transpose(1, 2, 0)
    assert found.shape == (to_height, to_width, 3)
    scale = min(to_width / width, to_height / height)
    inside = round(width * scale), round(height * scale)
    assert to_width in inside[:1] or to_height in inside[1:]
    left, top = (to_width - inside[0]) // 2, (to_height - inside[1]) // 2
    assert abs(to_width - inside[0] - 2 * left) <= 1
    place = slice(top, top + inside[1]), slice(left, left + inside[0])
    wanted = Image.fromarray(pixels).resize(inside, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found[place], np.asarray(wanted))
    found = found.copy()
    found[place] = 0
    assert not found.any()


@few
@given(
    st.integers(16, 300), st.integers(16, 300), sides, sides, st.sampled_from(["squash", "crop"])
)
def test_labels_are_sampled_where_pictures_are_resized(
    width: int, height: int, to_width: int, to_height: int, mode: str
) -> None:
    """A picture of its own coordinates tells where each pixel of the result comes from."""
    rows, columns = np.mgrid[:height, :width]
    ids = np.stack([rows, columns], axis=2)
    resizing = Resizing(to_width, to_height, mode)  # type: ignore[arg-type]
    sampled = resizing.sample(ids)
    assert sampled.shape == (to_height, to_width, 2)
    most = max(width, height)
    found = resizing(Picture(ids + 0.5, 0, most)).transpose(1, 2, 0) * most
    # Interpolation bends a slope where the picture ends: within two pixels, there or here.
    steps = [max(1.0, height / to_height), max(1.0, width / to_width)]
    for axis, (step, side) in enumerate(zip(steps, (height, width), strict=True)):
        gap = np.abs(sampled[..., axis] + 0.5 - found[..., axis])
        is_inner = np.abs(sampled[..., axis] + 0.5 - side / 2) < side / 2 - 3 * step
        assert gap[is_inner].max(initial=0) <= 0.5 + 1e-3
        assert gap.max() <= 0.5 + step
    if mode == "crop":
        across = np.ptp(sampled[..., 1]) + 1, np.ptp(sampled[..., 0]) + 1
        scale = max(to_width / width, to_height / height)
        # A window of any offset touches up to one pixel more at either end.
        for found_side, wanted in zip(across, (to_width / scale, to_height / scale), strict=True):
            assert abs(found_side - wanted) <= 1 + max(1, 1 / scale)


def test_nothing_is_resized_to_its_own_size() -> None:
    for dtype in (np.uint8, np.uint16, np.float32):
        pixels = (np.random.default_rng(0).random((32, 64, 2)) * 200).astype(dtype)
        for mode in ("squash", "fit", "crop"):
            picture = Picture(pixels, 0, 255)
            found = Resizing.of([64, 32], mode)(picture)  # type: ignore[arg-type]
            wanted = pixels.transpose(2, 0, 1) if picture.is_eight_bit else picture.unit()
            np.testing.assert_array_equal(found, wanted)


RECTANGLES = [(32, 64), (96, 32)]


def coordinates(n: int, height: int, width: int) -> PairBatch:
    """x tells the column and the row of each pixel, in [0, 1]; y is its complement."""
    across = torch.linspace(0, 1, width).expand(n, 1, height, width)
    down = torch.linspace(0, 1, height)[:, None].expand(n, 1, height, width)
    x = torch.cat([across, down], 1)
    return PairBatch(tuple(map(str, range(n))), x, 1 - x)


@pytest.mark.parametrize(("height", "width"), RECTANGLES)
def test_jitter_moves_both_pictures_of_a_rectangle(height: int, width: int) -> None:
    batch = coordinates(256, height, width)
    out = jitter(batch, 9 / 8, True, 0)
    assert out.x.shape == out.y.shape == batch.x.shape
    torch.testing.assert_close(out.y, 1 - out.x, rtol=0, atol=1e-5)
    across, down = out.x[:, 0, height // 2], out.x[:, 1, :, width // 2]
    mirrored = across[:, 0] > across[:, -1]
    assert 0.35 < mirrored.float().mean() < 0.65
    for line, slack, side in ((across, width // 8, width), (down, height // 8, height)):
        # Where the middle of the crop lies in the enlarged picture, in its pixels.
        middle = line[:, side // 2 - 1 : side // 2 + 1].mean(1) * (side - 1) * 9 / 8
        offsets = (middle - middle.min()).round().int()
        assert offsets.unique().tolist() == list(range(slack + 1))
    assert 0 <= out.x.min() <= out.x.max() <= 1


@pytest.mark.parametrize(("height", "width"), RECTANGLES)
def test_alterations_of_rectangles(height: int, width: int) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(2, 4, height, width, generator=rng)
    y = torch.rand(2, 1, height, width, generator=rng)
    batch = PairBatch(("a", "b"), x, y)
    assert torch.equal(altered(batch, "hflip").x, x.flip(3))
    inner = height * 7 // 8, width * 7 // 8
    for number in range(4):
        found = altered(batch, f"crop-{number}")
        top = (number // 2) * (height - inner[0])
        left = (number % 2) * (width - inner[1])
        for side, whole in ((found.x, x), (found.y, y)):
            region = whole[..., top : top + inner[0], left : left + inner[1]]
            wanted = F.interpolate(region, (height, width), mode="bicubic", antialias=True)
            torch.testing.assert_close(side, wanted.clamp(0, 1))
