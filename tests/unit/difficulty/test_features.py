"""How images are brought to the backbone's size, and what is kept of their features."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.transform import resize
from torchvision.transforms import functional as reference

from mia_lab.difficulty.features import bytes_per_image, extract, input_size, prepare
from mia_lab.errors import UserError
from mia_lab.types import PairBatch


def pairs(n=2, channels=3, size=(20, 20)):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, channels, *size, generator=generator)
    return PairBatch(
        tuple(f"im-{i}" for i in range(n)), x, torch.rand(n, 3, 40, 30, generator=generator)
    )


def test_aligned_takes_the_whole_image():
    images = torch.zeros(2, 3, 40, 80)
    images[..., 40:] = 1.0
    found = prepare(images, "aligned", 16)
    assert found.shape == (2, 3, 64, 64)
    assert found[..., :28].max() < 1e-6
    assert found[..., 36:].min() > 1 - 1e-6


def test_aligned_at_its_own_size_changes_nothing():
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(prepare(images, "aligned", 16), images)


@pytest.mark.parametrize("size", [(64, 64), (300, 500), (400, 301), (256, 256)])
def test_official_is_torchvisions_resize_and_centre_crop(size):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    image = reference.resize(Image.fromarray(pixels), [256])
    wanted = np.asarray(reference.center_crop(image, [224, 224]), dtype=np.float32) / 255
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    found = prepare(images, "official", 56)
    assert found.shape == (1, 3, 224, 224)
    np.testing.assert_array_equal(found[0].permute(1, 2, 0).numpy(), wanted)


def test_official_ignores_the_pixel_grid():
    assert input_size("official", 28) == 224
    assert input_size("aligned", 28) == 112


@pytest.mark.parametrize("channels", [2, 4, 12])
def test_official_is_for_grey_and_rgb(channels):
    with pytest.raises(UserError, match=rf"preprocess=official: .* have {channels} channels"):
        prepare(torch.zeros(1, channels, 8, 8), "official", 8)


def test_the_target_has_all_channels_of_the_data(lite0):
    found = extract(lite0, pairs(channels=5), [1], grid_size=16)
    assert found.target.shape[1] == pairs(channels=5).y.shape[1]


def test_one_channel_is_repeated(lite0):
    grey = pairs(channels=1)
    found = extract(lite0, grey, [1], grid_size=16)
    three = PairBatch(grey.ids, grey.x.repeat(1, 3, 1, 1), grey.y)
    assert torch.equal(found.factors[1], extract(lite0, three, [1], grid_size=16).factors[1])


@pytest.mark.parametrize(("preprocess", "grid", "side"), [("aligned", 16, 16), ("official", 8, 56)])
def test_factors_are_small_and_of_native_resolution(lite0, preprocess, grid, side):
    found = extract(lite0, pairs(), [4, 1, "blocks.2"], preprocess=preprocess, grid_size=grid)
    assert list(found.factors) == [4, 1, "blocks.2"]
    small = side // 8
    assert [tuple(f.shape) for f in found.factors.values()] == [
        (2, small, small, min(320, small * small)),
        (2, side, side, 24),
        (2, side // 2, side // 2, 40),
    ]
    assert found.target.shape == (2, 3, grid, grid)
    assert found.ids == ("im-0", "im-1")


@pytest.mark.parametrize("side", ["input", "target"])
def test_factors_have_the_gram_matrix_of_the_side_asked_for(lite0, side):
    batch = pairs()
    found = extract(lite0, batch, [1, 4], features_from=side, grid_size=16)
    images = batch.x if side == "input" else batch.y
    maps = lite0.features(prepare(images, "aligned", 16), [1, 4])
    for factor, full in zip(found.factors.values(), maps, strict=True):
        a = factor.flatten(1, 2).double().numpy()
        b = full.flatten(2).double().numpy()
        wanted = np.einsum("bcs,bct->bst", b, b)
        np.testing.assert_allclose(a @ a.transpose(0, 2, 1), wanted, rtol=1e-9)


def test_target_is_resized_as_skimage_does(lite0):
    batch = pairs()
    found = extract(lite0, batch, [1], grid_size=16).target
    for image, wanted in zip(found.flatten(0, 1), batch.y.double().flatten(0, 1), strict=True):
        wanted = resize(wanted.numpy(), (16, 16), order=1, mode="reflect")
        np.testing.assert_allclose(image.numpy(), wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["input", "target"])
def test_nonfinite_images_are_named(lite0, side, value):
    batch = pairs()
    (batch.x if side == "input" else batch.y)[1, 0, 5, 5] = value
    with pytest.raises(UserError, match=rf"'im-1': its {side} contains NaN or infinite"):
        extract(lite0, batch, [1], grid_size=16)


@pytest.mark.parametrize("preprocess", ["aligned", "official"])
def test_bytes_are_those_of_the_tensors(lite0, preprocess):
    layers = (1, 2, 3, 4)
    kept = extract(lite0, pairs(), layers, preprocess=preprocess, grid_size=16)
    size = sum(t.numpy().nbytes for t in (*kept.factors.values(), kept.target)) / 2
    assert bytes_per_image(lite0, layers, preprocess, 16) == size
