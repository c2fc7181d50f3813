"""``task=score``: score candidates, images of which nobody knows whether they are members."""

from __future__ import annotations

from pathlib import Path

from mia_lab.config.schema import Config
from mia_lab.reporting import scores as report
from mia_lab.reporting.html import write_scores_html
from mia_lab.tasks import common
from mia_lab.tasks.ending import end_run
from mia_lab.tasks.score_report import score_report, scoring_stages
from mia_lab.tasks.tracked import make_tracker


def run(config: Config, folder: Path, group: str) -> None:
    """Score the candidates of a manifest, and write the results to a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: what the run belongs to, for the tracker.

    Raises:
        UserError: something the user can mend; nothing half-written is ever reused.
    """
    stages, decisions = scoring_stages(config)
    with common.started(config, folder, [decisions]) as store:
        common.checked_split(stages, store, folder)
        common.announce_queries(stages, store)
        with make_tracker(config, [decisions], folder, group) as tracker:
            found = score_report(config, stages, store, store.result(decisions))
            pictures = common.public_pictures(config, report.draw(found))
            report.write_files(found, pictures, folder)
            tracker.log_scoring(found, pictures)
    page = write_scores_html(found, pictures, folder)
    print(report.text(found))
    end_run(config, page, report.summary(found)[0])
