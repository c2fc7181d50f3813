"""A multirun: run the points of a grid that are not done yet, by any launcher, and sum up all.

The folder of a sweep is named by what was typed. So the same command, whatever became of the first
one, finds the points that are done, and runs the others.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf, open_dict, read_write

from mia_lab import process
from mia_lab.config.choices import Task, Until
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.load import load
from mia_lab.config.schema import Config
from mia_lab.errors import SweepFailedError, UserError
from mia_lab.progress import progress
from mia_lab.reporting.sweep.words import finding, text
from mia_lab.store.disk import enough_room
from mia_lab.store.session import Session
from mia_lab.sweeps.composition import interpolations_parsed_once
from mia_lab.sweeps.course import Course, started
from mia_lab.sweeps.locks import COMMAND, point_locked, sweep_session, unlocked_at_end
from mia_lab.sweeps.point import NOTE, RESULT, Point, State, read_point, reason_of
from mia_lab.tasks.collect import collect, sweep_tracker
from mia_lab.tasks.ending import end_run
from mia_lab.tasks.goals import Sources, goal_key

log = logging.getLogger(__name__)

LISTED = 30
"""Points in the closing table; failed ones are always there."""


def sweep(sweeper: BasicSweeper, arguments: Sequence[str]) -> Sequence[JobReturn]:
    """Run the points of a grid that are not done, and sum up all of them.

    Args:
        sweeper: Hydra's, set up.
        arguments: the overrides as typed.

    Raises:
        UserError: no point can work, another command is at work on this sweep, or what its points
            have found cannot be collected.
        SweepFailedError: some points failed; the others are done, and the table is printed.
    """
    assert sweeper.config is not None
    assert sweeper.launcher is not None
    process.imported()  # the configurations of the points are garbage later
    _refuse_ignored_settings(sweeper)
    folder = Path(str(sweeper.config.hydra.sweep.dir))
    grid = _grid(sweeper, arguments)
    if not grid:
        raise UserError("the grid has no points: one of the keys is given an empty range")
    with interpolations_parsed_once():
        points_checked = progress(grid, "checking points", "points", is_brief=True)
        checked = [_checked(sweeper, overrides) for overrides in points_checked]
    asked = len(grid)
    grid, checked = _distinct(grid, checked)
    configs = [found for found in checked if isinstance(found, Config)]
    if not configs:
        raise UserError(str(checked[0]))
    with enough_room(folder), _only_command(folder) as session:
        OmegaConf.save(sweeper.config, folder / "multirun.yaml")
        planned = _plan(session, folder, checked, _differing(grid))
        waiting = [point for point in planned if point.state is State.PLANNED]
        skipped = sum(point.state is State.DONE for point in planned)
        log.info("%d points: %d are done already, %d to run", len(grid), skipped, len(waiting))
        arguments_of = {point.number: grid[point.number] for point in waiting}
        try:
            returns = _launch(sweeper.launcher, waiting, arguments_of)
        except (KeyboardInterrupt, SystemExit):
            print(table([_stopped(point) for point in planned], skipped, asked - len(grid)))
            print(f"the points so far: python -m mia_lab task=collect collect.dir={folder}")
            raise
        ended = dict(zip(arguments_of, returns, strict=True))
        points = [_outcome(point, ended.get(point.number)) for point in planned]
        print(table(points, skipped, asked - len(grid)))
        uncollected = _collect(folder, configs, points)
    if wanting := [p for p in points if p.state is State.FAILED or p.gate_failed]:
        raise SweepFailedError(
            len(wanting), by_gate=all(p.state is State.DONE for p in wanting)
        ) from uncollected
    if uncollected:
        raise uncollected
    return returns


def _refuse_ignored_settings(sweeper: BasicSweeper) -> None:
    """Refuse settings of Hydra's that would be ignored."""
    assert sweeper.config is not None
    if sweeper.max_batch_size is not None:
        raise UserError(
            f"hydra.sweeper.max_batch_size={sweeper.max_batch_size}: all points are handed to the "
            "launcher at once; limit hydra.launcher.processes, or hydra.launcher.array_parallelism"
        )
    own = sweeper.config.hydra.sweep._get_node("subdir")._value()
    if own != "${hydra.job.num}":
        raise UserError(
            f"hydra.sweep.subdir={own}: the folders of points are named by their numbers; choose "
            "hydra.sweep.dir"
        )


def _launch(
    launcher: Launcher, points: Sequence[Point], overrides: Mapping[int, Sequence[str]]
) -> list[JobReturn]:
    """Run points.

    Args:
        launcher: runs them.
        points: those to run.
        overrides: that each of them is composed from, by its number.
    """
    jobs = [[*overrides[p.number], *_folder_overrides(p.folder)] for p in points]
    if type(launcher).__name__ != "BasicLauncher":  # Hydra loads it twice
        return list(launcher.launch(jobs, initial_job_idx=0)) if jobs else []
    course, returns = Course(len(points)), list[JobReturn]()
    for point, job in zip(points, jobs, strict=True):
        started(point, "started")
        returns += launcher.launch([job], point.number)  # it counts jobs itself
        course.ended(point, returns[-1])
    return returns


def _stopped(planned: Point) -> Point:
    """How far a point had come when the sweep was interrupted."""
    point = _known(planned.folder) or planned
    return point if point.has_ended else replace(point, state=State.PLANNED)


def _folder_overrides(folder: Path) -> list[str]:
    """Overrides that make a job write into the folder of its point."""
    quoted = str(folder.parent).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.sweep.dir='{quoted}'", f"hydra.sweep.subdir='{folder.name}'"]


def _grid(sweeper: BasicSweeper, arguments: Sequence[str]) -> list[list[str]]:
    """The overrides of every point, in the order in which Hydra numbers them."""
    assert sweeper.hydra_context is not None
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    typed = parser.parse_overrides([*sweeper._parse_config(), *arguments])
    (jobs,) = sweeper.split_arguments(typed, None)
    return [list(job) for job in jobs]


def _checked(sweeper: BasicSweeper, overrides: Sequence[str]) -> Config | UserError:
    """Compose and check one point; an error is returned, since it is the error of this point."""
    assert sweeper.hydra_context is not None
    assert sweeper.config is not None
    try:
        loader = sweeper.hydra_context.config_loader
        composed = loader.load_sweep_config(sweeper.config, list(overrides))
        with read_write(composed), open_dict(composed):
            del composed["hydra"]
        config = load(composed)
    except CONFIGURATION_ERRORS as error:
        return UserError(explain(error))
    except UserError as error:
        return error
    return config


def _distinct(
    grid: Sequence[list[str]], checked: Sequence[Config | UserError]
) -> tuple[list[list[str]], list[Config | UserError]]:
    """The points without those whose configuration an earlier point has: they repeat nothing."""
    first: dict[object, int] = {}
    for number, found in enumerate(checked):
        first.setdefault(found.model_dump_json() if isinstance(found, Config) else number, number)
    return [grid[n] for n in first.values()], [checked[n] for n in first.values()]


def _differing(grid: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Of each point the overrides that not all points share, or all of them if there are none."""
    counts = Counter(override for overrides in grid for override in overrides)
    own = [tuple(o for o in overrides if counts[o] < len(grid)) for overrides in grid]
    return [few or tuple(every) for few, every in zip(own, grid, strict=True)]


@contextmanager
def _only_command(folder: Path) -> Iterator[Session]:
    """Hold the lock of a sweep's folder: two commands must not write into it."""
    with sweep_session(folder) as session, unlocked_at_end(session, folder, COMMAND) as lock:
        if not lock.take():
            other = session.process(lock.owner() or "")
            raise UserError(
                f"{folder}: process {other} is at work on this sweep; wait for it, or stop it"
            )
        session.bury()
        yield session


def _plan(
    session: Session,
    folder: Path,
    checked: Sequence[Config | UserError],
    overrides: Sequence[tuple[str, ...]],
) -> list[Point]:
    """Write the notes of the points that have to run; a job of an earlier command ends first.

    Args:
        session: takes the locks.
        folder: of the sweep.
        checked: the configuration of each point, or what is wrong with it.
        overrides: of each point, for its note.

    Returns:
        All points: done, planned, or failed already.

    Raises:
        UserError: there is a numbered folder that is no point's; nothing of it is touched.
    """
    _refuse_foreign_folders(folder)
    sources = Sources()
    points = []
    for number, found in enumerate(progress(checked, "checking data", "points", is_brief=True)):
        point = _planned(folder / str(number), overrides[number], found, sources)
        with point_locked(session, point.folder, _known(point.folder)):
            before = _known(point.folder)
            if before is not None and before.is_done(point.key):
                point = before
            else:
                shutil.rmtree(point.folder, ignore_errors=True)  # of another key, or unfinished
                point.write()
        points.append(point)
    for path in folder.iterdir():  # of a longer grid under the same name
        if path.name.isdecimal() and int(path.name) >= len(checked):
            shutil.rmtree(path)
    return points


def _refuse_foreign_folders(folder: Path) -> None:
    for path in folder.iterdir():
        is_ours = (path / NOTE).is_file() or (path.is_dir() and not any(path.iterdir()))
        if path.name.isdecimal() and not is_ours:
            raise UserError(
                f"{path}: is no point of a sweep (it holds no {NOTE}); move it away, or choose "
                "another hydra.sweep.dir"
            )


def _planned(
    folder: Path, overrides: tuple[str, ...], checked: Config | UserError, sources: Sources
) -> Point:
    """A point as it is before it runs; failed if it cannot run."""
    error: Exception
    if isinstance(checked, UserError):
        error = checked
    else:
        try:
            return Point(folder, overrides, goal_key(checked, sources))
        except (UserError, OSError) as wrong_data:
            error = wrong_data
    return Point(folder, overrides, state=State.FAILED, reason=reason_of(error))


def _known(folder: Path) -> Point | None:
    """A point as its note has it; None without a note, and where it is damaged."""
    try:
        return read_point(folder)
    except UserError as error:
        log.warning("%s", error)
        return None


def _outcome(point: Point, job: JobReturn | None) -> Point:
    """A point after its job; it failed if the job died before it could write that."""
    point = _known(point.folder) or point
    if job is None or point.has_ended:
        return point
    failed = job.status is JobStatus.FAILED
    reason = reason_of(job._return_value) if failed else "ended without a result"
    point = replace(point, state=State.FAILED, reason=reason)
    point.write()
    return point


def _collect(
    folder: Path, configs: Sequence[Config], points: Sequence[Point]
) -> UserError | OSError | None:
    """Do what ``task=collect`` does, if there are audits; returns why it could not be done."""
    audits = [c for c in configs if c.task is Task.audit]
    whole = [c for c in audits if c.until in (None, Until.attacks)]
    if audits and not whole:
        print(
            "the audits stopped where until= says; the same command without it goes on from there"
        )
    if not whole or not any((point.folder / RESULT).is_file() for point in points):
        return None
    config = whole[0]
    command = shlex.join(["python", "-m", "mia_lab", *sys.argv[1:]])
    try:
        with enough_room(folder), sweep_tracker(config, folder) as tracker:
            found = collect(folder, tracker, pictures=config.collect.pictures, command=command)
        print(text(found))
    except (UserError, OSError) as error:
        log.error("the points cannot be collected: %s", reason_of(error))
        return error
    end_run(config, folder / "report.html", finding(found), task="sweep", name=found.name)
    return None


def table(points: Sequence[Point], skipped: int, equal: int = 0) -> str:
    """How the points ended: failed ones with their reasons, others as far as there is room.

    Args:
        points: all.
        skipped: how many were done before this command.
        equal: how many further ones were asked for that equal one of them.
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
    planned = count[State.PLANNED]
    words += f", {planned} not run" if planned else ""
    if planned:
        again = [f"the same command continues: it runs the {planned + len(failed)} points left"]
    gated = sum(p.gate_failed for p in points)
    words += " (done before)" if skipped else ""
    words += f", fail_if holds for {gated}" if gated else ""
    words += f"; {equal} more equal one of them, and count once" if equal else ""
    return "\n".join([words, *lines, *more, *again])
