"""Where a server listens: taken before anything is loaded, so that a port that is taken is said at once."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack

from imgvec.errors import UsageError

_BACKLOG = 2048
"""As uvicorn's own."""
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""An address of a name that this machine does not have, as ::1 of `localhost` without IPv6."""


def listening(host: str, port: int) -> list[socket.socket]:
    """Sockets of every address that the host has, on one port; 0 is a free one. Raises `UsageError`."""
    found: list[socket.socket] = []
    with ExitStack() as taken:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for number, (family, _, _, _, address) in enumerate(addresses, 1):
                try:
                    one = taken.enter_context(socket.socket(family, socket.SOCK_STREAM))
                    _listen(one, (address[0], port or _port_of(found), *address[2:]))
                except OSError as exc:
                    if exc.errno not in _NOT_HERE or (number == len(addresses) and not found):
                        raise
                else:
                    found.append(one)
        except OSError as exc:
            way = "give another --port, or 0 for a free one" if port else "give another --host"
            why = (exc.strerror or str(exc)).lower()
            raise UsageError(f"cannot listen on {host}, port {port}: {why}; {way}") from exc
        taken.pop_all()
    return found


def _listen(one: socket.socket, address: tuple[object, ...]) -> None:
    if os.name == "posix":  # elsewhere two could have the port
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind(address)
    one.listen(_BACKLOG)


def _port_of(found: list[socket.socket]) -> int:
    return int(found[0].getsockname()[1]) if found else 0
