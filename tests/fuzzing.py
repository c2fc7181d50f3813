"""Damaged files: what reads them must end soon, in little memory, and without a traceback."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable, Mapping

SECONDS = 30
KILOBYTES = 2_000_000


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Some bits flipped, bytes overwritten, cut or repeated; mostly near the header."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 2, 8, 32])):
        place = min(int(rng.expovariate(4 / len(changed))), len(changed) - 1)
        changed[place] = rng.choice([changed[place] ^ 1 << rng.randrange(8), 0, 255])
    if rng.random() < 0.3:
        del changed[rng.randrange(len(changed)) :]
    if rng.random() < 0.1:
        changed *= 2
    return bytes(changed)


def fuzz(
    whole: Mapping[str, bytes], n: int, check: Callable[[str, bytes], None], swap: float = 0.5
) -> None:
    """Check the damaged forms of some files.

    Args:
        whole: content of the files, none of them empty, by name.
        n: how many damaged files to check.
        check: takes a name and a damaged content, and raises where the reader is wrong.
        swap: probability that the name is drawn anew: the content of one file under the name of
            another.
    """
    rng, names = random.Random(0), sorted(whole)
    for number in range(n):
        name = rng.choice(names)
        content = damaged(whole[name], rng)
        name = rng.choice(names) if rng.random() < swap else name
        start, memory = time.monotonic(), _peak()
        try:
            check(name, content)
            assert time.monotonic() - start < SECONDS
            assert _peak() - memory < KILOBYTES
        except BaseException as error:
            error.add_note(f"damaged file {number}, as {name}")
            raise


def _peak() -> int:
    """Most memory that this process has held so far, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
