"""Damaged files: what reads them must end soon, in little memory, and without a traceback."""

from __future__ import annotations

import random
import re
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


WORDS = (
    *(b"", b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 5000, b"null", b"true", b"[]", b"{}"),
    *(
        b'""',
        b'"\\ud800"',
        b'"\\u0000"',
        b'"\\n"',
        b"\0",
        b"\xff",
        b"\n",
        b"\r",
        b'"',
        b",",
        b"'=1",
    ),
    *(b"[" * 5000, b"{a: " * 5000, b"- " * 5000, b"2020-01-01", b"2020-13-45", b"!!timestamp x"),
    *(b"!!int ''", b"!!bool x", b"!!binary x", b"!!set {a}", b"&a [*a]", b"? [1]\n: 2", b"1:30"),
    *(b"../x", b"/etc/hostname", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"0x", b"1_0", b"\xd9\xa1"),
)
"""What readers of text stumble over."""


def reworded(content: bytes, rng: random.Random) -> bytes:
    """Some words or numbers of a text replaced by others of it, or by `WORDS`."""
    for _ in range(rng.choice([1, 1, 2, 8])):
        found = [match.span() for match in re.finditer(rb'"[^"\n]*"|[\w.+-]+', content)]
        start, end = rng.choice(found or [(0, 0)])
        other = content[slice(*rng.choice(found or [(0, 0)]))]
        new = rng.choice(WORDS) if rng.random() < 0.7 else other
        content = content[:start] + new + content[end:]
    return content


def damaged_text(content: bytes, rng: random.Random) -> bytes:
    """Damaged as any file is, or as text is."""
    return rng.choice([damaged, reworded])(content, rng)


def fuzz(
    whole: Mapping[str, bytes],
    n: int,
    check: Callable[[str, bytes], None],
    swap: float = 0.5,
    damage: Callable[[bytes, random.Random], bytes] = damaged,
) -> None:
    """Check the damaged forms of some files.

    Args:
        whole: content of the files, none of them empty, by name.
        n: how many damaged files to check.
        check: takes a name and a damaged content, and raises where the reader is wrong.
        swap: probability that the name is drawn anew: the content of one file under the name of
            another.
        damage: makes a damaged form of a content.
    """
    rng, names = random.Random(0), sorted(whole)
    for number in range(n):
        name = rng.choice(names)
        content = damage(whole[name], rng)
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


def hostile_npy() -> dict[str, bytes]:
    """Files in NumPy's format whose headers no parser should have to read, by what they are."""
    fields = "{'descr':'<f4','fortran_order':False,'shape':"
    headers = {
        "brackets": "[" * 3000,
        "brackets in an entry": "{'descr':" + "[" * 3000,
        "signs": "-" * 3000 + "1",
        "many signs": "{'descr':" + "-" * 9000 + "1}",
        "indentation": "  x\n y\n  z",
        "numbers": "9" * 5000,
        "terabytes": fields + "(10000000000,1000)}",
        "petabytes": fields + "(10000000000,1000000)}",
        "negative": fields + "(-1,)}",
        "objects": "{'descr':'O','fortran_order':False,'shape':(3,)}",
        "too short": fields + "(1000,)}",
    }
    return {
        name: b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()
        for name, text in headers.items()
    }
