"""What happened in a store: one line of JSON an event, so that trainings can be counted."""

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
    """Append an event to ``<root>/log.jsonl``, by one write that others do not interleave with.

    Where the line cannot be written nothing happens; on a network file system, which does not
    append atomically, two events of the same moment may leave one.

    Args:
        root: folder of the store.
        event: ``computed``, ``takeover`` (of a dead process's lock) or ``removed``.
        stage, key: of the entry.
        details: more of it, such as ``seconds``; JSON values.
    """
    line = {"event": event, "stage": stage, "key": key, **details}
    line |= {"host": socket.gethostname(), "pid": os.getpid(), "time": round(time.time(), 3)}
    with contextlib.suppress(OSError):
        descriptor = os.open(root / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)
