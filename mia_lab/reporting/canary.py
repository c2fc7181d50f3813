"""Canaries as pictures, files and sentences: new ones, and those that were tested."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mia_lab.data.picture import visible
from mia_lab.evaluation.results import CanaryReport, CanaryScores, DrawnCanary
from mia_lab.reporting.audit.dossiers import gallery_alt, samples_figure
from mia_lab.reporting.canvas import INK, Picture, legend_below, new_figure, png, tidy
from mia_lab.reporting.files import write_json, write_pictures
from mia_lab.reporting.html import write_page
from mia_lab.reporting.numbers import aligned, p_text

PANELS = 8
"""Canaries with a histogram."""

LEVEL = 0.05
"""A p-value at most as large counts as evidence in the sentences of the report."""

RULES = {
    "fisher": "Fisher's combination of independent p-values",
    "harmonic": "the harmonic mean p-value, with Vovk and Wang's factor for any dependence",
}
"""Rules of combination in words, by the value of ``canary.combine``."""


# A new canary


def drawn_summary(new: DrawnCanary) -> str:
    """What was drawn, in a sentence."""
    return f"A canary was drawn, one of {new.k + 1} twins: {new.kind}."


def drawn_steps(new: DrawnCanary) -> list[tuple[str, str]]:
    """What to do with the files, in order: (heading, sentence)."""
    folder = new.folder
    together = ""
    if new.settings["canary.planned"] == 1:
        together = " It was drawn to be tested alone (canary.planned=1)."
    else:
        together = (
            f" It is one of {new.settings['canary.planned']} canaries to be tested together; a "
            "missing one counts as p = 1."
        )
    return [
        (
            "1. Lodge",
            f"{folder / 'commitment.json'}: give it to a third party who dates it (a notary, a "
            "timestamping service, a public repository) before you publish. The date shows that "
            "the choice was fixed before the model could be trained on it.",
        ),
        (
            "2. Publish",
            f"{folder / 'publish'}: publish the pair as it is, in this format, and no other twin. "
            "Publish it where your other images are.",
        ),
        (
            "3. Keep secret",
            f"{folder / 'secret'}: keep it private until the test, and keep a copy elsewhere. "
            "Whoever knows the choice can make a test fail or succeed. Without this folder there "
            "is no test.",
        ),
        (
            "4. Test",
            f"When a model may have been trained on it, run the command below once.{together}",
        ),
    ]


def drawn_text(new: DrawnCanary) -> str:
    """What was drawn and what to do with it, for the terminal."""
    steps = [f"{heading}: {words}" for heading, words in drawn_steps(new)]
    return "\n".join(
        [drawn_summary(new), f"commitment: {new.sha256}", *steps, f"{new.command} victim=..."]
    )


def draw_new(new: DrawnCanary) -> tuple[Picture, ...]:
    """The picture ``pair``: what is to be published."""
    figure = Figure(figsize=(4.6, 2.4))
    sides = {"input": new.pair.x, "target": new.pair.y}
    for axes, (title, planes) in zip(figure.subplots(1, 2), sides.items(), strict=True):
        axes.imshow(visible(planes)[0].transpose(1, 2, 0).clip(0, 1))
        axes.set_title(title, fontsize=9, color=INK)
        axes.set_axis_off()
    alt = f"The pair to publish: input and target of {new.pair.ids[0]}"
    return (Picture("pair", "The pair to publish", alt, png(figure), private=True),)


def write_drawn(new: DrawnCanary, pictures: Iterable[Picture], folder: Path) -> Path:
    """Write the page and the picture of a new canary; returns the path of the page."""
    pictures = [*pictures]
    write_pictures(pictures, folder)
    filled = {
        "found": new,
        "summary": drawn_summary(new),
        "steps": drawn_steps(new),
        "pictures": pictures,
    }
    return write_page("canary_drawn", filled, folder)


# Tested canaries


def draw(found: CanaryReport) -> tuple[Picture, ...]:
    """The pictures ``twins``, a histogram for each canary, and ``gallery``."""
    ranks = "; ".join(f"{c.name}: rank {c.rank} of {len(c.error)}" for c in found.canaries)
    alt = f"Errors of all twins, with the published one marked. {ranks}."
    gallery = found.gallery
    return (
        Picture("twins", "Errors of the twins", alt, png(twins_figure(found.canaries[:PANELS]))),
        Picture(
            "gallery",
            "Published twins and answers",
            gallery_alt(gallery),
            png(samples_figure(gallery)),
            private=True,
        ),
    )


def twins_figure(canaries: Iterable[CanaryScores]) -> Figure:
    """Histograms of the errors of all twins, the published one marked; one panel each."""
    shown = [*canaries]
    figure = new_figure(2.1 * len(shown) + 0.5)
    panels = figure.subplots(len(shown), squeeze=False)[:, 0]
    for axes, canary in zip(panels, shown, strict=True):
        others = np.delete(canary.error, canary.choice)
        bins = np.histogram_bin_edges(canary.error, bins=int(np.clip(len(others) / 6, 8, 40)))
        style = {"color": "#56B4E9", "edgecolor": "white", "lw": 0.5}
        axes.hist(others, bins=bins.tolist(), label=f"other twins ({len(others)})", **style)
        axes.axvline(canary.error[canary.choice], color="#D55E00", lw=2, label="the published twin")
        if len(shown) > 1:
            axes.set_title(canary.name, fontsize=9, color=INK, parse_math=False)
        axes.set_ylabel("twins")
        axes.locator_params(axis="x", nbins=5)
        tidy(axes)
    panels[-1].set_xlabel("error of the victim's answer (trained on it: to the left)")
    legend_below(figure, panels[0], columns=2)
    return figure


def summary(found: CanaryReport) -> list[str]:
    """The findings in sentences, the verdict first."""
    p, n = found.p_value, len(found.canaries)
    of_several = "" if n == 1 else "s"
    first = (
        f"{found.victim} was trained on {'at least one of ' if n > 1 else ''}the published twin"
        f"{of_several}, or on pictures made from it: {p_text(p)}."
        if p <= LEVEL
        else f"No evidence that {found.victim} was trained on {'any of ' if n > 1 else ''}the "
        f"published twin{of_several}: {p_text(p)}."
    )
    lines = [first]
    for canary in found.canaries[:PANELS]:
        size = len(canary.error)
        lines.append(
            f"{canary.name}: {canary.rank} of {size} twins, the published one included, are at "
            f"least as close to the answer as the published one, so p = {canary.rank} / {size}."
        )
    if found.planned > 1:
        missing = found.planned - n
        absent = f"; {missing} missing, counted as p = 1" if missing else ""
        lines.append(
            f"{n} of {found.planned} planned canaries{absent}. Combined by {RULES[found.combine]}."
        )
    return lines


PROVES = (
    "If the model had not been trained on the published twin, its answer could not depend on a "
    "choice that it has never seen, and each rank would be equally likely. A small p-value rejects "
    "this. It needs no assumption on the model, the twins or the score, and no known non-members.",
    "It does not show how the twin reached the model: a copy, a derived picture, or the twin "
    "itself. It says nothing about other images. A large p-value is no evidence of absence: the "
    "model may not have memorised the twin.",
    "The p-value holds for one test that was planned. If you test several models or several times, "
    "report all tests, and divide the level by their number.",
    "Others believe it if the commitment was lodged with somebody they trust before the pair was "
    "published: compare the hashes below with the lodged ones. Otherwise the choice could have "
    "been made after looking at the answer. From now on secret/opening.json may be shown: its "
    "SHA-256 is the commitment.",
)
"""What a test proves, what it does not, and why lodging matters."""


def text(found: CanaryReport) -> str:
    """The findings for the terminal."""
    return "\n".join([*summary(found), "", *aligned(rows(found), flush_left=1), "", *PROVES])


def rows(found: CanaryReport) -> list[list[str]]:
    """A header, and one row for each canary."""
    return [
        ["canary", "rank", "twins", "p", "error", "drawn", "commitment"],
        *(
            [
                c.name,
                str(c.rank),
                str(len(c.error)),
                f"{c.p_value:.4g}",
                f"{c.error[c.choice]:.5g}",
                c.date,
                c.sha256,
            ]
            for c in found.canaries
        ),
    ]


def write_files(found: CanaryReport, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``canary.json`` and the pictures into an existing folder."""
    write_json(content(found), folder / "canary.json")
    write_pictures(pictures, folder)


def write_tested(
    found: CanaryReport, pictures: Iterable[Picture], folder: Path, *, alone: bool = False
) -> Path:
    """Write the page into an existing folder; returns its path."""
    filled = {
        "found": found,
        "summary": summary(found),
        "proves": PROVES,
        "rows": [row[:-2] for row in rows(found)],
        "pictures": list(pictures),
    }
    return write_page("canary", filled, folder, alone=alone)


def content(found: CanaryReport) -> dict[str, Any]:
    """The content of ``canary.json``, of plain types only."""
    return {
        "name": found.name,
        "victim": found.victim,
        "p_value": found.p_value,
        "planned": found.planned,
        "combine": found.combine,
        "queries": found.queries,
        "settings": dict(found.settings),
        "canaries": [
            {
                "name": canary.name,
                "commitment": canary.sha256,
                "drawn": canary.date,
                "kind": canary.kind,
                "choice": canary.choice,
                "rank": canary.rank,
                "p_value": canary.p_value,
                "errors": canary.error.tolist(),
            }
            for canary in found.canaries
        ],
        "timing_s": dict(found.timing_s),
        "record": dict(found.record),
    }
