"""What ``task=collect`` found, as files and words."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mia_lab.evaluation.repeats import Mean
from mia_lab.evaluation.finished import Sweep
from mia_lab.evaluation.results import Verdict
from mia_lab.reporting.canvas import Picture
from mia_lab.reporting.files import write_csv, write_parquet, write_pictures
from mia_lab.reporting.sweep_table import (
    attack_rows,
    attacks,
    axis_text,
    by_auc,
    is_repeat,
    main_attack,
    mean_rows,
    settings,
)
from mia_lab.reporting.tables import columns_of
from mia_lab.reporting.text import aligned, interval

STATES = ("done", "failed", "running", "planned", "damaged", "other")
"""All there are, in the order in which they are named."""

WORDS = {
    "running": "running or killed",
    "planned": "not begun or interrupted",
    "other": "not a whole audit",
}

PRINTED = 30
"""Points listed in the terminal."""

NAMED = 8
"""Points that a sentence names."""


def write_files(found: Sweep, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``results.csv`` and ``.parquet``, ``means.csv`` of repeated settings, and the pictures.

    Args:
        found: the sweep.
        pictures: from :func:`mia_lab.reporting.sweep_figures.draw`.
        folder: where to write; exists.
    """
    import pyarrow as pa

    tables = sweep_tables(found)
    for name, columns in tables.items():
        write_csv(columns, folder / f"{name}.csv")
    known = {
        name: values if any(v is not None for v in values) else pa.array(values, pa.float64())
        for name, values in tables["results"].items()
    }
    write_parquet(known, folder / "results.parquet")
    write_pictures(pictures, folder)


def sweep_tables(found: Sweep) -> dict[str, dict[str, list[Any]]]:
    """``results``, and ``means`` where points repeat each other."""
    tables = {"results": columns_of(found.rows)}
    if has_repeats(found):
        tables["means"] = columns_of(mean_rows(found))
    return tables


def has_repeats(found: Sweep) -> bool:
    """Whether some points differ in their seeds alone."""
    return any(s.auc.n > 1 for s in settings(found, main_attack(found)))


def sweep_summary(found: Sweep) -> dict[str, float]:
    """The numbers of a sweep by name."""
    counts = Counter(point.state for point in found.points)
    numbers: dict[str, float] = {"points": len(found.points) + len(found.missing)}
    numbers |= {f"points/{state}": counts[state] for state in STATES if counts[state]}
    numbers |= {"points/done": len(found.done), "points/failed": counts["failed"]}
    numbers["points/missing"] = len(found.missing)
    for attack in attacks(found):
        areas = [row["auc"] for row in attack_rows(found, attack)]
        numbers[f"auc_best/{attack}"] = max(areas)
        numbers[f"auc_median/{attack}"] = statistics.median(areas)
    return numbers


def states(found: Sweep) -> str:
    """How many points are in which state: ``34 done, 1 failed``."""
    counts = Counter(point.state for point in found.points)
    said = [f"{counts[s]} {WORDS.get(s, s)}" for s in STATES if counts[s]]
    return ", ".join([*said, *([f"{len(found.missing)} missing"] if found.missing else [])])


def summary(found: Sweep) -> list[str]:
    """The findings in sentences, the state of the sweep first."""
    total = len(found.points) + len(found.missing)
    more = f" ({states(found)})" if len(found.done) < total else ""
    lines = [f"{len(found.done)} of {total} points are done{more}."]
    if found.missing:
        lines.append(f"No folder: {some(found.missing)}.")
    return [*lines, _best(found), *_best_setting(found), _usual(found), *_split(found)]


def _best(found: Sweep) -> str:
    best, *rest = by_auc(found)
    equal = sum(row["auc"] == best["auc"] for row in rest)
    more = f", and at {equal} more" if equal else ""
    return (
        f"Highest AUC of the {best['attack']} attack, chosen in hindsight: {_area(best)} at "
        f"{place(found, best)}{more}."
    )


def _area(row: Mapping[str, Any]) -> str:
    return _estimate(row, "auc")[1]


def _best_setting(found: Sweep) -> list[str]:
    """Of means over seeds; where there is but one mean, nothing is chosen in hindsight."""
    means = settings(found, main_attack(found))
    if not has_repeats(found):
        return []
    best = max(means, key=lambda s: s.auc.value)
    words = f"{mean_words(best.auc)} (n = {best.auc.n})"
    if len(means) == 1:
        return [f"Mean over seeds: {words}."]
    return [f"Highest mean over seeds, in hindsight too: {words}, {at(best.at)}."]


def mean_words(mean: Mean, sign: str = "") -> str:
    """A mean with its interval; alone where one run has none."""
    if mean.ci95 is None:
        return f"{mean.value:{sign}.3f}"
    return interval(mean.value, mean.ci95, sign)


def _usual(found: Sweep) -> str:
    """What to expect without hindsight."""
    rows = by_auc(found)
    areas = [row["auc"] for row in rows]
    middle = f"The median of all {len(areas)} is {statistics.median(areas):.3f}"
    spread = f"from {areas[-1]:.3f} to {areas[0]:.3f}" if len(areas) > 1 else "as the only one"
    usual = usual_row(found)
    if usual is None:
        return f"{middle}, {spread}."
    return f"{middle}, {spread}; the usual point, {place(found, usual)}, has {_area(usual)}."


def usual_row(found: Sweep) -> Mapping[str, Any] | None:
    """The main attack at the point that has the value of most points on every axis, if there is."""
    rows = attack_rows(found, main_attack(found))
    usual = {}
    for axis in found.axes:
        value, count = Counter(axis_text(row[axis]) for row in rows).most_common(1)[0]
        if 2 * count <= len(rows) and not is_repeat(axis):
            return None
        if not is_repeat(axis):
            usual[axis] = value
    if not usual:
        return None
    same = (row for row in rows if all(axis_text(row[a]) == v for a, v in usual.items()))
    return next(same, None)


def _split(found: Sweep) -> list[str]:
    """What the points' own checks say: whether their numbers are about membership."""
    rows = attack_rows(found, main_attack(found))
    counts = Counter(str(row["blind_verdict"]) for row in rows)
    lines = ["Splits: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) + "."]
    confounded = [r["point"] for r in rows if r["blind_verdict"] == Verdict.CONFOUNDED]
    if confounded:
        lines.append(
            "Where a split is confounded, an attack's AUC is not about membership alone: "
            f"points {some(confounded)}."
        )
    tested = [row for row in rows if row["excess"] is not None]
    above = sum(row["excess_ci95_low"] > 0 for row in tested)
    lines.append(
        f"The {main_attack(found)} attack exceeds the best attack that never sees the victim, with "
        f"95 % confidence for each point by itself, at {above} of {len(tested)} points."
    )
    return lines


def some(items: Sequence[object]) -> str:
    """The first of many."""
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(map(str, items[:NAMED])) + more


def place(found: Sweep, row: Mapping[str, Any]) -> str:
    """A point by its number, and by what tells it from the others."""
    where = at({axis: axis_text(row[axis]) for axis in found.axes})
    return f"point {row['point']}" + (f" ({where})" if where else "")


def at(axes: Mapping[str, str]) -> str:
    """Values of axes in words: ``layers 1,2, ridge 10``."""
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in axes.items())


def heads(found: Sweep) -> list[str]:
    """Headers of the table of points."""
    first = main_attack(found)
    others = [f"AUC {a}" for a in attacks(found) if a != first]
    axes = [axis.replace("_", " ") for axis in found.axes]
    return ["point", *axes, f"AUC {first}", *others, "gain", "over blind", "split"]


def cells(found: Sweep, row: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """A point's row below :func:`heads`: what each cell is sorted by, and its words."""
    areas = [row, *(_other(found, row["point"], a) for a in attacks(found) if a != row["attack"])]
    return [
        (row["point"], str(row["point"])),
        *((_sortable(row[axis]), axis_text(row[axis])) for axis in found.axes),
        *(_estimate(other, "auc") for other in areas),
        _estimate(row, "difference", "+"),
        _estimate(row, "excess", "+"),
        (row["blind_verdict"], row["blind_verdict"]),
    ]


def _sortable(value: object) -> object:
    return "" if value is None else value


def _other(found: Sweep, point: int, attack: str) -> Mapping[str, Any]:
    rows = (row for row in found.rows if row["attack"] == attack and row["point"] == point)
    return next(rows, {})


def _estimate(row: Mapping[str, Any], name: str, sign: str = "") -> tuple[Any, str]:
    if row.get(name) is None:
        return "", "-"
    limits = row[f"{name}_ci95_low"], row[f"{name}_ci95_high"]
    return row[name], interval(row[name], limits, sign)


def text(found: Sweep) -> str:
    """The points by their AUC and the findings, for the terminal."""
    rows = by_auc(found)
    shown = [[words for _, words in cells(found, row)] for row in rows[:PRINTED]]
    lines = aligned([heads(found), *shown], flush_left=0)
    if len(rows) > PRINTED:
        lines.append(f"and {len(rows) - PRINTED} more in results.csv")
    failed = [f"point {p.number} {p.state}: {p.reason}" for p in found.points if p.reason]
    more = [f"and {len(failed) - NAMED} more in report.html"] if len(failed) > NAMED else []
    return "\n".join([*lines, "", *summary(found), *failed[:NAMED], *more])
