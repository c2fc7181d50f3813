"""What several checks of the configuration share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mia_lab.errors import UserError


def is_trained_by_us(victim: dict[str, Any]) -> bool:
    """Victims that we train have epochs; all others come as they are."""
    return "epochs" in victim


def one_of(key: str, value: str, choices: Iterable[str]) -> None:
    """Raise a :class:`UserError` unless a key has one of its choices."""
    if value not in choices:
        raise UserError(f"{key}={value}: unknown; choose from {', '.join(choices)}")


def at_least(minimum: int, *values: tuple[str, float]) -> None:
    """Raise a :class:`UserError` unless all keys have at least a value; NaN is below all."""
    for key, value in values:
        if not value >= minimum:
            raise UserError(f"{key}={value}: must be at least {minimum}")
