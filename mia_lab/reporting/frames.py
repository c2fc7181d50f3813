"""Every table of the reports as a tidy data frame: files, W&B and pages show these.

Missing numbers are missing values of the frame: an empty cell of a CSV file, None in
:func:`records`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mia_lab.evaluation.finished import FinishedRun, PairedTest, RunComparison, Setting, SweepPoint
from mia_lab.evaluation.metrics import estimate_columns, metric_columns
from mia_lab.evaluation.metrics_file import AuditMetrics, grid_rows
from mia_lab.evaluation.repeats import Mean
from mia_lab.evaluation.results import (
    AdjustedAuc,
    Adjustment,
    AuditReport,
    AuditResult,
    Comparison,
    Estimate,
    GridPoint,
    OperatingPoint,
    Overfitting,
    Roc,
    Scoring,
    Survey,
)
from mia_lab.reporting.labels import as_typed
from mia_lab.types import DifficultyTable, Floats, ScoreTable

Row = Mapping[str, Any]

CHART_POINTS = 500
"""Points of one curve in a W&B chart, which draws some thousand in all."""

CALLED = "member"
NOT_CALLED = "not shown to be a member"


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a data frame with typed columns; a key that a row lacks, or None, is missing."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> Any:
    """Values as an array of their type; of several types, as objects."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {float}:
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    # The nullable types keep whole numbers whole beside missing ones.
    if kinds == {int}:
        return pd.array(values, dtype="Int64")
    if kinds == {bool}:
        return pd.array(values, dtype="boolean")
    return pd.Series(values, dtype="str" if kinds == {str} else object)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of plain Python values; None where a value is missing."""
    plain = table.astype(object).where(table.notna(), None)
    return [dict(zip(plain.columns, row, strict=True)) for row in plain.to_numpy().tolist()]


def score_frame(audit: AuditReport) -> pd.DataFrame:
    """One row per image: ``id``, ``is_member`` (0 or 1), each attack's error and ``difficulty``.

    ``group`` if there are groups, and each attack's ``probability`` if it could be calibrated.

    An attack's error is minus its score: low means member, as in the paper. The difficulty
    follows the reconstruction error, which it explains.

    Raises:
        KeyError: the attacks did not score the same images.
    """
    result = audit.result
    ids = [str(i) for i in result.scores[0].id]
    columns: dict[str, Any] = {"id": ids, "is_member": audit.split.is_member(ids).astype(int)}
    if any(groups := audit.split.groups(ids).tolist()):
        columns["group"] = groups
    columns |= _error_columns(result.scores, ids, result.difficulty)
    for name, quality in result.decisions.items():
        if quality.calibration is not None:
            columns[f"{name}_probability"] = quality.calibration.probability
    return pd.DataFrame(columns)


def _error_columns(
    scores: Sequence[ScoreTable], ids: Sequence[str], difficulty: Floats
) -> dict[str, Floats]:
    errors = {f"{table.attack}_error": -table.column(ids) for table in scores}
    first = {k: errors.pop(k) for k in ["reconstruction_error"] if k in errors}
    return first | {"difficulty": difficulty} | errors


def grid_frame(grid: Sequence[GridPoint]) -> pd.DataFrame:
    """One row per setting: its axes, the AUC with its interval, and a note."""
    return frame(vars(row) for row in grid_rows(grid))


def audit_frames(audit: AuditReport) -> dict[str, pd.DataFrame]:
    """Every table of an audit by its name in W&B; without those that have no rows."""
    result = audit.result
    decisions = result.decisions
    tables = {
        "scores": score_frame(audit),
        "attacks": frame(_attack_rows(result)),
        "roc_band": frame(_band_rows(result)),
        "comparisons": frame(map(_comparison_row, result.comparisons)),
        "excess": frame(map(_comparison_row, result.excess)),
        "blind": frame(_blind_rows(result)),
        "adjustment": frame(_adjustment_rows(result)),
        "slices": frame(_slice_rows(result)),
        "alpha_curve": _alpha_frame(result),
        "answers": frame(_answers_rows(result)),
        "calibration": _calibration_frame(result),
        "decisions": frame(_decision_rows(result)),
        "epsilon": frame(_epsilon_rows(result)),
        "hindsight": frame({"attack": a} | vars(q.hindsight) for a, q in decisions.items()),
        "near_duplicates": frame(
            {"first": first, "second": second, "distance": distance}
            for first, second, distance in result.near_duplicates
        ),
        "grid": grid_frame(result.grid),
        "overfitting": overfitting_frame(audit.overfitting),
    }
    return {name: table for name, table in tables.items() if len(table)}


def overfitting_frame(found: Overfitting | None) -> pd.DataFrame:
    """One row per epoch after which errors were measured; empty for a victim of somebody else."""
    return frame(
        {
            "epoch": mean.epoch,
            **estimate_columns("members", mean.members),
            **estimate_columns("nonmembers", mean.nonmembers),
        }
        for mean in (found.means if found else ())
    )


def full_roc_frame(result: AuditResult) -> pd.DataFrame:
    """``attack``, ``fpr``, ``tpr`` and ``threshold`` of all points of all curves."""
    return pd.concat(
        [
            pd.DataFrame({"attack": e.name} | vars(e.roc))
            for e in (*result.evaluations, *result.blind.baselines)
        ],
        ignore_index=True,
    )


def roc_frame(result: AuditResult) -> pd.DataFrame:
    """``attack``, ``fpr`` and ``tpr`` of all curves, at most :data:`CHART_POINTS` each."""
    return pd.concat(
        [
            pd.DataFrame({"attack": e.name, "fpr": points[:, 0], "tpr": points[:, 1]})
            for e in (*result.evaluations, *result.blind.baselines)
            for points in [thinned(e.roc)]
        ],
        ignore_index=True,
    )


def thinned(roc: Roc) -> Floats:
    """Points (fpr, tpr) of a curve, (P, 2), evenly chosen among its own, with both ends."""
    points = np.stack([roc.fpr, roc.tpr], axis=1)
    if len(points) > CHART_POINTS:
        points = points[np.linspace(0, len(points) - 1, CHART_POINTS).round().astype(int)]
    return points


def _attack_rows(result: AuditResult) -> list[Row]:
    excess = {c.first: c for c in result.excess}
    attacks = [(e, excess.get(e.name), True) for e in result.evaluations]
    attacks += [(e, None, False) for e in result.blind.baselines]
    return [
        {"attack": e.name, "sees_victim": sees_victim}
        | metric_columns(e.metrics)
        | estimate_columns("excess", None if over is None else over.estimate)
        | {"excess_over": None if over is None else over.second}
        for e, over, sees_victim in attacks
    ]


def _band_rows(result: AuditResult) -> list[Row]:
    return [
        {"attack": e.name, "fpr": fpr, "tpr_ci95_low": low, "tpr_ci95_high": high}
        for e in result.evaluations
        for fpr, low, high in _rows(e.band.fpr, e.band.low, e.band.high)
    ]


def _comparison_row(c: Comparison) -> Row:
    return {
        "first": c.first,
        "second": c.second,
        **estimate_columns("difference", c.estimate),
        "p_value": c.p_value,
    }


def _blind_rows(result: AuditResult) -> list[Row]:
    return [
        {"baseline": e.name}
        | metric_columns(e.metrics)
        | {"adjusted_p_value": result.blind.adjusted_p[e.name]}
        | {"is_best": e.name == result.blind.best}
        for e in result.blind.baselines
    ]


def _adjustment_rows(result: AuditResult) -> list[Row]:
    """One row per attack, with what holds for all of them; empty if not asked for."""
    found = result.adjustment
    if found is None:
        return []
    shared = {**_matched_columns(found), "members_outside": found.outside}
    return [
        {
            "attack": e.name,
            **estimate_columns("auc", Estimate(e.auc, e.auc_ci95)),
            **_adjusted_columns(found, e.name),
            **shared,
        }
        for e in result.evaluations
    ]


def _slice_rows(result: AuditResult) -> list[Row]:
    return [
        {
            "by": s.by,
            "part": s.name,
            "attack": s.attack,
            "n_members": s.n_members,
            "n_nonmembers": s.n_nonmembers,
            **estimate_columns("auc", s.auc),
        }
        for s in result.slices
    ]


def _alpha_frame(result: AuditResult) -> pd.DataFrame:
    curve = result.alpha_curve
    if curve is None:
        return pd.DataFrame()
    names = ("alpha", "auc", "auc_ci95_low", "auc_ci95_high")
    arrays = (curve.alpha, curve.auc, curve.low, curve.high)
    return pd.DataFrame(dict(zip(names, arrays, strict=True)))


def _answers_rows(result: AuditResult) -> list[dict[str, object]]:
    """One row for each number of answers, of each curve."""
    return [
        {
            "answers": count,
            "of": curve.name,
            "auc": area,
            "auc_ci95_low": low,
            "auc_ci95_high": high,
        }
        for curve in result.answers
        for count, area, low, high in zip(
            curve.answers.tolist(), curve.auc, curve.low, curve.high, strict=True
        )
    ]


def _calibration_frame(result: AuditResult) -> pd.DataFrame:
    """One row per bin."""
    tables = [
        pd.DataFrame(
            {
                "attack": attack,
                "predicted": found.predicted,
                "observed": found.observed,
                "observed_ci95_low": found.observed_ci95[:, 0],
                "observed_ci95_high": found.observed_ci95[:, 1],
                "count": found.count,
            }
        )
        for attack, quality in result.decisions.items()
        if (found := quality.calibration) is not None
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _decision_rows(result: AuditResult) -> list[Row]:
    """One row per attack and requested false positive rate, empty if no threshold was found."""
    points = {
        (attack, fpr): point
        for attack, quality in result.decisions.items()
        for fpr, point in quality.fixed_threshold.items()
    }
    priors = dict.fromkeys(
        prior
        for point in points.values()
        if point is not None
        for prior in point.precision_at_prior
    )
    return [
        {"attack": attack, "asked_fpr": float(fpr), **_operating_point(point, priors)}
        for (attack, fpr), point in points.items()
    ]


def _epsilon_rows(result: AuditResult) -> list[Row]:
    """One row per attack and hypothesis with a lower bound."""
    return [
        {"attack": attack, "family": name} | vars(bound)
        for attack, quality in result.decisions.items()
        for name, bound in quality.epsilon.by_hypothesis.items()
        if bound.value is not None
    ]


def _operating_point(point: OperatingPoint | None, priors: Iterable[str]) -> Row:
    """The same columns with and without a point."""
    row: dict[str, Any] = {
        "threshold": None if point is None else point.threshold,
        "n_auxiliary": None if point is None else point.n_auxiliary,
        **estimate_columns("tpr", None if point is None else point.tpr),
        **estimate_columns("fpr", None if point is None else point.fpr),
    }
    for prior in priors:
        precision = None if point is None else point.precision_at_prior[prior]
        row |= estimate_columns(f"precision_at_{prior}", precision)
    return row


def _rows(*columns: Floats) -> list[tuple[Any, ...]]:
    """Arrays of equal length as rows of Python numbers."""
    return list(zip(*(column.tolist() for column in columns), strict=True))


def attack_rows(metrics: AuditMetrics) -> list[dict[str, Any]]:
    """One row per attack, then one per blind baseline, of a finished audit.

    Numbers that could not be measured, or that a blind baseline does not have, are None.
    """
    shared = {
        **_split_columns(metrics),
        **_matched_columns(metrics.adjustment),
        **_utility_columns(metrics),
        **{f"seconds_{part}": seconds for part, seconds in metrics.timing_s.items()},
    }
    nothing = dict.fromkeys(("queries", "images", "trainings"))
    needs = {name: attack.knowledge for name, attack in metrics.attacks.items()}
    measured = [(name, False, attack.metrics) for name, attack in metrics.attacks.items()]
    measured += [(name, True, base.metrics) for name, base in metrics.blind.baselines.items()]
    return [
        {
            "attack": name,
            "blind": blind,
            **estimate_columns("auc", None),  # first of the numbers; filled in below
            **(nothing if blind else {key: getattr(needs[name], key) for key in nothing}),
            **metric_columns(numbers, compared=True),
            **estimate_columns("excess", None if blind else paired(metrics.excess, name)),
            **_adjusted_columns(None if blind else metrics.adjustment, name),
            **estimate_columns("difference", None if blind else paired(metrics.comparisons, name)),
            **shared,
        }
        for name, blind, numbers in measured
    ]


def _adjusted_columns(found: Adjustment | None, attack: str) -> dict[str, float | None]:
    of = AdjustedAuc(None, None) if found is None else found.attacks[attack]
    return {
        **estimate_columns("adjusted_auc", of.adjusted),
        **estimate_columns("matched_auc", of.matched),
    }


def _matched_columns(found: Adjustment | None) -> dict[str, Any]:
    blind = None if found is None else found.blind
    return {
        "matched_pairs": None if found is None else found.pairs,
        "effective_size": None if found is None else found.effective_size,
        "matched_blind_best": None if blind is None else blind.best,
        "matched_blind_max": None if blind is None else blind.max,
        "matched_blind_p_value": None if blind is None else blind.p_value,
    }


def _split_columns(metrics: AuditMetrics) -> dict[str, Any]:
    return {
        "blind_best": metrics.blind.best,
        "blind_max": metrics.blind.max,
        "blind_verdict": metrics.blind.verdict.value,
        "n_members": metrics.n_members,
        "n_nonmembers": metrics.n_nonmembers,
    }


def _utility_columns(metrics: AuditMetrics) -> dict[str, float]:
    numbers = {} if metrics.utility is None else vars(metrics.utility)
    return {f"utility_{name}": value for name, value in numbers.items() if name != "n"}


def paired(comparisons: Iterable[Comparison], attack: str) -> Estimate | None:
    """The difference of one attack; None if it was not compared."""
    return next((c.estimate for c in comparisons if c.first == attack), None)


def sweep_frame(points: Iterable[SweepPoint], settings: Mapping[str, str]) -> pd.DataFrame:
    """One row per finished point and attack or blind baseline.

    Args:
        points: those without numbers are left out.
        settings: columns that show the configuration, with its dotted keys.
    """
    done = [(point, point.metrics) for point in points if point.metrics is not None]
    shown = {
        name: _alike([_plain(point.settings.get(key)) for point, _ in done])
        for name, key in settings.items()
    }
    rows = [
        {"point": point.number, "attack": found["attack"], "blind": found["blind"]}
        | {name: values[i] for name, values in shown.items()}
        | found
        | {"folder": point.folder}
        for i, (point, metrics) in enumerate(done)
        for found in attack_rows(metrics)
    ]
    names = dict.fromkeys(name for row in rows for name in row if name != "folder")
    return frame({name: row.get(name) for name in (*names, "folder")} for row in rows)


def _plain(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _alike(values: Sequence[Any]) -> Sequence[Any]:
    """Values of one type, which typed files need: numbers, truth values, or else texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or kinds <= {bool} or kinds <= {str}:
        return values
    return [None if value is None else as_typed(value) for value in values]


def mean_frame(settings: Iterable[Setting]) -> pd.DataFrame:
    """One row per attack and setting, with means over seeds."""
    return frame(
        {"attack": setting.attack, **setting.at, "n": setting.auc.n}
        | _mean_columns("auc", setting.auc)
        | _mean_columns("difference", setting.gain)
        | {"points": " ".join(map(str, setting.points))}
        for setting in settings
    )


def _mean_columns(name: str, mean: Mean | None) -> dict[str, float | None]:
    value, ci95 = (None, None) if mean is None else (mean.value, mean.ci95)
    low, high = (None, None) if ci95 is None else ci95
    return {f"{name}_mean": value, f"{name}_mean_ci95_low": low, f"{name}_mean_ci95_high": high}


def run_frame(found: RunComparison) -> pd.DataFrame:
    """One row per run and attack."""
    return frame(_run_row(run, attack) for run in found.runs for attack in run.metrics.attacks)


def _run_row(run: FinishedRun, attack: str) -> Row:
    metrics = run.metrics
    return {
        "run": run.label,
        "attack": attack,
        **metric_columns(metrics.attacks[attack].metrics, compared=True),
        **estimate_columns("excess", paired(metrics.excess, attack)),
        **_adjusted_columns(metrics.adjustment, attack),
        **_split_columns(metrics),
        **_matched_columns(metrics.adjustment),
        **{key: metrics.record.get(key) for key in ("victim", "data", "seed")},
        "folder": run.folder,
        "command": metrics.command,
    }


def paired_frame(found: RunComparison) -> pd.DataFrame:
    """One row per pair of runs and attack: the test, or the reason why there is none."""
    return frame(map(_paired_row, found.paired))


def _paired_row(pair: PairedTest) -> Row:
    test = pair.found
    return {
        "attack": pair.attack,
        "first": pair.first,
        "second": pair.second,
        **estimate_columns("difference", None if test is None else test.estimate),
        "p_value": None if test is None else test.p_value,
        "holm_p_value": pair.holm_p_value,
        "reason": pair.reason,
    }


def candidate_frame(found: Scoring) -> pd.DataFrame:
    """One row per candidate, the most likely member by the last attack first; then auxiliaries.

    ``id``, ``role``, each attack's error and ``difficulty`` as in :func:`score_frame`; for each
    attack the ``rank`` among the candidates and, if there is one, the ``p_value`` and
    ``decision``. These are missing for auxiliaries.
    """
    order = np.argsort(found.result.ranks[found.result.scores[-1].attack], kind="stable")
    n, m = len(found.result.candidates), len(found.result.auxiliaries)
    ids = [*(found.result.candidates[i] for i in order), *found.result.auxiliaries]
    columns: dict[str, Any] = {"id": ids, "role": ["candidate"] * n + ["auxiliary"] * m}
    difficulty = found.result.difficulty[[*order, *range(n, n + m)]]
    columns |= _error_columns(found.result.scores, ids, difficulty)
    rest = [None] * m
    for name, rank in found.result.ranks.items():
        columns[f"{name}_rank"] = _column([*rank[order].tolist(), *rest])
        if decision := found.result.decisions.get(name):
            columns[f"{name}_p_value"] = _column([*decision.p_value[order].tolist(), *rest])
            words = [CALLED if called else NOT_CALLED for called in decision.is_called[order]]
            columns[f"{name}_decision"] = _column([*words, *rest])
    return pd.DataFrame(columns)


def setting_axes(table: DifficultyTable, setting: int) -> dict[str, str]:
    """One setting of the difficulty score, by its axes."""
    return {
        "layers": str(table.layers[setting]),
        "ridge": str(table.ridge[setting]),
        "features_from": str(table.features_from[setting]),
        "backbone": str(table.backbone[setting]),
    }


def setting_labels(table: DifficultyTable) -> list[str]:
    """A short name for each setting: only what differs between them, ``layers 1,2 ridge 10``."""
    settings = [setting_axes(table, i) for i in range(len(table.layers))]
    varying = [k for k in settings[0] if len({s[k] for s in settings}) > 1] or ["layers", "ridge"]
    return [" ".join(f"{k.replace('_', ' ')} {s[k]}" for k in varying) for s in settings]


def difficulty_frame(table: DifficultyTable) -> pd.DataFrame:
    """One row per image, hardest last: ``id``, ``difficulty`` as configured, other settings.

    Where it applies: ``repeat_sd``, the spread of the configured score over its repeats;
    ``penalty``, if ``auto`` chose it (geometric mean); ``rank``, if the penalty is 0.
    """
    mean = table.mean()
    order = mean[:, 0].argsort(kind="stable")
    columns: dict[str, Any] = {"id": table.id[order], "difficulty": mean[order, 0]}
    configured = table.score[order, 0]
    if configured.shape[1] > 1:
        columns["repeat_sd"] = configured.std(axis=1, ddof=1)
    if table.ridge[0] == "auto":
        columns["penalty"] = np.exp(np.log(table.penalty[order, 0]).mean(axis=1))
    if table.ridge[0] == "0":
        columns["rank"] = table.rank[order, 0].min(axis=1)
    for setting, label in enumerate(setting_labels(table)):
        if setting > 0:
            columns[label] = mean[order, setting]
    return pd.DataFrame(columns)


def agreement_frame(survey: Survey) -> pd.DataFrame:
    """One row per pair of settings, with Spearman's rank correlation; empty for one setting."""
    labels = setting_labels(survey.difficulty)
    return frame(
        {"first": labels[a], "second": labels[b], "spearman": float(survey.correlation[a, b])}
        for a, b in combinations(range(len(labels)), 2)
    )
