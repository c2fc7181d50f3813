"""Fields of CSV files that a spreadsheet would run, and files that others wrote or damaged."""

from __future__ import annotations

import csv
import doctest
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia_lab.data import csv_text
from mia_lab.data.csv_text import defused, restored
from mia_lab.data.manifest import read_manifest, write_manifest
from mia_lab.errors import UserError
from mia_lab.reporting.files import write_csv
from mia_lab.types import VICTIM, Split

FORMULAS = ["=1+2", "+1+2", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "=cmd|' /C calc'!A0"]
NAMES = [
    *FORMULAS,
    "train/1",
    "'quoted'",
    'with "quotes"',
    "a,b",
    "line\nend",
    "return\rend",
    "-0.5",
]


@given(st.text(alphabet="=+-@\t\r'\"0.5ae,", max_size=8) | st.text())
def test_any_text_comes_back(text: str) -> None:
    assert restored(defused(text)) == text


def test_examples() -> None:
    assert doctest.testmod(csv_text).failed == 0


def test_no_field_of_a_table_is_a_formula(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": NAMES, "=column": np.linspace(-1, 1, len(NAMES)), "n": range(16)})
    write_csv(table, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert [restored(name) for name in header] == list(table)
    assert [restored(row[0]) for row in rows] == NAMES
    assert [float(row[1]) for row in rows] == table["=column"].tolist()
    for field in [*header, *(row[0] for row in rows)]:
        assert field[0] not in "=+@\t\r"
        assert field[0] != "-" or float(field) == -0.5


def test_a_manifest_of_such_names_is_read_as_it_was(tmp_path: Path) -> None:
    n = len(NAMES)
    role = np.array(["member", "nonmember"] * (n // 2))
    names = np.array(NAMES)
    split = Split(names, role, names, np.array([VICTIM] * n), np.array(["hash"] * n))
    write_manifest(tmp_path / "split.csv", split)
    with (tmp_path / "split.csv").open(newline="", encoding="utf-8") as file:
        fields = [field for row in csv.reader(file) for field in row]
    assert [f for f in fields if f[0] in "=+@\t\r-"] == ["-0.5", "-0.5"]
    rows = read_manifest(tmp_path / "split.csv", NAMES)
    assert {i: row["group"] for i, row in rows.items()} == dict(zip(NAMES, NAMES, strict=True))


@pytest.mark.parametrize("content", [b"id,role\n\xff\xfe,member\n", b'id,role\n"1,member\n'])
def test_a_manifest_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "split.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"split\.csv"):
        read_manifest(tmp_path / "split.csv", ["1"])
