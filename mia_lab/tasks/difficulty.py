"""``task=difficulty``: how hard the images of a folder are, without any victim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mia_lab.config import build
from mia_lab.config.choices import Protocol
from mia_lab.config.load import as_yaml
from mia_lab.config.schema import Config
from mia_lab.data.dataset import PairDataset
from mia_lab.data.source import PairSource, all_ids
from mia_lab.data.splits import read_manifest
from mia_lab.evaluation.agreement import rank_correlation, reliability
from mia_lab.evaluation.results import Extremes, Survey
from mia_lab.reporting import survey as report
from mia_lab.reporting.html import write_survey_html
from mia_lab.reporting.tracking import Tracker
from mia_lab.stages.difficulty_stages import DifficultyStages
from mia_lab.store import Store
from mia_lab.tasks.run import Clock, make_tracker, point_latest, run_record, shown, solver_record
from mia_lab.types import DifficultyTable

SHOWN = 6
"""Images shown at either end."""


def survey(config: Config, folder: Path, group: str) -> None:
    """Score all pairs of a source, and leave the findings in a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: what the run belongs to, for the tracker.

    Raises:
        UserError: something the user can mend; nothing half-written is ever reused.
    """
    torch.set_num_threads(config.trainer.threads)
    clock = Clock()
    with clock("checks"):
        source = build.source(config.data)
        # Every pair is read once: keeping it would take memory for nothing.
        pairs = PairDataset(source, _ids(config, source), config.data.image_size, cache_bytes=0)
        store = Store(Path(config.paths.store))
        stages = DifficultyStages(config, store, pairs)
    (folder / "config.yaml").write_text(as_yaml(config))
    identity = {"difficulty": [stage.key for stage in stages.stages()]}
    with store, make_tracker(config, identity, folder, group) as tracker:
        with clock("difficulty"):
            table = stages.table()
        found = _survey(config, stages, pairs, table)
        _report(config, replace(found, timing_s=clock.seconds), tracker, folder)


def _ids(config: Config, source: PairSource) -> tuple[str, ...]:
    """All pairs there are, or those of the manifest."""
    ids = all_ids(source)
    if config.data.protocol is Protocol.manifest:
        return tuple(sorted(read_manifest(Path(str(config.data.manifest)), ids)))
    return ids


def _survey(
    config: Config, stages: DifficultyStages, pairs: PairDataset, table: DifficultyTable
) -> Survey:
    order = table.mean()[:, 0].argsort(kind="stable")
    shown = min(SHOWN, len(order))
    return Survey(
        name=config.name,
        image_size=config.data.image_size,
        difficulty=table,
        correlation=rank_correlation(table.mean()),
        reliability=reliability(np.asarray(table.score[:, 0])),
        easiest=_extremes(pairs, table, order[:shown]),
        hardest=_extremes(pairs, table, order[::-1][:shown]),
        timing_s={},
        record=run_record(config) | stages.record() | solver_record(table),
    )


def _extremes(pairs: PairDataset, table: DifficultyTable, rows: np.ndarray) -> Extremes:
    ids = tuple(str(i) for i in table.id[rows])
    batch = next(pairs.subset(ids).batches(len(ids)))
    score, drawn = table.mean()[rows, 0], np.asarray(table.map[rows])
    return Extremes(ids, score, batch.x.numpy(), batch.y.numpy(), drawn)


def _report(config: Config, found: Survey, tracker: Tracker, folder: Path) -> None:
    pictures = shown(config, report.draw(found))
    report.write_files(found, pictures, folder)
    tracker.log_survey(found, pictures)
    sentences = report.summary(found)
    page = write_survey_html(found, sentences, pictures, folder)
    latest = point_latest(Path(config.paths.outputs) / "latest", folder)
    print("\n".join(sentences))
    print(f"report: {page}" + (f"  (also {latest / page.name})" if latest else ""))
