"""How long an audit will take, and what it will store, measured on a few images."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mia_lab.config import build
from mia_lab.config.schema import Config
from mia_lab.evaluation.results import Estimated
from mia_lab.stages.difficulty import ProbeDifficulty
from mia_lab.stages.graph import RunStages, undivided_stages
from mia_lab.stages.victim import ForeignVictim, TrainedVictim
from mia_lab.store import Stage, Store
from mia_lab.types import ADAPTIVE
from mia_lab.victims.blackbox import RecordedAnswers, Victim
from mia_lab.victims.query import Questioner

log = logging.getLogger(__name__)

FEW, MORE = 2, 10
"""Images, or batches of a training, of two measurements. Their difference counts: what is done
once, such as to load a network, is in both. A first measurement does not count, because it takes
longer."""


def estimate(config: Config, stages: RunStages) -> tuple[Estimated, ...]:
    """The costly parts of an audit as configured, on this machine, as if nothing were stored."""
    log.info("estimating the costs of an audit on a few images")
    parts = [_queries(config, stages)]
    if isinstance(stages.victim, TrainedVictim):
        parts.insert(0, _training(config, stages.victim))
    for stage in stages.attack.difficulty[:1]:
        if isinstance(stage.undivided, ProbeDifficulty):
            parts.append(_difficulty(config, stages, stage.undivided))
    return tuple(parts)


def _training(config: Config, victim: TrainedVictim) -> Estimated:
    """The victim, and as many reference models as the attacks need."""
    arguments, ids = victim.component.arguments, victim.training_set.ids
    once = {"epochs": 1, "keep_epochs": [], "epoch": None}
    component = victim.component.replace(**{k: v for k, v in once.items() if k in arguments})
    size = int(arguments["batch_size"])

    def some(batches: int) -> Stage[Any]:
        chosen = victim.training_set.subset([ids[i % len(ids)] for i in range(batches * size)])
        return replace(victim, component=component, training_set=chosen, on_epoch=None)

    seconds, stored = _slope(some)
    models = 1 + (config.reference.count if build.needs(config).references else 0)
    steps = models * int(arguments["epochs"]) * -(-len(ids) // size)
    return Estimated("training", seconds * steps, stored * models)


def _queries(config: Config, stages: RunStages) -> Estimated:
    needs, scored = build.needs(config), stages.images.scored
    # What is computed: one attacker's queries are fewer, see queries_per_image().
    queries = config.query.repeats + len([name for name in needs.altered if name != ADAPTIVE])
    queries += needs.averaged if ADAPTIVE in needs.altered else 0
    batch = next(scored.batches(config.query.batch_size))
    stored = 4 * batch.y[0].numel() * len(scored) * config.query.repeats
    victim = stages.victim
    if isinstance(victim, TrainedVictim):  # any weights take as long
        box: Victim = victim.untrained(config.trainer.accelerator)
    else:
        assert isinstance(victim, ForeignVictim)
        box = victim.victim
    if isinstance(box, RecordedAnswers) or getattr(box, "costly", False):
        return Estimated("queries", None, stored)
    ask = Questioner(box, config.seed)
    ask(batch)  # the first one takes longer
    start = time.perf_counter()
    ask(batch)
    seconds = (time.perf_counter() - start) / len(batch)
    return Estimated("queries", seconds * queries * len(scored), stored)


def _difficulty(config: Config, stages: RunStages, stage: ProbeDifficulty) -> Estimated:
    scored = stages.images.scored

    def some(n: int) -> Stage[Any]:
        return undivided_stages(config, scored.subset(scored.ids[:n]))[0]

    seconds, _ = _slope(some)
    most = 1e9 * float(config.difficulty.get("keep_gb", 0.0))
    return Estimated("difficulty", seconds * len(scored), int(min(stage.features.size, most)))


def _slope(some: Callable[[int], Stage[Any]]) -> tuple[float, int]:
    """Seconds that one more image or batch takes, and the bytes of a result."""
    spent, size = [], 0
    for n in (FEW, FEW, MORE):
        stage = some(n)
        with tempfile.TemporaryDirectory(prefix="mia_lab-") as folder, Store(Path(folder)) as store:
            start = time.perf_counter()
            result = store.folder(stage)
            spent.append(time.perf_counter() - start)
            size = sum(path.stat().st_size for path in result.rglob("*") if path.is_file())
    return max(0.0, (spent[2] - spent[1]) / (MORE - FEW)), size
