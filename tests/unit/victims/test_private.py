"""DP-SGD: gradients of single images, clipping, noise, and what is promised."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer

from mia_lab.errors import UserError
from mia_lab.victims.networks.unet import UNet
from mia_lab.victims.private import ORDERS, PoissonBatches, PrivateUNet, privacy_claim

SETTINGS = {
    "image_size": 32,
    "in_channels": 3,
    "out_channels": 3,
    "width": 4,
    "learning_rate": 1e-3,
    "beta1": 0.9,
    "epochs": 3,
    "batch_size": 8,
    "epsilon": 8.0,
    "delta": 1e-5,
    "max_grad_norm": 0.5,
    "seed": 0,
}


def loss_of(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.l1_loss(network(x), y)


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.rand(5, 3, 32, 32, generator=generator, dtype=torch.float64) for _ in "xy")
    return 2 * x - 1, 2 * y - 1


def network() -> UNet:
    module: UNet = PrivateUNet(**SETTINGS).generator.double()
    return module


def alone(x: torch.Tensor, y: torch.Tensor) -> list[list[torch.Tensor]]:
    """Gradients of a plain network, one image after the other."""
    plain = network()
    found = []
    for row in range(len(x)):
        plain.zero_grad()
        loss_of(plain, x[row : row + 1], y[row : row + 1]).backward()
        found.append([p.grad.clone() for p in plain.parameters() if p.grad is not None])
    return found


@pytest.mark.filterwarnings("ignore:Full backward hook:UserWarning")
def test_gradients_equal_a_loop_over_single_images(images) -> None:
    x, y = images
    hooked = network()
    GradSampleModule(hooked)
    loss_of(hooked, x, y).backward()
    expected = alone(x, y)
    for k, parameter in enumerate(hooked.parameters()):
        for row in range(len(x)):
            torch.testing.assert_close(
                parameter.grad_sample[row], expected[row][k], rtol=1e-9, atol=1e-12
            )


@pytest.mark.filterwarnings("ignore:Full backward hook:UserWarning")
def test_a_step_takes_the_sum_of_clipped_gradients_and_noise(images) -> None:
    x, y = images
    bound, batch_size = 1e-3, 8
    gradients = alone(x, y)
    clipped = [torch.zeros_like(g) for g in gradients[0]]
    for single in gradients:
        norm = math.sqrt(sum(float(g.square().sum()) for g in single))
        assert norm > bound
        for total, g in zip(clipped, single, strict=True):
            total += g * min(1, bound / norm)
    moved = {}
    for noise in (0.0, 2.0):
        hooked = network()
        GradSampleModule(hooked)
        optimizer = DPOptimizer(
            torch.optim.SGD(hooked.parameters(), 1.0),
            noise_multiplier=noise,
            max_grad_norm=bound,
            expected_batch_size=batch_size,
            generator=torch.Generator().manual_seed(0),
        )
        before = [p.detach().clone() for p in hooked.parameters()]
        loss_of(hooked, x, y).backward()
        optimizer.step()
        moved[noise] = [b - p.detach() for b, p in zip(before, hooked.parameters(), strict=True)]
    for step, total in zip(moved[0.0], clipped, strict=True):
        torch.testing.assert_close(step, total / batch_size, rtol=1e-3, atol=1e-10)
    noise = torch.cat(
        [(a - b).flatten() for a, b in zip(moved[2.0], moved[0.0], strict=True)]
    ).numpy()
    assert noise.std() == pytest.approx(2.0 * bound / batch_size, rel=0.02)
    assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(noise.size)


@pytest.mark.filterwarnings("ignore:Optimal order:UserWarning")  # within the tight accountant
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_what_is_promised_is_what_the_accountant_says(epsilon: float) -> None:
    claim = privacy_claim({**SETTINGS, "epsilon": epsilon, "epochs": 40}, 100)
    assert (claim.sampling_rate, claim.steps) == (0.08, 40 * 13)
    accountant = RDPAccountant()
    for _ in range(claim.steps):
        accountant.step(noise_multiplier=claim.noise_multiplier, sample_rate=claim.sampling_rate)
    spent = accountant.get_epsilon(1e-5, alphas=ORDERS)
    assert 0.98 * epsilon < spent <= epsilon
    tight = PRVAccountant()
    tight.history = [(claim.noise_multiplier, claim.sampling_rate, claim.steps)]
    assert tight.get_epsilon(1e-5) <= spent  # another accountant promises no less


GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "privacy.json").read_text())
"""What dp_accounting says; see privacy.py beside the file."""


@pytest.mark.filterwarnings("ignore:Optimal order:UserWarning")  # of large epsilons
@pytest.mark.parametrize("case", GOLDEN["trainings"], ids=lambda c: str(c["settings"]["epsilon"]))
def test_an_independent_accountant_promises_no_less(case: dict[str, Any]) -> None:
    """By the Renyi divergence the same, by the privacy loss distribution less.

    Of orders that are no whole numbers dp_accounting knows an upper bound of the divergence only.
    """
    claim = privacy_claim(case["settings"], case["members"])
    for name in ("noise_multiplier", "sampling_rate", "steps"):
        assert getattr(claim, name) == pytest.approx(case[name], rel=1e-9)
    accountant = RDPAccountant()
    accountant.history = [(claim.noise_multiplier, claim.sampling_rate, claim.steps)]
    whole = [order for order in ORDERS if order == int(order)]
    exact = accountant.get_epsilon(claim.delta, alphas=whole)
    assert exact == pytest.approx(case["rdp, whole orders"], rel=1e-9)
    spent = accountant.get_epsilon(claim.delta, alphas=ORDERS)
    assert 0.999 * case["rdp"] < spent < (1 + 1e-9) * case["rdp"]
    assert 0.98 * claim.epsilon < case["rdp"] <= claim.epsilon
    assert 0.85 * claim.epsilon < case["pld"] <= spent


def test_a_promise_that_no_noise_keeps_is_refused() -> None:
    with pytest.raises(UserError, match=r"victim.epsilon=0.0001: cannot be promised"):
        privacy_claim({**SETTINGS, "epsilon": 1e-4, "epochs": 40}, 100)


def test_coins_draw_batches() -> None:
    batches = PoissonBatches(100, 0.08, seed=3)
    drawn = []
    for epoch in range(40):
        batches.sampler.set_epoch(epoch)
        drawn += list(batches)
    assert len(drawn) == 40 * 13
    sizes = np.array([len(b) for b in drawn])
    assert sizes.mean() == pytest.approx(8, abs=4 * math.sqrt(100 * 0.08 * 0.92 / len(sizes)))
    assert sizes.var() == pytest.approx(100 * 0.08 * 0.92, rel=0.25)
    batches.sampler.set_epoch(7)
    assert list(batches) == drawn[7 * 13 : 8 * 13]


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"dp_unet: .*multiples of 32, .*image_size=48; set data\.image_size=64"
    ):
        PrivateUNet(**{**SETTINGS, "image_size": 48})


def test_training_is_repeatable_and_leaves_a_plain_generator(members, tmp_path: Path) -> None:
    from mia_lab.victims.settings import TrainingSettings
    from mia_lab.victims.training import train

    weights = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        module = PrivateUNet(**{**SETTINGS, "batch_size": 2})
        train(module, members, tmp_path / name, TrainingSettings(accelerator="cpu"))
        assert not any(hasattr(p, "grad_sample") for p in module.generator.parameters())
        weights.append(tmp_path / name / "victim.safetensors")
    first, second = (path.read_bytes() for path in weights)
    assert first == second
