"""The W&B run of a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from mia_lab.config.choices import Task
from mia_lab.config.load import plain
from mia_lab.config.schema import Config
from mia_lab.reporting.labels import short_overrides
from mia_lab.reporting.tracking import Tracker
from mia_lab.store import Stage, sha256_of
from mia_lab.sweeps.point import read_point
from mia_lab.tasks.common import is_sweep_point

LONGEST_NAME = 128
"""Characters of the display name of a W&B run; W&B cuts longer ones."""


def make_tracker(config: Config, goals: Sequence[Stage[Any]], folder: Path, group: str) -> Tracker:
    """The W&B run of a task, named by what its result depends on.

    Args:
        config: the configuration.
        goals: the stages that the run computes; each point of a sweep is a run of its own.
        folder: the run's output folder.
        group: what the run belongs to, unless ``tracking.group`` overrides it.
    """
    tracking, task = config.tracking, config.task.value
    identity: dict[str, Any] = {
        "task": task,
        "goals": [goal.path for goal in goals],
        "fail_if": config.fail_if,
    }
    if is_sweep_point():
        identity["point"] = [Path(HydraConfig.get().sweep.dir).name, HydraConfig.get().job.num]
    names = (config.data.name, _victim_name(config), config.data.protocol.value, config.scale.name)
    return Tracker(
        tracking.mode.value,
        directory=folder,
        run_id=sha256_of(identity)[:16],
        project=tracking.project,
        group=tracking.group or group,
        job_type=task,
        name=_display_name(config, folder),
        config=plain(config) | {"layers": _layers(config)},
        tags=names,
        dashboards=Path(config.paths.store) if tracking.dashboard else None,
        log_images=tracking.images and config.report.images,
    )


def _display_name(config: Config, folder: Path) -> str:
    """The run's name and its time, or for a point of a sweep what varies within the sweep."""
    point = read_point(folder) if is_sweep_point() else None
    if point is None or not point.overrides:
        return f"{config.name}-{folder.name}"
    return f"{config.name} {short_overrides(point.overrides)}"[:LONGEST_NAME]


def _layers(config: Config) -> str:
    """As one value: W&B's charts cannot group runs by a list."""
    return ",".join(str(layer) for layer in config.difficulty.get("layers", ()))


def _victim_name(config: Config) -> str:
    """Its name; "" where none is involved."""
    return "" if config.task is Task.difficulty else str(config.victim.get("name", ""))
