"""A small server for a model, as an example and for tests of ``victim=http``.

    python -m mia_lab.victims.server victim.safetensors --port 8000

`mia_lab.victims.http` describes the request. To serve a model of any other kind, call :func:`serve`
with its ``translate``. The server has no encryption and checks no token: put it behind a web server
that does both before you make it accessible to others.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from torch import Tensor

from mia_lab.errors import UserError
from mia_lab.victims.pretrained import Pretrained
from mia_lab.victims.wire import TRANSPORT, decode_image, encode_image

log = logging.getLogger(__name__)

PATH = "/translate"
MAX_REQUEST_BYTES = 2**28
IDLE_S = 60.0

Translate = Callable[[Tensor], Tensor]


class Server(ThreadingHTTPServer):
    """Answers requests after a call of ``serve_forever``, and translates one batch at a time.

    Args:
        translate: maps float32 (N, C, H, W) in [0, 1] to float32 (N, 3, H, W) in [0, 1], on the
            CPU.
        port: port to listen at; 0 chooses a free port.
        host: address to listen at; "0.0.0.0" accepts other machines.

    Raises:
        UserError: the port is not available.
    """

    daemon_threads = True

    def __init__(self, translate: Translate, port: int, host: str = "127.0.0.1") -> None:
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(f"--port {port}: not available ({error}); choose another") from error
        self.translate = translate
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """URL of the requests."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}{PATH}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if isinstance(error, ConnectionError):
            log.warning("%s: closed the connection (%s)", client_address[0], error)
        else:
            log.error("%s: the request failed", client_address[0], exc_info=error)


def serve(translate: Translate, port: int, host: str = "127.0.0.1") -> None:
    """Answer requests until SIGINT or SIGTERM, in the main thread; see :class:`Server`."""
    with Server(translate, port, host) as server:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        print(f"serving at {server.url}")
        print(f"victim=http victim.url={server.url}", flush=True)
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            print("stopped")


class _BadRequest(Exception):
    """An error that the server reports to the client, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S

    def do_GET(self) -> None:
        if self.path not in ("/", PATH):
            self._reply(404, {"error": f"send GET / or POST {PATH}"})
            return
        self._reply(
            200,
            {
                "service": "mia_lab victim",
                "request": f"POST {PATH}",
                "encodings": list(TRANSPORT),
                "max_request_bytes": MAX_REQUEST_BYTES,
            },
        )

    def do_POST(self) -> None:
        try:
            body = self._body()
            if self.path != PATH:
                raise _BadRequest(404, f"send POST {PATH}")
            encoding, x = read_request(body)
            self._reply(200, {"images": self._translate(encoding, x)})
        except _BadRequest as error:
            self._reply(error.status, {"error": str(error)})

    def _body(self) -> bytes:
        try:
            length = int(self.headers["Content-Length"])
            if length < 0:
                raise ValueError
        except (TypeError, ValueError):
            self.close_connection = True
            raise _BadRequest(411, "send the length of the body in Content-Length") from None
        if length <= MAX_REQUEST_BYTES:
            return self.rfile.read(length)
        # The body is read to its end, because a client that still sends would not see the answer.
        while length > 0 and (part := self.rfile.read(min(length, 2**20))):
            length -= len(part)
        raise _BadRequest(
            413, f"a request has at most {MAX_REQUEST_BYTES} bytes; send fewer images"
        )

    def _translate(self, encoding: str, x: Tensor) -> list[str]:
        try:
            with self.server.lock:
                y = self.server.translate(x)
        except Exception as error:
            log.exception("the model failed on %s", tuple(x.shape))
            reason = " ".join(str(error).split())
            raise _BadRequest(
                500, f"the model failed on {tuple(x.shape)}: {type(error).__name__}: {reason}"
            ) from error
        expected = (len(x), 3, *x.shape[2:])
        if y.shape != expected or not y.isfinite().all() or y.min() < 0 or y.max() > 1:
            raise _BadRequest(
                500,
                f"the model answered with shape {tuple(y.shape)} and values from {y.min():.9g} to "
                f"{y.max():.9g}, expected {expected} in [0, 1]",
            )
        return [encode_image(image, encoding) for image in y]

    def _reply(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        log.info("%s %s", self.address_string(), format % args)


def read_request(body: bytes) -> tuple[str, Tensor]:
    """The encoding of a request and its images, float32 (N, C, H, W) in [0, 1]."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _BadRequest(400, f"the body is not JSON ({error})") from error
    if not isinstance(request, dict) or not isinstance(request.get("images"), list):
        raise _BadRequest(400, "the body has no list 'images'")
    encoding, texts = request.get("encoding"), request["images"]
    if not isinstance(encoding, str) or encoding not in TRANSPORT:
        raise _BadRequest(
            400, f"encoding {encoding!r}: unknown; choose from {', '.join(TRANSPORT)}"
        )
    if not texts:
        raise _BadRequest(400, "images: holds no image")
    images: list[Tensor] = []
    for number, text in enumerate(texts, 1):
        try:
            images.append(decode_image(text, encoding))
        except ValueError as error:
            raise _BadRequest(400, f"image {number} of {len(texts)} {error}") from error
        if images[-1].shape != images[0].shape:
            raise _BadRequest(
                400, f"image {number} of {len(texts)} differs in shape from the first"
            )
    return encoding, torch.stack(images)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a file of weights."""
    parser = argparse.ArgumentParser("python -m mia_lab.victims.server", description=__doc__)
    parser.add_argument("checkpoint", help="path of the weights, as in victim.checkpoint")
    parser.add_argument("--format", default="mia_lab", help="mia_lab (default), pix2pix, pix2pixhd")
    parser.add_argument("--image-size", type=int, default=256, help="side of the images (256)")
    parser.add_argument("--port", type=int, default=8000, help="8000; 0 chooses a free port")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 accepts other machines")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        victim = Pretrained(
            format=chosen.format, checkpoint=chosen.checkpoint, image_size=chosen.image_size
        )
        serve(victim.translate, chosen.port, chosen.host)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
