"""Scores, maps and ranks against plain loops with scikit-learn; what is refused."""

import doctest
import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from mia_lab.difficulty import difficulty_score, score
from mia_lab.difficulty.columns import compact_factor
from mia_lab.difficulty.protocol import PixelProtocol, pixel_order
from mia_lab.difficulty.score import FactorBatch, Setting, check_ridge, score_batch
from mia_lab.errors import UserError
from plain import Probe, least_norm, near_cutoff, ridge_predictions, rows, train_pixels, upsampled

IDS = ("a", "b", "c")
GRID = 16
BLOCKS = {
    1: np.random.default_rng(1).normal(size=(3, 7, 16, 16)),
    2: np.random.default_rng(2).random((3, 40, 5, 5)) * 5,
    "stem": np.random.default_rng(3).normal(size=(3, 4, 20, 9)),
}
TARGET = np.random.default_rng(4).random((3, 3, GRID, GRID))


def batch(blocks=BLOCKS, target=TARGET, ids=IDS):
    factors = {k: compact_factor(torch.from_numpy(np.asarray(f))) for k, f in blocks.items()}
    return FactorBatch(ids, factors, torch.from_numpy(target))


def columns(layers, image):
    return np.concatenate([upsampled(BLOCKS[k][image], GRID) for k in layers], axis=1)


def plain_maps(layers, ridge, folds, seed, repeats, power=1):
    """Error of every pixel: (B, T, P), by a plain loop over images, repeats, folds."""
    found = np.full((3, repeats, GRID * GRID), np.nan)
    for i, repeat in np.ndindex(3, repeats):
        order = pixel_order(IDS[i], seed, GRID * GRID, repeat)
        full, targets = columns(layers, i), rows(TARGET[i])
        for held_out in np.split(order, [round(k * len(order) / folds) for k in range(1, folds)]):
            train = np.setdiff1d(order, held_out)
            fitted = Ridge(alpha=ridge).fit(full[train], targets[train]).predict(full[held_out])
            assert np.isnan(found[i, repeat, held_out]).all()
            found[i, repeat, held_out] = (np.abs(fitted - targets[held_out]) ** power).mean(axis=1)
    assert not np.isnan(found).any()
    return found


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(("error", "power"), [("l1", 1), ("l2", 2)])
def test_holdout_is_sklearn_on_70_percent_of_the_pixels(error, power, seed):
    settings = [Setting((1, 2), 3.0), Setting(("stem", 1), 0.5), Setting((2,), 100.0)]
    protocol = PixelProtocol(error=error, repeats=2)
    found = score_batch(batch(), settings, protocol, seed)
    assert found.score.shape == (3, 3, 2)
    assert found.map.shape == (3, 0, 0)
    for i, s, repeat in np.ndindex(3, 3, 2):
        train = train_pixels(IDS[i], seed, GRID * GRID, repeat)
        full, targets = columns(settings[s].layers, i), rows(TARGET[i])
        fitted = Ridge(alpha=settings[s].ridge).fit(full[train], targets[train]).predict(full)
        wanted = (np.abs(fitted - targets)[~train] ** power).mean()
        assert found.score[i, s, repeat] == pytest.approx(wanted, rel=1e-9)
        assert found.penalty[i, s, repeat] == settings[s].ridge
    assert (found.rank == -1).all()


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_kfold_is_a_plain_loop_over_the_folds(folds):
    protocol = PixelProtocol("kfold", folds, repeats=2)
    found = score_batch(batch(), [Setting((1, "stem"), 2.0)], protocol, 1, maps=True)
    wanted = plain_maps((1, "stem"), 2.0, folds, 1, 2)
    np.testing.assert_allclose(found.score[:, 0], wanted.mean(axis=2), rtol=1e-9)
    assert found.map.dtype == np.float32
    mean_map = wanted.mean(axis=1).reshape(3, GRID, GRID)
    np.testing.assert_allclose(found.map, mean_map, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        found.map.astype(float).mean(axis=(1, 2)), found.score[:, 0].mean(axis=1), rtol=1e-6
    )


def test_kfold_with_squared_errors():
    protocol = PixelProtocol("kfold", 4, error="l2")
    found = score_batch(batch(), [Setting((2, 1), 2.0)], protocol, 0, maps=True)
    wanted = plain_maps((2, 1), 2.0, 4, 0, 1, power=2)
    np.testing.assert_allclose(found.score[:, 0], wanted.mean(axis=2), rtol=1e-9)
    np.testing.assert_allclose(found.map.reshape(3, -1), wanted[:, 0], rtol=1e-5, atol=1e-7)


def test_map_is_that_of_the_first_setting():
    protocol = PixelProtocol("kfold", 3)
    first, second = Setting((1, 2), 1.0), Setting((2,), 50.0)
    for order in ([first, second], [second, first]):
        together = score_batch(batch(), order, protocol, 0, maps=True)
        alone = score_batch(batch(), order[:1], protocol, 0, maps=True)
        np.testing.assert_array_equal(together.map, alone.map)
        np.testing.assert_array_equal(together.score[:, 0], alone.score[:, 0])


def test_settings_do_not_disturb_one_another():
    layers = [(1,), (2,), (1, 2), ("stem", 2), (1, 2, "stem")]
    settings = [Setting(s, r) for s in layers for r in (1.0, 0.0, "auto", 1e3)]
    found = score_batch(batch(), settings, PixelProtocol(), 0)
    for s, setting in enumerate(settings):
        alone = score_batch(batch(), [setting], PixelProtocol(), 0)
        np.testing.assert_allclose(found.score[:, s], alone.score[:, 0], rtol=1e-9)
        np.testing.assert_allclose(found.penalty[:, s], alone.penalty[:, 0], rtol=1e-9)
        np.testing.assert_array_equal(found.rank[:, s], alone.rank[:, 0])


@pytest.mark.parametrize("layers", [(1,), (2,), (1, 2), (1, "stem")])
def test_penalty_zero_is_least_squares_with_its_rank(layers):
    found = score_batch(batch(), [Setting(layers, 0.0)], PixelProtocol(), 0)
    for i in range(3):
        train = train_pixels(IDS[i], 0, GRID * GRID)
        fitted, rank, singular = least_norm(columns(layers, i), rows(TARGET[i]), train)
        assert near_cutoff(singular) == 0
        assert found.rank[i, 0, 0] == rank
        wanted = np.abs(fitted - rows(TARGET[i]))[~train].mean()
        assert found.score[i, 0, 0] == pytest.approx(wanted, rel=1e-6)
    assert (found.penalty == 0).all()


@pytest.mark.parametrize("layer", [1, 2, "stem"])
def test_one_block_alone_is_sklearn(layer):
    train = train_pixels("a", 0, GRID * GRID)
    (fitted,) = ridge_predictions(columns([layer], 0), rows(TARGET[0]), train, [2.0])
    wanted = np.abs(fitted - rows(TARGET[0]))[~train].mean()
    found = difficulty_score([BLOCKS[layer][0]], TARGET[0], ridge=2.0, image_id="a")
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("ridge", [1.0, 0.0, "auto"])
@pytest.mark.parametrize("layers", [(1, 2), (2, "stem"), (1, 2, "stem")])
def test_the_order_of_layers_does_not_matter(layers, ridge):
    found = [
        score_batch(batch(), [Setting(p, ridge)], PixelProtocol(), 0).score
        for p in permutations(layers)
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-9)


def test_rank_is_the_smallest_and_auto_penalty_the_geometric_mean_over_folds():
    features = np.zeros((1, 2, GRID, GRID))
    features[:, 0] = BLOCKS[1][:1, 0]
    order = pixel_order("a", 0, GRID * GRID)
    features[0, 1].flat[order[0]] = 1.0  # a column that is constant unless its one pixel is fitted
    small = batch({1: features, 2: BLOCKS[2][:1]}, TARGET[:1], ("a",))
    protocol = PixelProtocol("kfold", 4)
    found = score_batch(small, [Setting((1,), 0.0), Setting((1, 2), "auto")], protocol, 0)
    assert found.rank[0].tolist() == [[1], [-1]]
    penalties = []
    for held_out in np.split(order, 4):
        train = ~np.isin(np.arange(GRID * GRID), held_out)[None]
        probe = Probe([features, BLOCKS[2][:1]], TARGET[:1], train)
        penalties.append(probe.ridge([0, 1], ["auto"])[1][0, 0])
    assert found.penalty[0, 1, 0] == pytest.approx(np.exp(np.mean(np.log(penalties))), rel=1e-9)


def test_images_do_not_disturb_one_another():
    settings = [Setting((1, 2), 1.0), Setting((1,), 0.0), Setting((2,), "auto")]
    together = score_batch(batch(), settings, PixelProtocol(), 0)
    for i, part in enumerate(batch().split(1)):
        assert part.ids == IDS[i : i + 1]
        alone = score_batch(part, settings, PixelProtocol(), 0)
        np.testing.assert_allclose(alone.score[0], together.score[i], rtol=1e-9)
    assert [p.ids for p in batch().split(2)] == [("a", "b"), ("c",)]


@pytest.mark.parametrize("name", ["lite0_case", "wide_case"])
def test_float32_is_within_1e_4_from_penalty_1_on(name, request):
    factors = request.getfixturevalue(name).batch
    for penalty in (1.0, 1e2, 1e4):
        setting = [Setting((1, 2, 3, 4), penalty)]
        double = score_batch(factors, setting, PixelProtocol(), 0).score
        single = score_batch(factors, setting, PixelProtocol(), 0, torch.float32).score
        assert single.dtype == np.float64
        assert not np.array_equal(single, double)
        np.testing.assert_allclose(single, double, rtol=1e-4)


# The array function


def test_doctest():
    assert doctest.testmod(score).attempted > 5
    assert doctest.testmod(score).failed == 0


@pytest.mark.parametrize("ridge", [0, 0.5, 3, "auto"])
def test_array_function_is_the_first_repeat(ridge):
    setting = [Setting((1, 2, "stem"), ridge)]
    scores = score_batch(batch(), setting, PixelProtocol(repeats=3), 5).score[1, 0]
    assert len(set(scores)) == 3
    arrays = [f[1] for f in BLOCKS.values()]
    found = difficulty_score(arrays, TARGET[1], ridge=ridge, seed=5, image_id="b")
    assert found == pytest.approx(scores[0], rel=1e-12)


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


def test_array_function_leaves_its_arguments_alone():
    arrays, target = [f[0].copy() for f in BLOCKS.values()], TARGET[0].copy()
    difficulty_score(arrays, target)
    np.testing.assert_array_equal(arrays[0], BLOCKS[1][0])
    np.testing.assert_array_equal(target, TARGET[0])


def test_package_does_not_need_timm():
    code = "import sys, mia_lab.difficulty; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Constant images


@pytest.mark.parametrize("ridge", [1.0, 0.0, "auto"])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_images_have_difficulty_zero(level, ridge):
    for features in (BLOCKS[2][0], np.full((6, 2, 2), 3.25), np.zeros((3, 4, 4))):
        blocks = [features, np.zeros((2, 3, 3))]
        found = difficulty_score(blocks, np.full((3, 24, 24), level), ridge=ridge)
        assert 0 <= found < 1e-12


@pytest.mark.parametrize("ridge", [1.0, 0.0, "auto"])
@pytest.mark.parametrize("features", [np.zeros((3, 4, 4)), np.full((4, 2, 2), 3.25)])
def test_constant_features_leave_the_mean(features, ridge):
    train = train_pixels("a", 0, GRID * GRID)
    targets = rows(TARGET[0])
    found = difficulty_score([features, features], TARGET[0], ridge=ridge, image_id="a")
    wanted = np.abs(targets[~train] - targets[train].mean(axis=0)).mean()
    assert found == pytest.approx(wanted, rel=1e-9)


# What goes wrong


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [1, "stem", "target"])
def test_nonfinite_values_name_the_image(value, place):
    blocks, target = {k: f.copy() for k, f in BLOCKS.items()}, TARGET.copy()
    (target if place == "target" else blocks[place])[1, 0, 2, 2] = value
    with pytest.raises(UserError, match=r"image 'b': NaN or infinite"):
        score_batch(batch(blocks, target), [Setting((1,), 1.0)], PixelProtocol(), 0)


def test_nonfinite_arrays_name_the_image():
    features = BLOCKS[1][0].copy()
    features[0, 0, 0] = np.nan
    with pytest.raises(UserError, match=r"image 'img-7': NaN or infinite"):
        difficulty_score([features, features], TARGET[0], image_id="img-7")


def test_a_target_that_overflows_is_an_error_that_names_the_image():
    target = TARGET.copy()
    target[2] *= 1e308
    for error in ("l1", "l2"):
        with pytest.raises(UserError, match=r"image 'c': .*overflow"):
            score_batch(batch(target=target), [Setting((1, 2), 1.0)], PixelProtocol(error=error), 0)


def test_features_that_overflow_are_an_error():
    blocks = {k: f * 1e200 for k, f in BLOCKS.items()}
    with pytest.raises(UserError, match="scale them down"):
        score_batch(batch(blocks), [Setting((1, 2), 1.0)], PixelProtocol(), 0)


def test_a_penalty_lost_in_rounding_is_an_error():
    features = np.tile(np.random.default_rng(0).random((3, 8, 8)), (10, 1, 1))
    with pytest.raises(UserError, match="penalty of 1e-300 is below the rounding"):
        difficulty_score([features, features], TARGET[0, :, :8, :8], ridge=1e-300)


@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf"), "gcv", None, True])
def test_penalty_must_be_a_number_of_at_least_0_or_auto(ridge):
    with pytest.raises(UserError, match=r"difficulty\.ridge=.*at least 0.*auto"):
        difficulty_score([BLOCKS[1][0]], TARGET[0], ridge=ridge)


def test_penalty_as_it_is_checked():
    assert [check_ridge(r) for r in (0, 2, 0.5, "auto")] == [0.0, 2.0, 0.5, "auto"]
    assert isinstance(check_ridge(2), float)
    with pytest.raises(UserError, match=r"^difficulty\.grid\.ridge=-1:"):
        check_ridge(-1, "difficulty.grid.ridge")


@pytest.mark.parametrize("ridge", [0.0, "auto"])
def test_constant_features_reduced_by_qr_leave_the_mean(ridge):
    target = np.random.default_rng(0).random((3, 16, 16))
    train, features = train_pixels("a", 0, 256), np.full((6, 2, 2), 3.25)
    wanted = np.abs(rows(target)[~train] - rows(target)[train].mean(axis=0)).mean()
    found = difficulty_score([features, features], target, ridge=ridge, image_id="a")
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", ["lite0_case", "wide_case"])
def test_float32_is_within_1e_4_whatever_else_is_asked(name, request):
    factors = request.getfixturevalue(name).batch
    settings = [Setting((1, 2, 3, 4), r) for r in (1.0, 1.01, 1e2, 0.0)]
    double = score_batch(factors, settings, PixelProtocol(), 0).score
    single = score_batch(factors, settings, PixelProtocol(), 0, torch.float32).score
    np.testing.assert_allclose(single, double, rtol=1e-4)


def test_auto_is_refused_in_float32(lite0_case):
    setting = Setting((1, 2, 3, 4), "auto")
    with pytest.raises(ValueError, match="auto needs equations in float64"):
        score_batch(lite0_case.batch, [setting], PixelProtocol(), 0, torch.float32)


@pytest.mark.parametrize("others", [[], [1.0]], ids=["alone", "in company"])
def test_a_penalty_that_drowns_in_float32_is_refused(lite0_case, others):
    settings = [Setting((1, 2, 3, 4), r) for r in (1e-7, *others)]
    with pytest.raises(
        UserError, match=r"1e-07 is below the rounding.*use difficulty\.precision=float64"
    ):
        score_batch(lite0_case.batch, settings, PixelProtocol(), 0, torch.float32)
    score_batch(lite0_case.batch, settings, PixelProtocol(), 0)


def test_scales_of_other_images_do_not_matter_in_float32():
    blocks = {k: f.copy() for k, f in BLOCKS.items()}
    for features in blocks.values():
        features[0] *= 1e-3
        features[1] *= 1e7
    whole = batch(blocks)
    settings = [Setting(tuple(blocks), r) for r in (0.0, 1e11)]

    def score(part):
        return score_batch(part, settings, PixelProtocol(), 0, torch.float32).score

    alone = np.concatenate([score(part) for part in whole.split(1)])
    np.testing.assert_allclose(score(whole), alone, rtol=1e-5)


def test_a_list_of_penalties_is_told_apart():
    with pytest.raises(UserError, match=r"difficulty\.ridge=\[1.0\]: a penalty is one number"):
        difficulty_score([np.ones((2, 4, 4))], TARGET[0], ridge=[1.0])
