"""The tables and curves of an audit for the tracker: columns of plain values, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np

from mia_lab.evaluation.results import (
    AuditResult,
    Comparison,
    Estimate,
    Evaluation,
    OperatingPoint,
    Roc,
)
from mia_lab.reporting.tables import columns_of, grid_rows, score_columns

Columns = dict[str, list[Any]]
Row = dict[str, Any]

CHART_POINTS = 500
"""Of one curve: W&B's charts draw some thousand in all."""


def audit_tables(result: AuditResult) -> dict[str, Columns]:
    """Everything that the report shows as numbers; a table without rows is left out.

    What could not be measured is None, in a row that is there.
    """
    rows: dict[str, Iterable[Row]] = {
        "attacks": _attacks(result),
        "roc_band": _bands(result),
        "comparisons": map(_comparison, result.comparisons),
        "excess": map(_comparison, result.excess),
        "blind": _blind(result),
        "slices": _slices(result),
        "alpha_curve": _alpha_curve(result),
        "calibration": _calibration(result),
        "decisions": _decisions(result),
        "hindsight": ({"attack": a} | vars(p.hindsight) for a, p in result.practice.items()),
        "near_duplicates": (
            {"first": first, "second": second, "distance": distance}
            for first, second, distance in result.near_duplicates
        ),
        "grid": grid_rows(result.grid),
    }
    tables = {name: columns_of(list(found)) for name, found in rows.items()}
    return {"scores": score_columns(result)} | {k: v for k, v in tables.items() if v}


def roc_points(result: AuditResult) -> Columns:
    """``attack``, ``fpr`` and ``tpr`` of all curves, at most :data:`CHART_POINTS` each."""
    return columns_of(
        [
            {"attack": e.name, "fpr": fpr, "tpr": tpr}
            for e in (*result.evaluations, *result.blind.baselines)
            for fpr, tpr in thinned(e.roc)
        ]
    )


def thinned(roc: Roc) -> list[list[float]]:
    """Points (fpr, tpr) of a curve, evenly among its own, both ends kept."""
    points = np.stack([roc.fpr, roc.tpr], axis=1)
    if len(points) > CHART_POINTS:
        points = points[np.linspace(0, len(points) - 1, CHART_POINTS).round().astype(int)]
    kept: list[list[float]] = points.tolist()
    return kept


def _attacks(result: AuditResult) -> list[Row]:
    excess = {c.first: c for c in result.excess}
    return [
        {"attack": e.name, "sees_victim": sees_victim}
        | _evaluation(e)
        | _excess(excess.get(e.name) if sees_victim else None)
        for evaluations, sees_victim in (
            (result.evaluations, True),
            (result.blind.baselines, False),
        )
        for e in evaluations
    ]


def _evaluation(e: Evaluation) -> Row:
    row: Row = {"auc": e.auc, "auc_ci95_low": e.auc_ci95[0], "auc_ci95_high": e.auc_ci95[1]}
    row["p_value"] = e.p_value
    for fpr, tpr in e.tpr_at_fpr.items():
        row |= _estimate(f"tpr_at_fpr_{fpr}", tpr)
    return row


def _excess(c: Comparison | None) -> Row:
    found = None if c is None else Estimate(c.difference, c.ci95)
    return {**_estimate("excess", found), "excess_over": None if c is None else c.second}


def _bands(result: AuditResult) -> list[Row]:
    return [
        {"attack": e.name, "fpr": fpr, "tpr_ci95_low": low, "tpr_ci95_high": high}
        for e in result.evaluations
        for fpr, low, high in _rows(e.band.fpr, e.band.low, e.band.high)
    ]


def _comparison(c: Comparison) -> Row:
    return {
        "first": c.first,
        "second": c.second,
        **_estimate("difference", Estimate(c.difference, c.ci95)),
        "p_value": c.p_value,
        "bootstrap_ci95_low": c.bootstrap_ci95[0],
        "bootstrap_ci95_high": c.bootstrap_ci95[1],
        "bootstrap_p_value": c.bootstrap_p_value,
    }


def _blind(result: AuditResult) -> list[Row]:
    return [
        {"baseline": e.name}
        | _evaluation(e)
        | {"adjusted_p_value": result.blind.adjusted_p[e.name]}
        | {"is_best": e.name == result.blind.best}
        for e in result.blind.baselines
    ]


def _slices(result: AuditResult) -> list[Row]:
    return [
        {
            "by": s.by,
            "part": s.name,
            "attack": s.attack,
            "n_members": s.n_members,
            "n_nonmembers": s.n_nonmembers,
            **_estimate("auc", s.auc),
        }
        for s in result.slices
    ]


def _alpha_curve(result: AuditResult) -> list[Row]:
    curve = result.alpha_curve
    if curve is None:
        return []
    return [
        {"alpha": alpha, "auc": auc, "auc_ci95_low": low, "auc_ci95_high": high}
        for alpha, auc, low, high in _rows(curve.alpha, curve.auc, curve.low, curve.high)
    ]


def _calibration(result: AuditResult) -> list[Row]:
    return [
        {"attack": attack, "predicted": predicted, "observed": observed}
        | {"observed_ci95_low": low, "observed_ci95_high": high, "count": int(count)}
        for attack, practice in result.practice.items()
        if (found := practice.calibration) is not None
        for predicted, observed, low, high, count in _rows(
            found.predicted, found.observed, *found.observed_ci95.T, found.count
        )
    ]


def _decisions(result: AuditResult) -> list[Row]:
    """At thresholds that auxiliaries fixed; they may be too few for a rate, or for any."""
    points = {
        (attack, fpr): point
        for attack, practice in result.practice.items()
        for fpr, point in practice.fixed.items()
    }
    met = [point.precision for point in points.values() if point is not None]
    priors = dict.fromkeys(chain.from_iterable(met))
    return [
        {"attack": attack, "asked_fpr": float(fpr)} | _operating_point(point, priors)
        for (attack, fpr), point in points.items()
    ]


def _operating_point(point: OperatingPoint | None, priors: Mapping[str, None]) -> Row:
    """With the same keys where there is no point, as all rows of a table have."""
    row: Row = {
        "threshold": None if point is None else point.threshold,
        "n_auxiliary": None if point is None else point.n_auxiliary,
        **_estimate("tpr", None if point is None else point.tpr),
        **_estimate("fpr", None if point is None else point.fpr),
    }
    for prior in priors:
        row |= _estimate(f"precision_at_{prior}", None if point is None else point.precision[prior])
    return row


def _estimate(name: str, found: Estimate | None) -> Row:
    low, high = (None, None) if found is None else found.ci95
    value = None if found is None else found.value
    return {name: value, f"{name}_ci95_low": low, f"{name}_ci95_high": high}


def _rows(*columns: Any) -> list[tuple[Any, ...]]:
    """Arrays of equal length as rows of Python numbers."""
    return list(zip(*(column.tolist() for column in columns), strict=True))
