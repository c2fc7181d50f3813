"""``task=collect``: collect the results of a sweep's points, also before all are finished."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mia_lab.config.load import read_yaml
from mia_lab.config.schema import Config
from mia_lab.errors import UserError
from mia_lab.evaluation.finished import Sweep, SweepPoint
from mia_lab.evaluation.metrics_file import OtherSchemaError, read_metrics
from mia_lab.reporting.frames import sweep_frame
from mia_lab.reporting.html import write_page
from mia_lab.reporting.index import RunNote
from mia_lab.reporting.labels import flat_settings
from mia_lab.reporting.sweep.figures import draw
from mia_lab.reporting.sweep.page import PAGE, page, point_thumbnails
from mia_lab.reporting.sweep.settings import setting_columns
from mia_lab.reporting.sweep.words import finding, states, text, write_files
from mia_lab.reporting.tracking import Tracker
from mia_lab.store import sha256_of
from mia_lab.store.software import software
from mia_lab.sweeps.point import State, read_point
from mia_lab.tasks.command import Clock, command_line
from mia_lab.tasks.ending import list_run

DAMAGED = "damaged"
OTHER = "other"


def run(config: Config, folder: Path, group: str) -> None:
    """Collect the sweep that ``collect.dir`` names; nothing is written elsewhere.

    Args:
        config: a validated configuration.
        folder, group: as for every task; unused.

    Raises:
        UserError: none of the points is finished.
    """
    sweep = Path(str(config.collect.dir)).expanduser()
    with sweep_tracker(config, sweep) as tracker:
        found = collect(sweep, tracker, pictures=config.collect.pictures)
    note = RunNote("sweep", found.name, time.time(), PAGE, finding(found))
    list_run(Path(config.paths.outputs), sweep, note)
    print(text(found))
    print(f"report: {sweep / PAGE}")


def collect(
    sweep: Path,
    tracker: Tracker | None = None,
    *,
    pictures: bool = False,
    command: str | None = None,
) -> Sweep:
    """Read the points of a sweep and write table, figures and page into its folder.

    Args:
        sweep: with a folder a point, ``0``, ``1``, ...
        tracker: a started one, from :func:`sweep_tracker`; None: no W&B run.
        pictures: whether the page shows the points' own pictures.
        command: what was typed; default: the command of this job.

    Returns:
        What was found; :func:`mia_lab.reporting.sweep.text` puts it into words.

    Raises:
        UserError: none of the points is finished.
    """
    clock = Clock()
    with clock("reading"):
        found = gather(sweep)
    if not found.done:
        raise UserError(
            f"collect.dir={sweep}: none of its {len(found.points)} points is a finished audit "
            f"({states(found)}); run the sweep, or wait for it"
        )
    with clock("figures"):
        drawn = draw(found)
        shown = point_thumbnails(found) if pictures else {}
    typed = command_line() if command is None else command
    found = replace(found, timing_s=clock.seconds, command=typed)
    write_files(found, drawn, sweep)
    write_page("sweep", page(found, drawn, shown), sweep)
    if tracker is not None:
        tracker.log_sweep(found, drawn)
    return found


def sweep_tracker(config: Config, sweep: Path) -> Tracker:
    """The W&B run of a sweep as a whole, in the group of its points; the same sweep, the same run.

    Args:
        config: says where W&B records go; of a point, or of the command.
        sweep: the sweep's folder.
    """
    tracking, name = config.tracking, sweep.resolve().name
    return Tracker(
        tracking.mode.value,
        directory=sweep,
        run_id=sha256_of({"task": "collect", "sweep": name})[:16],
        project=tracking.project,
        group=tracking.group or name,
        job_type="collect",
        name=f"collect-{name}",
        config={"task": "collect", "sweep": name},
        tags=("collect",),
        log_images=tracking.images,
    )


def gather(folder: Path) -> Sweep:
    """Read all points; a point that cannot be read is named, and does not stop the others.

    Args:
        folder: the sweep's folder, with a folder for each point; other folders are left alone.
    """
    folders = {int(p.name): p for p in folder.iterdir() if p.is_dir() and p.name.isdecimal()}
    points = tuple(_point(number, folders[number]) for number in sorted(folders))
    columns, axes = setting_columns(points)
    return Sweep(
        name=folder.resolve().name,
        points=points,
        missing=tuple(n for n in range(max(folders, default=0)) if n not in folders),
        axes=axes,
        rows=sweep_frame(points, columns),
        timing_s={},
        record=_record(points),
        command="",
    )


def _point(number: int, folder: Path) -> SweepPoint:
    """One point, with its numbers if it has any."""
    try:
        note = read_point(folder)
    except UserError as error:
        return SweepPoint(number, DAMAGED, str(error), (), str(folder), {}, None)
    overrides = note.overrides if note else ()
    point = SweepPoint(number, "", note.reason if note else "", overrides, str(folder), {}, None)
    path = folder / "metrics.json"
    finished = path.is_file()
    state = note.state if note else State.DONE if finished else State.PLANNED
    if state is not State.DONE:
        return replace(point, state=state.value)
    if not finished:
        return replace(point, state=OTHER, reason="no metrics.json: not a finished audit")
    try:
        metrics = read_metrics(path)
    except OtherSchemaError as error:
        return replace(point, state=OTHER, reason=str(error))
    except UserError as error:
        return replace(point, state=DAMAGED, reason=str(error))
    settings = _settings(folder / "config.yaml")
    if not settings:
        unknown = "config.yaml: missing or damaged, settings unknown"
        point = replace(point, reason=unknown)
    return replace(point, state=State.DONE.value, settings=settings, metrics=metrics)


def _settings(path: Path) -> dict[str, Any]:
    """A resolved configuration by its dotted keys; empty if it cannot be read."""
    try:
        return flat_settings(read_yaml(path))
    except UserError:
        return {}


def _record(points: tuple[SweepPoint, ...]) -> dict[str, str]:
    records = [point.metrics.record for point in points if point.metrics is not None]
    commits = dict.fromkeys(record["commit"] for record in records if "commit" in record)
    return {"commit of the points": "; ".join(commits) or "unknown", **software()}
