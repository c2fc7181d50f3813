"""The type and the range of every key that belongs to no component; values live in ``conf/``.

Components (victims, difficulties, defences, attacks, backbones, sources of data) stay plain
mappings here: the signature of their target is their schema, see :mod:`mia_lab.config.component`.
"""

from __future__ import annotations

from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Lt, MinLen
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from mia_lab.config.choices import (
    Assignment,
    CanaryAction,
    CanaryKind,
    CanaryPattern,
    CanaryScore,
    Combination,
    Direction,
    Duplicates,
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
from mia_lab.parameters import (
    BelowOne,
    ImageSize,
    NonNegative,
    NonNegativeInt,
    OpenUnitInterval,
    Palette,
    PathName,
    Positive,
    PositiveInt,
    Side,
    Text,
    ValueRanges,
    Weight,
)
from mia_lab.types import Layer

Node = dict[str, Any]
"""A component: ``_target_`` and the arguments of what that names."""

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Section(BaseModel):
    """Keys that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Paths(Section):
    """Folders; none of them is part of a result's identity."""

    data: PathName | None
    outputs: PathName
    store: PathName


class Scale(Section):
    """Scalars that data and victims read, so that one choice sizes everything."""

    name: Text
    source: Text
    image_size: ImageSize
    n_members: PositiveInt | None
    n_nonmembers: PositiveInt | None
    n_auxiliary: NonNegativeInt | None
    width: PositiveInt
    discriminator_width: PositiveInt
    n_downsamplings: PositiveInt
    n_blocks: PositiveInt
    perceptual: Text
    epochs: PositiveInt
    batch_size: PositiveInt
    load_scale: Positive
    flip: bool
    threads: PositiveInt


class Data(Section):
    """A dataset and its split."""

    name: Text
    source: Text
    sources: dict[str, Node]
    style: Text | None
    root: PathName | None
    layout: Layout
    direction: Direction
    train: Text
    test: Text
    input_dir: PathName | None
    target_dir: PathName | None
    match: Text | None
    input_encoding: InputEncoding
    palette: Palette | None
    ignore_label: int | None
    instances: bool
    image_size: ImageSize
    resize: Literal["squash", "fit", "crop"]
    value_range: ValueRanges | None
    input_channels: PositiveInt | None
    target_channels: PositiveInt | None
    alpha: Text
    exif: Literal["refuse", "apply"]
    page: NonNegativeInt | None
    max_megapixels: Positive
    protocol: Protocol
    manifest: PathName | None
    assignment: Assignment
    duplicates: Duplicates
    group_by: Text | None
    n_members: PositiveInt | None
    n_nonmembers: PositiveInt | None
    n_auxiliary: NonNegativeInt | None


class Query(Section):
    """How the victim is queried."""

    mode: QueryMode
    batch_size: PositiveInt
    repeats: PositiveInt


class Grid(Section):
    """Further settings of the difficulty score; all combinations are evaluated in one run."""

    layers: list[Annotated[list[Layer], MinLen(1)]]
    ridge: list[NonNegative | Literal["auto"]]
    alpha: list[Weight]
    features_from: list[Side]
    backbone: list[Any]


class Attack(Section):
    """Which attacks run, and what there is to choose from."""

    names: list[Text]
    alpha: Weight
    available: dict[str, Node]


class Reference(Section):
    """Victims that the attacker trains to compare with."""

    count: Annotated[int, Ge(2)]
    pool: ReferencePool
    data: Data | None
    victim: Node | None
    only: NonNegativeInt | None


class Trainer(Section):
    """Hardware, in Lightning's words."""

    accelerator: Literal["auto", "cpu", "gpu"]
    strategy: Literal["auto", "ddp"]
    devices: PositiveInt
    precision: Precision
    threads: PositiveInt
    workers: NonNegativeInt | None
    compile: bool
    checkpoint_every_s: NonNegative


class Tracking(Section):
    """Weights & Biases."""

    mode: TrackingMode
    project: Text
    group: Text | None
    images: bool
    dashboard: bool


class Evaluation(Section):
    """How an audit is evaluated."""

    permutations: Annotated[int, Ge(20)]  # with fewer, no p-value could be below 0.05
    fprs: Annotated[list[OpenUnitInterval], MinLen(1)]
    priors: Annotated[list[OpenUnitInterval], MinLen(1)]
    guesses: Annotated[int, Ge(2)] | Literal["split", "bonferroni"] | None
    delta: BelowOne
    utility: bool | None
    adjust: bool | None


class Report(Section):
    """What the report shows."""

    images: bool
    pictures: bool | None


class CompareTask(Section):
    """What ``task=compare`` compares."""

    runs: list[PathName]


class CollectTask(Section):
    """What ``task=collect`` collects, and what it shows of it."""

    dir: PathName | None
    pictures: bool


class StoreTask(Section):
    """What ``task=store`` lists, verifies or prunes."""

    action: StoreAction
    stage: Text | None
    state: StoreState | None
    older_than_days: NonNegative | None
    max_gb: NonNegative | None
    dry_run: bool


class ScoreTask(Section):
    """How ``task=score`` decides."""

    fpr: OpenUnitInterval


class DatasetInferenceTask(Section):
    """What ``task=dataset_inference`` tests."""

    by: Literal["scores", "features"]
    attack: Text | None


class CanaryTask(Section):
    """How ``task=canary`` draws and tests canaries."""

    action: CanaryAction
    folder: PathName
    folders: list[PathName]
    input: PathName | None
    target: PathName | None
    variants: PathName | None
    kind: CanaryKind
    pattern: CanaryPattern
    strength: Annotated[float, Gt(0), Lt(0.5)]
    k: PositiveInt
    score: CanaryScore
    combine: Combination
    planned: PositiveInt


class Config(Section):
    """Everything; see ``conf/config.yaml`` for what each key means."""

    task: Task
    until: Until | None
    name: Text
    seed: int
    demo_epochs: PositiveInt
    paths: Paths
    scale: Scale
    data: Data
    victim: Node
    defense: Node
    query: Query
    backbone: Node
    difficulty: Node
    attack: Attack
    reference: Reference
    trainer: Trainer
    tracking: Tracking
    evaluation: Evaluation
    report: Report
    compare: CompareTask
    collect: CollectTask
    score: ScoreTask
    dataset_inference: DatasetInferenceTask
    canary: CanaryTask
    fail_if: Text | None
    store: StoreTask


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds, perhaps an optional one."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def is_text(key: str) -> bool:
    """Whether the value of a key is any text, or null. Keys of components are not known here."""
    section: type[BaseModel] | None = Config
    *parents, name = key.split(".")
    for parent in parents:
        field = section.model_fields.get(parent) if section else None
        section = section_of(field) if field else None
    field = section.model_fields.get(name) if section else None
    return field is not None and _kinds(field.annotation) <= {str, NoneType}


def _kinds(annotation: Any) -> set[Any]:
    """The types of a union, without what is annotated to them."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    parts = get_args(annotation)
    is_union = NoneType in parts
    return {kind for part in parts for kind in _kinds(part)} if is_union else {annotation}
