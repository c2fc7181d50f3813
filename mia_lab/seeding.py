"""Named sources of randomness, one per (seed, stage, id)."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed in [0, 2**63) that depends only on its arguments.

    Args:
        seed: the run's ``seed``.
        names: purpose of the randomness, e.g. ``("augment", epoch, batch)``.
    """
    text = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose; see :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *names))
