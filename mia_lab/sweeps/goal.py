"""When a point of a sweep is done: the keys of the results that its run ends in.

Nothing else in the sweeps knows what a result depends on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from mia_lab.config import build
from mia_lab.config.choices import Task
from mia_lab.config.resolved import plain
from mia_lab.config.schema import Config, Data
from mia_lab.data.source import PairSource, all_ids
from mia_lab.stages.plan import difficulty_identity, software
from mia_lab.stages.roles import assign_roles
from mia_lab.store import canonical_json, file_sha256

ALWAYS_RUN = {Task.collect, Task.compare, Task.export, Task.store}
"""Tasks that read what other runs left, or write elsewhere: they run again each time."""


@dataclass
class Sources:
    """The datasets of a sweep's points: each is read once, however many points use it."""

    _known: dict[str, PairSource] = field(default_factory=dict)

    def of(self, data: Data) -> PairSource:
        """The dataset that the settings describe.

        Raises:
            UserError: the data are not what the settings say.
        """
        settings = canonical_json(plain(data))
        if settings not in self._known:
            self._known[settings] = build.source(data)
        return self._known[settings]


def goal_keys(config: Config, sources: Sources | None = None) -> frozenset[str]:
    """Keys of the results of which any one makes a point done; empty: the point always runs.

    What is ``auto`` counts as such: the machine that submits jobs need not be like theirs.

    Args:
        config: of the point, checked.
        sources: datasets that points share; default: read now.

    Raises:
        UserError: the data are not what the configuration says.
        OSError: a file cannot be read.
    """
    if config.task in ALWAYS_RUN:
        return frozenset()
    sources = Sources() if sources is None else sources
    source = sources.of(config.data)
    roles = {} if config.task is Task.difficulty else assign_roles(config, source)
    settings = plain(config)
    for elsewhere in ("paths", "name"):
        settings.pop(elsewhere)
    inputs = {
        "config": settings,
        "victim": build.identity(config.victim),
        "attacks": [build.identity(config.attack.available[n]) for n in config.attack.names],
        **difficulty_identity(config),
        "roles": roles,
        "data": source.fingerprint(sorted(roles) or all_ids(source)),
        "reference data": _reference_fingerprint(config, sources),
        "manifest": _file_sha256(config.data.manifest),
        **software(),
    }
    digest = hashlib.sha256(canonical_json(inputs).encode()).hexdigest()
    return frozenset({f"{config.task.value}/{digest}"})


def _reference_fingerprint(config: Config, sources: Sources) -> str | None:
    """Content of the images that only reference victims see."""
    if config.reference.data is None:
        return None
    source = sources.of(config.reference.data)
    return source.fingerprint(source.ids("train"))


def _file_sha256(file: str | None) -> str | None:
    """None also for a missing file, which the run reports."""
    return file_sha256(Path(file)) if file and Path(file).is_file() else None
