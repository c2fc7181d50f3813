"""Altered queries: mirrored, or one corner enlarged; and what a victim answers to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mia_lab.data.dataset import PairDataset
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.data.transforms import altered
from mia_lab.defenses.output_noise import OutputNoise
from mia_lab.defenses.smoothing import Smoothing
from mia_lab.types import ADAPTIVE, PairBatch
from mia_lab.victims.query import Questioner, query_altered


@pytest.fixture(scope="module")
def pairs() -> PairDataset:
    source = ProceduralPairs("facades", "BtoA", seed=0, n_train=5, n_test=0)
    return PairDataset(source, source.ids("train"), image_size=32)


class Inverse:
    """Answers one minus the input."""

    def translate(self, x: torch.Tensor) -> torch.Tensor:
        return 1 - x


def test_alterations() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 3, 16, 16, generator=rng), torch.rand(2, 3, 16, 16, generator=rng)
    labels = torch.randint(0, 2, (2, 4, 16, 16), generator=rng).float()
    batch = PairBatch(("a", "b"), x, y, labels)
    mirrored = altered(batch, "hflip")
    assert torch.equal(mirrored.x, x.flip(3))
    assert torch.equal(mirrored.condition, labels.flip(3))
    corners = {"crop-0": (0, 0), "crop-1": (0, 2), "crop-2": (2, 0), "crop-3": (2, 2)}
    for name, (top, left) in corners.items():
        crop = altered(batch, name)
        region = y[:, :, top : top + 14, left : left + 14]
        expected = F.interpolate(region, size=16, mode="bicubic", antialias=True).clamp(0, 1)
        torch.testing.assert_close(crop.y, expected)
        assert set(crop.condition.unique().tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match="no alteration"):
        altered(batch, "vflip")


@pytest.mark.parametrize("size", [(16, 24), (20, 35)])
def test_a_degraded_input_is_its_blocks_interpolated(size: tuple[int, int]) -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 3, *size, generator=rng), torch.rand(2, 3, *size, generator=rng)
    labels = F.one_hot(torch.randint(0, 4, (2, *size), generator=rng)).movedim(3, 1).float()
    found = altered(PairBatch(("a", "b"), x, y, labels, ("p", "q")), "degraded")
    assert torch.equal(found.y, y)
    assert found.prompts == ("p", "q")
    for given, blurred in ((x, found.x), (labels, found.condition)):
        expected = interpolated_blocks(given.double().numpy())
        np.testing.assert_allclose(blurred.numpy(), expected, atol=5e-7)
    np.testing.assert_allclose(found.condition.double().sum(1).numpy(), 1, atol=5e-7)
    assert (found.x - x).abs().mean() > 0.1


def interpolated_blocks(pictures: np.ndarray) -> np.ndarray:
    """Means over blocks of about 8 x 8 pixels, and lines between the blocks' centres."""
    n, channels, height, width = pictures.shape
    down, across = round(height / 8), round(width / 8)
    means = np.zeros((n, channels, down, across))
    for u in range(down):
        for v in range(across):
            rows = slice(u * height // down, -(-(u + 1) * height // down))
            columns = slice(v * width // across, -(-(v + 1) * width // across))
            means[:, :, u, v] = pictures[:, :, rows, columns].mean((2, 3))

    def weights(size: int, blocks: int) -> np.ndarray:
        """Of each block in each pixel; beyond the outer centres, the outer blocks alone."""
        centres = ((np.arange(size) + 0.5) * blocks / size - 0.5).clip(0, blocks - 1)
        gaps = np.abs(centres[:, None] - np.arange(blocks))
        return np.maximum(0, 1 - gaps)

    found: np.ndarray = weights(height, down) @ means @ weights(width, across).T
    return found


def test_errors_are_of_the_altered_pair(pairs: PairDataset) -> None:
    names = ("hflip", "crop-3")
    found = query_altered(Questioner(Inverse(), 0), pairs, names, 2)
    assert found.images.shape == (10, 3, 0, 0)
    for name in names:
        for batch in pairs.batches(1):
            asked = altered(batch, name)
            error = (1 - asked.x.double() - asked.y).abs().mean()
            assert found.mean_error(batch.ids, transform=name)[0] == pytest.approx(
                float(error), abs=1e-6
            )


def test_an_adaptive_attacker_averages(pairs: PairDataset) -> None:
    noise = OutputNoise(0.2)
    asked = {
        repeats: query_altered(Questioner(Inverse(), 0, noise), pairs, (ADAPTIVE,), 2, repeats)
        for repeats in (1, 64)
    }
    seen = noise.expected
    plain = [float((seen(1 - b.x) - seen(b.y)).abs().mean()) for b in pairs.batches(1)]
    gap = {
        r: np.abs(found.mean_error(pairs.ids, transform=ADAPTIVE) - plain).max()
        for r, found in asked.items()
    }
    assert gap[64] < gap[1] / 3


def test_an_adaptive_attacker_looks_at_targets_through_the_defense(pairs: PairDataset) -> None:
    blur = Smoothing(2.0)
    found = query_altered(Questioner(Inverse(), 0, blur), pairs, (ADAPTIVE,), 3, 2)
    for batch in pairs.batches(1):
        error = (blur.expected(1 - batch.x) - blur.expected(batch.y)).abs().mean()
        assert found.mean_error(batch.ids, transform=ADAPTIVE)[0] == pytest.approx(
            float(error), abs=1e-6
        )
