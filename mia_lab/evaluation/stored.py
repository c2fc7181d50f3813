"""Measured results on disk, exact to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

FILE = "result.json"

Result = TypeVar("Result")


def save_result(folder: Path, result: Any) -> None:
    """Write a result to ``result.json``; infinities are written as ``Infinity``.

    Args:
        folder: where to write; exists.
        result: a dataclass of :mod:`mia_lab.evaluation.results`; its arrays become lists.
    """
    content = TypeAdapter(type(result)).dump_python(result)
    (folder / FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def load_result(folder: Path, kind: type[Result]) -> Result:
    """Read a result that :func:`save_result` wrote; every number and array is equal.

    Args:
        folder: where it lies.
        kind: its class.

    Raises:
        FileNotFoundError: the folder has no result.
        ValueError: the file does not hold such a result.
    """
    return TypeAdapter(kind).validate_json((folder / FILE).read_bytes())
