"""The record of a run: what was run, with which software, as plain strings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mia_lab.config import build
from mia_lab.config.component import Component
from mia_lab.config.load import plain
from mia_lab.config.schema import Config
from mia_lab.data.traces import FILE
from mia_lab.parameters import described
from mia_lab.reporting.audit.words import duplicates
from mia_lab.stages.difficulty import DifficultyStage, ProbeDifficulty, side_by_side
from mia_lab.stages.graph import RunStages
from mia_lab.stages.probe import open_backbone
from mia_lab.stages.victim import TRANSPORT_FILE, ForeignVictim
from mia_lab.store import Stage, Store
from mia_lab.store.software import software
from mia_lab.types import DifficultyTable

UNNAMED = "custom"
"""The name of data that have no name of their own."""


def audit_record(config: Config, stages: RunStages, store: Store) -> dict[str, str]:
    """What an audit, or a scoring of candidates, has run."""
    data, images = config.data, stages.images
    record = {
        "protocol": data.protocol.value,
        "assignment": data.assignment.value,
        "data fingerprint": images.dataset.fingerprint,
        "victim": settings_line(stages.victim.component.arguments, stages.victim.component.name),
        "query": settings_line(plain(config.query)),
    }
    first = images.dataset.load(images.dataset.ids[0])
    record |= {"inputs": first.x.describe(), "targets": first.y.describe()}
    channels = {images.dataset.x_channels, images.dataset.out_channels}
    if channels - {1, 3}:
        record["backbone channels"] = "by timm's rule for in_chans, of weights for RGB"
    if data.group_by:
        record["groups"] = data.group_by
    checked = store.result(stages.split)
    if identical := " ".join(duplicates(checked.split)):
        record["identical pairs"] = identical
    if images.dropped:
        record["left out, identical to another role"] = ", ".join(images.dropped)
    if checked.doubts:
        record["doubts"] = "; ".join(checked.doubts)
    if not images.dataset.files(images.dataset.ids[0]):
        record["blind baselines left out"] = f"{FILE}, which needs files"
    if matched_by := getattr(images.dataset.source, "matched_by", ""):
        record["partners matched by"] = matched_by
    if data.ignore_label is not None:
        record["void pixels"] = f"label {data.ignore_label}, a class of its own, black in pictures"
    if encoding := images.dataset.encoding:
        boundaries = "with" if encoding.boundaries else "without"
        void = "" if data.ignore_label is None else " (the last for void pixels)"
        classes = f"{len(encoding.palette)} classes{void}"
        line = f"one-hot, {classes}, {boundaries} boundaries of instances"
        residuals = checked.label_residuals.values()
        record["labels"] = f"{line}; {_residuals_line(list(residuals))}"
    if (defense := build.defense(config)) is not None:
        record["defense"] = settings_line(defense.arguments, defense.name)
    for name, attack in build.attacks(config).items():
        record[f"attack {name}"] = settings_line(attack.arguments) or "no settings"
    keys: list[Stage[Any]] = [stages.split, stages.victim, stages.reconstructions]
    record |= {f"stage {stage.name}": stage.key for stage in keys}
    if stages.verdict is not None:
        record[f"stage {stages.verdict.name}"] = stages.verdict.key
    goals = [stages.reconstructions] if stages.verdict is None else [stages.verdict]
    record |= common_record(config) | software_record(store, goals)
    if isinstance(stages.victim, ForeignVictim):
        record |= json.loads((store.folder(stages.victim) / TRANSPORT_FILE).read_text())
    if (again := stages.reconstructions.determinism) is not None:
        record["determinism"] = str(store.result(again))
    record |= difficulty_record(config, stages.attack.difficulty)
    table = side_by_side([store.result(stage) for stage in stages.attack.difficulty])
    return record | solver_record(table)


def difficulty_record(config: Config, stages: Sequence[DifficultyStage]) -> dict[str, str]:
    """The networks, with the source and the licence of their weights, and the stages' keys."""
    components = [build.backbone(config)]
    settings = [stage.undivided for stage in stages]
    components += [s.features.probe.backbone for s in settings if isinstance(s, ProbeDifficulty)]
    networks = {c.arguments["name"] + str(c.fingerprint()): c for c in components}
    record: dict[str, str] = {}
    for number, component in enumerate(networks.values(), start=1):
        name = "backbone" if number == 1 else f"backbone {number}"
        described = open_backbone(component, config.trainer.accelerator).describe()
        record |= {f"{name} {key}": value for key, value in described.items()}
    for number, stage in enumerate(stages, start=1):
        name = "stage difficulty" if number == 1 else f"stage difficulty {number}"
        record[name] = stage.key
    return record


def common_record(config: Config) -> dict[str, str]:
    """What every task that computes has in common."""
    data = config.data
    name = "" if data.name == UNNAMED else f" {data.name}"
    return {
        "seed": str(config.seed),
        "data": f"{data.source}{name}, {described(data.image_size)}",
        "difficulty": settings_line(build.difficulty_settings(config)),
    }


def software_record(store: Store, goals: Sequence[Stage[Any]]) -> dict[str, str]:
    """The commit and the versions of this process, and those that computed stages earlier.

    A stage that was read from the store may have been computed by other software than is installed
    now. The key ``computed earlier`` names these stages with what differs; it is missing where
    nothing does.
    """
    now = software()
    stages: dict[str, Stage[Any]] = {}
    waiting = [*goals]
    while waiting:
        stage = waiting.pop()
        if stage.path not in stages:
            stages[stage.path] = stage
            waiting.extend(stage.upstream_stages())
    names: dict[str, Counter[str]] = {}
    for stage in stages.values():
        then = store.software(stage)
        if then is not None and then != now:
            items = dict.fromkeys([*now, *then])
            differing = [f"{k} {then.get(k, 'none')}" for k in items if now.get(k) != then.get(k)]
            names.setdefault(", ".join(differing), Counter())[stage.name] += 1
    lines = [
        f"{', '.join(name if n == 1 else f'{n} {name}' for name, n in sorted(found.items()))}: "
        f"{differing}"
        for differing, found in sorted(names.items())
    ]
    return now | ({"computed earlier": "; ".join(lines)} if lines else {})


def solver_record(table: DifficultyTable) -> dict[str, str]:
    """The penalty or rank that the probe came to, where the setting does not state it."""
    used, name = {"auto": (table.penalty, "penalty chosen"), "0": (table.rank, "rank")}.get(
        str(table.ridge[0]), (None, "")
    )
    if used is None:
        return {}
    low, middle, high = (f"{v:.4g}" for v in np.quantile(used[:, 0], (0, 0.5, 1)))
    return {f"difficulty {name}": f"median {middle}, from {low} to {high}"}


def settings_line(settings: Mapping[str, Any], name: str = "") -> str:
    """Settings of one component on one line."""
    items = {"name": name, **settings} if name else settings
    return ", ".join(f"{k}={_shown(v)}" for k, v in items.items() if k[0] != "_")


def _shown(value: Any) -> Any:
    return value.name if isinstance(value, Component) else value


def _residuals_line(residuals: Iterable[float]) -> str:
    """How far the colours of the inputs were from the palette's."""
    found = [*residuals]
    if not any(found):
        return "classes known, or of exactly the palette's colours"
    mean = sum(found) / len(found)
    return f"colours {mean:.2f} levels from the palette's, at most {max(found):.2f}"
