"""What makes a run done: the stages that it ends in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mia_lab.config import build
from mia_lab.config.choices import Task
from mia_lab.config.schema import Config
from mia_lab.stages.graph import difficulty_stages, run_stages
from mia_lab.store import Stage, sha256_of
from mia_lab.tasks.difficulty import surveyed_images

PRECISIONS = ("32-true", "bf16-mixed")
"""What ``trainer.precision=auto`` may come to on some machine."""


def goals(config: Config) -> tuple[Stage[Any], ...]:
    """The stages that a run ends in; empty for a task that reads what other runs have left."""
    if config.task in (Task.audit, Task.score):
        return run_stages(config).goals(config.until)
    if config.task is Task.difficulty:
        return difficulty_stages(config, surveyed_images(config, build.source(config.data)))
    return ()


def goal_keys(config: Config) -> frozenset[str]:
    """Keys under which a run counts as done: of its goals, on any kind of machine.

    A machine that hands out jobs need not have the GPUs of those that run them, so each precision
    that ``auto`` may come to gives a key. No key: the run is never done.

    Raises:
        UserError: the data are not what the configuration says.
        OSError: a file cannot be read.
    """
    found = (goals(variant) for variant in _variants(config))
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
