"""Errors of values in one line that names the key and the remedy."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from mia_lab.config.overrides import quoted_twice
from mia_lab.errors import UserError, listed, nearest

TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "dict_type": "a mapping with keys of its own",
    "model_type": "a mapping with keys of its own",
    "none_required": "null",
}
"""What a value must be, by pydantic's type of the error."""

BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}
"""How a bound reads, and where pydantic's context has it."""

ADDED_GROUPS = ("+experiment", "+sweep")
"""Groups of ``conf/`` that no choice is made of unless it is added; they set keys of the root."""

NESTED_GROUPS = ("difficulty/grid", "hydra/launcher")
"""Groups of ``conf/`` within others."""

LONGEST = 200
"""Characters of a value that a message shows."""


def unknown_key(full_key: str, key: str, choices: Collection[str]) -> str:
    """One line for a key that does not exist."""
    subject, parent = f"{full_key}: unknown key", full_key.rpartition(".")[0]
    if "/" in key:
        return unknown_name(f"{full_key}: unknown group", key, NESTED_GROUPS)
    if parent and not choices:
        return f"{subject}; {parent} has keys where {parent.replace('.', '/')}=NAME chooses some"
    groups = () if parent else ADDED_GROUPS
    return unknown_name(subject, key, sorted([*choices, *groups]))


def unknown_name(subject: str, name: str, choices: Sequence[str]) -> str:
    """One line for a name that is none of the choices.

    Args:
        subject: what is wrong.
        name: what was given.
        choices: what there is.
    """
    return f"{subject}; there are {listed(choices)}{nearest(name, choices)}"


def missing_value(key: str) -> UserError:
    """The error for a key without a value."""
    return UserError(f"{key}: no value given; add {key}=... to the command")


def wrong_value(key: str, value: Any, errors: Sequence[ErrorDetails]) -> UserError:
    """The error for the value of a key.

    Args:
        key: its full name.
        value: what it was given.
        errors: pydantic's; a union has one for each of its members.
    """
    found = shown(errors[0]["input"])
    item = any(isinstance(part, int) for part in errors[0]["loc"])
    subject = f"{found} " if item else ""
    reasons = dict.fromkeys(_reason(error) for error in errors if shown(error["input"]) == found)
    others = [reason for reason in reasons if not reason.startswith("must be ")]
    wanted = " or ".join(reason.removeprefix("must be ") for reason in reasons)
    reason = others[0] if others else f"{subject}must be {wanted}"
    return UserError(f"{key}={shown(value)}: {reason}{_remedy(key, errors)}")


def _remedy(key: str, errors: Sequence[ErrorDetails]) -> str:
    """The choice that is most like a word; quotes around a text that reads as a number."""
    found = errors[0]["input"]
    if isinstance(found, str):
        return nearest(found, [choice for error in errors for choice in _choices(error)])
    is_text = found is not None and all(error["type"] == "string_type" for error in errors)
    return f"; quote it twice, {quoted_twice(key, shown(found))}" if is_text else ""


def _choices(error: ErrorDetails) -> list[str]:
    """The words that an error lists."""
    return re.findall("'(.*?)'", str(error.get("ctx", {}).get("expected", "")))


def _reason(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in BOUNDS:
        words, bound = BOUNDS[kind]
        return f"must be {words} {context[bound]:g}"
    if kind in ("literal_error", "enum"):
        choices = _choices(error)
        return f"must be {'one of ' if len(choices) > 1 else ''}{', '.join(choices)}"
    if kind in ("list_type", "tuple_type"):
        return f"must be a list, such as [{shown(error['input'])}]"
    if kind in TYPES:
        return f"must be {TYPES[kind]}"
    if kind == "too_short":
        return f"must have at least {context['min_length']} item"
    if kind == "value_error":
        return str(context["error"])
    return error["msg"][:1].lower() + error["msg"][1:]


def shown(value: Any) -> str:
    """A value as a configuration file has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    is_list = isinstance(value, list | tuple)
    text = f"[{', '.join(map(shown, value))}]" if is_list else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
