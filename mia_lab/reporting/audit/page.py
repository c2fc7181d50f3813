"""Prepares the values that the template of an audit's page shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mia_lab.evaluation import gate, metrics
from mia_lab.evaluation.blind import SIGNIFICANCE, SOUND_BELOW
from mia_lab.evaluation.decision import auxiliaries_needed
from mia_lab.evaluation.metrics_file import grid_rows
from mia_lab.evaluation.results import (
    AuditReport,
    AuditResult,
    Comparison,
    EpsilonBound,
    Estimate,
    Evaluation,
    OperatingPoint,
)
from mia_lab.reporting import numbers
from mia_lab.reporting.audit import words
from mia_lab.reporting.audit.curves import BANDS
from mia_lab.reporting.canvas import Picture, attack_colours
from mia_lab.reporting.counts import Counts
from mia_lab.reporting.frames import score_frame
from mia_lab.types import Role

LISTED = 200
"""Candidates listed on the page; ``scores.csv`` lists all of them."""

BASELINES = {
    "difficulty": "the difficulty alone, in the direction that separates better",
    "features": "deep features of input and target, averaged over the image",
    "statistics": "colours, brightness and sharpness",
    "jpeg": "traces of JPEG compression",
    "file": "the files: size, format and metadata",
}
"""Descriptions of the known blind baselines."""


@dataclass(frozen=True)
class MetricCell:
    """One number of a metric in the tables of attacks and baselines.

    Attributes:
        heading: of its column.
        value: sort key; None if it was not measured.
        text: what is shown.
    """

    heading: str
    value: float | None
    text: str


@dataclass(frozen=True)
class RateRow:
    """One attack or blind baseline at one false positive rate.

    Attributes:
        name: the attack's.
        is_blind: whether it never sees the victim.
        asked: the requested rate, such as "1 %".
        realised: the realised rate with the numbers of images behind it; "" where the non-members
            are too few.
        found: the true positive rate with its interval, or why there is none.
        members: how many members are found, of how many.
    """

    name: str
    is_blind: bool
    asked: str
    realised: str
    found: str
    members: str


@dataclass(frozen=True)
class Fact:
    """A headline number and its caption."""

    value: str
    words: str


@dataclass(frozen=True)
class DecisionRow:
    """One attack at one false positive rate.

    Attributes:
        attack: its name.
        fpr: the rate asked for, as in "0.01".
        point: None where the auxiliaries are too few.
        needed: the least number of auxiliaries for this rate.
    """

    attack: str
    fpr: str
    point: OperatingPoint | None
    needed: int


@dataclass(frozen=True)
class Part:
    """Some of the candidates, and the AUC of each attack on them; None where a class is missing."""

    name: str
    n_members: int
    n_nonmembers: int
    aucs: Mapping[str, Estimate | None]


@dataclass(frozen=True)
class Head:
    """A column of the table of images."""

    words: str
    numeric: bool


@dataclass(frozen=True)
class Cell:
    """A table cell: the sort key and the displayed text."""

    value: str
    text: str


def content(audit: AuditReport, pictures: Iterable[Picture]) -> dict[str, Any]:
    """All variables of ``report.html.j2``.

    Args:
        audit: the audit.
        pictures: from :func:`mia_lab.reporting.audit.figures.draw`; each is placed by its name.
    """
    result = audit.result
    drawn = {p.name: p for p in pictures}
    # What was configured and what was best on top, then by AUC.
    rows = sorted(grid_rows(result.grid), key=lambda row: (not row.note, -row.auc))
    axes = result.grid[0].axes if rows else {}
    heads, scores = score_table(audit)
    return {
        "audit": audit,
        "result": result,
        "found": audit,
        "pictures": drawn,
        "grids": [p for name, p in drawn.items() if name.partition("-")[0] == "grid"],
        "dossiers": [p for name, p in drawn.items() if name.partition("-")[0] == "dossiers"],
        "has_maps": any(found.difficulty.size for found in audit.dossiers),
        "headline": words.headline(result),
        "details": words.details(audit),
        "gate": gate.sentence(audit.gate) if audit.gate else "",
        "bands": BANDS,
        "counts": Counts.of(audit.split),
        "facts": facts(audit),
        "interval": numbers.interval,
        "bracket": bracket,
        "headings": partial(metric_headings, result.evaluations[0]),
        "cells": metric_cells,
        "rate_interval": numbers.rate_interval,
        "rates": rate_rows(result),
        "knowledge": words.knowledge_by_attack(result),
        "claim": words.claim_sentence(result) if result.claim else "",
        "adjustment": adjustment(result),
        "utility": words.utility_sentence(result.utility) if result.utility else "",
        "overfitting": words.overfitting_sentence(audit.overfitting) if audit.overfitting else "",
        "correspondence": words.correspondence_sentence(result.correspondence),
        "colours": attack_colours(e.name for e in (*result.evaluations, *result.blind.baselines)),
        "excess": {e.name: _of(e.name, result.excess) for e in result.evaluations},
        "comparisons": [
            *((c, False) for c in result.comparisons),
            *((c, True) for c in result.excess),
        ],
        "decisions": decision_rows(result),
        "weights": weights(result),
        "priors": priors(result),
        "n_auxiliary": n_auxiliary(audit),
        "needs": {f: auxiliaries_needed(float(f)) for f in result.evaluations[0].tpr_at_fpr},
        "epsilons": epsilons(result),
        "epsilon_sentence": words.epsilon_sentence,
        "described": {e.name: BASELINES.get(e.name, "") for e in result.blind.baselines},
        "identical": words.identical_sentence(audit.split),
        "significance": SIGNIFICANCE,
        "sound_below": SOUND_BELOW,
        "parts": parts(result),
        "score_heads": heads,
        "scores": scores,
        "n_candidates": len(result.scores[0].id),
        "rows": rows,
        "grid_sentence": words.grid_sentence(result.grid) if rows else "",
        "varying": [key for key in axes if len({getattr(row, key) for row in rows}) > 1],
    }


def adjustment(result: AuditResult) -> str:
    """What is said below the table of adjusted AUCs, or instead of it; "" if not asked for."""
    found = result.adjustment
    if found is None:
        return ""
    say = words.matching_sentence if found.is_adjustable else words.adjustment_sentence
    return say(found)


def facts(audit: AuditReport) -> list[Fact]:
    """The headline numbers of the best attack, and those to compare them with."""
    result = audit.result
    best = max(
        result.evaluations,
        key=lambda e: (e.is_separating, e.is_reversed, -e.auc if e.is_reversed else e.auc),
    )
    low, high = best.auc_ci95
    # The lowest rate that so few non-members resolve.
    known = [(fpr, tpr) for fpr, tpr in best.tpr_at_fpr.items() if tpr is not None]
    rates = [
        Fact(
            numbers.rate(tpr),
            f"of the members are found by this attack at a false positive rate of "
            f"{numbers.percent(fpr)}",
        )
        for fpr, tpr in known[:1]
    ]
    return [
        Fact(
            f"{best.auc:.3f}",
            f"AUC of the {best.name} attack, 95 % interval {low:.3f} to {high:.3f}; 0.5 is "
            f"guessing{', and less is the wrong direction' if best.is_reversed else ''}",
        ),
        *rates,
        Fact(
            f"{result.blind.max:.3f}",
            f"AUC of {result.blind.best}, the best blind baseline, which never sees the victim",
        ),
        _sizes(Counts.of(audit.split)),
    ]


def _sizes(counts: Counts) -> Fact:
    members, nonmembers = counts.images
    in_groups = f", in {counts.groups[0]} + {counts.groups[1]} groups" if counts.groups else ""
    return Fact(f"{members} + {nonmembers}", f"images: members and non-members{in_groups}")


def metric_headings(evaluation: Evaluation, but: str = "") -> list[str]:
    """Headings of all metrics' columns, but those of one metric."""
    return [h for metric in _on_page(but) for h in metric.headings(evaluation.tpr_at_fpr)]


def metric_cells(evaluation: Evaluation, but: str = "") -> list[MetricCell]:
    """All metrics of one attack or baseline, but one metric; see :func:`metric_headings`."""
    cells = []
    for metric in _on_page(but):
        parts = metric.parts(evaluation.metrics.get(metric.name))
        headings = metric.headings(evaluation.tpr_at_fpr)
        for heading, found in zip(headings, parts.values(), strict=True):
            value = found.value if isinstance(found, Estimate) else found
            text = _metric_text(metric, found, evaluation.n_nonmembers)
            cells.append(MetricCell(heading, value, text))
    return cells


def rate_rows(result: AuditResult) -> list[RateRow]:
    """Rows of all attacks and blind baselines, each at all requested rates and at none."""
    return [
        row
        for is_blind, evaluations in (
            (False, result.evaluations),
            (True, result.blind.baselines),
        )
        for e in evaluations
        for row in _rate_rows(e, is_blind)
    ]


def _rate_rows(e: Evaluation, is_blind: bool) -> list[RateRow]:
    rows = []
    for fpr, rate in e.tpr_at_fpr.items():
        realised = members = ""
        if rate is not None:
            realised = (
                f"{100 * rate.realised_fpr:.3g} % ({rate.false_positives} of {e.n_nonmembers})"
            )
            members = f"{rate.true_positives} of {e.n_members}"
        found = numbers.rate_interval(rate, e.n_nonmembers)
        rows.append(RateRow(e.name, is_blind, numbers.percent(fpr), realised, found, members))
    above = e.tpr_at_zero_fp
    found, members = numbers.rate_interval(above, 0), f"{round(above.value * e.n_members)}"
    none = f"none (0 of {e.n_nonmembers})"
    members = f"{members} of {e.n_members}"
    return [*rows, RateRow(e.name, is_blind, "above all non-members", none, found, members)]


def _on_page(but: str) -> list[metrics.Metric]:
    return [m for m in metrics.METRICS if "page" in m.tables and m.name != but]


def _metric_text(metric: metrics.Metric, found: float | Estimate | None, n_nonmembers: int) -> str:
    if metric.shown_as == "percentage" and not isinstance(found, float):
        return numbers.rate_interval(found, n_nonmembers)
    if found is None:
        return "not measured"
    if isinstance(found, Estimate):
        return numbers.interval(found.value, found.ci95)
    if metric.shown_as == "percentage":
        return f"{100 * found:.1f} %"
    return numbers.p_value(found) if metric.shown_as == "p-value" else f"{found:.3f}"


def bracket(ci95: tuple[float, float], sign: str = "") -> str:
    """An interval without its estimate: ``[0.961, 0.989]``."""
    return numbers.interval(0, ci95, sign).partition(" ")[2]


def decision_rows(result: AuditResult) -> list[DecisionRow]:
    """Rows of all attacks, each at all false positive rates."""
    return [
        DecisionRow(name, fpr, point, auxiliaries_needed(float(fpr)))
        for name, quality in result.decisions.items()
        for fpr, point in quality.fixed_threshold.items()
    ]


def priors(result: AuditResult) -> list[str]:
    """The shares of members for which precisions were computed."""
    points = (p for q in result.decisions.values() for p in q.fixed_threshold.values() if p)
    return list(dict.fromkeys(prior for point in points for prior in point.precision_at_prior))


def n_auxiliary(audit: AuditReport) -> int:
    """Known non-members behind the thresholds, or in the split if they are too few for any."""
    points = (
        point
        for quality in audit.result.decisions.values()
        for point in quality.fixed_threshold.values()
    )
    used = max((point.n_auxiliary for point in points if point is not None), default=0)
    return used or len(audit.split.ids(Role.AUXILIARY))


def weights(result: AuditResult) -> list[tuple[str, Estimate]]:
    """The AUC at the weights of the difficulty that matter, by what to call them."""
    curve = result.alpha_curve
    if curve is None:
        return []
    configured = int(np.argmin(np.abs(curve.alpha - result.alpha)))
    best = int(np.argmax(curve.auc))
    if curve.auc[best] == curve.auc[configured]:
        best = configured
    names: dict[int, list[str]] = {}
    for i, name in (
        (0, "the reconstruction error alone"),
        (configured, "as configured"),
        (best, "the best in hindsight"),
    ):
        names.setdefault(i, [f"{curve.alpha[i]:g}"]).append(name)
    return [
        (
            ", ".join(called),
            Estimate(float(curve.auc[i]), (float(curve.low[i]), float(curve.high[i]))),
        )
        for i, called in names.items()
    ]


def epsilons(result: AuditResult) -> list[tuple[list[str], EpsilonBound]]:
    """The bounds, with the attacks that each is about: mostly there is none, for one reason."""
    found: dict[EpsilonBound | str, tuple[EpsilonBound, dict[str, None]]] = {}
    for name, quality in result.decisions.items():
        for bound in quality.epsilon.by_hypothesis.values():
            key = bound.why if bound.value is None else bound
            found.setdefault(key, (bound, {}))[1][name] = None
    return [([*names], bound) for bound, names in found.values()]


def parts(result: AuditResult) -> dict[str, list[Part]]:
    """The slices with one row a part, by what divides them."""
    found: dict[str, dict[str, Part]] = {}
    for s in result.slices:
        rows = found.setdefault(s.by, {})
        before = rows[s.name].aucs if s.name in rows else {}
        rows[s.name] = Part(s.name, s.n_members, s.n_nonmembers, {**before, s.attack: s.auc})
    return {by: list(rows.values()) for by, rows in found.items()}


def score_table(audit: AuditReport, most: int = LISTED) -> tuple[list[Head], list[list[Cell]]]:
    """The candidates whose error by the last attack is lowest, with all that is known of them."""
    order = np.argsort(-audit.result.leading.score, kind="stable")[:most]
    table = score_frame(audit).iloc[order]
    heads, cells = [], []
    for name in table.columns:
        numeric = name not in {"id", "is_member", "group"}
        heads.append(Head(_words(name), numeric))
        shown = table[name].tolist()
        cells.append(_numbers(shown) if numeric else [_word(name, value) for value in shown])
    return heads, [list(row) for row in zip(*cells, strict=True)]


def _words(column: str) -> str:
    known = {"id": "Image", "is_member": "Truth", "group": "Group"}
    if column.endswith("_probability"):
        return f"P(member), {column.removesuffix('_probability')}"
    return known.get(column) or column.replace("_", " ").capitalize()


def _word(column: str, value: object) -> Cell:
    text = str(value)
    if column == "is_member":
        text = "member" if value else "non-member"
    return Cell(text, text)


def _numbers(values: Sequence[float]) -> list[Cell]:
    """Numbers of one column with equally many decimals, so that they line up; three digits."""
    finite = [abs(v) for v in values if math.isfinite(v) and v]
    typical = float(np.median(finite)) if finite else 1.0
    decimals = int(np.clip(2 - math.floor(math.log10(typical)), 0, 9))
    return [
        Cell(repr(float(v)), f"{v:.{decimals}f}") if math.isfinite(v) else Cell("", "unknown")
        for v in values
    ]


def _of(attack: str, comparisons: Iterable[Comparison]) -> Comparison | None:
    return next((c for c in comparisons if c.first == attack), None)
