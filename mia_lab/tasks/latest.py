"""``outputs/latest``: a link to the newest run."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from mia_lab.config.schema import Config

log = logging.getLogger(__name__)


def print_location(config: Config, folder: Path, file: Path) -> None:
    """Make ``outputs/latest`` point at a run, and print where its report is."""
    latest = point_latest(Path(config.paths.outputs) / "latest", folder)
    kind = "metrics" if file.name == "metrics.json" else "report"
    print(f"{kind}: {file}" + (f"  (also {latest / file.name})" if latest else ""))


def point_latest(link: Path, folder: Path) -> Path | None:
    """Make ``outputs/latest`` point at this run; None where the system has no links."""
    partial = link.with_name(f".latest-{os.getpid()}")
    try:
        partial.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)
        partial.replace(link)
    except OSError as error:
        log.warning("%s: cannot be made to point at this run (%s)", link, error.strerror)
        partial.unlink(missing_ok=True)
        return None
    return link
