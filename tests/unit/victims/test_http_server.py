"""The HTTP server under clients that are slow, broken or hostile, over real sockets."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from hostile_clients import MALFORMED, SMUGGLED, post, received
from mia_lab.victims.http_server import HttpServer, Refusal
from mia_lab.victims.limits import Limits
from serving import serving

Answer = Callable[[bytearray], bytes]


def upper(body: bytearray) -> bytes:
    return bytes(body).upper()


@contextmanager
def running(answer: Answer = upper, **limits: float) -> Iterator[HttpServer]:
    chosen = Limits(**limits)  # type: ignore[arg-type]
    with serving(HttpServer("/translate", {"about": 1}, answer, 0, "127.0.0.1", chosen)) as server:
        yield server


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(server.server_address[:2], timeout=5)


def exchange(server: HttpServer, data: bytes) -> bytes:
    """All that the server sends for this."""
    with connect(server) as client:
        client.sendall(data)
        return received(client)


CLOSE = "Connection: close"


def test_requests_on_one_connection() -> None:
    with running() as server:
        get = b"GET / HTTP/1.1\r\nContent-Length: 0\r\nHost: x\r\n\r\n"
        answer = exchange(server, post(b"one") + get + post(b"two", CLOSE) + post(b"three"))
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert re.findall(rb"\r\n\r\n([^H\r]+)", answer) == [b"ONE", b'{"about": 1}\n', b"TWO"]
        old = b"POST /translate HTTP/1.0\r\nContent-Length: 3 \r\n\r\none"
        assert exchange(server, old).endswith(b"\r\n\r\nONE")


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_a_proxy_may_read_differently_ends_the_connection(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running() as server:
        answer = exchange(server, sent)
        assert re.match(rb"HTTP/1\.1 4(00|05|11|13|31) ", answer), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"Connection: close\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2]).keys() == {"error"}
        assert exchange(server, post(b"one", CLOSE)).endswith(b"ONE")
    assert '"GET /smuggled' not in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert max(len(record.getMessage()) for record in caplog.records) < 2100


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"PUT / HTTP/1.1\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n{", 405),
        (b"GET /elsewhere HTTP/1.1\r\n\r\n", 404),
        (b"POST /translate HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n", 413),
        (post(b"123456789"), 413),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 300 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 300, 431),
    ],
)
def test_statuses(sent: bytes, status: int) -> None:
    with running(request_bytes=8, head_bytes=200) as server:
        assert exchange(server, sent).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_client_that_still_sends_sees_the_error() -> None:
    with running(request_bytes=1000) as server:
        answer = exchange(server, post(bytes(20_000_000)))
        assert b"a request has at most 1000 bytes; send fewer images" in answer


def test_a_client_may_wait_for_the_go_ahead() -> None:
    with running() as server, connect(server) as client:
        client.sendall(post(b"", "Expect: 100-continue").replace(b"h: 0", b"h: 3"))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"one")
        assert b"HTTP/1.1 200 OK" in client.recv(1000)


def trickle(client: socket.socket, head: bytes, part: bytes, pause_s: float) -> float:
    """Send parts until there is an answer, which must be 408; return the seconds."""
    start = time.monotonic()
    client.sendall(head)
    client.settimeout(pause_s)
    while time.monotonic() - start < 5:
        with suppress(TimeoutError):
            assert client.recv(100).startswith(b"HTTP/1.1 408 ")
            return time.monotonic() - start
        client.sendall(part)
    pytest.fail("the server waits without end")


LARGE = b"POST /translate HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "part", "least_s", "most_s"),
    [
        (b"GET / HTTP/1.1\r\nX: ", b"y", 0.3, 1.0),
        (LARGE, b"y", 0.3, 1.0),
        (LARGE, b"", 0.3, 1.0),
        (LARGE, bytes(2**16), 1.2, 2.5),
    ],
    ids=["head", "body", "half a body", "steady body"],
)
def test_a_slow_request_is_cut_off(head: bytes, part: bytes, least_s: float, most_s: float) -> None:
    with running(step_s=0.3, request_s=1.2) as server, connect(server) as client:
        assert least_s <= trickle(client, head, part, 0.1) < most_s


def test_an_idle_connection_is_closed() -> None:
    with running(idle_s=0.2) as server, connect(server) as client:
        assert client.recv(1) == b""
    with running(idle_s=0.2, step_s=5) as server, connect(server) as client:
        client.sendall(post(b"one"))
        assert received(client).endswith(b"ONE")


def test_answers_that_nobody_reads_are_dropped() -> None:
    size = 2**24  # more than the buffers of a connection
    with (
        running(lambda body: bytes(size), held_bytes=size, step_s=0.6) as server,
        connect(server) as reader,
        connect(server) as client,
    ):
        reader.sendall(post(b"one"))
        time.sleep(0.3)
        start = time.monotonic()
        client.sendall(post(b"two", CLOSE))
        assert len(received(client)) > size
        assert 0.1 < time.monotonic() - start < 2


def test_no_room_for_an_answer() -> None:
    with running(held_bytes=1000, step_s=0.1) as server:
        server.answers.take(1000, 0)
        assert exchange(server, post(b"one")).startswith(b"HTTP/1.1 503 ")
        server.answers.give_back(1000)
        assert exchange(server, post(b"one", CLOSE)).endswith(b"ONE")


def test_no_room_for_a_body() -> None:
    with running(held_bytes=1000, step_s=0.1) as server:
        server.bodies.take(1000, 0)
        answer = exchange(server, post(b"one"))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in answer
        server.bodies.give_back(1000)
        for _ in range(3):
            assert exchange(server, post(bytes(900), CLOSE)).startswith(b"HTTP/1.1 200")
            assert exchange(server, b"POST /translate HTTP/1.1\r\nContent-Length: 900\r\n\r\n{")


def test_a_crowd_of_connections() -> None:
    with running(connections=3, step_s=5) as server, ExitStack() as opened:

        def client(data: bytes = b"") -> socket.socket:
            connected = opened.enter_context(connect(server))
            connected.sendall(data)
            return connected

        for _ in range(5):
            client()
        assert exchange(server, post(b"one", CLOSE)).endswith(b"ONE")
        busy = [client(b"POST /translate HTTP/1.1\r\nContent-Length: 10\r\n\r\n") for _ in "123"]
        time.sleep(0.2)
        answer = received(client())
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in answer
        busy[0].close()
        time.sleep(0.2)
        assert exchange(server, post(b"one", CLOSE)).endswith(b"ONE")


def test_nothing_is_computed_for_a_client_that_has_gone() -> None:
    computed: list[bytes] = []
    begun, go_on = threading.Event(), threading.Event()

    def answer(body: bytearray) -> bytes:
        computed.append(bytes(body))
        begun.set()
        go_on.wait(5)
        return b"done"

    with running(answer) as server, connect(server) as first:
        first.sendall(post(b"first", CLOSE))
        assert begun.wait(5)
        with connect(server) as gone:
            gone.sendall(post(b"gone"))
            time.sleep(0.2)
        time.sleep(0.8)
        go_on.set()
        assert received(first).endswith(b"done")
        assert exchange(server, post(b"last", CLOSE)).endswith(b"done")
    assert computed == [b"first", b"last"]


def refuse(body: bytearray) -> bytes:
    raise Refusal(400, "no")


def fail(body: bytearray) -> bytes:
    raise ZeroDivisionError(body.decode())


def test_a_failed_request_holds_no_memory() -> None:
    """Neither a fault of the program nor a refusal keeps the body."""
    for answer, sent in ((refuse, b"HTTP/1.1 400 "), (fail, b"HTTP/1.1 500 ")):
        with running(answer, held_bytes=1000) as server:
            for _ in range(3):
                assert exchange(server, post(bytes(900)))[:13] == sent
            assert server.bodies.take(1000, 0)
            assert server.answers.take(1000, 0)


def test_a_fault_is_logged_escaped(caplog: pytest.LogCaptureFixture) -> None:
    with running(fail) as server:
        answer = exchange(server, post(b"\x1b[31m\nforged"))
        assert answer.endswith(b'{"error": "the server failed"}\n')
    (message,) = (r.getMessage() for r in caplog.records if r.levelname == "ERROR")
    assert message.startswith("127.0.0.1: the request failed\n")
    assert "test_http_server.py" in message
    assert "\x1b" not in message
    assert "\nforged" not in message
    assert r"ZeroDivisionError" in message.splitlines()[-1]


def test_it_stops_with_requests_in_the_queue(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    def answer(body: bytearray) -> bytes:
        go_on.wait(5)
        return b"done"

    with ExitStack() as opened:
        with running(answer) as server:
            first, second = (opened.enter_context(connect(server)) for _ in range(2))
            first.sendall(post(b"one", CLOSE))
            time.sleep(0.1)
            second.sendall(post(b"two", CLOSE))
            time.sleep(0.1)
        assert received(second).startswith(b"HTTP/1.1 503 ")
        go_on.set()
        assert received(first).endswith(b"done")
    assert "failed" not in caplog.text


def test_smuggled_requests_would_be_answered_if_sent_openly() -> None:
    with running() as server:
        assert exchange(server, SMUGGLED).startswith(b"HTTP/1.1 404 ")
