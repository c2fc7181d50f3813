"""The difficulty table: the released score, the lattice of settings, streaming, what is refused."""

import itertools

import numpy as np
import pytest
import torch

from mia_lab.difficulty import difficulty_score
from mia_lab.difficulty.features import prepare
from mia_lab.difficulty.resampling import to_grid
from mia_lab.difficulty.single_image import SingleImageDifficulty, ridge_key
from mia_lab.errors import UserError
from mia_lab.hardware import cores
from mia_lab.types import PairBatch


@pytest.fixture(scope="module")
def pairs():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 8, 8, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (48, 48), mode="bicubic").clamp(0, 1)
    y = (x.flip(1) + 0.2 * torch.rand(5, 3, 48, 48, generator=generator)).clamp(0, 1)
    return PairBatch(tuple(f"im-{i}" for i in range(5)), x, y)


def pick(batch, *index):
    index = list(index)
    return PairBatch(tuple(batch.ids[i] for i in index), batch.x[index], batch.y[index])


def scorer(backbone, **kwargs):
    return SingleImageDifficulty(backbone, **{"grid_size": 16, **kwargs})


def table(backbone, batches, seed=0, **kwargs):
    made = scorer(backbone, **kwargs)
    return made.score(made.factors(batches), seed)


# The table


def test_table_is_the_probe_on_the_backbones_features(lite0, pairs):
    found = table(lite0, [pairs], seed=4, layers=[1, 3], ridge=2.5)
    maps = lite0.features(prepare(pairs.x, "aligned", 16), [1, 3])
    wanted = [
        difficulty_score(
            [m[i].numpy() for m in maps],
            to_grid(pairs.y, 16)[i].numpy(),
            ridge=2.5,
            seed=4,
            image_id=pairs.ids[i],
        )
        for i in range(5)
    ]
    assert found.id.tolist() == list(pairs.ids)
    assert found.backbone.tolist() == ["tf_efficientnet_lite0 (packaged)"]
    assert found.features_from.tolist() == ["input"]
    assert (found.layers.tolist(), found.ridge.tolist()) == (["1,3"], ["2.5"])
    assert found.score.dtype == np.float64
    assert found.map.shape == (5, 0, 0)
    np.testing.assert_allclose(found.score[:, 0, 0], wanted, rtol=1e-9)
    np.testing.assert_array_equal(found.column(["im-3"]), found.score[3, 0])


def test_batch_size_moves_scores_by_rounding_only(lite0, pairs):
    one = table(lite0, [pairs], batch_size=1)
    many = table(lite0, [pairs], batch_size=5)
    pieces = table(lite0, [pick(pairs, 0, 1), pick(pairs, 2, 3, 4)])
    np.testing.assert_allclose(one.score, many.score, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.score, pieces.score, rtol=0, atol=1e-5)


def test_order_and_company_do_not_matter(lite0, pairs):
    forwards = table(lite0, [pairs], batch_size=1)
    backwards = table(lite0, [pick(pairs, 4, 3, 2, 1, 0)], batch_size=1)
    alone = table(lite0, [pick(pairs, 2)])
    np.testing.assert_array_equal(forwards.column(pairs.ids), backwards.column(pairs.ids))
    np.testing.assert_array_equal(forwards.column(["im-2"]), alone.column(["im-2"]))


def test_seed_and_repeats_give_other_splits(lite0, pairs):
    found = table(lite0, [pairs], repeats=3)
    assert found.score.shape == (5, 1, 3)
    assert len(np.unique(found.score[0, 0])) == 3
    once = table(lite0, [pairs])
    np.testing.assert_array_equal(found.score[:, :, :1], once.score)
    assert not np.array_equal(once.score, table(lite0, [pairs], seed=1).score)


def test_maps_are_kept_where_asked_for(lite0, pairs):
    found = table(lite0, [pairs], protocol="kfold", folds=3, repeats=2, maps=True)
    assert found.map.shape == (5, 16, 16)
    assert found.map.dtype == np.float32
    np.testing.assert_allclose(
        found.map.astype(float).mean(axis=(1, 2)), found.mean()[:, 0], rtol=1e-6
    )
    without = table(lite0, [pairs], protocol="kfold", folds=3, repeats=2)
    assert without.map.shape == (5, 0, 0)
    np.testing.assert_array_equal(without.score, found.score)


CHANGES = [
    {"features_from": "target"},
    {"preprocess": "official"},
    {"grid_size": 24},
    {"layers": (1,)},
    {"ridge": 1e3},
    {"ridge": "auto"},
    {"protocol": "kfold"},
    {"protocol": "kfold", "folds": 9},
    {"error": "l2"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_argument_matters(lite0, pairs, change):
    batch = pick(pairs, 0)
    default = table(lite0, [batch]).score
    assert abs(table(lite0, [batch], **change).score - default).max() > 1e-5


def test_features_of_the_target_need_no_input(lite0, pairs):
    batch = pick(pairs, 0)
    other = PairBatch(batch.ids, torch.zeros(1, 9, 4, 4), batch.y)  # a black picture of nine bands
    found = [table(lite0, [b], features_from="target").score for b in (batch, other)]
    np.testing.assert_array_equal(*found)
    black = PairBatch(batch.ids, torch.zeros(1, 3, 4, 4), batch.y)
    found = [table(lite0, [b], features_from="input").score for b in (other, black, batch)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
    assert abs(found[0] - found[2]).max() > 1e-3


def test_harder_targets_score_higher(lite0, pairs):
    smooth = torch.full_like(pairs.y, 0.5)
    noise = torch.rand(pairs.y.shape, generator=torch.Generator().manual_seed(1))
    levels = [
        table(lite0, [PairBatch(pairs.ids, pairs.x, y)]).score[:, 0, 0]
        for y in (smooth, pairs.y, noise)
    ]
    assert levels[0].max() < 1e-8
    assert np.all(levels[0] < levels[1])
    assert np.all(levels[1] < levels[2])


@pytest.mark.parametrize("ridge", [1.0, 0, "auto"])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_constant_images_have_a_finite_score(lite0, pairs, level, ridge):
    batch = pick(pairs, 0)
    constant = torch.full_like(batch.x, level)
    found = table(lite0, [PairBatch(batch.ids, constant, batch.y)], ridge=ridge).score
    assert 0.01 < found.item() < 1
    found = table(lite0, [PairBatch(batch.ids, constant, constant)], ridge=ridge).score
    assert 0 <= found.item() < 1e-6


# The lattice


def test_configured_setting_comes_first_and_all_others_once(lite0):
    grid = {"layers": [[1], [1, 2], [4, "conv_stem"]], "ridge": [1.0, 0, "auto", 1]}
    made = scorer(lite0, layers=[1, 2], ridge=1, grid=grid)
    found = [(s.layers, s.ridge) for s in made.settings]
    assert found[0] == ((1, 2), 1.0)
    wanted = itertools.product([(1, 2), (1,), (4, "conv_stem")], [1.0, 0.0, "auto"])
    assert sorted(found, key=str) == sorted(wanted, key=str)
    assert made.stored_layers == (1, 2, 3, 4, "conv_stem")
    assert set(made.wanted_layers) == {1, 2, 4, "conv_stem"}


def test_one_axis_alone(lite0):
    made = scorer(lite0, layers=[3], ridge=5, grid={"ridge": [7]})
    assert [(s.layers, s.ridge) for s in made.settings] == [((3,), 5.0), ((3,), 7.0)]
    made = scorer(lite0, layers=[3], ridge=5, grid={"layers": [[1]]})
    assert [(s.layers, s.ridge) for s in made.settings] == [((3,), 5.0), ((1,), 5.0)]
    assert len(scorer(lite0, grid={}).settings) == len(scorer(lite0).settings) == 1


@pytest.mark.parametrize("ridge", [1.0, 0, "auto"])
@pytest.mark.parametrize("layers", [(1, 2, 3, 4), (2, 3)])
@pytest.mark.parametrize("protocol", ["holdout", "kfold"])
def test_a_grid_leaves_the_configured_score_bitwise(lite0, pairs, layers, ridge, protocol):
    grid = {"layers": [[1], [1, 2, 3, 4]], "ridge": [1.0, 0, "auto", 1e4]}
    alone = table(lite0, [pairs], layers=layers, ridge=ridge, protocol=protocol)
    found = table(lite0, [pairs], layers=layers, ridge=ridge, protocol=protocol, grid=grid)
    np.testing.assert_array_equal(found.score[:, :1], alone.score)
    np.testing.assert_array_equal(found.penalty[:, :1], alone.penalty)
    np.testing.assert_array_equal(found.rank[:, :1], alone.rank)


def test_every_setting_of_a_grid_is_scored_as_if_configured(lite0, pairs):
    grid = {"layers": [[1], [2, 4]], "ridge": [0, "auto", 1e4]}
    found = table(lite0, [pairs], layers=[1, 2, 3], grid=grid)
    assert found.score.shape == (5, 12, 1)
    for s, (layers, ridge) in enumerate(zip(found.layers, found.ridge, strict=True)):
        alone = table(
            lite0,
            [pairs],
            layers=[int(k) for k in layers.split(",")],
            ridge=ridge if ridge == "auto" else float(ridge),
        )
        np.testing.assert_allclose(found.score[:, s], alone.score[:, 0], rtol=1e-9)
        np.testing.assert_allclose(found.penalty[:, s], alone.penalty[:, 0], rtol=1e-9)
        np.testing.assert_array_equal(found.rank[:, s], alone.rank[:, 0])


def test_penalties_as_words():
    assert [ridge_key(r) for r in (1.0, 0.01, 1e4, 1e-10, 0.0, "auto")] == [
        "1",
        "0.01",
        "10000",
        "1e-10",
        "0",
        "auto",
    ]


# Streaming


def test_progress_counts_images(lite0, pairs):
    seen = []
    made = scorer(lite0, batch_size=2)
    made.score(made.factors([pairs]), 0, on_progress=seen.append)
    assert seen == [1, 2, 3, 4, 5]


def test_batches_are_streamed(lite0, pairs):
    taken = []

    def batches():
        for i in range(20):
            taken.append(i)
            yield named(pick(pairs, i % 5), f"image {i}")

    def named(batch, name):
        return PairBatch((name,), batch.x, batch.y)

    seen = []
    made = scorer(lite0)
    made.score(made.factors(batches()), 0, on_progress=lambda n: seen.append((n, len(taken))))
    assert [n for n, _ in seen] == [*range(1, 21)]
    assert all(taken <= n + 2 * (cores() + 1) for n, taken in seen)


def test_images_go_through_the_network_batch_by_batch(lite0, pairs, monkeypatch):
    sizes = []
    features = lite0.features
    monkeypatch.setattr(
        lite0,
        "features",
        lambda images, layers: sizes.append(len(images)) or features(images, layers),
    )
    assert len(list(scorer(lite0, batch_size=2).factors([pairs, pick(pairs, 0)]))) == 4
    assert sorted(sizes) == [1, 1, 2, 2]


# What goes wrong


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["input", "target"])
def test_nonfinite_images_are_named(lite0, pairs, side, value):
    x, y = pairs.x.clone(), pairs.y.clone()
    (x if side == "input" else y)[3, 0, 5, 5] = value
    with pytest.raises(UserError, match=rf"'im-3': its {side} contains NaN or infinite"):
        table(lite0, [PairBatch(pairs.ids, x, y)])


def test_one_id_twice_is_an_error(lite0, pairs):
    with pytest.raises(ValueError, match="'im-0' comes twice"):
        table(lite0, [pairs, pick(pairs, 0)])


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("maps", True, "protocol=holdout.*use difficulty.protocol=kfold"),
        ("ridge", -1, "at least 0"),
        ("ridge", "cv", "at least 0"),
        ("layers", "layer1", "give a list"),
        ("layers", 1, "give a list"),
        ("layers", [5], "unknown layer"),
        ("layers", [], "name at least one"),
    ],
)
def test_arguments_are_checked_at_once(lite0, key, value, says):
    with pytest.raises(UserError, match=rf"difficulty\.{key}=.*{says}"):
        scorer(lite0, **{key: value})


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"layers": [1]}, r"difficulty\.grid\.layers=1: give a list"),
        ({"layers": [[]]}, r"difficulty\.grid\.layers=\[\]: name at least one"),
        ({"layers": [[1, 2, 1]]}, r"difficulty\.grid\.layers=\[1, 2, 1\]: 1 is there twice"),
        ({"layers": [[[1]]]}, r"\[1\] is no layer"),
        ({"layers": [["layer9"]]}, r"layer9.*unknown layer"),
        ({"ridge": [-1]}, r"difficulty\.grid\.ridge=-1"),
    ],
)
def test_grid_is_checked_at_once(lite0, grid, says):
    with pytest.raises(UserError, match=says):
        scorer(lite0, grid=grid)


def test_layers_are_checked_even_beside_a_grid(lite0):
    for layers in ([], [1, 1]):
        with pytest.raises(UserError, match=r"difficulty\.layers="):
            scorer(lite0, layers=layers, grid={"layers": [[1]]})


@pytest.mark.parametrize("change", [{"ridge": "auto"}, {"grid": {"ridge": ["auto"]}}])
def test_auto_needs_float64(lite0, change):
    with pytest.raises(UserError, match=r"difficulty\.precision=float32.*use float64"):
        scorer(lite0, precision="float32", **change)


def test_more_folds_than_pixels(lite0):
    with pytest.raises(UserError, match=r"difficulty\.folds=300: there are only 256 pixels"):
        scorer(lite0, protocol="kfold", folds=300)
