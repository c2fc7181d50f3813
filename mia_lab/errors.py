"""Exceptions with messages for the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

SHORTEST = 3
"""Fewest characters of a name that :func:`nearest` completes."""


class UserError(Exception):
    r"""An error in the configuration, the data or the environment that the user can correct.

    The message is one line that names the file or key and the remedy. The command line prints it
    without a traceback. Any other exception is a bug, and is printed with its traceback.

    Args:
        message: what is wrong. Names of files and words of their contents may be in it as they
            are: what a terminal cannot print, or would obey, is escaped.

    Example:
        >>> print(UserError("1\n.png: is no picture"))
        1\n.png: is no picture
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(map(_escaped, message)))


_noted: ContextVar[list[str] | None] = ContextVar("noted", default=None)


@contextmanager
def all_problems() -> Iterator[list[str]]:
    """A list of all problems that :func:`refuse` is given within, which then does not raise.

    Example:
        >>> with all_problems() as problems:
        ...     refuse("1.png: has no partner")
        ...     refuse("2.png: has no partner")
        >>> problems
        ['1.png: has no partner', '2.png: has no partner']
    """
    problems: list[str] = []
    token = _noted.set(problems)
    try:
        yield problems
    finally:
        _noted.reset(token)


def refuse(message: str) -> None:
    """Say what is wrong with something that can be left out.

    Args:
        message: see :class:`UserError`.

    Raises:
        UserError: except within :func:`all_problems`; there the caller goes on without it.
    """
    error, noted = UserError(message), _noted.get()
    if noted is None:
        raise error
    noted.append(str(error))


@contextmanager
def noting() -> Iterator[None]:
    """Hand the error that ends the block to :func:`refuse`."""
    try:
        yield
    except UserError as error:
        if _noted.get() is None:
            raise  # as what it is
        refuse(str(error))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:x}"
    return character.encode("unicode_escape").decode()


def one_line(text: str, longest: int = 200) -> str:
    """A text of unknown origin as part of a message, which escapes it: one line, not too long.

    Args:
        text: such as what a library says of a file, or a name in a file.
        longest: characters; the rest is cut off.
    """
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}..."


def nearest(name: str, choices: Iterable[str]) -> str:
    """What follows "unknown name" in a message: the choice that is most like it, if one is.

    The only choice that begins with the name is like it, however long it is.

    Args:
        name: what was given.
        choices: what there is.

    Example:
        >>> nearest("Pix2pixx", ["pix2pix", "unet"])
        '; did you mean "pix2pix"?'
        >>> nearest("pix", ["pix2pix", "unet"])
        '; did you mean "pix2pix"?'
        >>> nearest("identity", ["pix2pix", "unet"])
        ''
    """
    plain = {choice.casefold(): choice for choice in choices}
    start = name.casefold()
    found = difflib.get_close_matches(start, plain, n=1, cutoff=0.65)
    begun = [choice for choice in plain if choice.startswith(start)]
    if not found and len(begun) == 1 and len(start) >= SHORTEST:
        found = begun
    return f'; did you mean "{plain[found[0]]}"?' if found else ""


def nearest_folder(folder: Path) -> str:
    """What follows "no such folder" in a message: the name beside it that is most like its own."""
    try:
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()]
        return nearest(folder.name, beside)
    except OSError:  # its parent is missing, too, or cannot be read
        return ""


def listed(items: Iterable[object], most: int = 30) -> str:
    """The first of many as text: ``a, b and 3 more``."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


class SweepFailedError(Exception):
    """Some points of a sweep failed, or their ``fail_if`` holds; the others are done.

    Args:
        count: how many.
        by_gate: whether all of them are done, and only their ``fail_if`` holds.
    """

    def __init__(self, count: int, *, by_gate: bool) -> None:
        super().__init__(f"{count} points failed")
        self.by_gate = by_gate


class GateFailedError(UserError):
    """The audit is complete, and its condition ``fail_if`` holds, which forbids a release."""
