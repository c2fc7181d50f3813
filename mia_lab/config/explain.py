"""Hydra's and OmegaConf's errors in one line that names the key and the choices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

CONFIGURATION_ERRORS = (HydraException, OmegaConfBaseException)
"""What composing a configuration may raise."""


def explain(error: BaseException) -> str:
    """One line for an error that composing a configuration raised."""
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if not isinstance(cause, OmegaConfBaseException):
        return _one_line(str(error))
    key, reason = cause.full_key, str(cause).splitlines()[0]
    parent = cause.parent_node
    if "is not a ListConfig" in reason:
        return f"{key}: give a list, such as [1]"
    if "is not a subclass of Grid" in reason:
        return f"{key}: has keys of its own; name a prepared one by difficulty/grid=NAME"
    if "not in" not in reason or not isinstance(parent, DictConfig):
        return f"{key}: {reason}" if key else _one_line(str(error))
    return unknown_key(str(key), str(cause.key), [str(k) for k in parent])


def unknown_key(full_key: str, key: str, choices: Iterable[str]) -> str:
    """One line for a key that does not exist."""
    known = sorted(choices)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{full_key}: unknown key; {hint}there are {', '.join(known)}"


def _one_line(text: str) -> str:
    text = text.partition("Config search path")[0]  # where Hydra looked helps nobody
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    listed = False
    out = ""
    for line in lines:
        out += (", " if listed and not line.endswith(":") else " ") + line
        listed = listed or line.endswith(":")
    return out.replace(":, ", ": ").strip()
