"""The lines of a sweep's log: short names, counts, and an estimate of the time left."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus

from mia_lab.errors import UserError
from mia_lab.sweeps import course
from mia_lab.sweeps.course import Course, started
from mia_lab.sweeps.point import Point

DONE = JobReturn(status=JobStatus.COMPLETED)
FAILED = JobReturn(status=JobStatus.FAILED)
FAILED.return_value = UserError("data.root=x: no such folder")


def test_the_time_left_is_that_of_the_points_so_far(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    now = 1000.0
    monkeypatch.setattr(course.time, "monotonic", lambda: now)
    running, points = Course(4), [Point(Path(str(number)), ()) for number in range(4)]
    for point, done, seconds in zip(
        points, (DONE, FAILED, DONE, DONE), (100, 20, 0, 5), strict=True
    ):
        now += seconds
        running.ended(point, done, Path("log"))
    assert caplog.messages == [
        "#0: done; 1 of 4 points, about 5 min left",
        "#1: failed, data.root=x: no such folder; its log: log; 2 of 4 points, about 2 min left",
        "#2: done; 3 of 4 points, about 40 s left",
        "#3: done; 4 of 4 points",
    ]


def test_a_point_is_named_by_its_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A launcher knows all overrides of a point; the note has those that differ."""
    caplog.set_level("INFO")
    point = Point(tmp_path / "3", ("+experiment=tiny", "seed=3", "hydra.sweep.dir='x'"))
    started(point, "started")
    Point(point.folder, ("seed=3",)).write()
    started(point, "queued, job 7")
    (point.folder / "point.json").write_text("damaged")
    started(point, "started")
    whole = "#3 +experiment=tiny seed=3: started"
    assert caplog.messages == [whole, "#3 seed=3: queued, job 7", whole]
