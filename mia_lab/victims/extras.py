"""Libraries of optional extras, which only the victims that need them import."""

from __future__ import annotations

import importlib
from typing import Any

from mia_lab.errors import UserError


def library(name: str, victim: str, extra: str) -> Any:
    """A module of an optional library.

    Args:
        name: of the module.
        victim: the value of ``victim=`` that needs it.
        extra: the extra of this package that installs it.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"victim={victim}: {error.name or name} is not installed; "
            f"pip install 'mia_lab[{extra}]'"
        ) from error
