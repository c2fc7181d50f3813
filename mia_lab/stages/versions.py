"""Versions of installed libraries."""

from __future__ import annotations

import importlib.metadata
from functools import cache


@cache
def version(name: str) -> str:
    """The version of a library, which is an input of what the library computes.

    Read once for each process: a sweep asks for every point.

    Raises:
        PackageNotFoundError: the library is not installed.
    """
    return importlib.metadata.version(name)
