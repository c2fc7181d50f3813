"""``metrics.json`` of an audit: its content as a model, written, read, and described by a schema.

``python -m mia_lab.evaluation.metrics_file`` prints the JSON schema that is committed as
``mia_lab/reporting/metrics.schema.json``.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from annotated_types import Ge, Len
from pydantic import (
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mia_lab.errors import UserError
from mia_lab.evaluation import metrics
from mia_lab.evaluation.results import (
    Adjustment,
    AlphaCurve,
    AnswersCurve,
    AuditReport,
    Blind,
    Comparison,
    Correspondence,
    Count,
    EpsilonBounds,
    Estimate,
    Evaluation,
    Gate,
    GridPoint,
    Hindsight,
    Interval,
    Knowledge,
    Measured,
    OperatingPoint,
    Overfitting,
    Share,
    Slice,
    TruePositiveRate,
    Utility,
    Verdict,
)
from mia_lab.types import PrivacyClaim

SCHEMA: Final = "mia_lab metrics 3"
"""Changes with every change of the content that a reader would notice."""

CONFIGURED_NOTE = "configured"
BEST_NOTE = "best, chosen in hindsight"

_INTERVAL = "_ci95"


@dataclass(frozen=True)
class FlatMetrics:
    """Stores the field ``metrics`` of a dataclass as keys of the dataclass itself.

    A number becomes ``"<name>": value``, an estimate ``"<name>": value`` and ``"<name>_ci95": [low,
    high]``, rates by false positive rate ``"<name>": {"<rate>": {"value": value, "ci95": [low,
    high], ...}}``.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        declared = {field.name for field in fields(source)}
        return core_schema.no_info_before_validator_function(
            lambda content: _nested(content, declared),
            handler(source),
            serialization=core_schema.wrap_serializer_function_ser_schema(_flattened),
        )


def _flattened(value: Any, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
    content: dict[str, Any] = serialize(value)
    flat: dict[str, Any] = {}
    for name, measured in content.pop("metrics").items():
        if isinstance(measured, Mapping) and measured.keys() == {"value", "ci95"}:
            flat[name], flat[f"{name}{_INTERVAL}"] = measured["value"], measured["ci95"]
        else:
            flat[name] = measured
    return flat | content


def _nested(content: Any, declared: set[str]) -> Any:
    if not isinstance(content, Mapping):
        return content
    if not content.keys() >= {"auc", f"auc{_INTERVAL}", "tpr_at_fpr"}:
        raise ValueError("no AUC with its interval, or no true positive rates")
    rest = {name: value for name, value in content.items() if name in declared}
    measured = {name: value for name, value in content.items() if name not in declared}
    for name in [*measured]:
        if f"{name}{_INTERVAL}" in measured:
            ci95 = measured.pop(f"{name}{_INTERVAL}")
            measured[name] = {"value": measured[name], "ci95": ci95}
    _check_forms(measured)
    return {**rest, "metrics": measured}


def _check_forms(measured: Mapping[str, Any]) -> None:
    """Refuse a metric with an interval that has none, and the like."""
    for metric in metrics.METRICS:
        if metric.name not in measured:  # written before there was this metric
            continue
        found = measured[metric.name]
        if metric.by_fpr:
            is_right = isinstance(found, Mapping) and all(
                rate is None or (isinstance(rate, Mapping) and "realised_fpr" in rate)
                for rate in found.values()
            )
        elif metric.has_interval:
            is_right = found is None or (isinstance(found, Mapping) and "ci95" in found)
        else:
            is_right = not isinstance(found, Mapping)
        if not is_right:
            raise ValueError(f"the metric {metric.name} is of another form")


@dataclass(frozen=True, kw_only=True)
class AttackMetrics:
    """One attack.

    Attributes:
        auc_bootstrap_ci95: 95 % confidence interval of the AUC by a stratified bootstrap.
        fixed_threshold: by the requested false positive rate; null where the auxiliaries are too
            few for this rate, empty without auxiliaries.
        calibration: quality of cross-fitted probabilities.
        hindsight: the best threshold on these images.
        epsilon: lower bounds of the privacy loss.
        knowledge: what the attacker needs.
    """

    metrics: Mapping[str, Measured]
    auc_bootstrap_ci95: Interval
    fixed_threshold: Mapping[str, OperatingPoint | None]
    hindsight: Hindsight
    calibration: CalibrationLoss | None
    epsilon: EpsilonBounds
    knowledge: Knowledge

    @property
    def auc(self) -> Estimate:
        """Area under the ROC curve."""
        return cast(Estimate, self.metrics["auc"])

    @property
    def tpr_at_fpr(self) -> Mapping[str, TruePositiveRate | None]:
        """True positive rate at each false positive rate."""
        return cast(Mapping[str, TruePositiveRate | None], self.metrics["tpr_at_fpr"])


@dataclass(frozen=True)
class CalibrationLoss:
    """Losses of cross-fitted probabilities; 0.25 and log 2 are those of 1/2 for every image.

    Attributes:
        brier: mean squared error.
        log_loss: mean negative log likelihood, in nats.
    """

    brier: Annotated[float, Ge(0)]
    log_loss: Annotated[float, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class BaselineMetrics:
    """One blind baseline.

    Attributes:
        auc_bootstrap_ci95: 95 % confidence interval of the AUC by a stratified bootstrap.
        adjusted_p_value: adjusted for all baselines.
    """

    metrics: Mapping[str, Measured]
    auc_bootstrap_ci95: Interval
    adjusted_p_value: Share

    @property
    def auc(self) -> Estimate:
        """Area under the ROC curve."""
        return cast(Estimate, self.metrics["auc"])


@dataclass(frozen=True, kw_only=True)
class BlindMetrics:
    """Attacks that never see the victim.

    Attributes:
        verdict: on the split.
        p_value: of the best baseline, adjusted for all of them.
        best: the baseline with the highest AUC.
        max: its AUC; the difficulty's from its better side.
        upper95: simultaneous 95 % upper bound of the baselines' AUCs.
        permutations: of the labels.
        baselines: by name.
    """

    verdict: Verdict
    p_value: Share
    best: str
    max: Share
    upper95: Share
    permutations: Annotated[int, Ge(1)]
    baselines: Mapping[str, Annotated[BaselineMetrics, FlatMetrics()]]


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """The membership attack under one setting of the difficulty.

    Attributes:
        layers, ridge, alpha, features_from, backbone: the setting.
        auc, auc_ci95_low, auc_ci95_high: AUC of the membership attack with its 95 % interval.
        note: whether the setting is the configured one, or the best.
    """

    layers: str
    ridge: str
    alpha: str
    features_from: str
    backbone: str
    auc: Share
    auc_ci95_low: Share
    auc_ci95_high: Share
    note: str


@dataclass(frozen=True, kw_only=True)
class AuditMetrics:
    """metrics.json of an audit: how well each attack tells members from non-members.

    Attributes:
        schema: names the version of this content.
        name: of the run.
        n_members, n_nonmembers: how many images of the role the attacks scored.
        attacks: by name.
        blind: the check of the split.
        slices: attacks on parts of the candidates.
        alpha_curve: of the membership attack; null without it.
        answers: AUC against the number of answers; empty if the victim answered once.
        grid: the membership attack under the settings of difficulty.grid; empty without a grid.
        claim: what a differentially private training guarantees; null for any other.
        comparisons: each attack against the plain reconstruction error.
        excess: each attack against the best blind baseline.
        near_duplicates: pairs of images in different roles that look alike.
        correspondence: how much nearer answers lie to their own targets than to others.
        utility: quality of the victim's outputs; null if it was not measured.
        overfitting: the course of the victim's training; null if it was not trained by mia_lab.
        gate: the outcome of fail_if; null without a condition.
        adjustment: the attacks, adjusted for what the blind baselines see; null if not asked for.
        timing_s: seconds that each part of the run took.
        record: what was run.
        command: what reproduces the run.
    """

    schema: Literal["mia_lab metrics 3"]
    name: str
    n_members: Annotated[int, Ge(1)]
    n_nonmembers: Annotated[int, Ge(1)]
    attacks: Annotated[Mapping[str, Annotated[AttackMetrics, FlatMetrics()]], Len(1)]
    comparisons: tuple[Comparison, ...]
    blind: BlindMetrics
    excess: tuple[Comparison, ...]
    slices: tuple[Slice, ...]
    alpha_curve: AlphaCurve | None
    answers: tuple[AnswersCurve, ...] = ()
    grid: tuple[GridRow, ...]
    near_duplicates: Count
    claim: PrivacyClaim | None
    correspondence: Correspondence
    utility: Utility | None
    overfitting: Overfitting | None = None
    adjustment: Adjustment | None = None
    gate: Gate | None
    timing_s: Mapping[str, Annotated[float, Ge(0)]]
    record: Mapping[str, str]
    command: str


def audit_metrics(report: AuditReport) -> AuditMetrics:
    """The content of an audit's ``metrics.json``."""
    result = report.result
    return AuditMetrics(
        schema=SCHEMA,
        name=report.name,
        n_members=result.evaluations[0].n_members,
        n_nonmembers=result.evaluations[0].n_nonmembers,
        attacks={e.name: _attack(e, report) for e in result.evaluations},
        comparisons=result.comparisons,
        blind=_blind(result.blind),
        excess=result.excess,
        slices=result.slices,
        alpha_curve=result.alpha_curve,
        answers=result.answers,
        grid=grid_rows(result.grid),
        near_duplicates=len(result.near_duplicates),
        claim=result.claim,
        correspondence=result.correspondence,
        utility=result.utility,
        overfitting=report.overfitting,
        adjustment=result.adjustment,
        gate=report.gate,
        timing_s=report.timing_s,
        record=report.record,
        command=report.command,
    )


def _attack(e: Evaluation, report: AuditReport) -> AttackMetrics:
    quality = report.result.decisions[e.name]
    found = quality.calibration
    return AttackMetrics(
        metrics=e.metrics,
        auc_bootstrap_ci95=e.auc_bootstrap_ci95,
        fixed_threshold=quality.fixed_threshold,
        hindsight=quality.hindsight,
        calibration=None if found is None else CalibrationLoss(found.brier, found.log_loss),
        epsilon=quality.epsilon,
        knowledge=report.result.knowledge[e.name],
    )


def _blind(blind: Blind) -> BlindMetrics:
    return BlindMetrics(
        verdict=blind.verdict,
        p_value=blind.p_value,
        best=blind.best,
        max=blind.max,
        upper95=blind.upper95,
        permutations=blind.permutations,
        baselines={
            e.name: BaselineMetrics(
                metrics=e.metrics,
                auc_bootstrap_ci95=e.auc_bootstrap_ci95,
                adjusted_p_value=blind.adjusted_p[e.name],
            )
            for e in blind.baselines
        },
    )


def grid_rows(grid: Sequence[GridPoint]) -> tuple[GridRow, ...]:
    """One row per point; its note says whether it is the configured one, or the best."""
    notes = ["" for _ in grid]
    if grid:
        best = best_point(grid)
        notes[best] = BEST_NOTE
        notes[0] = CONFIGURED_NOTE if best else f"{CONFIGURED_NOTE}, {BEST_NOTE}"
    return tuple(
        GridRow(
            **point.axes,
            auc=point.auc,
            auc_ci95_low=point.auc_ci95[0],
            auc_ci95_high=point.auc_ci95[1],
            note=note,
        )
        for point, note in zip(grid, notes, strict=True)
    )


def best_point(grid: Sequence[GridPoint]) -> int:
    """Index of the highest AUC; of equals, the first."""
    return max(range(len(grid)), key=lambda i: (grid[i].auc, -i))


class OtherSchemaError(UserError):
    """The file is JSON, but not ``metrics.json`` of an audit of this version."""


_METRICS = TypeAdapter(AuditMetrics)


def metrics_content(report: AuditReport) -> dict[str, Any]:
    """The content of an audit's ``metrics.json``, of types that JSON can write."""
    content: dict[str, Any] = _METRICS.dump_python(audit_metrics(report))
    return content


def read_metrics(path: Path) -> AuditMetrics:
    """Read an audit's ``metrics.json``.

    Raises:
        OtherSchemaError: the file was written by another task or version.
        UserError: the file is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}); run the audit again") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise OtherSchemaError(
            f"{path}: has the schema {schema!r}, not {SCHEMA!r} of an audit of this version; name "
            "a folder of such an audit, or run the audit again"
        )
    try:
        return _METRICS.validate_python(content, extra="forbid")  # as the JSON schema says
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: damaged ({key}: {first['msg']}); run the audit again") from error


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not finite")
    return number


def json_schema() -> dict[str, Any]:
    """The JSON schema of ``metrics.json``, made from the dataclasses of this module."""
    found = _METRICS.json_schema(schema_generator=_DocumentedSchema)
    for kind in (AttackMetrics, BaselineMetrics):
        described = found["$defs"][kind.__name__]
        described["required"].remove("metrics")
        del described["properties"]["metrics"]
        for metric in metrics.METRICS:
            properties = _properties(metric)
            described["properties"] |= properties
            described["required"] += properties
    return {"$schema": GenerateJsonSchema.schema_dialect, **found}


def _properties(metric: metrics.Metric) -> dict[str, Any]:
    """The keys of a metric in the JSON schema."""
    described = {"description": _paragraph(metric.measure)}
    if metric.by_fpr:
        estimate = {"anyOf": [{"$ref": "#/$defs/TruePositiveRate"}, {"type": "null"}]}
        return {metric.name: {"type": "object", "additionalProperties": estimate} | described}
    if not metric.has_interval:
        return {metric.name: TypeAdapter(metric.kind).json_schema() | described}
    interval = f"{metric.name}{_INTERVAL}"
    return {
        metric.name: TypeAdapter(float).json_schema() | described,
        interval: TypeAdapter(Interval).json_schema() | {"description": "95 % interval."},
    }


class _DocumentedSchema(GenerateJsonSchema):
    """Takes the descriptions from the docstrings, and allows no other keys."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        found = super().dataclass_schema(schema)
        documentation = inspect.getdoc(schema["cls"]) or ""
        found["description"] = _paragraph(schema["cls"])
        for names, words in _ATTRIBUTE.findall(documentation):
            for name in names.split(", "):
                if name in found["properties"]:
                    found["properties"][name]["description"] = " ".join(words.split())
        return found | {"additionalProperties": False}


_ATTRIBUTE = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", re.MULTILINE)


def _paragraph(documented: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
