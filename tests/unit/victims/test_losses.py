"""Loss terms against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mia_lab.victims.losses import (
    GAN_LOSSES,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)

FORMULAS = {
    # (loss of logits that should say real, of logits that should say fake), in float64
    "vanilla": (lambda v: np.log1p(np.exp(-v)), lambda v: np.log1p(np.exp(v))),
    "lsgan": (lambda v: (v - 1) ** 2, lambda v: v**2),
    "hinge": (lambda v: np.maximum(0, 1 - v), lambda v: np.maximum(0, 1 + v)),
}


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(0)
    return tuple(2 * torch.randn(2, 1, 5, 5, generator=drawn) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_discriminator_loss(logits: tuple[Tensor, Tensor], kind: str) -> None:
    real, fake = (v.double().numpy() for v in logits)
    as_real, as_fake = FORMULAS[kind]
    wanted = (as_real(real).mean() + as_fake(fake).mean()) / 2
    assert discriminator_loss(*logits, kind).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_generator_loss(logits: tuple[Tensor, Tensor], kind: str) -> None:
    fake = logits[1].double().numpy()
    wanted = -fake.mean() if kind == "hinge" else FORMULAS[kind][0](fake).mean()
    assert generator_loss(logits[1], kind).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_a_generator_that_improves_has_a_smaller_loss(kind: str) -> None:
    worse, better = torch.full((1, 1, 2, 2), -0.5), torch.full((1, 1, 2, 2), 0.5)
    assert generator_loss(better, kind) < generator_loss(worse, kind)
    assert discriminator_loss(worse, better, kind) > discriminator_loss(better, worse, kind)


def test_feature_matching_is_the_published_sum() -> None:
    drawn = torch.Generator().manual_seed(1)
    shapes = [(1, 4, 8, 8), (1, 8, 4, 4), (1, 8, 3, 3), (1, 8, 3, 3), (1, 1, 2, 2)]
    real, fake = (
        [[torch.randn(s, generator=drawn, requires_grad=True) for s in shapes] for _ in range(2)]
        for _ in range(2)
    )
    # As published, n_layers_D = 3: feat_weights = 4 / (n_layers_D + 1), D_weights = 1 / num_D.
    wanted = 0.0
    for i in range(2):
        for j in range(len(shapes) - 1):
            a, b = (v[i][j].detach().double().numpy() for v in (fake, real))
            wanted += 1 / 2 * 4 / (3 + 1) * np.abs(a - b).mean()
    loss = feature_matching_loss(real, fake)
    assert loss.item() == pytest.approx(wanted, rel=1e-6)
    loss.backward()
    assert fake[0][0].grad is not None
    assert real[0][0].grad is None  # the discriminator learns nothing from it
