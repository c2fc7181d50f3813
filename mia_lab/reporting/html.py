"""``report.html``: one file to read, send and print, without scripts or anything to load."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mia_lab.evaluation import gate
from mia_lab.reporting import scores, text
from mia_lab.reporting.figures import Picture, attack_colours
from mia_lab.reporting.tables import grid_axes, grid_rows
from mia_lab.results import AuditResult, Scoring, Survey

if TYPE_CHECKING:
    from jinja2 import Template

LISTED = 50
"""Candidates listed on a page; the table beside it has them all."""


def write_html(result: AuditResult, pictures: Iterable[Picture], folder: Path) -> Path:
    """Write an audit's report into an existing folder.

    Args:
        result: the audit.
        pictures: from :func:`mia_lab.reporting.figures.draw`.
        folder: where to write.

    Returns:
        The path of ``report.html``.
    """
    path = folder / "report.html"
    path.write_text(render(result, pictures), encoding="utf-8")
    return path


def write_survey_html(
    survey: Survey, summary: Iterable[str], pictures: Iterable[Picture], folder: Path
) -> Path:
    """Write a survey's report into an existing folder.

    Args:
        survey: the survey of difficulty.
        summary: its findings in sentences.
        pictures: from :func:`mia_lab.reporting.survey.draw`.
        folder: where to write.

    Returns:
        The path of ``report.html``.
    """
    path = folder / "report.html"
    page = _template("survey.html.j2").render(
        found=survey, summary=list(summary), pictures=list(pictures)
    )
    path.write_text(page, encoding="utf-8")
    return path


def write_scores_html(found: Scoring, pictures: Iterable[Picture], folder: Path) -> Path:
    """Write the report on candidates into an existing folder.

    Args:
        found: the scores and decisions.
        pictures: from :func:`mia_lab.reporting.scores.draw`.
        folder: where to write.

    Returns:
        The path of ``report.html``.
    """
    path = folder / "report.html"
    page = _template("scores.html.j2").render(
        found=found,
        summary=scores.summary(found),
        pictures=list(pictures),
        rows=scores.readable_rows(found, LISTED),
    )
    path.write_text(page, encoding="utf-8")
    return path


def write_compare_html(content: Mapping[str, Any], folder: Path) -> Path:
    """Write the page of a comparison into an existing folder.

    Args:
        content: from :func:`mia_lab.reporting.comparison.page`.
        folder: where to write.

    Returns:
        The path of ``report.html``.
    """
    path = folder / "report.html"
    path.write_text(_template("compare.html.j2").render(**content), encoding="utf-8")
    return path


def render(result: AuditResult, pictures: Iterable[Picture]) -> str:
    """The report as one HTML document; every id and value in it is escaped."""
    # What was configured and what was best on top, then by AUC.
    rows = sorted(grid_rows(result.grid), key=lambda row: (not row["note"], -row["auc"]))
    axes = grid_axes(result.grid[0]) if rows else {}
    return _template("report.html.j2").render(
        result=result,
        found=result,
        pictures=list(pictures),
        verdict=text.verdict(result),
        gate=gate.sentence(result.gate) if result.gate else "",
        interval=text.interval,
        comparison_sentence=text.comparison_sentence,
        colours=attack_colours(e.name for e in (*result.evaluations, *result.blind.baselines)),
        rows=rows,
        grid_sentence=text.grid_sentence(result.grid) if rows else "",
        varying=[key for key in axes if len({row[key] for row in rows}) > 1],
    )


def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["rate"] = text.rate
    environment.filters["percent"] = text.percent
    environment.filters["unbroken"] = _unbroken
    environment.filters["data_uri"] = _data_uri
    return environment.get_template(name)


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")


def _unbroken(sentence: str) -> str:
    """Keep a number and its interval on one line, with spaces that don't break."""
    return re.sub(
        r"[-+\d.]+ \[[^\]]*\]|p [<=] \S+",
        lambda m: m[0].replace(" ", "\N{NO-BREAK SPACE}"),
        sentence,
    )
