"""What the command tells while a sweep runs: the starts and ends of points, and the time left."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from mia_lab.errors import UserError
from mia_lab.progress import duration
from mia_lab.sweeps.point import Point, read_point, reason_of

log = logging.getLogger(__name__)


class Course:
    """Tells in one line how a point ended, how many have, and how long the others will take.

    Args:
        total: number of points that run.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._ended = 0
        self._start = time.monotonic()

    def ended(self, point: Point, done: JobReturn, output: Path | None = None) -> None:
        """Log the end of a point.

        Args:
            point: which one.
            done: its outcome.
            output: file with what its process printed.
        """
        self._ended += 1
        left = self._total - self._ended
        seconds = (time.monotonic() - self._start) * left / self._ended
        rest = f", about {duration(seconds)} left" if left else ""
        counted = f"{self._ended} of {self._total} points{rest}"
        if done.status is JobStatus.COMPLETED:
            log.info("#%d: done; %s", point.number, counted)
            return
        reason = reason_of(done._return_value)
        where = f"; its log: {output}" if output else ""
        log.warning("#%d: failed, %s%s; %s", point.number, reason, where, counted)


def started(point: Point, how: str) -> None:
    """Log the start of a point, with the overrides that tell it from the others.

    Args:
        point: which one.
        how: such as "started, process 7".
    """
    try:
        noted = read_point(point.folder)
    except UserError:
        noted = None
    log.info("%s: %s", noted or point, how)
