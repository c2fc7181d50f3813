"""The machine-readable results: ``metrics.json``, tables as CSV and the pictures as PNG."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mia_lab.evaluation.results import (
    AlphaCurve,
    AuditResult,
    Blind,
    Comparison,
    Estimate,
    Evaluation,
    OperatingPoint,
    Practice,
)
from mia_lab.reporting.figures import Picture
from mia_lab.reporting.tables import columns_of, grid_rows, score_columns

SCHEMA = "mia_lab metrics 1"
"""Raised with every change to the content of ``metrics.json`` that a reader would notice."""


def write_files(result: AuditResult, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``metrics.json``, the scores as CSV and parquet, the grid, and the pictures.

    Args:
        result: the audit.
        pictures: from :func:`mia_lab.reporting.figures.draw`.
        folder: where to write; exists.

    Raises:
        ValueError: a metric is not finite.
    """
    write_json(metrics(result), folder / "metrics.json")
    scores = score_columns(result)
    write_csv(scores, folder / "scores.csv")
    write_parquet(scores, folder / "scores.parquet")
    if result.grid:
        write_csv(columns_of(grid_rows(result.grid)), folder / "grid.csv")
    write_pictures(pictures, folder)


def write_parquet(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Write columns of equal length, with their types."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(dict(columns)), path)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write plain types as JSON; floats keep their precision, so that runs can be compared.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_csv(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Write columns of equal length, with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_pictures(pictures: Iterable[Picture], folder: Path) -> None:
    """Write one PNG a picture."""
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)


def metrics(result: AuditResult) -> dict[str, Any]:
    """The content of ``metrics.json``, as ``metrics.schema.json`` beside this module describes."""
    counts = result.evaluations[0]
    return {
        "schema": SCHEMA,
        "name": result.name,
        "n_members": counts.n_members,
        "n_nonmembers": counts.n_nonmembers,
        "attacks": {
            e.name: {
                **_attack(e, result.practice[e.name]),
                "knowledge": vars(result.knowledge[e.name]),
            }
            for e in result.evaluations
        },
        "comparisons": [_comparison(c) for c in result.comparisons],
        "blind": _blind(result.blind),
        "excess": [_comparison(c) for c in result.excess],
        "slices": [{**vars(s), "auc": _estimate(s.auc)} for s in result.slices],
        "alpha_curve": None if result.alpha_curve is None else _lists(result.alpha_curve),
        "grid": grid_rows(result.grid),
        "near_duplicates": len(result.near_duplicates),
        "claim": None if result.claim is None else vars(result.claim),
        "utility": None if result.utility is None else vars(result.utility),
        "gate": None if result.gate is None else vars(result.gate),
        "timing_s": dict(result.timing_s),
        "record": dict(result.record),
        "command": result.command,
    }


def _attack(e: Evaluation, practice: Practice) -> dict[str, Any]:
    calibration = practice.calibration
    return {
        **_evaluation(e),
        "fixed_threshold": {
            fpr: None if point is None else _operating_point(point)
            for fpr, point in practice.fixed.items()
        },
        "hindsight": vars(practice.hindsight),
        "calibration": None
        if calibration is None
        else {"brier": calibration.brier, "log_loss": calibration.log_loss},
        "epsilon": vars(practice.epsilon),
    }


def _evaluation(e: Evaluation) -> dict[str, Any]:
    return {
        "auc": e.auc,
        "auc_ci95": list(e.auc_ci95),
        "auc_bootstrap_ci95": list(e.auc_bootstrap_ci95),
        "p_value": e.p_value,
        "tpr_at_fpr": {fpr: _estimate(tpr) for fpr, tpr in e.tpr_at_fpr.items()},
    }


def _blind(blind: Blind) -> dict[str, Any]:
    return {
        "verdict": blind.verdict.value,
        "p_value": blind.p_value,
        "best": blind.best,
        "max": blind.max,
        "upper95": blind.upper95,
        "permutations": blind.permutations,
        "baselines": {
            e.name: {**_evaluation(e), "adjusted_p_value": blind.adjusted_p[e.name]}
            for e in blind.baselines
        },
    }


def _operating_point(point: OperatingPoint) -> dict[str, Any]:
    return {
        "threshold": point.threshold,
        "n_auxiliary": point.n_auxiliary,
        "tpr": _estimate(point.tpr),
        "fpr": _estimate(point.fpr),
        "precision_at_prior": {prior: _estimate(p) for prior, p in point.precision.items()},
    }


def _comparison(c: Comparison) -> dict[str, Any]:
    return {**vars(c), "ci95": list(c.ci95), "bootstrap_ci95": list(c.bootstrap_ci95)}


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return None if found is None else {"value": found.value, "ci95": list(found.ci95)}


def _lists(curve: AlphaCurve) -> dict[str, list[float]]:
    return {key: value.tolist() for key, value in vars(curve).items()}
