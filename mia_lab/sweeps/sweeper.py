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
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from tqdm import tqdm

from mia_lab.config import build
from mia_lab.config.choices import Task, Until
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.load import load, plain
from mia_lab.config.schema import Config
from mia_lab.data.source import PairSource
from mia_lab.errors import UserError
from mia_lab.store import canonical_json
from mia_lab.sweeps.jobs import locked, point_key, wait_for
from mia_lab.sweeps.point import NOTE, RESULT, Point, State, read_point, reason_of

log = logging.getLogger(__name__)

LISTED = 30
"""Points in the closing table; failed ones are always there."""

READY = "ready"
"""Lock of the command; those of the points are named by their numbers."""


class SweepFailedError(Exception):
    """Some points failed, or their ``fail_if`` holds; the others are done.

    Args:
        points: those.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        super().__init__(f"{len(points)} points failed")
        self.by_gate = all(point.state is State.DONE for point in points)


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
        UserError: no point can work, another command is at work on this sweep, or what its points
            have found cannot be collected.
        SweepFailedError: some points failed; the others are done, and the table is printed.
    """
    assert sweeper.config is not None
    assert sweeper.hydra_context is not None
    assert sweeper.launcher is not None
    _check(sweeper)
    folder = Path(str(sweeper.config.hydra.sweep.dir))
    jobs = _grid(sweeper, arguments)
    asked = [_composed(sweeper, job) for job in tqdm(jobs, "checking points", delay=2, leave=False)]
    if not asked:
        raise UserError("the grid has no points: one of the keys is given an empty range")
    if not any(point.config for point in asked):
        raise UserError(asked[0].reason)
    with _alone(folder):
        OmegaConf.save(sweeper.config, folder / "multirun.yaml")
        before = _note(folder, asked, _varying(jobs))
        missing = [p for p in before if p.state is State.PLANNED]
        skipped = sum(p.state is State.DONE for p in before)
        log.info("%d points: %d are done already, %d to run", len(asked), skipped, len(missing))
        returns = _launch(sweeper.launcher, folder, asked, [p.number for p in missing])
        ended = dict(zip([p.number for p in missing], returns, strict=True))
        points = [_settled(point, ended.get(point.number)) for point in before]
        print(table(points, skipped))
        uncollected = _collect(folder, [p.config for p in asked if p.config], points)
    if wanting := [p for p in points if p.state is State.FAILED or p.gate_failed]:
        raise SweepFailedError(wanting) from uncollected
    if uncollected:
        raise uncollected
    return returns


def _check(sweeper: BasicSweeper) -> None:
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
    launcher: Launcher, folder: Path, asked: Sequence[Asked], numbers: Sequence[int]
) -> list[JobReturn]:
    """Run the points of some numbers."""
    batch = [[*asked[number].overrides, *_place(folder, number)] for number in numbers]
    if type(launcher).__name__ == "BasicLauncher":  # Hydra loads it twice; it counts jobs itself
        pairs = zip(batch, numbers, strict=True)
        return [done for job, number in pairs for done in launcher.launch([job], number)]
    return list(launcher.launch(batch, initial_job_idx=0)) if batch else []


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
        config = load(cfg)
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
    with locked(folder, READY) as lock:
        if not lock.take():
            other = lock.session.process(lock.owner() or "")
            raise UserError(
                f"{folder}: process {other} is at work on this sweep; wait for it, or stop it"
            )
        lock.session.bury()
        yield


def _note(folder: Path, asked: Sequence[Asked], varying: set[str]) -> list[Point]:
    """Write down what is to be done, once no job of an earlier command is at it any more.

    Returns:
        All points: done, to be run, or failed already.

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
    points: list[Point] = []
    sources: dict[str, PairSource] = {}
    for number, point in enumerate(tqdm(asked, "checking data", delay=2, leave=False)):
        place = folder / str(number)
        told = tuple(override for override in point.overrides if override in varying)
        key, reason = _key(point, sources)
        with locked(folder, place.name) as lock:
            wait_for(lock, _known(place))
            before = _known(place)
            if before is None or not before.is_done(key):
                shutil.rmtree(place, ignore_errors=True)  # of another key, or unfinished
                state = State.FAILED if reason else State.PLANNED
                before = Point(place, key, told or point.overrides, state, reason)
                before.write()
        points.append(before)
    for place in folder.iterdir():  # of a longer grid under the same name
        if place.name.isdecimal() and int(place.name) >= len(asked):
            shutil.rmtree(place)
    return points


def _key(point: Asked, sources: dict[str, PairSource]) -> tuple[str, str]:
    """Key of a point, or why it has none.

    Args:
        point: composed.
        sources: by the settings of data, for points that share them; grows.
    """
    if point.config is None:
        return "", point.reason
    try:
        data = canonical_json(plain(point.config.data))
        source = sources.setdefault(data, build.source(point.config.data))
        return point_key(point.config, source), ""
    except (UserError, OSError) as error:
        return "", reason_of(error)


def _known(place: Path) -> Point | None:
    """What is noted of a point; nothing where that is damaged."""
    try:
        return read_point(place)
    except UserError as error:
        log.warning("%s", error)
        return None


def _place(folder: Path, number: int) -> list[str]:
    """Overrides that put a job where its note is."""
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.sweep.dir='{quoted}'", f"hydra.sweep.subdir='{number}'"]


def _settled(point: Point, job: JobReturn | None) -> Point:
    """A point after its job; of a job that could not say so itself, that it failed."""
    now = _known(point.folder) or point
    if job is None or now.state in (State.DONE, State.FAILED):
        return now
    failed = job.status is JobStatus.FAILED
    reason = reason_of(job._return_value) if failed else "ended without a word"
    now = replace(now, state=State.FAILED, reason=reason)
    now.write()
    return now


def _collect(
    folder: Path, configs: Sequence[Config], points: Sequence[Point]
) -> UserError | OSError | None:
    """What ``task=collect`` does, if there is an audit to collect; why it could not be done."""
    audits = [c for c in configs if c.task is Task.audit]
    whole = [c for c in audits if c.until in (None, Until.attacks)]
    if audits and not whole:
        print(
            "the audits stopped where until= says; the same command without it goes on from there"
        )
    if not whole or not any((point.folder / RESULT).is_file() for point in points):
        return None
    from mia_lab.reporting.sweep import text
    from mia_lab.tasks.collect import collect, sweep_tracker
    from mia_lab.tasks.run import point_latest

    config = whole[0]
    command = shlex.join(["python", "-m", "mia_lab", *sys.argv[1:]])
    try:
        with sweep_tracker(config, folder) as tracker:
            print(text(collect(folder, tracker, pictures=config.collect.pictures, command=command)))
    except (UserError, OSError) as error:
        log.error("the points cannot be collected: %s", reason_of(error))
        return error
    latest = point_latest(Path(config.paths.outputs) / "latest", folder)
    page = f"report: {folder / 'report.html'}"
    print(page + (f"  (also {latest / 'report.html'})" if latest else ""))
    return None


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
    gated = sum(p.gate_failed for p in points)
    words += " (done before)" if skipped else ""
    words += f", fail_if holds for {gated}" if gated else ""
    return "\n".join([words, *lines, *more, *again])
