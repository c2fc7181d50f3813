"""Room for bytes, and places for connections."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from mia_lab.victims.limits import Connections, Room


def test_large_items_leave_room_for_small_ones() -> None:
    room = Room(100)
    assert room.take(40, 0)
    assert not room.take(40, 0)
    for size in (30, 15, 7, 4, 2, 1):
        assert room.take(size, 0)
    assert not room.take(1, 0)


def test_an_item_of_any_size_is_admitted_alone() -> None:
    room = Room(100)
    assert room.take(1000, 0)
    assert not room.take(1, 0)
    room.give_back(1000)
    assert room.take(60, 0)


def test_it_waits_for_room() -> None:
    room = Room(100)
    room.take(100, 0)
    start = time.monotonic()
    assert not room.take(10, 0.1)
    threading.Timer(0.1, room.give_back, [100]).start()
    assert room.take(10, 5)
    assert 0.2 <= time.monotonic() - start < 2


def is_open(other_end: socket.socket) -> bool:
    other_end.setblocking(False)
    try:
        return other_end.recv(1) != b""
    except BlockingIOError:
        return True


def test_a_new_connection_replaces_the_one_that_waited_longest() -> None:
    pairs = [socket.socketpair() for _ in range(5)]
    connections = Connections(3)
    first, second, third, fourth, fifth = (server for server, _ in pairs)
    try:
        assert all(connections.enter(c) for c in (first, second, third))
        connections.mark(first, waits=False)
        assert connections.enter(fourth)
        assert [is_open(client) for _, client in pairs] == [True, False, True, True, True]
        with pytest.raises(ConnectionError, match="closed, to make room"):
            connections.mark(second, waits=False)
        for busy in (third, fourth):
            connections.mark(busy, waits=False)
        assert not connections.enter(fifth)
        connections.mark(third, waits=True)
        connections.mark(first, waits=True)
        assert connections.enter(fifth)
        assert [is_open(client) for _, client in pairs] == [True, False, False, True, True]
        connections.leave(fourth)
        assert connections.enter(third)
        assert is_open(pairs[0][1])
    finally:
        for pair in pairs:
            for end in pair:
                end.close()
