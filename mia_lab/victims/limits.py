"""What the clients of a server may use of it: limits, and the accounts that keep them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a server; ``GET /`` tells them to clients.

    Attributes:
        request_pixels: height times width, summed over the images of one request. It is checked
            before the images are decoded.
        request_images: images of one request.
        request_bytes: body of one request.
        head_bytes: request line and headers of one request.
        held_bytes: bodies in memory at the same time; as much again is held in answers.
        connections: open connections. A further connection replaces the one that has waited
            longest for a request; if none waits, the new one is refused with status 503.
        idle_s: seconds between two requests of a connection.
        step_s: seconds for a head, for each 64 KiB of a body or of an answer, and to wait until
            there is room for one.
        request_s: seconds for one whole request, and again for its answer.
    """

    request_pixels: int = 2**22
    request_images: int = 2**12
    request_bytes: int = 17 * request_pixels  # three float32 channels in base64 take 16
    head_bytes: int = 2**14
    held_bytes: int = 2**27
    connections: int = 256
    idle_s: float = 60.0
    step_s: float = 5.0
    request_s: float = 120.0


class Room:
    """Bytes that may be in memory at the same time.

    An item is admitted if twice its size is free, so that large ones leave room for small ones, or
    if it is alone.

    Args:
        size: bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._changed = threading.Condition()

    def take(self, size: int, timeout: float) -> bool:
        """Wait until there is room for an item, at most ``timeout`` seconds; False: there is none.

        The caller gives the same number of bytes back.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(size), timeout):
                return False
            self._used += size
            return True

    def give_back(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + 2 * size <= self._size


class Connections:
    """The open connections of a server.

    Args:
        most: number of open connections.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waits: dict[socket.socket, bool] = {}
        """Whether it waits for a request; those that have waited longest come first."""

    def enter(self, connection: socket.socket) -> bool:
        """Admit a new connection, which waits for a request; False: there is no place for it."""
        with self._lock:
            if len(self._waits) >= self._most and not self._close_one():
                return False
            self._waits[connection] = True
            return True

    def mark(self, connection: socket.socket, *, waits: bool) -> None:
        """Note that a connection waits for a request, or has received the head of one.

        Raises:
            ConnectionError: it was closed to make room.
        """
        with self._lock:
            if self._waits.pop(connection, None) is None:
                raise ConnectionAbortedError("closed, to make room for another connection")
            self._waits[connection] = waits

    def leave(self, connection: socket.socket) -> None:
        with self._lock:
            self._waits.pop(connection, None)

    def _close_one(self) -> bool:
        waiting = next((c for c, waits in self._waits.items() if waits), None)
        if waiting is None:
            return False
        del self._waits[waiting]
        with suppress(OSError):
            waiting.shutdown(socket.SHUT_RDWR)  # its thread wakes up and ends
        return True
