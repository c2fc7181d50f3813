"""Results as files: ``metrics.json``, tables as CSV and parquet, pictures as PNG."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mia_lab.data.csv_text import defused
from mia_lab.evaluation.metrics_file import metrics_content
from mia_lab.evaluation.results import AuditReport
from mia_lab.reporting.canvas import Picture
from mia_lab.reporting.frames import grid_frame, score_frame
from mia_lab.store.disk import write_file


def write_files(audit: AuditReport, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``metrics.json``, the scores as CSV and parquet, the grid, and the pictures.

    Args:
        audit: the audit.
        pictures: from :func:`mia_lab.reporting.audit.figures.draw`.
        folder: where to write; exists.

    Raises:
        ValueError: a metric is not finite.
    """
    write_json(metrics_content(audit), folder / "metrics.json")
    scores = score_frame(audit)
    write_csv(scores, folder / "scores.csv")
    write_parquet(scores, folder / "scores.parquet")
    if audit.result.grid:
        write_csv(grid_frame(audit.result.grid), folder / "grid.csv")
    write_pictures(pictures, folder)


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table with the types of its columns."""
    write_file(path, table.to_parquet(index=False))


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write plain types as JSON; floats keep their precision, so that runs can be compared.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_file(path, text + "\n")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table with a header; floats keep their precision, missing values are empty.

    Text that a spreadsheet would run as a formula is written as text, see
    :mod:`mia_lab.data.csv_text`.
    """
    written = table.rename(columns=defused)
    texts = written.select_dtypes(["object", "str"]).map(_field)
    written = written.assign(**texts)
    # Python quotes line ends of the file's own kind only; those who read it know others.
    has_return = any("\r" in str(field) for field in [*written, *texts.to_numpy().ravel()])
    text = written.to_csv(
        index=False,
        lineterminator="\n",
        quoting=csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL,
    )
    write_file(path, text)


def _field(value: Any) -> Any:
    return defused(value) if isinstance(value, str) else value


def write_pictures(pictures: Iterable[Picture], folder: Path) -> None:
    """Write one PNG per picture."""
    for picture in pictures:
        write_file(folder / f"{picture.name}.png", picture.png)
