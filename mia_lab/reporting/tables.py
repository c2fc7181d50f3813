"""The per-image scores as one table."""

from __future__ import annotations

from typing import Any

from mia_lab.types import AuditResult


def score_columns(result: AuditResult) -> dict[str, list[Any]]:
    """One row an image: ``id``, ``is_member`` (0 or 1), each attack's error and ``difficulty``.

    An attack's error is minus its score, so that low means member as in the paper. The difficulty
    follows the reconstruction error, which it explains.

    Raises:
        KeyError: the attacks did not score the same images.
    """
    ids = [str(i) for i in result.scores[0].id]
    errors: dict[str, list[float]] = {}
    for table in result.scores:
        error = dict(zip(table.id.tolist(), (-table.score).tolist(), strict=True))
        errors[f"{table.attack}_error"] = [error[i] for i in ids]
    first = {k: errors.pop(k) for k in ["reconstruction_error"] if k in errors}
    is_member = result.split.is_member(ids).astype(int).tolist()
    difficulty = {"difficulty": result.difficulty.tolist()}
    return {"id": ids, "is_member": is_member} | first | difficulty | errors
