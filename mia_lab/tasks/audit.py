"""``task=audit``: from configuration to verdict, then the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from mia_lab.config.choices import Until
from mia_lab.config.load import as_yaml
from mia_lab.config.schema import Config
from mia_lab.data.picture import visible
from mia_lab.errors import GateFailedError
from mia_lab.evaluation.gate import decide, sentence
from mia_lab.evaluation.results import AuditReport, AuditResult, Dossiers
from mia_lab.evaluation.summary import summary
from mia_lab.reporting.audit.figures import draw
from mia_lab.reporting.audit.words import text_table
from mia_lab.reporting.files import write_files
from mia_lab.reporting.html import write_html
from mia_lab.reporting.tracking import Tracker
from mia_lab.stages.attack import AttackInputs
from mia_lab.stages.difficulty import ErrorMapsStage, ProbeDifficulty
from mia_lab.stages.graph import RunStages, run_stages
from mia_lab.stages.victim import ForeignVictim, TrainedVictim
from mia_lab.store import Store
from mia_lab.tasks import common, records
from mia_lab.tasks.command import command_line
from mia_lab.tasks.latest import print_location

log = logging.getLogger(__name__)

SAMPLED_EPOCHS = 10
"""How many times a training sends sample translations to the tracker."""

SHOWN = 4
"""Images in one group of dossiers."""


def run(config: Config, folder: Path, group: str) -> None:
    """Run the audit that a configuration describes, and write its results to a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: what the run belongs to, for the tracker: its sweep, or runs of its name.

    Raises:
        UserError: something the user can mend; nothing half-written is ever reused.
        GateFailedError: the audit is done, and its ``fail_if`` holds.
    """
    stages = run_stages(config)
    goals = stages.goals(config.until)
    with common.started(config, folder, goals) as store:
        common.checked_split(stages, store, folder)
        if config.until is Until.split:
            common.stopped(config)
            return
        with common.make_tracker(config, goals, folder, group) as tracker:
            _train(stages, config, store, tracker)
            results = [store.result(goal) for goal in goals]
            if not isinstance(result := results[-1], AuditResult):
                common.stopped(config)
                return
            report = _report(config, stages, store, result)
            _write(config, report, tracker, folder)
    if report.gate is not None:
        if report.gate.failed:
            raise GateFailedError(f"fail_if: {sentence(report.gate)}")
        print(f"fail_if: passed, {sentence(report.gate)}")


def _train(stages: RunStages, config: Config, store: Store, tracker: Tracker) -> None:
    """Train the victim if a goal needs it, with its losses on their way to the tracker."""
    victim = stages.victim
    if not isinstance(victim, TrainedVictim) or config.until is Until.references:
        return
    training = _TrainingLog(tracker, stages)
    if victim.path in {stage.path for stage in store.missing(*stages.goals(config.until))}:
        store.folder(replace(victim, on_epoch=training))
    training.log_missing_epochs(victim.losses(store))


def _report(config: Config, stages: RunStages, store: Store, result: AuditResult) -> AuditReport:
    condition = config.fail_if
    # A victim that was trained here cannot have been trained in another direction.
    related = result.correspondence if isinstance(stages.victim, ForeignVictim) else None
    return AuditReport(
        name=config.name,
        result=result,
        split=store.result(stages.split).split,
        dossiers=_dossiers(config, stages.attack, store, result),
        gate=decide(condition, summary(result), related) if condition else None,
        timing_s=common.timing(store),
        record=records.audit_record(config, stages, store),
        command=command_line(),
        config=as_yaml(config),
    )


def _write(config: Config, report: AuditReport, tracker: Tracker, folder: Path) -> None:
    """Write the report; pictures and page only if somebody will look at them."""
    pictures = draw(report) if common.wants_pictures(config) else ()
    write_files(report, pictures, folder)
    tracker.log_result(report, pictures)
    shown = write_html(report, pictures, folder) if pictures else folder / "metrics.json"
    if common.is_sweep_point():  # the sweep prints a table of all points
        return
    print(text_table(report))
    print_location(config, folder, shown)


class _TrainingLog:
    """Sends the losses of each epoch, and some translations of members, to the tracker."""

    def __init__(self, tracker: Tracker, stages: RunStages) -> None:
        self._tracker = tracker
        self._images = stages.images
        self._epochs = stages.victim.component.arguments.get("epochs", 1)
        self._logged: set[int] = set()

    def __call__(self, epoch: int, losses: Mapping[str, float], module: pl.LightningModule) -> None:
        self._tracker.log_epoch(epoch, losses)
        self._logged.add(epoch)
        every = max(1, self._epochs // SAMPLED_EPOCHS)
        if self._tracker.wants_images and (epoch % every == 0 or epoch == self._epochs):
            self._log_samples(epoch, module)

    def log_missing_epochs(self, losses: Sequence[dict[str, float]]) -> None:
        """Log the epochs of a training that happened in an earlier run."""
        for row in losses:
            epoch = int(row.pop("epoch"))
            if epoch not in self._logged:
                self._tracker.log_epoch(epoch, row)

    def _log_samples(self, epoch: int, module: pl.LightningModule) -> None:
        batch = next(self._images.dataset.subset(self._images.members[:4]).batches(4))
        module.eval()
        with torch.inference_mode():
            answer = module(batch.condition.to(module.device)).float().cpu()
        module.train()
        sides = (visible(side.numpy()) for side in (batch.x, answer, batch.y))
        rows = np.concatenate([*sides], axis=3)
        captions = [f"{i}: input, translation, target" for i in batch.ids]
        self._tracker.log_images("train/samples", rows, captions, epoch)


def _dossiers(
    config: Config, attack: AttackInputs, store: Store, result: AuditResult
) -> tuple[Dossiers, ...]:
    """The images that a reader wants to see first, chosen by the last attack."""
    if not config.report.images or not common.wants_pictures(config):
        return ()
    scores = result.scores[-1]
    ids = scores.id.tolist()
    truth = store.result(attack.split).split.is_member(ids)
    order = np.argsort(-scores.score, kind="stable")
    easy = np.argsort(result.difficulty, kind="stable")
    members, nonmembers = order[truth[order]], order[~truth[order]]
    chosen = {
        "Most exposed members": members,
        "Members missed most": members[::-1],
        "Non-members mistaken most": nonmembers,
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
    configured = attack.difficulty[0]
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
    calibration = result.decisions[result.scores[-1].attack].calibration
    if calibration is not None:
        parts.append(f"P(member) {calibration.probability[row]:.2f}")
    return ", ".join(parts)
