"""Resizing to the pixel grid against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.transform import resize

from mia_lab.difficulty.resampling import Upsampling, resampling_matrix, to_grid, upsampling

SIZES = [(1, 56), (2, 5), (7, 56), (28, 56), (56, 56), (57, 56), (64, 56), (256, 56), (100, 16)]
SHAPES = [(1, 1), (7, 7), (28, 28), (16, 16), (7, 5), (1, 9), (40, 16), (40, 6), (100, 33)]
CPU = torch.device("cpu")


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(("size", "grid"), SIZES)
def test_one_axis_equals_skimage(size, grid):
    image = numbers(size, 3)
    wanted = resize(image, (grid, 3), order=1, mode="reflect")
    matrix = resampling_matrix(size, grid)
    assert matrix.shape == (grid, size)
    np.testing.assert_allclose(matrix @ image, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    assert matrix.min() >= -1e-15


def test_matrix_is_made_once_and_cannot_be_changed():
    matrix = resampling_matrix(7, 16)
    assert matrix is resampling_matrix(7, 16)
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


@pytest.mark.parametrize("size", [(256, 256), (56, 56), (20, 20), (301, 200), (30, 500), (1, 1)])
def test_images_are_resized_as_skimage_does(size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = to_grid(images, 56)
    assert found.dtype == torch.float32
    assert found.shape == (2, 3, 56, 56)
    assert found.min() >= 0
    assert found.max() <= 1
    for image, wanted in zip(found.flatten(0, 1), images.double().flatten(0, 1), strict=True):
        wanted = resize(wanted.numpy(), (56, 56), order=1, mode="reflect")
        np.testing.assert_allclose(image.numpy(), wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_operator_equals_skimage(shape, dtype, atol):
    maps = numbers(*shape, 4)
    operator = upsampling(*shape, 16, dtype, CPU)
    found = operator(torch.from_numpy(maps).to(dtype).flatten(0, 1).reshape(-1, 2, 2))
    assert found.dtype == dtype
    assert found.shape == (256, 2, 2)
    wanted = resize(maps, (16, 16), order=1, mode="reflect").reshape(256, 2, 2)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=atol)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adjoint_is_the_transpose(shape, dtype, rtol):
    operator = upsampling(*shape, 16, dtype, CPU)
    native = torch.from_numpy(numbers(shape[0] * shape[1], 3)).to(dtype)
    grid = torch.from_numpy(numbers(256, 3)).to(dtype)
    back = operator.adjoint(grid)
    assert back.shape == native.shape
    up = (operator(native) * grid).sum().item()
    assert (native * back).sum().item() == pytest.approx(up, rel=rtol, abs=10 * rtol)
    forward = operator(torch.eye(len(native), dtype=dtype))
    assert torch.equal(operator.adjoint(torch.eye(256, dtype=dtype)), forward.T)


def test_maps_on_the_grid_are_left_alone():
    operator = upsampling(16, 16, 16, torch.float64, CPU)
    columns = torch.from_numpy(numbers(256, 3))
    assert operator.is_identity
    assert operator(columns) is columns
    assert operator.adjoint(columns) is columns
    assert not upsampling(16, 8, 16, torch.float64, CPU).is_identity


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_the_memory_held_before_does_not_matter(monkeypatch, dtype):
    operator = upsampling(7, 5, 16, dtype, CPU)
    native = torch.from_numpy(numbers(35, 3)).to(dtype)
    grid = torch.from_numpy(numbers(256, 3)).to(dtype)
    wanted = operator(native), operator.adjoint(grid)
    poisoned = []

    def poison(self, *shape):
        poisoned.append(shape)
        return self.new_full(shape, torch.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", poison)
    assert torch.equal(operator(native), wanted[0])
    assert torch.equal(operator.adjoint(grid), wanted[1])
    assert len(poisoned) == 2


def test_columns_that_are_not_contiguous():
    operator = upsampling(7, 5, 16, torch.float64, CPU)
    native = torch.from_numpy(numbers(3, 2, 35)).permute(2, 1, 0)
    assert torch.equal(operator(native), operator(native.contiguous()))


def test_a_new_operator_warns_of_nothing_and_equals_the_kept_one():
    new = Upsampling(7, 5, 16, torch.float64, CPU)
    native = torch.from_numpy(numbers(35, 3))
    kept = upsampling(7, 5, 16, torch.float64, CPU)
    assert kept is upsampling(7, 5, 16, torch.float64, CPU)
    assert torch.equal(new(native), kept(native))
