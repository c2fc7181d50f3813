"""How the points of a sweep differ: axes, settings and means over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mia_lab.evaluation.finished import Setting, Sweep, SweepPoint
from mia_lab.evaluation.repeats import Mean, mean_over_seeds
from mia_lab.reporting.frames import records
from mia_lab.reporting.labels import as_typed, differing_keys, short_key

SETTINGS = {
    "data": "data.name",
    "victim": "victim.name",
    "seed": "seed",
    "layers": "difficulty.layers",
    "ridge": "difficulty.ridge",
    "alpha": "attack.alpha",
    "backbone": "backbone.name",
    "features_from": "difficulty.features_from",
    "epochs": "victim.epochs",
    "epoch": "victim.epoch",
}
"""Columns of every table, and the configuration keys that they show."""

UNSET = "none"
"""Value of an axis at a point whose configuration lacks the key."""

Settings = Mapping[str, Any]


def setting_columns(points: Iterable[SweepPoint]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The columns that show the configuration of a sweep's points.

    Args:
        points: those without numbers are left out.

    Returns:
        The configuration key of each column: :data:`SETTINGS`, then a column for each key that
        differs between the points and that no other column shows; and the columns that differ.
    """
    known = [
        dict(point.settings) for point in points if point.metrics is not None and point.settings
    ]
    differing = differing_keys(known) if known else []
    columns = dict(SETTINGS)
    for key in differing:
        columns.setdefault(_column(key, columns, known), key)
    axes = {_column(key, columns, known) for key in differing}
    return columns, tuple(name for name in columns if name in axes)


def _column(key: str, columns: Mapping[str, str], known: Sequence[Settings]) -> str:
    """The column that shows a key, or a copy of it; else a new one, named by the key."""
    for name, shown in columns.items():
        is_copy = shown.rpartition(".")[2] == key.rpartition(".")[2]
        if shown == key or (is_copy and all(s.get(shown) == s.get(key) for s in known)):
            return name
    return short_key(key)


def is_repeat(axis: str) -> bool:
    """Whether points that differ in this axis alone repeat one experiment."""
    return axis.rpartition(".")[2] == "seed"


def setting_axes(sweep: Sweep) -> list[str]:
    """The axes without seeds."""
    return [axis for axis in sweep.axes if not is_repeat(axis)]


def axis_text(value: object) -> str:
    """A value of an axis as text."""
    if value is None:
        return UNSET
    return f"{value:.12g}" if isinstance(value, float) else as_typed(value)


def main_attack(sweep: Sweep) -> str:
    """The attack that figures and orders are about: membership, or the last one."""
    names = attacks(sweep)
    return "membership" if "membership" in names else names[-1]


def attacks(sweep: Sweep) -> list[str]:
    """All attacks of all points, each once; no blind baselines."""
    names: list[str] = sweep.rows.loc[~sweep.rows["blind"], "attack"].unique().tolist()
    return names


def attack_rows(sweep: Sweep, attack: str) -> list[dict[str, Any]]:
    """The rows of one attack, in the order of the points."""
    rows = sweep.rows
    return records(rows[(rows["attack"] == attack) & ~rows["blind"]])


def settings(sweep: Sweep, attack: str) -> list[Setting]:
    """Means over seeds, one per combination of the other axes.

    Points of unknown settings are left out.
    """
    known = {point.number for point in sweep.points if point.settings}
    axes = setting_axes(sweep)
    cells: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in attack_rows(sweep, attack):
        if row["point"] in known:
            cells.setdefault(tuple(axis_text(row[axis]) for axis in axes), []).append(row)
    return [
        Setting(
            attack=attack,
            at=dict(zip(axes, values, strict=True)),
            points=tuple(row["point"] for row in rows),
            auc=mean_over_seeds([row["auc"] for row in rows], 0, 1),
            gain=_mean([row["difference"] for row in rows]),
        )
        for values, rows in cells.items()
    ]


def _mean(values: Sequence[float | None]) -> Mean | None:
    known = [value for value in values if value is not None]
    return mean_over_seeds(known, -1, 1) if known else None


def all_settings(sweep: Sweep) -> list[Setting]:
    """The settings of every attack."""
    return [setting for attack in attacks(sweep) for setting in settings(sweep, attack)]


def has_repeats(sweep: Sweep) -> bool:
    """Whether some points differ in their seeds alone."""
    return any(setting.auc.n > 1 for setting in settings(sweep, main_attack(sweep)))


def by_auc(sweep: Sweep) -> list[dict[str, Any]]:
    """The main attack's rows, highest AUC first; of equals, the first point."""
    rows = attack_rows(sweep, main_attack(sweep))
    return sorted(rows, key=lambda row: (-row["auc"], row["point"]))
