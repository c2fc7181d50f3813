"""The report of an audit, from its result and its stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia_lab.config.load import as_yaml
from mia_lab.config.schema import Config
from mia_lab.evaluation.gate import decide
from mia_lab.evaluation.results import AuditReport, AuditResult, Dossiers, Overfitting
from mia_lab.evaluation.summary import summary
from mia_lab.stages.attack import AttackInputs
from mia_lab.stages.difficulty import ErrorMapsStage, ProbeDifficulty
from mia_lab.stages.graph import RunStages
from mia_lab.stages.overfitting import Course
from mia_lab.stages.victim import ForeignVictim, TrainedVictim
from mia_lab.store import Store
from mia_lab.tasks import common, records
from mia_lab.tasks.command import command_line

SHOWN = 4
"""Images in one group of dossiers."""


def audit_report(
    config: Config,
    stages: RunStages,
    store: Store,
    result: AuditResult,
    overfitting: Overfitting | None = None,
) -> AuditReport:
    """An audit's result with the images to look at first, the gate, and the record of the run."""
    condition = config.fail_if
    # A victim that was trained here cannot have been trained in another direction.
    related = result.correspondence if isinstance(stages.victim, ForeignVictim) else None
    return AuditReport(
        name=config.name,
        result=result,
        split=store.result(stages.split).split,
        dossiers=_dossiers(config, stages.attack, store, result),
        overfitting=overfitting,
        gate=decide(condition, summary(result), related) if condition else None,
        timing_s=common.timing(store),
        record=records.audit_record(config, stages, store),
        command=command_line(),
        config=as_yaml(config),
    )


def training_course(stages: RunStages) -> Course | None:
    """The course of the victim's training; None if it is not trained here."""
    if not isinstance(stages.victim, TrainedVictim):
        return None
    querying = stages.reconstructions.querying
    accelerator, batch_size = querying.accelerator, querying.batch_size
    return Course.of(stages.victim, stages.images, accelerator, batch_size)


def _dossiers(
    config: Config, attack: AttackInputs, store: Store, result: AuditResult
) -> tuple[Dossiers, ...]:
    """The images that a reader wants to see first, chosen by the leading attack."""
    if not config.report.images or not common.wants_pictures(config):
        return ()
    scores = result.leading
    ids = scores.id.tolist()
    truth = store.result(attack.split).split.is_member(ids)
    order = np.argsort(-scores.score, kind="stable")
    easy = np.argsort(result.difficulty, kind="stable")
    members, nonmembers = order[truth[order]], order[~truth[order]]
    chosen = {
        "Most exposed members": members,
        "Least exposed members": members[::-1],
        "Non-members most like members": nonmembers,
        "Easiest images": easy,
        "Hardest images": easy[::-1],
    }
    rows = {title: found[:SHOWN].tolist() for title, found in chosen.items()}
    shown = list(dict.fromkeys(i for found in rows.values() for i in found))
    maps = dict(zip(shown, _error_maps(attack, store, [ids[i] for i in shown]), strict=True))
    evidence = attack.evidence(store)
    error = evidence.reconstructions.mean_error(ids)
    captions = [_caption(result, bool(truth[i]), error[i], i) for i in range(len(ids))]
    return tuple(
        Dossiers(
            title,
            common.gallery(evidence, [ids[i] for i in found], [captions[i] for i in found]),
            np.stack([maps[i] for i in found]),
        )
        for title, found in rows.items()
    )


def _error_maps(attack: AttackInputs, store: Store, ids: Sequence[str]) -> np.ndarray:
    """Error of the probe at each pixel, float32 (len(ids), G, G); G = 0 without a probe."""
    configured = attack.difficulty[0].undivided
    if not isinstance(configured, ProbeDifficulty):
        return np.empty((len(ids), 0, 0), dtype=np.float32)
    return store.result(ErrorMapsStage(configured, tuple(ids))).map


def _caption(result: AuditResult, is_member: bool, error: float, row: int) -> str:
    """What is known of one candidate, on one line."""
    parts = [
        "member" if is_member else "non-member",
        f"error {error:.3f}",
        f"difficulty {result.difficulty[row]:.3f}",
    ]
    calibration = result.decisions[result.leading.attack].calibration
    if calibration is not None:
        parts.append(f"P(member) {calibration.probability[row]:.2f}")
    return ", ".join(parts)
