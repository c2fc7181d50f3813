"""Which pixels are fitted on and which are held out."""

import hashlib

import numpy as np
import pytest
import torch

from mia_lab.difficulty.protocol import PixelProtocol, mask, pixel_order


def test_order_is_a_permutation_and_reproducible():
    order = pixel_order("a", 3, 3136)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(3136))
    np.testing.assert_array_equal(order, pixel_order("a", 3, 3136))


def test_order_is_that_of_philox_keyed_by_sha256():
    text = "\x1f".join(["3", "difficulty", "a", "2"]).encode()
    key = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") // 2
    words = np.random.Philox(key=key).random_raw(100).tolist()
    assert pixel_order("a", 3, 100, 2).tolist() == sorted(range(100), key=words.__getitem__)


def test_order_stays_the_same_from_version_to_version():
    assert sorted(pixel_order("image-1", 0, 20)[14:].tolist()) == [3, 4, 5, 10, 13, 19]


@pytest.mark.parametrize(
    "other", [("b", 3, 0), ("a", 4, 0), ("a", 3, 1)], ids=["image", "seed", "repeat"]
)
def test_order_depends_on_image_seed_and_repeat(other):
    image_id, seed, repeat = other
    first, second = pixel_order("a", 3, 3136), pixel_order(image_id, seed, 3136, repeat)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.08


def test_held_out_pixels_spread_over_the_image():
    (held_out,) = PixelProtocol().held_out(3136)
    rows = np.bincount(pixel_order("a", 0, 3136)[held_out] // 56, minlength=56) / 56
    assert rows.min() > 0.05
    assert rows.max() < 0.6


def test_holdout_keeps_30_percent():
    (held_out,) = PixelProtocol().held_out(3136)
    assert (held_out.start, held_out.stop) == (2195, 3136)
    assert PixelProtocol(folds=9).held_out(10) == [slice(7, 10)]


@pytest.mark.parametrize("folds", [2, 3, 5, 7, 64])
@pytest.mark.parametrize("n_pixels", [64, 100, 3136])
def test_folds_hold_out_every_pixel_once_and_are_of_one_size(folds, n_pixels):
    order = pixel_order("a", 0, n_pixels)
    parts = [order[s] for s in PixelProtocol("kfold", folds).held_out(n_pixels)]
    assert len(parts) == folds
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n_pixels))
    sizes = {len(p) for p in parts}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("name", "n_pixels"), [("holdout", 1), ("holdout", 0), ("kfold", 4)])
def test_too_few_pixels(name, n_pixels):
    with pytest.raises(ValueError, match=f"{n_pixels} pixels are too few for {name}"):
        PixelProtocol(name, folds=5).held_out(n_pixels)


def test_mask_marks_what_is_held_out():
    orders = np.stack([pixel_order(i, 0, 30) for i in "ab"])
    found = mask(orders, slice(21, 30))
    assert found.dtype == torch.bool
    for row, order in zip(found, orders, strict=True):
        assert set(np.flatnonzero(row.numpy())) == set(order[21:])


@pytest.mark.parametrize("error", ["l1", "l2"])
def test_error_is_the_plain_formula(error):
    rng = np.random.default_rng(0)
    predictions, targets = rng.normal(size=(4, 3)), rng.random((4, 3))
    found = PixelProtocol(error=error).pixel_error(*map(torch.from_numpy, (predictions, targets)))
    for p, c in np.ndindex(4, 3):
        plain = abs(predictions[p, c] - targets[p, c]) ** {"l1": 1, "l2": 2}[error]
        assert found[p, c].item() == pytest.approx(plain, rel=1e-12)
