"""Addresses and headers of a service: the URL, the token, and what a server says about time."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from mia_lab.errors import UserError


def checked_url(url: str) -> str:
    """The URL as messages show it: its query may hold a secret.

    Raises:
        UserError: it is no URL, or holds a user name.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UserError(f"victim.url: is no URL ({error}); give http://host:port/path") from error
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}{'?***' * bool(parts.query)}"
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise UserError(f"victim.url={shown}: give http://host:port/path, or https")
    if "@" in parts.netloc:
        raise UserError(
            f"victim.url={shown}: holds a user name or password, and the URL is written into every "
            "report; put a token into an environment variable and name that with "
            "victim.token_variable"
        )
    return shown


def read_token(variable: str) -> str:
    """The value of an environment variable, fit for a header.

    Raises:
        UserError: there is none, or it is no token.
    """
    token = os.environ.get(variable, "").strip()
    if not token:
        raise UserError(
            f"victim.token_variable={variable}: no such environment variable; export {variable}=..."
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"victim.token_variable={variable}: its value is no token; it must be printable ASCII "
            "without blanks"
        )
    return token


def origin(response: requests.Response) -> str:
    """Where a redirect leads, without what may be secret in it."""
    parts = urlsplit(response.headers.get("Location", ""))
    return f"to {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def retry_after(header: str) -> float:
    """Seconds a server asks to wait: a number or a date."""
    with suppress(ValueError):
        return max(0.0, float(int(header)))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    return 0.0
