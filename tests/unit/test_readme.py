"""The README's Python example prints what it says."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
DOCUMENTED = (
    "mia_lab.attacks.membership",
    "mia_lab.victims.query",
    "mia_lab.difficulty.score",
)


def test_readme_example() -> None:
    results = doctest.testfile(str(README), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.attempted >= 10
    assert results.failed == 0


@pytest.mark.parametrize("name", DOCUMENTED)
def test_docstring_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
