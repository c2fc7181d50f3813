"""What the tables and figures of all studies share."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mia_lab.errors import UserError
from mia_lab.evaluation.repeats import Mean, mean_over_repeats
from mia_lab.reporting.canvas import attack_colours

Row = dict[str, str]

Measurement = tuple[dict[str, Any], Callable[[], Iterable[dict[str, Any]]]]
"""What is measured, which are columns of all its rows, and what gives the rest of the rows."""

Measurements = Callable[[], Iterable[Measurement]]

Value = TypeVar("Value", bound=Hashable)

NAMES = {"facades": "Facades", "maps": "Maps", "cityscapes": "Cityscapes"}


def data_root() -> Path:
    """The folder with the real data.

    Raises:
        UserError: none is named.
    """
    if not (root := os.environ.get("MIA_LAB_DATA")):
        raise UserError(
            "the study needs real data: set MIA_LAB_DATA to the folder that holds facades/, maps/ "
            "and cityscapes/"
        )
    return Path(root)


def read(file: Path) -> list[Row]:
    """All rows of a CSV file."""
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def rows(file: Path, **wanted: str) -> list[Row]:
    """Rows of a CSV file, those alone that have the wanted values."""
    return select(read(file), **wanted)


def select(found: Iterable[Row], **wanted: str) -> list[Row]:
    """Those rows that have the wanted values."""
    return [row for row in found if all(row[k] == v for k, v in wanted.items())]


def grouped(found: Iterable[Row], value: Callable[[Row], Value]) -> dict[Value, list[Row]]:
    """Rows by a value of each, in the order in which the values first occur."""
    groups: dict[Value, list[Row]] = {}
    for row in found:
        groups.setdefault(value(row), []).append(row)
    return groups


def override(row: Row, key: str) -> str:
    """The value that was typed for a key of the configuration; empty where none was."""
    typed = dict(part.partition("=")[::2] for part in row["overrides"].split())
    return typed.get(key, "")


def epoch(row: Row) -> int:
    """After which epoch of its training the victim was audited."""
    return int(row["epoch"] or row["epochs"])


def by_epoch(file: Path, attack: str) -> dict[int, list[Row]]:
    """The rows of one attack by :func:`epoch`, in its order."""
    return dict(sorted(grouped(rows(file, attack=attack), epoch).items()))


def listed(values: Iterable[object]) -> str:
    """As a sweep or a list is typed on a command line."""
    return ",".join(map(str, values))


def kept(epochs: Sequence[int]) -> str:
    """What is typed for one training whose weights are kept after each of some epochs."""
    return f"demo_epochs={epochs[-1]} 'victim.keep_epochs=[{listed(epochs[:-1])}]'"


def grid_gains(
    file: Path, setting: Callable[[Row], tuple[str, ...]]
) -> dict[tuple[str, ...], list[float]]:
    """Gain of the membership over the reconstruction error, an audit each, by setting of a grid.

    Args:
        file: with the rows of attacks; those of the grid's settings lie beside it.
        setting: names that of a row.
    """
    plain = {row["key"]: float(row["auc"]) for row in rows(file, attack="reconstruction")}
    found: dict[tuple[str, ...], list[float]] = {}
    for row in read(file.with_name(f"{file.stem}-grid.csv")):
        found.setdefault(setting(row), []).append(float(row["auc"]) - plain[row["key"]])
    return found


def mean(found: Sequence[Row], column: str) -> Mean:
    """Over seeds, with Student's 95 % interval."""
    return mean_over_repeats([float(row[column]) for row in found])


def text(value: Mean, sign: str = "") -> str:
    """As a cell of a table."""
    if value.ci95 is None:
        return f"{value.value:{sign}.3f}"
    low, high = value.ci95
    return f"{value.value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def interval(row: Row, name: str, sign: str = "") -> str:
    """An estimate of one audit with its own interval, as a cell of a table."""
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_ci95_low", "_ci95_high"))
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def estimate(found: Sequence[Row], name: str, sign: str = "") -> str:
    """Over seeds; of one seed the audit's own interval. As a cell of a table."""
    if len(found) == 1:
        return interval(found[0], name, sign)
    return text(mean(found, name), sign)


def markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *lines]
    )


def origin(found: Sequence[Row]) -> str:
    """Where rows come from: how many audits, commit, device and seeds."""
    commits = ", ".join(sorted({row["commit"][:7] for row in found}))
    devices = ", ".join(sorted({row["device"] for row in found}))
    seeds = _listed({int(row["seed"]) for row in found if "seed" in row})
    n_audits = len({row["key"] for row in found if "key" in row})
    audits = f"{n_audits} audits," if n_audits else "Measured at"
    seeds = f", seed{'s' * (not seeds.isdigit())} {seeds}" if seeds else ""
    return f"{audits} commit{'s' * (len(commits) > 7)} {commits}, {devices}{seeds}."


def _listed(numbers: set[int]) -> str:
    """Each of a few, the ends of many in a row."""
    ordered = sorted(numbers)
    if len(ordered) > 3 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered))


def canvas(width: float = 7.0, height: float = 3.2) -> Figure:
    """An empty figure."""
    return Figure(figsize=(width, height), layout="constrained")


def style(axes: Axes, *, chance: str | None = "y") -> None:
    """Quiet spines, and a line at an AUC of 0.5."""
    axes.spines[["top", "right"]].set_visible(False)
    if chance == "y":
        axes.axhline(0.5, color="#AAAAAA", lw=1, ls=":")
    elif chance == "x":
        axes.axvline(0.5, color="#AAAAAA", lw=1, ls=":")


def line(
    axes: Axes, found: Mapping[float, Sequence[Row]], colour: str, label: str, dashes: str = "-"
) -> None:
    """The mean AUC over seeds at each value of what varies, and a dot a seed."""
    means = [mean(rows, "auc").value for rows in found.values()]
    axes.plot([*found], means, dashes, color=colour, label=label)
    for at, rows in found.items():
        seeds = [float(row["auc"]) for row in rows]
        axes.plot([at] * len(seeds), seeds, ".", color=colour, ms=5)


def dots(
    axes: Axes, found: Sequence[Row], column: str, at: float, colour: str, label: str | None = None
) -> None:
    """A dot a seed and a bar at their mean, at a height."""
    values = [float(row[column]) for row in found]
    axes.plot(values, [at] * len(values), ".", color=colour, ms=5)
    axes.plot(mean_over_repeats(values).value, at, "|", color=colour, ms=9, mew=2, label=label)


def colours(attacks: Sequence[str]) -> dict[str, str]:
    """The colours that attacks have everywhere."""
    return attack_colours(list(attacks))
