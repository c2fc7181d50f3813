"""URL, token and headers of an HTTP service."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from mia_lab.errors import UserError


def checked_url(url: str) -> str:
    """Check a URL, and return it for messages with its query hidden, which may be secret.

    Raises:
        UserError: the URL is invalid, or contains a user name.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UserError(
            f"victim.url: is not a valid URL ({error}); set it to http://host:port/path"
        ) from error
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}{'?***' * bool(parts.query)}"
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise UserError(
            f"victim.url={shown}: is not a valid URL; set it to http://host:port/path, or https"
        )
    if "@" in parts.netloc:
        raise UserError(
            f"victim.url={shown}: contains a user name or password, and every report shows the "
            "URL; put a token into an environment variable and set victim.token_variable to its "
            "name"
        )
    return shown


def read_token(variable: str) -> str:
    """The value of an environment variable, checked for use in a header.

    Raises:
        UserError: the variable is not set, or its value is not a valid token.
    """
    token = os.environ.get(variable, "").strip()
    if not token:
        raise UserError(
            f"victim.token_variable={variable}: no such environment variable; export {variable}=..."
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"victim.token_variable={variable}: its value is not a valid token; it must be "
            "printable ASCII without spaces"
        )
    return token


def redirect_target(response: requests.Response) -> str:
    """The target of a redirect, without user name and query, which may be secret."""
    parts = urlsplit(response.headers.get("Location", ""))
    return f"to {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def retry_after(header: str) -> float:
    """Seconds to wait, from a ``Retry-After`` header: a number or a date."""
    with suppress(ValueError):
        return max(0.0, float(int(header)))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    return 0.0
