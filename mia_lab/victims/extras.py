"""Libraries of optional extras."""

from __future__ import annotations

import importlib
from typing import Any

from mia_lab.errors import UserError


def library(name: str, victim: str, extra: str) -> Any:
    """A module of an optional extra.

    Args:
        name: of the module.
        victim: the victim that needs it.
        extra: the extra that installs it.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"victim={victim}: {error.name} is not installed; pip install 'mia_lab[{extra}]'"
        ) from error
