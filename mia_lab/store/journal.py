"""The log of a store: one line of JSON per event, so that trainings can be counted."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

JOURNAL = "log.jsonl"


def note(root: Path, event: str, stage: str, key: str, **details: Any) -> None:
    """Append an event to ``<root>/log.jsonl``, by a single write.

    If the line cannot be written, the event is dropped. A network file system does not append
    atomically, so that one of two simultaneous events may be lost.

    Args:
        root: folder of the store.
        event: ``computed``, ``takeover`` (of a dead process's lock) or ``removed``.
        stage, key: stage and key of the entry.
        details: further JSON values, such as ``seconds``.
    """
    line = {"event": event, "stage": stage, "key": key, **details}
    line |= {"host": socket.gethostname(), "pid": os.getpid(), "time": round(time.time(), 3)}
    with contextlib.suppress(OSError):
        descriptor = os.open(root / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)
