"""Parts of the images: their form, their sizes, and what is refused."""

from __future__ import annotations

import pytest

from mia_lab.config.checks import check
from mia_lab.config.shards import Shard
from mia_lab.errors import UserError
from support import composed


def test_a_part_or_all_of_them() -> None:
    assert Shard.of("3/16") == Shard(3, 16)
    assert Shard.of("all/16") == Shard(None, 16)
    assert [str(Shard.of(text)) for text in ("1/1", "all/2")] == ["1/1", "all/2"]


@pytest.mark.parametrize(
    "value",
    ["3", 3, "3/", "/3", "3/0", "-1/3", "a/3", "3/16/2", "3 / 16", "all", [1, 4], "1/\u0663", True],
)  # fmt: skip
def test_another_form_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"^difficulty\.shard=.*: must be PART/PARTS, such as 3/16"):
        Shard.of(value)


@pytest.mark.parametrize("value", ["0/4", "5/4", "999999999/4"])
def test_a_number_that_no_part_has_is_refused(value: str) -> None:
    with pytest.raises(UserError, match=f"difficulty.shard={value}: must be one of 1/4 to 4/4"):
        Shard.of(value)


@pytest.mark.parametrize(("n", "count", "size"), [(12, 4, 1), (13, 4, 1), (100, 7, 4), (9, 3, 4)])
def test_parts_are_consecutive_whole_batches(n: int, count: int, size: int) -> None:
    ids = [f"image/{i}" for i in range(n)]
    parts = Shard(None, count).divided(ids, size)
    assert [i for part in parts for i in part] == ids
    assert all(len(part) % size == 0 for part in parts[:-1])
    batches = [-(-len(part) // size) for part in parts]
    assert len(batches) == count
    assert 0 < min(batches) <= max(batches) <= min(batches) + 1


def test_more_parts_than_batches_are_refused() -> None:
    ids = [f"image/{i}" for i in range(9)]
    assert len(Shard(None, 9).divided(ids, 1)) == 9
    with pytest.raises(UserError, match="there are 9 images, 3 batches of 4; use 3 parts at most"):
        Shard(2, 5).divided(ids, 4)


PRETRAINED = (
    *("task=score", "victim=pretrained", "victim.checkpoint=/dev/null", "data.protocol=manifest"),
    "data.manifest=/dev/null",
)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("task=difficulty", "difficulty.shard=3"), "must be PART/PARTS"),
        (("task=difficulty", "difficulty.shard=5/4"), "must be one of 1/4 to 4/4"),
        (("difficulty.shard=3/4",), r"task=audit needs .* difficulty\.shard=all/4, which reads"),
        (("task=check", "difficulty.shard=3/4"), r"task=check needs .*difficulty\.shard=all/4"),
        ((*PRETRAINED, "difficulty.shard=3/4"), r"task=score needs .*difficulty\.shard=all/4"),
        (
            ("difficulty=multi_image", "difficulty.shard=all/4"),
            "difficulty.shard=all/4: difficulty=multi_image is the error of reference victims",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused(overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check(composed(*overrides))
