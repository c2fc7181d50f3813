"""Errors of values in one line that names the key and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from mia_lab.errors import UserError

TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list, such as [1]",
    "tuple_type": "a list, such as [1]",
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

LONGEST = 200
"""Characters of a value that a message shows."""


def unknown_key(full_key: str, key: str, choices: Iterable[str]) -> str:
    """One line for a key that does not exist."""
    known = sorted(choices)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    there = f"there are {', '.join(known)}" if known else "there are none"
    return f"{full_key}: unknown key; {hint}{there}"


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
    item = any(isinstance(part, int) for part in errors[0]["loc"])
    subject = f"{shown(errors[0]['input'])} " if item else ""
    reasons = dict.fromkeys(_reason(error) for error in errors)
    others = [reason for reason in reasons if not reason.startswith("must be ")]
    wanted = " or ".join(reason.removeprefix("must be ") for reason in reasons)
    return UserError(
        f"{key}={shown(value)}: {others[0] if others else f'{subject}must be {wanted}'}"
    )


def _reason(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in BOUNDS:
        words, bound = BOUNDS[kind]
        return f"must be {words} {context[bound]:g}"
    if kind in ("literal_error", "enum"):
        choices = str(context["expected"]).replace(" or ", ", ").replace("'", "")
        return f"must be one of {choices}" if "," in choices else f"must be {choices}"
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
