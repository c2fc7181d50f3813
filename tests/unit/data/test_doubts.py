"""Signs that pairs were read in the wrong layout."""

from __future__ import annotations

import numpy as np
import pytest

from mia_lab.data.doubts import HALVES, LABEL_IDS, doubts, has_usual_aspect, looks_like_ids
from mia_lab.data.picture import Picture
from mia_lab.data.source import Pair
from mia_lab.data.splits import build_split

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 2, 3, 4], True),
        ([0, 1, 255], True),
        ([*range(34)], False),  # too many
        ([0], False),  # a blank picture
        ([0, 255], False),  # a mask
        ([0, 63], True),
        ([0, 64], False),
        ([*range(0, 250, 10)], False),
    ],
)
def test_few_low_levels_look_like_label_ids(values: list[int], expected: bool) -> None:
    grey = RNG.choice(np.array(values, np.uint8), (64, 64))
    assert looks_like_ids(grey) is expected
    assert looks_like_ids(np.stack([grey] * 3, axis=-1)) is expected
    coloured = np.stack([grey, grey, grey ^ 1], axis=-1)
    assert not looks_like_ids(coloured)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        *(((64, 64), True), ((480, 640), True), ((640, 427), True), ((427, 640), True)),
        *(((512, 1024), True), ((720, 1280), True), ((64, 62), False), ((64, 65), False)),
        *(((100, 300), False), ((400, 640), True), ((256, 205), True)),
    ],
)
def test_usual_aspect_ratios(size: tuple[int, int], expected: bool) -> None:
    assert has_usual_aspect(*size) is expected


def test_what_is_told_of_a_dataset() -> None:
    ids = Picture.of(RNG.integers(0, 5, (64, 62), dtype=np.uint8))
    photo = Picture.of(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    pair = Pair(ids, ids)
    assert doubts(pair, ["one.png"]) == (LABEL_IDS, HALVES)
    assert doubts(pair, ["a.png", "b.png"]) == (LABEL_IDS,)
    assert doubts(Pair(ids, ids, labels=np.zeros((64, 62), np.int32)), ["a", "b"]) == ()
    pairs = {"a": Pair(photo, photo), "b": pair, "c": Pair(photo, ids)}
    rows = {name: {"role": "member"} for name in pairs}
    told = build_split(pairs.__getitem__, rows).doubts
    assert told == (f"1 of 3 pairs, such as b: {LABEL_IDS}",)


def test_values_of_fewer_bits_are_doubted() -> None:
    twelve = Picture(RNG.integers(0, 4096, (64, 64, 1), dtype=np.uint16), 0, 65535)
    found = doubts(Pair(twelve, twelve), ["a", "b"])
    said = "has no value above 4095 in 16 bits; if 4095 means 1, set data.value_range=[0,4095]"
    assert found == (f"the input {said}", f"the target {said}")
    eight = Picture.of(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    real = Picture(RNG.random((64, 64, 1)), -1, 1)
    ten = Picture(twelve.pixels // 4, 0, 65535)
    for other, spelled in ((eight, "null"), (real, "[-1,1]"), (ten, "[0,1023]")):
        found = doubts(Pair(twelve, other), ["a", "b"])
        assert found[0].endswith(f"set data.value_range=[[0,4095],{spelled}]")
        found = doubts(Pair(other, twelve), ["a", "b"])
        assert found[-1].endswith(f"set data.value_range=[{spelled},[0,4095]]")
    declared = Picture(twelve.pixels, 0, 4095)
    whole = Picture(RNG.integers(0, 65536, (64, 64, 1), dtype=np.uint16), 0, 65535)
    assert doubts(Pair(declared, whole), ["a", "b"]) == ()


def test_a_range_that_the_type_of_a_side_cannot_fill_is_doubted() -> None:
    """One range is declared for both sides, and one of them has 8 bits."""
    pixels = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    counts = RNG.integers(-1024, 3072, (64, 64, 1), dtype=np.int16)
    for low, high in ((0, 4095), (-1024, 3071)):
        eight, twelve = Picture(pixels, low, high), Picture(counts.clip(low, high), low, high)
        span = f"[{low},{high}]"
        said = f"has only values from 0 to 255 (uint8) of the declared range {span}; give each side"
        for pair, sides in ((Pair(eight, twelve), "null,{}"), (Pair(twelve, eight), "{},null")):
            (found,) = doubts(pair, ["a", "b"])
            assert said in found
            assert found.endswith(f"its own range, data.value_range=[{sides.format(span)}]")
        assert doubts(Pair(twelve, twelve), ["a", "b"]) == ()
        both = doubts(Pair(eight, eight), ["a", "b"])
        assert [text.rpartition("=")[2] for text in both] == ["null", "null"]
    assert doubts(Pair(Picture(pixels, 0, 256), Picture(pixels, 0, 256)), ["a", "b"]) == ()
