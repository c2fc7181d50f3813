"""Roles: counts, seeds, manifests, duplicates."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mia_lab.data.groups import assign_groups, group_names
from mia_lab.data.manifest import Rows, read_manifest, write_manifest
from mia_lab.data.picture import Picture
from mia_lab.data.source import Pair
from mia_lab.data.splits import (
    Counts,
    assign_official,
    assign_resplit,
    build_split,
    halves,
    identical_pairs,
)
from mia_lab.errors import UserError
from mia_lab.types import Role

POOL = [f"train/{i}" for i in range(20)]
TEST = [f"test/{i}" for i in range(10)]


class Noise:
    """Pairs of noise, a picture an id; chosen ids share or nearly share theirs."""

    def __init__(self, twins: Sequence[str] = (), nearly: Sequence[str] = ()) -> None:
        self.twins, self.nearly = twins, nearly

    def ids(self, subset: str) -> Sequence[str]:
        return POOL if subset == "train" else TEST

    def load(self, image_id: str) -> Pair:
        alike = image_id in self.twins or image_id in self.nearly
        rng = np.random.default_rng(0 if alike else sum(map(ord, image_id)) + len(image_id))
        pixels = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        if image_id in self.nearly[1:]:
            pixels[0, 0] ^= 1
        return Pair(Picture.of(pixels), Picture.of(pixels))

    def fingerprint(self, ids: Sequence[str]) -> str:
        return "noise"


def count(rows: Rows, role: Role) -> int:
    return sum(row["role"] == role for row in rows.values())


def test_resplit_counts_and_seed() -> None:
    rows = assign_resplit(POOL, Counts(5, 6, 2), seed=3)
    assert [count(rows, role) for role in Role] == [5, 6, 2, 0]
    assert set(rows) <= set(POOL)
    assert rows == assign_resplit(POOL, Counts(5, 6, 2), seed=3)
    assert rows != assign_resplit(POOL, Counts(5, 6, 2), seed=4)


def test_resplit_is_fair() -> None:
    """Over many seeds every image is a member about as often as any other."""
    often = np.zeros(len(POOL))
    for seed in range(400):
        rows = assign_resplit(POOL, Counts(10, 10, 0), seed)
        often += [rows[i]["role"] == Role.MEMBER for i in POOL]
    assert np.all(np.abs(often - 200) < 5 * np.sqrt(400 * 0.25))  # 5 sigma of a fair coin


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Counts(None, None, 4), (8, 8)),
        (Counts(None, 5, 0), (15, 5)),
        (Counts(12, None, 0), (12, 8)),
    ],
)
def test_resplit_fills_up(counts: Counts, expected: tuple[int, int]) -> None:
    rows = assign_resplit(POOL, counts, 0)
    assert (count(rows, Role.MEMBER), count(rows, Role.NONMEMBER)) == expected


def test_too_many_images() -> None:
    with pytest.raises(UserError, match=r"data.n_members=15 .*= 25, but the pool holds 20"):
        assign_resplit(POOL, Counts(15, 10, 0), 0)
    with pytest.raises(UserError, match=r"data.n_members=21, but the train part holds 20"):
        assign_official(POOL, TEST, Counts(21, 5, 0), 0)
    with pytest.raises(UserError, match=r"data.n_nonmembers=9 .*test part holds 10"):
        assign_official(POOL, TEST, Counts(5, 9, 2), 0)
    with pytest.raises(UserError, match=r"data.n_nonmembers=0 .*both must be at least 1"):
        assign_resplit(POOL, Counts(20, None, 0), 0)


def test_official_takes_members_from_train_only() -> None:
    rows = assign_official(POOL, TEST, Counts(None, None, 3), seed=1)
    assert {i for i, r in rows.items() if r["role"] == Role.MEMBER} == set(POOL)
    assert {i for i, r in rows.items() if r["role"] != Role.MEMBER} == set(TEST)
    assert count(rows, Role.AUXILIARY) == 3
    with pytest.raises(UserError, match=r"train/0 is in both the train and the test part"):
        assign_official(POOL, [*TEST, "train/0"], Counts(None, None, 0), 0)
    assert count(assign_official(POOL, TEST, Counts(4, 5, 0), 0), Role.MEMBER) == 4


def test_split_is_sorted_recorded_and_repeatable(tmp_path: Path) -> None:
    rows = assign_resplit(POOL, Counts(5, 5, 2), seed=0)
    rows[POOL[0]] = {"role": "member", "group": "berlin"}
    split, alike, *_ = build_split(Noise().load, rows)
    assert list(split.id) == sorted(rows)
    assert alike == ()
    write_manifest(tmp_path / "split.csv", split)
    again, *_ = build_split(Noise().load, read_manifest(tmp_path / "split.csv", POOL))
    for column in ("id", "role", "group", "model", "content"):
        np.testing.assert_array_equal(getattr(split, column), getattr(again, column))
    with (tmp_path / "split.csv").open() as file:
        assert len({row["content"] for row in csv.DictReader(file)}) == len(rows)


def test_changed_content_is_refused(tmp_path: Path) -> None:
    split, *_ = build_split(Noise().load, assign_resplit(POOL, Counts(10, 10, 0), 0))
    write_manifest(tmp_path / "split.csv", split)
    rows = read_manifest(tmp_path / "split.csv", POOL)
    with pytest.raises(UserError, match=r"train/7: its content differs from data.manifest"):
        build_split(Noise(nearly=["", "train/7"]).load, rows)


def test_exact_duplicates_across_roles_are_refused() -> None:
    rows: Rows = {"train/1": {"role": "member"}, "train/2": {"role": "nonmember"}}
    source = Noise(twins=["train/1", "train/2"])
    with pytest.raises(UserError, match=r"train/1 \(member\) and train/2 \(nonmember\) are the sa"):
        build_split(source.load, rows)
    kept = build_split(source.load, rows, keep=True).split
    assert kept.role.tolist() == ["member", "nonmember"]
    assert len(set(kept.content)) == 1
    rows["train/2"]["role"] = "member"
    build_split(source.load, rows)  # within one role it is the owner's business


def test_identical_pairs_of_one_role_are_found() -> None:
    roles = {i: {"role": "member" if n < 12 else "nonmember"} for n, i in enumerate(POOL)}

    def found(**groups: str) -> tuple[tuple[str, ...], ...]:
        rows = {i: row | {"group": groups.get(f"of_{i[6:]}", "")} for i, row in roles.items()}
        return identical_pairs(build_split(Noise(twins=POOL[3:6]).load, rows)[0])

    same = tuple(POOL[3:6])
    assert found() == (same,)
    assert found(of_3="a", of_4="a", of_5="a") == ()
    assert found(of_3="a", of_4="a", of_5="b") == (same,)
    assert found(of_3="a", of_4="a") == (same,)
    assert identical_pairs(build_split(Noise().load, roles)[0]) == ()
    # A group of the name of an image is not that image.
    assert found(of_3="train/4", of_5="train/4") == (same,)


def test_near_duplicates_across_roles_are_listed() -> None:
    rows: Rows = {"train/1": {"role": "member"}, "train/2": {"role": "nonmember"}}
    _, alike, *_ = build_split(Noise(nearly=["train/1", "train/2"]).load, rows)
    assert [(a, b) for a, b, _ in alike] == [("train/1", "train/2")]


GROUPS = {i: f"city{n // 3}" for n, i in enumerate(POOL)}


def test_groups_are_drawn_as_wholes() -> None:
    rows = assign_groups(POOL, GROUPS, Counts(7, 5, 2), seed=0)
    assert [count(rows, role) for role in Role] == [7, 5, 2, 0]
    for name in set(GROUPS.values()):
        assert len({row["role"] for row in rows.values() if row["group"] == name}) <= 1
    assert {i: row["group"] for i, row in rows.items()} == {i: GROUPS[i] for i in rows}
    assert rows == assign_groups(POOL, GROUPS, Counts(7, 5, 2), seed=0)
    assert rows != assign_groups(POOL, GROUPS, Counts(7, 5, 2), seed=1)


def test_groups_of_unknown_counts_use_every_image() -> None:
    rows = assign_groups(POOL, GROUPS, Counts(None, None, 0), seed=0)
    assert set(rows) == set(POOL)
    assert 10 <= count(rows, Role.MEMBER) <= 12


def test_one_unknown_count_takes_the_rest() -> None:
    for counts in (Counts(None, 5, 0), Counts(5, None, 0)):
        rows = assign_groups(POOL, GROUPS, counts, seed=0)
        known, rest = (Role.NONMEMBER, Role.MEMBER)[:: 1 if counts.members is None else -1]
        assert count(rows, known) == 5
        assert count(rows, rest) >= 20 - 6
    with pytest.raises(UserError, match=r"provide \d+ of 25 images of role auxiliary"):
        assign_groups(POOL, GROUPS, Counts(None, None, 25), seed=0)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"data.group_by: the 7 groups provide \d of 9 images of role"
    ):
        assign_groups(POOL, GROUPS, Counts(13, 9, 0), seed=0)
    with pytest.raises(UserError, match=r"1 groups leave no images for role nonmember"):
        assign_groups(POOL, dict.fromkeys(POOL, "one"), Counts(None, None, 0), seed=0)


def test_group_names_come_from_ids() -> None:
    ids = ["train/aachen_0001", "train/bonn_0002"]
    assert group_names(ids, r"/([a-z]+)_") == {ids[0]: "aachen", ids[1]: "bonn"}
    assert group_names(ids, "[a-z]+_") == {ids[0]: "aachen_", ids[1]: "bonn_"}
    with pytest.raises(UserError, match=r"data.group_by=\(bonn\): finds no group in the id"):
        group_names(ids, "(bonn)")
    with pytest.raises(UserError, match=r"data.group_by=\(: is not a regular expression"):
        group_names(ids, "(")


def test_coins_decide_each_image_by_itself() -> None:
    pool = [f"train/{i:05d}" for i in range(4000)]
    rows = assign_resplit(pool, Counts(1500, 1500, 10), seed=0, coins=True)
    members = count(rows, Role.MEMBER)
    assert members + count(rows, Role.NONMEMBER) == 3000
    assert members != 1500
    assert abs(members - 1500) < 4 * 27.4  # the deviation of 3000 fair coins
    assert count(rows, Role.AUXILIARY) == 10
    assert set(rows) == set(assign_resplit(pool, Counts(1500, 1500, 10), seed=0))


def test_coins_that_fall_alike_leave_nothing_to_judge() -> None:
    outcomes = []
    for seed in range(20):
        try:
            assign_resplit(POOL, Counts(1, 1, 0), seed=seed, coins=True)
        except UserError as error:
            outcomes.append(str(error))
    assert 3 <= len(outcomes) <= 17
    assert "all 2 coins show the same side; raise data.n_members" in outcomes[0]


def test_auxiliaries_are_what_is_left_up_to_a_hundred() -> None:
    pool = [f"train/{i:04d}" for i in range(500)]
    rows = assign_resplit(pool, Counts(100, 100, None), seed=0)
    assert [count(rows, role) for role in Role] == [100, 100, 100, 0]
    # Who is set aside changes nobody's role.
    without = assign_resplit(pool, Counts(100, 100, 0), seed=0)
    assert without.items() <= rows.items()
    few = assign_resplit(POOL, Counts(5, 6, None), seed=0)
    assert count(few, Role.AUXILIARY) == 9
    half = assign_resplit(POOL, Counts(None, None, None), seed=0)
    assert [count(half, role) for role in Role] == [10, 10, 0, 0]
    official = assign_official(POOL, TEST, Counts(8, 7, None), seed=0)
    assert [count(official, role) for role in Role] == [8, 7, 3, 0]
    everything = assign_official(POOL, TEST, Counts(None, None, None), seed=0)
    assert [count(everything, role) for role in Role] == [20, 10, 0, 0]
    grouped = assign_groups(POOL, GROUPS, Counts(6, 6, None), seed=0)
    taken = {row["group"] for row in grouped.values() if row["role"] != Role.AUXILIARY}
    assert count(grouped, Role.AUXILIARY) == sum(name not in taken for name in GROUPS.values()) > 0


def test_halves_of_groups_are_complements() -> None:
    pool = [f"{i:02d}" for i in range(31)]
    groups = {image: f"g{int(image) // 4}" for image in pool}
    found = halves(pool, 4, seed=3, groups=groups)
    for first, second in (found[:2], found[2:]):
        assert sorted([*first, *second]) == pool
        assert not {groups[i] for i in first} & {groups[i] for i in second}
        assert 12 <= len(first) <= 15
    assert found[0] != found[2]
