"""The machine-readable results: ``metrics.json``, ``scores.csv`` and the pictures as PNG."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mia_lab.reporting.figures import Picture
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
    columns, rows = score_table(result)
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
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


def score_table(result: AuditResult) -> tuple[list[str], list[list[str | int | float]]]:
    """Per-image scores: column names, and one row a candidate.

    An attack's column is its error, minus its score, so that low means member as in the paper.
    The difficulty follows the reconstruction error, which it explains.

    Raises:
        KeyError: the attacks did not score the same images.
    """
    ids = [str(i) for i in result.scores[0].id]
    columns: dict[str, list[float]] = {}
    for table in result.scores:
        error = dict(zip(table.id.tolist(), (-table.score).tolist(), strict=True))
        columns[f"{table.attack}_error"] = [error[i] for i in ids]
    leading = {k: columns.pop(k) for k in ["reconstruction_error"] if k in columns}
    columns = leading | {"difficulty": result.difficulty.tolist()} | columns
    is_member = result.split.is_member(ids).astype(int).tolist()
    rows = [list(row) for row in zip(ids, is_member, *columns.values(), strict=True)]
    return ["id", "is_member", *columns], rows


def _area(e: Evaluation) -> dict[str, Any]:
    return {"auc": e.auc, "auc_ci95": list(e.auc_ci95)}
