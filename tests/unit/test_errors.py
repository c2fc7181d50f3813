"""Messages to users: one line, whatever is in the names of files."""

from __future__ import annotations

import os
import pickle

import pytest

from mia_lab.errors import GateFailedError, UserError, nearest


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("straße 1.png", "straße 1.png"),
        ("a\nb.png", r"a\nb.png"),
        ("\x1b[2Jx", r"\x1b[2Jx"),
        ("a\u2028b\u202eb", r"a\u2028b\u202eb"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        (r"back\slash", r"back\slash"),
    ],
)
def test_a_message_is_one_line_that_can_be_printed(name: str, shown: str) -> None:
    for kind in (UserError, GateFailedError):
        error = kind(f"{name}: is missing")
        assert str(error) == f"{shown}: is missing"
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        str(error).encode()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("membrship", '; did you mean "membership"?'),
        ("RIDGE", '; did you mean "ridge"?'),
        ("train_a", '; did you mean "trainA"?'),
        ("ridge", '; did you mean "ridge"?'),
        ("", ""),
        ("memb", '; did you mean "membership"?'),
        ("me", ""),
        ("xyz", ""),
    ],
)
def test_a_name_that_is_like_one_is_told(name: str, hint: str) -> None:
    assert nearest(name, ["membership", "ridge", "trainA"]) == hint


def test_there_is_nothing_like_a_name_where_there_is_nothing() -> None:
    assert nearest("ridge", []) == ""
