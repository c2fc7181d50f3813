"""An audit's result on disk, exact to the last bit."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter

from mia_lab.evaluation.results import AuditResult

FILE = "result.json"

_RESULT = TypeAdapter(AuditResult)


def save_result(folder: Path, result: AuditResult) -> None:
    """Write a result to ``result.json``; infinities are written as ``Infinity``.

    Args:
        folder: where to write; exists.
        result: the result; its arrays become lists.
    """
    text = json.dumps(_RESULT.dump_python(result), ensure_ascii=False)
    (folder / FILE).write_text(text, encoding="utf-8")


def load_result(folder: Path) -> AuditResult:
    """Read a result that :func:`save_result` wrote; every number and array is equal.

    Raises:
        FileNotFoundError: the folder has no result.
        ValueError: the file does not hold a result.
    """
    return _RESULT.validate_json((folder / FILE).read_bytes())
