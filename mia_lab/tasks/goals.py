"""The stages that a run ends in; their keys decide whether it is done."""

from __future__ import annotations

from typing import Any

from mia_lab.config import build
from mia_lab.config.choices import Task
from mia_lab.config.load import plain
from mia_lab.config.schema import Config, Data
from mia_lab.data.source import PairSource
from mia_lab.stages.graph import difficulty_stages, run_stages
from mia_lab.stages.images import SourceReader
from mia_lab.store import Stage, canonical_json, sha256_of
from mia_lab.tasks.surveyed import surveyed_images


class Sources:
    """The sources of a sweep's points: each is read once, however many points use it."""

    def __init__(self) -> None:
        self._known: dict[str, PairSource] = {}

    def __call__(self, data: Data) -> PairSource:
        """The source that the settings describe.

        Raises:
            UserError: the data are not what the settings say.
        """
        settings = canonical_json(plain(data))
        if settings not in self._known:
            self._known[settings] = build.source(data)
        return self._known[settings]


def goals(config: Config, read: SourceReader = build.source) -> tuple[Stage[Any], ...]:
    """The stages that a run ends in; empty for a task that renders what is stored."""
    if config.task in (Task.audit, Task.score, Task.dataset_inference):
        return run_stages(config, read, resolve=False).goals(config.until)
    if config.task is Task.difficulty:
        return difficulty_stages(config, surveyed_images(config, read(config.data)))
    return ()


def goal_key(config: Config, read: SourceReader = build.source) -> str:
    """The key under which a run counts as done; "" if it always runs.

    It is a hash of the goals, the same on every machine.

    What is ``auto`` counts as such, because a machine that hands out jobs need not have the GPUs of
    those that run them.

    Raises:
        UserError: the data are not what the configuration says.
        OSError: a file cannot be read.
    """
    ends = goals(config, read)
    return sha256_of([[stage.path for stage in ends], config.fail_if]) if ends else ""
