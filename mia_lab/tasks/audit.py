"""``task=audit``: from configuration to verdict, then the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mia_lab.config.choices import Until
from mia_lab.config.schema import Config
from mia_lab.data.picture import visible
from mia_lab.errors import GateFailedError
from mia_lab.evaluation.gate import sentence
from mia_lab.evaluation.results import AuditReport, AuditResult
from mia_lab.reporting.audit.figures import draw
from mia_lab.reporting.audit.words import text_table
from mia_lab.reporting.files import write_files
from mia_lab.reporting.html import write_html
from mia_lab.reporting.index import audit_facts
from mia_lab.reporting.tracking import Tracker
from mia_lab.stages.graph import RunStages, run_stages
from mia_lab.stages.overfitting import Course
from mia_lab.store import Store
from mia_lab.tasks import common
from mia_lab.tasks.audit_report import audit_report, training_course
from mia_lab.tasks.ending import end_run
from mia_lab.tasks.tracked import make_tracker

if TYPE_CHECKING:  # only trainings need it, and importing it takes seconds
    import pytorch_lightning as pl

log = logging.getLogger(__name__)

SAMPLED_EPOCHS = 10
"""How many times a training sends sample translations to the tracker."""


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
        with make_tracker(config, goals, folder, group) as tracker:
            common.announce_queries(stages, store)
            course = training_course(stages)
            _train(stages, config, store, tracker, course)
            results = [store.result(goal) for goal in goals]
            if not isinstance(result := results[-1], AuditResult):
                common.stopped(config)
                return
            overfitting = course.result(store) if course else None
            report = audit_report(config, stages, store, result, overfitting)
            _write(config, report, tracker, folder)
    if report.gate is not None:
        if report.gate.failed:
            raise GateFailedError(f"fail_if: {sentence(report.gate)}")
        print(f"fail_if: passed, {sentence(report.gate)}")


def _train(
    stages: RunStages, config: Config, store: Store, tracker: Tracker, course: Course | None
) -> None:
    """Train the victim if a goal needs it, with its losses on their way to the tracker."""
    if course is None or config.until is Until.references:
        return
    training = _TrainingLog(tracker, stages)
    course.train(store, stages.goals(config.until), training)
    training.log_missing_epochs(course.victim.losses(store))


def _write(config: Config, report: AuditReport, tracker: Tracker, folder: Path) -> None:
    """Write the report; pictures and page only if somebody will look at them."""
    pictures = draw(report) if common.wants_pictures(config) else ()
    write_files(report, pictures, folder)
    tracker.log_result(report, pictures)
    shown = write_html(report, pictures, folder) if pictures else folder / "metrics.json"
    if common.is_sweep_point():  # the sweep prints a table of all points
        return
    print(text_table(report))
    end_run(config, shown, **audit_facts(report))


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
