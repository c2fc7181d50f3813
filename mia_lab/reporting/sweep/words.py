"""A sweep as files, as sentences, and as the table of the terminal."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mia_lab.errors import listed
from mia_lab.evaluation.finished import Sweep
from mia_lab.evaluation.gate import SWAPPED
from mia_lab.evaluation.repeats import FEWEST_SEEDS, Mean
from mia_lab.evaluation.results import Verdict
from mia_lab.reporting.canvas import Picture
from mia_lab.reporting.files import write_csv, write_parquet, write_pictures
from mia_lab.reporting.frames import mean_frame
from mia_lab.reporting.numbers import aligned, interval
from mia_lab.reporting.sweep.settings import (
    all_settings,
    attack_rows,
    attacks,
    axis_text,
    by_auc,
    has_repeats,
    is_repeat,
    main_attack,
    settings,
)

STATES = ("done", "failed", "running", "planned", "damaged", "other")
"""All states of a point, in the order of the sentences."""

WORDS = {
    "running": "running or killed",
    "planned": "not started or interrupted",
    "other": "not a finished audit",
}

PRINTED = 30
"""Points listed in the terminal."""

NAMED = 8
"""Points that a sentence names."""


def write_files(sweep: Sweep, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``results.csv`` and ``.parquet``, ``means.csv`` of repeated settings, and the pictures.

    Args:
        sweep: the sweep.
        pictures: from :func:`mia_lab.reporting.sweep.figures.draw`.
        folder: where to write; exists.
    """
    for name, table in sweep_frames(sweep).items():
        write_csv(table, folder / f"{name}.csv")
    write_parquet(sweep.rows, folder / "results.parquet")
    write_pictures(pictures, folder)


def sweep_frames(sweep: Sweep) -> dict[str, pd.DataFrame]:
    """``results``, and ``means`` where points repeat each other."""
    tables = {"results": sweep.rows}
    if has_repeats(sweep):
        tables["means"] = mean_frame(all_settings(sweep))
    return tables


def sweep_summary(sweep: Sweep) -> dict[str, float]:
    """The numbers of a sweep by name."""
    counts = Counter(point.state for point in sweep.points)
    numbers: dict[str, float] = {"points": len(sweep.points) + len(sweep.missing)}
    numbers |= {f"points/{state}": counts[state] for state in STATES if counts[state]}
    numbers |= {"points/done": len(sweep.done), "points/failed": counts["failed"]}
    numbers["points/missing"] = len(sweep.missing)
    for attack in attacks(sweep):
        areas = [row["auc"] for row in attack_rows(sweep, attack)]
        numbers[f"auc_best/{attack}"] = max(areas)
        numbers[f"auc_median/{attack}"] = statistics.median(areas)
    return numbers


def states(sweep: Sweep) -> str:
    """How many points are in which state: ``34 done, 1 failed``."""
    counts = Counter(point.state for point in sweep.points)
    parts = [f"{counts[s]} {WORDS.get(s, s)}" for s in STATES if counts[s]]
    return ", ".join([*parts, *([f"{len(sweep.missing)} missing"] if sweep.missing else [])])


def summary(sweep: Sweep) -> list[str]:
    """The findings in sentences: the state of the sweep, confounded splits, and the AUCs."""
    lines = [_progress(sweep)]
    if sweep.missing:
        lines.append(f"Points without a folder: {listed(sweep.missing, NAMED)}.")
    lines += [*_confounded(sweep), *_reversed(sweep)]
    return [*lines, _best(sweep), *_best_setting(sweep), _usual(sweep), *_split(sweep)]


def finding(sweep: Sweep) -> str:
    """How far the sweep has come, and its highest AUC."""
    return f"{_progress(sweep)} {_best(sweep)}"


def _progress(sweep: Sweep) -> str:
    total = len(sweep.points) + len(sweep.missing)
    more = f" ({states(sweep)})" if len(sweep.done) < total else ""
    return f"{len(sweep.done)} of {total} points are done{more}."


def _best(sweep: Sweep) -> str:
    best, *rest = by_auc(sweep)
    equal = sum(row["auc"] == best["auc"] for row in rest)
    more = f", and at {equal} more" if equal else ""
    return (
        f"Highest AUC of the {best['attack']} attack, chosen in hindsight: {_area(best)} at "
        f"{setting_text(sweep, best)}{more}."
    )


def _area(row: Mapping[str, Any]) -> str:
    return _estimate(row, "auc")[1]


def _best_setting(sweep: Sweep) -> list[str]:
    """Of means over seeds; where there is but one mean, nothing is chosen in hindsight."""
    means = settings(sweep, main_attack(sweep))
    if not has_repeats(sweep):
        return []
    best = max(means, key=lambda s: s.auc.value)
    words = f"{mean_words(best.auc)} (n = {best.auc.n})"
    if len(means) == 1:
        return [f"Mean over seeds: {words}."]
    return [f"Highest mean over seeds, also chosen in hindsight: {words} at {at(best.at)}."]


def mean_words(mean: Mean, sign: str = "") -> str:
    """A mean with its interval, if there is one."""
    if mean.ci95 is None:
        return f"{mean.value:{sign}.3f}{_no_interval(mean)}"
    return interval(mean.value, mean.ci95, sign)


def _no_interval(mean: Mean) -> str:
    if mean.n == 1:
        return ""
    few = mean.n < FEWEST_SEEDS
    return f", {'too few seeds for an interval' if few else 'the same value for all seeds'}"


def _usual(sweep: Sweep) -> str:
    """What to expect without hindsight."""
    rows = by_auc(sweep)
    areas = [row["auc"] for row in rows]
    usual = usual_row(sweep)
    more = (
        ""
        if usual is None
        else f" The point with the most common settings, {setting_text(sweep, usual)}, has "
        f"{_area(usual)}."
    )
    return (
        f"The median AUC of all {len(areas)} points is {statistics.median(areas):.3f} (range "
        f"{areas[-1]:.3f} to {areas[0]:.3f}).{more}"
    )


def usual_row(sweep: Sweep) -> Mapping[str, Any] | None:
    """The main attack at the point that has the value of most points on every axis, if there is."""
    rows = attack_rows(sweep, main_attack(sweep))
    usual = {}
    for axis in sweep.axes:
        value, count = Counter(axis_text(row[axis]) for row in rows).most_common(1)[0]
        if 2 * count <= len(rows) and not is_repeat(axis):
            return None
        if not is_repeat(axis):
            usual[axis] = value
    if not usual:
        return None
    same = (row for row in rows if all(axis_text(row[a]) == v for a, v in usual.items()))
    return next(same, None)


def _confounded(sweep: Sweep) -> list[str]:
    """The points whose AUCs are not about membership alone, if there are any."""
    rows = attack_rows(sweep, main_attack(sweep))
    confounded = [r["point"] for r in rows if r["blind_verdict"] == Verdict.CONFOUNDED]
    if not confounded:
        return []
    return [
        "Points with a confounded split, where the AUC of an attack does not measure membership "
        f"alone: {listed(confounded, NAMED)}."
    ]


def _reversed(sweep: Sweep) -> list[str]:
    """The points whose AUC is significantly below 0.5, if there are any."""
    main = main_attack(sweep)
    points = [r["point"] for r in attack_rows(sweep, main) if r["auc_ci95_high"] < 0.5]
    if not points:
        return []
    return [
        f"Points where the AUC of the {main} attack is significantly below 0.5: "
        f"{listed(points, NAMED)}; {SWAPPED}"
    ]


def _split(sweep: Sweep) -> list[str]:
    """What the points' own checks say: whether their numbers are about membership."""
    rows = attack_rows(sweep, main_attack(sweep))
    counts = Counter(str(row["blind_verdict"]) for row in rows)
    lines = ["Splits: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) + "."]
    tested = [row for row in rows if row["excess"] is not None]
    above = sum(row["excess_ci95_low"] > 0 for row in tested)
    lines.append(
        f"The {main_attack(sweep)} attack exceeds the best blind baseline at {above} of "
        f"{len(tested)} points (with 95 % confidence at each point separately)."
    )
    return lines


def setting_text(sweep: Sweep, row: Mapping[str, Any]) -> str:
    """A point by its number, and by what tells it from the others."""
    where = at({axis: axis_text(row[axis]) for axis in sweep.axes})
    return f"point {row['point']}" + (f" ({where})" if where else "")


def at(axes: Mapping[str, str]) -> str:
    """Values of axes in words: ``layers 1,2, ridge 10``."""
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in axes.items())


def heads(sweep: Sweep) -> list[str]:
    """Headers of the table of points."""
    first = main_attack(sweep)
    others = [f"AUC {a}" for a in attacks(sweep) if a != first]
    axes = [axis.replace("_", " ") for axis in sweep.axes]
    return ["point", *axes, f"AUC {first}", *others, "gain", "over blind", "split"]


def cells(sweep: Sweep) -> list[list[tuple[Any, str]]]:
    """The rows below :func:`heads`, highest AUC first: each cell's sorting value and its text."""
    main = main_attack(sweep)
    others = [
        {row["point"]: row for row in attack_rows(sweep, attack)}
        for attack in attacks(sweep)
        if attack != main
    ]
    return [
        [
            (row["point"], str(row["point"])),
            *((_sortable(row[axis]), axis_text(row[axis])) for axis in sweep.axes),
            _estimate(row, "auc"),
            *(_estimate(rows.get(row["point"], {}), "auc") for rows in others),
            _estimate(row, "difference", "+"),
            _estimate(row, "excess", "+"),
            (row["blind_verdict"], row["blind_verdict"]),
        ]
        for row in by_auc(sweep)
    ]


def _sortable(value: object) -> object:
    return "" if value is None else value


def _estimate(row: Mapping[str, Any], name: str, sign: str = "") -> tuple[Any, str]:
    if row.get(name) is None:
        return "", "-"
    limits = row[f"{name}_ci95_low"], row[f"{name}_ci95_high"]
    return row[name], interval(row[name], limits, sign)


def text(sweep: Sweep) -> str:
    """The points by their AUC and the findings, for the terminal."""
    rows = cells(sweep)
    shown = [[words for _, words in row] for row in rows[:PRINTED]]
    lines = aligned([heads(sweep), *shown], flush_left=0)
    if len(rows) > PRINTED:
        lines.append(f"and {len(rows) - PRINTED} more in results.csv")
    failed = [f"point {p.number} {p.state}: {p.reason}" for p in sweep.points if p.reason]
    more = [f"and {len(failed) - NAMED} more in report.html"] if len(failed) > NAMED else []
    return "\n".join([*lines, "", *summary(sweep), *failed[:NAMED], *more])
