"""A victim behind a URL, over real sockets: what is sent, and every way in which a server fails."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import re
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mia_lab.errors import UserError
from mia_lab.victims import http
from mia_lab.victims.answers import Unanswered
from mia_lab.victims.http import Http

SIZE = 16


def images(n: int = 3, channels: int = 3) -> Tensor:
    return torch.rand(n, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(n))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def npy(array: Any) -> str:
    file = io.BytesIO()
    np.save(file, array)
    return b64(file.getvalue())


def png(mode: str = "RGB", size: tuple[int, int] = (SIZE, SIZE)) -> str:
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG")
    return b64(file.getvalue())


class Faulty(ThreadingHTTPServer):
    """Does what ``behaviour`` says with its n-th request, and records what it was sent."""

    daemon_threads = True

    def __init__(self, behaviour: Callable[[Handler, int], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = behaviour
        self.requests: list[Any] = []
        self.headers: list[Any] = []
        self.times: list[float] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/translate"

    def handle_error(self, *_: object) -> None:
        pass  # clients that give up


class Handler(BaseHTTPRequestHandler):
    server: Faulty
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.times.append(time.monotonic())
        self.server.requests.append(json.loads(body))
        self.server.headers.append(self.headers)
        self.server.behaviour(self, len(self.server.requests))

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def echo(self) -> None:
        self.reply(200, json.dumps({"images": self.server.requests[-1]["images"]}).encode())

    def abort(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


Start = Callable[[Callable[[Handler, int], None]], Faulty]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[Faulty] = []

    def started(behaviour: Callable[[Handler, int], None]) -> Faulty:
        servers.append(Faulty(behaviour))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACK_OFF_S", 0.01)


def failure(server: Faulty, n: int = 3, **settings: Any) -> str:
    """The line of a failed request."""
    box = Http(server.url, **{"timeout_s": 2.0, "retries": 2, "encoding": "npy", **settings})
    with pytest.raises(Unanswered) as caught:
        box.translate(images(n))
    message = str(caught.value)
    assert message.startswith(f"victim.url={server.url}: ")
    assert "\n" not in message
    return message


def test_the_request_is_what_the_docstring_says(start: Start) -> None:
    server = start(lambda handler, _: handler.echo())
    x = images()
    exact, rounded = Http(server.url, encoding="npy"), Http(server.url)
    torch.testing.assert_close(exact.translate(x), x, rtol=0, atol=0)
    answer = rounded.translate(x)
    assert (answer - x).abs().max() <= 0.5 / 255 + 1e-7
    torch.testing.assert_close(rounded.translate(answer), answer, rtol=0, atol=0)
    assert (exact.transport, rounded.transport) == (None, "8-bit PNG over HTTP")
    first, second, _ = server.requests
    assert (first["encoding"], second["encoding"]) == ("npy", "png")
    sent = [np.load(io.BytesIO(base64.b64decode(text))) for text in first["images"]]
    np.testing.assert_array_equal(np.stack(sent), x.numpy())
    with Image.open(io.BytesIO(base64.b64decode(second["images"][0]))) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        expected = np.round(x[0].permute(1, 2, 0).numpy() * 255)
        np.testing.assert_array_equal(np.array(picture), expected)
    assert {h["Content-Type"] for h in server.headers} == {"application/json"}
    assert {h["Authorization"] for h in server.headers} == {None}


def test_labels_need_npy(start: Start) -> None:
    answer = json.dumps({"images": [npy(np.full((3, SIZE, SIZE), 0.25, np.float32))]}).encode()
    server = start(lambda handler, _: handler.reply(200, answer))
    y = Http(server.url, encoding="npy").translate(images(1, channels=5))
    assert torch.equal(y, torch.full((1, 3, SIZE, SIZE), 0.25))
    with pytest.raises(
        UserError, match=r"png: supports 1, 3 or 4 channels, but the inputs have 5; set victim"
    ):
        Http(server.url).translate(images(1, channels=5))
    for settings in ({"in_channels": 5}, {"out_channels": 2}):
        with pytest.raises(UserError, match=r"png: supports 1, 3 or 4 channels, but the .* have"):
            Http(server.url, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"url": "localhost:8000"},
            "victim.url=localhost://8000: is not a valid URL; set it to http://host:port/path",
        ),
        ({"url": "http://host:port/"}, "victim.url: is not a valid URL"),
        ({"url": "http:///path"}, "victim.url=http:///path: is not a valid URL"),
        ({"token_variable": "NOWHERE"}, "victim.token_variable=NOWHERE: no such environment"),
        ({"token_variable": "BAD"}, "victim.token_variable=BAD: its value is not a valid token"),
    ],
)
def test_settings(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str) -> None:
    monkeypatch.setenv("BAD", "two words")
    with pytest.raises(UserError, match=re.escape(message)):
        Http(**{"url": "http://127.0.0.1:1/", **settings})


SENT = {
    "a body that is not JSON": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\nnope s3cret-token \x1b[31mred\x07"
    ),
    "a status line": b"HTTP/1.1 \x1b[31ms3cret-token\r\n\r\n",
    "no status line": b"\x1b]0;s3cret-token\x07\r\n\r\n",
    "a reason": b"HTTP/1.1 500 \x1b[31ms3cret-token\r\nContent-Length: 0\r\n\r\n",
    "a chunk header": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ns3cret-token\x1b[31m\r\nx\r\n"
    ),
    "a redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: http://x/s3cret-token\r\nContent-Length: 0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_what_a_server_sends_is_masked_and_escaped(
    sent: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret-token")

    def answer(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(2**16)
                    connection.sendall(sent)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/translate"
        with pytest.raises(Unanswered) as caught:
            Http(url, token_variable="TOKEN", retries=1, timeout_s=5).translate(images())
    for shown in (str(caught.value), caplog.text):
        assert "s3cret" not in shown
        assert "\x1b" not in shown
        assert "\x07" not in shown


def test_no_secret_is_shown(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="contains a user name or password") as caught:
        Http("http://anna:sesame@host/x")
    assert "sesame" not in str(caught.value)
    monkeypatch.setenv("TOKEN", "s3cret")
    server = start(lambda handler, _: handler.reply(401, b"\n unknown token s3cret\x1b[0m \nmore"))
    box = Http(f"{server.url}?key=hidden", token_variable="TOKEN")
    with pytest.raises(Unanswered) as caught:
        box.translate(images())
    message = str(caught.value)
    assert r"/translate?***: status 401 (unknown token ***\x1b[0m), after 1 attempt;" in message
    assert "rejects the token in TOKEN" in message
    assert "s3cret" not in message
    assert "hidden" not in message
    assert server.headers[0]["Authorization"] == "Bearer s3cret"


def test_a_refused_connection_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # listens to nobody
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/?key=hidden"
        with caplog.at_level(logging.WARNING), pytest.raises(Unanswered) as caught:
            Http(url, retries=2).translate(images())
    expected = "Connection refused), after 3 attempts; start the server or correct victim.url"
    assert expected in str(caught.value)
    assert [r.message.split("; ")[1][:14] for r in caplog.records] == [
        "attempt 2 of 3",
        "attempt 3 of 3",
    ]
    assert "hidden" not in str(caught.value) + caplog.text


def test_it_recovers(start: Start) -> None:
    def behaviour(handler: Handler, n: int) -> None:
        if n == 1:
            handler.abort()
        elif n == 2:
            handler.reply(500, b"out of memory")
        elif n == 3:
            handler.reply(200, b"<html>please wait</html>")
        elif n == 4:
            handler.reply(429, b"", Retry_After="1")
        else:
            handler.echo()

    server = start(behaviour)
    torch.testing.assert_close(Http(server.url, encoding="npy").translate(images()), images())
    assert len(server.requests) == 5
    assert server.times[4] - server.times[3] >= 1
    assert server.times[3] - server.times[0] < 1


def test_failures_that_last(start: Start) -> None:
    server = start(lambda handler, _: handler.abort())
    assert "cannot be queried (" in failure(server)
    server.behaviour = lambda handler, _: handler.reply(503, b"loading\nthe model")
    assert "status 503 (loading), after 3 attempts; start the server" in failure(server)

    def cut_off(handler: Handler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"images": [')
        handler.close_connection = True

    server.behaviour = cut_off
    assert "cannot be queried (" in failure(server)
    assert len(server.requests) == 9


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "correct the server"),
        (401, "name the environment variable of the token with victim.token_variable"),
        (404, "correct victim.url"),
        (413, "lower query.batch_size"),
        (501, ""),
    ],
)
def test_statuses(start: Start, status: int, remedy: str) -> None:
    server = start(lambda handler, _: handler.reply(status, b"no" * 500))
    message = failure(server, retries=1)
    assert f"status {status} (nono" in message
    assert len(message) < 450
    assert remedy in message
    assert len(server.requests) == (2 if status == 501 else 1)


def test_redirects_are_not_followed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    other = start(lambda handler, _: handler.echo())
    target = other.url.replace("//", "//me:word@") + "?key=hidden"
    server = start(lambda handler, _: handler.reply(307, b"", Location=target))
    message = failure(server, token_variable="TOKEN")
    assert f"status 307, a redirect (to {other.url}), after 1 attempt" in message
    assert not other.requests


def test_a_long_pause_is_not_waited_for(start: Start) -> None:
    server = start(lambda handler, _: handler.reply(503, b"", Retry_After="86400"))
    assert "status 503, requests a pause of 86400 s, after 1 attempt; run the command" in failure(
        server
    )
    date = "Wed, 21 Oct 2099 07:28:00 GMT"
    server.behaviour = lambda handler, _: handler.reply(429, b"", Retry_After=date)
    assert "status 429, requests a pause" in failure(server)
    server.behaviour = lambda handler, _: handler.reply(429, b"", Retry_After="soon")
    assert "status 429, after 3 attempts; set victim.requests_per_s" in failure(server)


def hang(handler: Handler, _: int) -> None:
    time.sleep(1.5)


def trickle_body(handler: Handler, _: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _i in range(30):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def trickle_headers(handler: Handler, _: int) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _i in range(30):
        handler.wfile.write(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("behaviour", [hang, trickle_body, trickle_headers])
def test_the_timeout_is_for_the_whole_request(
    start: Start, behaviour: Callable[[Handler, int], None]
) -> None:
    server = start(behaviour)
    began = time.monotonic()
    message = failure(server, timeout_s=0.3, retries=1)
    assert time.monotonic() - began < 1.2
    assert "no complete answer within 0.3 s, after 2 attempts; " in message
    assert "raise victim.timeout_s" in message


def test_an_endless_answer_is_cut_off(start: Start) -> None:
    written = 0

    def endless(handler: Handler, _: int) -> None:
        nonlocal written
        handler.send_response(200)
        handler.end_headers()  # no length: the answer ends with the connection
        while written < 2**28:
            written += handler.wfile.write(b" " * 2**16)

    server = start(endless)
    assert "the answer has more than 1 MiB, after 1 attempt; correct the server" in failure(server)
    assert written < 2**25


def edited_png(depth: int, chunk: bytes = b"") -> str:
    """A black picture of 8 or 16 bits, with a further chunk."""

    def made(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", SIZE, SIZE, depth, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(SIZE * (1 + SIZE * 3 * depth // 8)))
    more = made(b"tRNS", chunk) if chunk else b""
    parts = [made(b"IHDR", header), more, made(b"IDAT", pixels), made(b"IEND", b"")]
    return b64(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


DEEP, KEYED = edited_png(16), edited_png(8, bytes(6))
FINE = np.full((3, SIZE, SIZE), 0.5, np.float32)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"images": [npy(FINE)] * 2}, "the answer to 3 images has 2"),
        ({"pictures": []}, "has no list 'images'"),
        ([npy(FINE)] * 3, "has no list 'images'"),
    ],
)
def test_answers_of_another_form(start: Start, answer: Any, message: str) -> None:
    server = start(lambda handler, _: handler.reply(200, json.dumps(answer).encode()))
    assert f"{message}, after 1 attempt" in failure(server)


@pytest.mark.parametrize(
    ("encoding", "image", "message"),
    [
        ("npy", npy(FINE[:, :-1]), "has shape (3, 15, 16), expected (3, 16, 16)"),
        ("npy", npy(FINE[:1]), "has shape (1, 16, 16), expected (3, 16, 16)"),
        ("npy", npy(FINE * np.nan), "is not finite"),
        ("npy", npy(FINE * 3), "is outside [0, 1] (1.5 to 1.5)"),
        ("npy", npy(-FINE), "is outside [0, 1] (-0.5 to -0.5)"),
        ("npy", npy(FINE.astype(np.float64)), "has type float64, expected float32"),
        ("npy", npy(np.array([{}], dtype=object)), "is not a complete .npy file"),
        ("npy", b64(base64.b64decode(npy(FINE))[:-9]), "is not a complete .npy file"),
        ("npy", b64(base64.b64decode(npy(FINE)).replace(b"(3, 16", b"(3,1" + b"0" * 14)), "is not"),
        ("npy", "!", "is not base64"),
        ("npy", 7, "is not base64"),
        ("png", png(size=(SIZE, 8)), "has shape (3, 8, 16), expected (3, 16, 16)"),
        ("png", png(size=(3000, 3000)), "has shape (3, 3000, 3000)"),
        ("png", png(mode="L"), "has shape (1, 16, 16), expected (3, 16, 16)"),
        ("png", png(mode="P"), "has pixel format P;1, expected 8-bit grey, RGB or RGBA"),
        ("png", png(mode="I;16"), "has pixel format I;16B, expected 8-bit grey, RGB or RGBA"),
        ("png", DEEP, "has pixel format RGB;16B, expected 8-bit grey, RGB or RGBA"),
        ("png", KEYED, "has pixel format RGB with a transparent colour, expected 8-bit"),
        ("png", b64(base64.b64decode(png())[:-30]), "is not a complete PNG"),
        ("png", npy(FINE), "is not a complete PNG"),
    ],
)
def test_a_wrong_image_does_not_cost_the_right_ones(
    start: Start, encoding: str, image: object, message: str
) -> None:
    def behaviour(handler: Handler, _: int) -> None:
        sent = handler.server.requests[-1]["images"]
        handler.reply(200, json.dumps({"images": [sent[0], image, sent[2]]}).encode())

    server = start(behaviour)
    x = (images() * 255).round() / 255
    with pytest.raises(Unanswered, match=re.escape(f"image 2 of 3 {message}")) as caught:
        Http(server.url, encoding=encoding).translate(x)
    assert "correct the server" in str(caught.value)
    assert len(server.requests) == 1
    assert sorted(caught.value.answers) == [0, 2]
    for place, answer in caught.value.answers.items():
        torch.testing.assert_close(answer, x[place], rtol=0, atol=0)


def test_rate_limit(start: Start) -> None:
    server = start(lambda handler, _: handler.echo())
    box = Http(server.url, requests_per_s=10)
    for _ in range(4):
        box.translate(images())
    assert 0.25 <= server.times[-1] - server.times[0] < 0.6


def test_an_interrupt_ends_the_back_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACK_OFF_S", 30.0)

    def behaviour(handler: Handler, _: int) -> None:
        handler.reply(500, b"")
        main = threading.main_thread().ident
        threading.Timer(0.3, signal.pthread_kill, [main, signal.SIGINT]).start()

    server = start(behaviour)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Http(server.url).translate(images())
    assert time.monotonic() - began < 5
