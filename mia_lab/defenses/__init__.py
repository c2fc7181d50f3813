"""Defences: what the owner of a victim does to its answers before anyone sees them.

A defence changes no weight, so the stored victim is the same with and without it. ``expected``
says what a defence does to a picture on average. An attacker who adapts knows that: it asks again
and again, averages the answers, and compares the mean with the target as the defence shows it.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Defense(Protocol):
    """Changes answers; both methods take and return float32 (N, C, H, W) in [0, 1]."""

    def apply(self, answers: Tensor) -> Tensor:
        """What is shown; randomness comes from PyTorch's global generator."""
        ...

    def expected(self, pictures: Tensor) -> Tensor:
        """The expected answer: the defence without its random part."""
        ...


class Deterministic:
    """A defence that shows the same picture for the same answer."""

    stochastic: ClassVar[bool] = False

    def apply(self, answers: Tensor) -> Tensor:
        return self.expected(answers)

    def expected(self, pictures: Tensor) -> Tensor:
        raise NotImplementedError
