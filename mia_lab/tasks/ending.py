"""The end of a run: ``outputs/latest``, ``outputs/index.html``, and where its report is."""

from __future__ import annotations

import logging
import os
import time
import uuid
from pathlib import Path
from typing import Any

from mia_lab.config.schema import Config
from mia_lab.errors import UserError
from mia_lab.reporting.index import INDEX, RunNote, update_index, write_note

log = logging.getLogger(__name__)


def end_run(
    config: Config, file: Path, finding: str, *, task: str = "", name: str = "", **facts: Any
) -> None:
    """List a run in ``outputs/index.html``, make ``outputs/latest`` point at it, print its report.

    Args:
        config: of the run.
        file: its report, in the folder of the run.
        finding: what was found, in a sentence.
        task, name: what the list calls it; default: as configured.
        facts: further fields of :class:`~mia_lab.reporting.index.RunNote`.
    """
    outputs = Path(config.paths.outputs)
    note = RunNote(
        task or config.task.value, name or config.name, time.time(), file.name, finding, **facts
    )
    listed = list_run(outputs, file.parent, note)
    latest = point_latest(outputs / "latest", file.parent)
    also = [str(latest / file.name)] if latest else []
    also += [f"all runs: {outputs / INDEX}"] if listed > 1 else []
    kind = "metrics" if file.name == "metrics.json" else "report"
    print(f"{kind}: {file}" + (f"  (also {'; '.join(also)})" if also else ""))


def list_run(outputs: Path, folder: Path, note: RunNote) -> int:
    """List a run in ``index.html``; return the number of runs, 0 if the list cannot be written."""
    try:
        write_note(folder, note)
        return update_index(outputs)
    except (OSError, UserError) as error:
        log.warning("%s: the list of runs cannot be written (%s)", outputs / INDEX, error)
        return 0


def point_latest(link: Path, folder: Path) -> Path | None:
    """Make ``outputs/latest`` point at this run; None where the system has no links."""
    partial = link.with_name(f".latest-{uuid.uuid4().hex}")
    try:
        partial.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)
        partial.replace(link)
    except OSError as error:
        log.warning("%s: cannot be made to point at this run (%s)", link, error.strerror)
        partial.unlink(missing_ok=True)
        return None
    return link
