"""Clients that misuse a server: a process of the server's stress test, and what its tests send."""

from __future__ import annotations

import base64
import io
import json
import random
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import numpy as np

MIB = 2**20
Address = tuple[str, int]


def png(width: int, height: int, rows: int | None = None) -> bytes:
    """A black RGB picture, packed row by row because it may be large; it may end early."""
    packer = zlib.compressobj(1)
    packed = [packer.compress(bytes(1 + 3 * width)) for _ in range(rows or height)]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(packed) + packer.flush()), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def npy(*shape: int) -> bytes:
    """An image of noise."""
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).random(shape, np.float32))
    return file.getvalue()


def post(body: bytes, *fields: str) -> bytes:
    """A request with a body."""
    lines = ("POST /translate HTTP/1.1", f"Content-Length: {len(body)}", *fields)
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def images(*files: bytes, encoding: str = "png") -> bytes:
    texts = [base64.b64encode(file).decode() for file in files]
    return json.dumps({"encoding": encoding, "images": texts}).encode()


@cache
def image_bomb() -> bytes:
    return post(images(png(13_000, 13_000)))


@cache
def many_images() -> bytes:
    return post(images(*[png(2048, 2048)] * 1500))


@cache
def largest() -> bytes:
    """A valid request of almost 64 MiB and 2048 x 2048 pixels; its answer is as large."""
    return post(images(npy(3, 2048, 2016), encoding="npy"))


def values(text: bytes) -> Callable[[], bytes]:
    """64 MiB of JSON that takes more memory as objects."""

    @cache
    def made() -> bytes:
        count = (64 * MIB - 100) // len(text)
        return post(b'{"encoding": "png", "images": [' + text * count + b"0]}")

    return made


@cache
def wide_text() -> bytes:
    """One character makes Python hold the text with four bytes for each."""
    start = b'{"encoding": "png", "images": ["\\ud83d\\ude00'
    return post(start + b"A" * (64 * MIB - 100) + b'"]}')


@cache
def deep() -> bytes:
    return post(b"[" * 64 * MIB)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\n\r\n"
MALFORMED: dict[str, bytes] = {
    "both lengths": post(b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding: chunked"),
    "an encoding": b"POST /translate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown encoding": b"GET / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n" + SMUGGLED,
    "two lengths": post(SMUGGLED, "Content-Length: 2"),
    "the same length twice": post(SMUGGLED, f"Content-Length: {len(SMUGGLED)}"),
    "a list of lengths": b"POST /translate HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\n{}" + SMUGGLED,
    "a signed length": b"POST /translate HTTP/1.1\r\nContent-Length: +2\r\n\r\n{}" + SMUGGLED,
    "a negative length": b"POST /translate HTTP/1.1\r\nContent-Length: -2\r\n\r\n{}" + SMUGGLED,
    "an underscore": b"POST /translate HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n{}" + SMUGGLED,
    "no digits": "POST /translate HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n".encode("latin-1")
    + SMUGGLED,
    "an endless length": b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "an empty length": b"POST /translate HTTP/1.1\r\nContent-Length:\r\n\r\n" + SMUGGLED,
    "no length": b"POST /translate HTTP/1.1\r\n\r\n" + SMUGGLED,
    "a GET with a body": b"GET / HTTP/1.1\r\nContent-Length: 26\r\n\r\n" + SMUGGLED,
    "a space before the colon": b"POST /translate HTTP/1.1\r\nContent-Length : 26\r\n\r\n"
    + SMUGGLED,
    "a hidden encoding": b"GET / HTTP/1.1\r\nX\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
    "a folded header": b"GET / HTTP/1.1\r\nX: a\r\n Content-Length: 26\r\n\r\n" + SMUGGLED,
    "a bare CR": b"GET / HTTP/1.1\r\nX: a\rContent-Length: 26\r\n\r\n" + SMUGGLED,
    "a bare LF": b"GET / HTTP/1.1\nContent-Length: 26\n\n" + SMUGGLED,
    "a NUL": b"GET / HTTP/1.1\r\nX: \0\r\n\r\n" + SMUGGLED,
    "an escape": b"GET /\x1b[31m HTTP/1.1\r\n\r\n" + SMUGGLED,
    "a space in the path": b"GET / x HTTP/1.1\r\n\r\n" + SMUGGLED,
    "an old version": b"GET /\r\n\r\n" + SMUGGLED,
    "a version to come": b"GET / HTTP/2.0\r\n\r\n" + SMUGGLED,
    "another method": b"PUT /translate HTTP/1.1\r\nContent-Length: 26\r\n\r\n" + SMUGGLED,
    "a long head": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n" + SMUGGLED,
    "an endless line": b"GET /" + b"x" * 2**20,
    "encrypted": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
}


def received(connection: socket.socket) -> bytes:
    """All that a server sends until it closes the connection."""
    parts = []
    while part := connection.recv(2**16):
        parts.append(part)
    return b"".join(parts)


def _send(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.recv(2**16)


def half_a_body(connection: socket.socket) -> None:
    connection.sendall(post(bytes(60 * MIB))[: 30 * MIB])
    connection.recv(1)


def slow_head(connection: socket.socket) -> None:
    for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 100:
        connection.sendall(bytes([byte]))
        time.sleep(0.5)


def slow_body(connection: socket.socket) -> None:
    connection.sendall(b"POST /translate HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.5)


def garbage(connection: socket.socket) -> None:
    _send(connection, random.randbytes(random.randrange(1, 10_000)))


def malformed(connection: socket.socket) -> None:
    _send(connection, random.choice(list(MALFORMED.values())))


def huge_body(connection: socket.socket) -> None:
    connection.sendall(b"POST /translate HTTP/1.1\r\nContent-Length: 10000000000\r\n\r\n")
    for _ in range(200):
        connection.sendall(bytes(MIB))


def breaks_off(connection: socket.socket) -> None:
    """Reset the connection within the request, or before its answer."""
    request = post(images(png(256, 256)))
    connection.sendall(request[: random.choice((5, 50, 500, len(request)))])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def never_reads(connection: socket.socket) -> None:
    connection.sendall(largest())
    time.sleep(8)


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def sends(made: Callable[[], bytes]) -> Callable[[socket.socket], None]:
    return lambda connection: _send(connection, made())


KINDS: dict[str, Callable[[socket.socket], None]] = {
    "image bomb": sends(image_bomb),
    "many images": sends(many_images),
    "many lists": sends(values(b"[],")),
    "many objects": sends(values(b"{},")),
    "many texts": sends(values(b'"ab",')),
    "many numbers": sends(values(b"1.1,")),
    "wide text": sends(wide_text),
    "deep": sends(deep),
    "half a body": half_a_body,
    "slow head": slow_head,
    "slow body": slow_body,
    "garbage": garbage,
    "malformed": malformed,
    "huge body": huge_body,
    "breaks off": breaks_off,
    "never reads": never_reads,
    "largest": sends(largest),
    "silent": silent,
}


def attack(address: Address, kind: str, end: float, attempts: Counter[str]) -> None:
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(address, timeout=10) as connection:
            attempts[kind] += 1
            KINDS[kind](connection)
        time.sleep(0.01)


def main(clients: int, seconds: float) -> None:
    """Attack the port in standard input, each client in one way; print the attempts of each."""
    for made in (image_bomb, many_images, largest):
        made()
    print("ready", flush=True)
    address = ("127.0.0.1", int(input()))
    end, attempts = time.monotonic() + seconds, Counter[str]()
    kinds = list(KINDS)
    for i in range(clients):
        given = (address, kinds[i % len(kinds)], end, attempts)
        threading.Thread(target=attack, args=given, daemon=True).start()
    time.sleep(seconds)
    print(json.dumps(attempts))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
