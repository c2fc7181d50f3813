"""The metrics of a score: one function and one entry of :data:`METRICS` each.

A metric of this list is measured for every attack and blind baseline, and appears in
``metrics.json`` and its JSON schema, in the tables of the page, the terminal, sweeps and
comparisons, in W&B and among the names that ``fail_if`` accepts, without further code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.bootstrap import tpr_draws, tpr_interval
from mia_lab.evaluation.decision import proportion
from mia_lab.evaluation.null import permutation_p_value
from mia_lab.evaluation.results import Estimate, Measured, Share, TruePositiveRate
from mia_lab.evaluation.roc import auc, roc_curve, split_classes, tpr_at_fpr
from mia_lab.evaluation.uncertainty import auc_interval
from mia_lab.types import Floats, Strings

FPRS = (0.01, 0.1)
"""Default false positive rates at which the true positive rate is measured."""


@dataclass(frozen=True)
class Scored:
    """The scores of one attack or blind baseline, and what they are evaluated against.

    Attributes:
        scores: (N,) higher = more likely a member.
        is_member: bool (N,).
        groups: (N,) clusters of images that are not independent; None: there are none.
        fprs: requested false positive rates, in (0, 1).
    """

    scores: Floats
    is_member: NDArray[np.bool_]
    groups: Strings | None = None
    fprs: tuple[float, ...] = FPRS


Measure = Callable[[Scored, np.random.Generator], Measured]
"""Computes a metric of some scores, with random numbers. Its return annotation becomes part of the
JSON schema: ``float``, ``Estimate``, or ``dict[str, TruePositiveRate | None]``, each ``| None`` if
it may fail."""


@dataclass(frozen=True)
class Metric:
    """One entry of :data:`METRICS`.

    Attributes:
        name: key in ``metrics.json``, column in tables, name in ``fail_if``.
        measure: computes it; see :data:`Measure`. The first line of its docstring describes the
            metric in the JSON schema.
        by_fpr: whether it has one number for each requested false positive rate.
        stream: name of its random numbers; default: ``name``.
        compared: whether the tables of sweeps and comparisons have its columns.
        heading: of its column on the page and in the terminal, "{}" is the rate as a percentage;
            default: the name.
        shown_as: how its numbers are written: as a number, a percentage, or a p-value.
        tables: of an audit that have its columns: ``terminal``, ``page``.
    """

    name: str
    measure: Measure
    by_fpr: bool = False
    stream: str = ""
    compared: bool = True
    heading: str = ""
    shown_as: Literal["number", "percentage", "p-value"] = "number"
    tables: tuple[Literal["terminal", "page"], ...] = ("terminal", "page")

    @property
    def kind(self) -> Any:
        """The return annotation of ``measure``."""
        return get_type_hints(self.measure, include_extras=True)["return"]

    @property
    def has_interval(self) -> bool:
        """Whether it is an estimate with an interval."""
        return self.by_fpr or Estimate in (self.kind, *get_args(self.kind))

    def headings(self, fprs: Iterable[str]) -> list[str]:
        """The headings of its columns; ``fprs`` as in "0.01"."""
        heading = self.heading or self.name.replace("_", " ")
        return [heading.format(f"{100 * float(f):g} %") for f in fprs] if self.by_fpr else [heading]

    def parts(self, measured: Measured) -> dict[str, float | Estimate | None]:
        """Its numbers by column name; None for those that were not measured."""
        if not self.by_fpr:
            assert not isinstance(measured, Mapping)
            return {self.name: measured}
        found = measured if isinstance(measured, Mapping) else {}
        return {f"{self.name}_{fpr}": rate for fpr, rate in found.items()}


def area_under_roc(scored: Scored, rng: np.random.Generator) -> Estimate:
    """Area under the ROC curve, with DeLong's interval on the logit scale."""
    ci95 = auc_interval(scored.scores, scored.is_member, groups=scored.groups)
    return Estimate(auc(scored.scores, scored.is_member), ci95)


def advantage(scored: Scored, rng: np.random.Generator) -> Estimate:
    """Distance of the AUC from guessing in either direction, |2 AUC - 1|."""
    area = area_under_roc(scored, rng)
    low, high = (2 * limit - 1 for limit in area.ci95)
    # Both signs count: the interval of 2 AUC - 1 is folded at 0.
    return Estimate(abs(2 * area.value - 1), (max(low, -high, 0.0), max(-low, high)))


def p_value(scored: Scored, rng: np.random.Generator) -> Share:
    """Two-sided p-value of the null hypothesis that scores and labels are independent."""
    return permutation_p_value(scored.scores, scored.is_member, rng, scored.groups)


def true_positive_rates(
    scored: Scored, rng: np.random.Generator
) -> dict[str, TruePositiveRate | None]:
    """True positive rate by false positive rate; null where the non-members are too few for it."""
    scores, is_member, fprs = scored.scores, scored.is_member, scored.fprs
    members, nonmembers = map(len, split_classes(scores, is_member))
    curve = roc_curve(scores, is_member)
    low, high = tpr_interval(tpr_draws(scores, is_member, fprs, rng, scored.groups))
    rates: dict[str, TruePositiveRate | None] = {}
    for fpr, a, b in zip(fprs, low.tolist(), high.tolist(), strict=True):
        point = tpr_at_fpr(curve, fpr, nonmembers)
        if point is None:
            rates[str(fpr)] = None
            continue
        rate, realised = point
        rates[str(fpr)] = TruePositiveRate(
            rate,
            # The rate is a step, its interval comes from straight lines: they may miss each other.
            (min(a, rate), max(b, rate)),
            realised,
            round(rate * members),
            round(realised * nonmembers),
        )
    return rates


def tpr_at_zero_fp(scored: Scored, rng: np.random.Generator) -> Estimate:
    """Share of the members that score above every non-member, given the largest non-member.

    The interval is that of :func:`~mia_lab.evaluation.decision.proportion`. It holds for the
    threshold that the largest of these non-members sets; other non-members would set another.
    """
    members, nonmembers = split_classes(scored.scores, scored.is_member)
    groups = None if scored.groups is None else scored.groups[scored.is_member]
    return proportion(members > nonmembers.max(), groups)


METRICS: tuple[Metric, ...] = (
    Metric("auc", area_under_roc, heading="AUC [95 % interval]"),
    Metric(
        "advantage",
        advantage,
        compared=False,
        heading="|2 AUC - 1|",
        tables=(),
    ),
    Metric(
        "p_value",
        p_value,
        stream="labels",
        compared=False,
        heading="p-value",
        shown_as="p-value",
        tables=("page",),
    ),
    Metric(
        "tpr_at_fpr",
        true_positive_rates,
        by_fpr=True,
        stream="rates",
        heading="TPR at {} FPR",
        shown_as="percentage",
        tables=("terminal",),
    ),
    Metric(
        "tpr_at_zero_fp",
        tpr_at_zero_fp,
        heading="TPR above all non-members",
        shown_as="percentage",
        tables=(),
    ),
)
"""All metrics, in the order of the tables."""


def metric_columns(
    measured: Mapping[str, Measured], compared: bool = False
) -> dict[str, float | None]:
    """Every number of every metric by column name: ``auc``, ``auc_ci95_low``, ...

    Args:
        measured: metrics by name; the columns of those that are missing are None.
        compared: only the columns of the tables of sweeps and comparisons.
    """
    columns: dict[str, float | None] = {}
    for metric in METRICS:
        if compared and not metric.compared:
            continue
        for name, found in metric.parts(measured.get(metric.name)).items():
            if not metric.has_interval:
                assert not isinstance(found, Estimate)
                columns[name] = found
                continue
            assert not isinstance(found, float)
            columns |= estimate_columns(name, found)
            if metric.by_fpr:
                assert found is None or isinstance(found, TruePositiveRate)
                columns[f"{name}_realised_fpr"] = None if found is None else found.realised_fpr
    return columns


def metric_names(fprs: Sequence[float]) -> list[str]:
    """The names of :func:`metric_columns` for some false positive rates."""
    unknown = {str(fpr): None for fpr in fprs}
    return [*metric_columns({metric.name: unknown for metric in METRICS if metric.by_fpr})]


def estimate_columns(name: str, found: Estimate | None) -> dict[str, float | None]:
    """An estimate as the columns ``<name>``, ``<name>_ci95_low`` and ``<name>_ci95_high``."""
    value, (low, high) = (None, (None, None)) if found is None else (found.value, found.ci95)
    return {name: value, f"{name}_ci95_low": low, f"{name}_ci95_high": high}
