"""From what Hydra composed to typed and checked settings, and from those to plain ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic_core import to_jsonable_python

from mia_lab.config.checks import check
from mia_lab.config.explain import explain
from mia_lab.config.messages import missing_value
from mia_lab.config.schema import Config
from mia_lab.config.validation import validated
from mia_lab.errors import UserError, one_line

DEEPEST = 50
"""Levels of a configuration file."""

_YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, KeyError, IndexError, AttributeError)
"""What PyYAML raises for values that their tags do not fit, such as ``!!bool x``."""


def load(cfg: DictConfig) -> Config:
    """The composed configuration: typed, and checked for its task.

    Raises:
        UserError: a key is unknown or has no value, a value has another type or is out of range,
            or settings do not go together. The message names the key and the remedy.
    """
    config = parse(cfg)
    check(config)
    return config


def parse(cfg: DictConfig) -> Config:
    """The composed configuration with typed sections; components and combinations unchecked.

    Raises:
        UserError: a key of a section is unknown or has no value, or its value is impossible.
    """
    try:
        settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise missing_value(str(error.full_key)) from None
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    return validated(Config, settings)


def plain(node: Any) -> Any:
    """Settings as JSON values."""
    return to_jsonable_python(node)


def as_yaml(config: Config) -> str:
    """The resolved configuration, as the run uses it."""
    return str(OmegaConf.to_yaml(OmegaConf.create(plain(config))))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration that :func:`as_yaml` wrote.

    Aliases are refused: no run writes them, and a few of them stand for billions of values.

    Raises:
        UserError: the file cannot be read, or is no mapping.
    """
    # OmegaConf reads the same, fifteen times as slowly.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        text = path.read_text(encoding="utf-8")
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("has an alias")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"is nested more than {DEEPEST} times")
        content = yaml.load(text, Loader=loader)
        json.dumps(content)  # of no date, set or bytes, which no run writes
    except (OSError, *_YAML_ERRORS) as error:
        raise UserError(
            f"{path}: cannot be read ({one_line(str(error))}); run the audit again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no configuration of a run; run the audit again")
    return {str(key): value for key, value in content.items()}
