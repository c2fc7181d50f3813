"""``outputs/index.html``: the runs of an outputs folder, each with its findings and its report.

Each run writes a small note into its folder. The page is made anew from all notes that are there,
so it needs no lock: a run that finds other notes after writing the page than before writes it
again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import ConfigDict, TypeAdapter

from mia_lab.evaluation.results import AuditReport, Estimate
from mia_lab.reporting.audit.words import HEADLINE_ATTACKS, headline
from mia_lab.reporting.html import render_page
from mia_lab.reporting.numbers import interval
from mia_lab.store.disk import write_file

INDEX, NOTE = "index.html", "run.json"

FOLDERS = ("runs/*/*", "sweeps/*")
"""Where runs lie below an outputs folder."""


@dataclass(frozen=True)
class RunNote:
    """What the list of runs says about one of them.

    Attributes:
        task: the task; ``sweep`` for the points of a sweep together.
        name: of the run.
        ended: when, in seconds since 1970.
        page: its report, a file of its folder.
        finding: in a sentence.
        split: the verdict on the split of an audit; "" for other tasks.
        gate: ``passed`` or ``failed``; "" without a gate.
        auc: of each attack of an audit.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    task: str
    name: str
    ended: float
    page: str
    finding: str
    split: str = ""
    gate: str = ""
    auc: Mapping[str, Estimate] = field(default_factory=dict)


_NOTE = TypeAdapter(RunNote)


def audit_facts(audit: AuditReport) -> dict[str, Any]:
    """What an audit's note says besides its place and time."""
    gate = audit.gate
    found, _, numbers = headline(audit.result).partition(":")
    return {
        "finding": f"{found}." if numbers else found,
        "split": audit.result.blind.verdict.value,
        "gate": "" if gate is None else "failed" if gate.failed else "passed",
        "auc": {e.name: Estimate(e.auc, e.auc_ci95) for e in audit.result.evaluations},
    }


def write_note(folder: Path, note: RunNote) -> None:
    """Write the note of a run into its folder."""
    write_file(folder / NOTE, _NOTE.dump_json(note, indent=1))


def update_index(outputs: Path) -> int:
    """Write ``index.html`` from the notes of all runs.

    Several runs may do so at once. What one of them writes may lack the newest note of another; as
    each looks again after writing, the last page has all notes.

    Args:
        outputs: the outputs folder; exists.

    Returns:
        The number of runs.

    Raises:
        OSError: the page cannot be written.
    """
    # An empty list is written only in the place of another one.
    written: dict[str, RunNote] | None = None if (outputs / INDEX).exists() else {}
    while (found := read_notes(outputs)) != written:
        partial = outputs / f".index-{uuid.uuid4().hex}"
        try:
            write_file(partial, render_page("index", index_page(outputs, found)))
            partial.replace(outputs / INDEX)
        finally:
            partial.unlink(missing_ok=True)
        written = found
    return len(found)


def read_notes(outputs: Path) -> dict[str, RunNote]:
    """The notes of all runs by their folders, relative to the outputs folder.

    Notes that cannot be read are skipped.
    """
    found = {}
    for pattern in FOLDERS:
        for path in sorted(outputs.glob(f"{pattern}/{NOTE}")):
            try:
                note = _NOTE.validate_json(path.read_bytes())
                datetime.fromtimestamp(note.ended)
            except (OSError, ValueError, OverflowError):
                continue
            found[path.parent.relative_to(outputs).as_posix()] = note
    return found


@dataclass(frozen=True)
class Row:
    """One run in the list.

    Attributes:
        note: of the run.
        link: to its report, relative to the list.
        when: date and time.
        auc: a line for each attack.
        highest: AUC; None if there is none.
    """

    note: RunNote
    link: str
    when: str
    auc: tuple[str, ...]
    highest: float | None


def index_page(outputs: Path, notes: Mapping[str, RunNote]) -> dict[str, Any]:
    """What the template of the list is filled with: the newest run first."""
    rows = [_row(folder, note) for folder, note in notes.items()]
    rows.sort(key=lambda row: row.note.ended, reverse=True)
    return {"folder": outputs.resolve().name, "rows": rows}


def _row(folder: str, note: RunNote) -> Row:
    areas = sorted(note.auc.items(), key=lambda item: -item[1].value)
    return Row(
        note=note,
        link=quote(f"{folder}/{note.page}"),
        when=f"{datetime.fromtimestamp(note.ended):%Y-%m-%d %H:%M}",
        auc=tuple(_lines(areas)),
        highest=areas[0][1].value if areas else None,
    )


def _lines(areas: Iterable[tuple[str, Estimate]]) -> list[str]:
    lines = [f"{name} {interval(area.value, area.ci95)}" for name, area in areas]
    more = len(lines) - HEADLINE_ATTACKS
    return [*lines[:HEADLINE_ATTACKS], *([f"and {more} more"] if more > 0 else [])]
