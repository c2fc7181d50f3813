"""``task=canary``: draw a canary to publish, or test whether a victim was trained on some."""

from __future__ import annotations

from pathlib import Path

from mia_lab.config.choices import CanaryAction
from mia_lab.config.schema import Config
from mia_lab.reporting import canary as report
from mia_lab.tasks import common
from mia_lab.tasks.canaries import canary_report, drawn
from mia_lab.tasks.ending import end_run


def run(config: Config, folder: Path, group: str) -> None:
    """Draw or test, and write the report to a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: unused; canaries are not tracked, because their choice is secret before a test.

    Raises:
        UserError: something the user can mend; no victim was queried before.
    """
    if config.canary.action is CanaryAction.draw:
        new = drawn(config)
        pictures = common.public_pictures(config, report.draw_new(new))
        page, words = report.write_drawn(new, pictures, folder), report.drawn_text(new)
        finding = report.drawn_summary(new)
    else:
        found = canary_report(config, folder)
        pictures = common.public_pictures(config, report.draw(found))
        report.write_files(found, pictures, folder)
        page, words = report.write_tested(found, pictures, folder), report.text(found)
        finding = report.summary(found)[0]
    print(words)
    end_run(config, page, finding)
