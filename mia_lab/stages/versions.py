"""Versions of installed libraries, as inputs of what they compute."""

from __future__ import annotations

import importlib.metadata
from functools import cache

NUMERICAL = ("numpy", "scipy", "scikit-learn")
"""Libraries that classifiers and statistics compute with."""

ATTACKING = (*NUMERICAL, "torchmetrics")
"""Libraries that the scores of attacks, and what follows from them, are computed with."""


@cache
def version(name: str) -> str:
    """The version of an installed library; "" of an extra that is not installed.

    It is read once in each process, because every point of a sweep needs it.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def versions(*names: str) -> dict[str, str]:
    """The versions of some libraries, by name."""
    return {name: version(name) for name in names}
