"""What a configuration comes to, remembered: its stages under their keys.

Some keys are known only once the networks are built, which takes longer than all else that a job
of a sweep has to do. So the first job that builds them writes down what it found, in the store,
under everything that it follows from: settings, data, this package's code, the libraries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mia_lab.config import build
from mia_lab.config.load import plain
from mia_lab.config.schema import Config
from mia_lab.store import Stage, Store, file_sha256

PLAN_VERSION = 1
LIBRARIES = (
    *("torch", "torchvision", "pytorch-lightning", "timm", "onnxruntime"),
    *("numpy", "scipy", "scikit-learn", "pillow"),
)
"""Whose versions may change a number."""

FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """The stages of one configuration that take a look at networks to be named.

    Attributes:
        stages: by name; of difficulties, one for each backbone and side, the configured one first.
        record: what there is to say about the networks, as plain strings.
    """

    stages: Mapping[str, tuple[Stage, ...]]
    record: Mapping[str, str]

    def stage(self, name: str) -> Stage:
        """The only stage of a name, or the first."""
        return self.stages[name][0]

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        stages = {name: [_declared(s) for s in found] for name, found in self.stages.items()}
        (folder / FILE).write_text(json.dumps({"stages": stages, "record": dict(self.record)}))

    def __or__(self, other: Plan) -> Plan:
        return Plan({**self.stages, **other.stages}, {**self.record, **other.record})

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read what :meth:`save` wrote."""
        content = json.loads((folder / FILE).read_text())
        stages = {
            name: tuple(Stage(**declared) for declared in found)
            for name, found in content["stages"].items()
        }
        return cls(stages, content["record"])


def remembered(store: Store, inputs: Mapping[str, Any], make: Callable[[], Plan]) -> Plan:
    """A plan from the store, or made now.

    Args:
        store: where it is kept.
        inputs: what it follows from, besides code and libraries.
        make: builds what has to be looked at.
    """
    stage = Stage("plan", PLAN_VERSION, {**inputs, **software()})
    return Plan.load(store.remember(stage, lambda folder: make().save(folder)))


def difficulty_identity(config: Config) -> dict[str, Any]:
    """Settings of the difficulty and of its backbones, with the content of files they name."""
    settings = plain(config.difficulty)
    for key in ("batch_size", "keep_gb"):  # change no number
        settings.pop(key, None)
    grid = {key: value for key, value in settings.get("grid", {}).items() if key != "alpha"}
    others = [backbone_identity(build.backbone(node)) for node in grid.pop("backbone", [])]
    return {
        "difficulty": build.identity({**settings, "grid": {**grid, "backbone": others}}),
        "backbone": backbone_identity(plain(config.backbone)),
    }


def backbone_identity(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a backbone, with the content of its weights and the source of a foreign class."""
    weights = Path(str(settings["weights"]))
    content = {"weights": file_sha256(weights)} if weights.is_file() else {}
    return {**build.identity(settings), "name": settings["name"], **content}


def software() -> dict[str, Any]:
    """What settings are read by: this package's code, and the libraries."""
    return {"code": code_sha256(), "libraries": libraries()}


@cache
def libraries() -> dict[str, str]:
    """Versions of the libraries that compute; "" of one that is not installed."""
    return {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@cache
def code_sha256() -> str:
    """Of this package's source code."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\t{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _declared(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "version": stage.version,
        "inputs": dict(stage.inputs),
        "resumable": stage.resumable,
    }
