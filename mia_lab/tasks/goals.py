"""What makes a run done: the stages that it ends in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mia_lab.config import build
from mia_lab.config.choices import Task
from mia_lab.config.load import plain
from mia_lab.config.schema import Config, Data
from mia_lab.data.source import PairSource
from mia_lab.stages.graph import difficulty_stages, run_stages
from mia_lab.stages.images import SourceReader
from mia_lab.store import Stage, canonical_json, sha256_of
from mia_lab.tasks.difficulty import surveyed_images

PRECISIONS = ("32-true", "bf16-mixed")
"""What ``trainer.precision=auto`` may come to on some machine."""


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
    """The stages that a run ends in; empty for a task that reads what other runs have left."""
    if config.task in (Task.audit, Task.score):
        return run_stages(config, read).goals(config.until)
    if config.task is Task.difficulty:
        return difficulty_stages(config, surveyed_images(config, read(config.data)))
    return ()


def goal_keys(config: Config, read: SourceReader = build.source) -> frozenset[str]:
    """Keys under which a run counts as done: of its goals, on any kind of machine.

    A machine that hands out jobs need not have the GPUs of those that run them, so each precision
    that ``auto`` may come to gives a key. No key: the run is never done.

    Raises:
        UserError: the data are not what the configuration says.
        OSError: a file cannot be read.
    """
    found = (goals(variant, read) for variant in _variants(config))
    return frozenset(
        sha256_of([[stage.path for stage in stages], config.fail_if]) for stages in found if stages
    )


def _variants(config: Config) -> Iterator[Config]:
    trainer = config.trainer
    if trainer.precision != "auto":
        yield config
        return
    for precision in PRECISIONS:
        chosen = trainer.model_copy(update={"precision": precision})
        yield config.model_copy(update={"trainer": chosen})
