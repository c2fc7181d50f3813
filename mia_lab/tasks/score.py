"""``task=score``: who, of images that nobody knows, was a victim trained on?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mia_lab.attacks.evidence import Evidence
from mia_lab.config import build
from mia_lab.config.load import as_yaml, plain
from mia_lab.config.schema import Config
from mia_lab.data.splits import NearDuplicates, write_manifest
from mia_lab.errors import UserError
from mia_lab.evaluation.decision import auxiliaries_needed, decide, ranks
from mia_lab.evaluation.results import Gallery, Scoring
from mia_lab.reporting import scores as report
from mia_lab.reporting.html import write_scores_html
from mia_lab.reporting.tracking import Tracker
from mia_lab.stages.audit_stages import Stages
from mia_lab.store import Store
from mia_lab.tasks.run import Clock, gallery, make_tracker, point_latest, shown, solver_record
from mia_lab.types import Role, ScoreTable, Split

GALLERY_ROWS = 6
"""Images shown: the most likely members."""


def score(config: Config, folder: Path, group: str) -> None:
    """Score the candidates of a manifest, and leave the findings in a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: what the run belongs to, for the tracker.

    Raises:
        UserError: something the user can mend; nothing half-written is ever reused.
    """
    attacks = build.attacks(config)
    clock = Clock()
    with clock("checks"):
        store = Store(Path(config.paths.store))
        stages = Stages(config, store)
        _check_resolution(config.score.fpr, stages.count(Role.AUXILIARY))
    (folder / "config.yaml").write_text(as_yaml(config))
    with clock("split"):
        split, alike = stages.split()
    write_manifest(folder / "split.csv", split)
    asked = {"attack": plain(config.attack), "fpr": config.score.fpr}
    with store, make_tracker(config, stages.identity() | asked, folder, group) as tracker:
        with clock("reconstructions"):
            reconstructions = stages.reconstructions()
            altered = stages.altered()
        with clock("references"):
            references = stages.references()
        with clock("difficulty"):
            difficulty = stages.difficulty()
        with clock("attacks"):
            evidence = stages.evidence(split, reconstructions, difficulty, altered, references)
            scores = tuple(stages.scores(*attack, evidence) for attack in attacks.items())
            record = stages.record() | solver_record(difficulty)
            found = _judge(config, split, alike, evidence, scores, record)
        _report(config, replace(found, timing_s=clock.seconds), tracker, folder)


def _check_resolution(fpr: float, n_auxiliary: int) -> None:
    """Without auxiliaries nothing is decided; with too few, nothing could be at this rate."""
    if 0 < n_auxiliary < (needed := auxiliaries_needed(fpr)):
        raise UserError(
            f"score.fpr={fpr:g}: {n_auxiliary} auxiliaries resolve false positive rates from "
            f"{1 / (n_auxiliary + 1):.3g}; give at least {needed} rows with the role auxiliary in "
            "data.manifest, or a higher score.fpr"
        )


def _judge(
    config: Config,
    split: Split,
    alike: NearDuplicates,
    evidence: Evidence,
    scores: tuple[ScoreTable, ...],
    record: dict[str, str],
) -> Scoring:
    """Rank the candidates by each attack, and decide where known non-members allow it."""
    candidates, auxiliaries = split.ids(Role.CANDIDATE), split.ids(Role.AUXILIARY)
    decisions = {
        table.attack: decide(table.column(candidates), table.column(auxiliaries), config.score.fpr)
        for table in scores
        if auxiliaries
    }
    return Scoring(
        name=config.name,
        candidates=candidates,
        auxiliaries=auxiliaries,
        scores=scores,
        difficulty=evidence.difficulty.column([*candidates, *auxiliaries]),
        fpr=config.score.fpr,
        ranks={table.attack: ranks(table.column(candidates)) for table in scores},
        decisions=decisions,
        near_duplicates=alike,
        gallery=_gallery(evidence, scores[-1], candidates),
        timing_s={},
        record=record,
    )


def _gallery(evidence: Evidence, scores: ScoreTable, candidates: tuple[str, ...]) -> Gallery:
    """The most likely members by the last attack."""
    score = scores.column(candidates)
    shown = np.argsort(-score, kind="stable")[:GALLERY_ROWS]
    captions = [
        f"rank {place}, {scores.attack} error {-score[i]:.3f}"
        for place, i in enumerate(shown, start=1)
    ]
    return gallery(evidence, [candidates[i] for i in shown], captions)


def _report(config: Config, found: Scoring, tracker: Tracker, folder: Path) -> None:
    pictures = shown(config, report.draw(found))
    report.write_files(found, pictures, folder)
    tracker.log_scoring(found, pictures)
    page = write_scores_html(found, pictures, folder)
    latest = point_latest(Path(config.paths.outputs) / "latest", folder)
    print(report.text(found))
    print(f"report: {page}" + (f"  (also {latest / page.name})" if latest else ""))
