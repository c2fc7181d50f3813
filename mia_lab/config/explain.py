"""Hydra's and OmegaConf's errors in one line that names the key and the choices."""

from __future__ import annotations

import re
from collections.abc import Callable

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mia_lab.config.messages import unknown_key, unknown_name
from mia_lab.config.overrides import ambiguous, literal, unreadable

CONFIGURATION_ERRORS = (HydraException, OmegaConfBaseException)
"""What composing a configuration may raise."""

_MESSAGES: tuple[tuple[str, Callable[[str], str]], ...] = (
    (r"Ambiguous value for argument '(.*)'\n1\. ", ambiguous),
    (r"Sweep parameters '(.*)' requires", "{}: is a sweep; add -m".format),
    (
        r"Could not override .* use \+(.*)",
        "{0}: there is no choice yet that it could replace; write +{0}".format,
    ),
    (
        r"Multiple values for (.*?)\. ",
        "{}: is chosen already; leave out the +, or one of two choices".format,
    ),
    (r"Additional config directory '(.*)' not found", "--config-dir {}: no such folder".format),
    (r"Cannot find primary config '(.*?)'", "--config-name {}: no such configuration".format),
    (r"Could not delete from config\. '(.*)' does not", "~{}: there is no such key".format),
)
"""Messages of Hydra's that have no class of their own: their form, and what is said instead of the
part in parentheses."""


def explain(error: BaseException) -> str:
    """One line for an error that composing a configuration raised."""
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        return _key_error(cause) or _one_line(str(error))
    if isinstance(error, OverrideParseException):
        return unreadable(error.override)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = [name for name in error.options if not name.startswith("_")]
        return unknown_name(f"{group}={option}: unknown choice", option, options)
    for form, sentence in _MESSAGES:
        if found := re.match(form, str(error), re.DOTALL):
            return sentence(found[1])
    return _one_line(str(error))


def _key_error(error: OmegaConfBaseException) -> str:
    """One line for an error of OmegaConf's that names a key; "" for another."""
    key, reason, parent = error.full_key, str(error).splitlines()[0], error.parent_node
    if "not in" in reason and isinstance(parent, DictConfig):
        choices = [str(k) for k in parent if not str(k).startswith("_")]
        return unknown_key(str(key), str(error.key), choices)
    if not key:
        return ""
    value = error.value or (error.child_node._value() if error.child_node else None)
    is_hydras = key.startswith("hydra.")
    if isinstance(value, str) and not is_hydras and re.search(r"[^}]\$\{|\$\{.*[^}]$", value):
        return f"{key}: {reason}; {literal(key, value)}"
    return f"{key}: {reason}"


def _one_line(message: str) -> str:
    message = message.partition("Config search path")[0]  # where Hydra looked helps nobody
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    listed = False
    out = ""
    for line in lines:
        out += (", " if listed and not line.endswith(":") else " ") + line
        listed = listed or line.endswith(":")
    return out.replace(":, ", ": ").strip()
