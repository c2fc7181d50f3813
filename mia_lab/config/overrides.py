"""The command line as Hydra reads it, and how to quote what its grammar reads otherwise."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from mia_lab.config.choices import Task
from mia_lab.config.schema import is_text
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
    is_sweep = parsed.multirun or any(o.lstrip("+").startswith("sweep=") for o in parsed.overrides)
    return [*options, *(readable(override, is_sweep) for override in parsed.overrides)]


def readable(override: str, is_sweep: bool = False) -> str:
    """An override in Hydra's grammar, with a value in quotes that only makes sense as a text.

    Any value of a key whose type is text is one, except null, interpolations, and the values of a
    sweep: ``fail_if=auc/membership > 0.6``, ``data.group_by=^([a-z]{2,3})_``, ``data.train=1.10``.
    So is a value of another key that the grammar has no form for, such as
    ``victim.checkpoint=/data/Straße (2)``, unless it has commas or brackets: it may be several
    values, or a list.

    Args:
        override: as it was typed.
        is_sweep: whether values with commas between them may be those of a sweep.

    Raises:
        UserError: the override has no key, or is not in UTF-8.
    """
    key, equals, value = override.partition("=")
    if any("\ud800" <= character <= "\udfff" for character in override):
        raise UserError(f"{override}: is not encoded in UTF-8; rename the file or folder")
    if equals and not key:
        raise UserError(unreadable(override))
    if not equals:
        return override
    parsed = _parsed(override)
    if is_text(key.lstrip("+")):
        may_be_several = is_sweep and "," in value
        is_read = may_be_several if parsed is None else _is_text_or_sweep(parsed)
    else:
        is_read = parsed is not None or "," in value or _is_enclosed(value)
    quoted = f"{key}={_quoted(value)}"
    return override if is_read or not _parses(quoted) else quoted


def _is_text_or_sweep(override: Override) -> bool:
    if override.is_sweep_override():
        return True
    value = override.value()
    return value is None or isinstance(value, str | QuotedString)


def key_of(override: str) -> str:
    """The key of an override, without the signs that add or delete it.

    Example:
        >>> key_of("+data.sources.mine=x"), key_of("~victim.width")
        ('data.sources.mine', 'victim.width')
    """
    return override.lstrip("+~").partition("=")[0]


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
    return _parsed(override) is not None


def _parsed(override: str) -> Override | None:
    """What the grammar reads; None if it cannot."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None
