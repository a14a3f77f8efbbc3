"""How a fetch ends: which connections are kept, what waits, what a redirect may say, what a body may expand to."""

from __future__ import annotations

import gzip
import select
import socket
import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler

import pytest
from test_fetch import HERE, refused, say, serving

from imgvec.errors import UnreadableImage
from imgvec.images import FetchPolicy, UrlReader
from imgvec.images.connections import Connections, Place, Wire, _has_something_to_say

pytestmark = pytest.mark.timeout(30)


class Counted(Connections):
    def __init__(self) -> None:
        super().__init__()
        self.kept = 0

    def give_back(self, place: Place, sock: socket.socket) -> None:
        self.kept += 1
        super().give_back(place, sock)


@pytest.mark.parametrize(
    ("status", "body", "close", "kept"),
    [(200, b"pixels", False, 1), (200, b"pixels", True, 0), (404, b"words", False, 0), (404, b"words", True, 0)],
)
def test_a_connection_is_kept_after_all_of_an_answer_where_the_server_waits(
    status: int, body: bytes, close: bool, kept: int
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        if close:
            handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)

    connections = Counted()
    with serving(answer) as server:
        reader = UrlReader(f"{server.url}/a.jpg", HERE, connections)
        if status == 200:
            assert reader.read(1000) == body
        else:
            with pytest.raises(UnreadableImage):
                reader.read(1000)
        assert connections.kept == kept
        connections.close()


def test_a_fetch_without_a_word() -> None:
    policy = FetchPolicy()
    assert (policy.timeout, policy.max_redirects, policy.retries, policy.allowed_networks) == (30.0, 3, 3, ())


def test_a_redirect_to_no_address() -> None:
    with serving(lambda handler: say(handler, 302, b"", Location="http://[::1")) as server:
        error = refused(UrlReader(f"{server.url}/a.jpg", HERE))
    assert (error.reason, error.detail) == ("read failed", "it redirects to an invalid address: Invalid IPv6 URL")


def test_what_a_body_expands_to_is_not_held_beyond_the_limit() -> None:
    body = gzip.compress(bytes(64 * 2**20), 1)
    with serving(lambda handler: say(handler, 200, body, Content_Encoding="gzip")) as server:
        tracemalloc.start()
        try:
            error = refused(UrlReader(f"{server.url}/a.jpg", HERE), len(body))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert error.reason == "too large"
    assert peak < 16 * 2**20


@pytest.mark.parametrize("way", ["receive", "send"])
def test_a_silent_server_is_waited_for_until_the_deadline(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    with ours, theirs:
        ending = threading.Timer(5, theirs.shutdown, [socket.SHUT_RDWR])
        ending.start()
        start = time.monotonic()
        wire = Wire(ours, start + 0.2)
        try:
            with pytest.raises(TimeoutError):
                wire.sendall(bytes(64 * 2**20)) if way == "send" else wire.makefile("rb").read(1)
            assert 0.1 < time.monotonic() - start < 4
        finally:
            ending.cancel()


@pytest.mark.parametrize("polls", [True, False])
def test_what_is_idle_is_not_waited_for(polls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not polls:
        monkeypatch.delattr(select, "poll")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        start = time.monotonic()
        assert _has_something_to_say(ours) is False
        assert time.monotonic() - start < 0.5
        theirs.sendall(b"unasked")
        assert _has_something_to_say(ours) is True
        assert ours.recv(100) == b"unasked"
        assert _has_something_to_say(ours) is False
        theirs.close()
        assert _has_something_to_say(ours) is True


def test_the_system_is_asked_once_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []

    class Poll:
        def register(self, sock: object, events: int) -> None:
            assert events == select.POLLIN | select.POLLERR | select.POLLHUP

        def poll(self, wait: int) -> list[object]:
            waits.append(wait)
            return []

    monkeypatch.setattr(select, "poll", Poll)
    with socket.socket() as sock:
        assert _has_something_to_say(sock) is False
    assert waits == [0]
