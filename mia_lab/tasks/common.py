"""What tasks share: the store of a run, and what it shows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from mia_lab.attacks.evidence import Evidence
from mia_lab.config.choices import Until
from mia_lab.config.load import as_yaml
from mia_lab.config.schema import Config
from mia_lab.data.manifest import write_manifest
from mia_lab.evaluation.results import Gallery
from mia_lab.hardware import cores
from mia_lab.reporting.audit import words
from mia_lab.reporting.canvas import Picture
from mia_lab.stages.graph import RunStages
from mia_lab.store import Stage, Store
from mia_lab.store.disk import write_file
from mia_lab.store.permissions import permitted

log = logging.getLogger(__name__)


@contextmanager
def started(config: Config, folder: Path, goals: Sequence[Stage[Any]]) -> Iterator[Store]:
    """Open the store of a run, after checking that this machine can compute missing stages.

    Args:
        config: the configuration; the run's folder gets a copy.
        folder: the run's output folder; exists.
        goals: what will be computed.

    Raises:
        UserError: a network, a layer or a device is not there, or a file of the store may not be
            read.
    """
    torch.set_num_threads(cores())
    root = Path(config.paths.store)
    with permitted(root), Store(root) as store:
        for stage in store.missing(*goals):
            stage.check()
        write_file(folder / "config.yaml", as_yaml(config))
        yield store


def checked_split(stages: RunStages, store: Store, folder: Path) -> None:
    """Decode all images, and write their roles to ``split.csv`` in the run's folder."""
    checked = store.result(stages.split)
    images = stages.images
    path, prompts = folder / "split.csv", images.dataset.prompts
    write_manifest(path, checked.split, images.listed, prompts, images.collections)
    for sentence in (*words.duplicates(checked.split, stages.images.dropped), *checked.doubts):
        log.warning("%s", sentence)


def announce_queries(stages: RunStages, store: Store) -> None:
    """Say what further answers cost, before the victim is queried."""
    answers = [stages.reconstructions, *stages.attack.repeats]
    if len(answers) > 1 and (missing := [stage for stage in answers if not store.has(stage)]):
        n = len(stages.images.scored)
        log.info(
            "query.repeats=%d: %d answers to each of %d images, %d of them stored; %d queries",
            *(len(answers), len(answers), n, len(answers) - len(missing), len(missing) * n),
        )


def timing(store: Store) -> dict[str, float]:
    """Seconds spent on each stage in this run, by its name."""
    return {name: round(seconds, 3) for name, seconds in store.seconds.items()}


def stopped(config: Config) -> None:
    """Say that the run ends where ``until`` told it to."""
    assert config.until is not None
    log.info("until=%s: stopped; results are in %s", config.until.value, config.paths.store)


def is_sweep_point() -> bool:
    """Whether this run is a point of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def wants_pictures(config: Config) -> bool:
    """Whether an audit draws figures and writes a page; points of a sweep do not by default."""
    if config.until is Until.attacks:
        return False
    if config.report.pictures is not None:
        return config.report.pictures
    return not is_sweep_point()


def public_pictures(config: Config, pictures: Iterable[Picture]) -> tuple[Picture, ...]:
    """The pictures that a report may show: without those of the data if it says so."""
    return tuple(p for p in pictures if config.report.images or not p.private)


def gallery(evidence: Evidence, ids: Sequence[str], captions: Sequence[str]) -> Gallery:
    """Some images with the victim's answers.

    Raises:
        KeyError: the victim was never queried with one of the ids.
    """
    batches, answers = list(evidence.pairs(ids)), evidence.reconstructions
    return Gallery(
        ids=tuple(ids),
        captions=tuple(captions),
        x=np.concatenate([batch.x.numpy() for batch in batches]),
        y=np.concatenate([batch.y.numpy() for batch in batches]),
        reconstruction=np.stack([answers.images[answers.row(i)] for i in ids]),
        others=evidence.drawn(ids)[1:].swapaxes(0, 1) if evidence.repeats else None,
    )
