"""The metrics of a score: one function and one entry of :data:`METRICS` each.

A metric of this list is measured for every attack and blind baseline, and appears in
``metrics.json`` and its JSON schema, in the tables of the page, the terminal, sweeps and
comparisons, in W&B and among the names that ``fail_if`` accepts, without further code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from mia_lab.evaluation.bootstrap import tpr_draws, tpr_interval
from mia_lab.evaluation.null import permutation_p_value
from mia_lab.evaluation.results import Estimate, Measured, Share
from mia_lab.evaluation.roc import auc, roc_curve, tpr_at_fpr
from mia_lab.evaluation.uncertainty import auc_interval
from mia_lab.types import Floats, Strings

FPRS = ("0.01", "0.1")
"""False positive rates at which the true positive rate is reported."""

Measure = Callable[[Floats, NDArray[np.bool_], Strings | None, np.random.Generator], Measured]
"""Scores (N,), higher = more likely a member; bool (N,), is a member; clusters (N,) or None; random
numbers. Its return annotation says what it returns: ``float``, ``Estimate``, or ``dict[str,
Estimate | None]``, each ``| None`` if it may fail; it becomes part of the JSON schema."""


@dataclass(frozen=True)
class Metric:
    """One entry of :data:`METRICS`.

    Attributes:
        name: key in ``metrics.json``, column in tables, name in ``fail_if``.
        measure: computes it; see :data:`Measure`. The first line of its docstring describes the
            metric in the JSON schema.
        keys: keys of the dictionary that ``measure`` returns; empty if it returns one number.
        stream: name of its random numbers; default: ``name``.
        compared: whether the tables of sweeps and comparisons have its columns.
        heading: of its column on the page and in the terminal, "{}" is the key as a percentage;
            default: the name.
        shown_as: how its numbers are written: as a number, a percentage, or a p-value.
        tables: of an audit that have its columns: ``terminal``, ``page``.
    """

    name: str
    measure: Measure
    keys: tuple[str, ...] = ()
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
    def headings(self) -> dict[str, str]:
        """The heading of each of its columns, by column name."""
        heading = self.heading or self.name.replace("_", " ")
        if not self.keys:
            return {self.name: heading}
        return {f"{self.name}_{k}": heading.format(f"{100 * float(k):g} %") for k in self.keys}

    @property
    def has_interval(self) -> bool:
        """Whether it is an estimate with an interval."""
        return bool(self.keys) or Estimate in (self.kind, *get_args(self.kind))

    def parts(self, measured: Measured) -> dict[str, float | Estimate | None]:
        """Its numbers by column name; None for those that were not measured."""
        if not self.keys:
            assert not isinstance(measured, Mapping)
            return {self.name: measured}
        found = measured if isinstance(measured, Mapping) else {}
        return {f"{self.name}_{key}": found.get(key) for key in self.keys}


def area_under_roc(
    scores: Floats,
    is_member: NDArray[np.bool_],
    groups: Strings | None,
    rng: np.random.Generator,
) -> Estimate:
    """Area under the ROC curve, with DeLong's interval on the logit scale."""
    return Estimate(auc(scores, is_member), auc_interval(scores, is_member, groups=groups))


def advantage(
    scores: Floats,
    is_member: NDArray[np.bool_],
    groups: Strings | None,
    rng: np.random.Generator,
) -> Estimate:
    """Distance of the AUC from guessing in either direction, |2 AUC - 1|."""
    area = area_under_roc(scores, is_member, groups, rng)
    low, high = (2 * limit - 1 for limit in area.ci95)
    # Both signs count: the interval of 2 AUC - 1 is folded at 0.
    return Estimate(abs(2 * area.value - 1), (max(low, -high, 0.0), max(-low, high)))


def p_value(
    scores: Floats,
    is_member: NDArray[np.bool_],
    groups: Strings | None,
    rng: np.random.Generator,
) -> Share:
    """Two-sided p-value of the null hypothesis that scores and labels are independent."""
    return permutation_p_value(scores, is_member, rng, groups)


def true_positive_rates(
    scores: Floats,
    is_member: NDArray[np.bool_],
    groups: Strings | None,
    rng: np.random.Generator,
) -> dict[str, Estimate | None]:
    """True positive rate by false positive rate; null where the non-members are too few for it."""
    curve, n = roc_curve(scores, is_member), int(np.count_nonzero(~is_member))
    fprs = [float(fpr) for fpr in FPRS]
    low, high = tpr_interval(tpr_draws(scores, is_member, fprs, rng, groups))
    rates: dict[str, Estimate | None] = {}
    for fpr, a, b in zip(FPRS, low.tolist(), high.tolist(), strict=True):
        rate = tpr_at_fpr(curve, float(fpr), n)
        # The rate is a step, its interval comes from straight lines: they may miss each other.
        rates[fpr] = None if rate is None else Estimate(rate, (min(a, rate), max(b, rate)))
    return rates


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
        keys=FPRS,
        stream="rates",
        heading="TPR at {} FPR",
        shown_as="percentage",
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
            if metric.has_interval:
                assert not isinstance(found, float)
                columns |= estimate_columns(name, found)
            else:
                assert not isinstance(found, Estimate)
                columns[name] = found
    return columns


def estimate_columns(name: str, found: Estimate | None) -> dict[str, float | None]:
    """An estimate as the columns ``<name>``, ``<name>_ci95_low`` and ``<name>_ci95_high``."""
    value, (low, high) = (None, (None, None)) if found is None else (found.value, found.ci95)
    return {name: value, f"{name}_ci95_low": low, f"{name}_ci95_high": high}
