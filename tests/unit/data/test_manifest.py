"""Manifests: roles, columns, and the files that they list."""

from __future__ import annotations

from pathlib import Path

import pytest

from mia_lab.data.manifest import read_manifest
from mia_lab.errors import UserError

POOL = [f"train/{i}" for i in range(20)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group,role\nx,member\n", "needs a header with the columns id,role"),
        ("", "needs a header"),
        (
            "id,role\nnowhere,member\n",
            r":2: id 'nowhere' is not in the dataset; an example .* 'train/0'",
        ),
        ("id,role\ntrain/1,friend\n", ":2: unknown role 'friend'; choose from member, nonmember"),
        ("id,role\ntrain/1,member\ntrain/1,nonmember\n", ":3: id 'train/1' appears twice"),
        ("id,role\ntrain/1,member\n", "no row has the role nonmember"),
    ],
)
def test_bad_manifests(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_manifest(path, POOL)


def test_manifest_of_candidates(tmp_path: Path) -> None:
    """A role that is empty, or a column that is not there, is what nobody knows."""
    path = tmp_path / "candidates.csv"
    path.write_text("id,role,group\ntrain/1,,berlin\ntrain/2,candidate,\ntrain/3,auxiliary,\n")
    rows = read_manifest(path, POOL, unknown=True)
    assert [row["role"] for row in rows.values()] == ["candidate", "candidate", "auxiliary"]
    assert rows["train/1"]["group"] == "berlin"
    path.write_text("id\ntrain/1\n")
    assert read_manifest(path, POOL, unknown=True) == {"train/1": {"role": "candidate"}}


@pytest.mark.parametrize(
    ("unknown", "text", "message"),
    [
        (True, "group\nx\n", r"needs a header with the columns id,role"),
        (True, "id,role\ntrain/1,member\n", ":2: role member: this role is known; use task=audit"),
        (True, "id,role\ntrain/1,nonmember\n", ":2: role nonmember: this role is known"),
        (True, "id,role\ntrain/1,friend\n", "unknown role 'friend'; choose from candidate, aux"),
        (True, "id,role\ntrain/1,auxiliary\n", "no row has the role candidate; add ids"),
        (False, "id,role\ntrain/1,candidate\n", ":2: role candidate: an audit needs known roles"),
        (False, "id,role\ntrain/1,\n", ":2: unknown role ''; choose from member, nonmember"),
    ],
)
def test_roles_fit_the_task(tmp_path: Path, unknown: bool, text: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_manifest(path, POOL, unknown)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.manifest=.*nowhere.csv: cannot be read"):
        read_manifest(tmp_path / "nowhere.csv", POOL)
