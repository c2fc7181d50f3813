"""The command line as Hydra reads it, and how to quote what its grammar reads otherwise."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from mia_lab.config.choices import Task
from mia_lab.errors import UserError, nearest


def hydra_arguments(typed: Sequence[str]) -> list[str]:
    """Arguments as Hydra reads them: options first, and values that are texts in quotes.

    Args:
        typed: options and overrides in any order.

    Raises:
        UserError: there is no such option, or see :func:`readable`.
    """
    parser = get_args_parser()
    parsed, unknown = parser.parse_known_intermixed_args(typed)
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        raise UserError(
            f"{unknown[0]}: there is no such option; settings have no dashes, such as seed=1, and "
            f"--help lists both{nearest(unknown[0], known)}"
        )
    options = [*typed]
    for override in parsed.overrides:
        options.remove(override)
    return [*options, *map(readable, parsed.overrides)]


def readable(override: str) -> str:
    """An override in Hydra's grammar: a value that the grammar has no form for becomes a text.

    Such as ``victim.checkpoint=epoch=3.pth``, ``data.root=/data/Straße (2)`` and
    ``fail_if=auc/membership > 0.6``. A value with commas may be several values, and one in brackets
    a list; these stay as they are, since only the user knows.

    Raises:
        UserError: the override has no key, or is not in UTF-8.
    """
    key, equals, value = override.partition("=")
    if any("\ud800" <= character <= "\udfff" for character in override):
        raise UserError(f"{override}: is not encoded in UTF-8; rename the file or folder")
    if equals and not key:
        raise UserError(unreadable(override))
    if not equals or "," in value or _is_enclosed(value) or _parses(override):
        return override
    quoted = f"{key}={_quoted(value)}"
    return quoted if _parses(quoted) else override


def quoted_twice(key: str, value: str) -> str:
    """An override whose value is a text, in quotes for Hydra within quotes for the shell."""
    return shlex.quote(f"{key}={_quoted(value)}")


def unreadable(override: str) -> str:
    """One line for an override that the grammar does not read."""
    key, equals, value = override.partition("=")
    if not key or not equals or not _parses(f"{key}={_quoted(value)}"):
        example = f"task={override}" if override in [task.value for task in Task] else "seed=1"
        return (
            f"{override}: is no setting; write KEY=VALUE without spaces around =, such as {example}"
        )
    found = f"{override}: is outside Hydra's grammar"
    if _is_enclosed(value):
        content = _each_quoted(value[1:-1])
        if _parses(f"{key}=[{content}]"):
            return f"{found}; quote such an item twice, {shlex.quote(f'{key}=[{content}]')}"
    sentence = f"{found}; if it is one text, quote it twice, {quoted_twice(key, value)}"
    several = f"{key}={_each_quoted(value)}"
    if "," not in value or not _parses(several):
        return sentence
    return f"{sentence}; or each of several, {shlex.quote(several)}"


def ambiguous(override: str) -> str:
    """One line for several values, separated by commas, where there is no sweep."""
    key, _, value = override.partition("=")
    return (
        f"{override}: is several values; add -m for a sweep over them, write {key}=[...] for a "
        f"list, or quote it twice if it is one text, {quoted_twice(key, value)}"
    )


def literal(key: str, value: str) -> str:
    """How a value is given whose ``${`` begins no interpolation, but is part of a name."""
    escaped = value.replace("${", r"\${")
    return rf"if ${{ is part of a name, write \${{, {quoted_twice(key, escaped)}"


def _quoted(value: str) -> str:
    """A value in the quotes within which the grammar reads every character."""
    return QuotedString(value, Quote.double).with_quotes()


def _each_quoted(values: str) -> str:
    """Values separated by commas, those in quotes that the grammar does not read as they are."""
    items = map(str.strip, values.split(","))
    return ",".join(item if _parses(f"x={item}") else _quoted(item) for item in items)


def _is_enclosed(value: str) -> bool:
    return value[:1] + value[-1:] in ("[]", "{}")


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True
