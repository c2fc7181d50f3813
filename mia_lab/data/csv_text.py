"""Text in CSV files, in a form that spreadsheets show and never run.

A spreadsheet runs a field that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return
as a formula, and the name of a file may begin so. Such a field is written behind an apostrophe, as
OWASP recommends ("CSV Injection"), and read without it.
"""

from __future__ import annotations

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def defused(text: str) -> str:
    """A field as it is written. Numbers stay as they are.

    Example:
        >>> defused("=1+2"), defused("'=1"), defused("-0.5"), defused("train/1")
        ("'=1+2", "''=1", '-0.5', 'train/1')
    """
    if text.startswith(_STARTS):
        return text if _is_number(text) else f"'{text}"
    return f"'{text}" if text.lstrip("'").startswith(_STARTS) else text


def restored(text: str) -> str:
    """A field as it was before :func:`defused`.

    Example:
        >>> [restored(field) for field in ("'=1+2", "''=1", "-0.5", "'quoted'")]
        ['=1+2', "'=1", '-0.5', "'quoted'"]
    """
    quoted = text.startswith("'") and text.lstrip("'").startswith(_STARTS)
    return text[1:] if quoted else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[0].isspace()
