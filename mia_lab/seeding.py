"""One named source of randomness for every (seed, stage, id)."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed in [0, 2**63) that depends on nothing but its arguments.

    Args:
        seed: the run's ``seed``.
        names: what the randomness is for, e.g. ``("augment", epoch, batch)``.
    """
    text = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator of its own for one purpose; see :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *names))
