"""What a sweep's page shows, prepared for its template."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mia_lab.evaluation.finished import Sweep
from mia_lab.reporting.canvas import Picture
from mia_lab.reporting.sweep import words
from mia_lab.reporting.sweep.figures import MOST
from mia_lab.reporting.sweep.settings import (
    attacks,
    by_auc,
    has_repeats,
    main_attack,
    setting_axes,
    settings,
)

THUMBNAILS = ("roc", "scatter")
"""Pictures of a point that a sweep's page can show."""

PAGE = "report.html"

THUMBNAIL_WIDTH = 420  # pixels

SCROLLED = 40
"""Points beyond which the table scrolls within itself."""


@dataclass(frozen=True)
class Trouble:
    """A point that has no numbers, or about which something must be said."""

    number: int
    state: str
    reason: str
    overrides: str


@dataclass(frozen=True)
class MeanRow:
    """A setting in the table of means."""

    at: tuple[str, ...]
    n: int
    value: float
    auc: str
    gain: str
    gain_value: float | None


def page(
    sweep: Sweep, pictures: Iterable[Picture], thumbnails: Mapping[int, Iterable[Picture]]
) -> dict[str, Any]:
    """All variables of ``sweep.html.j2``.

    Args:
        sweep: the sweep.
        pictures: from :func:`mia_lab.reporting.sweep.figures.draw`.
        thumbnails: from :func:`point_thumbnails`; empty for none.
    """
    rows = words.cells(sweep)
    lead, *rest = words.summary(sweep)
    return {
        "found": sweep,
        "lead": lead,
        "summary": rest,
        "pictures": list(pictures),
        "most": MOST,
        "heads": _capital(words.heads(sweep)),
        "rows": rows,
        "pages": point_pages(sweep),
        "numeric": len(sweep.axes) + 1,
        "main": main_attack(sweep),
        "attacks": attacks(sweep),
        "long": len(rows) > SCROLLED,
        "mean_axes": _capital(setting_axes(sweep)),
        "means": _means(sweep) if has_repeats(sweep) else [],
        "troubles": troubles(sweep),
        "thumbnails": _labelled(sweep, thumbnails),
    }


def _capital(names: Iterable[str]) -> list[str]:
    return [name[0].upper() + name[1:].replace("_", " ") for name in names]


def _means(sweep: Sweep) -> list[MeanRow]:
    rows = sorted(settings(sweep, main_attack(sweep)), key=lambda s: -s.auc.value)
    return [
        MeanRow(
            at=tuple(s.at.values()),
            n=s.auc.n,
            value=s.auc.value,
            auc=words.mean_words(s.auc),
            gain="-" if s.gain is None else words.mean_words(s.gain, "+"),
            gain_value=None if s.gain is None else s.gain.value,
        )
        for s in rows
    ]


def troubles(sweep: Sweep) -> list[Trouble]:
    """Points that failed, are not done, or can't be read, in the order of their numbers."""
    known = [
        Trouble(
            p.number,
            words.WORDS.get(p.state, p.state),
            p.reason,
            " ".join(p.overrides),
        )
        for p in sweep.points
        if p.reason or p.metrics is None
    ]
    lost = [Trouble(number, "missing", "no folder", "") for number in sweep.missing]
    return sorted([*known, *lost], key=lambda trouble: trouble.number)


def point_pages(sweep: Sweep) -> dict[int, str]:
    """Addresses of the points' own pages, relative to the sweep's, by the points' numbers."""
    return {
        point.number: f"{point.number}/{PAGE}"
        for point in sweep.done
        if (Path(point.folder) / PAGE).is_file()
    }


def point_thumbnails(sweep: Sweep) -> dict[int, list[Picture]]:
    """The points' own pictures, made small, by the points' numbers; none that shows the data."""
    drawn = {}
    for point in sweep.done:
        paths = [Path(point.folder) / f"{name}.png" for name in THUMBNAILS]
        if pictures := [_small(path, point.number) for path in paths if path.is_file()]:
            drawn[point.number] = pictures
    return drawn


def _small(path: Path, number: int) -> Picture:
    with Image.open(path) as image:
        image.thumbnail((THUMBNAIL_WIDTH, 10 * THUMBNAIL_WIDTH))
        buffer = io.BytesIO()
        image.convert("P", palette=Image.Palette.ADAPTIVE).save(buffer, "PNG", optimize=True)
    return Picture(path.stem, path.stem, f"{path.stem} of point {number}", buffer.getvalue())


def _labelled(
    sweep: Sweep, shown: Mapping[int, Iterable[Picture]]
) -> list[tuple[int, str, list[Picture]]]:
    return [
        (row["point"], words.setting_text(sweep, row), list(shown[row["point"]]))
        for row in by_auc(sweep)
        if row["point"] in shown
    ]
