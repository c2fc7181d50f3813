"""Scored candidates as pictures, files and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mia_lab.evaluation.results import Decision, Scoring
from mia_lab.reporting.audit.dossiers import gallery_alt, samples_figure
from mia_lab.reporting.audit.words import correspondence_sentence
from mia_lab.reporting.canvas import Picture, new_figure, png, tidy
from mia_lab.reporting.files import write_csv, write_json, write_pictures
from mia_lab.reporting.frames import CALLED, candidate_frame, records
from mia_lab.reporting.numbers import aligned, percent
from mia_lab.types import Floats, ScoreTable

ASSUMPTION = (
    "Both, and the p-values, rest on exchangeability: auxiliaries and candidates that are not "
    "members must come from the same distribution."
)

PRINTED = 10
"""Candidates listed in the terminal."""


def draw(found: Scoring) -> tuple[Picture, ...]:
    """The pictures ``histogram`` and ``gallery``."""
    counts = ", ".join(
        f"{name} attack: {np.count_nonzero(decision.is_called)} below the threshold"
        for name, decision in found.result.decisions.items()
    )
    alt = f"Candidates by their error, low is a likely member. {counts or 'No threshold'}."
    gallery = found.gallery
    return (
        Picture("histogram", "Errors", alt, png(histogram_figure(found))),
        Picture(
            "gallery",
            "Most likely members",
            gallery_alt(gallery),
            png(samples_figure(gallery)),
            private=True,
        ),
    )


def histogram_figure(found: Scoring) -> Figure:
    """Errors of candidates and of known non-members, with the threshold; one panel per attack."""
    figure = new_figure(2.5 * len(found.result.scores) + 0.5)
    panels = figure.subplots(len(found.result.scores), squeeze=False)[:, 0]
    for axes, table in zip(panels, found.result.scores, strict=True):
        _panel(axes, table, found)
    handles, labels = panels[0].get_legend_handles_labels()
    # Below the axes: inside, it would cover the bars.
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=9)
    return figure


def _panel(axes: Axes, table: ScoreTable, found: Scoring) -> None:
    errors = {
        "candidates": -table.column(found.result.candidates),
        "auxiliaries, known non-members": -table.column(found.result.auxiliaries),
    }
    decision = found.result.decisions.get(table.attack)
    bins = _bins(np.concatenate([*errors.values()]), -decision.threshold if decision else None)
    styles: list[dict[str, Any]] = [
        {"color": "#56B4E9", "edgecolor": "white", "lw": 0.5},
        {"histtype": "step", "color": "#6E6E6E", "lw": 1.8},
    ]
    for (label, error), style in zip(errors.items(), styles, strict=True):
        if len(error):
            # As shares: there may be many more candidates than auxiliaries.
            weights = np.full(len(error), 100 / len(error))
            axes.hist(error, bins=bins, weights=weights, label=f"{label} ({len(error)})", **style)
    if decision:
        axes.axvline(-decision.threshold, color="#222222", lw=1.5, ls="--", label="threshold")
    axes.set_xlabel(f"{table.attack} error (members to the left)")
    axes.set_ylabel("share of images (%)")
    tidy(axes)


def _bins(error: Floats, threshold: float | None) -> list[float]:
    """Edges of equal bins; the threshold is one of them, so that no bar lies on both sides."""
    count = int(np.clip(np.sqrt(len(error)) * 2, 8, 60))
    bins: list[float] = np.histogram_bin_edges(error, bins=count).tolist()
    if threshold is None:
        return bins
    low, high, width = bins[0], bins[-1], bins[1] - bins[0]
    first, last = np.floor((low - threshold) / width), np.ceil((high - threshold) / width)
    bins = (threshold + width * np.arange(first, last + 1)).tolist()
    # Rounding must not leave an image outside.
    return [min(bins[0], low), *bins[1:-1], max(bins[-1], high)]


def write_files(found: Scoring, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``scores.csv``, ``metrics.json`` and the pictures.

    Args:
        found: the result.
        pictures: from :func:`draw`.
        folder: where to write; exists.
    """
    write_json(metrics(found), folder / "metrics.json")
    write_csv(candidate_frame(found), folder / "scores.csv")
    write_pictures(pictures, folder)


def metrics(found: Scoring) -> dict[str, Any]:
    """The content of ``metrics.json``, of plain types only."""
    return {
        "name": found.name,
        "n_candidates": len(found.result.candidates),
        "n_auxiliary": len(found.result.auxiliaries),
        "fpr": found.result.fpr,
        "attacks": {
            name: _numbers(found, decision) for name, decision in found.result.decisions.items()
        },
        "near_duplicates": len(found.result.near_duplicates),
        "correspondence": vars(found.result.correspondence),
        "timing_s": dict(found.timing_s),
        "record": dict(found.record),
    }


def _numbers(found: Scoring, decision: Decision) -> dict[str, float | int]:
    return {
        "n_called_members": int(np.count_nonzero(decision.is_called)),
        "threshold_error": -decision.threshold,
        "attained_fpr": decision.attained_fpr,
        "fpr_upper95": decision.fpr_upper95,
        "expected_false_alarms": false_alarms(found, decision),
    }


def false_alarms(found: Scoring, decision: Decision) -> float:
    """Mean number of candidates called members if no candidate is one."""
    return len(found.result.candidates) * decision.attained_fpr


def summary(found: Scoring) -> list[str]:
    """The findings in sentences."""
    n, m = len(found.result.candidates), len(found.result.auxiliaries)
    lines = [_decided(found, name, decision) for name, decision in found.result.decisions.items()]
    if found.result.decisions:
        # Of ranks only, hence the same for all attacks.
        decision = next(iter(found.result.decisions.values()))
        lines.append(
            f"If no candidate is a member, {false_alarms(found, decision):.3g} of {n} are still "
            f"called members on average. With 95 % confidence the false positive rate of the "
            f"threshold, which comes from {m} auxiliaries, is at most "
            f"{percent(f'{decision.fpr_upper95:.3g}')}. {ASSUMPTION}"
        )
    else:
        lines.append(
            f"{n} candidates are ranked, the most likely members first. No candidate is called a "
            "member, because a decision needs known non-members: rows of the manifest with the "
            "role auxiliary."
        )
    lines.append(correspondence_sentence(found.result.correspondence))
    if found.result.near_duplicates:
        lines.append(
            "Pairs of a candidate and an auxiliary that look alike: "
            f"{len(found.result.near_duplicates)}. The p-values of such candidates are unreliable."
        )
    return lines


def _decided(found: Scoring, name: str, decision: Decision) -> str:
    called, n = int(np.count_nonzero(decision.is_called)), len(found.result.candidates)
    return (
        f"The {name} attack calls {called} of {n} candidates members at a false positive rate of "
        f"at most {percent(str(found.result.fpr))}: those with an error below "
        f"{-decision.threshold:.4g}."
    )


def text(found: Scoring) -> str:
    """The findings, and the most likely members as a plain table, for the terminal."""
    rows = readable_rows(found, PRINTED)
    table = aligned(rows, flush_left=len(rows[0]))
    return "\n".join([*summary(found), "", "Most likely members", *table])


def readable_rows(found: Scoring, most: int) -> list[list[str]]:
    """A header, and the most likely members by the last attack with what was decided on them."""
    candidates = records(candidate_frame(found))[: min(most, len(found.result.candidates))]
    names = [table.attack for table in found.result.scores]
    first = {"rank": f"{names[-1]}_rank", "image": "id"}
    shown = {f"{name} error": f"{name}_error" for name in names}
    shown |= {f"p ({name})": f"{name}_p_value" for name in found.result.decisions}
    decided = ["called a member by"] if found.result.decisions else []
    rows = [[*first, *decided, *shown]]
    for row in candidates:
        called = [n for n in found.result.decisions if row[f"{n}_decision"] == CALLED]
        decision = [", ".join(called) or "none"] if decided else []
        start, rest = ([_cell(row[key]) for key in keys.values()] for keys in (first, shown))
        rows.append([*start, *decision, *rest])
    return rows


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def scores_summary(found: Scoring) -> Mapping[str, float]:
    """The numbers of the W&B summary."""
    return {
        f"{key}/{name}": value
        for name, decision in found.result.decisions.items()
        for key, value in _numbers(found, decision).items()
    }
