"""A victim behind a URL.

Each batch is one request: ``POST <victim.url>`` with ``Content-Type: application/json``, and with
``Authorization: Bearer <token>`` if ``victim.token_variable`` is set. The body is

    {"encoding": "png", "images": ["<base64>", "<base64>", ...]}

and the answer has status 200 and the same number of images in the same order:

    {"images": ["<base64>", "<base64>", ...]}

Every string is one file in standard base64, in the format that ``encoding`` names, in the request
and in the answer:

- ``png``: an 8-bit PNG, grey, RGB or RGBA for 1, 3 or 4 channels; level 255 is 1.0. Inputs are
  rounded to the nearest level.
- ``npy``: NumPy's ``.npy`` format, version 1 to 3, float32 (C, H, W) in [0, 1], never pickled, of
  any number of channels.

An answer has the height and width of its input, and as many channels as the targets. The client
sends no other request, follows no redirect, and requests no compression. It retries after a refused
or broken connection, a timeout, an incomplete answer, and status 408, 425, 429 or 5xx, and respects
``Retry-After``. Any other status stops the run with an error that shows the first line of the
server's text.
`mia_lab.victims.server` is such a server.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

import requests
import tenacity
import torch
from annotated_types import Gt, Le
from torch import Tensor
from urllib3.exceptions import HTTPError

from mia_lab.errors import UserError
from mia_lab.parameters import RUNTIME, NonNegativeInt, Positive, PositiveInt, Text
from mia_lab.victims.address import checked_url, read_token, redirect_target, retry_after
from mia_lab.victims.answers import Unanswered
from mia_lab.victims.wire import PNG_MODES, TRANSPORT, decode_image, encode_image

log = logging.getLogger(__name__)

BACK_OFF_S = 1.0
"""Pause before the second attempt; it doubles with each attempt."""

LONGEST_BACK_OFF_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
"""Longest pause that a server may request; a longer one stops the run."""

START = "start the server or correct victim.url"
CORRECT = "correct the server; mia_lab/victims/http.py describes the answer"


class Http:
    """A model behind a URL, as a black box; the module's docstring describes the request.

    The constructor sends no request.

    Args:
        url: where requests are sent.
        version: the user's name for the model behind the URL; it changes no request.
        encoding: of the pictures in a request and its answer.
        in_channels: channels of the inputs; None: not known yet.
        out_channels: channels of the answers, those of the targets.
        token_variable: environment variable whose value is sent as a bearer token.
        timeout_s: for one request, from connecting to the last byte of the answer; a day at most.
        retries: how often a request is sent again.
        requests_per_s: at most so many requests are sent; None: no limit.

    Attributes:
        costly: each of its answers is stored at once, and no check asks for more.
        transport: how answers travel, where that loses precision.

    Raises:
        UserError: the URL is malformed, the variable of the token is not set, or the encoding does
            not hold pictures of so many channels.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False
    costly: ClassVar[bool] = True

    def __init__(
        self,
        url: str,
        version: Text | None = None,
        encoding: Literal["png", "npy"] = "png",
        in_channels: Annotated[PositiveInt | None, RUNTIME] = None,
        out_channels: Annotated[PositiveInt, RUNTIME] = 3,
        token_variable: Annotated[str | None, RUNTIME] = None,
        timeout_s: Annotated[float, Gt(0), Le(86_400), RUNTIME] = 60,
        retries: Annotated[NonNegativeInt, RUNTIME] = 5,
        requests_per_s: Annotated[Positive | None, RUNTIME] = None,
    ) -> None:
        self._shown = checked_url(url)
        self.transport = TRANSPORT[encoding]
        self._url = url
        self._encoding = encoding
        self._out_channels = out_channels
        self._check_channels("inputs", in_channels)
        self._check_channels("answers", out_channels)
        self._token_variable = token_variable
        self._token = read_token(token_variable) if token_variable else ""
        self._timeout_s = timeout_s
        self._retries = retries
        self._pause_s = 1 / requests_per_s if requests_per_s else 0.0
        self._next = 0.0
        self._session = requests.Session()
        # Set as a callable: a plain header would give way to an entry in ~/.netrc.
        self._session.auth = self._authorize

    def translate(self, x: Tensor) -> Tensor:
        """Send one batch.

        Args:
            x: float32 (N, C, H, W) in [0, 1], on the CPU; C is 1, 3 or 4 with ``png``.

        Returns:
            float32 (N, C', H, W) in [0, 1]; C' is ``out_channels``.

        Raises:
            Unanswered: all attempts failed, or some answers are invalid; it holds the valid ones.
            UserError: the encoding cannot represent the inputs.
        """
        self._check_channels("inputs", x.shape[1])
        images = [encode_image(image, self._encoding) for image in x]
        body = json.dumps({"encoding": self._encoding, "images": images}).encode()
        shape = torch.Size((len(x), self._out_channels, *x.shape[2:]))
        # Twice the size of a float32 answer in base64, plus a margin.
        limit = 2**20 + 11 * shape.numel()
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._retries + 1),
            retry=tenacity.retry_if_exception(_is_temporary),
            wait=_pause,
            before_sleep=self._log_retry,
            reraise=True,
        )
        try:
            answers = retrying(self._attempt, body, limit, shape)
        except _Failure as failure:
            sent = retrying.statistics["attempt_number"]
            raise Unanswered(
                f"victim.url={self._shown}: {failure}, after {sent} "
                f"attempt{'s' if sent > 1 else ''}; {failure.remedy}",
                failure.answers,
            ) from failure
        return torch.stack(answers)

    def _check_channels(self, what: str, channels: int | None) -> None:
        if self._encoding == "png" and channels not in (None, *PNG_MODES.values()):
            raise UserError(
                f"victim.encoding=png: supports 1, 3 or 4 channels, but the {what} have "
                f"{channels}; set victim.encoding=npy"
            )

    def _attempt(self, body: bytes, limit: int, shape: torch.Size) -> list[Tensor]:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + self._pause_s
        # The timeout of a socket limits only the time between two bytes, and a server may send
        # headers slowly for ever. So a thread runs the exchange, and is abandoned at the deadline.
        future: Future[bytes] = Future()
        deadline = time.monotonic() + self._timeout_s

        def exchange() -> None:
            try:
                future.set_result(self._exchange(body, limit, deadline))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=exchange, daemon=True).start()
        try:
            return _parse(future.result(self._timeout_s), self._encoding, shape, self._quote)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise self._connection_failure(error) from error

    def _exchange(self, body: bytes, limit: int, deadline: float) -> bytes:
        """Send the request, and read the body of the answer."""
        with self._session.post(
            self._url,
            data=body,
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
            timeout=self._timeout_s,
            allow_redirects=False,
            stream=True,
        ) as response:
            if not 200 <= response.status_code < 300:
                raise self._status_failure(response)
            parts, size = [], 0
            while part := response.raw.read1(2**16, decode_content=True):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise _Failure(f"the answer has more than {limit / 2**20:.0f} MiB", CORRECT)
                if time.monotonic() > deadline:
                    raise TimeoutError
            return b"".join(parts)

    def _connection_failure(self, error: Exception) -> _Failure:
        """The failure of a connection, with the message of the operating system."""
        cause: BaseException = error
        while inner := cause.__cause__ or cause.__context__:
            cause = inner
        if isinstance(cause, TimeoutError):
            return _Failure(
                f"no complete answer within {self._timeout_s:g} s",
                f"{START}; if it is slow, raise victim.timeout_s or lower query.batch_size",
                temporary=True,
            )
        # The message of a broken protocol holds what the server sent.
        reason = self._safe(" ".join(str(cause).split()))[:LONGEST_QUOTE]
        what = f"cannot be queried ({reason or type(cause).__name__})"
        # A ValueError means that the request is invalid.
        final = isinstance(error, ValueError) or "CERTIFICATE_VERIFY_FAILED" in what
        return _Failure(what, START, temporary=not final)

    def _status_failure(self, response: requests.Response) -> _Failure:
        """The failure that a status other than 2xx stands for."""
        status = response.status_code
        text = b""
        with suppress(HTTPError, OSError):
            text = response.raw.read1(4096, decode_content=True)
        what = f"status {status}{self._quote(text.decode(errors='replace'))}"
        if status < 400:
            what = f"status {status}, a redirect{self._quote(redirect_target(response))}"
            return _Failure(what, "set victim.url to the target, if you trust it")
        if status in (401, 403) and self._token_variable:
            return _Failure(what, f"the server rejects the token in {self._token_variable}")
        if status not in (408, 425, 429) and status < 500:
            return _Failure(what, REMEDY.get(status, CORRECT))
        wait = retry_after(response.headers.get("Retry-After", ""))
        if wait > LONGEST_RETRY_AFTER_S:
            return _Failure(
                f"{what}, requests a pause of {wait:.0f} s", "run the command again after it"
            )
        remedy = REMEDY.get(status, "look into the server's log")
        return _Failure(what, remedy, temporary=True, retry_after=wait)

    def _quote(self, text: str) -> str:
        """The first line of a server's text, in parentheses, escaped and without the token."""
        lines = (line.strip() for line in self._masked(text).splitlines())
        shown = self._safe(next((line for line in lines if line), ""))
        more = "..." if len(shown) > LONGEST_QUOTE else ""
        return f" ({shown[:LONGEST_QUOTE]}{more})" if shown else ""

    def _masked(self, text: str) -> str:
        return text.replace(self._token, "***") if self._token else text

    def _safe(self, text: str) -> str:
        """Text of a server for a terminal and a log: without the token and control characters."""
        return self._masked(text).encode("unicode_escape").decode()

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
        assert state.outcome is not None
        assert state.next_action is not None
        log.warning(
            "%s: %s; attempt %d of %d in %.1f s",
            self._shown,
            state.outcome.exception(),
            state.attempt_number + 1,
            self._retries + 1,
            state.next_action.sleep,
        )


LONGEST_QUOTE = 200
"""Characters that an error shows of what a server sent."""

REMEDY = {
    401: "name the environment variable of the token with victim.token_variable",
    403: "name the environment variable of the token with victim.token_variable",
    404: "correct victim.url",
    405: "correct victim.url",
    413: "lower query.batch_size",
    429: "set victim.requests_per_s",
    502: START,
    503: START,
    504: START,
}


class _Failure(Exception):
    """A failed attempt; a temporary failure is retried."""

    def __init__(
        self,
        what: str,
        remedy: str,
        *,
        temporary: bool = False,
        retry_after: float = 0.0,
        answers: dict[int, Tensor] | None = None,
    ) -> None:
        super().__init__(what)
        self.remedy = remedy
        self.temporary = temporary
        self.retry_after = retry_after
        self.answers = answers or {}


def _is_temporary(error: BaseException) -> bool:
    return isinstance(error, _Failure) and error.temporary


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds until the next attempt."""
    assert state.outcome is not None
    doubling = tenacity.wait_exponential(BACK_OFF_S, LONGEST_BACK_OFF_S)
    jitter = tenacity.wait_random(0, BACK_OFF_S / 4)
    failure = state.outcome.exception()
    requested = failure.retry_after if isinstance(failure, _Failure) else 0.0
    return max(requested, doubling(state) + jitter(state))


def _parse(
    body: bytes, encoding: str, shape: torch.Size, quote: Callable[[str], str]
) -> list[Tensor]:
    """The images of an answer.

    Args:
        body: of the answer.
        encoding: of the images.
        shape: (N, C, H, W) of all images.
        quote: shows a text of the server in an error.
    """
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        begins = quote(body.decode(errors="replace"))
        raise _Failure(
            f"the answer of {len(body)} bytes is not JSON or is truncated{begins}",
            CORRECT,
            temporary=True,
        ) from error
    images = answer.get("images") if isinstance(answer, dict) else None
    if not isinstance(images, list):
        raise _Failure("the answer has no list 'images'", CORRECT)
    if len(images) != shape[0]:
        raise _Failure(f"the answer to {shape[0]} images has {len(images)}", CORRECT)
    answers, wrong = {}, []
    for index, text in enumerate(images):
        try:
            answers[index] = decode_image(text, encoding, shape[1:])
        except ValueError as error:
            wrong.append(f"image {index + 1} of {shape[0]} {error}")
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise _Failure(f"the answer's {wrong[0]}{more}", CORRECT, answers=answers)
    return list(answers.values())
