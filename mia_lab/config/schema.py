"""The type of every configuration key. Values live in ``conf/``; unknown keys do not compose.

Groups with interchangeable members (victims, difficulty scores) have one dataclass a member, which
the member's file names first in its defaults list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from mia_lab.config.choices import (
    Assignment,
    Direction,
    InputEncoding,
    Layout,
    Protocol,
    QueryMode,
    ReferencePool,
    StoreAction,
    StoreState,
    Task,
    TrackingMode,
    Until,
)
from mia_lab.config.defenses import DEFENSES
from mia_lab.config.difficulties import DIFFICULTIES
from mia_lab.config.victims import VICTIMS


@dataclass
class Paths:
    """Folders; none of them is part of a result's identity."""

    data: str | None = MISSING
    outputs: str = MISSING
    store: str = MISSING


@dataclass
class Scale:
    """Scalars that data and victims read, so that one choice sizes everything."""

    name: str = MISSING
    source: str = MISSING
    image_size: int = MISSING
    n_members: int | None = MISSING
    n_nonmembers: int | None = MISSING
    n_auxiliary: int | None = MISSING
    width: int = MISSING
    discriminator_width: int = MISSING
    n_downsamplings: int = MISSING
    n_blocks: int = MISSING
    perceptual: str = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    load_scale: float = MISSING
    flip: bool = MISSING


@dataclass
class Data:
    """A dataset and its split."""

    name: str = MISSING
    source: str = MISSING
    sources: dict[str, Any] = field(default_factory=dict)
    style: str | None = None
    root: str | None = None
    layout: Layout = Layout.side_by_side
    direction: Direction = Direction.AtoB
    train: str = "train"
    test: str = "test"
    input_encoding: InputEncoding = InputEncoding.rgb
    palette: list[list[int]] | None = None
    instances: bool = True
    image_size: int = MISSING
    protocol: Protocol = Protocol.resplit
    manifest: str | None = None
    assignment: Assignment = Assignment.fixed
    group_by: str | None = None
    n_members: int | None = MISSING
    n_nonmembers: int | None = MISSING
    n_auxiliary: int | None = MISSING


@dataclass
class Query:
    """How the victim is asked."""

    mode: QueryMode = QueryMode.eval
    batch_size: int = 16
    repeats: int = 16


@dataclass
class Backbone:
    """The network whose features the difficulty score reads."""

    _target_: str = MISSING
    name: str = MISSING
    weights: str = MISSING


@dataclass
class Attack:
    """Which attacks run, and what there is to choose from."""

    names: list[str] = MISSING
    alpha: float = MISSING
    available: dict[str, Any] = field(default_factory=dict)


@dataclass
class Reference:
    """Victims that the attacker trains to compare with."""

    count: int = MISSING
    pool: ReferencePool = MISSING
    data: Data | None = None
    victim: Any = None
    only: int | None = None


@dataclass
class Trainer:
    """Hardware, in Lightning's words."""

    accelerator: str = MISSING
    strategy: str = MISSING
    devices: int = MISSING
    precision: str = MISSING
    threads: int = MISSING
    workers: int | None = None
    compile: bool = MISSING
    checkpoint_every_s: float = MISSING


@dataclass
class Tracking:
    """Weights & Biases."""

    mode: TrackingMode = MISSING
    project: str = MISSING
    group: str | None = None
    images: bool | None = None
    dashboard: bool = True


@dataclass
class Evaluation:
    """How an audit is judged."""

    permutations: int = MISSING
    guesses: int | None = None
    delta: float = MISSING
    utility: bool | None = None


@dataclass
class Report:
    """What the report shows."""

    images: bool = True
    pictures: bool | None = None


@dataclass
class CompareTask:
    """What ``task=compare`` compares."""

    runs: list[str] = field(default_factory=list)


@dataclass
class CollectTask:
    """What ``task=collect`` collects, and what it shows of it."""

    dir: str | None = None
    pictures: bool = False


@dataclass
class StoreTask:
    """What ``task=store`` lists, verifies or prunes."""

    action: StoreAction = StoreAction.list
    stage: str | None = None
    state: StoreState | None = None
    older_than_days: float | None = None
    max_gb: float | None = None
    dry_run: bool = False


@dataclass
class ScoreTask:
    """How ``task=score`` decides."""

    fpr: float = 0.05


@dataclass
class Config:
    """Everything; see ``conf/config.yaml`` for what each key means."""

    task: Task = Task.audit
    until: Until | None = None
    name: str = MISSING
    seed: int = MISSING
    demo_epochs: int = MISSING
    paths: Paths = field(default_factory=Paths)
    scale: Scale = field(default_factory=Scale)
    data: Data = field(default_factory=Data)
    victim: Any = MISSING
    defense: Any = MISSING
    query: Query = field(default_factory=Query)
    backbone: Backbone = field(default_factory=Backbone)
    difficulty: Any = MISSING
    attack: Attack = field(default_factory=Attack)
    reference: Reference = field(default_factory=Reference)
    trainer: Trainer = field(default_factory=Trainer)
    tracking: Tracking = field(default_factory=Tracking)
    evaluation: Evaluation = field(default_factory=Evaluation)
    report: Report = field(default_factory=Report)
    compare: CompareTask = field(default_factory=CompareTask)
    collect: CollectTask = field(default_factory=CollectTask)
    score: ScoreTask = field(default_factory=ScoreTask)
    fail_if: str | None = None
    store: StoreTask = field(default_factory=StoreTask)


def register() -> None:
    """Make the schema known to Hydra; call before composing."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for victim in VICTIMS:
        store.store(group="schema/victim", name=victim.__name__.lower(), node=victim)
    for name, defense in DEFENSES.items():
        store.store(group="schema/defense", name=name, node=defense)
    for name, difficulty in DIFFICULTIES.items():
        store.store(group="schema/difficulty", name=name, node=difficulty)
