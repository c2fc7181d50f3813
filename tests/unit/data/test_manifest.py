"""Manifests: roles, columns, and the files that they list."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from mia_lab.data.manifest import named_files, read_manifest, write_manifest
from mia_lab.errors import UserError, all_problems
from mia_lab.types import VICTIM, Split

POOL = [f"train/{i}" for i in range(20)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group,role\nx,member\n", "needs a header with the columns id,role"),
        ("", "needs a header"),
        (
            "id,role\nnowhere,member\n",
            r":2: id 'nowhere' is not in the dataset: it lacks the folder and no image has the "
            r"name 'nowhere'; the nearest id is 'train/",
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


CITIES = [*POOL, *(f"val/berlin_{i:03}" for i in range(200)), "val/a.b"]


@pytest.mark.parametrize(
    ("unknown", "fault", "near"),
    [
        ("train/3.png", "the suffix '.png' is no part of an id", "train/3"),
        ("data/train/3", "there is no folder 'data/train'", "train/3"),
        ("/data/train/3.png", "there is no folder '/data/train' and the suffix", "train/3"),
        ("3", "it lacks the folder", "train/3"),
        ("val/3", "the folder 'val' has no image '3'", "train/3"),
        ("val/berln_017", "no image has the name 'berln_017'", "val/berlin_017"),
        ("vall/berlin_17", "there is no folder 'vall' and no image has the name", "val/berlin_1"),
        ("a.b", "it lacks the folder;", "val/a.b"),
        ("val/a.b.png", "the suffix '.png' is no part of an id", "val/a.b"),
    ],
)
def test_the_wrong_part_of_an_id_is_named(
    tmp_path: Path, unknown: str, fault: str, near: str
) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(f"id,role\n{unknown},member\n")
    begin, end = (
        f":2: id '{unknown}' is not in the dataset: {fault}",
        f"; the nearest id is '{near}",
    )
    with pytest.raises(UserError, match=re.escape(begin)) as caught:
        read_manifest(path, CITIES)
    assert end in str(caught.value)


def test_many_wrong_ids_are_judged_quickly(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("id,role\n" + "".join(f"val/berln_{i},member\n" for i in range(200)))
    known = [f"val/berlin_{i}" for i in range(100_000)]
    start = time.process_time()
    with all_problems() as problems, pytest.raises(UserError, match="no row has the role"):
        read_manifest(path, known)
    assert len(problems) == 200
    assert time.process_time() - start < 10


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


def test_unknown_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("id,rol\ntrain/1,member\n")
    with pytest.raises(UserError, match=r"unknown column 'rol'; .*; did you mean \"role\"\?"):
        read_manifest(path, POOL)
    path.write_text("id,role,group,group\ntrain/1,member,a,b\n")
    with pytest.raises(UserError, match=r"manifest\.csv: has a column twice"):
        read_manifest(path, POOL)
    path.write_text(",id,role\n0,train/1,member\n1,train/2,nonmember\n")  # as pandas writes it
    assert [*read_manifest(path, POOL)] == ["train/1", "train/2"]


def test_more_fields_than_columns(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("id,role\ntrain/1,member,\ntrain/2,nonmember\n")
    assert len(read_manifest(path, POOL)) == 2
    path.write_text("id,role\ntrain/1,member,more\ntrain/2,nonmember\n")
    with pytest.raises(UserError, match=r"manifest\.csv:2: has 3 fields, but the header has 2"):
        read_manifest(path, POOL)


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    """Inputs below one folder, targets below the manifest's."""
    for name in ("root/in/1.png", "root/in/2.png", "out/a.png", "out/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    path = tmp_path / "pairs.csv"
    path.write_text("input,target,role\nin/1.png,out/a.png,member\nin/2.png,out/b.png,nonmember\n")
    return path


def test_files_that_a_manifest_lists(listing: Path) -> None:
    root = listing.parent / "root"
    found = named_files(listing, root)
    assert found == {
        "in/1": (root / "in/1.png", listing.parent / "out/a.png"),
        "in/2": (root / "in/2.png", listing.parent / "out/b.png"),
    }
    assert [*read_manifest(listing, [*found])] == ["in/1", "in/2"]
    text = f"id,input,target\nx,{root}/in/1.png,../{listing.parent.name}/out/a.png\n"
    listing.write_text(text)  # absolute, and out of the folder
    (files,) = named_files(listing, None).values()
    assert [path.resolve() for path in files] == [root / "in/1.png", listing.parent / "out/a.png"]
    assert read_manifest(listing, ["x"], unknown=True) == {"x": {"role": "candidate"}}
    listing.write_text("id,role\nin/1,member\n")
    assert named_files(listing, None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "input,target\nin/1.png,out/a.png\nin/9.png,out/a.png\nin/8.png,out/a.png\n",
            r":3: input 'in/9\.png': there is no file \S+ or \S+ \(2 of 3 pairs lack a file\)",
        ),
        ("input,role\nin/1.png,member\n", "has the column input alone; name both files"),
        ("input,target\nin/1.png,\n", ":2: the column target is empty"),
        ("input,target\nin/1.png,out/a.png\nin/1.png,out/b.png\n", ":3: id 'in/1' appears twice"),
        ("input,target\n", "has no rows below its header"),
    ],
)
def test_bad_lists_of_files(listing: Path, text: str, message: str) -> None:
    listing.write_text(text)
    with pytest.raises(UserError, match=message):
        named_files(listing, listing.parent / "root")


def test_a_written_split_lists_the_files_again(listing: Path, tmp_path: Path) -> None:
    files = named_files(listing, listing.parent / "root")
    ids = np.array([*files])
    split = Split(ids, np.array(["member", "nonmember"]), ids, np.array([VICTIM] * 2), ids)
    write_manifest(tmp_path / "elsewhere.csv", split, files)
    assert named_files(tmp_path / "elsewhere.csv", None) == files


def test_prompts_are_written_and_read(tmp_path: Path) -> None:
    prompts = {"a": '=a "wall", red,\nat night', "b": "'quoted"}
    ids = np.array(["a", "b", "c"])
    roles = np.array(["member", "nonmember", "member"])
    split = Split(ids, roles, np.array([""] * 3), np.array([VICTIM] * 3), np.array([""] * 3))
    write_manifest(tmp_path / "split.csv", split, prompts=prompts)
    rows = read_manifest(tmp_path / "split.csv", [*ids])
    assert {i: row["prompt"] for i, row in rows.items() if "prompt" in row} == prompts
    write_manifest(tmp_path / "plain.csv", split, prompts={})
    assert "prompt" not in (tmp_path / "plain.csv").read_text()


def test_other_separators_are_named(tmp_path: Path) -> None:
    (tmp_path / "roles.csv").write_text("\ufeffid;role\na;member\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"roles\.csv: separate the columns by commas"):
        read_manifest(tmp_path / "roles.csv", ["a"])
