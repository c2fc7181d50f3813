"""``task=score``: which of some unknown images was a victim trained on?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mia_lab.attacks.evidence import Evidence
from mia_lab.config.schema import Config
from mia_lab.errors import UserError
from mia_lab.evaluation.decision import auxiliaries_needed
from mia_lab.evaluation.results import Gallery, Scoring, ScoringResult
from mia_lab.reporting import scores as report
from mia_lab.reporting.html import write_scores_html
from mia_lab.stages.decisions import DecisionsStage
from mia_lab.stages.graph import RunStages, run_stages
from mia_lab.store import Store
from mia_lab.tasks import common, records
from mia_lab.tasks.ending import end_run

GALLERY_ROWS = 6
"""Images shown: the most likely members."""


def run(config: Config, folder: Path, group: str) -> None:
    """Score the candidates of a manifest, and write the results to a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: what the run belongs to, for the tracker.

    Raises:
        UserError: something the user can mend; nothing half-written is ever reused.
    """
    stages = run_stages(config)
    _check_resolution(config.score.fpr, len(stages.images.auxiliaries))
    decisions = stages.verdict
    assert isinstance(decisions, DecisionsStage)
    with common.started(config, folder, [decisions]) as store:
        common.checked_split(stages, store, folder)
        with common.make_tracker(config, [decisions], folder, group) as tracker:
            found = _report(config, stages, store, store.result(decisions))
            pictures = common.public_pictures(config, report.draw(found))
            report.write_files(found, pictures, folder)
            tracker.log_scoring(found, pictures)
    page = write_scores_html(found, pictures, folder)
    print(report.text(found))
    end_run(config, page, report.summary(found)[0])


def _check_resolution(fpr: float, n_auxiliary: int) -> None:
    """Without auxiliaries nothing is decided; too few of them decide nothing at this rate."""
    if 0 < n_auxiliary < (needed := auxiliaries_needed(fpr)):
        raise UserError(
            f"score.fpr={fpr:g}: {n_auxiliary} auxiliaries resolve false positive rates from "
            f"{1 / (n_auxiliary + 1):.3g}; give at least {needed} rows with the role auxiliary in "
            "data.manifest, or a higher score.fpr"
        )


def _report(config: Config, stages: RunStages, store: Store, result: ScoringResult) -> Scoring:
    return Scoring(
        name=config.name,
        result=result,
        gallery=_gallery(stages.attack.evidence(store), result),
        timing_s=common.timing(store),
        record=records.audit_record(config, stages, store),
    )


def _gallery(evidence: Evidence, result: ScoringResult) -> Gallery:
    """The most likely members by the last attack."""
    table = result.scores[-1]
    score = table.column(result.candidates)
    shown = np.argsort(-score, kind="stable")[:GALLERY_ROWS]
    captions = [
        f"rank {rank}, {table.attack} error {-score[i]:.3f}"
        for rank, i in enumerate(shown, start=1)
    ]
    return common.gallery(evidence, [result.candidates[i] for i in shown], captions)
