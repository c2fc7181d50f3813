"""``task=check``: check the data, and query the victim a few times, before an audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mia_lab.config.checks import check
from mia_lab.config.choices import Task
from mia_lab.config.schema import Config
from mia_lab.data.dataset import PairDataset
from mia_lab.data.source import all_ids
from mia_lab.errors import UserError, all_problems, noting
from mia_lab.evaluation.results import Check, Estimated, Gallery, VictimCheck
from mia_lab.hardware import cores
from mia_lab.reporting import check as report
from mia_lab.reporting.html import write_page
from mia_lab.stages.correspondence import CorrespondenceStage
from mia_lab.stages.graph import RunStages, answers_stage, stages_of
from mia_lab.stages.images import RunImages, pair_dataset, run_images
from mia_lab.stages.reconstructions import ReconstructionsStage
from mia_lab.stages.victim import ForeignVictim
from mia_lab.store import Stage, Store
from mia_lab.store.permissions import permitted
from mia_lab.store.software import software
from mia_lab.tasks import common, records
from mia_lab.tasks.command import Clock
from mia_lab.tasks.ending import end_run
from mia_lab.tasks.estimate import estimate
from mia_lab.tasks.goals import Sources
from mia_lab.tasks.inspection import inspect
from mia_lab.types import Role

SHOWN = 24
"""Pairs on the contact sheet."""

ANSWERS = 4
"""Answers that are shown."""

QUERIED = 32
"""Images that a victim is queried with."""


def run(config: Config, folder: Path, group: str) -> None:
    """Check the data and the victim of an audit, and write what was found to a folder.

    Args:
        config: a validated configuration.
        folder: the run's output folder; exists.
        group: unused; checks are not tracked.

    Raises:
        UserError: something would keep an audit from running; the report lists all of it.
    """
    torch.set_num_threads(cores())
    checked, sheet = _checked(config)
    pictures = common.public_pictures(config, report.draw(checked, sheet))
    report.write_files(checked, pictures, folder)
    sections, verdict = report.sentences(checked), report.verdict(checked)
    filled = {"found": checked, "verdict": verdict, "sections": sections, "pictures": pictures}
    page = write_page("check", filled, folder)
    print("\n".join(line for lines in sections.values() for line in lines))
    if not checked.obstacles:
        print(verdict)
    end_run(config, page, verdict)
    if checked.obstacles:
        raise UserError(f"{verdict.removesuffix('.')}; the report lists what to mend")


def _checked(config: Config) -> tuple[Check, Gallery | None]:
    """What is found, and the pairs of the contact sheet."""
    read, clock = Sources(), Clock()
    images: RunImages | None = None
    victim: VictimCheck | None = None
    with all_problems() as problems:
        source = read(config.data)
        with noting():
            images = run_images(config, source)
        # Where no roles can be assigned, all pairs are checked.
        dataset = images.dataset if images else pair_dataset(config.data, source, all_ids(source))
        rows = images.rows if images else {}
        with clock("images"):
            found = inspect(dataset, rows)
        problems += found.problems
        with noting():
            check(config.model_copy(update={"task": Task.audit}))
        broken = set(found.unreadable)
        readable = dataset.subset([i for i in dataset.ids if i not in broken])
        if readable.ids:
            with clock("victim"), noting():
                victim = _check_victim(config, images, readable, read, problems)
    roles = {image_id: row["role"] for image_id, row in rows.items()}
    checked = Check(
        name=config.name,
        problems=tuple(dict.fromkeys(problems)),
        roles=dict(Counter(map(str, roles.values()))),
        groups=len(set(images.groups.values())) if images else 0,
        dropped=images.dropped if images else (),
        inspection=found,
        passed_over=getattr(source, "passed_over", dict)(),
        matched_by=getattr(source, "matched_by", ""),
        duplicates=config.data.duplicates.value,
        victim=victim,
        timing_s=clock.seconds,
        record=records.common_record(config) | software(),
    )
    return checked, _sheet(readable, roles)


def _check_victim(
    config: Config,
    images: RunImages | None,
    readable: PairDataset,
    read: Sources,
    problems: Sequence[str],
) -> VictimCheck:
    """Check the stages of an audit of the pairs that can be read, and query the victim."""
    stages: RunStages | None = None
    if images:
        rows = {image_id: images.rows[image_id] for image_id in readable.ids}
        some = replace(images, dataset=readable, rows=rows)
        with noting():
            stages = stages_of(config, some, read)
    else:
        rows = {image_id: {"role": Role.CANDIDATE} for image_id in readable.ids}
        some = RunImages(readable, rows, (Role.CANDIDATE,))
    answers = stages.reconstructions if stages else answers_stage(config, some)
    goals: Sequence[Stage[Any]] = stages.goals(None) if stages else (answers,)
    root = Path(config.paths.store)
    with permitted(root), Store(root) as store:
        for stage in store.missing(*goals):
            with noting():
                stage.check()
        costs = () if problems or not stages else estimate(config, stages)
        if not isinstance(answers.victim, ForeignVictim):
            return VictimCheck(answers.victim.component.name, None, None, None, None, costs)
        return _ask(answers, costs, store)


def _ask(answers: ReconstructionsStage, costs: tuple[Estimated, ...], store: Store) -> VictimCheck:
    """Query the victim with a few images."""
    some = answers.images.spread(QUERIED)
    answers = replace(answers, images=some)
    found = store.result(answers)
    related = store.result(CorrespondenceStage(answers, some))
    repeated = answers.determinism and store.result(answers.determinism)
    shown = next(some.spread(ANSWERS).batches(ANSWERS))
    gallery = Gallery(
        ids=shown.ids,
        captions=tuple(f"error {error:.3f}" for error in found.mean_error(shown.ids)),
        x=shown.x.numpy(),
        y=shown.y.numpy(),
        reconstruction=np.stack([found.images[found.row(i)] for i in shown.ids]),
    )
    targets = next(some.batches(len(some))).y
    levels = tuple(
        (float(side.min()), float(side.max()), float(side.mean()))
        for side in (np.asarray(found.images), targets.numpy())
    )
    return VictimCheck(
        name=answers.victim.component.name,
        correspondence=related,
        determinism=str(repeated) if repeated else None,
        levels=(levels[0], levels[1]),
        gallery=gallery,
        costs=costs,
    )


def _sheet(readable: PairDataset, roles: Mapping[str, str]) -> Gallery | None:
    """Some pairs, evenly spread over the dataset."""
    if not readable.ids:
        return None
    pairs = [*readable.spread(SHOWN).batches(1)]
    ids = tuple(image_id for pair in pairs for image_id in pair.ids)
    x, y = (np.concatenate([getattr(pair, side).numpy() for pair in pairs]) for side in "xy")
    return Gallery(ids, tuple(roles.get(i, "") for i in ids), x, y, np.empty((0,), np.float32))
