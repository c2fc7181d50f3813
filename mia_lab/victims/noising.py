"""How a diffusion victim turns targets into noise, and draws answers: diffusion, and a bridge.

Both train a network to predict something from a noisy target, and answer by undoing the noise step
by step. Their pictures are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mia_lab.errors import UserError
from mia_lab.victims.extras import library

TRAIN_STEPS = 1000
"""Steps from the target to noise, T of the papers."""

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""The network: ``(input (N, C, H, W), steps int64 (N,))`` to its prediction (N, C', H, W)."""

STEPS = tuple(steps for steps in range(1, TRAIN_STEPS + 1) if TRAIN_STEPS % steps == 0)
"""Evaluations of the network that divide the way evenly, as the schedulers of diffusers assume."""

Draws = Sequence[torch.Generator]

Prediction = Literal["sample", "v_prediction", "epsilon"]
Schedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
Sampling = Literal["ddim", "ddpm"]


class Process(Protocol):
    """A way from targets to noise, and back."""

    def example(self, x: Tensor, y: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The input of the network for a noisy target, and what the network is to predict.

        Args:
            x: (N, C, H, W), the condition.
            y, noise: (N, C', H, W), targets in [-1, 1] and standard Gaussian noise.
            t: int64 (N,), steps from 0 (little noise) to `TRAIN_STEPS` - 1.
        """
        ...

    def draw(self, denoise: Denoiser, x: Tensor, channels: int, draws: Draws, steps: int) -> Tensor:
        """One answer (N, channels, H, W) to each condition, about in [-1, 1].

        Args:
            denoise: the trained network.
            x: (N, C, H, W), the conditions.
            channels: of the answers.
            draws: one generator for each image, on the CPU.
            steps: evaluations of the network.
        """
        ...


def check_steps(steps: int) -> None:
    """Refuse a number of evaluations that does not divide the steps of the diffusion.

    Raises:
        UserError: with the nearest that does.
    """
    if steps not in STEPS:
        nearest = min(STEPS, key=lambda known: abs(known - steps))
        raise UserError(
            f"victim.steps={steps}: must divide {TRAIN_STEPS}; set victim.steps={nearest}"
        )


def scheduler(prediction: Prediction, schedule: Schedule, sampling: Sampling) -> Any:
    """A scheduler of ``diffusers`` for :class:`Diffusion`.

    Args:
        prediction: what the network predicts: ``sample``, the target | ``v_prediction`` (Salimans
            and Ho 2022, arXiv:2202.00512) | ``epsilon``, the noise.
        schedule: of the noise, in the words of ``diffusers``.
        sampling: ``ddim`` draws from the first noise alone, ``ddpm`` adds noise in every step.

    Raises:
        UserError: ``diffusers`` is not installed.
    """
    schedulers = library("diffusers", "diffusion", "diffusers")
    kind = schedulers.DDIMScheduler if sampling == "ddim" else schedulers.DDPMScheduler
    return kind(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule=schedule,
        prediction_type=prediction,
        rescale_betas_zero_snr=prediction != "epsilon",
        timestep_spacing="trailing",
    )


class Diffusion:
    """Denoising diffusion with the condition beside the noisy target, as Palette.

    Ho et al. 2020 (arXiv:2006.11239); the condition is concatenated (Saharia et al. 2022,
    arXiv:2111.05826). The last step holds no trace of the target (Lin et al. 2024,
    arXiv:2305.08891), except where the network predicts the noise: at such a step its input would
    be the noise itself. Answers are drawn by DDIM (Song et al. 2021, arXiv:2010.02502) or by
    ancestral sampling.

    Args:
        scheduler: of ``diffusers``, which adds noise and draws; see :func:`scheduler`.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self._prediction: Prediction = scheduler.config.prediction_type

    def example(self, x: Tensor, y: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        noisy = self.scheduler.add_noise(y, noise, t)
        if self._prediction == "sample":
            wanted = y
        elif self._prediction == "epsilon":
            wanted = noise
        else:
            wanted = self.scheduler.get_velocity(y, noise, t)
        return torch.cat([noisy, x], 1), wanted

    def draw(self, denoise: Denoiser, x: Tensor, channels: int, draws: Draws, steps: int) -> Tensor:
        check_steps(steps)
        answer = _noise((channels, *x.shape[2:]), draws, x.device)
        self.scheduler.set_timesteps(steps, device=x.device)
        for t in self.scheduler.timesteps:
            predicted = denoise(torch.cat([answer, x], 1), t.expand(len(x)))
            answer = self.scheduler.step(predicted, t, answer, generator=[*draws]).prev_sample
        return answer

    @property
    def signal(self) -> Tensor:
        """Share of the target in the variance of each step: float32 (TRAIN_STEPS,), from 1 to 0."""
        found: Tensor = self.scheduler.alphas_cumprod
        return found

    def noise(self, predicted: Tensor, noisy: Tensor, t: int) -> Tensor:
        """The noise that a prediction implies, of the same shape."""
        if self._prediction == "epsilon":
            return predicted
        signal = self.signal[t]
        if self._prediction == "sample":
            implied: Tensor = (noisy - signal.sqrt() * predicted) / (1 - signal).sqrt()
            return implied
        return signal.sqrt() * predicted + (1 - signal).sqrt() * noisy


class BrownianBridge:
    """A bridge from the target to the input picture, without other condition.

    Li et al. 2023 (BBDM, arXiv:2205.07680), in pixels: y_t = (1 - m_t) y + m_t x + sqrt(d_t) noise
    with d_t = 2 s (m_t - m_t^2) (Eq. 4 to 6) and s = 1; the network predicts y_t - y (Eq. 11).
    Answers start at x, and each step adds the noise of Eq. 13 with the accelerated sampling of
    Eq. 16; the last step, from t = T / steps, gives the target. m_t rises from 0.001 to 0.999, as
    in the authors' code.
    """

    def __init__(self) -> None:
        self._m = torch.linspace(0.001, 0.999, TRAIN_STEPS)
        self._d = 2 * (self._m - self._m**2)

    def example(self, x: Tensor, y: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        m, d = (v.to(y)[t][:, None, None, None] for v in (self._m, self._d))
        noisy = (1 - m) * y + m * x + d.sqrt() * noise
        return noisy, noisy - y

    def draw(self, denoise: Denoiser, x: Tensor, channels: int, draws: Draws, steps: int) -> Tensor:
        times = torch.linspace(TRAIN_STEPS - 1, 0, steps + 1).round().long()[:-1].tolist()
        state = x
        for t, later in zip(times, [*times[1:], None], strict=True):
            answer = state - denoise(state, torch.full((len(x),), t, device=x.device))
            if later is None:
                break
            (m, n), (d, e) = (v[[t, later]].tolist() for v in (self._m, self._d))
            variance = (d - e * (1 - m) ** 2 / (1 - n) ** 2) * e / d
            rest = ((e - variance) / d) ** 0.5 * (state - (1 - m) * answer - m * x)
            noise = _noise(x.shape[1:], draws, x.device)
            state = (1 - n) * answer + n * x + rest + variance**0.5 * noise
        return answer


def _noise(shape: Sequence[int], draws: Draws, device: torch.device) -> Tensor:
    """On the CPU, so that all devices draw the same numbers."""
    return torch.stack([torch.randn(shape, generator=draw) for draw in draws]).to(device)
