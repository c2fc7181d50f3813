"""Template of a defence: answers in grey."""

from __future__ import annotations

from torch import Tensor


class Grey:
    def __init__(self, share: float = 1.0) -> None:
        self.share = share

    def apply(self, answers: Tensor) -> Tensor:
        """Changed answers, (N, C, H, W) in [0, 1]; randomness comes from PyTorch's generator."""
        return self.expected(answers)

    def expected(self, pictures: Tensor) -> Tensor:
        """The mean of `apply` over its randomness, which an adaptive attacker knows."""
        return pictures + self.share * (pictures.mean(dim=1, keepdim=True) - pictures)
