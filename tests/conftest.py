"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import Command


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real datasets, see README."""
    root = os.environ.get("MIA_LAB_DATA")
    if not root:
        pytest.skip("MIA_LAB_DATA is not set: no real data to test on")
    return Path(root)
