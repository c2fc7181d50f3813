"""``task=difficulty``: how hard the images of a folder are, without any victim."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mia_lab.config import build
from mia_lab.config.schema import Config
from mia_lab.data.dataset import PairDataset
from mia_lab.evaluation.agreement import rank_correlation, reliability
from mia_lab.evaluation.results import Extremes, Survey
from mia_lab.parameters import described
from mia_lab.reporting import survey as report
from mia_lab.reporting.html import write_survey_html
from mia_lab.stages.difficulty import side_by_side
from mia_lab.stages.graph import difficulty_stages
from mia_lab.tasks import common, records
from mia_lab.tasks.ending import end_run
from mia_lab.tasks.surveyed import surveyed_images
from mia_lab.tasks.tracked import make_tracker
from mia_lab.types import DifficultyTable

SHOWN = 6
"""Images shown at either end."""


def run(config: Config, folder: Path, group: str) -> None:
    """Score all pairs of a source, and write the results to a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: what the run belongs to, for the tracker.

    Raises:
        UserError: something the user can mend; nothing half-written is ever reused.
    """
    images = surveyed_images(config, build.source(config.data))
    stages = difficulty_stages(config, images)
    with (
        common.started(config, folder, stages) as store,
        make_tracker(config, stages, folder, group) as tracker,
    ):
        table = side_by_side([store.result(stage) for stage in stages])
        record = records.common_record(config) | records.software_record(store, stages)
        record |= records.difficulty_record(config, stages)
        if (shard := build.shard(config)) is not None and shard.part is not None:
            record["part"] = f"{shard.part} of {shard.count}"
        found = _survey(
            config,
            images,
            table,
            common.timing(store),
            record | records.solver_record(table),
        )
        pictures = common.public_pictures(config, report.draw(found))
        report.write_files(found, pictures, folder)
        tracker.log_survey(found, pictures)
    sentences = report.summary(found)
    page = write_survey_html(found, sentences, pictures, folder)
    print("\n".join(sentences))
    end_run(config, page, sentences[0])


def _survey(
    config: Config,
    images: PairDataset,
    table: DifficultyTable,
    timing_s: dict[str, float],
    record: dict[str, str],
) -> Survey:
    order = table.mean()[:, 0].argsort(kind="stable")
    shown = min(SHOWN, len(order))
    return Survey(
        name=config.name,
        image_size=described(config.data.image_size),
        difficulty=table,
        correlation=rank_correlation(table.mean()),
        reliability=reliability(np.asarray(table.score[:, 0])),
        easiest=_extremes(images, table, order[:shown]),
        hardest=_extremes(images, table, order[::-1][:shown]),
        timing_s=timing_s,
        record=record,
    )


def _extremes(images: PairDataset, table: DifficultyTable, rows: np.ndarray) -> Extremes:
    ids = tuple(str(i) for i in table.id[rows])
    batch = next(images.subset(ids).batches(len(ids)))
    score, maps = table.mean()[rows, 0], np.asarray(table.map[rows])
    return Extremes(ids, score, batch.x.numpy(), batch.y.numpy(), maps)
