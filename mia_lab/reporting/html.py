"""``report.html``: one file to read, send and print, without scripts or anything to load."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path

from mia_lab.reporting import text
from mia_lab.reporting.figures import Picture, attack_colours
from mia_lab.types import AuditResult


def write_html(result: AuditResult, pictures: Iterable[Picture], folder: Path) -> Path:
    """Write the report into an existing folder.

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


def render(result: AuditResult, pictures: Iterable[Picture]) -> str:
    """The report as one HTML document; every id and value in it is escaped."""
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
    return environment.get_template("report.html.j2").render(
        result=result,
        pictures=list(pictures),
        verdict=text.verdict(result),
        interval=text.interval,
        comparison_sentence=text.comparison_sentence,
        colours=attack_colours(e.name for e in (*result.evaluations, *result.blind)),
    )


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")


def _unbroken(sentence: str) -> str:
    """Keep a number and its interval on one line, with spaces that don't break."""
    return re.sub(
        r"[-+\d.]+ \[[^\]]*\]|p [<=] \S+",
        lambda m: m[0].replace(" ", "\N{NO-BREAK SPACE}"),
        sentence,
    )
