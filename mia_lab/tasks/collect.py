"""``task=collect``: what the points of a sweep found, finished or not, in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mia_lab.config.schema import Config
from mia_lab.errors import UserError
from mia_lab.evaluation.results import Sweep, SweepPoint
from mia_lab.reporting import sweep as report
from mia_lab.reporting.files import SCHEMA
from mia_lab.reporting.html import write_page
from mia_lab.reporting.labels import flat_settings
from mia_lab.reporting.sweep_figures import draw
from mia_lab.reporting.sweep_page import page, thumbnails
from mia_lab.reporting.sweep_table import measured, tabulate
from mia_lab.reporting.tracking import Tracker
from mia_lab.store.key import Stage
from mia_lab.sweeps.point import Point, State, read_point
from mia_lab.tasks.run import Clock, command_line, software_record

DAMAGED = "damaged"
OTHER = "other"


def collect_task(config: Config) -> None:
    """Collect the sweep that ``collect.dir`` names; nothing is written elsewhere.

    Args:
        config: a validated configuration.

    Raises:
        UserError: none of the points is finished.
    """
    sweep = Path(str(config.collect.dir)).expanduser()
    with sweep_tracker(config, sweep) as tracker:
        found = collect(sweep, tracker, pictures=config.collect.pictures)
    print(report.text(found))
    print(f"report: {sweep / 'report.html'}")


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
        What was found; :func:`mia_lab.reporting.sweep.text` says it.

    Raises:
        UserError: none of the points is finished.
    """
    clock = Clock()
    with clock("reading"):
        found = gather(sweep)
    if not found.done:
        raise UserError(
            f"collect.dir={sweep}: none of its {len(found.points)} points is a finished audit "
            f"({report.states(found)}); run the sweep, or wait for it"
        )
    with clock("figures"):
        drawn = draw(found)
        shown = thumbnails(found) if pictures else {}
    typed = command_line() if command is None else command
    found = replace(found, timing_s=clock.seconds, command=typed)
    report.write_files(found, drawn, sweep)
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
        run_id=Stage("collect", 1, {"sweep": name}).key[:16],
        project=tracking.project,
        group=tracking.group or name,
        job_type="collect",
        name=f"collect-{name}",
        config={"task": "collect", "sweep": name},
        tags=("collect",),
        log_images=tracking.images,
    )


def gather(sweep: Path) -> Sweep:
    """Read all points; those that can't be read are named, and don't stop the others.

    Args:
        sweep: with a folder a point; other folders are left alone.
    """
    folders = {int(p.name): p for p in sweep.iterdir() if p.is_dir() and p.name.isdecimal()}
    points = tuple(_point(number, folders[number]) for number in sorted(folders))
    axes, rows = tabulate(points)
    return Sweep(
        name=sweep.resolve().name,
        points=points,
        missing=tuple(n for n in range(max(folders, default=0)) if n not in folders),
        axes=axes,
        rows=rows,
        timing_s={},
        record=_record(points),
        command="",
    )


def _point(number: int, folder: Path) -> SweepPoint:
    """One point, with its numbers if it has any."""
    try:
        note = read_point(folder)
    except UserError as error:
        return _without(number, folder, None, DAMAGED, str(error))
    finished = (folder / "metrics.json").is_file()
    state = note.state if note else State.DONE if finished else State.PLANNED
    if state is not State.DONE:
        return _without(number, folder, note, state.value, note.reason if note else "")
    if not finished:
        return _without(number, folder, note, OTHER, "no metrics.json: not a whole audit")
    try:
        metrics = _metrics(folder / "metrics.json")
    except ValueError as error:
        return _without(number, folder, note, DAMAGED, f"metrics.json: damaged ({error})")
    if (schema := metrics.get("schema")) != SCHEMA:
        return _without(number, folder, note, OTHER, f"metrics.json: no audit's, but {schema!r}")
    try:
        rows = measured(metrics)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"metrics.json: damaged ({type(error).__name__} {error})"
        return _without(number, folder, note, DAMAGED, reason)
    settings = _settings(folder / "config.yaml")
    unknown = "config.yaml: missing or damaged, settings unknown"
    reason = (note.reason if note else "") if settings else unknown
    point = _without(number, folder, note, State.DONE.value, reason)
    record = {str(k): str(v) for k, v in dict(metrics.get("record", {})).items()}
    return replace(point, settings=settings, measured=rows, record=record)


def _without(number: int, folder: Path, note: Point | None, state: str, reason: str) -> SweepPoint:
    overrides = note.overrides if note else ()
    return SweepPoint(number, state, reason, overrides, str(folder), {}, (), {})


def _metrics(path: Path) -> Mapping[str, Any]:
    """The content of a JSON file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(str(error.strerror)) from error
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def _settings(path: Path) -> dict[str, Any]:
    """A resolved configuration by its dotted keys; empty where it can't be read."""
    import yaml

    # OmegaConf reads the same, fifteen times as slowly.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return flat_settings(found) if isinstance(found, dict) else {}


def _record(points: tuple[SweepPoint, ...]) -> dict[str, str]:
    ran = dict.fromkeys(p.record["commit"] for p in points if "commit" in p.record)
    return {
        "commit of the points": "; ".join(ran) or "unknown",
        **software_record(),
    }
