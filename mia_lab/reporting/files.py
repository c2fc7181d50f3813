"""The machine-readable results: ``metrics.json``, ``scores.csv`` and the pictures as PNG."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mia_lab.reporting.figures import Picture
from mia_lab.reporting.tables import score_columns
from mia_lab.types import AuditResult, Evaluation


def write_files(result: AuditResult, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``metrics.json``, ``scores.csv`` and one PNG a picture into an existing folder.

    Floats keep their full precision, so that two runs can be compared for equality.

    Args:
        result: the audit.
        pictures: from :func:`mia_lab.reporting.figures.draw`.
        folder: where to write.

    Raises:
        ValueError: a metric is not finite.
    """
    text = json.dumps(metrics(result), indent=2, allow_nan=False, ensure_ascii=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    columns = score_columns(result)
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
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
        "near_duplicates": len(result.near_duplicates),
        "timing_s": dict(result.timing_s),
        "record": dict(result.record),
    }


def _area(e: Evaluation) -> dict[str, Any]:
    return {"auc": e.auc, "auc_ci95": list(e.auc_ci95)}
