"""The probe against scikit-learn and scipy, on the columns that it never builds."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mia_lab.difficulty.columns import compact_factor, design_matrix
from mia_lab.difficulty.probe import (
    AUTO_DECADES,
    AUTO_STEPS,
    CUTOFF,
    _all_count,
    fit_least_squares,
)
from mia_lab.errors import UserError
from plain import (
    PENALTIES,
    SUBSETS,
    Probe,
    difference,
    least_norm,
    near_cutoff,
    ridge_predictions,
    rows,
    train_pixels,
    upsampled,
)

KINDS = ("random", "low rank", "duplicate", "constant column", "constant")


@st.composite
def problems(draw):
    """B images with random blocks: features, target, training pixels."""
    grid, n_images = draw(st.integers(4, 10)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    features = []
    for _ in range(draw(st.integers(1, 4))):
        channels = draw(st.integers(1, 14))
        size = draw(st.integers(1, 12)), draw(st.integers(1, 12))
        kind = draw(st.sampled_from(KINDS))
        block = rng.normal(size=(n_images, channels, *size))
        if kind == "low rank":
            block = np.einsum("ck,bkhw->bchw", rng.normal(size=(channels, 2)), block[:, :2])
        if kind == "low rank" and channels == 1:
            block = block[:, :1]
        if kind == "duplicate":
            block = np.concatenate([block, block[:, :1]], axis=1)
        if kind == "constant column":
            block[:, 0] = 3.25
        if kind == "constant":
            block[:] = -1.5
        features.append(block * draw(st.sampled_from([0.1, 1.0, 20.0])))
    target = rng.random((n_images, draw(st.integers(1, 3)), grid, grid))
    if draw(st.integers(0, 4)) == 0:
        target[:] = 0.3
    train = np.stack([train_pixels(str(i), 0, grid * grid) for i in range(n_images)])
    return features, target, train


def plain(features, target, image):
    columns = np.concatenate([upsampled(f[image], target.shape[-1]) for f in features], axis=1)
    return columns, rows(target[image])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(problems())
def test_ridge_equals_sklearn_on_odd_shapes_and_ranks(problem):
    features, target, train = problem
    blocks = range(len(features))
    probe = Probe(features, target, train)
    by_eigenvalues, used = probe.ridge(blocks, PENALTIES)
    assert np.allclose(used, PENALTIES)
    for image in range(len(target)):
        columns, values = plain(features, target, image)
        wanted = ridge_predictions(columns, values, train[image], PENALTIES)
        for k, penalty in enumerate(PENALTIES):
            assert difference(by_eigenvalues[image, k], wanted[k]) < 1e-6
            by_cholesky, _ = probe.ridge(blocks, [penalty])
            assert difference(by_cholesky[image, 0], wanted[k]) < 1e-6


@settings(max_examples=100, deadline=None, derandomize=True)
@given(problems())
def test_least_squares_equals_scipy_on_odd_shapes_and_ranks(problem):
    features, target, train = problem
    found, ranks = Probe(features, target, train).least_squares(range(len(features)))
    for image in range(len(target)):
        columns, values = plain(features, target, image)
        assume(np.ptp(columns, axis=0).max() > 1e-9)
        wanted, rank, singular = least_norm(columns, values, train[image])
        assume(near_cutoff(singular) == 0)
        assert ranks[image] == rank
        assert difference(found[image], wanted) < 1e-6


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problems())
def test_a_batch_is_its_images_one_by_one(problem):
    features, target, train = problem
    blocks = range(len(features))
    probe = Probe(features, target, train)
    together = probe.ridge(blocks, [1.0])[0], probe.ridge(blocks, [1.0, 7.0])[0]
    for i in range(len(target)):
        one = slice(i, i + 1)
        alone = Probe([f[one] for f in features], target[one], train[one])
        assert difference(together[0][i], alone.ridge(blocks, [1.0])[0][0]) < 1e-10
        assert difference(together[1][i], alone.ridge(blocks, [1.0, 7.0])[0][0]) < 1e-10


@pytest.mark.parametrize("name", ["lite0_case", pytest.param("wide_case", marks=pytest.mark.slow)])
def test_every_subset_of_blocks_equals_sklearn(name, request):
    case = request.getfixturevalue(name)
    probe = Probe([m.numpy() for m in case.maps], case.target, case.train[None])
    worst = 0.0
    for blocks in SUBSETS:
        wanted = ridge_predictions(case.full(blocks), case.rows, case.train, PENALTIES)
        by_eigenvalues, _ = probe.ridge(blocks, PENALTIES)
        for k, penalty in enumerate(PENALTIES):
            by_cholesky, _ = probe.ridge(blocks, [penalty])
            for found in (by_eigenvalues[0, k], by_cholesky[0, 0]):
                worst = max(worst, difference(found, wanted[k]))
                assert difference(found, wanted[k]) < 1e-6, (blocks, penalty)
    print(name, "largest difference from scikit-learn:", worst)


@pytest.mark.parametrize("blocks", SUBSETS, ids=str)
def test_penalty_zero_equals_scipy_on_lite0(lite0_case, blocks):
    assert_least_squares(lite0_case, blocks)


@pytest.mark.parametrize(
    "blocks", [(3,), pytest.param((0, 1, 2, 3), marks=pytest.mark.slow)], ids=str
)
def test_penalty_zero_equals_scipy_on_a_wide_resnet(wide_case, blocks):
    assert_least_squares(wide_case, blocks)


def assert_least_squares(case, blocks):
    probe = Probe([m.numpy() for m in case.maps], case.target, case.train[None])
    found, (found_rank,) = probe.least_squares(blocks)
    wanted, rank, singular = least_norm(case.full(blocks), case.rows, case.train)
    near = near_cutoff(singular)
    says = f"blocks {blocks}: rank {found_rank}, scipy's {rank}, {near} near the cut-off"
    print(says)
    if near:
        scores = [np.abs(p - case.rows)[~case.train].mean() for p in (found[0], wanted)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-6), says
    else:
        assert found_rank == rank, says
        assert difference(found[0], wanted) < 1e-6, says


def with_singular_values(shares, n_channels=9):
    """(1, C, 12, 12) features whose centred training rows have these shares of the largest."""
    rng = np.random.default_rng(0)
    train = train_pixels("a", 0, 144)
    left = rng.normal(size=(144, len(shares)))
    left -= left[train].mean(axis=0)
    orthogonal = left @ np.linalg.inv(np.linalg.qr(left[train]).R)
    right = np.linalg.qr(rng.normal(size=(n_channels, n_channels))).Q[:, : len(shares)]
    columns = orthogonal * shares @ right.T
    return columns.T.reshape(1, n_channels, 12, 12), columns, train


@pytest.mark.parametrize("more", [0, 4], ids=["as many columns", "more columns than rank"])
@pytest.mark.parametrize(
    ("last", "rank"), [(1e-4, 5), (1.01e-6, 5), (1.0001e-6, 5), (0.9999e-6, 4), (1e-8, 4), (0, 4)]
)
def test_penalty_zero_ignores_what_is_below_the_cutoff(last, rank, more):
    maps, columns, train = with_singular_values([1.0, 0.5, 0.1, 0.05, last], 5 + more)
    target = np.random.default_rng(1).random((1, 2, 12, 12))
    found, ranks = Probe([maps[:, :3], maps[:, 3:]], target, train[None]).least_squares([0, 1])
    wanted, wanted_rank, _ = least_norm(columns, rows(target[0]), train)
    assert ranks.tolist() == [wanted_rank] == [rank]
    assert difference(found[0], wanted) < 1e-6


@pytest.mark.parametrize("share", [1e-2, 1e-4, 4e-6])
def test_a_triangle_whose_singular_values_all_count_is_solved_without_them(share, monkeypatch):
    maps, columns, train = with_singular_values([1.0, 0.5, 0.1, 0.05, share], 5)
    target = np.random.default_rng(1).random((1, 2, 12, 12))
    wanted, rank, _ = least_norm(columns, rows(target[0]), train)
    monkeypatch.setattr(torch.linalg, "lstsq", None)  # would raise
    found, ranks = Probe([maps], target, train[None]).least_squares([0])
    assert ranks.tolist() == [rank] == [5]
    assert difference(found[0], wanted) < 1e-9


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.floats(-8, -3), st.integers(0, 2**32))
def test_the_bound_never_counts_a_singular_value_below_the_cutoff(size, exponent, seed):
    rng = np.random.default_rng(seed)
    shares = np.sort(10 ** rng.uniform(exponent, 0, size=size))
    left, right = (np.linalg.qr(rng.normal(size=(size, size))).Q for _ in range(2))
    triangle = np.linalg.qr(left * shares @ right).R
    if _all_count(torch.from_numpy(triangle)):
        singular = scipy.linalg.svdvals(triangle)
        assert singular[-1] > CUTOFF * singular[0]


def test_more_columns_than_training_pixels_are_fitted_with_least_norm():
    rng = np.random.default_rng(0)
    features, target = rng.normal(size=(1, 90, 9, 9)), rng.random((1, 3, 9, 9))
    train = train_pixels("a", 0, 81)
    found, ranks = Probe([features[:, :50], features[:, 50:]], target, train[None]).least_squares(
        [0, 1]
    )
    wanted, rank, _ = least_norm(*plain([features], target, 0), train)
    assert ranks.tolist() == [rank] == [train.sum() - 1]
    assert difference(found[0], wanted) < 1e-9


def test_copies_of_a_column_share_its_weight():
    rng = np.random.default_rng(0)
    once = rng.normal(size=(1, 4, 8, 8))
    features, target = np.concatenate([once, once[:, :2], once[:, :1]], 1), rng.random((1, 3, 8, 8))
    train = train_pixels("a", 0, 64)[None]
    probe = Probe([features], target, train)
    fit = fit_least_squares(probe.columns, [0], probe.targets, probe.train)
    weights = fit.weights[0, 0].numpy()
    assert fit.rank.tolist() == [4]
    np.testing.assert_allclose(weights[4:], weights[[0, 1, 0]], rtol=1e-9)
    wanted, _, _ = least_norm(*plain([features], target, 0), train[0])
    assert difference(probe.least_squares([0])[0][0], wanted) < 1e-9


def test_constant_features_predict_the_mean_at_penalty_zero():
    rng = np.random.default_rng(0)
    target, train = rng.random((1, 3, 8, 8)), train_pixels("a", 0, 64)
    features = [np.full((1, 3, 8, 8), 0.25), np.zeros((1, 40, 2, 3)), np.full((1, 9, 3, 3), 1e3)]
    found, ranks = Probe(features, target, train[None]).least_squares([0, 1, 2])
    wanted = rows(target[0])[train].mean(axis=0)
    assert ranks.tolist() == [0]
    np.testing.assert_allclose(found[0], np.broadcast_to(wanted, (64, 3)), rtol=1e-12)


def test_a_block_of_fewer_pixels_than_channels_has_one_column_less_than_pixels():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 30, 3, 4)) + 100
    target, train = rng.random((2, 3, 9, 9)), np.ones((2, 81), dtype=bool)
    probe = Probe([features, features[:, :, :1, :1]], target, train)
    assert [native.shape for native in probe.columns.native] == [(12, 2, 11), (1, 2, 1)]
    flat = features.reshape(2, 30, 12).transpose(0, 2, 1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    native = probe.columns.native[0].numpy().transpose(1, 0, 2)
    np.testing.assert_allclose(
        native @ native.transpose(0, 2, 1), flat @ flat.transpose(0, 2, 1), atol=1e-10
    )
    found, ranks = probe.least_squares([0, 1])
    for i in range(2):
        wanted, rank, _ = least_norm(upsampled(features[i], 9), rows(target[i]), train[i])
        assert ranks[i] == rank == 11
        assert difference(found[i], wanted) < 1e-9


def test_penalty_zero_is_the_limit_of_small_penalties(lite0_case):
    probe = Probe([m.numpy() for m in lite0_case.maps], lite0_case.target, lite0_case.train[None])
    exact, _ = probe.least_squares([0, 1])
    small, _ = probe.ridge([0, 1], [1e-6])
    assert difference(small[0, 0], exact[0]) < 1e-6


# Factors and columns


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_factor_has_the_gram_matrix_of_all_channels(channels, height, width, seed):
    features = np.random.default_rng(seed).normal(size=(2, channels, height, width))
    factor = compact_factor(torch.from_numpy(features)).numpy()
    assert factor.shape == (2, height, width, min(channels, height * width))
    flat, reduced = features.reshape(2, channels, -1), factor.reshape(2, height * width, -1)
    gram = np.einsum("bcs,bct->bst", flat, flat)
    np.testing.assert_allclose(reduced @ reduced.transpose(0, 2, 1), gram, rtol=1e-10, atol=1e-10)


def test_factor_of_float32_features_is_made_in_float64():
    features = torch.rand(1, 40, 3, 3, generator=torch.Generator().manual_seed(0))
    factor = compact_factor(features)
    assert factor.dtype == torch.float64
    assert torch.equal(factor, compact_factor(features.double()))
    assert compact_factor(features[:, :9]).dtype == torch.float32


def test_design_matrix_is_the_upsampled_columns_that_vary_up_to_their_mean():
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 2, 7, 7))]
    features[0][1, 2] = 5.0  # of the second image, constant
    probe = Probe(features, rng.random((2, 3, 9, 9)), np.ones((2, 81), dtype=bool))
    pixels = np.array([0, 7, 8, 40, 80])
    for blocks in ([0], [1], [0, 1], [1, 0]):
        for i in range(2):
            design, kept = design_matrix(probe.columns, blocks, i, torch.from_numpy(pixels))
            wanted = np.concatenate([upsampled(features[b][i], 9) for b in blocks], axis=1)
            shift = np.concatenate([features[b][i].mean(axis=(1, 2)) for b in blocks])
            assert kept.tolist() == [
                b == 1 or i == 0 or c != 2 for b in blocks for c in range(3 - b)
            ]
            wanted = (wanted - shift)[pixels][:, kept.numpy()]
            np.testing.assert_allclose(design, wanted, atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems())
def test_normal_equations_are_sums_over_training_pixels(problem):
    features, target, train = problem
    probe = Probe(features, target, train)
    equations, blocks = probe.equations, range(len(features))
    for i in range(len(target)):
        pixels = torch.from_numpy(np.flatnonzero(train[i]))
        design, kept = design_matrix(probe.columns, blocks, i, pixels)
        columns, values = np.zeros((len(design), len(kept))), rows(target[i])[train[i]]
        columns[:, kept.numpy()] = design
        mean, target_mean = columns.mean(axis=0), values.mean(axis=0)
        columns, values = columns - mean, values - target_mean
        scale = 1e-10 * max(1, np.abs(columns).max() ** 2) * len(values)
        for found, wanted in (
            (equations.normal.tril(), np.tril(columns.T @ columns)),
            (equations.cross, columns.T @ values),
            (equations.energy, np.square(values).sum(axis=0)),
            (equations.column_mean, mean),
            (equations.target_mean, target_mean),
        ):
            np.testing.assert_allclose(found[i].numpy(), wanted, rtol=0, atol=scale)
        assert equations.n_train == train[i].sum()


def test_solving_leaves_the_equations_as_they_were(lite0_case):
    probe = Probe([m.numpy() for m in lite0_case.maps], lite0_case.target, lite0_case.train[None])
    before = probe.equations.normal.clone()
    first, _ = probe.ridge(range(4), [1e4])
    assert torch.equal(probe.equations.normal, before)
    probe.ridge(range(4), [1.0, "auto"])
    again, _ = probe.ridge(range(4), [1e4])
    np.testing.assert_array_equal(first, again)


def test_predictions_are_not_clipped():
    ramp = np.linspace(-10, 10, 100).reshape(1, 1, 10, 10)
    step = (ramp > 0).astype(float)
    found, _ = Probe([ramp], step, train_pixels("a", 0, 100)[None]).ridge([0], [1e-2])
    assert found.min() < 0
    assert found.max() > 1


# auto


def gcv(columns, targets, train):
    """Of the candidates, the penalty of least GCV score by the hat matrix, and its predictions."""
    n = train.sum()
    mean, target_mean = columns[train].mean(axis=0), targets[train].mean(axis=0)
    centred, values = columns[train] - mean, targets[train] - target_mean
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    candidates = (singular[0] ** 2 or 1) * np.logspace(*AUTO_DECADES, AUTO_STEPS)
    scores = []
    for penalty in candidates:
        hat = left * (singular**2 / (singular**2 + penalty)) @ left.T
        free = n - 1 - np.trace(hat)
        rss = np.square(values - hat @ values).sum()
        scores.append(n * rss / free**2 if free > 0.01 * n else np.inf)
    best = candidates[int(np.argmin(scores))]
    weights = right.T @ ((singular / (singular**2 + best))[:, None] * (left.T @ values))
    return best, (columns - mean) @ weights + target_mean


@pytest.mark.parametrize("noise", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("channels", [3, 30, 200])
def test_auto_is_the_minimum_of_gcv_over_the_hat_matrix(channels, noise):
    rng = np.random.default_rng(channels)
    features = [rng.normal(size=(2, channels, 12, 12)), rng.normal(size=(2, 4, 5, 3))]
    target = features[0][:, :2] + noise * rng.normal(size=(2, 2, 12, 12))
    train = np.stack([train_pixels(i, 0, 144) for i in "ab"])
    probe = Probe(features, target, train)
    found, penalty = probe.ridge([0, 1], ["auto"])
    with_others, same = probe.ridge([0, 1], [1.0, "auto"])
    np.testing.assert_allclose(same[:, 1], penalty[:, 0], rtol=1e-12)
    assert difference(with_others[:, 1], found[:, 0]) < 1e-12  # summed in another order
    for i in range(2):
        wanted_penalty, wanted = gcv(*plain(features, target, i), train[i])
        assert penalty[i, 0] == pytest.approx(wanted_penalty, rel=1e-9)
        assert difference(found[i, 0], wanted) < 1e-6


def test_auto_on_lite0_is_the_minimum_of_gcv(lite0_case):
    probe = Probe([m.numpy() for m in lite0_case.maps], lite0_case.target, lite0_case.train[None])
    blocks = (1, 2)
    found, penalty = probe.ridge(blocks, ["auto"])
    wanted_penalty, wanted = gcv(lite0_case.full(blocks), lite0_case.rows, lite0_case.train)
    assert penalty[0, 0] == pytest.approx(wanted_penalty, rel=1e-9)
    assert difference(found[0, 0], wanted) < 1e-6


def test_auto_does_not_interpolate_where_columns_outnumber_pixels():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 200, 10, 10))
    signal = features[:, :1] / 2
    target = signal + rng.normal(size=(1, 1, 10, 10))
    train = train_pixels("a", 0, 100)
    probe = Probe([features[:, :100], features[:, 100:]], target, train[None])
    found, (penalty,) = probe.ridge([0, 1], ["auto"])
    residual = np.abs(found[0, 0] - rows(target[0]))[train]
    interpolating, _ = probe.ridge([0, 1], [1e-9])
    assert np.abs(interpolating[0, 0] - rows(target[0]))[train].max() < 1e-6
    assert residual.mean() > 0.1
    assert penalty[0] > 1


def test_auto_is_defined_for_constant_features_and_targets():
    rng = np.random.default_rng(0)
    train = train_pixels("a", 0, 64)[None]
    varied, constant = rng.random((1, 3, 8, 8)), np.full((1, 3, 8, 8), 0.25)
    for features, target in ((constant, varied), (varied, constant), (constant, constant)):
        found, penalty = Probe([features, features], target, train).ridge([0, 1], ["auto"])
        assert np.isfinite(penalty).all()
        if features is constant or target is constant:
            wanted = rows(target[0])[train[0]].mean(axis=0)
            np.testing.assert_allclose(found[0, 0], np.broadcast_to(wanted, (64, 3)), atol=1e-9)


def test_auto_of_equal_scores_is_the_largest():
    _, penalty = Probe(
        [np.ones((1, 2, 8, 8))] * 2, np.full((1, 1, 8, 8), 0.5), train_pixels("a", 0, 64)[None]
    ).ridge([0, 1], ["auto"])
    assert penalty[0, 0] == 10 ** AUTO_DECADES[0]


# What goes wrong


def duplicates():
    features = np.tile(np.random.default_rng(0).random((1, 3, 8, 8)), (1, 10, 1, 1))
    return [features, features], np.random.default_rng(1).random((1, 3, 8, 8))


def test_a_penalty_lost_in_rounding_is_an_error():
    probe = Probe(*duplicates(), train_pixels("a", 0, 64)[None])
    with pytest.raises(UserError, match=r"penalty of 1e-300 is below the rounding.*float64"):
        probe.ridge([0, 1], [1e-300])


def test_float32_refuses_a_penalty_that_float64_takes():
    train = train_pixels("a", 0, 64)[None]
    wanted = ridge_predictions(*plain(*duplicates(), 0), train[0], [1e-7])
    found, _ = Probe(*duplicates(), train).ridge([0, 1], [1e-7])
    assert difference(found[0], wanted) < 1e-6
    with pytest.raises(UserError, match=r"penalty of 1e-07 is below the rounding.*float32"):
        Probe(*duplicates(), train, torch.float32).ridge([0, 1], [1e-7])


def test_a_penalty_lost_in_rounding_is_an_error_among_several_too():
    rng = np.random.default_rng(0)
    features = np.tile(rng.random((1, 3, 16, 16)), (1, 10, 1, 1))
    probe = Probe([features, features], rng.random((1, 3, 16, 16)), train_pixels("a", 0, 256)[None])
    with pytest.raises(UserError, match="is below the rounding"):
        probe.ridge([0, 1], [1.0, 1e-100])


def test_blocks_out_of_order_are_refused():
    probe = Probe(*duplicates(), train_pixels("a", 0, 64)[None])
    places = probe.columns.slices()
    with pytest.raises(ValueError, match="ascending order"):
        probe.equations.subset(places[::-1])
