"""The report on candidates, from their scores and the stages of the run."""

from __future__ import annotations

import numpy as np

from mia_lab.attacks.evidence import Evidence
from mia_lab.config.schema import Config
from mia_lab.errors import UserError
from mia_lab.evaluation.decision import auxiliaries_needed
from mia_lab.evaluation.results import Gallery, Scoring, ScoringResult
from mia_lab.stages.decisions import DecisionsStage
from mia_lab.stages.graph import RunStages, run_stages
from mia_lab.store import Store
from mia_lab.tasks import common, records

GALLERY_ROWS = 6
"""Images shown: the most likely members."""


def scoring_stages(config: Config) -> tuple[RunStages, DecisionsStage]:
    """The stages that a scoring asks for, and the one that it ends in.

    Raises:
        UserError: the data are not what the configuration says, or the auxiliaries are too few to
            decide at the false positive rate; without any, there are scores and ranks only.
    """
    stages = run_stages(config)
    _check_resolution(config.score.fpr, len(stages.images.auxiliaries))
    assert isinstance(stages.verdict, DecisionsStage)
    return stages, stages.verdict


def _check_resolution(fpr: float, n_auxiliary: int) -> None:
    if 0 < n_auxiliary < (needed := auxiliaries_needed(fpr)):
        raise UserError(
            f"score.fpr={fpr:g}: {n_auxiliary} auxiliaries resolve false positive rates from "
            f"{1 / (n_auxiliary + 1):.3g}; give at least {needed} auxiliaries (rows with this "
            "role in data.manifest), or a higher score.fpr"
        )


def score_report(config: Config, stages: RunStages, store: Store, result: ScoringResult) -> Scoring:
    """The decisions on candidates with the images to look at first, and the record of the run."""
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
        f"rank {rank}, {table.attack} score {score[i]:.3f}" for rank, i in enumerate(shown, start=1)
    ]
    return common.gallery(evidence, [result.candidates[i] for i in shown], captions)
