"""A defence of your own: answers in grey."""

from __future__ import annotations

from torch import Tensor


class Grey:
    def __init__(self, share: float = 1.0) -> None:
        self.share = share

    def apply(self, answers: Tensor) -> Tensor:
        """What is shown of answers (N, 3, H, W) in [0, 1]; randomness from PyTorch's generator."""
        return self.expected(answers)

    def expected(self, pictures: Tensor) -> Tensor:
        """What would be shown of these pictures on average: what an attacker who adapts knows."""
        return pictures + self.share * (pictures.mean(dim=1, keepdim=True) - pictures)
