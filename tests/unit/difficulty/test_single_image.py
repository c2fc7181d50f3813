"""The difficulty table: streaming, order, batches, repeats, and what is refused."""

import numpy as np
import pytest
import torch

from mia_lab.difficulty.backbones import Backbone
from mia_lab.difficulty.features import extract, resize
from mia_lab.difficulty.probe import difficulty_score
from mia_lab.difficulty.single_image import SingleImageDifficulty
from mia_lab.errors import UserError
from mia_lab.types import PairBatch


@pytest.fixture(scope="module")
def lite0():
    torch.set_num_threads(1)
    return Backbone("tf_efficientnet_lite0", "packaged")


@pytest.fixture(scope="module")
def pairs():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 8, 8, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (48, 48), mode="bicubic").clamp(0, 1)
    y = (x.flip(1) + 0.2 * torch.rand(5, 3, 48, 48, generator=generator)).clamp(0, 1)
    return PairBatch(tuple(f"im-{i}" for i in range(5)), x, y)


def rows(batch, *index):
    index = list(index)
    return PairBatch(tuple(batch.ids[i] for i in index), batch.x[index], batch.y[index])


def scorer(backbone, **kwargs):
    return SingleImageDifficulty(backbone, **{"grid_size": 16, **kwargs})


def test_table_is_the_probe_on_the_backbones_features(lite0, pairs):
    table = scorer(lite0, layers=[1, 3], ridge=2.5).score([pairs], seed=4)
    maps = extract(lite0, pairs.x, [1, 3], grid_size=16)
    wanted = [
        difficulty_score(
            [m[i].numpy() for m in maps],
            resize(pairs.y, 16, 16)[i].numpy(),
            ridge=2.5,
            seed=4,
            image_id=pairs.ids[i],
        )
        for i in range(5)
    ]
    assert table.id.tolist() == list(pairs.ids)
    assert (table.layers.tolist(), table.ridge.tolist()) == (["1,3"], ["2.5"])
    assert table.score.dtype == np.float64
    np.testing.assert_allclose(table.score[:, 0, 0], wanted, rtol=1e-9)
    np.testing.assert_array_equal(table.column(["im-3"]), table.score[3, 0])


def test_batch_size_moves_scores_by_rounding_only(lite0, pairs):
    one = scorer(lite0, batch_size=1).score([pairs], seed=0)
    many = scorer(lite0, batch_size=5).score([pairs], seed=0)
    pieces = scorer(lite0).score([rows(pairs, 0, 1), rows(pairs, 2, 3, 4)], seed=0)
    np.testing.assert_allclose(one.score, many.score, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.score, pieces.score, rtol=0, atol=1e-5)


def test_order_and_company_do_not_matter(lite0, pairs):
    score = scorer(lite0, batch_size=1).score
    forwards = score([pairs], seed=0)
    backwards = score([rows(pairs, 4, 3, 2, 1, 0)], seed=0)
    alone = score([rows(pairs, 2)], seed=0)
    np.testing.assert_array_equal(forwards.column(pairs.ids), backwards.column(pairs.ids))
    np.testing.assert_array_equal(forwards.column(["im-2"]), alone.column(["im-2"]))


def test_seed_and_repeats_give_other_splits(lite0, pairs):
    table = scorer(lite0, repeats=3).score([pairs], seed=0)
    assert table.score.shape == (5, 1, 3)
    assert len(np.unique(table.score[0, 0])) == 3
    once = scorer(lite0).score([pairs], seed=0)
    np.testing.assert_array_equal(table.score[:, :, :1], once.score)
    assert not np.array_equal(once.score, scorer(lite0).score([pairs], seed=1).score)


@pytest.mark.parametrize(
    "change",
    [{"features_from": "target"}, {"preprocess": "official"}, {"layers": (1,)}, {"ridge": 1e3}],
)
def test_every_argument_matters(lite0, pairs, change):
    batch = rows(pairs, 0)
    default = scorer(lite0).score([batch], seed=0).score
    assert abs(scorer(lite0, **change).score([batch], seed=0).score - default).max() > 1e-4


def test_features_of_the_target_need_no_input(lite0, pairs):
    batch = rows(pairs, 0)
    other = PairBatch(batch.ids, torch.zeros(1, 9, 4, 4), batch.y)  # nine channels: a one-hot map
    score = scorer(lite0, features_from="target").score
    np.testing.assert_array_equal(score([batch], seed=0).score, score([other], seed=0).score)


def test_harder_targets_score_higher(lite0, pairs):
    smooth = torch.full_like(pairs.y, 0.5)
    noise = torch.rand(pairs.y.shape, generator=torch.Generator().manual_seed(1))
    levels = [
        scorer(lite0).score([PairBatch(pairs.ids, pairs.x, y)], seed=0).score[:, 0, 0]
        for y in (smooth, pairs.y, noise)
    ]
    assert levels[0].max() < 1e-8
    assert np.all(levels[0] < levels[1])
    assert np.all(levels[1] < levels[2])


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_constant_images_have_a_finite_score(lite0, pairs, level):
    constant = torch.full_like(pairs.x, level)
    table = scorer(lite0).score([PairBatch(pairs.ids, constant, pairs.y)], seed=0)
    assert np.isfinite(table.score).all()
    table = scorer(lite0).score([PairBatch(pairs.ids, constant, constant)], seed=0)
    assert table.score.max() < 1e-6


def test_progress_counts_images(lite0, pairs):
    seen = []
    scorer(lite0, batch_size=2).score([pairs], seed=0, on_progress=seen.append)
    assert seen == [2, 4, 5]


def test_no_pairs_no_rows(lite0):
    table = scorer(lite0, repeats=2).score([], seed=0)
    assert table.score.shape == (0, 1, 2)
    assert table.id.shape == (0,)


def test_batches_are_streamed(lite0, pairs):
    taken = []

    def batches():
        for i in range(5):
            taken.append(i)
            yield rows(pairs, i)

    first = []
    scorer(lite0).score(batches(), seed=0, on_progress=lambda n: first.append((n, len(taken))))
    assert first == [(n, n) for n in range(1, 6)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["input", "target"])
def test_nonfinite_images_are_named(lite0, pairs, side, value):
    x, y = pairs.x.clone(), pairs.y.clone()
    (x if side == "input" else y)[3, 0, 5, 5] = value
    with pytest.raises(UserError, match=rf"'im-3': its {side} holds NaN or infinite"):
        scorer(lite0).score([PairBatch(pairs.ids, x, y)], seed=0)


def test_one_id_twice_is_an_error(lite0, pairs):
    with pytest.raises(ValueError, match="'im-0' comes twice"):
        scorer(lite0).score([pairs, rows(pairs, 0)], seed=0)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("features_from", "output", "choose from input, target"),
        ("preprocess", "crop", "choose from aligned, official"),
        ("ridge", 0, "above 0"),
        ("ridge", "auto", "above 0"),
        ("grid_size", 4, "at least 8"),
        ("grid_size", 56.0, "at least 8"),
        ("repeats", 0, "at least 1"),
        ("batch_size", True, "at least 1"),
        ("layers", "layer1", "give a list"),
        ("layers", 1, "give a list"),
        ("layers", [5], "unknown layer"),
    ],
)
def test_arguments_are_checked_at_once(lite0, key, value, says):
    with pytest.raises(UserError, match=rf"difficulty\.{key}=.*{says}"):
        scorer(lite0, **{key: value})
