"""The README is short; examples in docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
LONGEST = 8192  # bytes; guides, method and reference are in docs/

DOCUMENTED = (
    "mia_lab.attacks.membership",
    "mia_lab.config.overrides",
    "mia_lab.errors",
    "mia_lab.evaluation.gate",
    "mia_lab.progress",
    "mia_lab.reporting.check",
    "mia_lab.victims.query",
    "mia_lab.difficulty.score",
)


def test_readme_is_short() -> None:
    assert README.stat().st_size <= LONGEST


@pytest.mark.parametrize("name", DOCUMENTED)
def test_docstring_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
