"""Where a report is written: a page alone, or a folder of all files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_report(path: str | Path, write: Callable[[Path, bool], Path]) -> Path:
    """Write a report.

    Args:
        path: of a page, ``report.html``; or of a folder, which gets all files.
        write: writes all files into an existing folder, or the page alone; and returns the path of
            the page.

    Returns:
        The path of the page.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in (".html", ".htm"):
        path.mkdir(parents=True, exist_ok=True)
        return write(path, False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mia_lab-") as folder:
        shutil.copyfile(write(Path(folder), True), path)
    return path
