"""Decoded pairs on disk."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mia_lab.data.decoded import DecodedPairs, Item

RNG = np.random.default_rng(0)


def item(number: int, *, labels: bool = False, dtype: type = np.uint8) -> Item:
    x, y = (RNG.integers(0, 255, (3, 8, 6)).astype(dtype) for _ in range(2))
    return f"i{number}", x, y, RNG.integers(0, 4, (8, 6)).astype(np.uint8) if labels else None


def same(found: Item | None, expected: Item) -> bool:
    assert found is not None
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, np.ndarray):
            assert isinstance(one, np.ndarray)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other
    return True


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_was_kept_comes_back(labels: bool, dtype: type) -> None:
    pairs, items = DecodedPairs(2**20), [item(n, labels=labels, dtype=dtype) for n in range(5)]
    for one in items:
        pairs.keep(one)
    assert all(same(pairs.get(one[0]), one) for one in reversed(items))
    assert pairs.get("other") is None


def test_threads_may_keep_and_read_at_once() -> None:
    pairs, items = DecodedPairs(2**24), [item(n) for n in range(200)]

    def work(number: int) -> bool:
        pairs.keep(items[number % 200])
        return same(pairs.get(f"i{number % 200}"), items[number % 200])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(1000)))


def test_the_limit_counts_bytes() -> None:
    items = [item(n) for n in range(4)]
    pairs = DecodedPairs(2 * 2 * 3 * 8 * 6)
    ids = [one[0] for one in items]
    assert pairs.has_room(items[0], ids[:2])
    assert not pairs.has_room(items[0], ids[:3])
    for one in items:
        pairs.keep(one)
    assert [pairs.get(name) is not None for name in ids] == [True, True, False, False]
    assert pairs.has_room(items[0], ids[:2])


def test_pairs_of_another_type_are_not_kept() -> None:
    pairs, first, other = DecodedPairs(2**20), item(0), item(1, dtype=np.float32)
    pairs.keep(first)
    pairs.keep(other)
    assert pairs.get("i1") is None
    assert same(pairs.get("i0"), first)


@pytest.mark.parametrize("short", [False, True])
def test_a_full_disk_ends_the_keeping(short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, items = DecodedPairs(2**20), [item(n) for n in range(3)]
    pairs.keep(items[0])

    def full(file: int, content: bytes, place: int) -> int:
        if not short:
            raise OSError(28, "No space left on device")
        return len(content) // 2

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        pairs.keep(items[1])
    pairs.keep(items[2])
    assert same(pairs.get("i0"), items[0])
    assert pairs.get("i1") is None
    assert pairs.get("i2") is None


def test_another_process_starts_empty() -> None:
    pairs = DecodedPairs(2**20)
    pairs.keep(item(0))
    copy = pickle.loads(pickle.dumps(pairs))
    assert copy.get("i0") is None
    assert copy.first is not None
    assert copy.first[0] == "i0"
    copy.keep(item(1))
    assert copy.get("i1") is not None
