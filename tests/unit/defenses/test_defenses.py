"""What is done to answers, against direct formulas; what a defence costs, against the textbook."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from mia_lab.attacks.distances import distance
from mia_lab.defenses.jpeg import Jpeg
from mia_lab.defenses.output_noise import OutputNoise
from mia_lab.defenses.quantisation import Quantisation
from mia_lab.defenses.resizing import Resizing
from mia_lab.defenses.smoothing import Smoothing
from mia_lab.evaluation.utility import frechet_distance
from mia_lab.types import PairBatch
from tables import answers, made_evidence


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_noise_has_the_deviation_asked_for(pictures: torch.Tensor) -> None:
    middle = torch.full((4, 3, 64, 64), 0.5)
    torch.manual_seed(0)
    noise = OutputNoise(0.05).apply(middle) - middle
    assert float(noise.std()) == pytest.approx(0.05, rel=0.02)
    assert float(OutputNoise(1.0).apply(pictures).min()) == 0.0
    assert OutputNoise(0.0).expected(pictures) is pictures
    level = torch.tensor([0.0, 0.02, 0.3, 0.9, 1.0])
    many = OutputNoise(0.2).apply(level.repeat(400_000, 1)).mean(0)
    np.testing.assert_allclose(OutputNoise(0.2).expected(level).numpy(), many.numpy(), atol=1.5e-3)


def test_quantisation(pictures: torch.Tensor) -> None:
    shown = Quantisation(4).apply(pictures).numpy()
    np.testing.assert_allclose(shown, np.rint(pictures.numpy() * 3) / 3, atol=1e-7)


def test_jpeg(pictures: torch.Tensor) -> None:
    shown = Jpeg(30).apply(pictures)
    levels = np.rint(pictures[1].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "jpeg", quality=30)
    expected = np.asarray(Image.open(file)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(shown[1].numpy(), expected, atol=1e-6)


def test_smoothing(pictures: torch.Tensor) -> None:
    shown = Smoothing(1.5).apply(pictures).numpy()
    for picture, found in zip(pictures.double().numpy(), shown, strict=True):
        for channel, smooth in zip(picture, found, strict=True):
            expected = gaussian_filter(channel, 1.5, mode="mirror", radius=math.ceil(4.5))
            np.testing.assert_allclose(smooth, expected, atol=1e-5)


def test_resizing(pictures: torch.Tensor) -> None:
    assert Resizing(1.0).apply(pictures).sub(pictures).abs().max() < 1e-6
    assert Resizing(0.25).apply(pictures).std() < pictures.std() / 2


@pytest.mark.parametrize(("m", "n"), [(40, 60), (7, 9)])
def test_frechet_distance_is_that_of_gaussians(m: int, n: int) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(m, 12)) * rng.uniform(0.5, 2, 12), rng.normal(size=(n, 12)) + 1
    c, d = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = sqrtm(c @ d + 1e-12 * np.eye(12)).real
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(c + d - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_distances_equal_direct_formulas() -> None:
    rng = np.random.default_rng(0)
    ids = ["a", "b", "c"]
    images, target = (rng.random((3, 3, 24, 24)).astype(np.float32) for _ in range(2))
    evidence = made_evidence(
        ids,
        [],
        answers(ids, np.zeros(3), images),
        pairs=lambda asked: [
            PairBatch(
                tuple(asked),
                torch.zeros(len(asked), 3, 24, 24),
                torch.from_numpy(target[[ids.index(i) for i in asked]]),
            )
        ],
    )
    squares = -np.square(images.astype(np.float64) - target).mean((1, 2, 3))
    np.testing.assert_allclose(
        distance(evidence, ids, "victim", metric="l2").score, squares, rtol=1e-9
    )
    for score, a, b in zip(
        distance(evidence, ids, "victim", metric="ssim").score, images, target, strict=True
    ):
        expected = structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        assert score == pytest.approx(expected - 1, abs=1e-5)
