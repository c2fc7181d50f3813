"""Every point has an outcome, however its process ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import cloudpickle
import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from mia_lab.sweeps.local import Worker, run_locally
from mia_lab.sweeps.point import Point
from mia_lab.sweeps.program import Program

LIMIT_S = 60


class MadeProgram:
    """Answers with the number of a point, or kills its process."""

    def __init__(self, dies: bool) -> None:
        self.dies = dies

    def compose(self, point: Point) -> DictConfig:
        return cast(DictConfig, {"number": point.number})

    def enter(self) -> None:
        pass

    def run(self, point: Point, config: Any) -> JobReturn:
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        done = JobReturn(status=JobStatus.COMPLETED)
        done.return_value = config["number"]
        return done


@pytest.fixture(autouse=True)
def by_value() -> Iterator[None]:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def points(folder: Path, count: int) -> list[Point]:
    return [Point(folder / str(i), ()) for i in range(count)]


def started(folder: Path, *, dies: bool) -> Worker:
    program, (point,) = MadeProgram(dies), points(folder, 1)
    worker = Worker(cloudpickle.dumps(program), folder, point, threads=1)
    worker.start(point, program.compose(point))
    return worker


def test_a_worker_that_died_still_tells_the_outcome_of_its_point(tmp_path: Path) -> None:
    worker = started(tmp_path, dies=True)
    worker.process.wait(LIMIT_S)
    assert worker.is_needed
    done = worker.ended()
    assert done is not None
    assert done.status is JobStatus.FAILED
    assert not worker.is_needed


def test_a_result_that_was_sent_outlives_its_worker(tmp_path: Path) -> None:
    worker = started(tmp_path, dies=False)
    assert worker.connection.poll(LIMIT_S)
    worker.signal(signal.SIGKILL)
    worker.process.wait(LIMIT_S)
    done = worker.ended()
    assert done is not None
    assert done.return_value == 0
    worker.stop()


def test_each_point_has_an_outcome_when_all_workers_die(tmp_path: Path) -> None:
    program = cast(Program, MadeProgram(dies=True))
    returns = run_locally(points(tmp_path, 2), program, tmp_path / "logs", 2)
    assert [done.status for done in returns] == [JobStatus.FAILED] * 2
