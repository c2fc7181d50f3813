"""Validate mappings with pydantic models; report the first fault in one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mia_lab.config.messages import unknown_key, wrong_value
from mia_lab.config.schema import section_of
from mia_lab.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], node: Any, key: str = "") -> Model:
    """A mapping as a model.

    Args:
        model: the type.
        node: JSON values.
        key: its full name, for errors.

    Raises:
        UserError: the first thing that is wrong.
    """
    try:
        return model.model_validate_json(json.dumps(node), strict=True)
    except ValidationError as error:
        raise _first_error(model, node, key, error) from None


def _first_error(model: type[BaseModel], node: Any, key: str, error: ValidationError) -> UserError:
    errors = error.errors()
    loc, kind = errors[0]["loc"], errors[0]["type"]
    section: type[BaseModel] | None = model
    full_key, value, depth = key, node, 0
    for part in loc:
        is_key = section is not None or (isinstance(value, Mapping) and part in value)
        if not is_key:
            break  # an item of a list, or a member of a union
        depth += 1
        full_key = f"{full_key}.{part}" if full_key else str(part)
        if section is not None and part not in section.model_fields:
            return UserError(unknown_key(full_key, str(part), section.model_fields))
        if depth == len(loc) and kind == "missing":
            return UserError(f"{full_key}: no value given; add +{full_key}=... to the command")
        value = value[part]
        section = section_of(section.model_fields[str(part)]) if section else None
    if section is not None and section.__name__ == "Grid":
        choose = "has keys of its own; name a prepared one by difficulty/grid=NAME"
        return UserError(f"{full_key}={value}: {choose}")
    return wrong_value(full_key, value, [e for e in errors if e["loc"][:depth] == loc[:depth]])
