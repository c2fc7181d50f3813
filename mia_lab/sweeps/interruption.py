"""Signals that interrupt a launcher."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, SIGTERM and a closed terminal leave as an exception, as Ctrl-C does."""

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    # Ignored signals stay ignored: nohup means it.
    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = [signal.signal(number, leave) for number in heard]
    try:
        yield
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within, Ctrl-C, SIGTERM and SIGHUP wait; they are raised in the end."""
    arrived: list[int] = []
    waiting = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {n: h for n in waiting if (h := signal.getsignal(n)) != signal.SIG_IGN}
    for number in handlers:
        signal.signal(number, lambda number, _: arrived.append(number))
    # Blocked, too: child processes inherit the mask, and finish what they have begun.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in dict.fromkeys(arrived):
            signal.raise_signal(late)
