"""Partners in two folders: the names that they have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from mia_lab.data.pictures import Matches, matched
from mia_lab.errors import UserError


def found(root: Path, a: list[str], b: list[str], pattern: str | None = None) -> Matches:
    for side, names in (("A", a), ("B", b)):
        for name in names:
            path = root / side / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return matched([root / "A", root / "B"], pattern)


@pytest.mark.parametrize(
    ("a", "b", "names", "rule"),
    [
        (["1", "2"], ["2", "1"], ["1", "2"], ""),
        (["photo_001"], ["label_001"], ["001"], "photo_NAME in A, label_NAME in B"),
        (
            ["photo_001", "photo_002"],
            ["label_002", "label_001"],
            ["001", "002"],
            "photo_NAME in A, label_NAME in B",
        ),
        (["001_A", "010_A"], ["001_B", "010_B"], ["001", "010"], "NAME_A in A, NAME_B in B"),
        (["x_real_A", "y_real_A"], ["x_fake_B", "y_fake_B"], ["x", "y"], "NAME_real_A in A"),
        (["x_real_A", "y_real_A"], ["x_real_B", "y_real_B"], ["x_real", "y_real"], "NAME_A in A"),
        (["IMG1", "IMG12"], ["1", "12"], ["1", "12"], "IMGNAME in A, NAME in B"),
        (["c1/im-1", "c2/im-1"], ["c1/gt-1", "c2/gt-1"], ["c1/1", "c2/1"], "im-NAME in A"),
        # A part of a word is no prefix: of photo_001 and photo_002 it would be photo_00.
        (["1_a", "21_a"], ["1_b", "21_b"], ["1", "21"], "NAME_a in A, NAME_b in B"),
    ],
)
def test_names_in_common(
    tmp_path: Path, a: list[str], b: list[str], names: list[str], rule: str
) -> None:
    matches = found(tmp_path, a, b)
    assert sorted(matches.files) == names
    assert matches.rule.replace(f"{tmp_path}/", "").startswith(rule)
    for name, (x, y) in matches.files.items():
        last = name.rpartition("/")[2]
        assert last in x.stem
        assert last in y.stem


def test_an_expression_finds_the_name(tmp_path: Path) -> None:
    a, b = ["day/cat7", "day/dog12"], ["7-night", "12-night"]
    with pytest.raises(UserError, match=r"/A/day/cat7\.png and \S+/B/12-night\.png: "):
        found(tmp_path, a, b)
    matches = matched([tmp_path / "A", tmp_path / "B"], r"\d+")
    assert {k: [p.stem for p in v] for k, v in matches.files.items()} == {
        "7": ["cat7", "7-night"],
        "12": ["dog12", "12-night"],
    }
    assert matches.rule == r"data.match=\d+"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", r"data\.match=\(: is not a regular expression"),
        (r"(\d)\d", r"x/1\.png: data\.match=\S+ finds nothing in the name 'x/1'"),
        ("x/", r"x/2\.png: data\.match=x/ finds 'x/', as in 1\.png"),
    ],
)
def test_wrong_expressions(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        found(tmp_path, ["x/1", "x/2"], ["x/1", "x/2"], pattern)


@pytest.mark.parametrize("affix", ["", "photo_"])
def test_all_missing_partners_in_one_line(tmp_path: Path, affix: str) -> None:
    """Where names differ by a prefix, too."""
    a = [f"{affix}{i:03d}" for i in range(20)]
    b = [f"{affix and 'label_'}{i:03d}" for i in range(20) if i not in (3, 7, 11)]
    with pytest.raises(
        UserError, match=r"003\.png: has no partner 003\.\* in \S+/B \(3 of 20 have none\)"
    ):
        found(tmp_path, a, b)
