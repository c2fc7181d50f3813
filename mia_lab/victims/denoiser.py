"""The network inside a diffusion model, for attackers who hold the model itself."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Denoiser(Protocol):
    """Predicts the noise in a noisy target, at a step of the diffusion.

    Attributes:
        signal: float32 (T,), share of the target in the variance of each step, from about 1 to 0:
            the cumulated alpha of Ho et al. 2020 (arXiv:2006.11239).
    """

    signal: Tensor

    def noise(self, noisy: Tensor, t: int, condition: Tensor) -> Tensor:
        """The predicted noise, float32 (N, C, H, W), on the CPU.

        Args:
            noisy: float32 (N, C, H, W), sqrt(signal[t]) y + sqrt(1 - signal[t]) noise, with the
                targets y in [-1, 1].
            t: the step, from 0 to T - 1.
            condition: float32 (N, C', H, W) in [0, 1], the victim's inputs.
        """
        ...
