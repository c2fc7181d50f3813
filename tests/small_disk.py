"""A small disk that a test fills up."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PAGE = 4096
"""What a small file takes on the disk, in bytes."""


class SmallDisk:
    """A mounted file system of its own.

    Attributes:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, pages: int = 0) -> None:
        """Leave room for a number of pages."""
        self.empty()
        size = shutil.disk_usage(self.folder).free - pages * PAGE
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


def pages(*paths: Path) -> int:
    """Room that files, and those in folders, take on the disk."""
    files = [f for path in paths for f in ([path] if path.is_file() else path.rglob("*"))]
    return sum(-(-f.stat().st_size // PAGE) for f in files if f.is_file())
