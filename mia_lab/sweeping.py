"""A multirun: the points of a grid that are not done yet, run by any launcher, and what came of it.

The folder of a sweep is named by what was typed. So the same command, whatever became of the first
one, finds the points that are done, and runs the others.
"""

from __future__ import annotations

import hashlib
import logging
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from tqdm import tqdm

from mia_lab.config import build
from mia_lab.config.choices import Task, Until
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.schema import Config
from mia_lab.config.validate import validate
from mia_lab.errors import UserError
from mia_lab.plan import difficulty_identity, software
from mia_lab.points import NOTE, Point, State, read_point, read_points, reason_of
from mia_lab.store import canonical_json, file_sha256
from mia_lab.store.lock import Lock
from mia_lab.store.session import Session

log = logging.getLogger(__name__)

LISTED = 30
"""Points in the closing table; failed ones are always there."""

GATE = "fail_if: "
"""How the reason of a point begins that was judged, and found wanting."""


class SweepFailedError(Exception):
    """Some points failed; the others are done.

    Args:
        points: that failed.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        super().__init__(f"{len(points)} points failed")
        self.by_gate = all(point.reason.startswith(GATE) for point in points)


@dataclass(frozen=True)
class Asked:
    """A point of the grid, composed.

    Attributes:
        overrides: of the job, as Hydra wants them.
        config: typed and checked; None if it cannot work.
        reason: why it cannot.
    """

    overrides: tuple[str, ...]
    config: Config | None
    reason: str = ""


def sweep(sweeper: BasicSweeper, arguments: Sequence[str]) -> Sequence[JobReturn]:
    """Run the points of a grid that are not done, and sum up all of them.

    Args:
        sweeper: Hydra's, set up.
        arguments: the overrides as typed.

    Raises:
        UserError: no point can work, or another command is at work on this sweep.
        SweepFailedError: some points failed; the others are done, and the table is printed.
    """
    assert sweeper.config is not None
    assert sweeper.hydra_context is not None
    assert sweeper.launcher is not None
    folder = Path(str(sweeper.config.hydra.sweep.dir))
    jobs = _grid(sweeper, arguments)
    asked = [_composed(sweeper, job) for job in tqdm(jobs, "checking points", delay=2, leave=False)]
    if not any(point.config for point in asked):
        raise UserError(asked[0].reason)
    with _alone(folder):
        OmegaConf.save(sweeper.config, folder / "multirun.yaml")
        skipped = _note(folder, asked, _varying(jobs))
        missing = [p for p in read_points(folder) if p.state is State.PLANNED]
        log.info("%d points: %d are done already, %d to run", len(asked), skipped, len(missing))
        batch = [
            [*asked[point.number].overrides, *_place(folder, point.number)] for point in missing
        ]
        returns = sweeper.launcher.launch(batch, initial_job_idx=0) if batch else []
        points = _settled(folder, missing, returns)
        print(table(points, skipped))
        command = shlex.join(["python", "-m", "mia_lab", *sys.argv[1:]])
        _collect(folder, [point.config for point in asked if point.config], points, command)
    if failed := [point for point in points if point.state is State.FAILED]:
        raise SweepFailedError(failed)
    return returns


def sweep_name(overrides: Sequence[str]) -> str:
    """Name of a sweep's folder: the same for the same command, whatever launches it."""
    words = dict(str(o).lstrip("+").partition("=")[::2] for o in overrides)
    title = words.get("sweep") or words.get("experiment") or "sweep"
    plain = "".join(c if c.isalnum() or c in "_-" else "+" for c in title)[:60]
    digest = hashlib.sha256(canonical_json([str(o) for o in overrides]).encode()).hexdigest()
    return f"{plain}_{digest[:8]}"


def _grid(sweeper: BasicSweeper, arguments: Sequence[str]) -> list[list[str]]:
    """The overrides of every point, in the order in which Hydra numbers them."""
    assert sweeper.hydra_context is not None
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    typed = parser.parse_overrides([*sweeper._parse_config(), *arguments])
    (jobs,) = sweeper.split_arguments(typed, None)
    return [list(job) for job in jobs]


def _composed(sweeper: BasicSweeper, job: Sequence[str]) -> Asked:
    """Compose and check one point; what is wrong with it is nothing to the others."""
    assert sweeper.hydra_context is not None
    assert sweeper.config is not None
    try:
        loader = sweeper.hydra_context.config_loader
        cfg: DictConfig = loader.load_sweep_config(sweeper.config, list(job))
        with read_write(cfg), open_dict(cfg):
            del cfg["hydra"]
        config = build.typed(cfg)
        validate(config)
    except CONFIGURATION_ERRORS as error:
        return Asked(tuple(job), None, explain(error))
    except UserError as error:
        return Asked(tuple(job), None, str(error))
    return Asked(tuple(job), config)


def _varying(jobs: Sequence[Sequence[str]]) -> set[str]:
    """Overrides that not all points share."""
    counts = Counter(override for job in jobs for override in job)
    return {override for override, count in counts.items() if count < len(jobs)}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No two commands write into one sweep's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    session = Session(folder.parent)
    session.open()
    lock = Lock(folder / ".lock", session)
    try:
        if not lock.take():
            other = session.process(lock.owner() or "")
            raise UserError(
                f"{folder}: process {other} is at work on this sweep; wait for it, or stop it"
            )
        yield
    finally:
        lock.release()
        session.close()


def _note(folder: Path, asked: Sequence[Asked], varying: set[str]) -> int:
    """Write down what is to be done; returns how many points are done already.

    Raises:
        UserError: there is a numbered folder that is no point's; nothing of it is touched.
    """
    for place in folder.iterdir():
        is_ours = (place / NOTE).is_file() or (place.is_dir() and not any(place.iterdir()))
        if place.name.isdecimal() and not is_ours:
            raise UserError(
                f"{place}: is no point of a sweep (it holds no {NOTE}); move it away, or choose "
                "another hydra.sweep.dir"
            )
    done = 0
    fingerprints: dict[str, str] = {}
    for number, point in enumerate(asked):
        place = folder / str(number)
        told = tuple(override for override in point.overrides if override in varying)
        try:
            key = "" if point.config is None else point_key(point.config, fingerprints)
            reason = point.reason
        except UserError as error:
            key, reason = "", str(error)
        before = read_point(place)
        if before is not None and before.state is State.DONE and before.key == key:
            done += 1
            continue
        shutil.rmtree(place, ignore_errors=True)  # of another key, or unfinished
        state = State.FAILED if reason else State.PLANNED
        Point(place, key, told or point.overrides, state, reason).write()
    for place in folder.iterdir():  # of a longer grid under the same name
        if place.name.isdecimal() and int(place.name) >= len(asked):
            shutil.rmtree(place)
    return done


def point_key(config: Config, fingerprints: dict[str, str]) -> str:
    """What the result of a point depends on: settings, the content of files, code, libraries.

    Args:
        config: of the point, checked.
        fingerprints: of data that were read for other points, by their settings; grows.

    Raises:
        UserError: the data are not what the configuration says.
    """
    settings = build.plain(config)
    for elsewhere in ("paths", "name"):
        settings.pop(elsewhere)
    inputs = {
        "config": settings,
        "victim": build.identity(config.victim),
        "attacks": [build.identity(config.attack.available[n]) for n in config.attack.names],
        **difficulty_identity(config),
        "data": _fingerprint(config, fingerprints),
        "manifest": _content(config.data.manifest),
        **software(),
    }
    return hashlib.sha256(canonical_json(inputs).encode()).hexdigest()


def _content(file: str | None) -> str | None:
    """Of a file that a key names; None where there is none, which the job will say."""
    return file_sha256(Path(file)) if file and Path(file).is_file() else None


def _fingerprint(config: Config, known: dict[str, str]) -> str:
    """Of all images that a point could look at."""
    from mia_lab.data.source import all_ids

    settings = canonical_json(build.plain(config.data))
    if settings not in known:
        source = build.source(config)
        known[settings] = source.fingerprint(all_ids(source))
    return known[settings]


def _place(folder: Path, number: int) -> list[str]:
    """Overrides that put a job where its note is."""
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.sweep.dir='{quoted}'", f"hydra.sweep.subdir='{number}'"]


def _settled(folder: Path, launched: Sequence[Point], returns: Sequence[JobReturn]) -> list[Point]:
    """All points; of jobs that could not say so themselves, that they failed."""
    for point, job in zip(launched, returns, strict=True):
        now = read_point(point.folder) or point
        if now.state not in (State.DONE, State.FAILED):
            reason = "ended without a word"
            if job.status is JobStatus.FAILED:
                reason = reason_of(job._return_value)
            replace(now, state=State.FAILED, reason=reason).write()
    return read_points(folder)


def _collect(
    folder: Path, configs: Sequence[Config], points: Sequence[Point], command: str
) -> None:
    """What ``task=collect`` does, if there is an audit to collect."""
    config = configs[0]
    whole = config.task is Task.audit and config.until in (None, Until.attacks)
    if not whole or not any(point.state is State.DONE for point in points):
        return
    from mia_lab.collecting import collect, sweep_tracker
    from mia_lab.reporting.sweep import text
    from mia_lab.run import point_latest

    with sweep_tracker(config, folder) as tracker:
        print(text(collect(folder, tracker, pictures=config.collect.pictures, command=command)))
    latest = point_latest(Path(config.paths.outputs) / "latest", folder)
    page = f"report: {folder / 'report.html'}"
    print(page + (f"  (also {latest / 'report.html'})" if latest else ""))


def table(points: Sequence[Point], skipped: int) -> str:
    """What became of the points: failed ones with their reasons, others as far as there is room.

    Args:
        points: all.
        skipped: how many were done before this command.
    """
    count = {state: sum(p.state is state for p in points) for state in State}
    done = count[State.DONE] - skipped
    words = f"{len(points)} points: {done} done, {count[State.FAILED]} failed, {skipped} skipped"
    failed = [p for p in points if p.state is State.FAILED]
    others = [p for p in points if p.state is not State.FAILED][: max(0, LISTED - len(failed))]
    rows = sorted([*failed, *others], key=lambda p: p.number)
    width = max((len(" ".join(p.overrides)) for p in rows), default=0)
    lines = [
        f"  {p.number:>4}  {p.state:<8}{p.seconds:>7.1f} s  "
        f"{' '.join(p.overrides):<{width}}  {p.reason}".rstrip()
        for p in rows
    ]
    left = len(points) - len(rows)
    more = [f"  and {left} more"] if left else []
    again = ["the same command runs what failed once more"] if failed else []
    skipping = " (done before)" if skipped else ""
    return "\n".join([f"{words}{skipping}", *lines, *more, *again])
