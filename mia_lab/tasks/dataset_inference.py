"""``task=dataset_inference``: was a collection of images used for the training of a victim?"""

from __future__ import annotations

from pathlib import Path

from mia_lab.config.schema import Config
from mia_lab.evaluation.results import Inference, InferenceResult
from mia_lab.reporting import inference as report
from mia_lab.stages.graph import RunStages, run_stages
from mia_lab.stages.inference import check_overlap
from mia_lab.store import Store
from mia_lab.tasks import common, records
from mia_lab.tasks.ending import end_run
from mia_lab.tasks.tracked import make_tracker


def run(config: Config, folder: Path, group: str) -> None:
    """Test the collections of a manifest, and write the results to a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: what the run belongs to, for the tracker.

    Raises:
        UserError: something the user can mend; nothing half-written is ever reused.
    """
    stages = run_stages(config)
    goals = stages.goals(None)
    with common.started(config, folder, goals) as store:
        checked_collections(stages, store, folder)
        common.announce_queries(stages, store)
        with make_tracker(config, goals, folder, group) as tracker:
            found = inference_report(config, stages, store)
            pictures = report.draw(found)
            report.write_files(found, pictures, folder)
            tracker.log_inference(found, pictures)
    page = report.write_html(found, pictures, folder)
    print(report.text(found))
    end_run(config, page, report.summary(found)[0])


def checked_collections(stages: RunStages, store: Store, folder: Path) -> None:
    """Decode all images, and refuse collections that overlap, before the victim is queried."""
    common.checked_split(stages, store, folder)
    check_overlap(store.result(stages.split).split, stages.images.collections)


def inference_report(config: Config, stages: RunStages, store: Store) -> Inference:
    """What was found on the collections, with the record of the run."""
    images = stages.images
    result = store.result(stages.goals(None)[0])
    assert isinstance(result, InferenceResult)
    return Inference(
        name=config.name,
        result=result,
        collection_of={i: images.collections.get(i, "") for i in images.scored.ids},
        role_of={i: images.rows[i]["role"] for i in images.scored.ids},
        timing_s=common.timing(store),
        record=records.audit_record(config, stages, store),
    )
