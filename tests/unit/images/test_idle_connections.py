"""What of a connection is waited for and how long, and which one is kept."""

from __future__ import annotations

import gzip
import http.client
import select
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from test_connections import HERE, OK, Connections, Server, read, serving
from test_fetch import refused, say
from test_fetch import serving as http_serving

from imgvec.errors import UnreadableImage
from imgvec.images import FetchPolicy, UrlReader, connections, fetch
from imgvec.images.connections import Wire

pytestmark = pytest.mark.timeout(30)
PLACE = ("http", "x", 80)


@pytest.fixture
def kept() -> Iterator[Connections]:
    with closing(Connections()) as found:
        yield found


Pair = tuple[socket.socket, socket.socket]


def connected() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        mine = socket.create_connection(listening.getsockname())
        return mine, listening.accept()[0]


@pytest.fixture
def pair() -> Iterator[Pair]:
    mine, theirs = connected()
    with mine, theirs:
        yield mine, theirs


@pytest.mark.parametrize("way", ["poll", "select"])
@pytest.mark.parametrize("said", [None, b"x", b""])
def test_one_that_has_something_to_say_is_closed(
    way: str, said: bytes | None, kept: Connections, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "select":
        monkeypatch.delattr(select, "poll")
    mine, theirs = pair
    kept.give_back(PLACE, mine)
    if said:
        theirs.sendall(said)
    elif said is not None:
        theirs.close()
    if said is not None:
        mine.settimeout(5)
        assert mine.recv(1, socket.MSG_PEEK) == said  # it has come
    if said is None:
        assert kept.take(PLACE) is mine
    else:
        assert kept.take(PLACE) is None
        assert mine.fileno() == -1
    assert kept.take(PLACE) is None


def test_taking_one_does_not_wait(kept: Connections, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[object] = []

    class Poll:
        def register(self, sock: socket.socket, events: int) -> None:
            assert events & select.POLLIN

        def poll(self, timeout: float) -> list[object]:
            waits.append(timeout)
            return []

    monkeypatch.setattr(select, "poll", Poll)
    kept.give_back(PLACE, pair[0])
    assert kept.take(PLACE) is pair[0]
    monkeypatch.delattr(select, "poll")
    monkeypatch.setattr(select, "select", lambda *given: waits.append(given[3]) or ([], [], []))
    kept.give_back(PLACE, pair[0])
    assert kept.take(PLACE) is pair[0]
    assert waits == [0, 0]


def test_the_one_that_was_used_last_is_taken_and_no_other_place_s(kept: Connections) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    for place, (mine, _) in zip((PLACE, PLACE, ("http", "x", 81)), pairs, strict=True):
        kept.give_back(place, mine)
    assert kept.take(("https", "x", 80)) is None
    assert kept.take(PLACE) is pairs[1][0]
    assert kept.take(PLACE) is pairs[0][0]
    assert kept.take(PLACE) is None
    kept.close()
    assert pairs[2][0].fileno() == -1
    kept.give_back(PLACE, pairs[0][0])
    assert pairs[0][0].fileno() == -1
    for mine, theirs in pairs:
        mine.close()
        theirs.close()


def test_no_more_than_32_are_idle(kept: Connections) -> None:
    pairs = [socket.socketpair() for _ in range(34)]
    for mine, _ in pairs:
        kept.give_back(PLACE, mine)
    assert [mine.fileno() == -1 for mine, _ in pairs] == [True] * 2 + [False] * 32
    for _, theirs in pairs:
        theirs.close()


def test_each_wait_is_what_is_left(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: now[0])
    mine, theirs = pair
    wire = Wire(mine, 107.0)
    wire.sendall(b"asked")
    assert (theirs.recv(99), mine.gettimeout()) == (b"asked", 7.0)
    file = wire.makefile("rb")
    now[0] = 105.0
    theirs.sendall(b"said")
    assert (file.read(4), mine.gettimeout()) == (b"said", 2.0)
    now[0] = 107.0
    with pytest.raises(TimeoutError):
        wire.sendall(b"late")
    theirs.sendall(b"more")
    with pytest.raises(TimeoutError):
        file.read(4)
    wire.close()
    assert mine.fileno() != -1


@pytest.mark.parametrize("version", [b"HTTP/1.1 200 OK\r\nconnection: close", b"HTTP/1.0 200 OK"])
def test_one_that_the_server_will_close_is_not_kept_while_it_is_open(version: bytes, kept: Connections) -> None:
    answer = version + b"\r\nContent-Length: 6\r\n\r\n"

    class Patient(Server):
        def _serve(self, sock: socket.socket, connection: int) -> None:
            with sock:
                while self._asked(sock):
                    sock.sendall(answer + b"pixels")

    with closing(Patient(lambda *_: None)) as server:
        assert [read(server, kept) for _ in range(2)] == [b"pixels"] * 2
        assert server.connections == 2


@pytest.mark.parametrize("length", [0, 6])
def test_a_redirect_whose_body_is_not_read_does_not_keep_it(length: int, kept: Connections) -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /b.jpg\r\nContent-Length: %d\r\n\r\n" % length
    with serving(lambda connection, request: moved if (connection, request) == (0, 0) else OK) as server:
        assert read(server, kept) == b"pixels"
        assert (server.connections, server.requests) == (2, 2)


def test_what_a_fetch_may_do_unasked() -> None:
    policy = FetchPolicy()
    assert (policy.allowed_networks, policy.timeout, policy.max_redirects, policy.retries) == ((), 30.0, 3, 3)


def test_a_redirect_to_what_is_no_address() -> None:
    with http_serving(lambda handler: say(handler, 302, Location="http://[::1/a.jpg")) as server:
        error = refused(UrlReader(f"{server.url}/a.jpg", HERE))
    assert error.reason == "read failed"
    assert error.detail == "it redirects to an invalid address: Invalid IPv6 URL"


@pytest.mark.parametrize(
    ("location", "detail"),
    [
        ("ftp://127.0.0.1/a.jpg", "only http and https are supported"),
        ("http://me@127.0.0.1/a.jpg", "a stored URL must not contain a user name or password"),
        ("http://:80/a.jpg", "it has no host"),
        ("http://10.1.2.3/a.jpg", "10.1.2.3 is at 10.1.2.3, which is not a public address"),
    ],
)
def test_a_redirect_to_where_nothing_may_be_fetched(location: str, detail: str) -> None:
    with http_serving(lambda handler: say(handler, 302, Location=location)) as server:
        error = refused(UrlReader(f"{server.url}/a.jpg", HERE))
    assert (error.uri, error.reason, error.detail) == (f"{server.url}/a.jpg", "permission denied", detail)


def test_a_body_that_expands_is_held_no_further_than_the_cap() -> None:
    bomb = gzip.compress(bytes(64 * 2**20))
    with http_serving(lambda handler: say(handler, 200, bomb, Content_Encoding="gzip")) as server:
        reader = UrlReader(f"{server.url}/a.jpg", HERE)
        tracemalloc.start()
        try:
            error = refused(reader, 100_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (error.reason, error.detail) == ("too large", "the limit is 100,000 bytes")
    assert peak < 16 * 2**20


def test_a_body_that_ends_too_early_says_how_much_is_missing() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\nConnection: close\r\n\r\npixels"
    with serving(lambda *_: answer) as server, pytest.raises(UnreadableImage) as caught:
        UrlReader(server.url, HERE).read(5000)
    assert caught.value.reason == "read failed"
    assert caught.value.detail == "the connection was lost with 1,994 bytes missing; tried 1 time"


def test_one_that_says_it_is_too_large_is_not_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"
    with serving(lambda *_: head) as server, pytest.raises(UnreadableImage) as caught:
        UrlReader(server.url, HERE).read(1000)
    assert (caught.value.reason, caught.value.detail) == ("too large", "the limit is 1,000 bytes")


def test_a_reason_is_cut() -> None:
    answer = b"HTTP/1.1 418 " + b"t" * 200 + b"\r\nContent-Length: 0\r\n\r\n"
    with serving(lambda *_: answer) as server, pytest.raises(UnreadableImage) as caught:
        UrlReader(server.url, HERE).read(1000)
    assert caught.value.detail == "418 " + "t" * 96


def test_the_deadline_in_words() -> None:
    policy = FetchPolicy(("127.0.0.0/8",), timeout=0.25, retries=0)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
    with serving(lambda *_: head) as server, pytest.raises(UnreadableImage) as caught:
        UrlReader(server.url, policy).read(1000)
    assert (caught.value.reason, caught.value.detail) == ("read failed", "timed out after 0.25 s")


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_a_usual_port_is_not_named_to_the_host(scheme: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, bytes]] = []

    def connect(_: object, place: tuple[str, str, int]) -> socket.socket:
        mine, theirs = connected()
        theirs.sendall(OK)
        theirs.shutdown(socket.SHUT_WR)
        pairs.append((place, theirs))
        return mine

    pairs: list[tuple[object, socket.socket]] = []
    monkeypatch.setattr(fetch._Fetch, "_connected", connect)
    for address in (f"{scheme}://x.example/a.jpg", f"{scheme}://x.example:{port}/a.jpg", f"{scheme}://x.example:81/"):
        assert UrlReader(address, HERE).read(10) == b"pixels"
    for place, theirs in pairs:
        asked.append((place, theirs.recv(9999).partition(b"Host: ")[2].partition(b"\r\n")[0]))
        theirs.close()
    usual = ((scheme, "x.example", port), b"x.example")
    assert asked == [usual, usual, ((scheme, "x.example", 81), b"x.example:81")]


def test_the_next_address_is_tried_and_what_the_last_one_said_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda *_: OK) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        places = ["10.1.2.3", "127.0.0.9", "127.0.0.1"]
        of_system = socket.getaddrinfo

        def getaddrinfo(host: str, *given: Any, **options: Any) -> list[Any]:
            if host != "x.example":
                return of_system(host, *given, **options)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in places]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert UrlReader(f"http://x.example:{port}/", HERE).read(10) == b"pixels"
        places.pop()
        with pytest.raises(UnreadableImage) as caught:
            UrlReader(f"http://x.example:{port}/", HERE).read(10)
        assert caught.value.detail == "the connection was lost: [Errno 111] Connection refused; tried 1 time"
        places.pop()
        with pytest.raises(UnreadableImage) as caught:
            UrlReader(f"http://x.example:{port}/", HERE).read(10)
    assert caught.value.reason == "permission denied"
    assert caught.value.detail == "x.example is at 10.1.2.3, which is not a public address"


def test_a_protocol_that_breaks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object, sock: socket.socket, *__: object) -> bytes:
        sock.close()
        raise http.client.HTTPException

    monkeypatch.setattr(fetch._Fetch, "_asked", broken)
    with serving(lambda *_: OK) as server, pytest.raises(UnreadableImage) as caught:
        UrlReader(server.url, HERE).read(10)
    assert caught.value.detail == "the connection was lost: HTTPException; tried 1 time"
