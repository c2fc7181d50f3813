"""A sweep's points as tables: every number of every point, and means over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mia_lab.evaluation.repeats import Mean, mean_over_repeats
from mia_lab.evaluation.results import Sweep, SweepPoint
from mia_lab.reporting.labels import as_typed, short_key, telling_keys

Row = dict[str, Any]

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
"""Columns that every table has, and the keys of the configuration that they show."""

UNSET = "none"
"""On an axis, what a point has that leaves the key out."""


@dataclass(frozen=True)
class Setting:
    """Points that differ in their seeds alone.

    Attributes:
        at: the values of the other axes, as text.
        points: their numbers.
        auc: of one attack.
        gain: of its AUC over that of the reconstruction attack; None where it is not known.
    """

    at: Mapping[str, str]
    points: tuple[int, ...]
    auc: Mean
    gain: Mean | None


def measured(metrics: Mapping[str, Any]) -> tuple[Row, ...]:
    """One row an attack, then one a blind baseline, of an audit's ``metrics.json``.

    What could not be measured, or has no meaning for a blind baseline, is None.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not what an audit writes.
    """
    blind = metrics["blind"]
    shared = {
        "blind_best": blind["best"],
        "blind_max": blind["max"],
        "blind_verdict": blind["verdict"],
        "n_members": metrics["n_members"],
        "n_nonmembers": metrics["n_nonmembers"],
        **{f"utility_{k}": v for k, v in (metrics.get("utility") or {}).items() if k != "n"},
        **{f"seconds_{stage}": float(s) for stage, s in metrics["timing_s"].items()},
    }
    found = {True: blind["baselines"], False: metrics["attacks"]}
    if not found[False]:
        raise ValueError("no attacks")
    return tuple(
        _row(name, is_blind, found[is_blind][name], metrics) | shared
        for is_blind in (False, True)
        for name in found[is_blind]
    )


def _row(name: str, is_blind: bool, e: Mapping[str, Any], metrics: Mapping[str, Any]) -> Row:
    row: Row = {"attack": name, "blind": is_blind} | _limits("auc", e["auc"], e["auc_ci95"])
    knows = e.get("knowledge", {})  # a blind baseline asks no victim
    row |= {key: knows.get(key) for key in ("queries", "images", "trainings")}
    for fpr, rate in e["tpr_at_fpr"].items():
        value, ci95 = (None, None) if rate is None else (rate["value"], rate["ci95"])
        row |= _limits(f"tpr_at_fpr_{fpr}", value, ci95)
    for column, key in (("excess", "excess"), ("difference", "comparisons")):
        tests = [c for c in metrics[key] if c["first"] == name and not is_blind]
        value, ci95 = (tests[0]["difference"], tests[0]["ci95"]) if tests else (None, None)
        row |= _limits(column, value, ci95)
    return row


def _limits(name: str, value: float | None, ci95: Sequence[float] | None) -> Row:
    low, high = (None, None) if ci95 is None else map(float, ci95)
    number = None if value is None else float(value)
    return {name: number, f"{name}_ci95_low": low, f"{name}_ci95_high": high}


def tabulate(points: Sequence[SweepPoint]) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """The axes of a sweep, and its tidy table.

    Args:
        points: those without numbers are left out.

    Returns:
        Columns that differ between the points, and the rows, all with the same columns.
    """
    done = [point for point in points if point.measured]
    known = [dict(point.settings) for point in done if point.settings]
    telling = telling_keys(known) if known else []
    keys = _columns(telling, known)
    shown = {name: _alike([_get(p.settings, key) for p in done]) for name, key in keys.items()}
    rows = []
    for i, point in enumerate(done):
        settings = {name: values[i] for name, values in shown.items()}
        for found in point.measured:
            start = {"point": point.number, "attack": found["attack"], "blind": found["blind"]}
            rows.append({**start, **settings, **found, "folder": point.folder})
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name != "folder"]
    told = {_said(key, keys, known) for key in telling}
    axes = tuple(name for name in keys if name in told)
    return axes, tuple({name: row.get(name) for name in (*names, "folder")} for row in rows)


def _columns(telling: Iterable[str], known: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The columns of every table, and those of this sweep that no other one shows."""
    columns = dict(SETTINGS)
    for key in telling:
        if (name := _said(key, columns, known)) not in columns:
            columns[name] = key
    return columns


def _said(key: str, columns: Mapping[str, str], known: Sequence[Mapping[str, Any]]) -> str:
    """The column that shows a key, or a copy of it; a new one is called by the key."""
    for name, shown in columns.items():
        copied = shown.rpartition(".")[2] == key.rpartition(".")[2]
        if shown == key or (copied and all(_get(s, shown) == _get(s, key) for s in known)):
            return name
    return short_key(key)


def _get(settings: Mapping[str, Any], key: str) -> Any:
    value = settings.get(key)
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _alike(values: Sequence[Any]) -> list[Any]:
    """Values of one type, as files with typed columns want them: numbers, or else texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or kinds <= {bool} or kinds <= {str}:
        return list(values)
    return [None if value is None else as_typed(value) for value in values]


def is_repeat(axis: str) -> bool:
    """Whether points that differ in this axis alone repeat one experiment."""
    return axis.rpartition(".")[2] == "seed"


def setting_axes(found: Sweep) -> list[str]:
    """The axes but for seeds."""
    return [axis for axis in found.axes if not is_repeat(axis)]


def axis_text(value: object) -> str:
    """A value of an axis as it is written beside it."""
    if value is None:
        return UNSET
    return f"{value:.12g}" if isinstance(value, float) else as_typed(value)


def main_attack(found: Sweep) -> str:
    """The attack that figures and orders are about: membership, or the last there is."""
    names = attacks(found)
    return "membership" if "membership" in names else names[-1]


def attacks(found: Sweep) -> list[str]:
    """All attacks of all points, each once; no blind baselines."""
    return list(dict.fromkeys(row["attack"] for row in found.rows if not row["blind"]))


def attack_rows(found: Sweep, attack: str) -> list[Mapping[str, Any]]:
    """The rows of one attack, in the order of the points."""
    return [row for row in found.rows if row["attack"] == attack and not row["blind"]]


def settings(found: Sweep, attack: str) -> list[Setting]:
    """Means over seeds, one a combination of the other axes; points without settings left out."""
    known = {point.number for point in found.points if point.settings}
    axes = setting_axes(found)
    cells: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in attack_rows(found, attack):
        if row["point"] in known:
            cells.setdefault(tuple(axis_text(row[axis]) for axis in axes), []).append(row)
    return [
        Setting(
            at=dict(zip(axes, values, strict=True)),
            points=tuple(row["point"] for row in rows),
            auc=mean_over_repeats([row["auc"] for row in rows]),
            gain=_mean([row["difference"] for row in rows]),
        )
        for values, rows in cells.items()
    ]


def _mean(values: Sequence[float | None]) -> Mean | None:
    known = [value for value in values if value is not None]
    return mean_over_repeats(known) if known else None


def mean_rows(found: Sweep) -> list[Row]:
    """The table of means: a row an attack and setting."""
    return [
        {"attack": attack, **setting.at, "n": setting.auc.n}
        | _mean_limits("auc", setting.auc)
        | _mean_limits("difference", setting.gain)
        | {"points": " ".join(map(str, setting.points))}
        for attack in attacks(found)
        for setting in settings(found, attack)
    ]


def _mean_limits(name: str, mean: Mean | None) -> Row:
    value, ci95 = (None, None) if mean is None else (mean.value, mean.ci95)
    return _limits(f"{name}_mean", value, ci95)


def by_auc(found: Sweep) -> list[Mapping[str, Any]]:
    """The main attack's rows, highest AUC first; of equals, the first point."""
    rows = attack_rows(found, main_attack(found))
    return sorted(rows, key=lambda row: (-row["auc"], row["point"]))
