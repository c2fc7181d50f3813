"""``report.html``: one file to read, send and print; it loads nothing, and needs no script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from mia_lab.evaluation.results import AuditReport, Scoring, Survey
from mia_lab.reporting import numbers, scores
from mia_lab.reporting.audit.page import content
from mia_lab.reporting.canvas import Picture
from mia_lab.store.disk import write_file

LISTED = 50
"""Candidates listed on a page; the table beside it has them all."""

_NO_BREAK = "\N{NO-BREAK SPACE}"


def write_html(
    audit: AuditReport, pictures: Iterable[Picture], folder: Path, *, alone: bool = False
) -> Path:
    """Write an audit's report into an existing folder.

    Args:
        audit: the audit.
        pictures: from :func:`mia_lab.reporting.audit.figures.draw`.
        folder: where to write.
        alone: whether the page is without the other files of a run, which it names otherwise.

    Returns:
        The path of ``report.html``.
    """
    path = folder / "report.html"
    write_file(path, render(audit, pictures, alone=alone))
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
    filled = {"found": survey, "summary": list(summary), "pictures": list(pictures)}
    return write_page("survey", filled, folder)


def write_scores_html(
    found: Scoring, pictures: Iterable[Picture], folder: Path, *, alone: bool = False
) -> Path:
    """Write the report on candidates into an existing folder.

    Args:
        found: the scores and decisions.
        pictures: from :func:`mia_lab.reporting.scores.draw`.
        folder, alone: see :func:`write_html`.

    Returns:
        The path of ``report.html``.
    """
    filled = {
        "found": found,
        "summary": scores.summary(found),
        "pictures": list(pictures),
        "rows": scores.readable_rows(found, LISTED),
    }
    return write_page("scores", filled, folder, alone=alone)


def write_page(
    template: str, filled: Mapping[str, Any], folder: Path, *, alone: bool = False
) -> Path:
    """Write a page into an existing folder.

    Args:
        template: its name, without endings: ``compare``, ``sweep``, ...
        filled: what it is filled with; every text in it is escaped.
        folder, alone: see :func:`write_html`.

    Returns:
        The path of ``report.html``.
    """
    path = folder / "report.html"
    write_file(path, render_page(template, filled, alone=alone))
    return path


def render_page(template: str, filled: Mapping[str, Any], *, alone: bool = False) -> str:
    """A page as one HTML document; see :func:`write_page`."""
    return _template(f"{template}.html.j2").render(**filled, alone=alone)


def render(audit: AuditReport, pictures: Iterable[Picture], *, alone: bool = False) -> str:
    """The report as one HTML document; every id and value in it is escaped."""
    return _template("report.html.j2").render(**content(audit, pictures), alone=alone)


def _template(name: str) -> Template:
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for words in (numbers.percent, numbers.p_text):
        environment.filters[words.__name__] = words
    environment.filters["p_cell"] = _p_cell
    environment.filters["unbroken"] = _unbroken
    environment.filters["stacked"] = _stacked
    environment.filters["data_uri"] = _data_uri
    environment.filters["css_width"] = _css_width
    script = (folder / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment.globals["script"] = Markup(script)  # ours: the page's policy runs it by its hash
    environment.globals["script_hash"] = f"'sha256-{digest}'"
    return environment.get_template(name)


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")


def _css_width(picture: Picture) -> int:
    """CSS pixels at which the print of a picture is as large as that of the page."""
    width = int.from_bytes(picture.png[16:20], "big")  # where PNG's first chunk has it
    return width // 2


def _p_cell(p_value: float) -> str:
    return numbers.p_value(p_value).replace(" ", _NO_BREAK)


def _unbroken(sentence: str) -> str:
    """Keep a number and its interval on one line, with spaces that don't break."""
    return re.sub(
        r"[-+\d.]+( %)? \[[^\]]*\]|\[[^\]]*\]|p [<=>] \S+",
        lambda m: m[0].replace(" ", _NO_BREAK),
        sentence,
    )


def _stacked(words: str) -> str:
    """A number with its interval in smaller print, which a wide table puts below it."""
    value, bracket, interval = words.partition(" [")
    if not bracket:
        return words
    interval = f"[{interval}"
    return Markup('{} <small class="ci">{}</small>').format(value, interval)
