"""Attacks that look into a diffusion model, against plain loops over its scheduler in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from mia_lab.attacks.denoising import denoising_loss, pia, secmi
from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.needs import Given, needs_of
from mia_lab.errors import UserError
from mia_lab.evaluation.null import permutation_p_value
from mia_lab.seeding import derive_seed
from mia_lab.types import PairBatch, ScoreTable
from mia_lab.victims.diffusion import DiffusionVictim
from mia_lab.victims.noising import Prediction
from tables import answers, difficulty_table, made_evidence

IDS = ("a", "b", "c")
DIFFICULTY = np.array([0.1, 0.3, 0.2])
MANY = tuple(str(number) for number in range(80))


def built(prediction: Prediction) -> DiffusionVictim:
    return DiffusionVictim(
        image_size=16, in_channels=3, out_channels=3, width=8, multipliers=[1, 2], layers=1,
        attention=False, dropout=0.0, variant="diffusion", prediction=prediction,
        schedule="linear", sampling="ddim", noise_bias=1.0, loss="l2", steps=4, ema=0.9,
        learning_rate=1e-3, decay_fraction=0.5, epochs=1, batch_size=2, load_scale=1.0, flip=False,
        seed=0,
    ).eval()  # fmt: skip


def pairs(n: int = 3) -> PairBatch:
    generator = torch.Generator().manual_seed(5)
    x, y = (torch.rand(n, 3, 16, 16, generator=generator) for _ in range(2))
    return PairBatch(IDS, x, y)


def evidence(victim: DiffusionVictim, named: tuple[str, ...] = IDS) -> Evidence:
    all_pairs, n = pairs(len(named)), len(named)
    difficulty = DIFFICULTY if named is IDS else np.linspace(0.1, 0.3, n)

    def chosen(ids: Sequence[str]) -> Iterable[PairBatch]:
        rows = [named.index(i) for i in ids]
        return PairBatch(tuple(ids), all_pairs.x[rows], all_pairs.y[rows]).split(16)

    images = np.zeros((n, 3, 16, 16), dtype=np.float32)
    found = made_evidence(named, (), answers(named, difficulty, images), pairs=chosen)
    return Evidence(
        found.known,
        found.reconstructions,
        difficulty_table(named, difficulty[:, None, None]),
        chosen,
        denoiser=victim.denoiser,
        seed=7,
    )


class Plain:
    """The model as a function of NumPy arrays, with the signal of its scheduler in float64."""

    def __init__(self, prediction: Prediction) -> None:
        self.victim = built(prediction)
        self.prediction = prediction
        self.signal = self.victim._process.scheduler.alphas_cumprod.double().numpy()  # type: ignore[attr-defined]
        self.x = 2 * pairs().x - 1
        self.y = 2 * pairs().y.double().numpy() - 1

    def noise(self, state: np.ndarray, t: int) -> np.ndarray:
        seen = torch.cat([torch.from_numpy(state).float(), self.x], 1)
        with torch.inference_mode():
            predicted = self.victim.generator(seen, torch.full((3,), t)).sample
        a, found = self.signal[t], cast(Tensor, predicted).double().numpy()
        if self.prediction == "sample":
            return (state - np.sqrt(a) * found) / np.sqrt(1 - a)
        if self.prediction == "v_prediction":
            return np.sqrt(a) * found + np.sqrt(1 - a) * state
        return found

    def mixed(self, target: np.ndarray, noise: np.ndarray, t: int) -> np.ndarray:
        return np.sqrt(self.signal[t]) * target + np.sqrt(1 - self.signal[t]) * noise

    def target(self, state: np.ndarray, noise: np.ndarray, t: int) -> np.ndarray:
        return (state - np.sqrt(1 - self.signal[t]) * noise) / np.sqrt(self.signal[t])


PREDICTIONS: tuple[Prediction, ...] = ("sample", "v_prediction", "epsilon")


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_denoising_loss_is_the_error_of_the_predicted_noise(prediction: Prediction) -> None:
    plain, steps, losses = Plain(prediction), [50, 600, 999], []
    for t in steps:
        drawn = [
            torch.randn(
                3, 16, 16,
                generator=torch.Generator().manual_seed(derive_seed(7, "denoising", t, i)),
            )
            for i in IDS
        ]  # fmt: skip
        noise = torch.stack(drawn).double().numpy()
        gap = plain.noise(plain.mixed(plain.y, noise, t), t) - noise
        losses.append((gap**2).mean((1, 2, 3)))
    found = denoising_loss(evidence(plain.victim), IDS, "victim", steps=steps)
    np.testing.assert_allclose(-found.score, np.mean(losses, axis=0), rtol=1e-4)
    corrected = denoising_loss(evidence(plain.victim), IDS, "victim", steps=steps, alpha=0.5)
    np.testing.assert_allclose(corrected.score - found.score, 0.5 * DIFFICULTY, atol=1e-12)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_secmi_is_a_step_there_and_back(prediction: Prediction) -> None:
    plain = Plain(prediction)
    state = plain.y
    for t in range(0, 100, 10):
        noise = plain.noise(state, t)
        state = plain.mixed(plain.target(state, noise, t), noise, t + 10)
    noise = plain.noise(state, 100)
    there = plain.mixed(plain.target(state, noise, 100), noise, 110)
    noise = plain.noise(there, 110)
    back = plain.mixed(plain.target(there, noise, 110), noise, 100)
    found = secmi(evidence(plain.victim), IDS, "victim")
    expected = ((back - state) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(-found.score, expected, rtol=2e-3)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_pia_asks_for_the_same_noise_again(prediction: Prediction, normalised: bool) -> None:
    plain = Plain(prediction)
    first = plain.noise(plain.y, 0)
    if normalised:  # mean absolute value of a Gaussian
        n = first[0].size
        norms = np.abs(first).sum((1, 2, 3), keepdims=True)
        first = n * np.sqrt(2 / np.pi) * first / norms
    second = plain.noise(plain.mixed(plain.y, first, 200), 200)
    expected = (np.abs(second - first) ** 4).mean((1, 2, 3)) ** 0.25
    found = pia(evidence(plain.victim), IDS, "victim", normalised=normalised)
    np.testing.assert_allclose(-found.score, expected, rtol=1e-3)


def test_a_victim_that_gives_answers_alone_is_refused() -> None:
    for attack in (denoising_loss, secmi, pia):
        check = needs_of(attack, {"steps": [1]}).check
        assert check is not None
        with pytest.raises(UserError, match=r"look into a diffusion model.*victim=diffusion"):
            check(Given(), steps=[1])
    check = needs_of(secmi).check
    assert check is not None
    with pytest.raises(UserError, match=r"leads to the last step, 999.*give at most 988"):
        check(Given(denoiser=True), step=990, interval=10)
    with pytest.raises(UserError, match="is below interval=10; give at least 10"):
        check(Given(denoiser=True), step=5, interval=10)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("attack", [partial(denoising_loss, steps=[300]), secmi, pia])
def test_nothing_is_found_where_labels_are_drawn_anew(
    attack: Callable[..., ScoreTable], alpha: float
) -> None:
    """200 draws of who is a member: at most 5 % reject AUC 0.5, up to chance at the level 1 %."""
    score = attack(evidence(built("v_prediction"), MANY), MANY, "victim", alpha=alpha).score
    rng, member = np.random.default_rng(0), np.arange(80) < 40
    draws = [rng.permutation(member) for _ in range(200)]
    rejected = sum(permutation_p_value(score, truth, rng) < 0.05 for truth in draws)
    assert binomtest(rejected, 200, 0.05, alternative="greater").pvalue > 0.01, rejected
