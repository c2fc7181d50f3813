"""The machine-readable results: ``metrics.json``, tables as CSV and the pictures as PNG."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mia_lab.reporting.figures import Picture
from mia_lab.reporting.tables import grid_rows, score_columns
from mia_lab.results import AuditResult, Evaluation


def write_files(result: AuditResult, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``metrics.json``, ``scores.csv``, ``grid.csv`` if there is a grid, and the pictures.

    Args:
        result: the audit.
        pictures: from :func:`mia_lab.reporting.figures.draw`.
        folder: where to write; exists.

    Raises:
        ValueError: a metric is not finite.
    """
    write_json(metrics(result), folder / "metrics.json")
    write_csv(score_columns(result), folder / "scores.csv")
    if result.grid:
        rows = grid_rows(result.grid)
        write_csv({k: [row[k] for row in rows] for k in rows[0]}, folder / "grid.csv")
    write_pictures(pictures, folder)


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
    """The content of ``metrics.json``, of plain types only."""
    counts = result.evaluations[0]
    return {
        "name": result.name,
        "n_members": counts.n_members,
        "n_nonmembers": counts.n_nonmembers,
        "attacks": {
            e.name: {**_area(e), "tpr_at_fpr": dict(e.tpr_at_fpr)} for e in result.evaluations
        },
        "comparisons": [
            {
                "first": c.first,
                "second": c.second,
                "difference": c.difference,
                "ci95": list(c.ci95),
                "p_value": c.p_value,
            }
            for c in result.comparisons
        ],
        "blind": {e.name: _area(e) for e in result.blind},
        "grid": grid_rows(result.grid),
        "near_duplicates": len(result.near_duplicates),
        **({"gate": vars(result.gate)} if result.gate else {}),
        "timing_s": dict(result.timing_s),
        "record": dict(result.record),
    }


def _area(e: Evaluation) -> dict[str, Any]:
    return {"auc": e.auc, "auc_ci95": list(e.auc_ci95)}
