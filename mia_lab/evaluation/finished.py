"""What ``task=compare`` and ``task=collect`` read from the folders of finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mia_lab.evaluation.metrics_file import AuditMetrics
from mia_lab.evaluation.repeats import Mean
from mia_lab.evaluation.results import Comparison
from mia_lab.types import ScoreTable, Split

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FinishedRun:
    """An audit that is done, as its folder tells it.

    Attributes:
        label: a short name, unlike those of the runs that it is compared with.
        folder: where it lies, as it was named.
        metrics: the content of its ``metrics.json``.
        split: the roles of all images.
        scores: one table per attack, of the candidates in the order of the split.
    """

    label: str
    folder: str
    metrics: AuditMetrics
    split: Split
    scores: tuple[ScoreTable, ...]


@dataclass(frozen=True)
class PairedTest:
    """One attack in two runs, or why they cannot be tested against each other.

    Attributes:
        attack: its name; "" where the runs have no attack in common.
        first, second: labels of the runs.
        found: AUC in the first run minus AUC in the second; None where nothing was tested.
        holm_p_value: DeLong's p-value, adjusted for all tests of the comparison.
        reason: why nothing was tested; "" otherwise.
    """

    attack: str
    first: str
    second: str
    found: Comparison | None
    holm_p_value: float | None
    reason: str


@dataclass(frozen=True)
class RunComparison:
    """Finished audits side by side.

    Attributes:
        name: of the comparison.
        runs: in the order in which they were named.
        common: settings of most runs, which their labels don't repeat; "" for none.
        paired: every pair of runs, and every attack that both have.
        timing_s, record, command: of the comparison.
    """

    name: str
    runs: tuple[FinishedRun, ...]
    common: str
    paired: tuple[PairedTest, ...]
    timing_s: Mapping[str, float]
    record: Mapping[str, str]
    command: str

    @property
    def data(self) -> tuple[str, ...]:
        """The data of the runs, each once: ``procedural facades, 64 px``."""
        records = (run.metrics.record for run in self.runs)
        return tuple(dict.fromkeys(r["data"] for r in records if "data" in r))


@dataclass(frozen=True)
class SweepPoint:
    """A point of a sweep, as its folder describes it.

    Attributes:
        number: its folder's name.
        state: ``planned``, ``running``, ``done`` or ``failed``; ``damaged``: done, but its files
            cannot be read; ``other``: done, but not an audit.
        reason: why it has no numbers, or a remark; "" for none.
        overrides: what differs from the other points, as typed.
        folder: its path.
        settings: its configuration by dotted keys; empty if unknown.
        metrics: its ``metrics.json``; None if it has no numbers.
    """

    number: int
    state: str
    reason: str
    overrides: tuple[str, ...]
    folder: str
    settings: Mapping[str, Any]
    metrics: AuditMetrics | None


@dataclass(frozen=True)
class Setting:
    """One attack at points that differ in their seeds alone.

    Attributes:
        attack: its name.
        at: the values of the other axes, as text.
        points: the numbers of the points.
        auc: mean over the points.
        gain: mean of its AUC minus that of the reconstruction attack; None if unknown.
    """

    attack: str
    at: Mapping[str, str]
    points: tuple[int, ...]
    auc: Mean
    gain: Mean | None


@dataclass(frozen=True)
class Sweep:
    """The points of a sweep, finished or not.

    Attributes:
        name: of its folder.
        points: in the order of their numbers.
        missing: numbers below the highest that have no folder.
        axes: columns of ``rows`` that differ between the points.
        rows: one row per finished point and attack or blind baseline.
        timing_s, record, command: of the collection.
    """

    name: str
    points: tuple[SweepPoint, ...]
    missing: tuple[int, ...]
    axes: tuple[str, ...]
    rows: pd.DataFrame
    timing_s: Mapping[str, float]
    record: Mapping[str, str]
    command: str

    @property
    def done(self) -> tuple[SweepPoint, ...]:
        """The points that have numbers."""
        return tuple(point for point in self.points if point.metrics is not None)
