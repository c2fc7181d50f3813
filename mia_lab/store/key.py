"""The identity of a stage's result: a hash of everything that may change its numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """Canonical JSON of a value: sorted keys, no spaces, so that equal values give equal strings.

    Raises:
        TypeError: a value has no JSON form (an object, a path, an array).
        ValueError: a value is NaN or infinite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Stage:
    """What is to be computed, and from what.

    Attributes:
        name: folder of the store the results live in, e.g. ``victim``.
        version: raised by hand whenever the code changes the numbers it produces.
        inputs: every declared input, JSON values only: resolved settings, keys of upstream
            stages, fingerprints of data. Device names, worker counts and paths do not belong.
        resumable: an interrupted computation may go on in the folder it left behind.
    """

    name: str
    version: int
    inputs: Mapping[str, Any]
    resumable: bool = False

    @cached_property
    def key(self) -> str:
        """Hexadecimal sha256 of name, version and inputs."""
        declared = {"stage": self.name, "version": self.version, "inputs": dict(self.inputs)}
        return hashlib.sha256(canonical_json(declared).encode()).hexdigest()
