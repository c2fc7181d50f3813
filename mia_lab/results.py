"""The frozen results of the tasks: what their reports are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mia_lab.measures import (
    AlphaCurve,
    Blind,
    Comparison,
    Evaluation,
    GridPoint,
    Knowledge,
    Normality,
    Reliability,
    Slice,
    Utility,
)
from mia_lab.practice import Decision, Gate, Practice, PrivacyClaim
from mia_lab.types import DifficultyTable, Floats, ScoreTable, Split


@dataclass(frozen=True)
class Gallery:
    """A few images to look at, chosen by the pipeline.

    Attributes:
        ids: N image ids.
        captions: N short texts ("member, error 0.081").
        x, y, reconstruction: float32 (N, 3, H, W) in [0, 1].
    """

    ids: tuple[str, ...]
    captions: tuple[str, ...]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    reconstruction: NDArray[np.float32]


@dataclass(frozen=True)
class Dossiers:
    """Images of which the report tells everything, one heading after another.

    Attributes:
        title: what they were chosen for, such as "Most exposed members".
        gallery: the images.
        difficulty: float32 (N, G, G), error of the probe at each pixel, each predicted once by a
            probe that was fitted on others; (N, 0, 0) where the score has no such map.
    """

    title: str
    gallery: Gallery
    difficulty: NDArray[np.float32]


@dataclass(frozen=True)
class AuditResult:
    """The verdict on one victim, and what the report needs to explain it.

    Attributes:
        name: the run's name, e.g. ``facades_pix2pix``.
        split: the roles of all images.
        scores: one table per attack; rows of all tables share ids.
        difficulty: float64 per candidate, in the order of ``scores[0].id``.
        alpha: weight of the difficulty in the membership error (Eq. 3).
        evaluations: one per attack.
        normality: of the references' log errors; None where no attack compares with references.
        claim: what the victim's training promises; None where it promises nothing.
        utility: how good the victim's answers are; None where nobody asked.
        knowledge: what each attacker has to have, by the attack's name.
        practice: what each attack's scores are good for, by its name.
        comparisons: each attack against the plain reconstruction error.
        blind: attacks that never saw the victim, and the verdict on the split.
        excess: each attack against the best of them.
        slices: the attacks on parts of the candidates.
        alpha_curve: None without a reconstruction error and a difficulty.
        near_duplicates: pairs of ids in different roles that look alike, with their distance.
        dossiers: images to look at; empty where ``report.images`` is false.
        grid: the membership attack under other settings, the configured first; empty if none.
        timing_s: seconds each stage took in this run.
        record: what was run: versions, weights, seeds, data fingerprint (plain strings).
        command: what reproduces it, as typed into a shell.
        config: the resolved configuration, as YAML.
        gate: what became of ``fail_if``; None where nothing was asked.
    """

    name: str
    split: Split
    scores: tuple[ScoreTable, ...]
    difficulty: Floats
    alpha: float
    evaluations: tuple[Evaluation, ...]
    normality: Normality | None
    claim: PrivacyClaim | None
    utility: Utility | None
    knowledge: Mapping[str, Knowledge]
    practice: Mapping[str, Practice]
    comparisons: tuple[Comparison, ...]
    blind: Blind
    excess: tuple[Comparison, ...]
    slices: tuple[Slice, ...]
    alpha_curve: AlphaCurve | None
    near_duplicates: tuple[tuple[str, str, int], ...]
    dossiers: tuple[Dossiers, ...]
    grid: tuple[GridPoint, ...]
    timing_s: Mapping[str, float]
    record: Mapping[str, str]
    command: str
    config: str
    gate: Gate | None = None


@dataclass(frozen=True)
class Scoring:
    """Who, of images that nobody knows, a victim was probably trained on.

    Attributes:
        name: the run's name.
        candidates: N ids, in the order of every vector here.
        auxiliaries: m ids of known non-members; may be none.
        scores: one table per attack, of candidates and auxiliaries.
        difficulty: float64 (N + m,), of the candidates, then of the auxiliaries.
        fpr: the false positive rate asked for.
        ranks: by attack, int64 (N,); 1 is the most likely member.
        decisions: by attack; empty without auxiliaries.
        near_duplicates: candidates and auxiliaries that look alike, with their distance.
        gallery: the most likely members.
        timing_s, record: as in :class:`AuditResult`.
    """

    name: str
    candidates: tuple[str, ...]
    auxiliaries: tuple[str, ...]
    scores: tuple[ScoreTable, ...]
    difficulty: Floats
    fpr: float
    ranks: Mapping[str, NDArray[np.int64]]
    decisions: Mapping[str, Decision]
    near_duplicates: tuple[tuple[str, str, int], ...]
    gallery: Gallery
    timing_s: Mapping[str, float]
    record: Mapping[str, str]


@dataclass(frozen=True)
class Extremes:
    """Some images with their difficulty.

    Attributes:
        ids: K image ids.
        score: (K,) difficulty.
        x, y: float32 (K, 3, H, W) in [0, 1].
        map: float32 (K, G, G) error of each pixel, or (K, 0, 0).
    """

    ids: tuple[str, ...]
    score: Floats
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    map: NDArray[np.float32]


@dataclass(frozen=True)
class Survey:
    """How difficult the images of a folder are; no victim is involved.

    Attributes:
        name: the run's name.
        image_size: side of the squares that the pictures were resized to, in pixels.
        difficulty: of N images under S settings.
        correlation: (S, S) Spearman's between settings; NaN where a setting scores all alike.
        reliability: of the configured setting; None where it was not repeated.
        easiest, hardest: the images at either end, the extreme first.
        timing_s, record: as in :class:`AuditResult`.
    """

    name: str
    image_size: int
    difficulty: DifficultyTable
    correlation: Floats
    reliability: Reliability | None
    easiest: Extremes
    hardest: Extremes
    timing_s: Mapping[str, float]
    record: Mapping[str, str]


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
    metrics: Mapping[str, Any]
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
        timing_s, record, command: as in :class:`AuditResult`, of the comparison.
    """

    name: str
    runs: tuple[FinishedRun, ...]
    common: str
    paired: tuple[PairedTest, ...]
    timing_s: Mapping[str, float]
    record: Mapping[str, str]
    command: str


@dataclass(frozen=True)
class SweepPoint:
    """A job of a sweep, as its folder tells it.

    Attributes:
        number: its folder's name.
        state: ``planned``, ``running``, ``done``, ``failed``, as its note says; ``damaged``: done,
            but its files can't be read; ``other``: done, but no whole audit.
        reason: why it has no numbers; "" where nothing needs to be said.
        overrides: what tells it from the other points, as typed.
        folder: where it lies.
        settings: its configuration by dotted keys; empty where it is not known.
        measured: one row an attack and blind baseline; empty where there are no numbers.
        record: what was run.
    """

    number: int
    state: str
    reason: str
    overrides: tuple[str, ...]
    folder: str
    settings: Mapping[str, Any]
    measured: tuple[Mapping[str, Any], ...]
    record: Mapping[str, str]


@dataclass(frozen=True)
class Sweep:
    """The points of a sweep, finished or not.

    Attributes:
        name: of its folder.
        points: in the order of their numbers.
        missing: numbers below the highest that have no folder.
        axes: columns of ``rows`` that differ between the points.
        rows: the tidy table: a row a finished point and attack or blind baseline.
        timing_s, record, command: as in :class:`AuditResult`, of the collection.
    """

    name: str
    points: tuple[SweepPoint, ...]
    missing: tuple[int, ...]
    axes: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    timing_s: Mapping[str, float]
    record: Mapping[str, str]
    command: str

    @property
    def done(self) -> tuple[SweepPoint, ...]:
        """The points that have numbers."""
        return tuple(point for point in self.points if point.measured)
