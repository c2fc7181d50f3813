"""Attacks on the network inside a diffusion model, which take the model itself.

Each looks at how well the network undoes noise on the target, given the condition. They follow
papers on unconditional models or on text; here the condition is the input of the pair. Steps count
from 0 (no noise) to 999 (noise alone).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le, MinLen
from torch import Tensor

from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.membership import membership_error
from mia_lab.attacks.needs import Given, Setting, attack
from mia_lab.errors import UserError
from mia_lab.parameters import Positive, PositiveInt, Weight
from mia_lab.seeding import derive_seed
from mia_lab.types import Floats, PairBatch, ScoreTable
from mia_lab.victims.denoiser import Denoiser

Step = Annotated[int, Ge(0), Le(999)]

REMEDY = "use victim=diffusion with victim.variant=diffusion, or leave it out"


def _check(given: Given, **_: object) -> None:
    if not given.denoiser:
        raise UserError(
            "attack.names: denoising_loss, secmi and pia look into a diffusion model, and this "
            f"victim gives answers alone; {REMEDY}"
        )


def _check_secmi(given: Given, *, step: int = 100, interval: int = 10, **_: object) -> None:
    _check(given)
    name = f"attack.available.secmi.step={step}"
    if step < interval:
        raise UserError(f"{name}: is below interval={interval}; give at least {interval}")
    if step // interval * interval + interval >= 999:
        raise UserError(
            f"{name}: with interval={interval} it leads to the last step, 999, which is noise "
            f"alone; give at most {998 - interval}"
        )


@attack(denoiser=True, difficulty=Setting("alpha"), costly=True, check=_check)
def denoising_loss(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    steps: Annotated[list[Step], MinLen(1)],
    alpha: Weight = 0.0,
) -> ScoreTable:
    """Minus the mean squared error of the predicted noise, averaged over steps.

    Matsumoto et al. 2023 (arXiv:2302.03262, section 3.2), with the noise of each (image, step)
    drawn from the run's seed. It is the training loss of a network that predicts the noise. Of one
    that predicts the target it is the squared error of that, times signal / (1 - signal), so that
    the earliest of the steps decides.

    Args:
        evidence, ids, model: as for every attack.
        steps: of the diffusion.
        alpha: weight of the difficulty, as in Eq. 3 of Shafran et al.; 0: none.
    """

    def losses(denoiser: Denoiser, batch: PairBatch, y: Tensor) -> Floats:
        found: Floats = np.mean([_loss(evidence, denoiser, batch, y, t) for t in steps], axis=0)
        return found

    return _scored("denoising_loss", evidence, ids, model, losses, alpha)


def _loss(evidence: Evidence, denoiser: Denoiser, batch: PairBatch, y: Tensor, t: int) -> Floats:
    seeds = [derive_seed(evidence.seed, "denoising", t, i) for i in batch.ids]
    drawn = [torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds]
    noise = torch.stack(drawn)
    found = denoiser.noise(_mixed(denoiser, y, noise, t), t, batch.condition)
    return _mean_squares(found - noise)


@attack(denoiser=True, difficulty=Setting("alpha"), costly=True, check=_check_secmi)
def secmi(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    step: PositiveInt = 100,
    interval: PositiveInt = 10,
    alpha: Weight = 0.0,
) -> ScoreTable:
    """Minus the error of one step of noise and back, after the target was noised step by step.

    SecMI (Duan et al. 2023, arXiv:2302.01316, Eq. 9 and 10): the target is brought to ``step`` by
    the deterministic reverse of DDIM, from there ``interval`` further and back again; the mean
    squared difference of the two states at ``step`` is the error. 100 and 10 as published.

    Args:
        evidence, ids, model: as for every attack.
        step: where the error is measured; rounded down to a multiple of the interval.
        interval: between the steps of DDIM.
        alpha: weight of the difficulty, as in Eq. 3 of Shafran et al.; 0: none.
    """
    _check_secmi(evidence.given(), step=step, interval=interval)

    def errors(denoiser: Denoiser, batch: PairBatch, y: Tensor) -> Floats:
        state, last = y, step // interval * interval
        for t in range(0, last, interval):
            state = _moved(denoiser, batch, state, t, t + interval)
        there = _moved(denoiser, batch, state, last, last + interval)
        back = _moved(denoiser, batch, there, last + interval, last)
        return _mean_squares(back - state)

    return _scored("secmi", evidence, ids, model, errors, alpha)


@attack(denoiser=True, difficulty=Setting("alpha"), costly=True, check=_check)
def pia(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    step: Annotated[int, Ge(1), Le(999)] = 200,
    norm: Positive = 4.0,
    normalised: bool = True,
    alpha: Weight = 0.0,
) -> ScoreTable:
    """Minus how much the predicted noise differs between the target and a noisy target.

    PIA (Kong et al. 2024, arXiv:2305.18355, Eq. 9): the noise that the network sees in the target
    itself, at step 0, is added to it, and the network is asked for it again at ``step``; the error
    is the p-norm of the difference, here a mean over pixels and channels, (mean |d|^p)^(1/p), with
    p = 4 and step 200 as published.

    Args:
        evidence, ids, model: as for every attack.
        step: of the second question.
        norm: p.
        normalised: scale the first noise to a mean absolute value of sqrt(2 / pi), that of
            Gaussian noise (PIAN, Eq. 10). A network that predicts the target implies a first noise
            that is many times too large.
        alpha: weight of the difficulty, as in Eq. 3 of Shafran et al.; 0: none.
    """

    def errors(denoiser: Denoiser, batch: PairBatch, y: Tensor) -> Floats:
        first = denoiser.noise(y, 0, batch.condition)
        if normalised:
            first = first * (2 / math.pi) ** 0.5 / first.abs().mean((1, 2, 3), keepdim=True)
        second = denoiser.noise(_mixed(denoiser, y, first, step), step, batch.condition)
        gap = (second - first).double().abs()
        found: Floats = (gap**norm).mean((1, 2, 3)).numpy() ** (1 / norm)
        return found

    return _scored("pia", evidence, ids, model, errors, alpha)


def _scored(
    name: str,
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    errors: Callable[[Denoiser, PairBatch, Tensor], Floats],
    alpha: float,
) -> ScoreTable:
    denoiser = evidence.denoiser()
    found = np.concatenate(
        [errors(denoiser, batch, 2 * batch.y - 1) for batch in evidence.pairs(ids)]
    )
    score = -membership_error(found, evidence.difficulty.column(ids), alpha)
    return ScoreTable(name, model, np.array(ids), score)


def _mixed(denoiser: Denoiser, y: Tensor, noise: Tensor, t: int) -> Tensor:
    """A target with noise, as at a step of the diffusion."""
    signal = denoiser.signal[t]
    mixed: Tensor = signal.sqrt() * y + (1 - signal).sqrt() * noise
    return mixed


def _moved(denoiser: Denoiser, batch: PairBatch, state: Tensor, t: int, other: int) -> Tensor:
    """A state at step t brought to another step by DDIM without noise (Song et al., Eq. 12)."""
    noise, signal = denoiser.noise(state, t, batch.condition), denoiser.signal[t]
    target = (state - (1 - signal).sqrt() * noise) / signal.sqrt()
    return _mixed(denoiser, target, noise, other)


def _mean_squares(difference: Tensor) -> Floats:
    found: Floats = difference.double().square().mean((1, 2, 3)).numpy()
    return found
