"""Sockets for fetching: every wait ends at a deadline, and idle sockets serve the next fetch from the same host."""

from __future__ import annotations

import io
import select
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Place = tuple[str, str, int]
"""Scheme, host, port."""
MOST_IDLE = 32
"""Idle connections, of all hosts together; the one that has waited longest goes first."""
_CHUNK = 64 * 2**10
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
"""Not set once for all: the system resets it. Without it a server that sends head and body apart, and leaves Nagle's
algorithm on, waits 40 ms for each acknowledgement on a connection that is not new."""


class Connections:
    """Connections that wait for the next fetch from the same scheme, host and port; several threads may share it.

    Each was made to an address that was judged then, and leads there still. After `close` none is kept any longer.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[Place, socket.socket]] = []
        self._closed = False
        self._lock = threading.Lock()

    def take(self, place: Place) -> socket.socket | None:
        """The connection to `place` that was used last; None if no usable one is idle."""
        while True:
            with self._lock:
                at = next((i for i in reversed(range(len(self._idle))) if self._idle[i][0] == place), None)
                if at is None:
                    return None
                _, sock = self._idle.pop(at)
            if not _has_something_to_say(sock):
                return sock
            sock.close()

    def give_back(self, place: Place, sock: socket.socket) -> None:
        """Keep `sock`, whose last answer was read to its end."""
        with self._lock:
            if self._closed:
                surplus = [sock]
            else:
                self._idle.append((place, sock))
                surplus = [old for _, old in self._idle[:-MOST_IDLE]]
                del self._idle[:-MOST_IDLE]
        for old in surplus:
            old.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for _, sock in idle:
            sock.close()


def _has_something_to_say(sock: socket.socket) -> bool:
    """Whether an idle connection is unusable: closed by the server, or with unexpected data waiting."""
    if hasattr(select, "poll"):  # `select` cannot watch a descriptor above 1023
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLERR | select.POLLHUP)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


class Wire:
    """A connected socket, as much of it as `http.client` uses, of which every send and receive ends at the deadline.

    A socket's own timeout begins again with each byte, so a server that sends one a second would hold it forever.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_remaining(self._deadline))
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._sock, self._deadline), _CHUNK)

    def close(self) -> None:
        """Nothing: http.client closes before the body is read; who opened the socket closes it."""


class _Incoming(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._sock.settimeout(_remaining(self._deadline))
        if _QUICKACK is not None:
            self._sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return self._sock.recv_into(buffer)


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
