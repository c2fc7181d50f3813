"""The scores of the images, and of the grid's points, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mia_lab.evaluation.results import AuditResult, GridPoint
from mia_lab.types import DifficultyTable, Floats, ScoreTable


def score_columns(result: AuditResult) -> dict[str, list[Any]]:
    """One row an image: ``id``, ``is_member`` (0 or 1), each attack's error and ``difficulty``.

    ``group`` where there are any, and each attack's ``probability`` where it could be calibrated.

    An attack's error is minus its score, so that low means member as in the paper. The difficulty
    follows the reconstruction error, which it explains.

    Raises:
        KeyError: the attacks did not score the same images.
    """
    ids = [str(i) for i in result.scores[0].id]
    is_member = result.split.is_member(ids).astype(int).tolist()
    columns: dict[str, list[Any]] = {"id": ids, "is_member": is_member}
    if any(groups := result.split.groups(ids).tolist()):
        columns["group"] = groups
    columns |= error_columns(result.scores, ids, result.difficulty)
    for name, practice in result.practice.items():
        if practice.calibration is not None:
            columns[f"{name}_probability"] = practice.calibration.probability.tolist()
    return columns


def error_columns(
    scores: Sequence[ScoreTable], ids: Sequence[str], difficulty: Floats
) -> dict[str, list[Any]]:
    """The attacks' errors and ``difficulty`` of the given images, see :func:`score_columns`.

    Raises:
        KeyError: an attack did not score one of the images.
    """
    errors = {f"{table.attack}_error": (-table.column(ids)).tolist() for table in scores}
    first = {k: errors.pop(k) for k in ["reconstruction_error"] if k in errors}
    return first | {"difficulty": difficulty.tolist()} | errors


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows with the same keys as columns."""
    return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}


def grid_axes(point: GridPoint) -> dict[str, str]:
    """Where a point lies in the grid."""
    return {
        "layers": point.layers,
        "ridge": point.ridge,
        "alpha": f"{point.alpha:.12g}",
        "features_from": point.features_from,
        "backbone": point.backbone,
    }


def best_point(grid: Sequence[GridPoint]) -> int:
    """Index of the highest AUC; of equals, the first."""
    return max(range(len(grid)), key=lambda i: (grid[i].auc, -i))


def grid_rows(grid: Sequence[GridPoint]) -> list[dict[str, Any]]:
    """One row a point: its axes, AUC, interval, and whether it was configured, or the best."""
    best = best_point(grid) if grid else 0
    return [
        {
            **grid_axes(point),
            "auc": point.auc,
            "auc_ci95_low": point.auc_ci95[0],
            "auc_ci95_high": point.auc_ci95[1],
            "note": ", ".join(_notes(i, best)),
        }
        for i, point in enumerate(grid)
    ]


def _notes(index: int, best: int) -> list[str]:
    said = {"configured": 0, "best, chosen in hindsight": best}
    return [words for words, place in said.items() if place == index]


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


def difficulty_columns(table: DifficultyTable) -> dict[str, list[Any]]:
    """One row an image, hardest last: ``id``, ``difficulty`` as configured, then other settings.

    Where it says something: ``repeat_sd``, the spread of the configured score over its repeats;
    ``penalty``, where ``auto`` chose it (geometric mean); ``rank``, where the penalty is 0.
    """
    mean = table.mean()
    order = mean[:, 0].argsort(kind="stable")
    columns = {"id": table.id[order].tolist(), "difficulty": mean[order, 0].tolist()}
    configured = table.score[order, 0]
    if configured.shape[1] > 1:
        columns["repeat_sd"] = configured.std(axis=1, ddof=1).tolist()
    if table.ridge[0] == "auto":
        columns["penalty"] = np.exp(np.log(table.penalty[order, 0]).mean(axis=1)).tolist()
    if table.ridge[0] == "0":
        columns["rank"] = table.rank[order, 0].min(axis=1).tolist()
    for setting, label in enumerate(setting_labels(table)):
        if setting > 0:
            columns[label] = mean[order, setting].tolist()
    return columns
