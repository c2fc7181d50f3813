"""The log of a store: one line of JSON per event, so that trainings can be counted."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import time
from functools import cache
from pathlib import Path
from typing import Any

from mia_lab.store.permissions import share

JOURNAL = "log.jsonl"

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
"""A link could lead to any file of the user's, and a pipe would be waited for."""

log = logging.getLogger(__name__)


def note(root: Path, event: str, stage: str, key: str, **details: Any) -> None:
    """Append an event to ``<root>/log.jsonl``, by a single write.

    If the line cannot be written, the event is dropped, with a warning. A network file system does
    not append atomically, so that one of two simultaneous events may be lost.

    Args:
        root: folder of the store.
        event: ``computed``, ``takeover`` (of a dead process's lock) or ``removed``.
        stage, key: stage and key of the entry.
        details: further JSON values, such as ``seconds``.
    """
    line = {"event": event, "stage": stage, "key": key, **details}
    line |= {"host": socket.gethostname(), "pid": os.getpid(), "time": round(time.time(), 3)}
    path = root / JOURNAL
    try:
        descriptor = os.open(path, _APPEND, 0o644)
        try:
            share(root, path)
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.ELOOP:
            _warn(path, "is a link; remove it")
        else:
            _warn(path, f"cannot be written ({error.strerror})")


@cache
def _warn(path: Path, reason: str) -> None:
    """Warn once in each process."""
    log.warning("%s: %s; computations are not logged in it", path, reason)
