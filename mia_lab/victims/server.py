"""A small server for a model, as an example and for tests of ``victim=http``.

    python -m mia_lab.victims.server victim.safetensors --port 8000

`mia_lab.victims.http` describes the request. To serve a model of any other kind, call :func:`serve`
with its ``translate``. The server has no encryption and checks no token: put it behind a web server
that does both before you make it accessible to others.

Clients cannot exhaust its memory. `mia_lab.victims.limits.Limits` lists the limits and their
meaning, and ``GET /`` tells them: 64 MiB and 2048 x 2048 pixels for all images of a request
together, 128 MiB of bodies in memory, 256 connections, and limits of time for every step. A request
above a limit of size is answered with status 400, 413 or 431, a slow one with 408, and one that
finds no place with 503. Besides, the model itself needs memory for one batch of the largest
request.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import reprlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from mia_lab.errors import UserError
from mia_lab.victims.http_server import HttpServer, Refusal
from mia_lab.victims.limits import Limits
from mia_lab.victims.pretrained import Pretrained
from mia_lab.victims.wire import PNG_MODES, TRANSPORT, decode_image, encode_image

log = logging.getLogger(__name__)

PATH = "/translate"
LIMITS = Limits()

WIDE = re.compile(rb"\\u(?!00[0-7])")
"""A character beyond ASCII in JSON; one makes Python hold a text in four times the memory."""

Translate = Callable[[Tensor], Tensor]


class Server(HttpServer):
    """Answers requests after a call of ``serve_forever``, and translates one batch at a time.

    Args:
        translate: maps float32 (N, C, H, W) in [0, 1] to float32 (N, C', H, W) in [0, 1], on the
            CPU.
        port: port to listen at; 0 chooses a free port.
        host: address to listen at; "0.0.0.0" accepts other machines.
        limits: what clients may use.

    Raises:
        UserError: the port is not available.
    """

    def __init__(
        self,
        translate: Translate,
        port: int,
        host: str = "127.0.0.1",
        limits: Limits = LIMITS,
    ) -> None:
        about = {
            "service": "mia_lab victim",
            "request": f"POST {PATH}",
            "encodings": list(TRANSPORT),
            "limits": asdict(limits),
        }
        super().__init__(PATH, about, self._translated, port, host, limits)
        self.translate = translate

    def _translated(self, body: bytearray) -> bytes:
        """The answer to a request, in JSON."""
        encoding, x = read_request(body, self.limits)
        y = self._translate(x)
        if encoding == "png" and y.shape[1] not in PNG_MODES.values():
            raise Refusal(400, f"the answers have {y.shape[1]} channels; send npy, not png")
        return json.dumps({"images": [encode_image(image, encoding) for image in y]}).encode()

    def _translate(self, x: Tensor) -> Tensor:
        try:
            y = self.translate(x)
            if not isinstance(y, Tensor):
                raise TypeError(f"it gave a {type(y).__name__} instead of a tensor")
        except Exception as error:
            log.exception("the model failed on %s", tuple(x.shape))
            reason = " ".join(str(error).split())
            raise Refusal(
                500, f"the model failed on {tuple(x.shape)}: {type(error).__name__}: {reason}"
            ) from error
        n, _, height, width = x.shape
        is_batch = y.numel() and y.shape == (n, *y.shape[1:2], height, width)
        if not is_batch or not y.isfinite().all() or y.min() < 0 or y.max() > 1:
            values = f"values from {y.min():.9g} to {y.max():.9g}" if y.numel() else "no values"
            raise Refusal(
                500,
                f"the model answered with shape {tuple(y.shape)} and {values}, expected "
                f"({n}, C, {height}, {width}) in [0, 1]",
            )
        return y


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


def read_request(body: bytearray, limits: Limits) -> tuple[str, Tensor]:
    """The encoding of a request and its images, float32 (N, C, H, W) in [0, 1].

    Raises:
        Refusal: the request is not such a request, or exceeds the limits.
    """
    # Each value of JSON takes up to 100 times its text in memory. One of these marks precedes it;
    # base64 has none of them.
    too_many = Refusal(413, f"a request has at most {limits.request_images} images; send fewer")
    if sum(body.count(mark) for mark in b",[{") > 2 * limits.request_images:
        raise too_many
    try:
        if WIDE.search(body):
            raise ValueError("it has other characters")
        request = json.loads(body.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON in ASCII ({error})") from error
    if not isinstance(request, dict) or not isinstance(request.get("images"), list):
        raise Refusal(400, "the body has no list 'images'")
    encoding, texts = request.get("encoding"), request["images"]
    if not isinstance(encoding, str) or encoding not in TRANSPORT:
        shown = reprlib.repr(encoding)
        raise Refusal(400, f"encoding {shown}: unknown; choose from {', '.join(TRANSPORT)}")
    if not texts:
        raise Refusal(400, "images: holds no image")
    if len(texts) > limits.request_images:
        raise too_many
    return encoding, _decoded(texts, encoding, limits.request_pixels)


def _decoded(texts: list[object], encoding: str, most_pixels: int) -> Tensor:
    def decoded(i: int, shape: tuple[int, ...] | None = None) -> Tensor:
        try:
            return decode_image(texts[i], encoding, shape, most_pixels)
        except ValueError as error:
            raise Refusal(400, f"image {i + 1} of {len(texts)} {error}") from error

    first = decoded(0)
    if len(texts) * first.shape[1] * first.shape[2] > most_pixels:
        raise Refusal(
            413, f"a request has at most {most_pixels} pixels; send fewer or smaller images"
        )
    x = torch.empty(len(texts), *first.shape)
    x[0] = first
    for i in range(1, len(texts)):
        x[i] = decoded(i, first.shape)
    return x


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a file of weights."""
    program = "python -m mia_lab.victims.server"
    parser = argparse.ArgumentParser(program, f"{program} CHECKPOINT [options]", __doc__)
    parser.add_argument("checkpoint", help="path of the weights, as in victim.checkpoint")
    parser.add_argument("--format", default="mia_lab", help="mia_lab (default), pix2pix, pix2pixhd")
    parser.add_argument("--key", help="of several generators in the file, as in victim.key")
    parser.add_argument(
        "--image-size",
        type=int,
        nargs="+",
        default=[256],
        metavar="PIXELS",
        help="side of the images, or width and height (256)",
    )
    parser.add_argument("--port", type=int, default=8000, help="8000; 0 chooses a free port")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 accepts other machines")
    chosen = parser.parse_args(arguments)
    size = chosen.image_size
    if len(size) > 2:
        parser.error(f"--image-size {' '.join(map(str, size))}: give one side, or width and height")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        victim = Pretrained(
            format=chosen.format,
            checkpoint=chosen.checkpoint,
            image_size=size if len(size) == 2 else size[0],
            key=chosen.key,
        )
        serve(victim.translate, chosen.port, chosen.host)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
