"""What all tasks share: the clock, the record, and where the newest run is found."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from mia_lab.attacks.evidence import Evidence
from mia_lab.config.choices import Task, Until
from mia_lab.config.load import plain
from mia_lab.config.schema import Config
from mia_lab.evaluation.results import Gallery
from mia_lab.reporting.figures import Picture
from mia_lab.reporting.tracking import Tracker
from mia_lab.stages.plan import libraries
from mia_lab.store import Stage
from mia_lab.types import DifficultyTable

log = logging.getLogger(__name__)


class Clock:
    """Seconds spent in each named part of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] = round(time.perf_counter() - start, 3)


def make_tracker(config: Config, identity: Mapping[str, Any], folder: Path, group: str) -> Tracker:
    """The W&B run of a task, named by what its result depends on.

    Args:
        config: the configuration.
        identity: declared inputs of the result, JSON values; a point of a sweep is a run of its own
            all the same.
        folder: the run's output folder.
        group: what the run belongs to, unless ``tracking.group`` says otherwise.
    """
    tracking, scale = config.tracking, config.scale.name
    # A run that stopped early must not replace the finished one.
    until = None if config.until is None else config.until.value
    asked: dict[str, Any] = {"seed": config.seed, "until": until}
    if is_point():
        asked["point"] = [Path(HydraConfig.get().sweep.dir).name, HydraConfig.get().job.num]
    return Tracker(
        tracking.mode.value,
        directory=folder,
        run_id=Stage(config.task.value, 1, {**identity, **asked}).key[:16],
        project=tracking.project,
        group=tracking.group or group,
        job_type=config.task.value,
        name=f"{config.name}-{folder.name}",
        config=plain(config) | {"layers": _layers(config)},
        tags=(config.data.name, _victim(config), config.data.protocol.value, scale),
        dashboards=Path(config.paths.store) if tracking.dashboard else None,
        log_images=tracking.images if config.report.images else False,
    )


def _layers(config: Config) -> str:
    """As one value: W&B's charts cannot group runs by a list."""
    return ",".join(str(layer) for layer in config.difficulty.get("layers", ()))


def _victim(config: Config) -> str:
    """Its name; "" where none is involved."""
    return "" if config.task is Task.difficulty else str(config.victim.get("name", ""))


def run_record(config: Config) -> dict[str, str]:
    """What was run, as far as it does not depend on the task: plain strings."""
    data = config.data
    return {
        "seed": str(config.seed),
        "data": f"{data.source} {data.name}, {data.image_size} px",
        "difficulty": settings_line(config.difficulty),
        **software_record(),
    }


def software_record() -> dict[str, str]:
    """What ran: this package's commit, Python, and the libraries that compute."""
    versions = {"python": platform.python_version(), "mia_lab": version("mia_lab"), **libraries()}
    return {"commit": commit(), **{name: found for name, found in versions.items() if found}}


def command_line() -> str:
    """What was typed, or what a sweep made of it for this job, as a shell reads it."""
    if not HydraConfig.initialized():
        return ""
    return shlex.join(["python", "-m", "mia_lab", *HydraConfig.get().overrides.task])


def wants_pictures(config: Config) -> bool:
    """Whether an audit leaves something to be looked at; a point of a sweep does if asked to."""
    if config.until is Until.attacks:
        return False
    if config.report.pictures is not None:
        return config.report.pictures
    return not is_point()


def is_point() -> bool:
    """Whether this run is one of a sweep's."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def shown(config: Config, pictures: Iterable[Picture]) -> tuple[Picture, ...]:
    """The pictures that a report may show: without those of the data if it says so."""
    return tuple(p for p in pictures if config.report.images or not p.private)


def commit(*also: str) -> str:
    """Of the checkout that this code runs from; what an installed package is instead.

    Args:
        also: paths whose changes count besides the package's and its configuration's, relative to
            the package; documents, say, change no number.
    """
    code = ("--", ".", "../conf", *also)
    found = [
        _git("rev-parse", "HEAD"),
        _git("status", "--porcelain", "--untracked-files=no", *code),
    ]
    if not found[0]:
        return "installed package, no checkout"
    return found[0] + (" with uncommitted changes" if found[1] else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def gallery(evidence: Evidence, ids: Sequence[str], captions: Sequence[str]) -> Gallery:
    """Some images with the victim's answers.

    Raises:
        KeyError: the victim was never queried with one of the ids.
    """
    batches, answers = list(evidence.pairs(ids)), evidence.reconstructions
    return Gallery(
        ids=tuple(ids),
        captions=tuple(captions),
        x=np.concatenate([batch.x.numpy() for batch in batches]),
        y=np.concatenate([batch.y.numpy() for batch in batches]),
        reconstruction=np.stack([answers.images[answers.row(i)] for i in ids]),
    )


def solver_record(table: DifficultyTable) -> dict[str, str]:
    """What the probe came to under the configured setting, where that is not simply its penalty."""
    used, name = {"auto": (table.penalty, "penalty chosen"), "0": (table.rank, "rank")}.get(
        str(table.ridge[0]), (None, "")
    )
    if used is None:
        return {}
    low, middle, high = (f"{v:.4g}" for v in np.quantile(used[:, 0], (0, 0.5, 1)))
    return {f"difficulty {name}": f"median {middle}, from {low} to {high}"}


def settings_line(node: Mapping[str, Any]) -> str:
    """Settings of one component on one line."""
    return ", ".join(f"{k}={v}" for k, v in node.items() if k not in ("_target_", "_partial_"))


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
