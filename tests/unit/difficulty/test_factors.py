"""Factors on disk: the same bits back, only the layers wanted, a batch at a time."""

import numpy as np
import pytest
import torch

from mia_lab.difficulty.factors import load_factors, save_factors
from mia_lab.difficulty.score import FactorBatch
from mia_lab.difficulty.single_image import SingleImageDifficulty
from mia_lab.types import PairBatch


@pytest.fixture(scope="module")
def pairs():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(5, 3, 40, 40, generator=generator) for _ in range(2))
    return PairBatch(("é", "b/1", "c", "d", "e"), x, y)


@pytest.fixture(scope="module")
def scorer(lite0):
    return SingleImageDifficulty(lite0, [1, "conv_stem"], grid_size=16, batch_size=2)


@pytest.fixture(scope="module")
def stored(scorer, pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("factors")
    save_factors(folder, scorer.factors([pairs], scorer.stored_layers), 5)
    return folder


def joined(batches):
    batches = list(batches)
    layers = list(batches[0].factors)
    return (
        [i for b in batches for i in b.ids],
        {k: torch.cat([b.factors[k] for b in batches]) for k in layers},
        torch.cat([b.target for b in batches]),
    )


@pytest.mark.parametrize("batch_size", [1, 2, 5, 9])
def test_what_comes_back_is_bitwise_what_went_in(scorer, pairs, stored, batch_size):
    ids, factors, target = joined(scorer.factors([pairs], scorer.stored_layers))
    found_ids, found, found_target = joined(load_factors(stored, scorer.stored_layers, batch_size))
    assert found_ids == ids == list(pairs.ids)
    assert list(found) == list(factors) == [1, 2, 3, 4, "conv_stem"]
    for layer in factors:
        assert found[layer].dtype == factors[layer].dtype
        assert torch.equal(found[layer], factors[layer])
    assert torch.equal(found_target, target)


def test_layers_are_read_as_asked_for(scorer, pairs, stored):
    _, factors, _ = joined(scorer.factors([pairs], scorer.stored_layers))
    for layers in ([3], ["conv_stem", 2]):
        _, found, _ = joined(load_factors(stored, layers, 2))
        assert list(found) == layers
        assert all(torch.equal(found[k], factors[k]) for k in layers)
    with pytest.raises(ValueError, match="blocks"):
        next(load_factors(stored, ["blocks.0"], 2))


def test_batches_have_the_size_asked_for(stored):
    assert [len(b.ids) for b in load_factors(stored, [4], 2)] == [2, 2, 1]


def test_what_is_read_may_be_written_to(stored):
    next(load_factors(stored, [4], 2)).target.zero_()
    assert next(load_factors(stored, [4], 2)).target.max() > 0


@pytest.mark.parametrize("layers", [(1, 2, 3, 4), (2, 4), (3,), ("conv_stem", 1)], ids=str)
def test_scores_are_bitwise_those_of_a_stream(lite0, pairs, stored, layers):
    for setting in ({}, {"ridge": "auto"}, {"ridge": 0}, {"grid": {"ridge": [3.0, 0]}}):
        scorer = SingleImageDifficulty(lite0, layers, grid_size=16, batch_size=2, **setting)
        streamed = scorer.score(scorer.factors([pairs]), 0)
        found = scorer.score(load_factors(stored, scorer.wanted_layers, 3), 0)
        np.testing.assert_array_equal(found.score, streamed.score)
        np.testing.assert_array_equal(found.rank, streamed.rank)
        assert found.id.tolist() == streamed.id.tolist()


def test_files_have_the_bytes_announced(lite0, pairs, tmp_path):
    for preprocess in ("aligned", "official"):
        folder = tmp_path / preprocess
        folder.mkdir()
        scorer = SingleImageDifficulty(lite0, preprocess=preprocess, grid_size=16)
        save_factors(folder, scorer.factors([pairs], scorer.stored_layers), 5)
        arrays = [np.load(path, mmap_mode="r") for path in folder.glob("*.npy")]
        assert len(arrays) == 5
        assert sum(a.nbytes for a in arrays) == 5 * scorer.bytes_per_image()
        headers = [p.stat().st_size - np.load(p).nbytes for p in folder.glob("*.npy")]
        assert all(0 < h <= 256 for h in headers)


@pytest.mark.parametrize("announced", [4, 6])
def test_a_wrong_number_of_images_is_an_error(scorer, pairs, tmp_path, announced):
    with pytest.raises(ValueError, match=f"5 rows were written, expected {announced}"):
        save_factors(tmp_path, scorer.factors([pairs]), announced)


def test_one_batch_is_held_at_a_time(tmp_path):
    drawn = []

    def batches():
        for i in range(4):
            written = np.fromfile(tmp_path / "target.npy", np.uint8) if i else np.zeros(0)
            drawn.append(np.count_nonzero(written))  # its space is claimed at once
            factors = {1: torch.rand(1, 16, 16, 64)}
            yield FactorBatch((str(i),), factors, torch.rand(1, 3, 64, 64))

    save_factors(tmp_path, batches(), 4)
    assert drawn[3] >= 2 * 3 * 64 * 64 * 3, "batches were kept back"
