"""The probe against scikit-learn, on the columns that it never builds."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.nn import functional

from mia_lab.difficulty import difficulty_score
from mia_lab.difficulty.probe import (
    compact_factor,
    design_matrix,
    fit_predict,
    heldout_error,
    pixel_split,
    repeated_scores,
)
from mia_lab.errors import UserError

PENALTIES = (1e-2, 1.0, 1e2, 1e4)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def full_columns(features, grid):
    """All columns, upsampled one by one: what the low-rank form avoids."""
    maps = [
        functional.interpolate(f[None].double(), (grid, grid), mode="bilinear") for f in features
    ]
    return torch.cat(maps, dim=1)[0].flatten(1).T.numpy()


def assert_same_as_sklearn(features, target, ridge):
    grid = target.shape[-1]
    targets = target.double().flatten(1).T
    train = pixel_split("image", 0, grid * grid)
    columns = full_columns(features, grid)
    expected = Ridge(alpha=ridge).fit(columns[train], targets[train].numpy()).predict(columns)
    design = design_matrix([compact_factor(f) for f in features], grid)
    assert design.shape[1] == sum(min(len(f), f[0].numel()) for f in features)
    found = fit_predict(design, targets, train, ridge)
    error = np.linalg.norm(found.numpy() - expected) / np.linalg.norm(expected)
    assert error < 1e-8, (ridge, error)


BLOCKS = {
    "wide": torch.rand(40, 5, 5, generator=torch.Generator().manual_seed(1)) * 5,
    "tall": torch.randn(7, 12, 12, generator=torch.Generator().manual_seed(2)),
    "square": torch.randn(9, 3, 3, generator=torch.Generator().manual_seed(3)),
    "grid": torch.rand(4, 24, 24, generator=torch.Generator().manual_seed(4)),
    "constant": torch.full((6, 2, 2), 3.25),
    "one cell": torch.rand(5, 1, 1, generator=torch.Generator().manual_seed(5)),
}
BLOCKS["duplicate"] = torch.cat([BLOCKS["wide"], BLOCKS["wide"][:3]])
TARGET = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("ridge", PENALTIES)
@pytest.mark.parametrize("n_blocks", [1, 2, 7])
def test_equals_sklearn_on_odd_shapes_and_ranks(ridge, n_blocks):
    for names in itertools.combinations(BLOCKS, n_blocks):
        assert_same_as_sklearn([BLOCKS[n] for n in names], TARGET, ridge)


@pytest.mark.parametrize("ridge", PENALTIES)
def test_equals_sklearn_for_constant_targets(ridge):
    assert_same_as_sklearn([BLOCKS["wide"], BLOCKS["tall"]], torch.full_like(TARGET, 0.3), ridge)


@pytest.fixture(scope="module")
def lite0_maps():
    from mia_lab.difficulty.backbones import Backbone

    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    backbone = Backbone("tf_efficientnet_lite0", "packaged")
    return [m[0] for m in backbone.features(images, (1, 2, 3, 4))]


@pytest.mark.parametrize("ridge", PENALTIES)
@pytest.mark.parametrize("blocks", [(0, 1, 2, 3), (0,), (3,), (1, 3)])
def test_equals_sklearn_on_lite0(lite0_maps, blocks, ridge):
    target = torch.rand(3, 56, 56, generator=torch.Generator().manual_seed(7))
    assert_same_as_sklearn([lite0_maps[b] for b in blocks], target, ridge)


def test_factor_keeps_the_gram_matrix():
    features = BLOCKS["wide"].double().flatten(1)
    factor = compact_factor(BLOCKS["wide"]).flatten(1)
    assert factor.shape == (25, 25)
    torch.testing.assert_close(factor.T @ factor, features.T @ features, rtol=1e-12, atol=1e-12)


def test_float32_is_close_to_float64():
    predictions = []
    for dtype in (torch.float32, torch.float64):
        design = design_matrix([compact_factor(BLOCKS["wide"], dtype)], 24)
        assert design.dtype == dtype
        predictions.append(
            fit_predict(design, TARGET.flatten(1).T, pixel_split("a", 0, 576), 1.0).double()
        )
    torch.testing.assert_close(*predictions, rtol=1e-3, atol=1e-3)
    assert not torch.equal(*predictions)


def test_heldout_error_is_the_plain_formula():
    rng = np.random.default_rng(0)
    predictions, targets = rng.normal(size=(50, 3)), rng.random((50, 3))
    train = pixel_split("a", 0, 50)
    found = heldout_error(torch.from_numpy(predictions), torch.from_numpy(targets), train)
    wanted = sum(
        abs(predictions[p, c] - targets[p, c]) for p in range(50) if not train[p] for c in range(3)
    )
    assert found == pytest.approx(wanted / (3 * np.sum(~train)), rel=1e-12)


def test_predictions_are_not_clipped():
    design = torch.linspace(-10, 10, 100, dtype=torch.float64)[:, None]
    predictions = fit_predict(design, (design > 0).double(), pixel_split("a", 0, 100), 1e-2)
    assert predictions.min() < 0
    assert predictions.max() > 1


def test_split_is_70_percent_and_reproducible():
    train = pixel_split("a", 3, 3136)
    assert train.dtype == np.bool_
    assert train.sum() == 2195
    np.testing.assert_array_equal(train, pixel_split("a", 3, 3136))
    assert pixel_split("a", 3, 10, fraction=0.25).sum() == 2


def test_split_stays_the_same_from_version_to_version():
    assert np.flatnonzero(~pixel_split("image-1", 0, 20)).tolist() == [3, 4, 5, 10, 13, 19]


@pytest.mark.parametrize(
    "other", [("b", 3, 0), ("a", 4, 0), ("a", 3, 1)], ids=["image", "seed", "repeat"]
)
def test_split_depends_on_image_seed_and_repeat(other):
    image_id, seed, repeat = other
    first, second = pixel_split("a", 3, 3136), pixel_split(image_id, seed, 3136, repeat=repeat)
    # Independent splits agree on 0.7 * 0.7 + 0.3 * 0.3 of the pixels.
    assert np.mean(first == second) == pytest.approx(0.58, abs=0.04)


def test_split_spreads_over_the_image():
    rows = pixel_split("a", 0, 3136).reshape(56, 56).mean(axis=1)
    assert rows.min() > 0.4
    assert rows.max() < 0.95


@pytest.mark.parametrize("n_pixels", [0, 1])
def test_split_needs_pixels_on_both_sides(n_pixels):
    with pytest.raises(ValueError, match="empty"):
        pixel_split("a", 0, n_pixels)


@pytest.mark.parametrize("ridge", [0, 0.0, -1.0, float("nan"), float("inf"), "auto", None, True])
def test_penalty_must_be_above_zero(ridge):
    with pytest.raises(UserError, match=r"difficulty\.ridge=.*above 0"):
        difficulty_score([BLOCKS["wide"].numpy()], TARGET.numpy(), ridge=ridge)


def test_a_penalty_lost_in_rounding_is_an_error():
    features = np.tile(np.random.default_rng(0).random((3, 8, 8)), (10, 1, 1))
    with pytest.raises(UserError, match=r"difficulty\.ridge=1e-300: too small"):
        difficulty_score([features], TARGET.numpy()[:, :8, :8], ridge=1e-300)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["features", "target"])
def test_nonfinite_input_names_the_image(value, place):
    features, target = BLOCKS["wide"].numpy().copy(), TARGET.numpy().copy()
    (features if place == "features" else target)[0, 0, 0] = value
    with pytest.raises(UserError, match=r"'img-7'.*NaN or infinite"):
        difficulty_score([features], target, image_id="img-7")


def test_overflow_is_an_error_not_a_nan():
    features = np.random.default_rng(0).random((1, 8, 8))
    target = TARGET.numpy()[:, :8, :8].astype(np.float64)
    with pytest.raises(UserError, match=r"ridge.*scale the features down"):
        difficulty_score([features * 1e200], target)
    with pytest.raises(UserError, match=r"'img-7': its target overflows"):
        difficulty_score([features], target * 1e308, image_id="img-7")


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_images_have_difficulty_zero(level):
    for features in (BLOCKS["wide"], BLOCKS["constant"], torch.zeros(3, 4, 4)):
        score = difficulty_score([features.numpy()], np.full((3, 24, 24), level))
        assert 0 <= score < 1e-12


def test_constant_features_leave_the_mean():
    train = pixel_split("a", 0, 576)
    targets = TARGET.double().flatten(1).T.numpy()
    score = difficulty_score([BLOCKS["constant"].numpy()], TARGET.numpy(), image_id="a")
    wanted = np.abs(targets[~train] - targets[train].mean(axis=0)).mean()
    assert score == pytest.approx(wanted, rel=1e-6)  # the target reaches the probe as float32


def test_array_function_is_the_first_repeat():
    arrays = [BLOCKS["wide"].numpy(), BLOCKS["tall"].numpy()]
    scores = repeated_scores(
        [BLOCKS["wide"], BLOCKS["tall"]], TARGET, ridge=3, seed=5, image_id="a", repeats=3
    )
    assert len(set(scores)) == 3
    first = difficulty_score(arrays, TARGET.numpy(), ridge=3, seed=5, image_id="a")
    assert first == pytest.approx(scores[0], rel=1e-12)


@pytest.mark.parametrize(
    ("features", "target"),
    [
        ([], np.ones((3, 8, 8))),
        ([np.ones((8, 8))], np.ones((3, 8, 8))),
        ([np.ones((2, 8, 8))], np.ones((8, 8, 3))),
        ([np.ones((2, 8, 8))], np.ones((3, 64))),
    ],
)
def test_array_function_checks_shapes(features, target):
    with pytest.raises(ValueError, match="must be"):
        difficulty_score(features, target)


def test_probe_does_not_need_timm():
    code = "import sys, mia_lab.difficulty.probe; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
