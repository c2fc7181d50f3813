"""How images are brought to the backbone's size, and what comes out."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as reference

from mia_lab.difficulty.backbones import Backbone
from mia_lab.difficulty.features import extract, input_size, prepare
from mia_lab.errors import UserError


@pytest.fixture(scope="module")
def resnet18():
    torch.set_num_threads(1)
    return Backbone("resnet18", "random")


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
    # PIL rounds to bytes after each of its two passes.
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), wanted, atol=1.5 / 255)


def test_official_ignores_the_pixel_grid():
    assert input_size("official", 28) == 224
    assert input_size("aligned", 28) == 112


def test_one_channel_is_repeated(resnet18):
    grey = torch.rand(2, 1, 32, 32)
    found = extract(resnet18, grey, [1], grid_size=16)
    wanted = extract(resnet18, grey.repeat(1, 3, 1, 1), [1], grid_size=16)
    assert torch.equal(found[0], wanted[0])


@pytest.mark.parametrize("channels", [2, 4, 12])
def test_other_channel_counts_are_an_error(channels):
    with pytest.raises(UserError, match=rf"difficulty\.features_from.*{channels} channels"):
        prepare(torch.zeros(1, channels, 8, 8), "aligned", 8)


@pytest.mark.parametrize(("preprocess", "grid", "side"), [("aligned", 16, 16), ("official", 8, 56)])
def test_feature_maps_keep_their_native_resolution(resnet18, preprocess, grid, side):
    images = torch.rand(2, 3, 20, 20)
    maps = extract(resnet18, images, [2, 1], preprocess=preprocess, grid_size=grid)
    assert [tuple(m.shape) for m in maps] == [(2, 128, side // 2, side // 2), (2, 64, side, side)]
