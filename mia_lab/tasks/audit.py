"""An audit from configuration to verdict: the stages in order, then the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mia_lab.config import build
from mia_lab.config.choices import Until
from mia_lab.config.load import as_yaml
from mia_lab.config.schema import Config
from mia_lab.data.splits import write_manifest
from mia_lab.evaluation.gate import decide
from mia_lab.evaluation.results import AuditResult, Gate
from mia_lab.evaluation.summary import summary
from mia_lab.reporting.figures import draw
from mia_lab.reporting.files import write_files
from mia_lab.reporting.html import write_html
from mia_lab.reporting.text import text_table
from mia_lab.reporting.tracking import Tracker
from mia_lab.stages.audit_stages import Stages
from mia_lab.stages.judging import judge
from mia_lab.store import Store
from mia_lab.tasks.run import (
    Clock,
    is_point,
    make_tracker,
    point_latest,
    wants_pictures,
)

if TYPE_CHECKING:
    import pytorch_lightning as pl

log = logging.getLogger(__name__)

SAMPLED_EPOCHS = 10
"""How often in a training sample translations go to the tracker."""


def audit(config: Config, folder: Path, group: str) -> Gate | None:
    """Run the audit that a configuration describes, and leave its results in a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: what the run belongs to, for the tracker: its sweep, or runs of its name.

    Returns:
        What became of ``fail_if``; None where nothing was asked.

    Raises:
        UserError: something the user can mend; nothing half-written is ever reused.
    """
    attacks = build.attacks(config)
    clock = Clock()
    with clock("checks"):
        store = Store(Path(config.paths.store))
        stages = Stages(config, store)
    (folder / "config.yaml").write_text(as_yaml(config))
    with clock("split"):
        split, alike = stages.split()
    write_manifest(folder / "split.csv", split)
    if _stop_after(config, Until.split):
        return None
    if config.until is Until.references:  # whoever trains these need not wait for the victim
        with store:
            stages.references()
        _stop_after(config, Until.references)
        return None
    with store, _tracker(config, stages, folder, group) as tracker:
        with clock("victim"):
            training = _TrainingLog(tracker, stages)
            needed = config.until is Until.victim or not stages.is_answered
            victim = stages.victim(training) if needed else None
            training.complete()
        if _stop_after(config, Until.victim):
            return None
        with clock("reconstructions"):
            reconstructions = stages.reconstructions(victim)
            altered = stages.altered(victim)
        if _stop_after(config, Until.reconstructions):
            return None
        with clock("references"):
            references = stages.references()
        with clock("difficulty"):
            difficulty = stages.difficulty()
        if _stop_after(config, Until.difficulty):
            return None
        with clock("attacks"):
            evidence = stages.evidence(split, reconstructions, difficulty, altered, references)
            scores = tuple(stages.scores(*attack, evidence) for attack in attacks.items())
        with clock("evaluation"):
            result = judge(config, stages, split, alike, evidence, scores)
        gate = decide(config.fail_if, summary(result)) if config.fail_if else None
        _report(config, replace(result, gate=gate, timing_s=clock.seconds), tracker, folder)
    return gate


def _stop_after(config: Config, stage: Until) -> bool:
    if config.until is stage:
        log.info("until=%s: stopped as asked; results are in %s", stage.value, config.paths.store)
    return config.until is stage


def _tracker(config: Config, stages: Stages, folder: Path, group: str) -> Tracker:
    identity = {"audit": stages.audit_stage.key, "fail_if": config.fail_if}
    return make_tracker(config, identity, folder, group)


class _TrainingLog:
    """Losses, and now and then translations of members, on their way to the tracker."""

    def __init__(self, tracker: Tracker, stages: Stages) -> None:
        self._tracker = tracker
        self._stages = stages
        self._epochs = stages.config.victim.get("epochs", 1)
        self._logged: set[int] = set()

    def __call__(self, epoch: int, losses: Mapping[str, float], module: pl.LightningModule) -> None:
        self._tracker.log_epoch(epoch, losses)
        self._logged.add(epoch)
        every = max(1, self._epochs // SAMPLED_EPOCHS)
        if self._tracker.wants_images and (epoch % every == 0 or epoch == self._epochs):
            self._log_samples(epoch, module)

    def complete(self) -> None:
        """Log the epochs of a training that happened in an earlier run."""
        for row in self._stages.losses():
            epoch = int(row.pop("epoch"))
            if epoch not in self._logged:
                self._tracker.log_epoch(epoch, row)

    def _log_samples(self, epoch: int, module: pl.LightningModule) -> None:
        import torch

        batch = next(self._stages.pairs.subset(self._stages.members[:4]).batches(4))
        module.eval()
        with torch.inference_mode():
            answer = module(batch.condition.to(module.device)).float().cpu()
        module.train()
        rows = torch.cat([batch.x, answer, batch.y], dim=3).numpy()
        captions = [f"{i}: input, translation, target" for i in batch.ids]
        self._tracker.log_images("train/samples", rows, captions, epoch)


def _report(config: Config, result: AuditResult, tracker: Tracker, folder: Path) -> None:
    """Write what the run found; pictures and page only if somebody will look at them."""
    pictures = draw(result) if wants_pictures(config) else ()
    write_files(result, pictures, folder)
    tracker.log_result(result, pictures)
    found = write_html(result, pictures, folder) if pictures else folder / "metrics.json"
    if is_point():  # the sweep has a table of all
        return
    latest = point_latest(Path(config.paths.outputs) / "latest", folder)
    print(text_table(result))
    print(f"{found.stem}: {found}" + (f"  (also {latest / found.name})" if latest else ""))
