"""An HTTP/1.1 server for clients that nobody trusts.

It builds on `http.server`, but receives the bytes itself: `http.server` waits without end for a
request that arrives slowly, and accepts requests that a proxy in front of it reads differently.
Here, every step is limited in time and memory (`mia_lab.victims.limits`); a body has exactly one
``Content-Length`` and no ``Transfer-Encoding``; and every error is answered in JSON and ends the
connection. What a client sent is logged escaped.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mia_lab.errors import UserError
from mia_lab.victims.limits import Connections, Limits, Room

log = logging.getLogger(__name__)

STEP = 2**16
"""Bytes that are received or sent at a time."""

POLL_S = 0.5
"""Seconds between two looks at whether a client still waits."""

HEAD = re.compile(
    rb"[A-Z]+ [!-~]+ HTTP/1\.[01]\r\n([!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*"
)
NO_HEAD = re.compile(rb"[^\t\r\n -~\x80-\xff]|(?<!\r)\n|\r[^\n]")
"""What no head contains: control characters, and ends of lines other than CRLF."""

BUSY = "the server is busy; send the request again"
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Refusal(Exception):
    """An error that the server reports to the client.

    Args:
        status: of the answer.
        message: one line.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpServer(ThreadingHTTPServer):
    """Answers GET with a description, and POST with what ``answer`` returns for the body.

    Each connection has a thread, but one thread computes all answers, one at a time.

    Args:
        path: of the requests.
        about: the description.
        answer: computes the body of an answer in JSON from the body of a request; it may raise
            `Refusal`.
        port: port to listen at; 0 chooses a free port.
        host: address to listen at; "0.0.0.0" accepts other machines.
        limits: what clients may use.

    Raises:
        UserError: the port is not available.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        path: str,
        about: dict[str, Any],
        answer: Callable[[bytearray], bytes],
        port: int,
        host: str,
        limits: Limits,
    ) -> None:
        self.path, self.about, self.limits = path, about, limits
        self.connections = Connections(limits.connections)
        self.bodies, self.answers = Room(limits.held_bytes), Room(limits.held_bytes)
        self._answer = answer
        self._worker = ThreadPoolExecutor(1)
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(f"--port {port}: not available ({error}); choose another") from error

    @property
    def url(self) -> str:
        """URL of the requests."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}{self.path}"

    def compute(self, body: bytearray, client: socket.socket) -> bytes:
        """The answer to a client's body; the caller gives its bytes back to ``answers``.

        Raises:
            ConnectionError: the client closed the connection before its turn.
        """
        future = self._worker.submit(self._compute, body)
        try:
            while not wait([future], POLL_S).done and not future.cancelled():
                if is_closed(client) and future.cancel():
                    raise ConnectionResetError("the client closed it before its turn")
            return future.result()
        except CancelledError as error:
            raise Refusal(503, "the server stops") from error
        finally:
            del future  # an error in it refers to this frame

    def _compute(self, body: bytearray) -> bytes:
        data = self._answer(body)
        if not self.answers.take(len(data), self.limits.step_s):
            raise Refusal(503, BUSY)
        return data

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.connections.enter(request):
            super().process_request(request, client_address)
            return
        log.warning("%s: refused, because %d are open", client_address[0], self.limits.connections)
        with suppress(OSError):
            request.send(FULL)
        self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        self.connections.leave(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        assert error is not None
        if isinstance(error, OSError):
            log.warning("%s: closed the connection (%s)", client_address[0], escaped(str(error)))
            return
        lines = "".join(traceback.format_tb(error.__traceback__))
        log.error("%s: the request failed\n%s%s", client_address[0], lines, escaped(f"{error!r}"))


class _Handler(BaseHTTPRequestHandler):
    server: HttpServer
    protocol_version = "HTTP/1.1"
    rbufsize = 0
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._received = bytearray()
        self._deadline = 0.0

    def handle_one_request(self) -> None:
        limits = self.server.limits
        self.close_connection = True
        self.requestline, self.request_version = "", "HTTP/1.1"
        self.server.connections.mark(self.connection, waits=True)
        self._deadline = time.monotonic() + limits.idle_s
        with suppress(TimeoutError):
            if not self._received:
                self._receive(self._deadline)
        if not self._received:
            return
        self._deadline = time.monotonic() + limits.request_s
        refusal, size = None, 0
        try:
            data, size = self._answer()
        except TimeoutError:
            refusal = Refusal(408, "the request did not arrive in time")
        except Refusal as error:
            refusal = Refusal(error.status, str(error))  # without the frames that hold the body
        except OSError:
            raise
        except Exception:
            self.server.handle_error(self.request, self.client_address)
            refusal = Refusal(500, "the server failed")
        try:
            if refusal:
                self._refuse(refusal)
            else:
                self._reply(200, data)
        finally:
            self.server.answers.give_back(size)

    def _answer(self) -> tuple[bytes, int]:
        """The body of the answer to the next request, and its bytes in ``Server.answers``."""
        fields = self._read_head()
        length = self._length(fields)
        if self.path not in ("/", self.server.path):
            raise Refusal(404, f"send GET / or POST {self.server.path}")
        if self.command == "GET":
            if length:
                raise Refusal(400, "a GET has no body")
            data, size = _json(self.server.about), 0
        elif self.command == "POST" and self.path == self.server.path:
            data = self._posted(length, "100-continue" in fields.get("expect", []))
            size = len(data)
        else:
            raise Refusal(405, f"send GET / or POST {self.server.path}")
        closes = "close" in ",".join(fields.get("connection", []))
        self.close_connection = closes or self.request_version == "HTTP/1.0"
        return data, size

    def _read_head(self) -> dict[str, list[str]]:
        """Set the command, the path and the version; return the values of each header."""
        received, most = self._received, self.server.limits.head_bytes
        step = time.monotonic() + self.server.limits.step_s
        while (end := received.find(b"\r\n\r\n")) < 0 and len(received) <= most:
            if NO_HEAD.search(received):
                break
            self._receive_more(step)
        self.server.connections.mark(self.connection, waits=False)
        head = bytes(received[: end + 2] if end >= 0 else received[: most + 1])
        self.requestline = head.partition(b"\r\n")[0].decode("latin-1")
        if len(head) > most:
            raise Refusal(431, f"a head has at most {most} bytes")
        if not HEAD.fullmatch(head):
            raise Refusal(400, "this is no request of HTTP/1.1")
        del received[: end + 4]
        self.command, self.path, self.request_version = self.requestline.split(" ")
        fields: dict[str, list[str]] = {}
        for line in head.decode("latin-1").split("\r\n")[1:-1]:
            name, _, value = line.partition(":")
            fields.setdefault(name.lower(), []).append(value.strip("\t ").lower())
        return fields

    def _length(self, fields: dict[str, list[str]]) -> int:
        """Bytes of the body."""
        lengths = fields.get("content-length", [])
        if "transfer-encoding" in fields or (self.command == "POST" and not lengths):
            raise Refusal(411, "send the length of the body in Content-Length, and no encoding")
        if len(lengths) > 1 or not all(re.fullmatch(r"[0-9]{1,18}", n) for n in lengths):
            raise Refusal(400, "Content-Length is not one number")
        return int(lengths[0]) if lengths else 0

    def _posted(self, length: int, asks_first: bool) -> bytes:
        """Receive a body, and compute the answer."""
        most, bodies = self.server.limits.request_bytes, self.server.bodies
        if length > most:
            raise Refusal(413, f"a request has at most {most} bytes; send fewer images")
        if not bodies.take(length, self.server.limits.step_s):
            raise Refusal(503, BUSY)
        try:
            if asks_first:
                self.handle_expect_100()
            while (size := len(self._received)) < length:
                step = time.monotonic() + self.server.limits.step_s
                while len(self._received) < min(size + STEP, length):
                    self._receive_more(step)
            body, self._received = self._received, self._received[length:]
            del body[length:]
            return self.server.compute(body, self.connection)
        finally:
            bodies.give_back(length)

    def _receive_more(self, until: float) -> None:
        if not self._receive(until):
            raise ConnectionResetError("the client closed it within a request")

    def _receive(self, until: float) -> bool:
        """Receive some bytes; False if the client closed the connection.

        Raises:
            TimeoutError: nothing came until then, or until the deadline.
        """
        self._wait_until(until)
        part = self.connection.recv(STEP)
        self._received += part
        return bool(part)

    def _wait_until(self, until: float) -> None:
        """Let the connection wait no longer than that, and not longer than the deadline."""
        left = min(until, self._deadline) - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.connection.settimeout(left)

    def _reply(self, status: int, data: bytes) -> None:
        step_s = self.server.limits.step_s
        self._deadline = time.monotonic() + self.server.limits.request_s
        self._wait_until(time.monotonic() + step_s)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 503:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        view = memoryview(data)
        for start in range(0, len(data), STEP):
            self._wait_until(time.monotonic() + step_s)
            self.connection.sendall(view[start : start + STEP])

    def _refuse(self, refusal: Refusal) -> None:
        """Report an error, and read on: a client that still sends would not see the answer."""
        self.close_connection = True
        self._received.clear()
        self._reply(refusal.status, _json({"error": str(refusal)}))
        self.server.connections.mark(self.connection, waits=True)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self._receive(time.monotonic() + self.server.limits.step_s):
                self._received.clear()

    def log_message(self, format: str, *args: Any) -> None:
        log.info("%s %s", self.address_string(), escaped(format % args))


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closed its end of a connection that waits for an answer."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except OSError as error:
        return not isinstance(error, BlockingIOError)


def escaped(text: str) -> str:
    """At most 500 characters of a text for a log: without control characters, on one line."""
    return text[:500].encode("unicode_escape").decode("ascii")


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
