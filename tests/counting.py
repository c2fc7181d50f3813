"""A victim that answers at random and counts how often it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor


class CountingSampler:
    """Adds to each input noise that its seed decides."""

    version: ClassVar[int] = 1
    asked: ClassVar[int] = 0

    def sample(self, x: Tensor, seeds: Sequence[int], prompts: Sequence[str] = ()) -> Tensor:
        type(self).asked += len(x)
        noise = [np.random.default_rng(seed).normal(0, 0.1, x.shape[1:]) for seed in seeds]
        return (x + torch.from_numpy(np.stack(noise)).float()).clamp(0, 1)
