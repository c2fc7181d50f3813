"""Objects of this process that a configuration names by a handle while a call lasts."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from mia_lab.errors import UserError
from mia_lab.parameters import Text

_held: dict[str, object] = {}


@contextmanager
def held(thing: object) -> Iterator[str]:
    """A new handle of an object. It is unique, so no stored result that depends on it is reused."""
    handle = f"h{uuid.uuid4().hex}"  # digits with an e would be a number
    _held[handle] = thing
    try:
        yield handle
    finally:
        del _held[handle]


def thing(handle: Text) -> object:
    """The object of a handle.

    Raises:
        UserError: its call is over.
    """
    if handle not in _held:
        raise UserError(f"{handle}: was an object of a Python process; it cannot be loaded again")
    return _held[handle]
