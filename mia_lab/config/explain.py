"""Hydra's and OmegaConf's errors in one line that names the key and the choices."""

from __future__ import annotations

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mia_lab.config.messages import unknown_key

CONFIGURATION_ERRORS = (HydraException, OmegaConfBaseException)
"""What composing a configuration may raise."""


def explain(error: BaseException) -> str:
    """One line for an error that composing a configuration raised."""
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if not isinstance(cause, OmegaConfBaseException):
        return _one_line(str(error))
    key, reason = cause.full_key, str(cause).splitlines()[0]
    parent = cause.parent_node
    if "not in" not in reason or not isinstance(parent, DictConfig):
        return f"{key}: {reason}" if key else _one_line(str(error))
    return unknown_key(
        str(key), str(cause.key), [str(k) for k in parent if not str(k).startswith("_")]
    )


def _one_line(text: str) -> str:
    text = text.partition("Config search path")[0]  # where Hydra looked helps nobody
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    listed = False
    out = ""
    for line in lines:
        out += (", " if listed and not line.endswith(":") else " ") + line
        listed = listed or line.endswith(":")
    return out.replace(":, ", ": ").strip()
